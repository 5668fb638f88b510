"""What is made from finished scores: the rows of the best images, copies of their files, a page of thumbnails."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from roc.data.rows import write_rows
from roc.files import write_whole
from roc.scoring.options import ScoreOptions
from roc.scoring.outputs import Facts, Outputs
from roc.scoring.sources import Source
from roc.scoring.urls import is_url

Rows = Callable[[], Iterator[dict[str, Any]]]
"""Reads all rows of a run from the start; it is called twice, so that only the chosen are held."""


def choose(rows: Rows, *, top: int | None = None, at_least: float | None = None) -> list[dict[str, Any]]:
    """Chooses rows by their first score.

    Args:
        rows: Of a run; those without a score are never chosen.
        top: How many at most.
        at_least: Lowest score.

    Returns:
        The chosen rows, best first; of equal scores, those that came first.
    """
    scores = {row["image"]: score for row in rows() if (score := first_score(row)) is not None}
    if at_least is not None:
        scores = {image: score for image, score in scores.items() if score >= at_least}
    best = heapq.nlargest(len(scores) if top is None else top, scores, key=scores.__getitem__)
    rank = {image: i for i, image in enumerate(best)}
    chosen: list[dict[str, Any]] = [{}] * len(best)
    for row in rows():
        if row["image"] in rank:
            chosen[rank[row["image"]]] = row
    return chosen


def first_score(row: dict[str, Any]) -> float | None:
    """Gives the score that ranks a row, of the first attribute asked for; None where there is none."""
    return next((value for name, value in row.items() if name.startswith("prediction")), None)


def select(options: ScoreOptions, facts: Facts, sources: Sequence[Source], rows: Rows) -> int | None:
    """Writes the chosen rows, copies their images and draws the gallery, as far as the options ask for it.

    Args:
        options: Of the run.
        facts: Of the run: scale, attributes and checkpoint.
        sources: All images.
        rows: All rows.

    Returns:
        How many were chosen; None where nothing was to be chosen.

    Raises:
        ValueError: Another file is in the place of a copy.
    """
    if not options.chooses and options.gallery is None:
        return None
    chosen = choose(rows, top=options.top, at_least=options.at_least)
    names = {row["image"] for row in chosen}
    by_name = {source.name: source for source in sources if source.name in names}
    if options.chooses:
        write_rows(Outputs(options.out).selected, chosen)
    if options.copy_to is not None:
        copy_images([by_name[row["image"]] for row in chosen], Path(options.copy_to))
    if options.gallery is not None:
        from roc.scoring.gallery import Shown, write_gallery

        write_gallery(
            options.gallery,
            [Shown(by_name[row["image"]], first_score(row), row.get("text")) for row in chosen],
            scale=(facts["min_score"], facts["max_score"]),
            attribute=facts["settings"]["attributes"][0],
            caption=f"scored by {Path(facts['checkpoint']).name}",
        )
    return len(chosen) if options.chooses else None


def copy_images(sources: Sequence[Source], folder: Path) -> None:
    """Copies images in their order as 01_name.jpg, 02_name.jpg, ...; a copy that is there already stays.

    Raises:
        ValueError: Another file is there under that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for rank, source in enumerate(sources, start=1):
        name = source.name.replace("\\", "/").rpartition("/")[2]
        target = folder / f"{rank:0{len(str(len(sources)))}d}_{name}"
        if target.exists():
            if target.read_bytes() != source.read():
                raise ValueError(f"{target} is there already and is another picture; give --copy_to a new folder")
        elif source.offset is None and not is_url(source.path):
            write_whole(target, lambda path, source=source: shutil.copy2(source.path, path))
        else:
            write_whole(target, lambda path, source=source: path.write_bytes(source.read()))
