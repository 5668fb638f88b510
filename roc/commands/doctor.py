"""`roc doctor MODEL`: tells whether the score head fits a model, and what to set."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from roc.commands.line import DONE, FAILED, Parser, run
from roc.settings import REQUIRED, Settings, option

if TYPE_CHECKING:
    from roc.doctor.candidate import Finding

DESCRIPTION = """Tells whether the score head fits a model: loads the model, attaches the head in memory, tries every
promise of roc with a figure each, and says what to set. Nothing is kept on disk."""
STATUS = "Exit status: 0 all passed, 1 a check failed or the head does not fit, 2 bad input."


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(Settings):
    """The model, and what to find out about it."""

    model: str = option(REQUIRED, "folder or hub id: any model, or a checkpoint of roc", positional=True)
    full: bool = option(False, "also write and reload the weights of a large model")
    device: str | None = option(None, "cpu, cuda, cuda:1, mps", unset="the fastest there is")
    dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "number format of the weights", unset="float32; above 2 billion parameters the one they are saved in"
    )
    chat_template: str | None = option(
        None, "Jinja file that lays out the turns of a conversation", unset="the processor's"
    )
    sensitivity: tuple[str, ...] | None = option(
        None,
        "how far trained scores move when pictures (files or folders; none: drawn scenes) are resized, squeezed, "
        "cropped, padded, compressed",
        metavar="IMAGES",
        commas=False,
    )
    memory: bool = option(False, "how much GPU memory training takes; reads no weights")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc doctor`.

    Args:
        argv: Words after `roc doctor`; None takes those of the process.

    Returns:
        Exit status: 0 every check passed, 1 a check failed or the model cannot carry the head, 2 bad input.
    """
    examples = ("roc doctor org/model", "roc doctor checkpoints/demo --sensitivity photos/")
    return run(Parser("roc doctor", DESCRIPTION, *examples, epilog=STATUS), DoctorOptions, argv, _doctor)


def _doctor(options: DoctorOptions) -> int:
    from roc.checkpoint.names import check_exists

    check_exists(options.model)

    import transformers

    from roc.doctor.candidate import Unsupported

    transformers.utils.logging.set_verbosity_error()
    show = _show_memory if options.memory else _show_findings if options.sensitivity is None else _show_sensitivity
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries; what matters is among the findings
        try:
            return show(options)
        except Unsupported as error:
            print(f"The head does not fit {options.model}: {error}")
            return FAILED


def _show_memory(options: DoctorOptions) -> int:
    from roc.checkpoint.folder import read_config
    from roc.model.memory_table import memory_table

    print(memory_table(read_config(options.model)))
    return DONE


def _show_findings(options: DoctorOptions) -> int:
    from roc.doctor.candidate import admit
    from roc.doctor.checks import examine
    from roc.model.processing import read_chat_template

    start = time.perf_counter()
    candidate = admit(
        options.model,
        device=options.device,
        dtype=options.dtype,
        full=options.full or None,
        chat_template=None if options.chat_template is None else read_chat_template(options.chat_template),
    )
    print(options.model)
    for finding in examine(candidate):
        print(_line(finding), flush=True)
    print("\nwhat to set")
    for name, text in candidate.notes.items():
        print(f"  {name:<19} {text}")
    failed = [finding.name for finding in candidate.findings if finding.passed is False]
    verdict = f"failed: {', '.join(failed)}" if failed else "The head fits."
    print(f"\n{verdict} ({time.perf_counter() - start:.0f} s)")
    return FAILED if failed else DONE


def _line(finding: Finding) -> str:
    mark = {True: "ok", False: "FAILED", None: "-"}[finding.passed]
    text = f"  {mark:<7} {finding.name:<32}  {finding.figure}"
    return f"{text}\n{'':10}{finding.advice}" if finding.advice else text


def _show_sensitivity(options: DoctorOptions) -> int:
    from roc.checkpoint.folder import load
    from roc.doctor.sensitivity import find_pictures, sensitivity, shift_table, sight_text
    from roc.model.collator import RocCollator
    from roc.model.device import checked_device

    pictures = find_pictures(options.sensitivity)
    model, processor = load(options.model, device=checked_device(options.device), dtype=options.dtype)
    collator = RocCollator(processor, model.declaration)
    shifts = sensitivity(model, collator, pictures)
    low, high = model.score_space.range
    kind = "pictures" if options.sensitivity else "drawn scenes"
    print(f"{options.model}: {model.declaration.attributes[0]} on {low:g}..{high:g}, {len(pictures)} {kind}\n")
    print(shift_table(shifts))
    print("\nChange of the score: mean and largest; spread: the standard deviation of the unchanged scores.")
    print(sight_text(model, collator, pictures))
    return DONE
