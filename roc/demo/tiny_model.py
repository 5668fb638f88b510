"""A tiny LLaVA-type model with its own tokenizer, built from nothing but a configuration and a few sentences.

The demo and the tests need a multimodal LLM that is small enough to be trained on two CPU cores, that is made without
any download, and that nevertheless is the real thing: a stock `LlavaForConditionalGeneration` whose checkpoint any
`AutoModelForImageTextToText` opens. `build_tiny_llava` makes one. Its weights are random; it knows nothing before it is
trained, and what it learns from the demo scenes says nothing about human taste.

Four choices are not LLaVA's usual ones:

- The vision tower is a hybrid `dpt`: a small ResNet, then one transformer layer over its cells. A plain vision
  transformer of this size, trained from scratch on a few thousand images, hardly learns to look at them; this one does.
  LLaVA takes it as it is and drops its class token. Batch normalisation makes a training step depend on the whole
  batch; a score, read in evaluation mode, depends on its own image only.
- The weights start at a scale that fits narrow layers (`roc.model.from_nothing.scale_to_width`).
- The image is resized to a square of `image_size`, not cropped, so that composition at the borders is seen. Photos
  that are not square are squeezed; pad them before if that matters.
- The tokenizer is a byte-level BPE trained on the given sentences, so every text can be encoded and no unknown
  token exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import (
    AutoConfig,
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

from roc.model.from_nothing import CHAT_TEMPLATE, FEWEST_TOKENS, IMAGE_TOKEN, build_tokenizer, scale_to_width

VISION_HEADS = 4


@dataclass(frozen=True)
class TinyLlavaConfig:
    """Sizes of the tiny model.

    The ResNet makes the image 4 times smaller along each side, and twice smaller again at every stage after the first:
    with four stages 192 pixels become 6 x 6 = 36 tokens.

    Args:
        image_size: Side of the square the images are resized to, in pixels; a multiple of `stride`.
        vision_widths: Channels of the ResNet's stages, at least three stages.
        vision_depths: Residual blocks of each stage.
        vision_hidden_size: Width of an image token; a multiple of 4, the number of its heads.
        dropout: Dropout of the tower's transformer layer in training; attention weights, in the tower and in the
            language model, get half of it.
        text_hidden_size: Width of the language model; a multiple of `2 * text_heads`.
        text_layers: Number of the language model's layers.
        text_heads: Number of its attention heads.
        text_mlp_ratio: Width of its feed-forward layers over `text_hidden_size`.
        vocab_size: Upper bound of the tokenizer's size; at least 256 bytes plus the special tokens.
        max_positions: Longest sequence in tokens, image tokens included.
        tie_word_embeddings: Share the weights of the token embedding and of the LM head.

    Raises:
        ValueError: If the sizes do not fit each other.
    """

    image_size: int = 64
    vision_widths: tuple[int, ...] = (32, 64, 128)
    vision_depths: tuple[int, ...] = (1, 1, 1)
    vision_hidden_size: int = 128
    dropout: float = 0.0
    text_hidden_size: int = 128
    text_layers: int = 2
    text_heads: int = 4
    text_mlp_ratio: float = 2.0
    vocab_size: int = 512
    max_positions: int = 1024
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        stages = len(self.vision_widths)
        if stages < 3 or len(self.vision_depths) != stages:
            raise ValueError(
                f"vision_widths is {self.vision_widths} and vision_depths {self.vision_depths}; give a width and a "
                "depth for each of at least three stages"
            )
        if self.image_size < self.stride or self.image_size % self.stride:
            raise ValueError(f"image_size is {self.image_size}; with {stages} stages give a multiple of {self.stride}")
        if self.vision_hidden_size % VISION_HEADS:
            raise ValueError(f"vision_hidden_size is {self.vision_hidden_size}; give a multiple of {VISION_HEADS}")
        if self.text_hidden_size % (2 * self.text_heads):
            raise ValueError(
                f"text_hidden_size is {self.text_hidden_size}; with {self.text_heads} heads it must be a multiple "
                f"of {2 * self.text_heads}"
            )
        if self.vocab_size < FEWEST_TOKENS:
            raise ValueError(
                f"vocab_size is {self.vocab_size}; the 256 bytes and the special tokens need at least {FEWEST_TOKENS}"
            )
        if self.max_positions <= self.num_image_tokens:
            raise ValueError(
                f"max_positions is {self.max_positions}, but an image alone takes {self.num_image_tokens} tokens"
            )

    @property
    def stride(self) -> int:
        """Side of an image token in pixels."""
        return 4 * 2 ** (len(self.vision_widths) - 1)

    @property
    def num_image_tokens(self) -> int:
        """Number of tokens an image becomes."""
        return (self.image_size // self.stride) ** 2


PRESETS: dict[str, TinyLlavaConfig] = {
    "demo": TinyLlavaConfig(),
    # Not smaller than the photos at hand: sharpness is lost where they are made smaller.
    "photos": TinyLlavaConfig(
        image_size=192, vision_widths=(16, 32, 64, 128), vision_depths=(1, 1, 1, 1), dropout=0.2, text_layers=1
    ),
}
"""The choices of the setting `tiny_model`."""


def build_tiny_llava(
    texts: Iterable[str], config: TinyLlavaConfig | None = None, *, seed: int = 0
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Builds an untrained LLaVA-type model and its processor; nothing is downloaded.

    Args:
        texts: Sentences to train the tokenizer on, questions and answers alike.
        config: Sizes; None takes the defaults.
        seed: Decides every weight. The global random state is left as it was.

    Returns:
        The model (float32, CPU, evaluation mode) and a processor that resizes images to the square the tower expects,
        works without torchvision, and carries the chat template. Both are stock classes: `save_pretrained` on each
        gives a checkpoint that `AutoModelForImageTextToText` and `AutoProcessor` open.

    Raises:
        ValueError: If `texts` holds no sentence.
    """
    config = config or TinyLlavaConfig()
    tokenizer = build_tokenizer(texts, config.vocab_size)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(
            size={"height": config.image_size, "width": config.image_size},
            do_center_crop=False,
            image_mean=[0.5] * 3,
            image_std=[0.25] * 3,
        ),
        tokenizer,
        patch_size=config.stride,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    llava_config = LlavaConfig(
        vision_config=_vision_config(config),
        text_config=_text_config(config, tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=config.num_image_tokens,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
        tie_word_embeddings=config.tie_word_embeddings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(llava_config)
        scale_to_width(model)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval(), processor


def _vision_config(config: TinyLlavaConfig) -> PretrainedConfig:
    stages, cells = len(config.vision_widths), config.image_size // config.stride
    return AutoConfig.for_model(
        "dpt",
        is_hybrid=True,
        image_size=config.image_size,
        patch_size=config.stride,
        hidden_size=config.vision_hidden_size,
        intermediate_size=2 * config.vision_hidden_size,
        num_hidden_layers=1,
        num_attention_heads=VISION_HEADS,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout / 2,
        backbone_featmap_shape=[1, config.vision_widths[-1], cells, cells],
        # DPT asks for three maps and makes tokens of the last.
        backbone_config=resnet_config(config, out_features=[f"stage{i}" for i in range(stages - 2, stages + 1)]),
    )


def resnet_config(config: TinyLlavaConfig, **more: list[str]) -> PretrainedConfig:
    """Makes the configuration of the ResNet at the beginning of the vision tower.

    Args:
        config: Sizes.
        **more: Further fields.
    """
    return AutoConfig.for_model(
        "resnet",
        layer_type="basic",
        embedding_size=config.vision_widths[0],
        hidden_sizes=list(config.vision_widths),
        depths=list(config.vision_depths),
        **more,
    )


def _text_config(config: TinyLlavaConfig, tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
    return AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=config.text_hidden_size,
        intermediate_size=int(config.text_hidden_size * config.text_mlp_ratio),
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        num_key_value_heads=config.text_heads,
        attention_dropout=config.dropout / 2,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=config.tie_word_embeddings,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
