"""What is compared: the same number of labels, as ratings of photos or as edits whose direction is known."""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "ratings"
"""The arm that learns from ratings, which the others are compared with."""


@dataclass(frozen=True)
class Arm:
    """One way to learn.

    Attributes:
        title: In the report.
        rated: File of the rated rows that it learns from, below the folder of the data set; None for none.
        pairs: Whether it learns from edits.
    """

    title: str
    rated: str | None
    pairs: bool


ARMS = {
    REFERENCE: Arm("ratings of photos", "ratings.csv", pairs=False),
    "edits": Arm("edits of photos that nobody rated", None, pairs=True),
    "edits_anchors": Arm("these edits, and the anchors among them", "anchors.csv", pairs=True),
}
