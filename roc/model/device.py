"""The machine a model runs on: its device, the number and memory formats that suit it, workers, attention kernels.

PyTorch is imported when a question needs it, so that a process that only counts cores stays small.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

DTYPES = ("float32", "bfloat16", "float16", "float8", "int8")
"""Number formats a model can score in; see `roc.model.float8` and `roc.model.int8` for the last two."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Options of mallopt (malloc.h): never trim the heap, never place a block outside of it."""
_MOST_WORKERS = 16
_FLASH_CAPABILITY = (8, 0)
"""CUDA compute capability that FlashAttention-2 needs: Ampere."""


def best_device() -> str:
    """Names the fastest kind of device here: "cuda", else "mps", else "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def checked_device(device: str | torch.device | None = None) -> torch.device:
    """Turns a name into a device of this machine.

    Args:
        device: "cuda", "cuda:1", "mps", "cpu"; None takes `best_device()`.

    Raises:
        ValueError: If the name is no device, or the device is not here.
    """
    import torch

    try:
        found = torch.device(best_device() if device is None else device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}; expected cpu, cuda, cuda:1, mps or the like") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {found}, and PyTorch {torch.__version__} finds {torch.cuda.device_count()} GPUs here; give "
            "one of them, or cpu"
        )
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device is mps, and PyTorch finds none here; expected cpu, or cuda where there is a GPU")
    return found


def has_fast_bfloat16(device_type: str | None = None) -> bool:
    """Tells whether the hardware itself computes bfloat16, without emulation.

    Args:
        device_type: "cuda", "mps" or "cpu"; None takes `best_device()`.
    """
    import torch

    device_type = device_type or best_device()
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = getattr(torch.cpu, "get_capabilities", dict)() if device_type == "cpu" else {}
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def number_format(dtype: str | torch.dtype | None, device: torch.device) -> str:
    """Chooses or checks the number format of a model that scores.

    Args:
        dtype: One of `DTYPES`, or the `torch.dtype`; None = bfloat16 on a GPU or CPU whose hardware multiplies it,
            float32 elsewhere.
        device: Where the model will run.

    Returns:
        One of `DTYPES`.

    Raises:
        ValueError: If it is none of them.
    """
    if dtype is None:
        return "bfloat16" if device.type in ("cuda", "cpu") and has_fast_bfloat16(device.type) else "float32"
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype is {name}; expected one of {', '.join(DTYPES)}, or None to let roc choose")
    return name


def lay_out_convolutions(model: nn.Module) -> None:
    """Stores the weights of 2-D convolutions channels last, the layout that CPU kernels compute fastest.

    Values stay the same; results differ by rounding. Batches need not be converted.
    """
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.is_floating_point():
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def keep_freed_memory() -> bool:
    """Has the C library keep large blocks that were freed, for the next step of a model on a CPU.

    Otherwise glibc gives each one back to the system, which clears its pages again at the next allocation: a training
    step of convolutions took 1.7 times as long. The process keeps the memory of its largest step. Nothing is changed
    where the environment sets `MALLOC_...` or `GLIBC_TUNABLES`, or where the C library is another one.

    Returns:
        Whether it does so from now on.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(_M_MMAP_MAX, 0) and set_option(_M_TRIM_THRESHOLD, -1))


def usable_cores() -> int:
    """Counts the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(device_type: str) -> int:
    """Chooses how many processes prepare images for a model.

    Args:
        device_type: Where the model runs. On a GPU all cores but one prepare images; on a CPU a quarter, since the
            model needs the others.

    Returns:
        1 to 16.
    """
    cores = usable_cores()
    return max(1, min(_MOST_WORKERS, cores // 4 if device_type == "cpu" else cores - 1))


def check_attention(implementation: str | None, *, half: bool = True) -> None:
    """Makes sure that this machine has the attention kernels that were asked for, before a model is loaded.

    Args:
        implementation: "sdpa", "eager", "flash_attention_2", or None for what transformers chooses.
        half: Whether the model computes in bfloat16 or float16, by its weights or by mixed precision.

    Raises:
        ValueError: If flash_attention_2 is asked for and the GPU, the package or the number format is missing.
    """
    if implementation != "flash_attention_2":
        return
    import torch

    lacking = []
    if not torch.cuda.is_available():
        lacking.append("a CUDA GPU")
    elif torch.cuda.get_device_capability() < _FLASH_CAPABILITY:
        lacking.append("a GPU of compute capability 8.0 or higher")
    if importlib.util.find_spec("flash_attn") is None:
        lacking.append("the package flash-attn (pip install --no-build-isolation 'roc-mllm[flash]')")
    if not half:
        lacking.append("bfloat16 or float16, by dtype or mixed precision")
    if lacking:
        raise ValueError(
            f"attn_implementation is flash_attention_2, which needs {' and '.join(lacking)}; sdpa runs everywhere"
        )
