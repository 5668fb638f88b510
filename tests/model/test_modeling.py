"""Positions, losses, gradients and scores of a model with the head, whose other outputs stay as they were."""

import copy
import dataclasses
import pickle

import pytest
import torch
from heads import (
    ATTRIBUTES,
    SPACE,
    VOTES,
    build,
    mixed_batch,
    picture,
    record,
    sample,
    talk,
)
from tiny_models import BUILDERS

from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.declaration import declare
from roc.model.head import read_levels
from roc.model.losses import frank
from roc.model.modeling import RocMixin, roc_class
from roc.model.positions import score_positions
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import one_forward


@pytest.fixture(params=BUILDERS)
def attached(request):
    """Builds a tiny model with a head, filled so that scores differ, and its collator."""
    return build(request.param)


@pytest.mark.parametrize("name", ["roc.positions.single", "roc.positions.multi"])
def test_positions_vectors(vectors, name):
    entry = vectors[name]["inputs"]
    found = score_positions(torch.tensor(entry["labels"]), entry["score_id"]).nonzero().flatten().tolist()
    assert found == vectors[name]["expected"]


def test_total_loss_vectors(vectors):
    """text + weights . (l1, ce), as the forward adds them up."""
    from roc.model.losses import smooth_l1, soft_cross_entropy

    for name in ("roc.total.l1", "roc.total.ava"):
        given = vectors[name]["inputs"]
        text = -torch.tensor(given["token_logprobs"], dtype=torch.float64).mean()
        truth = torch.tensor(given["gt"], dtype=torch.float64)
        if "logits" in given:
            from roc.model.head import read_levels

            logits = torch.tensor(given["logits"], dtype=torch.float64)
            prediction = read_levels(logits, torch.tensor(SPACE.levels, dtype=torch.float64)).scores
            ce = soft_cross_entropy(logits, torch.tensor(given["target"], dtype=torch.float64))
        else:
            prediction, ce = torch.tensor(given["pred"], dtype=torch.float64), 0.0
        total = text + given["l1_weight"] * smooth_l1(prediction, truth) + given["ce_weight"] * ce
        assert float(total) == pytest.approx(vectors[name]["expected"], abs=1e-6)


def test_forward_adds_its_losses_with_their_weights():
    model, _, collator = build("llava", text_weight=0.5, l1_weight=2.0, ce_weight=3.0, emd_weight=4.0)
    out = model(**mixed_batch(collator))
    expected = 0.5 * out.text_loss + 2 * out.l1_loss + 3 * out.ce_loss + 4 * out.emd_loss
    torch.testing.assert_close(out.loss, expected)
    assert min(out.l1_loss, out.ce_loss, out.emd_loss) > 0


def test_without_a_text_loss_the_vocabulary_is_left_alone(attached):
    """The scores and their losses are the same to the bit, and nothing reaches the language-model head."""
    model, _, collator = attached
    batch = mixed_batch(collator)
    with_words = model(**batch)
    declare(model, dataclasses.replace(model.declaration, text_weight=0.0))
    out = model(**batch)
    assert "text_loss" not in out and out.logits.shape == (0, with_words.logits.shape[1])
    assert torch.equal(out.score_logits.nan_to_num(-1), with_words.score_logits.nan_to_num(-1))
    l1_weight, ce_weight = model.declaration.l1_weight, model.declaration.ce_weight
    torch.testing.assert_close(out.loss, l1_weight * with_words.l1_loss + ce_weight * with_words.ce_loss)
    out.loss.backward()
    head = model.get_output_embeddings().weight
    assert model.score_head.weight.grad.any()
    assert (head.grad is None) == (head is not model.get_input_embeddings().weight)


def test_scores_stand_where_their_records_stand(attached):
    model, _, collator = attached
    out = model(**mixed_batch(collator))
    given = [[True, True], [True, True], [False, False], [True, False]]
    assert (~out.scores.isnan()).tolist() == given
    assert out.score_logits.shape == (4, 2, 10)
    assert out.logits.shape[0] == int((mixed_batch(collator)["labels"][:, 1:] != -100).sum())
    alone = model(
        **collator([sample(3, scores={"overall": 2.5}, conversations=talk("Rate it.", "I say [SCORE], no more."))])
    )
    torch.testing.assert_close(alone.scores[0, 0], out.scores[3, 0], atol=1e-5, rtol=0)


