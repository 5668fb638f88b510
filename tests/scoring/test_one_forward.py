"""The fast path gives what the whole forward gives, in float32 on the CPU, whatever the backbone's dtype."""

import copy
import shutil

import pytest
import torch
from heads import ATTRIBUTES, SPACE, build, fill_head, picture
from tiny_models import BUILDERS, FAMILY_BUILDERS
from torch._dynamo.utils import counters

from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.scoring.one_forward import compile_layers, level_logits, one_forward, to_model, without_idle_mask

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


@pytest.mark.parametrize("family", FAMILY_BUILDERS)
def test_it_is_the_whole_forward_to_the_bit(family):
    model, processor = FAMILY_BUILDERS[family]()
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model)
    model.eval()
    collator = RocCollator(processor, model.config.roc)
    same, mixed = [(40, 30)] * 2, [(40, 30), (30, 60), (64, 20)]
    for sizes in (same, mixed):
        batch = collator.scoring_batch([picture(i, size) for i, size in enumerate(sizes)])
        with torch.inference_mode():
            whole = model(**batch, use_cache=False)
        assert torch.equal(level_logits(model, batch), whole.score_logits)
        assert torch.equal(one_forward(model, batch).scores, whole.scores)
        # On a GPU the mask of rows that are not padded stays behind.
        assert torch.equal(level_logits(model, without_idle_mask(batch)), whole.score_logits)
    assert "attention_mask" not in without_idle_mask(collator.scoring_batch([picture(0)] * 2))


def test_rows_may_hold_different_numbers_of_scores():
    model, _, collator = build("llava")
    batch = collator.scoring_batch([picture(0), picture(1)])
    whole = level_logits(model, batch)
    second = batch["score_mask"][1].nonzero()[-1]
    batch["score_mask"][1, second] = False
    found = level_logits(model, batch)
    assert torch.equal(found[0], whole[0]) and torch.equal(found[1, 0], whole[1, 0])
    assert found[1, 1].isnan().all()


def test_scoring_leaves_the_other_forwards_as_they_are():
    model, processor, collator = build("llava")
    batch = to_model(model, collator.prompt_batch([picture(0)]))
    scoring = collator.scoring_batch([picture(0)])
    with torch.no_grad():
        before = model(**batch).logits
    first = level_logits(model, scoring)
    head = model.get_output_embeddings()
    for _ in range(3):
        level_logits(model, scoring)
    assert len(head._forward_pre_hooks) == 1
    with pytest.raises(ValueError, match="score_mask"):
        level_logits(model, {**scoring, "score_mask": scoring["score_mask"][:, 1:]})
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, before)
    # A copy, and a head that takes the place of the first.
    assert torch.equal(level_logits(copy.deepcopy(model), scoring), first)
    model.resize_token_embeddings(model.get_output_embeddings().out_features + 8)
    assert model.get_output_embeddings() is not head
    assert torch.equal(level_logits(model, scoring), first)


def test_a_mask_of_another_length_is_refused():
    model, _, collator = build("llava")
    batch = collator.scoring_batch([picture(0)])
    batch["score_mask"] = batch["score_mask"][:, 1:]
    with pytest.raises(ValueError, match="score_mask have shape"):
        one_forward(model, batch)


def test_a_padded_row_keeps_its_mask():
    _, _, collator = build("qwen2_5_vl")
    batch = collator.scoring_batch([picture(0, (40, 30)), picture(1, (64, 64))])
    assert without_idle_mask(batch) is batch


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("family", BUILDERS)
def test_compiled_layers_give_the_same_scores_and_are_not_compiled_again_and_again(family):
    model, _, collator = build(family)
    model.eval()
    sizes = [(40, 30), (30, 60), (64, 20), (56, 56), (28, 28)]
    batches = [collator.scoring_batch([picture(i, sizes[n % 5]) for i in range(n)]) for n in range(2, 9)]
    batches += [collator.scoring_batch([picture(i, size) for i, size in enumerate(sizes)])]
    plain = [one_forward(model, batch).scores for batch in batches]
    torch.compiler.reset()
    counters.clear()
    assert compile_layers(model) == {"llava": 4, "qwen2_5_vl": 2}[family]
    found, graphs = [], []
    for batch in batches:
        found.append(one_forward(model, batch).scores)
        graphs.append(counters["stats"]["unique_graphs"])
    # Rows of one length, and once more with padding.
    assert 0 < graphs[0] == graphs[-2] and graphs[-1] <= 2 * graphs[0] <= 8
    for ours, theirs in zip(found, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_compiling_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="no-such-compiler is not found"):
        compile_layers(build("llava")[0])
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(ValueError, match="Linear has no layers that could be compiled"):
        linear = torch.nn.Linear(1, 1)
        linear.device = torch.device("cpu")
        compile_layers(linear)


@pytest.mark.parametrize("family", BUILDERS)
def test_a_score_does_not_depend_on_its_neighbours(family):
    model, _, collator = build(family)
    pictures = [picture(seed, size) for seed, size in ((0, (40, 30)), (1, (56, 56)), (2, (28, 42)))]
    together = one_forward(model, collator.scoring_batch(pictures))
    assert together.probabilities.shape == (3, 2, 10)
    for row, one in enumerate(pictures):
        alone = one_forward(model, collator.scoring_batch([one]))
        torch.testing.assert_close(alone.scores[0], together.scores[row], atol=1e-5, rtol=0)


def test_a_bfloat16_backbone_is_fed_bfloat16_and_read_in_float32():
    model, _, collator = build("llava")
    full = one_forward(model, collator.scoring_batch([picture(0)])).scores
    model.to(torch.bfloat16)
    batch = to_model(model, collator.scoring_batch([picture(0)]))
    assert batch["pixel_values"].dtype == torch.bfloat16
    assert batch["input_ids"].dtype == torch.long and batch["score_mask"].dtype == torch.bool
    half = one_forward(model, collator.scoring_batch([picture(0)]))
    assert half.scores.dtype == torch.float32
    assert (half.scores - full).abs().max() < 0.3
