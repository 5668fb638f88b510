"""Making a vision-language model carry the score head, and loading one that does.

`attach` changes a live model in place: its class becomes the roc subclass of its own class (`roc.modeling`), its
vocabulary gains one ordinary row for `[SCORE]`, and `config.roc` takes everything that is needed to read the head.
No logit of an old token changes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin

from roc import __version__
from roc.head import ScoreHead
from roc.modeling import RocMixin, hidden_size, roc_class
from roc.processing import load_processor, save_processor
from roc.prompts import SCORE_TOKEN
from roc.prompts import answer as house_answer
from roc.prompts import question as house_question
from roc.score_space import ScoreSpace

_SETTINGS = {
    "text_weight": 1.0,
    "l1_weight": 1.0,
    "ce_weight": 0.0,
    "emd_weight": 0.0,
    "l1_scale": "unit",
    "published_losses": False,
    "image_aspect_ratio": "keep",
}


def attach(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    space: ScoreSpace,
    *,
    attributes: Sequence[str] = ("overall",),
    question: str | None = None,
    answer: str | None = None,
    **settings: float | str | bool,
) -> PreTrainedModel:
    """Gives `model` the `[SCORE]` token and the score head, in place.

    The new vocabulary row is the mean of the old ones, in the input and the output embeddings; the head starts at zero,
    so every score is the midpoint until it is trained.

    Args:
        model: a decoder-only image-text-to-text model of `transformers`.
        processor: its processor; the tokenizer inside gains `[SCORE]`.
        space: range and number of levels of the scores.
        attributes: names of the scores an answer holds, in order; the first or only one is called `overall`.
        question: what is asked; None = the house wording for these attributes.
        answer: how the answer reads, with one `[SCORE]` per attribute; None = the house wording.
        **settings: `text_weight, l1_weight, ce_weight, emd_weight` (>= 0), `l1_scale` ("unit" or "native"),
            `published_losses` (bool), `image_aspect_ratio` ("keep", or "pad" to a square first).

    Returns:
        The same object, now an instance of the roc subclass of its class.

    Raises:
        ValueError: where the model cannot carry the head (already attached, encoder-decoder, no output embeddings) or
            a setting is not known.
    """
    _check_can_carry(model)
    unknown = sorted(set(settings) - set(_SETTINGS))
    if unknown:
        raise ValueError(f"Unknown settings for attach: {', '.join(unknown)}. Known: {', '.join(_SETTINGS)}.")
    attributes = list(attributes)
    if not attributes or len(set(attributes)) != len(attributes):
        raise ValueError(f"attributes must be distinct names, at least one; got {attributes}.")
    if answer is not None and answer.count(SCORE_TOKEN) != len(attributes):
        raise ValueError(
            f"The answer holds {answer.count(SCORE_TOKEN)} {SCORE_TOKEN} for {len(attributes)} attributes "
            f"({', '.join(attributes)}); write one {SCORE_TOKEN} for each, in that order. Answer: {answer!r}."
        )

    token_id = _add_score_token(model, processor.tokenizer)
    # On the class's own module list, not through __init__: the model is alive and keeps its weights.
    head = ScoreHead(hidden_size(model), space.num_levels)
    model.__class__ = roc_class(type(model))
    model.score_head = head.to(model.get_output_embeddings().weight.device)
    model._keep_in_fp32_modules_strict = {*(model._keep_in_fp32_modules_strict or ()), "score_head"}
    model.config.roc = {
        "version": __version__,
        "token": SCORE_TOKEN,
        "token_id": token_id,
        **space.to_dict(),
        "attributes": attributes,
        "question": house_question(attributes) if question is None else question,
        "answer": house_answer(attributes) if answer is None else answer,
        **_SETTINGS,
        **settings,
        "distribution_supervised": False,
        "dataset": None,
    }
    return model


def load(
    path: str | os.PathLike,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    **kwargs,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model that carries the head, with its processor, in eval mode.

    Args:
        path: folder or hub id written by roc.
        device: where the weights go; None = where `from_pretrained` leaves them (CPU).
        dtype: of the backbone, e.g. "bfloat16"; None = the dtype it was saved in. The head stays float32.
        **kwargs: of the model's `from_pretrained` (`attn_implementation`, `quantization_config`, ...); `revision`,
            `token` and `cache_dir` go to config and processor too.

    Raises:
        FileNotFoundError: where `path` looks like a folder and there is none.
        ValueError: where the checkpoint carries no head.
    """
    name = os.fspath(path)
    local = os.path.isabs(name) or name.startswith(".") or name.count("/") > 1 or os.path.isdir(os.path.dirname(name))
    if local and not os.path.isdir(name):
        raise FileNotFoundError(
            f"There is no folder {name}. `bash scripts/finetune.sh` makes checkpoints/demo; a model of a hub is named "
            "organisation/model."
        )
    where = {key: kwargs[key] for key in ("revision", "token", "cache_dir") if key in kwargs}
    config = AutoConfig.from_pretrained(path, **where)
    if getattr(config, "roc", None) is None:
        raise ValueError(
            f"{path} carries no score head (its config.json has no 'roc' section). Train one with "
            f"`bash scripts/finetune.sh --model_name_or_path {path} ...`, or give the folder that roc wrote."
        )
    model = roc_class(model_class(config)).from_pretrained(path, dtype=dtype or "auto", **kwargs)
    if device is not None:
        model = model.to(device)
    return model.eval(), load_processor(path, **where)