def test_each_loss_is_the_mean_over_what_it_applies_to(attached):
    model, _, collator = attached
    out = model(**mixed_batch(collator))
    truths = [(0, 0, 6.0), (0, 1, 3.0), (1, 0, 8.0), (3, 0, 2.5)]
    errors = torch.stack([out.scores[row, column] - truth for row, column, truth in truths]).abs()
    by_hand = torch.where(errors < 1, 0.5 * errors**2, errors - 0.5).mean()
    torch.testing.assert_close(out.l1_loss, by_hand)
    votes = torch.tensor(VOTES, dtype=torch.float32)
    log_p = out.score_logits[1, 0].log_softmax(-1)
    torch.testing.assert_close(out.ce_loss, -(votes * log_p).sum())
    gaps = log_p.exp().cumsum(0) - votes.cumsum(0)
    torch.testing.assert_close(out.emd_loss, gaps.square().mean().sqrt())


def test_each_score_loss_weighs_its_rows(attached):
    """Rows 0 and 3 have two scores and one, row 1 a score and a histogram; the text loss has no weights."""
    model, _, collator = attached
    batch = mixed_batch(collator)
    plain, out = model(**batch), model(**batch, score_weights=torch.tensor([0.5, 1.5, 9.0, 2.0]))
    weights, truths = [0.5, 0.5, 1.5, 2.0], [(0, 0, 6.0), (0, 1, 3.0), (1, 0, 8.0), (3, 0, 2.5)]
    errors = torch.stack([out.scores[row, column] - truth for row, column, truth in truths]).abs()
    by_hand = torch.where(errors < 1, 0.5 * errors**2, errors - 0.5) * torch.tensor(weights)
    torch.testing.assert_close(out.l1_loss, by_hand.mean())
    torch.testing.assert_close(out.ce_loss, 1.5 * plain.ce_loss)
    torch.testing.assert_close(out.emd_loss, 1.5 * plain.emd_loss)
    assert torch.equal(out.text_loss, plain.text_loss)
    ones = model(**batch, score_weights=torch.ones(4))
    assert torch.equal(ones.loss, plain.loss)
    declare(model, dataclasses.replace(model.declaration, published_losses=True))
    with pytest.raises(ValueError, match="the published losses weigh no rows"):
        model(**batch, score_weights=torch.ones(4))


def test_scores_and_losses_stay_float32_under_autocast(attached):
    model, _, collator = attached
    batch = mixed_batch(collator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**batch)
    for name in ("loss", "text_loss", "l1_loss", "ce_loss", "emd_loss", "scores", "score_logits"):
        assert out[name].dtype == torch.float32, name
    levels = model.score_levels()
    exact = (out.score_logits[0].double().softmax(-1) * levels.double()).sum(-1)
    torch.testing.assert_close(out.scores[0].double(), exact, atol=1e-5, rtol=0)
    out.loss.backward()


def test_l1_is_stated_on_the_papers_width():
    """The scaled error on 0..1 costs as much as on 1..10; `native` does not scale it."""
    losses = {}
    for scale in ("unit", "native"):
        model, processor = BUILDERS["llava"]()
        attach(model, processor, ScoreSpace(0, 1, 10), l1_scale=scale)
        collator = RocCollator(processor, model.config.roc)
        losses[scale] = model(**collator([sample(0, scores={"overall": 0.9})])).l1_loss.item()
    assert losses["unit"] == pytest.approx(0.4 * 9 - 0.5, abs=1e-6)  # fresh head: 0.5
    assert losses["native"] == pytest.approx(0.5 * 0.4**2, abs=1e-6)


def test_score_losses_do_not_touch_the_vocabulary_nor_text_the_head(attached):
    model, _, collator = attached
    out = model(**mixed_batch(collator))
    out.logits.retain_grad()
    score_loss = out.l1_loss + out.ce_loss + out.emd_loss
    score_loss.backward(retain_graph=True)
    assert out.logits.grad is None
    head = model.get_output_embeddings()
    if not model.config.tie_word_embeddings:
        assert head.weight.grad is None
    assert model.score_head.weight.grad.abs().sum() > 0
    model.zero_grad()
    out.text_loss.backward()
    assert model.score_head.weight.grad is None
    assert out.logits.grad.abs().sum() > 0


