"""The table of families, and that its facts make each family score right."""

import dataclasses

import pytest
import torch
from heads import ATTRIBUTES, SPACE, fill_head, picture, sample, talk
from tiny_models import FAMILY_BUILDERS

from roc.checkpoint.folder import load, save
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.families import FAMILIES, Family, family
from roc.model.head import read_levels
from roc.scoring.one_forward import one_forward


def build(name):
    try:
        model, processor = FAMILY_BUILDERS[name]()
    except ImportError as error:  # older releases of transformers want torchvision for more families
        pytest.skip(str(error))
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model)
    with torch.no_grad():
        model.score_head.weight.mul_(0.2)  # no level so sure of itself that nothing can move the score
    return model, processor, RocCollator(processor, model.config.roc)


def three_ways(model, collator):
    """Scores three images in one forward, as in training, and while the answer is generated."""
    pictures = [picture(i) for i in range(3)]
    fast = one_forward(model, collator.scoring_batch(pictures)).scores
    with torch.no_grad():
        taught = model(**collator([sample(i) for i in range(3)])).scores
    words, batch = collator.answer_ids, collator.prompt_batch(pictures)
    length = batch["input_ids"].shape[1]
    written = model.generate_with_scores(
        **batch,
        max_new_tokens=len(words),
        do_sample=False,
        prefix_allowed_tokens_fn=lambda row, so_far: [words[len(so_far) - length]],
    )
    spoken = torch.stack([read_levels(row, model.score_levels()).scores for row in written.score_logits])
    return fast, taught, spoken


def test_every_row_is_a_family_that_is_checked_and_every_fact_has_a_reason():
    assert set(FAMILIES) - {"emu3"} == set(FAMILY_BUILDERS)
    assert all(row.reason for row in FAMILIES.values() if row.prefix_lm or row.chat_template or row.one_size)
    assert family("a type of tomorrow") == Family()


def test_a_prefix_lm_gives_one_score_whichever_way_it_is_read():
    model, _, collator = build("paligemma")
    fast, taught, spoken = three_ways(model, collator)
    torch.testing.assert_close(fast, taught, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast, spoken, atol=1e-5, rtol=0)
    # The same model without the fact: what stands before [SCORE] is read in both directions in one way, not in another.
    collator.declaration = dataclasses.replace(collator.declaration, prefix_lm=False)
    fast, taught, spoken = three_ways(model, collator)
    assert (fast - taught).abs().max() > 1e-3
    assert (fast - spoken).abs().max() > 1e-3


def test_a_prefix_lm_reads_rows_of_a_batch_as_it_reads_them_alone():
    model, _, collator = build("paligemma")
    rows = [sample(0), sample(1, scores={"overall": 2.0}, conversations=talk("And now?", "I say [SCORE], no more."))]
    with torch.no_grad():
        together = model(**collator(rows)).scores
        alone = model(**collator(rows[1:])).scores
    torch.testing.assert_close(together[1:, :1], alone, atol=1e-5, rtol=0)


def test_a_prefix_lm_takes_no_conversation():
    _, _, collator = build("paligemma")
    turns = talk("Rate it.", "It is [SCORE].") + (("user", "And the light?"), ("assistant", "The light is [SCORE]."))
    with pytest.raises(ValueError, match="conversation of 2 questions.*Write a record for each question"):
        collator([sample(0, conversations=turns)])


def test_a_processor_without_template_takes_the_one_of_its_family_and_keeps_it(tmp_path):
    model, processor, collator = build("paligemma")
    assert processor.chat_template == FAMILIES["paligemma"].chat_template
    save(model, processor, tmp_path)
    again, loaded = load(tmp_path)
    assert loaded.chat_template == processor.chat_template
    pictures = [picture(0)]
    expected = one_forward(model, collator.scoring_batch(pictures)).scores
    assert torch.equal(
        one_forward(again, RocCollator(loaded, again.config.roc).scoring_batch(pictures)).scores, expected
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FAMILY_BUILDERS) - {"paligemma"}))
def test_every_family_gives_one_score_whichever_way_it_is_read(name):
    model, _, collator = build(name)
    fast, taught, spoken = three_ways(model, collator)
    torch.testing.assert_close(fast, taught, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast, spoken, atol=1e-5, rtol=0)
    assert fast[:, 0].std() > 1e-3  # the picture is seen
