"""Critiques that are learnt beside the policy: which rows, which of them a pass draws, and the loss of their words."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")

from policy_runs import QUESTION, build, corpus, settings  # noqa: E402

from roc.data.rows import DataError  # noqa: E402
from roc.policy.build import as_declared, read_declaration  # noqa: E402
from roc.policy.critiques import read_critiques, text_loss  # noqa: E402


@pytest.fixture(scope="module")
def trainer(llava, data, tmp_path_factory):
    """Two passes a step, three passes a generation of the file: the last step of an epoch has one."""
    folder = tmp_path_factory.mktemp("critiques")
    file = corpus(folder / "corpus.jsonl", data)
    more = {"critiques_path": file, "critiques_batch_size": 3, "critiques_weight": 0.5, "max_steps": 3}
    return build(settings(llava, data, folder / "out", **more, gradient_accumulation_steps=3))


def test_a_pass_draws_by_its_number_and_asks_what_the_policy_is_asked(trainer):
    critiques = trainer.critiques
    assert sorted(record.id for record in critiques.records) == sorted(map(str, range(8)))  # four are for validation
    assert {record.conversations[0][1] for record in critiques.records} == {f"<|image|>{QUESTION}"}
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
    """Each pass twice, the second time with the weight doubled; of a step of three passes each counts a third."""
    stock, drawn, draw, grown, expected = trainer._compute_loss, [], trainer.critiques.batch, [], []

    def compute(model, given):
        losses = []
        for weight in (0.5, 1.0):
            before = trainer._passes
            trainer.config = replace(trainer.config, critiques_weight=weight)
            losses.append(stock(model, dict(given)))
            after, trainer._passes = trainer._passes, before
        trainer._passes = after
        grown.append((losses[1] - losses[0]).item())
        passes = trainer.current_gradient_accumulation_steps
        expected.append(0.5 * text_loss(trainer.model, draw(drawn[-1])).item() / passes)
        return losses[1]

    trainer._compute_loss = compute
    trainer.critiques.batch = lambda number: drawn.append(number) or draw(number)
    trainer.train()
    assert grown == pytest.approx(expected, rel=1e-3) and min(grown) > 0
    # Eight photos, two a pass: four passes an epoch, the fourth a step of its own. Each step begins at its own number.
    assert drawn[::2] == [0, 1, 2, 3, 6, 7, 8]


def test_what_cannot_be_learnt_is_told(llava, data, tmp_path, caplog):
    config = settings(llava, data, tmp_path / "out", critiques_path=corpus(tmp_path / "some.jsonl", data))
    declared = as_declared(config, read_declaration(config, None))
    with caplog.at_level("INFO"):
        found = read_critiques(declared, held_out={os.path.relpath(Path(data).with_name("0.png"))})
    assert [record.id for record in found] == [str(i) for i in range(1, 8)]
    assert "5 rows are left out: no critique, or of a photo that is held out" in caplog.text
    spoilt = corpus(tmp_path / "spoilt.jsonl", data, ["<answer>dark"], count=2)
    with pytest.raises(DataError, match="spoilt.jsonl:1: an answer with a critique has to read"):
        read_critiques(replace(declared, critiques_path=spoilt))
