"""Converts the published ROC4MLLM layout to ours and back: tensors and dictionaries; `published` handles the files.

The published model keeps the N score levels as the last N rows of the vocabulary, in the input embedding and in the
language-model head, and everything about the score at the top of its flat `config.json`. Here the head's rows become
`score_head.weight` and the keys become `config.roc`; the vocabulary ends before the levels. Whatever our layout has no
place for is kept as extras, so that nothing is lost on the way back: the levels' rows of the input embedding, which no
input ever uses, the parameter `learned_weight`, which no forward uses, and the buffers of the rotary embeddings, which
the published code recomputes. The buffers of the abstractor are read as they are stored, rounded with the weights of a
checkpoint in half precision; if a checkpoint holds none, they follow from the configuration.

Nothing is guessed: if keys, shapes, ids and buffers contradict each other, a `ValueError` says which.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from transformers import AddedToken, PreTrainedConfig

from roc.model.declaration import Declaration, declaration_of
from roc.model.mplug_owl2.abstractor import positions
from roc.model.mplug_owl2.configuration import MplugOwl2Config, check_rope_scaling, own_values
from roc.model.mplug_owl2.modeling import OPTIONAL_KEYS, MplugOwl2ForConditionalGeneration
from roc.prompts import SCORE_TOKEN
from roc.score_space import ScoreSpace

# The question that the published code asks about every image, and the answer of its checkpoints.
QUESTION = "Please rate the aesthetics of the image."
ANSWER = f"The aesthetic rate of the image is {SCORE_TOKEN}."

HEAD, EMBEDDING, OUTPUT = "score_head.weight", "model.embed_tokens.weight", "lm_head.weight"

# Keys of the published config.json that our layout has in `config.roc`.
_WEIGHTS = ("l1_weight", "ce_weight", "emd_weight")
_SCORE_KEYS = (
    *("score_id", "num_tokens", "img_token_num", "output_first_id", "output_last_id", "min_score", "max_score"),
    *_WEIGHTS,
    "image_aspect_ratio",
)

# Sections of the published `visual_config`: our name, and the model type of 2023.
_VISUAL = {
    "visual_model": ("vision_config", "mplug_owl_vision_model"),
    "visual_abstractor": ("abstractor_config", "mplug_owl_visual_abstract"),
}
_ARCHITECTURE = "MPLUGOwl2LlamaForCausalLM"


class LevelRows(NamedTuple):
    """Rows of the score levels in a published vocabulary.

    Attributes:
        start: First row of the levels, and the size of the vocabulary without them.
        count: N, number of levels.
        score_id: Row of `[SCORE]`, below `start`.
    """

    start: int
    count: int
    score_id: int


class Split(NamedTuple):
    """The tensors of a published checkpoint.

    Attributes:
        weights: The tensors of our layout, by its names on disk, `score_head.weight` among them.
        extras: Tensors that our layout has no place for, by published name; of the input embedding the levels' rows.
    """

    weights: dict[str, torch.Tensor]
    extras: dict[str, torch.Tensor]


def is_published(config: Mapping[str, Any]) -> bool:
    """Tells whether a `config.json` is that of a published checkpoint with score levels, not a plain mPLUG-Owl2."""
    return config.get("model_type") == "mplug_owl2" and "visual_config" in config and bool(config.get("num_tokens"))


def level_rows(config: Mapping[str, Any]) -> LevelRows:
    """Reads from a published `config.json` which rows are the levels.

    The published code reads the last `num_tokens` rows, whatever the ids say. If both disagree (tokens added twice with
    different numbers, or a vocabulary padded afterwards), it reads other rows than it trained.

    Raises:
        ValueError: If a key is missing or the ids contradict the size of the vocabulary.
    """
    rows, count, score_id = (_whole(config, name) for name in ("vocab_size", "num_tokens", "score_id"))
    start = rows - count
    for name, expected in (("output_first_id", start), ("output_last_id", rows - 1)):
        if config.get(name, expected) != expected:
            raise ValueError(
                f"config.json contradicts itself: the score levels are the last {count} of {rows} rows, "
                f"{start}..{rows - 1}, but {name} is {config[name]}. Tokens were added twice or after the levels, and "
                "nothing says which rows were trained, so the checkpoint is not read."
            )
    if not 0 <= score_id < start:
        raise ValueError(f"score_id is {score_id}, but {SCORE_TOKEN} has to stand below the score levels, at {start}.")
    return LevelRows(start, count, score_id)


def head_of(config: Mapping[str, Any]) -> Declaration:
    """Reads what a published `config.json` declares about its head.

    Images are padded to a square: the published inference does so whatever `image_aspect_ratio` says. Whatever the
    published keys have no place for (several attributes, other wordings, ...) is in the section `roc`, if roc wrote it.

    Raises:
        ValueError: If a key is missing, cannot be, or contradicts `roc`.
    """
    levels = level_rows(config)
    space = ScoreSpace(_number(config, "min_score"), _number(config, "max_score"), levels.count)
    weights = {name: _number(config, name) for name in _WEIGHTS if config.get(name) is not None}
    wrong = [f"{name} {value:g}" for name, value in weights.items() if value < 0]
    if wrong:
        raise ValueError(f"config.json has a loss weight below 0: {', '.join(wrong)}.")
    if config.get("roc"):
        says = {"token_id": levels.score_id, **space.to_dict()}
        declared = Declaration.from_dict({**says, **config["roc"]})
        section = declared.to_dict()
        names = ("token_id", "num_levels", "min_score", "max_score")
        differing = [f"{name} {section[name]} and {says[name]}" for name in names if section[name] != says[name]]
        if differing:
            raise ValueError(
                f"config.json contradicts itself: its roc section and its own keys say {', '.join(differing)}."
            )
        return declared
    return Declaration(
        space=space,
        token_id=levels.score_id,
        question=QUESTION,
        answer=ANSWER,
        **weights,
        l1_scale="native",
        image_aspect_ratio="pad",
        distribution_supervised=weights.get("ce_weight", 0) > 0 or weights.get("emd_weight", 0) > 0,
        base=config.get("_name_or_path") or None,
    )


def tokens_of(config: Mapping[str, Any], added: Mapping[int, AddedToken]) -> dict[int, AddedToken]:
    """Selects the added tokens of our layout, by id: those of a published tokenizer without the levels.

    Raises:
        ValueError: If tokenizer and `config.json` contradict each other.
    """
    levels, ids = level_rows(config), {str(token): index for index, token in added.items()}
    if ids.get(SCORE_TOKEN) != levels.score_id:
        raise ValueError(
            f"config.json says that {SCORE_TOKEN} is token {levels.score_id}, but its id in the tokenizer is "
            f"{ids.get(SCORE_TOKEN)}; the two belong to different checkpoints."
        )
    beyond = {token: index for token, index in ids.items() if index >= levels.start + levels.count}
    if beyond:
        raise ValueError(f"The tokenizer has tokens after the score levels, for which there are no rows: {beyond}.")
    return {index: token for index, token in added.items() if index < levels.start}


def to_roc_config(config: Mapping[str, Any]) -> MplugOwl2Config:
    """Makes the configuration of our layout: vocabulary without the levels, `config.roc` for the published keys.

    Raises:
        ValueError: As `head_of`, or if input and output embeddings are one matrix.
    """
    kept = {name: value for name, value in config.items() if name not in (*_SCORE_KEYS, "roc")}
    ours = MplugOwl2Config(**{**kept, "vocab_size": level_rows(config).start, "roc": head_of(config).to_dict()})
    _check_untied(ours)
    ours.architectures = [MplugOwl2ForConditionalGeneration.__name__]
    return ours


def to_roc(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Split:
    """Converts the tensors of a published checkpoint to our layout; every one of them has its place.

    Args:
        config: The published `config.json`.
        tensors: By published name; they are not changed, and those that are not cut are passed on as they are.

    Raises:
        ValueError: Naming what is missing, unknown, of another shape, or a buffer of another configuration.
    """
    ours, levels = to_roc_config(config), level_rows(config)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    read, unused = sort_keys(ours, shapes, rows_of_levels=levels.count)
    weights, extras = {name: tensors[name] for name in read}, {name: tensors[name] for name in unused}
    _check_frequencies(ours, extras)
    # Copied, because a view would be saved with the whole tensor.
    extras[EMBEDDING] = weights[EMBEDDING][levels.start :].clone()
    weights[HEAD] = weights[OUTPUT][levels.start :].to(torch.float32, copy=True)
    for name in (EMBEDDING, OUTPUT):
        weights[name] = weights[name][: levels.start].clone()
    return Split(weights, extras)


def to_published_config(config: MplugOwl2Config, original: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Makes the published `config.json` of a model that carries the head.

    Whatever its keys have no place for is added as the section `roc`, which the published code ignores.

    Args:
        config: With `config.roc`.
        original: The published `config.json` that the model comes from, if any; returned unchanged if it still holds.

    Raises:
        ValueError: If input and output embeddings are one matrix, or positions are scaled in a way that the published
            code does not know.
    """
    _check_untied(config)
    declared, rows = declaration_of(config), config.text_config.vocab_size
    if original is not None and level_rows(original).start == rows and _is_same_head(head_of(original), declared):
        return dict(original)
    levels = declared.num_levels
    result = {
        **(_flat(config) if original is None else original),
        "score_id": declared.token_id,
        "num_tokens": levels,
        "img_token_num": levels,
        "output_first_id": rows,
        "output_last_id": rows + levels - 1,
        "min_score": declared.space.min_score,
        "max_score": declared.space.max_score,
        **{name: getattr(declared, name) for name in _WEIGHTS},
        "image_aspect_ratio": "pad" if declared.image_aspect_ratio == "pad" else None,
        "vocab_size": rows + levels,
    }
    result.pop("roc", None)
    return result if _is_same_head(head_of(result), declared) else {**result, "roc": declared.to_dict()}


