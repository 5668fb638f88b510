"""`roc agree maps`: shows the photometric attributes that AGREE looks at.

It imports its room when it runs: the room may be deleted, and `roc` then lists no such command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.commands.line import Subcommand, run_subcommand

if TYPE_CHECKING:
    from roc.agree.config import MapsOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc agree`.

    Args:
        argv: Words after `roc agree`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    from roc.agree.config import MapsOptions

    subcommands = {
        "maps": Subcommand(
            "draw the attribute maps and the perturbations of a photo",
            """Draws what AGREE sees of a photo: for brightness, contrast, saturation, hue and blur the photo, its
map, and the photo with more and with less of the attribute.""",
            "roc agree maps photo.jpg --out sheet.png",
            MapsOptions,
            _maps,
        )
    }
    return run_subcommand(
        "roc agree", "Guides the score by five photometric attributes.", subcommands, argv, first="maps"
    )


def _maps(options: MapsOptions) -> None:
    from roc.agree.sheet import write_sheet

    width, height = write_sheet(options)
    print(f"{options.out}: five attributes of {options.photo} at {width} x {height} pixels")
