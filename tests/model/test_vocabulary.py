"""The row of `[SCORE]`: appended, in the place of a reserved token, or refused."""

import pytest
import torch
from tiny_models import BUILDERS
from transformers import AutoTokenizer

from roc.model.attachment import attach
from roc.model.vocabulary import mean_row
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 5, 5)
SPARE = ("<|reserved_special_token_0|>", "<unused7>", "<|reserved_pad|>")


def llava(*spare):
    """A model with 7 rows more than its tokenizer has tokens, of which the last may be spare ones."""
    model, processor = BUILDERS["llava"](vocab_padding=7, tied=False)
    processor.tokenizer.add_tokens(list(spare), special_tokens=True)
    return model, processor


def fewer_outputs(model, processor):
    model.lm_head = torch.nn.Linear(32, len(processor.tokenizer), bias=False)


def other_above(model, processor):
    model.model.multi_modal_projector.vocab_offset = len(processor.tokenizer)


def a_picture(model, processor):
    model.config.image_token_index = len(processor.tokenizer)


UNFIT = pytest.mark.parametrize("unfit", [fewer_outputs, other_above, a_picture])


@UNFIT
def test_a_reserved_token_serves_where_an_appended_one_would_be_no_word(unfit, tmp_path):
    model, processor = llava(*SPARE)
    unfit(model, processor)
    processor.tokenizer.pad_token = SPARE[2]
    tokenizer = processor.tokenizer
    expected, size = tokenizer.convert_tokens_to_ids(SPARE[1]), len(tokenizer)
    other = "The light. <image>" + SPARE[0]
    before = tokenizer(other)["input_ids"]
    attach(model, processor, SPACE)
    assert model.declaration.token_id == expected and len(tokenizer) == size
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert SPARE[1] not in one.get_vocab() and len(one) == size
        assert one("The rate is [SCORE].", add_special_tokens=False)["input_ids"].count(expected) == 1
        assert one.decode([expected], skip_special_tokens=True) == "[SCORE]"
        assert one(other)["input_ids"] == before
    for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert torch.equal(embeddings.weight[expected], mean_row(embeddings.weight[:expected]))


@UNFIT
def test_without_a_reserved_token_it_is_refused(unfit):
    model, processor = llava()
    unfit(model, processor)
    with pytest.raises(ValueError, match="no row for .SCORE.*token that the tokenizer keeps in reserve .* has none"):
        attach(model, processor, SPACE)
    assert "[SCORE]" not in processor.tokenizer.get_vocab()


def test_tokens_that_the_model_has_no_row_for_get_the_mean_as_well():
    rows = []
    for _ in range(2):
        model, processor = BUILDERS["llava"]()
        old = model.get_input_embeddings().weight.detach().clone()
        processor.tokenizer.add_tokens(["one", "two"])
        attach(model, processor, SPACE)
        rows.append(model.get_input_embeddings().weight)
        assert torch.equal(rows[-1][-3:], mean_row(old).expand(3, -1))
    assert torch.equal(*rows)


def test_further_embeddings_that_grow_with_the_vocabulary_get_the_mean_as_well(monkeypatch):
    model, processor = BUILDERS["llava"]()
    old = torch.nn.Embedding(len(processor.tokenizer), 4)
    model.per_layer, resize = old, model.resize_token_embeddings

    def grow(size, **settings):
        model.per_layer = torch.nn.Embedding(size, 4)
        model.per_layer.weight.data[: old.num_embeddings] = old.weight
        return resize(size, **settings)

    monkeypatch.setattr(model, "resize_token_embeddings", grow)
    attach(model, processor, SPACE)
    assert torch.equal(model.per_layer.weight[-1], mean_row(old.weight))
