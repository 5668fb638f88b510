"""Changes: edits that all judges see in one direction, made of what each judge says in both orders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roc.relative.agreement import direction, unbiased, verdict
from roc.relative.consensus import Consensus
from roc.relative.editing import TOLD
from roc.relative.judges import Judgement


@dataclass(frozen=True)
class Change:
    """An edit that all judges see in one direction.

    Attributes:
        id: Its name, unique in the build.
        photo: Id of its photo.
        split: Of the photo.
        before, after: The pictures, below the folder of the build.
        delta: Points by which the edit made it better.
        words: A judge's reasons, the source shown first; None without any.
        swapped_words: The same judge's, the edit shown first.
        edit: What the records say about it.
    """

    id: str
    photo: str
    split: str
    before: str
    after: str
    delta: float
    words: str | None
    swapped_words: str | None
    edit: Mapping[str, Any]


@dataclass(frozen=True)
class Anchor:
    """A photo whose score is taught."""

    photo: str
    split: str
    picture: str
    consensus: Consensus


@dataclass(frozen=True)
class Heard:
    """What one judge says about a pair, both orders together.

    Attributes:
        difference: Points by which the edit is better than its source.
        spread: Standard deviation of that, by the judge's own account. Whether its errors in the two orders are
            independent is unknown, so it is that of the less certain one.
        words: Reasons, the source shown first; None where they belong to another direction.
        swapped_words: Reasons, the edit shown first.
    """

    difference: float
    spread: float | None
    words: str | None
    swapped_words: str | None

    @classmethod
    def of(cls, forward: Judgement, backward: Judgement) -> Heard:
        """Combines what is said with the source first, and with the edit first."""
        difference = unbiased(forward.difference, backward.difference)
        spreads = [one.spread for one in (forward, backward) if one.spread is not None]
        sign = direction(difference)
        return cls(
            difference,
            max(spreads, default=None),
            forward.words if direction(forward.difference) == sign else None,
            backward.words if direction(backward.difference) == -sign else None,
        )


def change_of(
    name: str, photo: str, split: str, source: str, row: Mapping[str, Any], found: Mapping[str, Heard]
) -> Change | tuple[str, str]:
    """Makes a change of what the judges say.

    Args:
        name: The edit's.
        photo: Id of its photo.
        split: Of the photo.
        source: The picture before.
        row: What the journal says about the edit.
        found: Judge -> what it says.

    Returns:
        The change, or (reason, detail) where the judges see none, or not the same one.
    """
    combined = verdict([one.difference for one in found.values()])
    said = {judge: round(one.difference, 4) for judge, one in found.items()}
    if not combined.unanimous:
        seen = any(direction(difference) for difference in said.values())
        told = ", ".join(f"{judge} {difference:+.2f}" for judge, difference in said.items())
        return "not unanimous" if seen else "no change", told
    # The words are those of the judge nearest to the median that has any.
    speakers = sorted(found.values(), key=lambda one: abs(one.difference - combined.delta))
    speaker = next((one for one in speakers if one.words), None)
    between = combined.spread or 0.0
    own = [one.spread**2 for one in found.values() if one.spread is not None]
    known = combined.spread is not None or own
    std = math.sqrt(between**2 + sum(own) / len(own)) if own else between
    edit = {key: row[key] for key in TOLD}
    edit |= {key: row[key] for key in ("returned", "quality") if key in row}
    edit |= {"delta": round(combined.delta, 2) + 0.0, "std": round(std, 4) if known else None, "verdicts": said}
    return Change(
        name,
        photo,
        split,
        source,
        row["picture"],
        combined.delta,
        None if speaker is None else speaker.words,
        None if speaker is None else speaker.swapped_words,
        edit,
    )
