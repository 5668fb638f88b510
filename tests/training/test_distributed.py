"""With every engine, two processes train like a single one, save, resume, and leave a checkpoint that loads plainly.

Each engine runs tests/helpers/many_processes.py once, through `accelerate launch` with its file in
configs/distributed/; all tests look at that one run. They are slow; tests/training/test_trainer.py has two processes of
plain DDP in the default suite.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import many_processes
import pytest
import torch
from heads import picture
from safetensors.torch import load_file
from tiny_models import BUILDERS
from transformers import AutoModelForImageTextToText

import roc
from roc.model.parts import parameter_parts
from roc.model.processing import save_processor

ROOT = Path(__file__).parents[2]

# The model with tied embeddings goes where tying is hardest, the one whose vocabulary has to grow where growing is.
MODELS = {"ddp": "llava", "fsdp2": "qwen2_5_vl", "zero3": "llava", "zero2": "qwen2_5_vl"}
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="DeepSpeed is not installed (pip install 'roc-mllm[deepspeed]')",
)
SPREADING = [
    pytest.param("fsdp2", marks=pytest.mark.slow),
    pytest.param("zero3", marks=needs_deepspeed),
    pytest.param("zero2", marks=[needs_deepspeed, pytest.mark.slow]),
]
each = pytest.mark.parametrize("launcher", [pytest.param("ddp", marks=pytest.mark.slow), *SPREADING])


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Saves a tiny model per family and `ratings.csv`; returns their folder."""
    folder = tmp_path_factory.mktemp("bases")
    for family in sorted(set(MODELS.values())):
        model, processor = BUILDERS[family]()
        model.save_pretrained(folder / family)
        save_processor(processor, folder / family)
    rows = ["image,score,light,split"]
    for i in range(12):
        picture(i).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{1 + (7 * i) % 10},{1 + (3 * i) % 10},{'train' if i < 8 else 'val'}")
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def alone(bases, tmp_path_factory):
    """Returns a function: family -> results of a single process."""
    found = {}

    def run(family):
        if family not in found:
            given = str(bases / family), str(bases / "ratings.csv")
            folder = tmp_path_factory.mktemp(f"alone_{family}")
            found[family] = many_processes.train(many_processes.settings(*given, f"{folder}/full", 1))
            found[family]["folder"] = folder
        return found[family]

    return run


@pytest.fixture(scope="module")
def together(bases, alone, tmp_path_factory):
    """Returns a function: launcher -> results of two processes, of one, and their folder; every launcher runs once."""
    runs = {}

    def run(launcher):
        if launcher not in runs:
            folder = tmp_path_factory.mktemp(launcher)
            command = [
                sys.executable, "-m", "accelerate.commands.launch",
                "--config_file", str(ROOT / "configs" / "distributed" / f"{launcher}.yaml"),
                "--num_processes", "2", "--main_process_port", "0",
                str(ROOT / "tests" / "helpers" / "many_processes.py"),
                str(bases / MODELS[launcher]), str(bases / "ratings.csv"), str(folder),
            ]  # fmt: skip
            environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=ROOT)
            assert done.returncode == 0, done.stderr[-5000:]
            found = torch.load(folder / "found.pt")
            assert found["launcher"] == launcher
            runs[launcher] = found, alone(MODELS[launcher]), folder
        return runs[launcher]

    return run


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@each
def test_losses_and_gradient_are_those_of_one_process(together, launcher):
    found, expected, _ = together(launcher)
    for key in ("loss", "text_loss", "l1_loss"):
        losses = [[entry[key] for entry in run["log"] if key in entry] for run in (found, expected)]
        assert len(losses[0]) == 4
        assert losses[0] == pytest.approx(losses[1], rel=1e-5), key
    assert expected["gradient"].norm() > 0
    assert relative(found["gradient"], expected["gradient"]) < 1e-5
    norms = [run["log"][0]["grad_norm"] for run in (found, expected)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert norms[0] > 2 * many_processes.SETTINGS["max_grad_norm"], "nothing was clipped"


@each
def test_every_part_goes_where_it_goes_in_one_process(together, launcher):
    """Each part has its own learning rate and decay and is resumed from a state saved half-way."""
    found, expected, _ = together(launcher)
    assert set(found["resumed"]) == set(expected["resumed"])
    start, end = expected["best"], expected["resumed"]
    model, _ = roc.load(expected["folder"] / "full" / "whole")
    of = parameter_parts(model)
    parts = {part: [name for name in of if of[name] == part] for part in set(of.values())}
    assert set(parts) == {"vision", "projector", "language", "embeddings", "head"}
    for part, names in parts.items():
        # Tower layers that are not read have no gradient: a single process leaves them alone, DeepSpeed decays them.
        names = [name for name in names if not torch.equal(start[name], end[name])]
        assert names, part
        way, other = (
            torch.cat([(run["resumed"][name] - start[name]).flatten() for name in names]) for run in (expected, found)
        )
        assert relative(other, way) < 1e-2, part


@each
def test_the_best_state_is_the_checkpoint_and_loads_plainly(together, launcher):
    found, expected, folder = together(launcher)
    whole = folder / "full" / "whole"
    assert load_file(whole / "model.safetensors")["score_head.weight"].dtype == torch.float32
    model, _ = roc.load(whole)
    stock, loading = AutoModelForImageTextToText.from_pretrained(whole, output_loading_info=True)
    assert {name: list(keys) for name, keys in loading.items() if keys} == {"unexpected_keys": ["score_head.weight"]}
    assert type(stock).__name__ == type(model).__name__
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, found["best"][name], atol=0, rtol=0)
        if not torch.equal(expected["best"][name], expected["resumed"][name]):
            torch.testing.assert_close(tensor, expected["best"][name], atol=2e-5, rtol=0)
            assert not torch.equal(tensor, found["resumed"][name]), name


