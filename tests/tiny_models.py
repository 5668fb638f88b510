"""Tiny random vision-language models, built in memory from their real config classes; nothing is downloaded.

Each builder returns `(model, processor)`: 0.1 to 0.3 M parameters, milliseconds a forward pass, weights from a seed.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from roc.processing import image_only
from roc.prompts import QUESTIONS, answer

SENTENCES = [
    *QUESTIONS,
    answer(("overall", "composition", "light", "colour")),
    "The subject sits on a third and the light is soft, but the colours clash.",
    "A quiet scene with a clear subject and a low horizon.",
]
TURNS = ("<|user|>", "<|assistant|>")


def tiny_tokenizer(**extra_tokens: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE learnt from a handful of sentences; `extra_tokens` become attributes such as `image_token`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", "</s>", *TURNS, *extra_tokens.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=dict(extra_tokens),
    )


def chat_template(image: str, *, bos: str = "", end: str = "</s>") -> str:
    """A Jinja template with marked turns; `image` is what stands for a picture, `end` closes a turn."""
    return (
        bos + "{% for message in messages %}<|{{ message['role'] }}|>"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}"
        "{% endif %}{% endfor %}{% if message['role'] == 'assistant' %}" + end + "{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )


def tiny_llava(*, hidden_size: int = 32, vocab_padding: int = 0, tied: bool = False, seed: int = 0):
    """LLaVA: CLIP tower on 28-pixel images, 16 image tokens, two-layer LLaMA."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    tokenizer = tiny_tokenizer(image_token="<image>")
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"height": 28, "width": 28}, do_center_crop=False),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<image>\n", bos="<s>"),
    )
    text = _text_config("llama", tokenizer, hidden_size, vocab_padding, tied)
    vision = {
        "model_type": "clip_vision_model",
        "image_size": 28,
        "patch_size": 7,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = AutoConfig.for_model(
        "llava",
        text_config=text,
        vision_config=vision,
        image_token_index=tokenizer.image_token_id,
        image_seq_length=16,
        tie_word_embeddings=tied,
    )
    return _build(config, tokenizer, seed), processor


def tiny_qwen2_5_vl(*, hidden_size: int = 32, vocab_padding: int = 7, tied: bool = True, seed: int = 0):
    """Qwen2.5-VL: native-resolution tower, mrope, tied embeddings, and spare rows in the vocabulary as the real one."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessorPil

    tokenizer = tiny_tokenizer(
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        vision_start="<|vision_start|>",
        vision_end="<|vision_end|>",
    )
    processor = image_only(Qwen2_5_VLProcessor)(
        Qwen2VLImageProcessorPil(patch_size=7, merge_size=2, size={"shortest_edge": 28 * 28, "longest_edge": 56 * 56}),
        tokenizer,
        chat_template=chat_template("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    text = _text_config("qwen2_5_vl_text", tokenizer, hidden_size, vocab_padding, tied)
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in (
        ("image_token_id", "<|image_pad|>"),
        ("video_token_id", "<|video_pad|>"),
        ("vision_start_token_id", "<|vision_start|>"),
        ("vision_end_token_id", "<|vision_end|>"),
    )}  # fmt: skip
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 7,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": hidden_size,
        "window_size": 28,
        "fullatt_block_indexes": [1],
    }
    config = AutoConfig.for_model("qwen2_5_vl", text_config=text, vision_config=vision, tie_word_embeddings=tied, **ids)
    return _build(config, tokenizer, seed), processor


BUILDERS = {"llava": tiny_llava, "qwen2_5_vl": tiny_qwen2_5_vl}


def _text_config(model_type: str, tokenizer, hidden_size: int, vocab_padding: int, tied: bool) -> dict:
    return {
        "model_type": model_type,
        "vocab_size": len(tokenizer) + vocab_padding,
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": 2,
        "num_attention_heads": hidden_size // 16,
        "num_key_value_heads": hidden_size // 16,
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": tied,
    }


def _build(config, tokenizer, seed: int):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval()
