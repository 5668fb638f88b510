"""Attaching the score head to a vision-language model.

`attach` changes a live model in place: its class becomes the roc subclass of its own class (`roc.model.modeling`), its
vocabulary gains one ordinary row for `[SCORE]` (`roc.model.vocabulary`), and `config.roc` declares everything that is
needed to read the head. The logits of all other tokens stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin

import roc.model.backbone
import roc.model.mplug_owl2  # noqa: F401  the Auto classes know both from here on
from roc.model.declaration import PAIR_WEIGHTS, WEIGHTS, Declaration, declare
from roc.model.families import family
from roc.model.head import ScoreHead
from roc.model.modeling import RocMixin, hidden_size, roc_class
from roc.model.vocabulary import add_score_token, fill_row, gathered
from roc.score_space import ScoreSpace

SETTINGS = (*WEIGHTS, *PAIR_WEIGHTS, "l1_scale", "published_losses", "image_aspect_ratio", "max_pixels")
"""Names of the settings that `attach` takes by keyword; `Declaration` checks their values."""


def attach(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    space: ScoreSpace,
    *,
    attributes: Sequence[str] = ("overall",),
    question: str | None = None,
    answer: str | None = None,
    reasoning: str | None = None,
    **settings: float | str | bool | None,
) -> PreTrainedModel:
    """Gives `model` the `[SCORE]` token and the score head, in place.

    The new vocabulary row is the mean of the old ones, in the input and the output embeddings. The head starts at zero,
    so every score is the midpoint until it is trained. With `published_losses`, whose text loss also reads the level
    rows, these start as that mean instead, as the published ones do; the score is the midpoint all the same.

    Args:
        model: A decoder-only image-text-to-text model of `transformers`.
        processor: Its processor. The tokenizer inside gains `[SCORE]`; a processor without a chat template gets that of
            `roc.model.families`.
        space: Range and number of levels of the scores.
        attributes: Names of the scores in an answer, in order; the first or only one is called `overall`.
        question: What is asked; None = the house wording for these attributes.
        answer: How the answer reads, with one `[SCORE]` per attribute; None = the house wording.
        reasoning: What is asked for a critique before the score; None = the model is not to reason.
        **settings: `text_weight, l1_weight, ce_weight, emd_weight` and, of pairs, `delta_weight, rank_weight` (>= 0),
            `l1_scale` ("unit" or "native"), `published_losses` (bool), `image_aspect_ratio` ("keep", or "pad" to a
            square first), `max_pixels` (larger images are scaled down to it first; None = none).

    Returns:
        The same object, now an instance of the roc subclass of its class.

    Raises:
        ValueError: If the model cannot carry the head (already attached, encoder-decoder, no output embeddings) or a
            setting is unknown or out of bounds.
    """
    check_can_carry(model)
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise ValueError(f"Unknown settings for attach: {', '.join(unknown)}. Known: {', '.join(SETTINGS)}.")
    facts = family(model.config.model_type)
    # Checked before anything is changed; the token has no row yet.
    declaration = Declaration(
        space=space,
        token_id=0,
        attributes=attributes,
        question=question,
        answer=answer,
        reasoning=reasoning,
        prefix_lm=facts.prefix_lm,
        base=model.name_or_path or None,
        **settings,
    )
    if getattr(processor, "chat_template", None) is None:
        processor.chat_template = facts.chat_template
    return carry_head(model, replace(declaration, token_id=add_score_token(model, processor)))


def carry_head(model: PreTrainedModel, declaration: Declaration) -> PreTrainedModel:
    """Gives `model` the vocabulary row and the head that a declaration describes, in place, without a tokenizer.

    Args:
        model: As for `attach`.
        declaration: The vocabulary row of its token becomes the mean of the rows before it.

    Returns:
        The same object, with a new head as after `attach`.

    Raises:
        ValueError: If the model cannot carry the head.
    """
    check_can_carry(model)
    fill_row(model, declaration.token_id)
    model.__class__ = roc_class(type(model))
    model._keep_in_fp32_modules_strict = {*(model._keep_in_fp32_modules_strict or ()), "score_head"}
    return renew_head(model, declaration)


def renew_head(model: PreTrainedModel, declaration: Declaration) -> PreTrainedModel:
    """Gives `model` a new, untrained head that a declaration describes, in place; the rest of the model stays.

    Args:
        model: An instance of a roc class, with or without a head; not wrapped by PEFT.
        declaration: Its token is the one that the model has a vocabulary row for.

    Returns:
        The same object; every score is the midpoint of the range.
    """
    # Added as a module here instead of in __init__, because the model exists already and keeps its weights.
    head = ScoreHead(hidden_size(model), declaration.num_levels)
    model.score_head = head.to(model.get_output_embeddings().weight.device)
    declare(model, declaration)
    if declaration.published_losses:
        row = model.get_output_embeddings().weight
        with gathered([row]), torch.no_grad():
            model.score_head.weight.copy_(row[declaration.token_id])
    return model


def model_class(config) -> type[PreTrainedModel]:
    """Looks up the image-text-to-text class of `transformers` for a configuration.

    Raises:
        ValueError: If `transformers` has none for this type.
    """
    try:
        return AutoModelForImageTextToText._model_mapping[type(config)]
    except KeyError:
        raise ValueError(
            f"{config.model_type!r} is no image-text-to-text model of this transformers version; roc attaches to "
            "models that AutoModelForImageTextToText can load. A vision encoder is trained with `roc finetune --host "
            "backbone`."
        ) from None


def check_can_carry(model: PreTrainedModel) -> None:
    """Makes sure that a head can be attached to `model`.

    Raises:
        ValueError: If it carries one or has adapters already, is an encoder-decoder, or has no output embeddings.
    """
    name = type(model).__name__
    if hasattr(model, "peft_config"):
        raise ValueError(
            f"This {name} already has PEFT adapters; attach the head first, then roc.model.adapters.add_lora."
        )
    if isinstance(model, RocMixin):
        raise ValueError(
            f"This {name} already carries a score head (config.roc). `roc finetune --model_name_or_path` trains it on; "
            "with --new_head true it gets a new head, with --new_head false its head is carried over to another range."
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(
            f"{name} is an encoder-decoder; the head needs a decoder that reads image and text as one row."
        )
    if model.get_output_embeddings() is None:
        raise ValueError(f"{name} has no output embeddings (no language-model head), so there is nothing to read from.")