@pytest.mark.slow
def test_lora_with_ddp_is_lora_of_one_process(together, bases, tmp_path):
    _, _, folder = together("ddp")
    config = many_processes.settings(
        str(bases / "llava"), str(bases / "ratings.csv"), str(tmp_path), 1, num_train_epochs=1, save_strategy="no",
        tuning="lora", lora_dropout=0, lora_rank=4,
    )  # fmt: skip
    many_processes.train_lora(config)
    expected, given = (load_file(f / "whole" / "adapter_model.safetensors") for f in (tmp_path, folder / "lora"))
    assert set(given) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(given[name], tensor, atol=2e-5, rtol=0)


@pytest.mark.parametrize("launcher", SPREADING)
def test_the_head_in_bfloat16(together, launcher):
    """FSDP2 leaves the head in float32. DeepSpeed computes with a rounded copy, and trains and saves float32."""
    found, expected, _ = together(launcher)
    one = found["bfloat16"]
    assert one["weight"] == (torch.float32 if launcher == "fsdp2" else torch.bfloat16)
    assert one["labels"] == one["saved"].dtype == torch.float32
    assert not torch.equal(one["saved"], one["saved"].bfloat16().float())
    assert one["log"][0]["loss"] == pytest.approx(expected["log"][0]["loss"], rel=2e-2)
    # DeepSpeed saves the weights it computes with, FSDP2 those it trains.
    assert one["others"] == {torch.float32 if launcher == "fsdp2" else torch.bfloat16}


@pytest.mark.slow
def test_weights_in_bfloat16_stay_so_with_fsdp2_and_the_head_stays_float32(together):
    found, expected, _ = together("fsdp2")
    one = found["throughout"]
    assert one["others"] == {torch.bfloat16}
    assert one["weight"] == one["labels"] == one["saved"].dtype == torch.float32
    assert one["log"][0]["loss"] == pytest.approx(expected["log"][0]["loss"], rel=2e-2)


def script(*words, python=sys.executable, **variables):
    environment = os.environ | {"ROC_PYTHON": str(python), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **variables}
    command = ["bash", str(ROOT / "scripts" / "finetune.sh"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def echo(tmp_path):
    """Makes a stand-in for Python that prints its arguments instead of running them; only `-c` runs."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return path


def test_the_script_gives_each_word_to_whom_it_is_for(echo):
    words = [
        "a.yaml",
        "--launcher=fsdp2",
        "b.yaml",
        "--num-processes",
        "4",
        "--seed",
        "1",
        "--fsdp_offload_params",
        "true",
    ]
    done = script(*words, python=echo, LOAD="org/model")
    assert done.returncode == 0, done.stderr
    config = str(ROOT / "scripts" / ".." / "configs" / "distributed" / "fsdp2.yaml")
    given = done.stdout.split()
    assert given[:3] == ["-m", "accelerate.commands.launch", "--config_file"]
    assert os.path.samefile(given[3], config)
    assert given[4:] == [
        "--num_processes", "4", "--fsdp_offload_params", "true", "--main_process_port", "0",
        "-m", "roc.cli", "finetune", "--model_name_or_path", "org/model", "a.yaml", "b.yaml", "--seed", "1",
    ]  # fmt: skip


def test_the_script_starts_one_process_per_gpu_of_every_machine(echo):
    words = ["--launcher", "ddp", "--num_machines", "2", "--machine_rank", "1", "--main_process_ip", "10.0.0.1"]
    done = script(*words, "--main_process_port", "29500", python=echo)
    assert done.returncode == 0, done.stderr
    given = done.stdout.split()
    gpus = max(torch.cuda.device_count(), 1)
    assert given[given.index("--num_processes") + 1] == str(2 * gpus)
    assert "--main_process_port 0" not in " ".join(given)
    assert given[-1].endswith("configs/demo.yaml")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--launcher", "horovod"], "'horovod', expected one of ddp fsdp2 zero2 zero3"),
        (["--launcher"], "--launcher has no value"),
        (["--num_processes", "2"], "--num_processes sets the number of processes .* --launcher"),
        (["--launcher", "ddp", "--num_processes", "two"], "'two' is no number of processes"),
        (["--launcher", "ddp", "--num_machines", "2", "--machine_rank", "0"], "--main_process_ip is needed as well"),
    ],
)
def test_the_script_refuses(words, says):
    done = script(*words)
    assert done.returncode == 2
    assert re.search(says, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_asks_for_deepspeed_where_it_is_missing(tmp_path):
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    done = script("--launcher", "zero3", python=bare)
    assert done.returncode == 2
    assert re.search(r"zero3 needs DeepSpeed: .* pip install .*\[deepspeed\]", done.stderr), done.stderr
