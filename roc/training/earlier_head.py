"""The head of a checkpoint that a run starts from: trained on as it is, carried over to other settings, or replaced.

The levels of a head are evenly spaced over its range, so carrying it over to another range moves them affinely: a model
that gave the score s on a..b gives `A + (s - a) * (B - A) / (b - a)` on A..B before the first step. All attributes are
read by the same rows, each at its place in the answer, so other attributes need another question and answer only.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roc import __version__
from roc.score_space import range_words, ranges_text
from roc.training.config import OVERALL
from roc.training.run import RunError
from roc.training.wording import differing, usual_wording

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from roc.model.declaration import Declaration
    from roc.score_space import ScoreSpace
    from roc.training.config import RunConfig
    from roc.training.data import RunData

logger = logging.getLogger(__name__)


def check_head(config: RunConfig, base: PretrainedConfig) -> None:
    """Makes sure that the settings say what becomes of the head of a checkpoint, where they ask for another one.

    Args:
        config: The settings.
        base: Configuration of the model to start from.

    Raises:
        RunError: With the flags to choose from.
    """
    from roc.model.declaration import declaration_of, declares_head

    source = config.model_name_or_path
    if not declares_head(base):
        if config.new_head is False:
            raise RunError(
                f"new_head is false, but {source} carries no score head that could be carried over; leave new_head "
                "out, and it gets one."
            )
        return
    declaration = declaration_of(base).uncalibrated()
    other = _other_values(config, declaration)
    if config.new_head or not other:
        return
    if config.new_head is None:
        raise RunError("\n".join([_difference(config, other), *_choices(config, declaration, other)]))
    if "num_tokens" in other:
        levels = declaration.num_levels
        raise RunError(
            f"new_head is false, but the head of {source} has {levels} levels and num_tokens is {config.num_tokens}; "
            f"only a head of as many levels can be carried over. Give --num_tokens {levels}, or --new_head true for a "
            "new, untrained head."
        )


def settle_head(config: RunConfig, data: RunData, model: PreTrainedModel, **declared: Any) -> None:
    """Gives the model of a checkpoint the head that the settings ask for, and notes what became of the old one.

    Args:
        config: The settings, after `check_head`.
        data: Its training rows give the wording of other attributes.
        model: Carries the head of the checkpoint; changed in place.
        **declared: Further fields of the declaration.
    """
    from roc.model.attachment import renew_head
    from roc.model.declaration import declare

    before, source = model.declaration, config.model_name_or_path
    asked = config.score_space
    space = before.space if _scale(before.space) == _scale(asked) else asked
    after = replace(before, space=space, attributes=config.attributes, **_wording(config, data, before), **declared)
    if after.image_aspect_ratio != before.image_aspect_ratio:
        logger.warning(
            "%s was trained with image_aspect_ratio %s and goes on with %s; --image_aspect_ratio %s keeps it",
            *(source, before.image_aspect_ratio, after.image_aspect_ratio, before.image_aspect_ratio),
        )
    if config.new_head:
        renew_head(model, replace(after, base=model.name_or_path or before.base, version=__version__))
        logger.warning(
            "%s gets a new, untrained head: %d levels for %s; the rest of the model starts as it was trained",
            *(source, after.num_levels, ranges_text(after.space.ranges, after.attributes)),
        )
        return
    declare(model, after)
    changes = _changes(before, after.space, after.attributes)
    if changes:
        logger.warning("the head of %s is carried over: %s", source, "; ".join(changes))


def _wording(config: RunConfig, data: RunData, before: Declaration) -> dict[str, str | None]:
    """Chooses question and answer: for other attributes or a new head as for a new model, else only as asked for."""
    if config.new_head or config.attributes != before.attributes:
        return usual_wording(config, data)
    asked = {name: getattr(config, name) for name in ("question", "answer")}
    wording = {name: words for name, words in asked.items() if words is not None}
    if data.reasoning is None:
        if before.reasons:
            logger.warning(
                "%s reasons, and no row of this run holds a critique: it may unlearn to write them", config.source
            )
        return wording
    both = {"question": before.question, **wording, "reasoning": data.reasoning}
    if "question" not in wording and both["question"].strip() == data.reasoning:
        both["question"] = None
    return {**wording, **differing(both, config.attributes)}


def _other_values(config: RunConfig, declaration: Declaration) -> dict[str, tuple[Any, Any]]:
    """Finds the settings that differ from a head: `(value of the checkpoint, value asked for)` by name."""
    asked = config.score_space
    values = {
        "min_score": (declaration.space.min_score, asked.min_score),
        "max_score": (declaration.space.max_score, asked.max_score),
        "attribute_ranges": tuple(tuple(range_words(one.attribute_ranges)) for one in (declaration.space, asked)),
        "num_tokens": (declaration.num_levels, config.num_tokens),
        "attributes": (declaration.attributes, config.attributes),
    }
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def _difference(config: RunConfig, other: dict[str, tuple[Any, Any]]) -> str:
    differences = "; ".join(
        f"{name}: the checkpoint has {_text(has) or 'none'}, the settings say {_text(says) or 'none'}"
        for name, (has, says) in other.items()
    )
    return f"{config.model_name_or_path} carries another score head than asked for. {differences}. Add one of these:"


def _choices(config: RunConfig, declaration: Declaration, other: dict[str, tuple[Any, Any]]) -> list[str]:
    """Lists the flags that lead on, one way a line, with what each does."""
    levels = f"--num_tokens {declaration.num_levels} " if "num_tokens" in other else ""
    changes = _changes(declaration, config.score_space, config.attributes)
    choices = [
        (f"{levels}--new_head false", "; ".join(["carries its head over", *changes])),
        ("--new_head true", "puts a new, untrained head on the trained model"),
    ]
    if declaration.attributes[0] == OVERALL:  # others are no value of this setting
        kept = " ".join(f"--{name} {shlex.quote(_text(has))}" for name, (has, _) in other.items())
        choices.append((kept, "trains its head on as it is; the ratings have to be such"))
    return [f"  {flags}   {meaning}" for flags, meaning in choices]


def _changes(before: Declaration, space: ScoreSpace, attributes: tuple[str, ...]) -> list[str]:
    """Says what carrying a head over to a range and attributes changes; empty where both stay."""
    changes = []
    if before.space.range != space.range:
        changes.append(_moved(before.space, space))
    for name in attributes:
        if name in before.attributes and (name in before.space.attribute_ranges or name in space.attribute_ranges):
            old, new = before.space.of(name), space.of(name)
            changes += [f"{name}: {_moved(old, new)}"] * (old.range != new.range)
    added = [name for name in attributes if name not in before.attributes]
    dropped = [name for name in before.attributes if name not in attributes]
    if added:
        changes.append(f"{', '.join(added)} added, read by the same head")
    if dropped:
        changes.append(f"{', '.join(dropped)} dropped")
    if not added and not dropped and attributes != before.attributes:
        changes.append(f"attributes in the order {', '.join(attributes)}")
    return changes


def _scale(space: ScoreSpace) -> dict[str, Any]:
    return {**space.ranges, "num_levels": space.num_levels}


def _moved(old: ScoreSpace, new: ScoreSpace) -> str:
    """Says where a score of the old range comes to lie on the new one."""
    point, moved = (space.min_score + 0.75 * space.width for space in (old, new))
    return f"{_range(old)} becomes {_range(new)} in proportion, {point:g} as {moved:g}"


def _range(space: ScoreSpace) -> str:
    return f"{space.min_score:g}..{space.max_score:g}"


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}"