def test_a_batch_without_scores_reaches_every_parameter(attached):
    """Under DDP every parameter needs a gradient in every step, if only a zero."""
    model, _, collator = attached
    out = model(**collator([sample(2, scores={}, conversations=talk("What is it?", "A quiet scene."))]))
    out.loss.backward()
    assert model.score_head.weight.grad is not None
    assert not model.score_head.weight.grad.any()
    assert out.l1_loss.item() == out.ce_loss.item() == out.emd_loss.item() == 0


def test_a_batch_without_any_answer_has_a_zero_loss(attached):
    model, _, collator = attached
    batch = collator([sample(0)])
    batch["labels"][:] = -100
    del batch["score_labels"]
    out = model(**batch)
    assert out.loss.item() == 0
    out.loss.backward()


def test_parts_of_a_batch_add_up_to_the_whole(attached):
    """Two halves, each divided by the counts of the whole, give the whole's losses and gradients."""
    model, _, collator = attached
    model.config.roc |= {"ce_weight": 1.0, "emd_weight": 1.0}
    votes = {"overall": VOTES}
    rows = [sample(0), sample(1, votes=votes), sample(2, votes=votes), sample(3, scores={"overall": 2.0})]
    whole = model(**collator(rows))
    whole.loss.backward()
    expected = gradient(model)
    model.zero_grad()
    tokens = (collator(rows)["labels"][:, 1:] != -100).sum()
    parts = [
        model(**collator(half), num_items_in_batch=tokens, num_scores_in_batch=7, num_distributions_in_batch=2)
        for half in (rows[:1], rows[1:])
    ]
    sum(part.loss for part in parts).backward()
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss)
    assert (gradient(model) - expected).norm() / expected.norm() < 1e-6


def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_one_forward_teacher_forced_and_generated_scores_agree(attached):
    model, processor, collator = attached
    pictures = [picture(seed, size) for seed, size in ((0, (40, 30)), (1, (30, 50)), (2, (64, 64)))]
    fast = one_forward(model, collator.scoring_batch(pictures)).scores
    rows = [(record(str(i)), [one]) for i, one in enumerate(pictures)]
    with torch.no_grad():
        taught = model(**collator(rows)).scores
    torch.testing.assert_close(fast, taught, atol=1e-5, rtol=0)

    # An untrained model would not write the answer: its words are put into its mouth, its scores are read as usual.
    answer = collator._tokenize(collator.declaration.answer)

    def speak(batch_id, so_far):
        return [answer[len(so_far) - prompt_length]]

    batch = collator.prompt_batch(pictures)
    prompt_length = batch["input_ids"].shape[1]
    written = model.generate_with_scores(
        **batch, max_new_tokens=len(answer), do_sample=False, prefix_allowed_tokens_fn=speak
    )
    from roc.model.head import read_levels

    generated = torch.stack([read_levels(row, model.score_levels()).scores for row in written.score_logits])
    assert processor.tokenizer.decode(written.sequences[0]) == collator.declaration.answer
    torch.testing.assert_close(fast, generated, atol=1e-5, rtol=0)


def test_left_and_right_padding_agree(attached):
    model, _, collator = attached
    rows = [
        sample(0),
        sample(3, scores={"overall": 2.5}, conversations=talk("Rate it.", "I say [SCORE], no more.")),
    ]
    prompts, tails = zip(*(collator.layout(one) for one, _ in rows), strict=True)
    scores = []
    for side in ("left", "right"):
        batch = collator._assemble(prompts, [pictures for _, pictures in rows], tails, side)
        with torch.no_grad():
            scores.append(model(**batch).scores)
    torch.testing.assert_close(scores[0], scores[1], atol=1e-5, rtol=0, equal_nan=True)


