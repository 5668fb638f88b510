"""`roc export CHECKPOINT --FORM OUT`: writes a trained checkpoint in another form, or uploads it to a hub.

roc export ADAPTER --merge OUT               adapter + base -> one full checkpoint
roc export CHECKPOINT --vllm_classify OUT    vLLM's classifier: probabilities of the levels, one pass, no text
roc export CHECKPOINT --vllm_generate OUT    vLLM's generator: text; the head in a subfolder
roc export CHECKPOINT --head_only OUT        the head's weight and what it means, for numpy
roc export PUBLISHED --to_roc OUT            a published ROC4MLLM checkpoint in roc's layout
roc export CHECKPOINT --to_published OUT     and back, of an mPLUG-Owl2, for the published code
roc export CHECKPOINT --push_to_hub ORG/NAME the checkpoint as it is
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roc.commands.line import Parser, run
from roc.settings import REQUIRED, Fault, Settings, option

DESCRIPTION = "Writes a trained checkpoint in another form, and uploads it to a hub if asked to."

FORMS = ("merge", "vllm_classify", "vllm_generate", "head_only", "to_roc", "to_published")
_WITHOUT_BASE = ("head_only", "to_roc")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Settings):
    """The checkpoint, the form to write and where it goes."""

    checkpoint: str = option(
        REQUIRED,
        "folder or hub id of a full checkpoint or an adapter that roc wrote, or of a published one; or a personal head",
        positional=True,
    )
    merge: str | None = option(None, "an adapter or a personal head, and its base -> a full checkpoint", metavar="OUT")
    vllm_classify: str | None = option(None, "for vLLM's pooling runner: probabilities of the levels", metavar="OUT")
    vllm_generate: str | None = option(
        None, "for vLLM's generation: the plain model; the head in a subfolder", metavar="OUT"
    )
    head_only: str | None = option(
        None, "the head's weight and its levels, to recompute scores with numpy", metavar="OUT"
    )
    to_roc: str | None = option(
        None, "a published ROC4MLLM checkpoint in roc's layout; what that cannot hold is kept beside it", metavar="OUT"
    )
    to_published: str | None = option(
        None, "an mPLUG-Owl2 with the head in the layout of the published code", metavar="OUT"
    )
    base: str | None = option(None, "for an adapter: where its base lies now, if not where it lay in training")
    push_to_hub: str | None = option(
        None,
        "upload OUT (or, without OUT, the checkpoint folder) with the account that `hf auth login` stored",
        metavar="ORG/NAME",
    )
    private: bool = option(False, "make the hub repository private if it is new")

    @property
    def forms(self) -> list[str]:
        """Names of the forms that were asked for; at most one is allowed."""
        return [name for name in FORMS if getattr(self, name) is not None]

    def faults(self) -> list[Fault]:
        """Refuses several forms, none at all, and options that say nothing about what was asked for."""
        found: list[Fault] = []
        if len(self.forms) > 1:
            found.append(("", f"one form at a time; got --{' and --'.join(self.forms)}"))
        elif not self.forms and self.push_to_hub is None:
            found.append(("", f"say what to make: --{', --'.join(FORMS)}, or --push_to_hub; see --help"))
        elif not self.forms and self.base is not None:
            found.append(("", "--base says nothing about a folder that is uploaded as it is"))
        elif self.base is not None and self.forms[0] in _WITHOUT_BASE:
            found.append(("", f"--base says nothing with --{self.forms[0]}, which reads no base"))
        if self.private and self.push_to_hub is None:
            found.append(("", "--private says nothing without --push_to_hub"))
        return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc export`.

    Args:
        argv: Words after `roc export`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    example = "roc export checkpoints/mine --vllm_classify exported/mine"
    return run(Parser("roc export", DESCRIPTION, example), ExportOptions, argv, _export)


def _export(options: ExportOptions) -> None:
    from roc.checkpoint.names import check_exists

    if options.forms:
        check_exists(options.checkpoint)

    from roc.checkpoint import export, vllm

    folder = Path(getattr(options, options.forms[0]) if options.forms else options.checkpoint)
    if not options.forms:
        export.check_uploadable(folder)
    for form in options.forms:
        write = getattr(vllm if form.startswith("vllm") else export, form)
        write(options.checkpoint, folder, **({} if form in _WITHOUT_BASE else {"base": options.base}))
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    if options.push_to_hub is not None:
        print(export.push(folder, options.push_to_hub, private=options.private))