def save(model: PreTrainedModel, processor: ProcessorMixin, path: str | os.PathLike) -> None:
    """Writes weights, config and processor to one folder that `load` and a stock `AutoModel` both read."""
    model.save_pretrained(path)
    save_processor(processor, path)


def model_class(config) -> type[PreTrainedModel]:
    """The image-text-to-text class of `transformers` for a config.

    Raises:
        ValueError: where `transformers` has none for this type.
    """
    try:
        return AutoModelForImageTextToText._model_mapping[type(config)]
    except KeyError:
        raise ValueError(
            f"{config.model_type!r} is no image-text-to-text model of this transformers version; roc attaches to "
            "models that AutoModelForImageTextToText can load."
        ) from None


def mean_row(rows: torch.Tensor) -> torch.Tensor:
    """(H,) mean of the (V, H) rows of an embedding, computed in float32 or wider, in the dtype of `rows`."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32)).mean(dim=0).to(rows.dtype)


def _check_can_carry(model: PreTrainedModel) -> None:
    name = type(model).__name__
    if isinstance(model, RocMixin):
        raise ValueError(f"This {name} already carries a score head (config.roc); load it and train on, or start anew.")
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(
            f"{name} is an encoder-decoder; the head needs a decoder that reads image and text as one row."
        )
    if model.get_output_embeddings() is None:
        raise ValueError(f"{name} has no output embeddings (no language-model head), so there is nothing to read from.")


@torch.no_grad()
def _add_score_token(model: PreTrainedModel, tokenizer) -> int:
    """Adds `[SCORE]` as an ordinary token; its embedding rows become the mean of the rows in use. Returns its id.

    Non-special, so that decoding with `skip_special_tokens` keeps it. Spare rows (vocabularies padded to a multiple)
    are used before the embedding grows, and the embedding never shrinks.
    """
    if SCORE_TOKEN in tokenizer.get_vocab():
        raise ValueError(
            f"The tokenizer already knows {SCORE_TOKEN} (id {tokenizer.convert_tokens_to_ids(SCORE_TOKEN)}), but the "
            "model carries no head; use the processor that belongs to this model."
        )
    used_rows = len(tokenizer)
    tokenizer.add_tokens([SCORE_TOKEN], special_tokens=False)
    token_id = tokenizer.convert_tokens_to_ids(SCORE_TOKEN)
    if token_id >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(token_id + 1, mean_resizing=False)
    weights = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    tied = weights[0].data_ptr() == weights[1].data_ptr() and weights[0].device.type != "meta"
    for weight in weights[:1] if tied else weights:
        weight[token_id] = mean_row(weight[:used_rows])
    return token_id
