"""Joins a tower and a language model to one model of stock classes, and makes its processor.

`FastVlmForConditionalGeneration` takes any tower whose cells come as (B, C, H, W), and any language model.
`LlavaProcessor` writes one image token for each cell.
"""

from __future__ import annotations

import torch
from transformers import (
    CLIPImageProcessorPil,
    EfficientNetConfig,
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    LlavaProcessor,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from roc.model.from_nothing import IMAGE_TOKEN, scale_to_width
from roc.starter.options import STRIDE
from roc.starter.tower import PIXEL_MEAN, PIXEL_STD


def build_processor(tokenizer: PreTrainedTokenizerBase, chat_template: str, image_size: int) -> LlavaProcessor:
    """Makes the processor: pictures are resized to a square of `image_size` pixels, not cropped.

    Args:
        tokenizer: Knows `<image>` as a token of its own.
        chat_template: Jinja template of a conversation.
        image_size: Side of the square, a multiple of 32.
    """
    return LlavaProcessor(
        CLIPImageProcessorPil(
            size={"height": image_size, "width": image_size},
            do_center_crop=False,
            image_mean=[PIXEL_MEAN] * 3,
            image_std=[PIXEL_STD] * 3,
        ),
        tokenizer,
        patch_size=STRIDE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=chat_template,
    )


def join(
    vision: EfficientNetConfig, text: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int, narrow: bool
) -> FastVlmForConditionalGeneration:
    """Builds the whole model with random weights; the pretrained ones are put in afterwards.

    Args:
        vision: Configuration of the tower.
        text: Configuration of the language model.
        tokenizer: Its tokenizer, `<image>` included.
        seed: Decides every weight. The global random state is left as it was.
        narrow: Whether the weights start at the scale of narrow layers instead of the usual one.

    Returns:
        The model (float32, CPU, evaluation mode).
    """
    config = FastVlmConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(vision.image_size // STRIDE) ** 2,
        tie_word_embeddings=text.tie_word_embeddings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FastVlmForConditionalGeneration(config)
        if narrow:
            scale_to_width(model)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval()
