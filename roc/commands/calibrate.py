"""`roc calibrate`: intervals that hold a stated share of ratings, and what else held-out ratings tell of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.calibration.options import CalibrateOptions
from roc.commands.line import Parser, run

if TYPE_CHECKING:
    from roc.calibration.calibrate import Calibrated

DESCRIPTION = """Fits intervals to ratings that the model was not trained on: every output then offers low and high,
which hold the rating of a share --level of photos like those of --data_path. They are split-conformal: nothing is
assumed of the model. What is found is stored in the config file of the checkpoint, with a fingerprint of the ratings;
no weight changes, and each call begins from the head as it was trained. How many ratings the intervals hold is shown by
`roc evaluate` on other rows. With --temperature or --affine one half of the photos fits these, the other the intervals.
--remove takes everything back. docs/calibration.md says more."""
EXAMPLES = (
    "roc calibrate --checkpoint checkpoints/mine --data_path held_out.csv --image_folder photos --level 0.9",
    "roc calibrate --checkpoint mine --data_path stars.csv --affine --min_score 1 --max_score 5 --unit stars",
    "roc calibrate --checkpoint checkpoints/mine --remove",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc calibrate`.

    Args:
        argv: Words after `roc calibrate`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    return run(
        Parser("roc calibrate", DESCRIPTION, *EXAMPLES),
        CalibrateOptions,
        argv,
        _calibrate,
        stopped=lambda options: f"{options.checkpoint} is as it was",
    )


def _calibrate(options: CalibrateOptions) -> None:
    from roc.checkpoint.names import check_exists

    check_exists(options.checkpoint)

    if options.remove:
        print("\n".join(_removed_lines(options)))
        return

    from roc.calibration.calibrate import calibrate
    from roc.commands.progress import with_progress

    print("\n".join(_lines(options, calibrate(options, with_progress))))


def _removed_lines(options: CalibrateOptions) -> list[str]:
    from roc.calibration.removal import remove_calibration
    from roc.score_space import ranges_text

    gone, declared, reference = remove_calibration(options.checkpoint)
    lines = [f"{options.checkpoint}: the calibration on {gone.rows} photos (ratings {gone.data}) is taken back"]
    if gone.moves_scores:
        ranges = ranges_text(declared.space.ranges, declared.attributes)
        lines.append(f"scores are those of the training again: {ranges}")
    if reference is not None:
        lines.append(f"so is the reference {reference.name}, which is of the scores that the calibration had moved")
    return lines


def _lines(options: CalibrateOptions, found: Calibrated) -> list[str]:
    from roc.calibration.conformal import likely_coverage

    declared = found.declaration
    lines = [f"{options.checkpoint}: calibrated on {found.photos} photos (ratings {declared.calibration.data})"]
    if found.temperature is not None:
        fitted = found.temperature
        lines.append(
            f"temperature {fitted.temperature:.4g}: negative log-likelihood {fitted.after:.4f} nats, before "
            f"{fitted.before:.4f}, on the photos it was fitted to"
        )
    for name, line in found.lines.items():
        low, high = declared.space.of(name).range
        unit = f" {options.unit}" if options.unit else ""
        lines.append(
            f"{name}: {line.intercept:.4g} + {line.slope:.4g} * score before, so that scores lie on "
            f"{low:.4g}..{high:.4g}{unit}"
        )
    intervals = declared.calibration.intervals
    for name, half in intervals.half_widths.items() if intervals is not None else ():
        count = intervals.rows[name]
        thirds = name in intervals.thirds
        low, high = likely_coverage(count // 3 if thirds else count, intervals.level)
        times = " standard deviations" if intervals.scaled else ""
        borders, widths = intervals.thirds.get(name, ((), (half,)))
        ends = [f" for scores up to {border:.4g}" for border in borders] + [" above that"] * bool(borders)
        shown = ", ".join(f"± {width:.4g}{times}{end}" for width, end in zip(widths, ends or [""], strict=True))
        lines.append(
            f"{name}: score {shown} holds {intervals.level:g} of ratings{' in each third' * thirds}; with {count} "
            f"ratings, 9 in 10 such calibrations hold a share of {low:.3f} to {high:.3f}"
        )
    lines += [f"{name}: one width for all scores, because {why}" for name, why in found.one_width.items()]
    if found.unrated:
        lines.append(f"not rated, and left as they are: {', '.join(found.unrated)}")
    return lines
