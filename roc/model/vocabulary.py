"""The vocabulary row of `[SCORE]`: the id that the token gets, and what its row starts as.

`[SCORE]` is appended to the vocabulary. Some models have no use for an appended id: their output embeddings have fewer
rows than the input ones (Mllama, Molmo2), or they read the ids above the words as pictures and sounds (Gemma 3n). There
it takes the place of a token that the tokenizer keeps in reserve.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from transformers.integrations import is_deepspeed_zero3_enabled

from roc.prompts import SCORE_TOKEN

_IN_RESERVE = re.compile(r"reserved|unused|extra_tokens?_|dummy", re.IGNORECASE)
_NO_WORD = re.compile(r"(image|video|audio|vision|speech)\w*_(id|index)$")
_ORDINARY = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


def add_score_token(model: PreTrainedModel, processor: ProcessorMixin) -> int:
    """Gives the tokenizer of a processor the token `[SCORE]` and returns its id, which `model` can embed and predict.

    It is no special token, so that decoding with `skip_special_tokens` keeps it.

    Raises:
        ValueError: If the tokenizer knows it already, or the model has no row for it and the tokenizer no token in
            reserve.
    """
    tokenizer = processor.tokenizer
    known = tokenizer.get_vocab()
    if SCORE_TOKEN in known:
        raise ValueError(
            f"The tokenizer already knows {SCORE_TOKEN} (id {tokenizer.convert_tokens_to_ids(SCORE_TOKEN)}), but the "
            "model carries no head; use the processor that belongs to this model."
        )
    appended = max(len(tokenizer), 1 + max(known.values(), default=-1))
    taken = _ids_of_no_words(model)
    if appended < _end_of_words(model) and appended not in taken:
        tokenizer.add_tokens([SCORE_TOKEN], special_tokens=False)
        return tokenizer.convert_tokens_to_ids(SCORE_TOKEN)
    spare = _in_reserve(processor, known, min(_end_of_words(model), *_rows(model)), taken)
    if spare is None:
        inputs, outputs = _rows(model)
        raise ValueError(
            f"{type(model).__name__} has no row for {SCORE_TOKEN}, which would be token {appended}: it embeds {inputs} "
            f"tokens, predicts {outputs}, and reads that id as something else or cannot grow. A token that the "
            "tokenizer keeps in reserve (with reserved or unused in its name) would serve, and it has none; rename one "
            "that the model does not need in tokenizer.json."
        )
    _rename(tokenizer, spare, SCORE_TOKEN)
    return known[spare]


def _rows(model: PreTrainedModel) -> tuple[int, int]:
    """Counts the rows of the input and of the output embeddings."""
    return num_rows(model.get_input_embeddings().weight), num_rows(model.get_output_embeddings().weight)


def _end_of_words(model: PreTrainedModel) -> float:
    """Finds the first id that can be no word: no row can be had for it, or the model embeds it by another module."""
    inputs, outputs = _rows(model)
    ends = [min(inputs, outputs)] if inputs != outputs else []
    ends += [offset for m in model.modules() if isinstance(offset := getattr(m, "vocab_offset", None), int)]
    return min(ends, default=float("inf"))


def _ids_of_no_words(model: PreTrainedModel) -> set[int]:
    """Lists the ids that the configuration gives to pictures, videos and sounds."""
    return {value for name, value in vars(model.config).items() if _NO_WORD.search(name) and isinstance(value, int)}


def _in_reserve(processor: ProcessorMixin, known: dict[str, int], end: int, taken: set[int]) -> str | None:
    """Finds the token of the highest id below `end` that the tokenizer keeps in reserve and nothing uses."""
    tokenizer = processor.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        return None
    used = {str(value) for part in (processor, tokenizer) for name, value in vars(part).items() if "token" in name}
    used |= {str(value) for value in tokenizer.special_tokens_map.values()}
    template = str(getattr(processor, "chat_template", None) or "")
    spare = [
        token
        for token, index in known.items()
        if index < end and _IN_RESERVE.search(token) and index not in taken and token not in used
        if token not in template
    ]
    return max(spare, key=known.get, default=None)


def _rename(tokenizer: PreTrainedTokenizerBase, old: str, new: str) -> None:
    """Renames a token in place; its id stays."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    words = state["model"].get("vocab")
    if isinstance(words, dict) and old in words:
        words[new] = words.pop(old)
    elif isinstance(words, list):  # pieces with their scores
        state["model"]["vocab"] = [[new, score] if piece == old else [piece, score] for piece, score in words]
    added = [token for token in state["added_tokens"] if token["content"] == old]
    entry = added[0] if added else {"id": tokenizer.convert_tokens_to_ids(old)}
    entry |= {"content": new, **_ORDINARY}
    if not added:
        state["added_tokens"] = sorted([*state["added_tokens"], entry], key=lambda token: token["id"])
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    for kept in (tokenizer.__dict__, tokenizer.init_kwargs):  # lists that would add the old name once more
        for name, value in kept.items():
            if isinstance(value, list) and old in map(str, value):
                kept[name] = [token for token in value if str(token) != old]
    decoder = tokenizer.init_kwargs.get("added_tokens_decoder")
    if decoder:
        tokenizer.init_kwargs["added_tokens_decoder"] = {i: t for i, t in decoder.items() if str(t) != old}


