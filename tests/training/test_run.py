"""The folder of a run is claimed, released, and refused to other runs; a stopped run resumes from its states."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_runs import QUICK, ROOT, TINY, demo, finetune, ratings

from roc.training import run
from roc.training.config import load_config


def test_other_settings_in_the_same_folder_are_refused(finished, capsys):
    assert demo(finished, "--l1_weight", "3") == 2
    assert "l1_weight: 1.0 -> 3.0" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert demo(tmp_path) == 2
    assert "holds no run.json" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def without_weights(finished, folder):
    """Copies the checkpoint without its weights, which is noticed only when they are loaded; returns its path."""
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("*.safetensors", "training", "scenes", "plots"))
    return str(folder)


def test_a_mistake_leaves_the_folder_free_for_the_corrected_command(finished, tmp_path, capsys):
    broken = without_weights(finished, tmp_path / "broken")
    assert demo(tmp_path / "out", "--model_name_or_path", broken) == 2
    assert f"model_name_or_path '{broken}' cannot be loaded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_whatever_is_refused_leaves_the_run_of_another_as_it_was(finished, tmp_path, capsys):
    """Also where the settings are the same run's or nothing of that run was saved yet."""
    out = tmp_path / "out"
    broken = without_weights(finished, tmp_path / "broken")
    words = ["--model_name_or_path", broken]
    out.mkdir()
    config = load_config(str(ROOT / "configs" / "demo.yaml"), [*TINY, "--output_dir", str(out), *words])
    run.claim(config)
    before = (out / "run.json").read_bytes()
    refused = (
        words,  # its own command, which fails while it is prepared
        [*words, "--overwrite"],
        [*words, "--overwrite", "--seed", "3"],
        [*words, "--seed", "3"],
        [*words, "--attn_implementation", "eager", "--threads", "2"],  # settings that do not make another run
    )
    for other in refused:
        assert demo(out, *other) == 2
        assert [path.name for path in out.iterdir()] == ["run.json"], capsys.readouterr().err
        assert (out / "run.json").read_bytes() == before


def test_overwrite_with_a_mistake_keeps_the_scenes_of_the_earlier_run(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("training", "plots"))
    broken = without_weights(finished, tmp_path / "broken")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert demo(out, "--overwrite", "--seed", "7", "--model_name_or_path", broken) == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


HOLD = """
import sys, time
from roc.training import run
from roc.training.config import load_config

with run.occupying(load_config(None, {"output_dir": sys.argv[1]})):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_belongs_to_the_living_process_that_trains_there(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        for words in ([], ["--overwrite"]):
            assert demo(out, *words) == 2
            assert f"output_dir {out} is in use: another process trains there" in capsys.readouterr().err
    finally:
        other.kill()
        other.communicate()
    config = load_config(None, {"output_dir": str(out)})
    with run.occupying(config):
        child = os.fork()  # like a loader process, which outlives a killed parent for a while
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with run.occupying(config):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_edited_data_is_another_run(tmp_path, capsys):
    data = ratings(tmp_path, ["5,4", "6,3", "7,2", "3,3"])
    words = ["--data_path", data, *QUICK, "--eval_strategy", "no", "--output_dir", str(tmp_path / "out")]
    assert finetune(*words) == 0
    Path(data).write_text(Path(data).read_text().replace("0.png,5", "0.png,9"))
    assert finetune(*words) == 2
    assert "the content of the data file has changed" in capsys.readouterr().err


def test_overwrite_gives_up_nothing_for_a_mistake(finished, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    before = sorted(path.name for path in (out / "training").iterdir())
    broken = without_weights(finished, tmp_path / "broken")
    assert demo(out, "--overwrite", "--model_name_or_path", broken) == 2
    assert sorted(path.name for path in (out / "training").iterdir()) == before
    assert demo(out) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert demo(tmp_path / "file" / "out") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.slow
def test_a_damaged_state_gives_way_to_the_one_before_it(tmp_path, capsys):
    """The newest state is cut, then the one before it has other bytes of the same length; both are named."""
    out = tmp_path / "out"
    states = out / "training"
    words = ["--save_total_limit", "9"]
    assert demo(out, *words, "--eval_strategy", "no", "--num_train_epochs", "3") == 0
    table = (out / "metrics.txt").read_text()
    facts = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(facts | {"finished": False}))
    newest = states / "checkpoint-9" / "optimizer.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    older = states / "checkpoint-6" / "model.safetensors"
    content = bytearray(older.read_bytes())
    content[-5] ^= 255
    older.write_bytes(content)
    capsys.readouterr()
    assert demo(out, *words, "--eval_strategy", "no", "--num_train_epochs", "3") == 0
    said = capsys.readouterr().err
    assert "checkpoint-9 is damaged: optimizer.pt has" in said
    assert "checkpoint-6 is damaged: model.safetensors is not what was written. An older one is taken." in said
    assert f"Resuming from {states / 'checkpoint-3'}" in said
    assert (out / "metrics.txt").read_text() == table


def test_divergence_is_one_line(tmp_path, capsys):
    assert demo(tmp_path / "out", "--learning_rate", "1e30", "--max_grad_norm", "0") == 2
    said = capsys.readouterr().err
    assert "Training diverged: at step" in said and "a lower learning_rate (it is 1e+30)" in said
    assert "Traceback" not in said


def test_a_state_is_read_by_the_processes_that_wrote_it(tmp_path, capsys):
    from types import SimpleNamespace

    share = tmp_path / "training" / "checkpoint-5" / "global_step5" / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    share.parent.mkdir(parents=True)
    share.touch()
    (tmp_path / "training" / "checkpoint-5" / "trainer_state.json").write_text("{}")
    config = load_config(None, {"output_dir": str(tmp_path)})
    for launcher, processes in (("ddp", 1), ("zero3", 1), ("zero2", 2)):
        trainer = SimpleNamespace(launcher=launcher, args=SimpleNamespace(world_size=processes))
        says = f"--launcher zero2 and 1 processes; these are {processes} processes of {launcher}"
        with pytest.raises(run.RunError, match=says):
            run.state_to_resume(config, trainer, clean=True)
    trainer.args.world_size = 1
    assert run.state_to_resume(config, trainer, clean=True).name == "checkpoint-5"
