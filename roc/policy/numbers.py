"""Numbers in answers of models without a head: how they are read safely, and how the published code reads them.

With a head nothing is parsed, and no run calls these: they are for comparing models that write their score. The
published reader takes 75 for `.75` and 8 for `8/10`, finds numbers in prose where there is no answer, and draws a whole
number from 1 to 5 where it finds none.
"""

from __future__ import annotations

import re

_CLOSED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_OPEN = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
_PLAIN = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)\s*")
_PUBLISHED = re.compile(r"-?\d+(?:\.\d+)?")


def read_number(text: str, low: float = 0.0, high: float = 1.0) -> float | None:
    """Reads the one plain decimal in the last closed answer.

    Args:
        text: A whole answer.
        low: Lowest possible score.
        high: Highest possible score.

    Returns:
        The number; None where there is no closed answer, anything else stands in it, or the number is out of range.
    """
    answers = _CLOSED.findall(text)
    if not answers or not _PLAIN.fullmatch(answers[-1]):
        return None
    number = float(answers[-1])
    return number if low <= number <= high else None


def read_number_as_published(text: str) -> float | None:
    """Reads a number as the published code does; None where it would draw one by chance."""
    answers = _OPEN.findall(text)
    found = _PUBLISHED.search(answers[-1] if answers else text)
    return float(found[0]) if found else None
