"""Critiques that are learnt beside the policy: which rows, which of them a pass draws, and the loss of their words."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")

from policy_runs import build, corpus, settings  # noqa: E402

from roc.policy.critiques import text_loss  # noqa: E402


@pytest.fixture(scope="module")
def trainer(llava, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("critiques")
    file = corpus(folder / "corpus.jsonl", data)
    more = {"critiques_path": file, "critiques_batch_size": 3, "critiques_weight": 0.5, "max_steps": 1}
    return build(settings(llava, data, folder / "out", **more, gradient_accumulation_steps=2))


def test_a_pass_draws_by_its_number_and_training_rows_alone(trainer):
    critiques = trainer.critiques
    assert sorted(record.id for record in critiques.records) == sorted(map(str, range(8)))  # four are for validation
    first, again, second = critiques.batch(0), critiques.batch(0), critiques.batch(1)
    assert set(first) == {"input_ids", "attention_mask", "pixel_values", "labels"} and first["labels"].shape[0] == 3
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pixel_values"], second["pixel_values"])


def test_their_loss_is_that_of_the_words_in_other_training(trainer):
    model, batch = trainer.model, trainer.critiques.batch(0)
    with torch.no_grad():
        expected, found = model(**batch).text_loss, text_loss(model, batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5) and found > 0


def test_it_stands_in_the_objective_with_its_weight(trainer):
    """The same passes with the weight doubled: the loss of each grows by half the text loss, divided by two passes."""
    stock, seen = trainer._compute_loss, []

    def compute(model, given):
        losses = []
        for weight in (0.5, 1.0):
            trainer.config, trainer._pass = replace(trainer.config, critiques_weight=weight), len(seen)
            losses.append(stock(model, dict(given)))
        seen.append((losses[1] - losses[0]).item())
        return losses[1]

    trainer._compute_loss = compute
    before = [text_loss(trainer.model, trainer.critiques.batch(number)).item() for number in (0, 1)]
    trainer.train()
    assert seen == pytest.approx([0.5 * loss / 2 for loss in before], rel=1e-4)
    assert trainer.state.log_history[0]["critiques_loss"] == pytest.approx(sum(before) / 2, rel=1e-4)
