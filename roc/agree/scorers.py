"""What is asked for scores: roc checkpoints, loaded one at a time, or any callable of pictures.

Both give one row per view, in order, as `roc.scoring.local.score_images` does: `image`, then `prediction` or `error`,
and `file`, the stamp that tells whether the photo was replaced. Scores of a checkpoint are brought to 0..1, so that
sensitivities of models with different ranges can be compared; those of a callable stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from roc.agree.config import SensitivityOptions
from roc.agree.views import CHANGES, Views
from roc.checkpoint.names import check_exists
from roc.data.images import ImageError
from roc.scoring.stamps import STAMP, stamp_of

if TYPE_CHECKING:
    from roc.scoring.assessment import Assessment

Pictures = Callable[[list[Image.Image]], Sequence[float]]
"""Takes RGB images and gives a score for each."""


class Checkpoints:
    """The checkpoints of a run; one is in memory at a time.

    Args:
        options: Of the run.

    Attributes:
        facts: What decides the scores of each, in their order: the journal holds it.

    Raises:
        ValueError: One cannot be used, or two have different ranges.
        FileNotFoundError: There is no such checkpoint.
    """

    def __init__(self, options: SensitivityOptions) -> None:
        self._options = options
        for name in options.checkpoint:
            check_exists(name)
        self._loaded: tuple[int, Assessment] | None = None
        self.facts = [self._facts(place) for place in range(len(options.checkpoint))]
        ranges = {tuple(facts["range"]) for facts in self.facts}
        if len(ranges) > 1:
            shown = ", ".join(f"{low:g}..{high:g}" for low, high in sorted(ranges))
            raise ValueError(f"the checkpoints score on {shown}; expected one range for all of them")

    def rows(self, place: int, views: Views) -> Iterator[dict[str, Any]]:
        """Scores views by one of the checkpoints.

        Raises:
            ValueError: A single picture does not fit into memory.
        """
        from roc.scoring.batches import OutOfMemory, Scorer, Wanted
        from roc.scoring.local import score_images

        options, assessment = self._options, self._assessment(place)
        name = self.facts[place]["score"]
        column = "prediction" if name == assessment.attributes[0] else f"prediction.{name}"
        low, high = self.facts[place]["range"]
        scorer = Scorer(assessment, Wanted((name,)), options.batch_size)
        rows = score_images(
            scorer, views, options.checkpoint[place], workers=options.workers, image_seconds=options.image_seconds
        )
        try:
            for row in rows:
                found = {key: row[key] for key in ("image", "error", STAMP) if key in row}
                yield found if "error" in row else {**found, "prediction": (row[column] - low) / (high - low)}
        except OutOfMemory as error:
            raise ValueError(f"{error}; free some, and the same command goes on from here") from error

    def _facts(self, place: int) -> dict[str, Any]:
        from roc.scoring.identity import identity

        assessment = self._assessment(place)
        (name,) = assessment.wanted(None if self._options.score is None else (self._options.score,))[:1]
        return {**identity(assessment), "dtype": assessment.dtype, "score": name}

    def _assessment(self, place: int) -> Assessment:
        from roc.scoring.assessment import Assessment

        if self._loaded is None or self._loaded[0] != place:
            self._loaded = None  # frees the one before
            options = self._options
            self._loaded = place, Assessment(options.checkpoint[place], device=options.device, dtype=options.dtype)
        return self._loaded[1]


class Callables:
    """Callables of pictures, one for each fold.

    Args:
        functions: The callables.
        names: What tells them from others: a run goes on only under the same names.
    """

    def __init__(self, functions: Sequence[Pictures], names: Sequence[str]) -> None:
        if len(functions) != len(names):
            raise ValueError(f"there are {len(functions)} callables and {len(names)} names; give a name for each")
        self._functions = functions
        self.facts: list[dict[str, Any]] = [{"callable": name} for name in names]

    def rows(self, place: int, views: Views) -> Iterator[dict[str, Any]]:
        """Scores views by one of the callables, the views of one photo at a time.

        Raises:
            ValueError: It gives anything but a number for each picture.
        """
        for start in range(0, len(views), len(CHANGES)):
            batch = [views[index] for index in range(start, start + len(CHANGES))]
            heads = [{"image": view.name, STAMP: stamp_of(view)} for view in batch]
            try:
                pictures = [view.open() for view in batch]
            except ImageError as error:
                yield from ({**head, "error": str(error)} for head in heads)
                continue
            scores = [float(score) for score in self._functions[place](pictures)]
            if len(scores) != len(pictures):
                name = self.facts[place]["callable"]
                raise ValueError(
                    f"{name} gave {len(scores)} scores for {len(pictures)} pictures; expected one for each"
                )
            for head, score in zip(heads, scores, strict=True):
                yield (
                    {**head, "prediction": score} if math.isfinite(score) else {**head, "error": f"no number: {score}"}
                )
