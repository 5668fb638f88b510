"""What is made from finished scores: the rows of the best images, copies of their files, a page of thumbnails."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from roc.data.rows import write_rows
from roc.score_space import range_in
from roc.scoring.copies import Fault, carry_out, copy_images, plan_moves
from roc.scoring.options import ScoreOptions
from roc.scoring.outputs import Facts, Outputs
from roc.scoring.sources import Source
from roc.scoring.stamps import STAMP

Rows = Callable[[], Iterator[dict[str, Any]]]
"""Reads all rows of a run from the start; it is called twice, so that only the chosen are held."""


class Selection(NamedTuple):
    """What was chosen.

    Attributes:
        count: How many images; None where nothing was to be chosen.
        faults: Those that could not be copied or moved.
        moved: Those that were moved, as `scores.run.json` notes them.
    """

    count: int | None = None
    faults: list[Fault] = []
    moved: dict[str, Any] = {}


def choose(
    rows: Rows,
    *,
    top: int | None = None,
    at_least: float | None = None,
    kept: Callable[[list[str]], list[str]] | None = None,
) -> list[dict[str, Any]]:
    """Chooses rows by their first score.

    Args:
        rows: Of a run; those without a score are never chosen.
        top: How many at most.
        at_least: Lowest score.
        kept: Names of images, best first -> those of them that stand for their groups; before `top` is taken.

    Returns:
        The chosen rows, best first; of equal scores, those that came first.
    """
    scores = {row["image"]: score for row in rows() if (score := first_score(row)) is not None}
    if at_least is not None:
        scores = {image: score for image, score in scores.items() if score >= at_least}
    count = len(scores) if top is None or kept is not None else top
    best = heapq.nlargest(count, scores, key=scores.__getitem__)
    if kept is not None:
        best = kept(best)[:top]
    rank = {image: i for i, image in enumerate(best)}
    chosen: list[dict[str, Any]] = [{}] * len(best)
    for row in rows():
        if row["image"] in rank:
            chosen[rank[row["image"]]] = row
    return chosen


def _groups(options: ScoreOptions, sources: Sequence[Source]) -> Callable[[list[str]], list[str]] | None:
    if options.group_by is None:
        return None
    from roc.scoring.bursts import best_of_groups

    by_name = {source.name: source for source in sources}
    return lambda names: best_of_groups(names, by_name, options.group_by, seconds=options.group_seconds)


def first_score(row: dict[str, Any]) -> float | None:
    """Gives the score that ranks a row, of the first attribute asked for; None where there is none."""
    return next((value for name, value in row.items() if name.startswith("prediction")), None)


def _compared(row: dict[str, Any]) -> str:
    """Words what a calibration and a reference say of the score that ranks a row; "" without both."""
    ending = next(name for name in row if name.startswith("prediction")).removeprefix("prediction")
    low, high, percentile = (row.get(f"{name}{ending}") for name in ("low", "high", "percentile"))
    said = [] if low is None else [f"{low:.2f} to {high:.2f} for {row['coverage']:.0%} of ratings"]
    said += [] if percentile is None else [f"above {percentile:.0f}% of the reference"]
    return ", ".join(said)


def _scorer(facts: Facts, rows: Sequence[dict[str, Any]]) -> str:
    """Names what scored; rows of an unfinished run of an older release do not say it."""
    return next((row["scorer"] for row in rows if "scorer" in row), Path(facts["checkpoint"]).name)


def select(options: ScoreOptions, facts: Facts, sources: Sequence[Source], rows: Rows) -> Selection:
    """Writes the chosen rows, copies or moves their images and draws the gallery, as far as the options ask for it.

    Args:
        options: Of the run.
        facts: Of the run: scale, attributes and checkpoint.
        sources: All images.
        rows: All rows.

    Raises:
        ValueError: Another file is in the place of a copy.
    """
    if not options.chooses and options.gallery is None:
        return Selection()
    files = Outputs(options.out)
    chosen = choose(rows, top=options.top, at_least=options.at_least, kept=_groups(options, sources))
    names = {row["image"] for row in chosen}
    places = {source.name: place for place, source in enumerate(sources) if source.name in names}
    by_name = {name: sources[place] for name, place in places.items()}
    faults: list[Fault] = []
    moved: dict[str, Any] = {}
    if options.chooses:
        write_rows(files.selected, [{k: v for k, v in row.items() if k != STAMP} for row in chosen])
    best = [by_name[row["image"]] for row in chosen]
    if options.copy_to is not None:
        faults += copy_images(best, Path(options.copy_to))
    if options.move_to is not None:
        ranks = [places[source.name] for source in best]
        faults += plan_moves(best, ranks, Path(options.move_to), files.moves)
        moved, unmoved = carry_out(files.moves)
        faults += unmoved
        by_name |= {name: by_name[name]._replace(path=move["to"]) for name, move in moved.items()}
    if options.gallery is not None:
        from roc.scoring.gallery import Shown, write_gallery

        write_gallery(
            options.gallery,
            [Shown(by_name[row["image"]], first_score(row), row.get("text"), _compared(row)) for row in chosen],
            scale=range_in(facts, facts["settings"]["attributes"][0]),
            attribute=facts["settings"]["attributes"][0],
            caption=f"scored by {_scorer(facts, chosen)}",
        )
    return Selection(len(chosen) if options.chooses else None, faults, moved)
