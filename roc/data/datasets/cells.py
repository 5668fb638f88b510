"""Cells of a data set's tables: numbers, lines of a list, and votes; one that cannot be used is `Unusable`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from roc.data.cells import as_number, shown


class Unusable(ValueError):
    """A row of a data set that cannot become a record; the message says why."""


def number(text: str, what: str) -> float:
    """Reads a finite number.

    Raises:
        Unusable: the text is none.
    """
    value = as_number(text)
    if value is None or not math.isfinite(value):
        raise Unusable(f"{what} is {shown(text or None)}; expected a number")
    return value


def image_and_score(text: str) -> tuple[str, float]:
    """Reads a line of a list, "image score".

    Raises:
        Unusable: it is no such line.
    """
    image, _, score = text.rpartition(" ")
    if not image.strip():
        raise Unusable(f"{text!r} is no image with a score")
    return image.strip(), number(score, "the score")


def statistics(counts: Sequence[float], levels: Sequence[float]) -> tuple[float, float, int]:
    """Computes the mean, the standard deviation and the number of votes.

    Args:
        counts: votes for each level (N,), none negative, at least one vote.
        levels: values of the levels (N,).

    Raises:
        Unusable: other counts.
    """
    total = math.fsum(counts)
    if min(counts) < 0 or total <= 0:
        given = ", ".join(f"{count:g}" for count in counts)
        raise Unusable(f"the votes are {given}; expected at least one, and none below 0")
    mean = math.fsum(count * level for count, level in zip(counts, levels, strict=True)) / total
    variance = math.fsum(count * (level - mean) ** 2 for count, level in zip(counts, levels, strict=True)) / total
    return mean, math.sqrt(variance), round(total)
