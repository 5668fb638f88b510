"""The pretrained language model of the full size: SmolLM2 out of a GGUF file, and its tokenizer.

transformers reads both (`gguf_file=`), with the package `gguf`. The file's own chat template is not taken: it adds a
system prompt that nobody asked for, and knows no pictures.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FastVlmForConditionalGeneration,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from roc.model.from_nothing import IMAGE_TOKEN
from roc.starter.sizes import LanguageRecord

TOLERANCE = 1e-2
"""Most that a recorded logit may differ on another processor; the last bits give about 1e-5 to 1e-4."""

PAD_TOKEN = "<|endoftext|>"
"""Not the token that ends a turn, which the file names: what pads a batch is never learnt."""

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '" + IMAGE_TOKEN + "' -}}"
    "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
"""SmolLM2's turns, with pictures and without its system prompt."""


def read_language(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Reads a language model and its tokenizer.

    Args:
        file: A GGUF file, the only model in its folder.

    Returns:
        The model (float32, CPU), and the tokenizer with the image token as one more token.

    Raises:
        ValueError: The file cannot be read.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except (KeyError, IndexError, RuntimeError) as error:
        raise ValueError(f"{file.name} cannot be read: {error}") from error
    tokenizer.chat_template = None
    tokenizer.pad_token = PAD_TOKEN
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE_TOKEN]})
    return model, tokenizer


def text_config(language: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Makes the configuration of the language model as a part of the whole one, without the traces of its file.

    Args:
        language: The pretrained language model.
        tokenizer: Its tokenizer, as `read_language` returns it.
    """
    known = language.config.to_dict()
    for name in (
        "quantization_config",
        "_name_or_path",
        "_model_name_or_path",
        "dtype",
        "architectures",
        "transformers_version",
        "model_type",
    ):
        known.pop(name, None)
    known |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    return type(language.config)(**known)


@torch.no_grad()
def put_language(model: FastVlmForConditionalGeneration, language: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Copies the weights of a language model into the whole one.

    Args:
        model: Has the same language model and perhaps some more tokens; they get the mean of all rows, which no text
            stands out by.
        language: The pretrained one.

    Returns:
        What was copied, by the names of the whole model's language model.
    """
    weights = language.base_model.state_dict()
    known = weights["embed_tokens.weight"]
    more = model.get_input_embeddings().weight.shape[0] - known.shape[0]
    weights["embed_tokens.weight"] = torch.cat([known, known.mean(0, keepdim=True).expand(more, -1)])
    model.model.language_model.load_state_dict(weights)
    return weights


def language_difference(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, record: LanguageRecord) -> float:
    """Measures how far a model is from recorded logits: their largest absolute difference.

    Returns:
        Infinity where the tokenizer cuts the text otherwise.
    """
    if tokenizer(record.text, add_special_tokens=False)["input_ids"] != list(record.ids):
        return float("inf")
    with torch.inference_mode():
        logits = model.eval()(input_ids=torch.tensor([record.ids])).logits[0, -1].double()
    return (logits[list(record.continuations)] - torch.tensor(record.logits).double()).abs().max().item()
