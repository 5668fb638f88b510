"""Tiers: the three tones of a critique, and which photos are written about.

A score on the unit scale is bad in [0, 0.4), fair in [0.4, 0.7) and good in [0.7, 1]. The tone of a text follows the
tier, and a corpus holds as many texts of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from roc.data.records import Record, hash_fraction
from roc.score_space import ScoreSpace

TIERS = ("bad", "fair", "good")
BORDERS = (0.4, 0.7)
NEIGHBOURLY = 0.03
"""Distance from a border, on the unit scale, within which the tier beyond it is no contradiction."""

_ROUNDING = 1e-9
"""Scores lose this much on the way to the unit scale: 4.6 on 1..10 is 0.4 and comes out a little below."""


@dataclass(frozen=True)
class Photo:
    """A rated photo to write about.

    Attributes:
        id: Its id in the data file.
        path: The file.
        score: On the native scale.
        unit: The same on 0..1.
        tier: One of `TIERS`.
        record: What the data file says of it.
    """

    id: str
    path: str
    score: float
    unit: float
    tier: str
    record: Record

    @classmethod
    def of(cls, record: Record, space: ScoreSpace) -> Photo:
        """Makes it from a record with one image and an overall score."""
        score = record.scores["overall"]
        unit = space.to_unit(score)
        return cls(record.id, record.images[0], score, unit, tier_of(unit), record)


def tier_of(unit: float) -> str:
    """Names the tier of a score on the unit scale."""
    return TIERS[sum(unit >= border - _ROUNDING for border in BORDERS)]


def allowed_tiers(unit: float) -> set[str]:
    """Tiers that a judge may read out of a critique of a photo with this score on the unit scale."""
    return {tier_of(unit), tier_of(unit - NEIGHBOURLY), tier_of(unit + NEIGHBOURLY)}


def queues(photos: Iterable[Photo], *, balance: str, seed: int) -> dict[str, list[Photo]]:
    """Orders the photos by a hash of their ids, each tier for itself; the order of the file does not matter.

    Args:
        photos: Photos in any order.
        balance: "equal": one queue for each tier, the shortest first; "none": a single queue, "all".
        seed: Another seed gives another order.

    Raises:
        ValueError: If there are no photos, or with "equal" a tier has none.
    """
    ordered = sorted(photos, key=lambda photo: (hash_fraction(photo.id, f"corpus:{seed}"), photo.id))
    if not ordered:
        raise ValueError("no photo to write about: none has one image and an overall score in the splits asked for")
    if balance == "none":
        return {"all": ordered}
    found = {tier: [photo for photo in ordered if photo.tier == tier] for tier in TIERS}
    empty = [tier for tier in TIERS if not found[tier]]
    if empty:
        counts = ", ".join(f"{tier} {len(found[tier])}" for tier in TIERS)
        raise ValueError(
            f"no photo is {' or '.join(empty)} ({counts}; borders at 0.4 and 0.7 of the scale), so tiers cannot be "
            "balanced; check --min_score and --max_score, add such photos, or give --balance none"
        )
    return dict(sorted(found.items(), key=lambda item: (len(item[1]), TIERS.index(item[0]))))
