"""What the model takes: a picture squeezed to a square, and a row that is the mark of the picture and `[SCORE]`s.

Words are dropped: neither a question nor the text of an answer reaches the model. Both parts are stock classes, so that
the checkpoint's processor loads like any other.
"""

from __future__ import annotations

from typing import NamedTuple

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast
from transformers.image_processing_utils import BaseImageProcessor

from roc.model.backbone.configuration import IMAGE_TOKEN, PAD_TOKEN, VOCABULARY

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_CHAT_TEMPLATE = (
    "{%- for message in messages -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '" + IMAGE_TOKEN + "' -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endfor -%}"
)


class Pictures(NamedTuple):
    """How pictures become the encoder's input.

    Attributes:
        side: S, side in pixels of the square that they are squeezed to.
        mean, std: Of each channel, in 0..1.
    """

    side: int
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD


def pictures_of(image_processor: BaseImageProcessor) -> Pictures:
    """Reads off an image processor what its encoder was trained with: the side of its squares, mean and deviation."""
    size = dict(getattr(image_processor, "size", None) or {})
    crop = dict(getattr(image_processor, "crop_size", None) or {})
    if crop and getattr(image_processor, "do_center_crop", False):
        size = crop
    side = next((size[name] for name in ("height", "shortest_edge", "longest_edge", "width") if name in size), 224)
    if not getattr(image_processor, "do_normalize", True):
        return Pictures(side, (0.0,) * 3, (1.0,) * 3)
    mean, std = (getattr(image_processor, name, None) for name in ("image_mean", "image_std"))
    return Pictures(side, tuple(mean or _IMAGENET_MEAN), tuple(std or _IMAGENET_STD))


def build_processor(pictures: Pictures) -> LlavaProcessor:
    """Makes the processor; a picture is one token.

    Pictures are squeezed to a square, not cropped, so that composition at the borders is seen; with Pillow, so that
    pixels do not depend on what else is installed.
    """
    return LlavaProcessor(
        CLIPImageProcessorPil(
            size={"height": pictures.side, "width": pictures.side},
            do_center_crop=False,
            image_mean=list(pictures.mean),
            image_std=list(pictures.std),
        ),
        _tokenizer(),
        patch_size=pictures.side,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=_CHAT_TEMPLATE,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    """Makes a tokenizer that drops all text; added tokens, such as `[SCORE]`, remain."""
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(VOCABULARY)}, PAD_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD_TOKEN, extra_special_tokens={"image_token": IMAGE_TOKEN}
    )
