"""Attaching changes nothing of the model that was there."""

import pytest
import torch
from heads import ATTRIBUTES, SPACE, build, inputs_of, picture
from tiny_models import BUILDERS
from transformers import T5Config, T5ForConditionalGeneration

from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.vocabulary import mean_row
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import one_forward


@pytest.mark.parametrize("name", ["roc.meaninit", "roc.meaninit.one"])
def test_mean_row_vectors(vectors, name):
    entry = vectors[name]
    row = mean_row(torch.tensor(entry["inputs"]["old_rows"]))
    for expected in entry["expected"]:
        assert row.tolist() == pytest.approx(expected, abs=entry["tol"])


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("tied", [False, True])
def test_no_old_logit_changes(family, padding, tied):
    model, processor = BUILDERS[family](vocab_padding=padding, tied=tied)
    inputs = inputs_of(processor, "Is it any good?")
    tokens = len(processor.tokenizer)
    with torch.no_grad():
        before = model(**inputs).logits[..., :tokens]
        attach(model, processor, SPACE)
        after = model(**inputs).logits[..., :tokens]
    tolerance = 0.0 if torch.get_num_threads() == 1 else 5e-6
    torch.testing.assert_close(after, before, atol=tolerance, rtol=0)


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("tied", [False, True])
def test_the_new_row_is_the_mean_of_the_used_ones(family, tied):
    model, processor = BUILDERS[family](tied=tied, vocab_padding=3)
    used = len(processor.tokenizer)
    wanted = [w.weight[:used].mean(0) for w in (model.get_input_embeddings(), model.get_output_embeddings())]
    rows = model.get_input_embeddings().weight.shape[0]
    attach(model, processor, SPACE)
    token = model.config.roc["token_id"]
    assert token == used == processor.tokenizer.convert_tokens_to_ids("[SCORE]")
    assert model.get_input_embeddings().weight.shape[0] == rows  # a spare row was taken, none was lost
    for embedding, row in zip((model.get_input_embeddings(), model.get_output_embeddings()), wanted, strict=True):
        torch.testing.assert_close(embedding.weight[token], row)
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("space", [ScoreSpace(1, 10, 10), ScoreSpace(0, 1, 7), ScoreSpace(-3, 5, 4)])
def test_a_fresh_head_scores_the_midpoint(family, space):
    model, processor = BUILDERS[family]()
    attach(model, processor, space)
    scores = one_forward(model, RocCollator(processor, model.config.roc).scoring_batch([picture(0)])).scores
    assert scores.item() == pytest.approx(space.midpoint, abs=1e-6)


def test_the_token_survives_decoding():
    _, processor, _ = build("llava")
    ids = processor.tokenizer("The rate is [SCORE].")["input_ids"]
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == "The rate is [SCORE]."


def test_a_second_attach_is_refused():
    model, processor, _ = build("llava")
    with pytest.raises(ValueError, match="already carries a score head"):
        attach(model, processor, SPACE)


def test_a_foreign_processor_is_refused():
    _, processor, _ = build("llava")
    model, _ = BUILDERS["llava"]()
    with pytest.raises(ValueError, match="already knows"):
        attach(model, processor, SPACE)


def test_an_encoder_decoder_is_refused():
    model = T5ForConditionalGeneration(
        T5Config(d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2, vocab_size=16, decoder_start_token_id=0)
    )
    with pytest.raises(ValueError, match="encoder-decoder"):
        attach(model, None, SPACE)


def test_settings_are_checked():
    model, processor = BUILDERS["llava"]()
    with pytest.raises(ValueError, match="Unknown settings.*l2_weight.*l1_weight"):
        attach(model, processor, SPACE, l2_weight=1.0)
    with pytest.raises(ValueError, match="distinct names"):
        attach(model, processor, SPACE, attributes=("overall", "overall"))
    with pytest.raises(ValueError, match=r"1 \[SCORE\] for 2 attributes"):
        attach(model, processor, SPACE, attributes=ATTRIBUTES, answer="It is [SCORE].")