@torch.no_grad()
def fill_row(model: PreTrainedModel, token_id: int) -> None:
    """Sets row `token_id` of both embeddings to the mean of the rows before it.

    Spare rows (of vocabularies padded to a multiple) are used before the embedding grows; it never shrinks. Where the
    tokenizer knows more tokens than the model has rows, those in between start as the mean too.

    Raises:
        ValueError: If one of the two has no such row and cannot be given one.
    """
    before = min(token_id, *_rows(model))
    if token_id >= num_rows(model.get_input_embeddings().weight):
        sizes = {name: num_rows(weight) for name, weight in model.named_parameters() if weight.ndim == 2}
        model.resize_token_embeddings(token_id + 1, mean_resizing=False)
        for name, weight in model.named_parameters():  # some hold further embeddings of the same tokens (Gemma 4)
            if name in sizes and num_rows(weight) > sizes[name]:
                with gathered([weight]):
                    weight[sizes[name] :] = mean_row(weight[: sizes[name]])
    for config in (model.config, model.config.get_text_config()):
        predicted = getattr(config, "unpadded_vocab_size", None)  # of the rows, for models that cut their logits
        if predicted is not None:
            config.unpadded_vocab_size = max(predicted, token_id + 1)
    weights = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    inputs, outputs = _rows(model)
    if token_id >= min(inputs, outputs):
        raise ValueError(
            f"{type(model).__name__} embeds {inputs} tokens and can predict {outputs}; {SCORE_TOKEN} would be token "
            f"{token_id}, which one of the two has no row for, and this family cannot grow them alike."
        )
    weights = weights[:1] if weights[0] is weights[1] else weights
    with gathered(weights):
        for weight in weights:
            weight[before : token_id + 1] = mean_row(weight[:before])


def mean_row(rows: torch.Tensor) -> torch.Tensor:
    """Computes the (H,) mean of the (V, H) rows of an embedding, in float32 or wider; returned in their dtype."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32)).mean(dim=0).to(rows.dtype)


def num_rows(weight: torch.nn.Parameter) -> int:
    """Counts the rows of an embedding, even if ZeRO-3 has partitioned it."""
    return getattr(weight, "ds_shape", weight.shape)[0]


@contextlib.contextmanager
def gathered(weights: list[torch.nn.Parameter]) -> Iterator[None]:
    """Gathers weights that ZeRO-3 has partitioned; inside, changes made by process 0 are spread to all."""
    if not is_deepspeed_zero3_enabled():
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(weights, modifier_rank=0):
        yield
