"""The layout of a public data set: what is known about it before its folder is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from roc.score_space import ScoreSpace


@dataclass(frozen=True)
class Layout:
    """What a data set is called, what its folder holds, and on which scale it was rated.

    Attributes:
        name: its name as the papers write it; the `dataset` of every record.
        tree: contents of the folder as an error shows them: a line for each file or folder.
        min_score, max_score: native range; every score of a record has to lie in it, or in that of its attribute.
        attribute_ranges: attribute -> its native range, for attributes on another one.
        num_tokens: number of levels that suits the data: that of the votes where they are published, else 10.
        attributes: names of the other scores, in the order of the columns.
        splits: names of the published splits, out of train, val and test; empty where none is published.
        remarks: what users of the records have to know; part of the summary.
        unverified: what of this could not be read in public code or documents; `convert` warns about it.
    """

    name: str
    tree: str
    min_score: float
    max_score: float
    attribute_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    num_tokens: int = 10
    attributes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    unverified: str | None = None

    @property
    def space(self) -> ScoreSpace:
        """The scale of every score."""
        return ScoreSpace(self.min_score, self.max_score, self.num_tokens, attribute_ranges=dict(self.attribute_ranges))
