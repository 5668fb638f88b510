"""The usual ranges of ratings, the guess on which of them scores were given, and scores that lie outside a range."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable

from roc.data.faults import Faults
from roc.score_space import ScoreSpace

USUAL_RANGES = ((0.0, 1.0), (1.0, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (0.0, 100.0))
"""Native ranges of published data sets, in the order in which they are tried."""

_FEWEST_OUTSIDE = 3
"""Scores outside the range from which on, if they are half of all, the range is taken for wrong and not the scores."""


def guess_range(low: float, high: float, num_levels: int | None = None) -> tuple[float, float] | None:
    """Finds the narrowest usual range that holds scores from `low` to `high`.

    Args:
        low, high: lowest and highest score.
        num_levels: levels of the histograms. If 1..num_levels holds the scores, that is the range: votes are cast on
            whole numbers from 1.

    Returns:
        (lowest, highest) score of the range, or None.
    """
    levels = [(1.0, float(num_levels))] if num_levels is not None and num_levels > 1 else []
    return next((one for one in (*levels, *USUAL_RANGES) if one[0] <= low and high <= one[1]), None)


Declared = Callable[[str, str], str]
"""Says how the range of a file is declared, given its two ends."""


class RangeCheck:
    """Checks the scores of a file against the range that was declared for them, and tells in the end what is wrong.

    Args:
        space: the declared range.
        attribute: the one whose scores it looks at, where that has a range of its own; None for all others.
        declared: how the range is declared, where that is neither by `min_score, max_score` nor by attribute_ranges.
    """

    def __init__(self, space: ScoreSpace, attribute: str | None = None, declared: Declared | None = None) -> None:
        self._space = space
        self._attribute = attribute
        self._declared = declared
        self._count, self._low, self._high = 0, math.inf, -math.inf
        self._outside: dict[str, list[tuple[int, str]]] = {}

    def see(self, score: float, what: str, line: int) -> bool:
        """Looks at a finite score; tells whether it lies in the range.

        Args:
            score: the score.
            what: its name in the fault; those of one name are told once.
            line: its line.
        """
        self._count += 1
        self._low, self._high = min(self._low, score), max(self._high, score)
        try:
            settings = "min_score, max_score" if self._attribute is None else "attribute_ranges"
            if self._attribute is None and what != "the score":
                settings += "; or attribute_ranges, for this one alone"
            if self._declared is not None:
                settings = self._declared("LOWEST", "HIGHEST")
            self._space.check(score, what, settings=settings)
        except ValueError as error:
            self._outside.setdefault(what, []).append((line, str(error)))
            return False
        return True

    def add_faults(self, faults: Faults) -> None:
        """Adds one fault for each name; it proposes a range where the declared one is more likely wrong."""
        outside = sum(map(len, self._outside.values()))
        advice = ""
        if outside >= max(_FEWEST_OUTSIDE, self._count / 2):
            advice = f". {outside} of {self._count} scores are outside; all lie on {self._low:.4g}..{self._high:.4g}"
            guess = guess_range(self._low, self._high)
            if guess is not None:
                low, high = (f"{end:g}" for end in guess)
                flags = f"--min_score {low} --max_score {high}"
                if self._attribute is not None:
                    flags = f"--attribute_ranges {shlex.quote(f'{self._attribute}={low}:{high}')}"
                if self._declared is not None:
                    flags = self._declared(low, high)
                advice += f", by guess on the scale {low}..{high}: {flags}"
        for what, found in self._outside.items():
            for line, text in found:
                faults.add(line, f"{text}{advice}", ("outside the range", what))
