"""The decoder of the small size: a few layers that nothing was taught to yet, and a tokenizer with words about photos.

The tokenizer knows every byte, so any text can be encoded; the sentences below only decide which words are one token.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import LlamaConfig, PreTrainedTokenizerFast

from roc.model.from_nothing import build_tokenizer
from roc.prompts import QUESTIONS, answer
from roc.starter.sizes import Decoder

_ATTRIBUTES = (
    "overall", "composition", "light", "colour", "focus", "sharpness", "contrast", "exposure", "content", "subject",
    "balance", "depth_of_field", "rule_of_thirds", "symmetry", "repetition", "motion_blur", "vivid_colour",
    "colour_harmony", "quality", "creativity", "mood", "noise", "brightness", "colourfulness",
)  # fmt: skip

_COMMENTS = (
    "The subject is sharp and the colours agree.",
    "The light is soft and warm, and it falls on the face from the left.",
    "The light is hard and flat; the sky is overexposed and the shadows are too dark.",
    "The composition is balanced, with the main subject on a third of the frame.",
    "The horizon is tilted, and the subject stands in the middle of an empty foreground.",
    "The background is busy and distracts from the person.",
    "The background is blurred, so the eye goes to the flower at once.",
    "The photo is out of focus and has visible noise.",
    "The picture is slightly blurred because the camera was moved.",
    "The colours are vivid and harmonious, with a strong contrast between blue and orange.",
    "The colours are dull, the white balance is too cold, and the image looks grey.",
    "A good idea and a beautiful moment, but the framing is too tight and the head is cut off.",
    "An ordinary snapshot without a clear subject.",
    "An excellent photograph: well composed, well exposed, and with a mood of its own.",
    "There are leading lines, a pleasing pattern and a nice reflection in the water.",
    "The depth of field is shallow, which separates the animal from the trees behind it.",
    "The exposure is right and the details in the dark areas are kept.",
    "This image shows a street at night with many lights, cars and people.",
    "This image shows a landscape with mountains, a lake and clouds at sunset.",
    "It would be better with more space on the right, a lower angle and less editing.",
    "The old building, the bridge and the city in the distance give it a sense of depth.",
    "Black and white suits the portrait; the expression of the woman is natural.",
    "A man, a child, a dog, a cat, a bird, a horse, food on a table, a room, a beach, the sea, snow, grass.",
    "Low quality, poor, fair, average, good, very good, great, perfect; bad, boring, interesting, creative, simple.",
    "The quality is low because of strong compression, artefacts and low resolution.",
)


def decoder_tokenizer(decoder: Decoder, texts: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Trains the tokenizer; always the same one for the same texts.

    Args:
        decoder: Bounds its size.
        texts: Sentences whose words are to be tokens too.
    """
    answers = [answer([attribute]) for attribute in _ATTRIBUTES]
    return build_tokenizer([*QUESTIONS, *answers, *_COMMENTS, *texts], decoder.vocab_size)


def decoder_config(decoder: Decoder, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Makes the configuration of the language model for this tokenizer."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=decoder.hidden_size,
        intermediate_size=decoder.intermediate_size,
        num_hidden_layers=decoder.layers,
        num_attention_heads=decoder.heads,
        num_key_value_heads=decoder.heads,
        max_position_embeddings=decoder.max_positions,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
