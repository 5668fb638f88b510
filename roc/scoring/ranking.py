"""Who beats whom: the order of images and how likely each beats another one, from the mean and spread of each score.

`win_probability` and `rank` are the arithmetic, on plain numbers; `rank_photos` is the work of `roc rank`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from roc.score_space import Range
    from roc.scoring.assessment import Assessment
    from roc.scoring.comparing import Compared
    from roc.scoring.options import RankOptions
    from roc.scoring.results import Assessed
    from roc.scoring.sources import Source

MOST_RANKED = 1000
"""Photos up to which each is compared with each."""


def win_probability(mean: float, std: float, other_mean: float, other_std: float) -> float:
    """Computes the probability that a draw from the first normal distribution exceeds one from the second.

    Phi((mean - other_mean) / sqrt(std^2 + other_std^2)); 1, 0.5 or 0 if both spreads are 0.
    """
    spread = math.hypot(std, other_std)
    if spread == 0:
        return 0.5 + 0.5 * ((mean > other_mean) - (mean < other_mean))
    return 0.5 * (1 + math.erf((mean - other_mean) / spread / math.sqrt(2)))


def rank(means: Sequence[float], stds: Sequence[float]) -> tuple[list[int], list[list[float]]]:
    """Orders images and computes pairwise win probabilities.

    Args:
        means: (n,) scores; higher is better.
        stds: (n,) standard deviations.

    Returns:
        (order, wins): indices, best first, ties in their given order; (n, n) probabilities that row i beats column j,
        0.5 on the diagonal.
    """
    order = sorted(range(len(means)), key=lambda i: -means[i])
    pairs = list(zip(means, stds, strict=True))
    return order, [
        [0.5 if i == j else win_probability(*one, *other) for j, other in enumerate(pairs)]
        for i, one in enumerate(pairs)
    ]


@dataclass(frozen=True)
class Ranking:
    """Photos in the order of a score.

    Attributes:
        attribute: Name of the score.
        names: (n,) photos, best first.
        assessed: (n,) what the model says of each, the score that ranks it present in all.
        wins: (n, n) probability that the photo of the row beats that of the column.
        compared: (n - 1,) what the model says of each photo and the one behind it, asked about both at once; empty
            where it was not asked. The change is from the worse one to the better one.
        change_range: Lowest and highest change; None where it was not asked.
        scorer: Name and version of what scored; None where that is told elsewhere.
    """

    attribute: str
    names: list[str]
    assessed: list[Assessed]
    wins: list[list[float]]
    compared: Sequence[Compared] = ()
    change_range: Range | None = None
    scorer: str | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Gives a row for each photo: `rank`, `image`, the score with its spread, `beats_next`, and words if any.

        Of a checkpoint that is calibrated or has a reference, `low, high` and `percentile, reward` follow the spread.

        `beats_next` is the probability that it beats the photo behind it; None for the last one. `change` with
        `change_std` and `change_distribution`, `why` and `kind` are what `compared` holds, of all photos but the last.
        """
        rows = []
        for place, (name, one) in enumerate(zip(self.names, self.assessed, strict=True)):
            score = one.scores[self.attribute]
            last = place + 1 == len(self.names)
            row = {"rank": place + 1, "image": name, "prediction": score.value, "std": score.std}
            row |= score.comparisons()
            row |= {"beats_next": None if last else self.wins[place][place + 1]}
            if place < len(self.compared):
                asked = self.compared[place].to_dict()
                row |= {f"change_{name}" if name in ("std", "distribution") else name: asked[name] for name in asked}
            rows.append(row | ({} if one.text is None else {"text": one.text}))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Gives all of it, ready for JSON: attribute, its range, whether the spread was trained, photos, wins."""
        score = self.assessed[0].scores[self.attribute]
        about = {"attribute": self.attribute, "range": list(score.range), "calibrated": score.calibrated}
        about |= {} if self.scorer is None else {"scorer": self.scorer}
        if self.compared:
            about["change_range"] = None if self.change_range is None else list(self.change_range)
        return {**about, "photos": self.rows(), "win_probability": self.wins}


def rank_photos(options: RankOptions) -> Ranking:
    """Scores photos and puts them in order, best first.

    Raises:
        ValueError: There are fewer than two photos or more than `MOST_RANKED`, one cannot be read or gets no score, or
            the checkpoint carries no head or does not know the attribute or the scale.
    """
    from roc.scoring.sources import find_sources

    sources = find_sources(options.photos).sources
    if len(sources) < 2:
        raise ValueError("there is 1 photo to rank; name two or more, or a folder that holds them")
    if len(sources) > MOST_RANKED:
        raise ValueError(
            f"there are {len(sources)} photos, and each would be compared with each; rank up to {MOST_RANKED}, or use "
            "roc score --top"
        )

    from roc.scoring.assessment import Assessment
    from roc.scoring.comparing import check_compares
    from roc.scoring.scales import on_scale

    assessment = Assessment(options.checkpoint, device=options.device)
    attribute = assessment.wanted(options.attribute)[0]
    scale = None if options.scale is None else assessment.model.declaration.scale(options.scale, options.checkpoint)
    if options.compare:
        check_compares(assessment.model.declaration, options.checkpoint)
    assessed: dict[str, Assessed] = {}
    faults: list[str] = []
    for start in range(0, len(sources), assessment.batch_size):
        pictures = _opened(sources[start : start + assessment.batch_size], faults)
        if faults:
            continue  # the other photos that cannot be read are told with the first
        images = list(pictures.values())
        found = assessment.describe(images) if options.describe else assessment.score(images, [attribute])
        assessed |= dict(zip(pictures, found, strict=True))
    if faults:
        raise ValueError("\n".join(faults))
    found = replace(ranking(attribute, assessed), scorer=assessment.scorer)
    if scale is not None:
        found = replace(found, assessed=[on_scale(one, scale) for one in found.assessed])
    if not options.compare:
        return found
    comparison = assessment.model.declaration.comparison
    asked = _compared(assessment, found, sources)
    return replace(found, compared=asked, change_range=(comparison.low, comparison.high))


def _compared(assessment: Assessment, found: Ranking, sources: Sequence[Source]) -> list[Compared]:
    """Asks about each photo and the one behind it, in words where the model has some."""
    from roc.scoring.comparing import compare

    by_name = {source.name: source for source in sources}
    words = assessment.model.declaration.comparison.reasoning is not None
    answers: list[Compared] = []
    pairs, size = list(itertools.pairwise(found.names)), assessment.batch_size
    for start in range(0, len(pairs), size):
        few = [(by_name[worse].open(), by_name[better].open()) for better, worse in pairs[start : start + size]]
        answers += compare(assessment, few, words=words)
    return answers


def _opened(sources: Sequence[Source], faults: list[str]) -> dict[str, Image.Image]:
    """Opens photos; what cannot be read is added to the faults."""
    from roc.data.images import ImageError

    pictures = {}
    for source in sources:
        try:
            pictures[source.name] = source.open()
        except ImageError as error:
            faults.append(f"{source.name}: {error}")
    return pictures


def ranking(attribute: str, assessed: Mapping[str, Assessed]) -> Ranking:
    """Puts photos that were scored in order.

    Args:
        attribute: Name of the score.
        assessed: Photo -> what the model says of it.

    Raises:
        ValueError: A photo has no such score.
    """
    names = list(assessed)
    scores = [assessed[name].scores[attribute] for name in names]
    missing = [name for name, score in zip(names, scores, strict=True) if score is None]
    if missing:
        raise ValueError(f"{missing[0]}: the model gave no score for {attribute}; leave this photo out")
    order, wins = rank([score.value for score in scores], [score.std for score in scores])
    return Ranking(
        attribute,
        [names[i] for i in order],
        [assessed[names[i]] for i in order],
        [[wins[i][j] for j in order] for i in order],
    )
