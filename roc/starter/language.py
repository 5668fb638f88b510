"""The pretrained language model of the full size: SmolLM2 out of a GGUF file, and its tokenizer.

transformers reads both (`gguf_file=`), with the package `gguf`. The file's own chat template is not taken: it adds a
system prompt that nobody asked for, and knows no pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
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


def check_reader() -> None:
    """Makes sure that GGUF files can be read.

    Raises:
        ModuleNotFoundError: The package `gguf` is missing.
    """
    if find_spec("gguf") is None:
        raise ModuleNotFoundError(
            "size full reads a language model from a GGUF file, and the package gguf is missing: "
            "pip install 'roc-mllm[starter]', or pip install gguf"
        )


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
def put_language(model: FastVlmForConditionalGeneration, language: PreTrainedModel) -> None:
    """Copies the weights of a language model into the whole one.

    Args:
        model: Has the same language model and perhaps some more tokens; they get the mean of all rows, which no text
            stands out by.
        language: The pretrained one.
    """
    weights = language.base_model.state_dict()
    known = weights["embed_tokens.weight"]
    more = model.get_input_embeddings().weight.shape[0] - known.shape[0]
    weights["embed_tokens.weight"] = torch.cat([known, known.mean(0, keepdim=True).expand(more, -1)])
    model.model.language_model.load_state_dict(weights)


@dataclass(frozen=True)
class LanguageReference:
    """What a language model makes of a text, recorded from the file that is pinned.

    Attributes:
        text: The text.
        ids: Its tokens.
        continuations: Some tokens.
        logits: Their logits after the text.
    """

    text: str
    ids: tuple[int, ...]
    continuations: tuple[int, ...]
    logits: tuple[float, ...]

    TOLERANCE = 1e-2
    """Most that a logit may differ on another processor; two builds of one torch differ by about 1e-4."""

    def difference(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> float:
        """Measures how far a model is from the record: the largest absolute difference of a logit.

        Returns:
            Infinity where the tokenizer cuts the text otherwise.
        """
        if tokenizer(self.text, add_special_tokens=False)["input_ids"] != list(self.ids):
            return float("inf")
        with torch.inference_mode():
            logits = model.eval()(input_ids=torch.tensor([self.ids])).logits[0, -1].double()
        return (logits[list(self.continuations)] - torch.tensor(self.logits).double()).abs().max().item()
