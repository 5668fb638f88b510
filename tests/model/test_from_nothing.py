"""The tokenizer that is trained on a few sentences, and the scale of weights that nothing was taught to."""

import pytest
import torch

from roc.model.from_nothing import build_tokenizer, scale_to_width

TEXTS = [
    "How would you rate the aesthetics of this photo?",
    "The light is soft and the colours are warm.",
    "The aesthetic score of this photo is high.",
    "The subject is out of focus and off centre.",
]


def test_tokenizer_gives_back_any_text():
    tokenizer = build_tokenizer(TEXTS)
    for text in (TEXTS[0], "Größe 7.5, naïve 日本 🙂", "  two spaces\nand a line"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_texts_are_needed():
    with pytest.raises(ValueError, match="no text"):
        build_tokenizer(["", "  "])


def test_a_matrix_that_is_an_embedding_keeps_its_scale():
    tied = torch.nn.ModuleList([torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50), torch.nn.Linear(400, 30)])
    tied[1].weight = tied[0].weight
    before = tied[0].weight.clone()
    scale_to_width(tied)
    assert torch.equal(tied[1].weight, before)
    assert tied[2].weight.std().item() == pytest.approx(400**-0.5, rel=0.05)
