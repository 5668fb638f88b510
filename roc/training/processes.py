"""The processes of a run: joining those that a launcher started, what spreads the model over them, and leaving them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

from roc.training.run import FirstFailed, RunError

if TYPE_CHECKING:
    from accelerate import PartialState

    from roc.model.memory import Sharding
    from roc.training.config import RunConfig

Engine = Literal["deepspeed", "fsdp"]
Item, Result = TypeVar("Item"), TypeVar("Result")


def join_processes(config: RunConfig) -> PartialState:
    """Joins this process with those that the launcher started, if one did (`accelerate launch`, `torchrun`).

    Only the first process logs notes from here on.
    """
    import torch
    import transformers
    from accelerate import PartialState

    transformers.utils.logging.disable_progress_bar()  # of loading and saving; training has its own
    if config.threads:
        torch.set_num_threads(config.threads)
    # While process 0 checks the images of a large file, the others wait for it; the usual 10 minutes may not do.
    patience = {"timeout": timedelta(hours=6)}
    if launched_engine() == "deepspeed" and trains_on_cpu():
        process = PartialState(backend="gloo", **patience)  # told of a CPU, accelerate would leave DeepSpeed out
    else:
        process = PartialState(cpu=trains_on_cpu(), **patience)
    if not process.is_main_process:
        logging.getLogger("roc").setLevel(logging.ERROR)
    return process


@contextlib.contextmanager
def first_process_first(process: PartialState) -> Iterator[None]:
    """Lets the first process do something before the others; where it fails, they do not begin.

    Raises:
        FirstFailed: In the others, if the first one failed.
    """
    if process.is_main_process:
        try:
            yield
        except Exception:
            _tell_the_others(process, failed=True)
            raise
        _tell_the_others(process, failed=False)
        return
    if _tell_the_others(process, failed=False):
        raise FirstFailed("the first process has failed; it says why")
    yield


def _tell_the_others(process: PartialState, *, failed: bool) -> bool:
    """Brings what the first process says to all others."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([failed])[0] if process.num_processes > 1 else failed


def own_places(count: int) -> list[int]:
    """Lists which of `count` items this process works on; the processes take turns."""
    from accelerate import PartialState

    process = PartialState()
    return list(range(process.process_index, count, process.num_processes))


def divided(work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result]:
    """Works on items with all processes, each of which does a part and gets all results; every one has to call it.

    Args:
        work: Gives a result for each of some items.
        items: The same on every process.

    Returns:
        The results, in the order of the items.
    """
    from accelerate.utils import gather_object

    mine = own_places(len(items))
    own = work([items[place] for place in mine])
    found = dict(pair for part in gather_object([list(zip(mine, own, strict=True))]) for pair in part)
    return [found[place] for place in range(len(items))]


def leave_processes(process: PartialState) -> None:
    """Shuts down the process group and frees the GPU; what follows is for the first process alone."""
    import gc

    import torch
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    if torch.distributed.is_initialized():
        process.wait_for_everyone()
        process.destroy_process_group()
    unset_hf_deepspeed_config()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def launched_engine() -> Engine | None:
    """Names what the launcher asked accelerate to spread the model with; None for plain processes or a single one."""
    for engine, variable in (("deepspeed", "ACCELERATE_USE_DEEPSPEED"), ("fsdp", "ACCELERATE_USE_FSDP")):
        if os.environ.get(variable, "").lower() == "true":
            return engine
    return None


def sharding(config: RunConfig) -> Sharding:
    """Names how weights, gradients and optimiser state are spread over the processes, as `roc.model.memory` counts it.

    Read from the launcher's environment and the DeepSpeed file, so that it is known before PyTorch is loaded.
    """
    if launched_engine() == "fsdp":
        return "fsdp2"
    if config.deepspeed is None and launched_engine() != "deepspeed":
        return "ddp"
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    file = config.deepspeed or os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if file is not None and os.path.isfile(file):
        with open(file, encoding="utf-8") as handle:
            stage = json.load(handle).get("zero_optimization", {}).get("stage", stage)
    return "zero3" if str(stage) == "3" else "zero2"


@contextlib.contextmanager
def whole_on_every_process() -> Iterator[None]:
    """Has models built whole on every process inside it, under ZeRO-3 as well, which spreads them later."""
    from transformers.integrations import deepspeed

    spreading = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = spreading


def trains_on_cpu() -> bool:
    """Tells whether there is no accelerator to train on."""
    from roc.model.device import best_device

    return best_device() == "cpu"


def computes_in_bfloat16(config: RunConfig) -> bool:
    """Decides on mixed precision: as `bf16` asks, else where the hardware computes bfloat16.

    Raises:
        RunError: If it is asked for where DeepSpeed cannot do it.
    """
    from roc.model.device import has_fast_bfloat16

    if launched_engine() == "deepspeed" and trains_on_cpu():  # transformers does not let it
        if config.bf16:
            raise RunError("bf16 is on, but on a CPU DeepSpeed trains in float32; leave bf16 out, or --launcher fsdp2.")
        return False
    if launched_engine() == "fsdp" and config.dtype == "bfloat16":
        return False  # the weights are so already; with mixed precision accelerate would make them float32 first
    return has_fast_bfloat16() if config.bf16 is None else config.bf16


def free_gpu_memory() -> int | None:
    """Bytes of the current GPU that this process can have; None without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
