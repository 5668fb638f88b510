import importlib.util
import os
import platform
import subprocess
import sys

import pytest
import torch

from roc.model import device
from roc.model.device import (
    best_device,
    check_attention,
    checked_device,
    default_workers,
    has_fast_bfloat16,
    keep_freed_memory,
    lay_out_convolutions,
    number_format,
    usable_cores,
)


def machine(monkeypatch, *, cuda=False, mps=False, capability=(9, 0), flash=False):
    """Imitates a machine with these parts; GPUs before Ampere only emulate bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or capability >= (8, 0)
    )
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        device.importlib.util,
        "find_spec",
        lambda name, *rest: (object() if flash else None) if name == "flash_attn" else find_spec(name, *rest),
    )


def test_the_best_device_is_the_fastest_there_is(monkeypatch):
    for there, best in [({"cuda": True, "mps": True}, "cuda"), ({"mps": True}, "mps"), ({}, "cpu")]:
        machine(monkeypatch, **there)
        assert best_device() == best and checked_device() == torch.device(best)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "device is 'gpu'; expected cpu, cuda, cuda:1, mps or the like"),
        ("cuda:1", "device is cuda:1, and PyTorch .* finds 1 GPUs here; give one of them, or cpu"),
        ("mps", "device is mps, and PyTorch finds none here"),
    ],
)
def test_a_device_that_is_not_here_is_refused(name, message, monkeypatch):
    machine(monkeypatch, cuda=True)
    with pytest.raises(ValueError, match=message):
        checked_device(name)
    assert checked_device("cuda:0").index == 0


@pytest.mark.parametrize(
    ("there", "expected"),
    [({"cuda": True}, "bfloat16"), ({"cuda": True, "capability": (7, 5)}, "float32"), ({}, "float32")],
)
def test_bfloat16_is_chosen_where_the_gpu_computes_it(there, expected, monkeypatch):
    machine(monkeypatch, **there)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert number_format(None, checked_device()) == expected
    assert not there or has_fast_bfloat16() == (expected == "bfloat16")


def test_cpus_have_bfloat16_by_their_instructions(monkeypatch):
    machine(monkeypatch)
    for abilities, fast in [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx2": True}, False)]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda abilities=abilities: abilities, raising=False)
        assert has_fast_bfloat16() is has_fast_bfloat16("cpu") is fast
        assert not has_fast_bfloat16("mps") and not has_fast_bfloat16("cuda")


def test_a_cpu_scores_in_bfloat16_where_it_multiplies_it(monkeypatch):
    for abilities, expected in [({"amx_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda abilities=abilities: abilities, raising=False)
        assert number_format(None, torch.device("cpu")) == expected
        assert number_format("float32", torch.device("cpu")) == "float32"


def test_a_number_format_is_read_and_checked():
    cpu = torch.device("cpu")
    assert number_format(torch.float16, cpu) == "float16" and number_format("int8", cpu) == "int8"
    with pytest.raises(ValueError, match="dtype is int4; expected one of float32, bfloat16, float16, float8, int8, or"):
        number_format("int4", cpu)


FAULTS = """
import os, resource, torch
from roc.model.device import keep_freed_memory
for kept in (True, False):
    if (child := os.fork()) == 0:  # cheaper than a second interpreter
        assert not kept or keep_freed_memory()
        for step in range(20):
            if step == 10:  # the first ones make the heap large enough
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.ones(3 * 2**22)  # 48 MiB
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept_for_the_next_step(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    kept, returned = map(int, done.stdout.split())
    assert kept < 0.1 * returned
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()  # which would undo what somebody chose


def test_workers_leave_cores_to_the_model(monkeypatch):
    for cores, gpu, cpu in ((1, 1, 1), (4, 3, 1), (16, 15, 4), (64, 16, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)), raising=False)
        assert (usable_cores(), default_workers("cuda"), default_workers("cpu")) == (cores, gpu, cpu)


@pytest.mark.parametrize(
    ("there", "half", "message"),
    [
        (
            {},
            True,
            r"and the package flash-attn \(pip install --no-build-isolation 'roc-mllm\[flash\]'\); sdpa runs",
        ),
        ({"flash": True}, True, "needs a CUDA GPU; sdpa runs everywhere"),
        ({"cuda": True}, True, "needs the package flash-attn"),
        ({"cuda": True, "flash": True, "capability": (7, 5)}, True, "needs a GPU of compute capability 8.0 or higher"),
        ({"cuda": True, "flash": True}, False, "needs bfloat16 or float16, by dtype or mixed precision; sdpa"),
        ({"cuda": True, "flash": True}, True, None),
    ],
)
def test_flash_attention_is_used_only_where_it_runs(there, half, message, monkeypatch):
    machine(monkeypatch, **there)
    for other in ("sdpa", "eager", None):
        check_attention(other, half=half)
    if message is None:
        return check_attention("flash_attention_2", half=half)
    with pytest.raises(ValueError, match=message):
        check_attention("flash_attention_2", half=half)


def test_convolutions_channels_last_compute_the_same():
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 3, groups=4))
    pixels = torch.randn(2, 3, 9, 9)
    before, state = layers(pixels), {name: value.clone() for name, value in layers.state_dict().items()}
    lay_out_convolutions(layers)
    assert layers[0].weight.is_contiguous(memory_format=torch.channels_last)
    weights = {name: value for name, value in layers.state_dict().items() if "weight" in name}
    assert all(torch.equal(value, state[name]) for name, value in weights.items())
    torch.testing.assert_close(layers(pixels), before)