def test_score_mask_skips_the_vocabulary(attached):
    model, _, collator = attached
    with torch.inference_mode():
        out = model(**collator.scoring_batch([picture(0)]))
    assert out.logits.shape[0] == 0


def test_truncated_answers_do_not_lose_their_score_silently(attached):
    model, _, collator = attached
    batch = collator([sample(0), sample(1)])
    batch["labels"][1] = -100  # as if cut away
    with pytest.raises(ValueError, match=r"row 1: 0 \[SCORE\]"):
        model(**batch)
    batch = collator([sample(0)])
    batch["score_labels"] = batch["score_labels"][:, :1]
    with pytest.raises(ValueError, match=r"row 0: 2 \[SCORE\].*1 columns"):
        model(**batch)


def test_labels_of_another_length_are_refused(attached):
    model, _, collator = attached
    batch = collator([sample(0)])
    batch["labels"] = batch["labels"][:, :-3]
    with pytest.raises(ValueError, match="after image tokens are expanded"):
        model(**batch)


def test_beam_search_is_refused(attached):
    model, _, collator = attached
    with pytest.raises(ValueError, match="num_beams=1"):
        model.generate_with_scores(**collator.prompt_batch([picture(0)]), num_beams=2)


def test_the_class_keeps_its_name_and_survives_copies(attached):
    model, _, collator = attached
    cls = type(model)
    base = cls.roc_base_class
    assert (cls.__name__, cls.__module__, cls.__qualname__) == (base.__name__, base.__module__, base.__qualname__)
    assert roc_class(base) is cls
    assert isinstance(model, RocMixin)
    batch = collator.scoring_batch([picture(0)])
    expected = one_forward(model, batch).scores
    assert torch.equal(one_forward(copy.deepcopy(model), batch).scores, expected)


def test_pickle_of_a_fresh_model():
    model, _, collator = build("llava")
    again = pickle.loads(pickle.dumps(model))
    batch = collator.scoring_batch([picture(0)])
    assert torch.equal(one_forward(again, batch).scores, one_forward(model, batch).scores)


def test_without_labels_the_output_is_the_models_own(attached):
    model, _, collator = attached
    batch = collator.prompt_batch([picture(0)])
    out = model(**batch)
    assert type(out) is type(type(model).roc_base_class.forward(model, **batch))
    assert out.logits.shape[:2] == batch["input_ids"].shape


def test_published_losses_normalise_over_the_level_rows_too():
    model, _, collator = build("llava", published_losses=True, emd_weight=1.0)
    rows = [sample(0, votes={"overall": VOTES}), sample(1, votes={"overall": VOTES[::-1]})]
    batch = collator(rows)
    out = model(**batch)
    assert out.text_loss > model_text_loss(model, batch)
    p = out.score_logits[:, 0].softmax(-1)
    q = torch.tensor([VOTES, VOTES[::-1]], dtype=torch.float32)
    torch.testing.assert_close(out.emd_loss, (p.cumsum(-1) - q.cumsum(-1)).square().mean().sqrt())


def test_published_emd_under_accumulation_is_the_mean_over_the_parts():
    model, _, collator = build("llava", published_losses=True, emd_weight=1.0)
    rows = [sample(i, votes={"overall": VOTES}) for i in range(4)]
    with torch.no_grad():
        alone = [model(**collator([row])).emd_loss for row in rows]
        parts = [model(**collator([row]), num_distributions_in_batch=4).emd_loss for row in rows]
    torch.testing.assert_close(sum(parts), sum(alone) / 4)


