"""What a model that is built from nothing needs: a tokenizer, a chat template, and weights at a scale that fits it.

The tokenizer is a byte-level BPE trained on a few sentences, so every text can be encoded and no unknown token exists.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

IMAGE_TOKEN = "<image>"
BOS_TOKEN = "<s>"
EOS_TOKEN = "</s>"
PAD_TOKEN = "<pad>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")

FEWEST_TOKENS = 256 + len(ROLE_TOKENS) + 4
"""Size of the smallest tokenizer: every byte, and the special tokens."""

# An assistant turn ends with the end-of-text token, so that a taught model stops by itself after its answer.
CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '" + IMAGE_TOKEN + "' -}}"
    "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{%- if message['role'] == 'assistant' -%}{{- eos_token -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def build_tokenizer(texts: Iterable[str], vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer on sentences.

    Args:
        texts: Sentences of the kind the model shall read and write, questions and answers alike.
        vocab_size: Upper bound of the number of tokens, special ones included; few sentences give fewer.

    Returns:
        A tokenizer with `image_token` and role tokens that encodes any text. The same texts give the same tokenizer.

    Raises:
        ValueError: If `texts` holds no sentence.
    """
    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise ValueError("no text to learn a tokenizer from; give the questions and answers the model shall handle")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD_TOKEN, BOS_TOKEN, EOS_TOKEN, IMAGE_TOKEN, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _, user, assistant = ROLE_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        bos_token=BOS_TOKEN,
        eos_token=EOS_TOKEN,
        extra_special_tokens={
            "image_token": IMAGE_TOKEN,
            "system_token": ROLE_TOKENS[0],
            "user_token": user,
            "assistant_token": assistant,
        },
    )


@torch.no_grad()
def scale_to_width(model: torch.nn.Module) -> None:
    """Redraws matrices and kernels with variance 1 / inputs; embeddings and all else stay as they are.

    The usual standard deviation of 0.02 is made for layers a hundred times wider. With it the image hardly reaches the
    score of a narrow model, and training stays at the mean.

    Args:
        model: Changed in place; the global random state decides the values.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and id(module.weight) not in embeddings:
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
