"""`roc rank PHOTO...`: which photo is better, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.commands.line import Parser, run
from roc.scoring.options import RankOptions

if TYPE_CHECKING:
    from roc.scoring.ranking import Ranking

DESCRIPTION = """Puts photos in order by their score, best first, and says how likely each beats the next one: both
scores are distributions, and the probability is that a draw from one exceeds a draw from the other."""
EXAMPLES = (
    "roc rank a.jpg b.jpg --checkpoint checkpoints/mine",
    "roc rank burst/ --checkpoint checkpoints/mine --describe --out burst.json",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc rank`.

    Args:
        argv: Words after `roc rank`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    return run(Parser("roc rank", DESCRIPTION, *EXAMPLES), RankOptions, argv, _rank)


def _rank(options: RankOptions) -> None:
    from roc.checkpoint.names import check_exists

    check_exists(options.checkpoint)

    from roc.files import write_json
    from roc.scoring.ranking import rank_photos

    found = rank_photos(options)
    print("\n".join(_lines(found)))
    if options.out is not None:
        write_json(options.out, found.to_dict())
        print(f"\n{options.out}")


def _lines(found: Ranking) -> list[str]:
    about = found.to_dict()
    low, high = about["range"]
    rows = found.rows()
    width = max(len(row["image"]) for row in rows)
    lines = [f"{found.attribute} on {low:g}..{high:g}, higher is better"]
    if found.change_range is not None:
        lines[0] += "; compared on {:g}..{:g}".format(*found.change_range)
    for row in rows:
        line = f"{row['rank']:>4}  {row['image']:<{width}}  {row['prediction']:.3f} ± {row['std']:.3f}"
        if "low" in row:
            line += f"   {row['low']:.3f} to {row['high']:.3f}"
        if row["beats_next"] is not None:
            line += f"   better than the next with {row['beats_next']:.0%}"
        if "change" in row:
            change = "no readable answer"
            if row["change"] is not None:
                change = f"{row['change']:+.2f} ± {row['change_std']:.2f}"
            line += f"   compared with it: {change}"
        lines += [
            line,
            *([f"      {row['why']}"] if row.get("why") else []),
            *([f"      {row['text']}"] if "text" in row else []),
        ]
    score = found.assessed[0].scores[found.attribute]
    if score.coverage is not None:
        lines.append(f"the intervals hold {score.coverage:g} of ratings of photos like those calibrated on")
    lines.append(f"scored by {found.scorer}")
    if not about["calibrated"]:
        lines.append("the spread was not trained on votes, so the percentages say little")
    return lines