def model_text_loss(model, batch):
    model.config.roc["published_losses"] = False
    loss = model(**batch).text_loss
    model.config.roc["published_losses"] = True
    return loss


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """Records the bytes of the largest tensor that any operation makes, forward and backward."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return out


def test_a_large_vocabulary_costs_only_at_supervised_positions():
    vocabulary = 150_000
    model, processor = BUILDERS["llava"](vocab_padding=vocabulary)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    batch = RocCollator(processor, model.config.roc)([sample(i) for i in range(4)])
    supervised = int((batch["labels"][:, 1:] != -100).sum())
    assert supervised < 0.6 * batch["labels"].numel()
    rows = model.get_output_embeddings().weight.shape[0]
    with LargestTensor() as ours:
        model(**batch).loss.backward()
    with LargestTensor() as stock:
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "pixel_values", "labels")}
        type(model).roc_base_class.forward(model, **inputs).loss.backward()
    assert ours.bytes <= supervised * rows * 4
    assert stock.bytes >= batch["labels"].numel() * rows * 4
    with LargestTensor() as scoring:
        one_forward(model, RocCollator(processor, model.config.roc).scoring_batch([picture(0)]))
    assert scoring.bytes < rows * 4


def test_each_attribute_is_read_and_trained_on_its_own_range():
    """The logits stay; the second score and its label lie on -10..10 as they did on 1..10, and the loss is the same."""
    model, _, collator = build("llava")
    batch = mixed_batch(collator)
    plain, common = model(**batch), one_forward(model, collator.scoring_batch([picture(0)]))
    mixed = dataclasses.replace(SPACE, attribute_ranges={"light": (-10, 10)})
    declare(model, dataclasses.replace(model.declaration, space=mixed))

    def moved(scores):
        return torch.stack([scores[..., 0], (scores[..., 1] - 1) / 9 * 20 - 10], dim=-1)

    out = model(**{**batch, "score_labels": moved(batch["score_labels"])})
    assert torch.equal(out.score_logits.nan_to_num(), plain.score_logits.nan_to_num())
    assert torch.equal(out.scores[:, 0].nan_to_num(), plain.scores[:, 0].nan_to_num())
    torch.testing.assert_close(out.scores, moved(plain.scores), equal_nan=True)
    torch.testing.assert_close(out.l1_loss, plain.l1_loss)
    read = one_forward(model, collator.scoring_batch([picture(0)]))
    torch.testing.assert_close(read.scores, moved(common.scores))
    torch.testing.assert_close(read.stds[:, 1], common.stds[:, 1] / 9 * 20)
    assert model.levels_at([0, 1, 2])[:, 0].tolist() == [1, -10, 1]  # one [SCORE] more than there are attributes


def test_the_native_smooth_l1_is_stated_in_each_attributes_own_points():
    model, _, collator = build("llava", l1_scale="native")
    mixed = dataclasses.replace(SPACE, attribute_ranges={"light": (-10, 10)})
    declare(model, dataclasses.replace(model.declaration, space=mixed))
    out = model(**collator([sample(0, scores={"overall": 6.0, "light": -8.0})]))
    errors = (out.scores[0] - torch.tensor([6.0, -8.0])).abs()
    torch.testing.assert_close(out.l1_loss, torch.where(errors < 1, 0.5 * errors**2, errors - 0.5).mean())


def test_pairs_are_compared_by_their_first_score():
    """The batch holds two pairs around a rated row; only of one is the difference known."""
    model, _, collator = build("llava", delta_weight=2.0, rank_weight=3.0)
    batch = collator(
        [sample(0, scores={}), sample(1), sample(2, scores={}), sample(3, scores={}), sample(4, scores={})]
    )
    compared = {
        "pairs": torch.tensor([[0, 2], [3, 4]]),
        "pair_wins": torch.tensor([1.0, 0.5]),
        "pair_deltas": torch.tensor([0.125, float("nan")]),
    }
    out, plain = model(**batch, **compared), model(**batch)
    read = read_levels(out.score_logits[:, 0], model.score_levels())
    unit, variances = read.scores / 9, (read.stds / 9).square()
    error = (unit[2] - unit[0] - 0.125).abs().item()
    by_hand = error - 0.025 if error > 0.05 else 10 * error**2
    assert out.delta_loss.item() == pytest.approx(by_hand, rel=1e-4)
    expected = frank(unit[compared["pairs"]], variances[compared["pairs"]], compared["pair_wins"])
    torch.testing.assert_close(out.rank_loss, expected)
    torch.testing.assert_close(out.loss, plain.loss + 2 * out.delta_loss + 3 * out.rank_loss)
    out.loss.backward()
    assert model.score_head.weight.grad.isfinite().all()
    nothing = {name: tensor[:0] for name, tensor in compared.items()}
    assert torch.equal(model(**batch, **nothing).loss, plain.loss)
