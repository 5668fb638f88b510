"""The decoder of the small size: its tokenizer reads any text, and words about photos are one token each."""

import pytest

from roc.prompts import answer
from roc.starter.decoder import decoder_config, decoder_tokenizer
from roc.starter.sizes import Decoder


@pytest.fixture(scope="module")
def tokenizer():
    return decoder_tokenizer(Decoder())


def test_any_text_comes_back(tokenizer):
    for text in ("Größe 7.5, naïve 日本 🙂", "  two spaces\nand a line", answer(["overall", "depth_of_field"])):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_words_about_photos_are_one_token_each(tokenizer):
    text = "The light is soft and the subject is blurred; the composition rate of the image is high"
    assert len(tokenizer.tokenize(text)) <= len(text.split()) + 3


def test_it_is_always_the_same_one(tokenizer):
    assert decoder_tokenizer(Decoder()).get_vocab() == tokenizer.get_vocab()
    assert len(tokenizer) <= Decoder().vocab_size
    config = decoder_config(Decoder(), tokenizer)
    assert (config.vocab_size, config.eos_token_id) == (len(tokenizer), tokenizer.eos_token_id)
