"""`score_frame`: the photos that a column of a pandas data frame names, scored into a frame of the same index."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from PIL import Image

from roc.data.images import ImageError
from roc.model.device import usable_cores
from roc.scoring.assessment import Assessment, opened
from roc.scoring.batches import Scorer, Wanted
from roc.scoring.results import Assessed
from roc.scoring.urls import is_url

if TYPE_CHECKING:
    import pandas

_WORDS = ("calibrated", "reason", "unit", "scale", "scorer")
"""Columns that hold no numbers."""


def score_frame(
    frame: pandas.DataFrame,
    column: str,
    checkpoint: str | os.PathLike[str] | Assessment,
    *,
    attributes: Sequence[str] | None = None,
    scale: str | None = None,
    distribution: bool = False,
    image_folder: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> pandas.DataFrame:
    """Scores the photos of a data frame, one forward pass per batch.

    Args:
        frame: Any data frame; it is not changed.
        column: The column of its photos: paths, URLs that fsspec knows, bytes of a file, PIL images, or uint8 RGB
            arrays (H, W, 3).
        checkpoint: Folder or hub id of a model that carries the score head, or an `Assessment` that has loaded it.
        attributes: Names of the scores to give; None gives all of the checkpoint.
        scale: Of a checkpoint that was trained on several data sets, the one on whose scale scores are given
            (docs/mixing.md), named in a column `scale`; None gives the shared score.
        distribution: Whether to add `p_1 .. p_N`, the probabilities of the levels of the first attribute, if that is
            among the scores.
        image_folder: Where relative paths start from; None takes the working directory.
        device: "cuda", "mps", "cpu", ... for a checkpoint given by name; None takes the first of these that is there.

    Returns:
        A new frame with the index of `frame` and the columns of `roc score`: `prediction` and `std` of the
        checkpoint's first attribute, `prediction.<attribute>` of the others, `min_score`, `max_score`, `calibrated`,
        `scorer`, those of a calibration and a reference where the checkpoint has them (docs/calibration.md), and
        `reason`. Of a photo that could not be scored the numbers are NaN and `reason` says why; of all others it
        is None.

    Raises:
        ImportError: pandas is not installed.
        TypeError: `frame` is no data frame.
        ValueError: There is no such column, or two of this name, or the checkpoint cannot be used, or does not know an
            attribute or a scale.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{error}; score_frame needs: pip install 'roc-mllm[pandas]'") from error
    photos = _photos(frame, column, pandas.DataFrame)
    if isinstance(checkpoint, Assessment):
        if device is not None:
            raise ValueError(f"device is {device!r}, but the Assessment is on its own already; leave device out")
        assessment = checkpoint
    else:
        assessment = Assessment(checkpoint, device=device)
    asked = None if scale is None else assessment.model.declaration.scale(scale, "this checkpoint")
    scorer = Scorer(assessment, Wanted(assessment.wanted(attributes), distribution, scale=asked))
    nothing = scorer.row(Assessed(dict.fromkeys(scorer.wanted.attributes))) | {"reason": None}
    rows: list[dict[str, Any]] = []
    for start in range(0, len(photos), assessment.batch_size):
        batch = list(_opened(photos[start : start + assessment.batch_size], image_folder))
        rows += (nothing | row for row in _rows(scorer, batch))
    columns = {
        name: pandas.Series(
            [row[name] for row in rows], index=frame.index, dtype=object if name in _WORDS else "float64"
        )
        for name in nothing
    }
    return pandas.DataFrame(columns, index=frame.index).astype({"calibrated": bool})


def _photos(frame: Any, column: str, kind: type) -> list[Any]:
    """Gives the cells of the column, None for those that are empty."""
    if not isinstance(frame, kind):
        raise TypeError(f"expected a pandas DataFrame, got {type(frame).__module__}.{type(frame).__name__}")
    count = sum(name == column for name in frame.columns)
    if count != 1:
        there = ", ".join(map(repr, frame.columns[:20])) or "none"
        what = "there is no column" if count == 0 else f"there are {count} columns"
        raise ValueError(f"{what} {column!r} in the data frame; its columns are {there}")
    return [None if empty else photo for photo, empty in zip(frame[column], frame[column].isna(), strict=True)]


def _opened(
    photos: Sequence[Any], image_folder: str | os.PathLike[str] | None
) -> Iterator[tuple[Image.Image | None, str | None]]:
    """Opens photos in several threads: each is a picture, or the reason why there is none."""

    def one(photo: Any) -> tuple[Image.Image | None, str | None]:
        if photo is None or (isinstance(photo, str) and not photo.strip()):
            return None, "the cell is empty; expected an image"
        if image_folder is not None and isinstance(photo, str | os.PathLike) and not is_url(os.fspath(photo)):
            photo = os.path.join(image_folder, photo)
        try:
            return opened(photo), None
        except ImageError as error:
            return None, str(error)

    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        yield from pool.map(one, photos)


def _rows(scorer: Scorer, batch: Sequence[tuple[Image.Image | None, str | None]]) -> Iterator[dict[str, Any]]:
    """Scores the pictures of a batch; gives the columns of each, or the reason why there are none."""
    pictures = [picture for picture, _ in batch if picture is not None]
    found = iter(scorer.assessment.score(pictures, scorer.wanted.attributes) if pictures else ())
    for picture, reason in batch:
        row = {"error": reason} if picture is None else scorer.row(next(found))
        yield {"reason": row["error"]} if "error" in row else row
