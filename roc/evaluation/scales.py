"""The scales of an evaluation of a checkpoint: of its scores, of what people say, and of the ratings in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from roc.evaluation.keys import attribute_prefix
from roc.evaluation.options import EvaluateOptions
from roc.evaluation.rating_scale import own_ranges, rating_space
from roc.score_space import ScoreSpace

if TYPE_CHECKING:
    from roc.model.declaration import Declaration
    from roc.model.scales import DataScale


@dataclass(frozen=True)
class Scales:
    """The scales that an evaluation of a checkpoint has to do with.

    Attributes:
        space: Of the scores that the checkpoint gives.
        rated: Of what people say about the same; another one where a line has moved the scores.
        ratings: Of the ratings in the file; another one with `--map_range`.
        data_set: The data set on whose scale the scores are read; None = the declared one.
    """

    space: ScoreSpace
    rated: ScoreSpace
    ratings: ScoreSpace
    data_set: DataScale | None

    def metrics(self, attributes: Sequence[str]) -> dict[str, Any]:
        """Names the scales that a reader of the numbers has to know.

        Args:
            attributes: Of the checkpoint, in their order.

        Returns:
            `dataset`, the data set; `mapped_from`, the range that ratings were mapped from; `rating_range`, the range
            that people rate on where a line has moved the scores. The last two for a further attribute as
            `<attribute>/<key>`; each only where it applies.
        """
        found: dict[str, Any] = {} if self.data_set is None else {"dataset": self.data_set.name}
        own = {*self.ratings.attribute_ranges, *self.rated.attribute_ranges}
        for name in attributes:
            prefix, rated, given = attribute_prefix(name, attributes), self.rated.of(name), self.ratings.of(name)
            if given.range != rated.range and (name == attributes[0] or name in own):
                found[f"{prefix}mapped_from"] = list(given.range)
            if rated.range != self.space.of(name).range:
                found[f"{prefix}rating_range"] = list(rated.range)
        return found


def scales_of(options: EvaluateOptions, declaration: Declaration) -> Scales:
    """Finds the scales of an evaluation.

    Args:
        options: What is asked for.
        declaration: Of the checkpoint.

    Raises:
        ValueError: If an attribute or a data set is unknown, or ratings are on another scale without `map_range`.
    """
    own = own_ranges(options.attribute_ranges, declaration.attributes, options.checkpoint)
    space, rated = declaration.space, declaration.rating_space
    data_set = None if options.scale is None else declaration.scale(options.scale, options.checkpoint)
    if data_set is not None:
        low, high = data_set.range
        space = rated = replace(space, min_score=low, max_score=high, attribute_ranges={})
    given = None if options.min_score is None else (options.min_score, options.max_score)
    ratings = rating_space(rated, given, own, map_range=options.map_range, checkpoint=options.checkpoint)
    return Scales(space, rated, ratings, data_set)