def to_published(
    config: MplugOwl2Config, weights: Mapping[str, torch.Tensor], extras: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """Makes the tensors of the published layout.

    A model without extras was trained here: its levels have no rows in the input embedding. No input uses them, so they
    become what the published code starts them with, the mean of the rows before `[SCORE]`; `learned_weight` becomes 0,
    and buffers that are not among the weights are computed in float32.

    Args:
        config: With `config.roc`.
        weights: Tensors of our layout, by module name or by the name on disk.
        extras: The extras of `to_roc`.

    Returns:
        Tensors by published name; the levels' rows of the language-model head in its own dtype, see `is_exact`.

    Raises:
        ValueError: If weights or extras do not fit the configuration.
    """
    declared = declaration_of(config)
    tensors = {published_name(name): value for name, value in weights.items()}
    if HEAD not in tensors:
        raise ValueError(f"There is no {HEAD} among the weights.")
    head = tensors.pop(HEAD)
    sort_keys(config, {name: tuple(value.shape) for name, value in tensors.items()})
    embedding, output = tensors[EMBEDDING], tensors[OUTPUT]
    if extras is None:
        mean = embedding[: declared.token_id].float().mean(dim=0).to(embedding.dtype)
        extras = {EMBEDDING: mean.expand(declared.num_levels, -1), "learned_weight": torch.zeros(1), **buffers(config)}
    if EMBEDDING not in extras or extras[EMBEDDING].shape != head.shape:
        raise ValueError(f"The extras hold no {EMBEDDING} of shape {tuple(head.shape)}; they belong to another model.")
    tensors[EMBEDDING] = torch.cat([embedding, extras[EMBEDDING].to(embedding.dtype)])
    tensors[OUTPUT] = torch.cat([output, head.to(output.dtype)])
    return tensors | {name: value for name, value in extras.items() if name not in tensors}


def is_exact(head: torch.Tensor, dtype: torch.dtype) -> bool:
    """Tells whether the float32 head can be written in `dtype` and read back unchanged."""
    return torch.equal(head.to(dtype).to(head.dtype), head)


def sort_keys(
    config: MplugOwl2Config, shapes: Mapping[str, tuple[int, ...]], rows_of_levels: int = 0
) -> tuple[list[str], list[str]]:
    """Sorts published keys by whether the model reads them.

    Args:
        config: Configuration of our layout.
        shapes: Shapes by published name, in any order.
        rows_of_levels: Number of rows that the two embeddings have beyond the configuration's vocabulary.

    Returns:
        (read, known but not read), in the order given.

    Raises:
        ValueError: Naming every key that is missing, unknown, or of another shape.
    """
    with torch.device("meta"):
        model = MplugOwl2ForConditionalGeneration(config)
    expected = {published_name(name): tuple(value.shape) for name, value in model.state_dict().items()}
    rows = config.text_config.vocab_size + rows_of_levels
    expected |= {name: (rows, config.text_config.hidden_size) for name in (EMBEDDING, OUTPUT)}
    known = {"learned_weight": (1,), **{name: tuple(value.shape) for name, value in frequencies(config).items()}}
    faults = [f"{name} is missing" for name in expected if name not in shapes and not is_optional(name)]
    for name, shape in shapes.items():
        wanted = (expected | known).get(name)
        if wanted is None:
            faults.append(f"{name} is not known")
        elif tuple(shape) != wanted:
            faults.append(f"{name} is {tuple(shape)}, not {wanted}")
    if faults:
        more = f", and {len(faults) - 8} more faults" if len(faults) > 8 else ""
        raise ValueError(f"The weights do not fit config.json: {', '.join(faults[:8])}{more}.")
    return [name for name in shapes if name in expected], [name for name in shapes if name not in expected]


def buffers(config: MplugOwl2Config) -> dict[str, torch.Tensor]:
    """Computes the buffers in published checkpoints from the configuration, in float32."""
    found, abstractor = frequencies(config), config.abstractor_config
    for i in range(abstractor.num_hidden_layers):
        attention = f"model.visual_abstractor.encoder.layers.{i}.crossattention.attention"
        found |= {f"{attention}.{name}": torch.tensor(places) for name, places in positions(abstractor).items()}
    return found


def frequencies(config: MplugOwl2Config) -> dict[str, torch.Tensor]:
    """Computes the buffers of the rotary embeddings, which positional scaling did not change in published code."""
    text = config.text_config
    powers = torch.arange(0, text.head_dim, 2, dtype=torch.float32) / text.head_dim
    values = 1.0 / text.rope_parameters["rope_theta"] ** powers
    return {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": values.clone() for i in range(text.num_hidden_layers)}


def is_optional(name: str) -> bool:
    """Tells whether a checkpoint may lack this key of the model: a buffer that follows from the configuration."""
    return any(re.search(pattern, name) for pattern in OPTIONAL_KEYS)


def published_name(name: str) -> str:
    """Translates a parameter's name to that on disk, the same in the published layout and ours."""
    return re.sub(r"^model\.language_model\.", "model.", name)


def _flat(config: MplugOwl2Config) -> dict[str, Any]:
    """Makes the flat published form of a configuration, without its keys about scores."""
    declared = {field.name for field in dataclasses.fields(config)} | set(PreTrainedConfig().to_dict())
    further = {name: value for name, value in config.to_dict().items() if name not in (*declared, *_SCORE_KEYS, "roc")}
    text = own_values(config.text_config)
    rope = dict(text.pop("rope_parameters"))
    theta, kind = rope.pop("rope_theta"), rope.pop("rope_type", "default")
    scaling = None if kind == "default" else {"type": kind, **rope}
    check_rope_scaling(scaling)
    return {
        **further,
        **text,
        "_name_or_path": declaration_of(config).base or "",
        "architectures": [_ARCHITECTURE],
        "model_type": config.model_type,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "torch_dtype": str(config.dtype or torch.float32).removeprefix("torch."),
        "visual_config": {
            name: {**own_values(getattr(config, ours)), "model_type": model_type}
            for name, (ours, model_type) in _VISUAL.items()
        },
    }


def _is_same_head(one: Declaration, other: Declaration) -> bool:
    """Tells whether two declarations are the same but for the release of roc that wrote them."""
    return dataclasses.replace(one, version="") == dataclasses.replace(other, version="")


def _check_untied(config: MplugOwl2Config) -> None:
    if config.tie_word_embeddings:
        raise ValueError(
            "tie_word_embeddings is true, but the published layout has rows of levels in both embeddings, and only one "
            "of the two is the head; there is no such checkpoint."
        )


def _check_frequencies(config: MplugOwl2Config, stored: Mapping[str, torch.Tensor]) -> None:
    """Makes sure that stored buffers are those that the model computes, or it would give other numbers.

    Raises:
        ValueError: Naming a buffer that differs by more than rounding.
    """
    for name, computed in frequencies(config).items():
        values = stored.get(name, computed)
        tolerance = max(2e-5, torch.finfo(values.dtype).eps)
        if not torch.allclose(values.float(), computed, rtol=tolerance, atol=tolerance):
            apart = float((values.float() - computed).abs().max())
            raise ValueError(
                f"{name} differs by {apart:.1e} from what follows from config.json; the checkpoint belongs to another "
                "configuration (rope_theta)."
            )


def _whole(config: Mapping[str, Any], name: str) -> int:
    value = _number(config, name)
    if value != int(value):
        raise ValueError(f"config.json has {name} {value!r}; expected a whole number.")
    return int(value)


def _number(config: Mapping[str, Any], name: str) -> float:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"config.json has {name} {value!r}; a published checkpoint with score levels needs a number.")
    return value
