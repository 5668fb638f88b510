"""Mistakes that cost nothing to find are reported before PyTorch is loaded, an image decoded or a scene drawn."""

import json
import resource
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest
from hub_stand_in import HubStandIn
from training_runs import TINY, demo

from roc import Assessment
from roc.commands.finetune import main
from roc.training.checks import check_settings
from roc.training.config import ModelConfig, load_config
from roc.training.run import RunError

BLOCKED = "tensorboard"


@pytest.fixture
def ratings(tmp_path):
    (tmp_path / "r.csv").write_text("image,score\n0.png,5\n")
    return str(tmp_path / "r.csv")


def fault(**settings):
    with pytest.raises(RunError) as caught:
        check_settings(load_config(None, settings))
    return str(caught.value)


def test_a_model_that_is_nowhere(tmp_path, ratings):
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    out = {"data_path": ratings, "output_dir": str(tmp_path / "out")}
    assert "There is no folder ./nowhere/model" in fault(model_name_or_path="./nowhere/model", **out)
    nothing = fault(model_name_or_path="org/nothing", **out)
    assert "no downloaded copy of a model of this name, and the hub cannot be asked" in nothing
    assert "holds no model: it has neither config.json" in fault(model_name_or_path=str(tmp_path / "empty"), **out)
    assert "is an adapter; `roc export" in fault(model_name_or_path=str(tmp_path / "adapter"), **out)


def test_pairs_need_a_model_by_name_too(tmp_path):
    text = fault(pairs_path=str(tmp_path / "pairs.csv"), output_dir=str(tmp_path / "out"))
    assert "pairs_path is" in text and "no model is named; give --model_name_or_path MODEL" in text


def test_a_model_that_the_hub_does_not_have(tmp_path, ratings):
    code = (
        "import sys; from roc.training.checks import check_settings; from roc.training.config import load_config\n"
        "check_settings(load_config(None, {'model_name_or_path': sys.argv[1], 'data_path': sys.argv[2]}))"
    )
    with HubStandIn() as hub:
        hub.repos["org/there"] = {"config.json": b"{}"}

        def check(name):
            return subprocess.run(
                [sys.executable, "-c", code, name, ratings],
                env=hub.environment(tmp_path / "home"), capture_output=True, text=True, cwd=tmp_path,
            )  # fmt: skip

        assert check("org/there").returncode == 0
        assert "the hub has no such model, or not for you" in check("org/nothing").stderr


def test_all_faults_come_together(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "zero.json").write_text("{")
    text = fault(
        data_path=str(tmp_path / "none.csv"), eval_data_path=str(tmp_path / "file"), image_folder=str(tmp_path / "no"),
        output_dir=str(tmp_path / "file" / "out"), deepspeed=str(tmp_path / "zero.json"), report_to="none",
    )  # fmt: skip
    lines = text.splitlines()
    assert [line for line in lines if "none.csv: no such file" in line]
    assert [line for line in lines if "file: the suffix '' is not known" in line]
    assert [line for line in lines if "no: no such folder; image_folder" in line]
    assert [line for line in lines if "no DeepSpeed configuration that can be read" in line]
    assert [line for line in lines if "cannot be written" in line and "is no folder" in line]
    assert [line for line in lines if "no model is named; give --model_name_or_path MODEL" in line]
    assert len(lines) == 6


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == BLOCKED else found(name))
    assert "pip install 'roc-mllm[train]'" in fault(output_dir=str(tmp_path / "out"))
    check_settings(load_config(None, {"output_dir": str(tmp_path / "out"), "report_to": "none"}))


@pytest.mark.parametrize(
    ("environment", "settings", "says"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, {"tuning": "lora"}, "use --launcher ddp or zero2"),
        (
            {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
            {"tuning": "lora"},
            "use --launcher ddp or zero2",
        ),
        ({"ACCELERATE_USE_FSDP": "true"}, {"ema_decay": 0.9}, "a mean of sharded weights is not kept"),
        ({"ACCELERATE_USE_FSDP": "true"}, {"vision_from": 0.5}, "vision_from is 0.5; where the model is spread"),
    ],
)
def test_a_launcher_that_does_not_go_with_the_settings(tmp_path, ratings, monkeypatch, environment, settings, says):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert says in fault(model_name_or_path=str(tmp_path), data_path=ratings, **settings)


def test_a_small_model_that_there_is_not(capsys):
    assert main(["--tiny_model", "nonsense"]) == 2
    assert "tiny_model is 'nonsense', expected one of demo, photos" in capsys.readouterr().err


def test_the_small_model_is_not_trained_on_ratings_of_ones_own_unasked(ratings, tmp_path):
    says = fault(data_path=ratings, output_dir=str(tmp_path / "out"))
    assert "give --model_name_or_path MODEL" in says and "--tiny_model demo: a small untrained stand-in" in says
    for words in ({"data_path": ratings, "tiny_model": "demo"}, {"data_path": ratings, "tiny_model": "photos"}, {}):
        check_settings(load_config(None, {**words, "output_dir": str(tmp_path / "out")}))


def test_the_small_models_that_can_be_named_are_those_there_are():
    from roc.demo.tiny_model import PRESETS

    assert get_args(get_args(get_type_hints(ModelConfig)["tiny_model"])[0]) == tuple(PRESETS)


@pytest.mark.parametrize(
    "words",
    [
        ["--model_name_or_path", "./nowhere"],
        ["--data_path", "nowhere.csv", "--tiny_model", "demo"],
        ["--tiny_model", "huge"],
        ["--output_dir", "file/out"],
    ],
)
def test_the_command_says_so_at_once_and_without_pytorch(tmp_path, words):
    (tmp_path / "file").write_text("")
    code = (
        "import sys; from roc.commands.finetune import main; status = main(sys.argv[1:])\n"
        "print(status, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "2 False False\n", done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(done.stderr.splitlines()) == 1 and after.ru_utime - before.ru_utime < 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_table_of_a_finished_run_needs_no_pytorch(tmp_path):
    from roc.training import run
    from roc.training.finish import TABLE_FILE

    config = load_config(None, {"output_dir": str(tmp_path / "out")})
    run.claim(config)
    run.mark_finished(config)
    (tmp_path / "out" / TABLE_FILE).write_text("the table\n")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["finished"] is True
    code = (
        "import sys; from roc.training.config import load_config; from roc.training.job import finetune\n"
        "print(finetune(load_config(None, {'output_dir': sys.argv[1]})), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True)
    assert done.stdout.startswith("the table\n") and done.stdout.endswith("trains it anew. False\n"), done.stderr


def test_a_missing_model_is_named(tmp_path, capsys):
    words = ["--model_name_or_path", str(tmp_path / "nowhere"), *TINY, "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"no folder .*finetune\.sh"):
        Assessment("checkpoints/never/trained")


@pytest.mark.parametrize(
    "words",
    [["--data_path", "nowhere.csv", "--tiny_model", "demo"], ["--tiny_model", "huge"], ["--output_dir", "here"]],
)
def test_one_process_of_a_machine_says_what_all_of_them_find(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").write_text("")
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert main(words) == 2
        assert len(capsys.readouterr().err.splitlines()) == lines


def test_lora_on_a_spread_model_is_refused(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    words = ["--model_name_or_path", str(finished), "--tuning", "lora", "--ema_decay", "0"]
    assert demo(tmp_path / "out", *words) == 2
    assert "use --launcher ddp or zero2" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()
