"""What is compared: the same number of labels, as ratings of photos or as edits whose direction is known.

The anchors, which the line after training needs in any case, are taught too by two of the arms: by themselves, and
beside the edits.
"""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "ratings"
"""The arm that learns from as many ratings as the others have edits."""


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
    "edits_anchors": Arm("these edits and, beside them, the anchors", "anchors.csv", pairs=True),
    "anchors": Arm("the anchors alone", "anchors.csv", pairs=False),
}

DIFFERENCES = (
    ("edits", REFERENCE),
    ("edits_anchors", REFERENCE),
    ("anchors", REFERENCE),
    ("edits_anchors", "anchors"),
)
"""Arms whose difference the table shows, first minus second."""
