"""Links in the trainer: independent of how a step is divided, resumed exactly, gone from the trained model."""

import pytest
import torch
from safetensors.torch import load_file
from trainers import MixedRows, linked, linked_run

from roc.checkpoint.folder import load, read_config
from roc.model.declaration import declaration_of
from roc.training.learnt_links import LINKS_FILE, MixedCollator, links_of, settle_links


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of four steps of four rows, each in one pass."""
    return linked_run(tmp_path_factory.mktemp("whole"), batch=4)


def test_accumulation_gives_the_links_of_one_pass(whole, tmp_path):
    divided = linked_run(tmp_path, batch=1, accumulation=4)
    for name, expected in whole.items():
        torch.testing.assert_close(divided[name], expected, rtol=1e-5, atol=1e-6)
    assert whole["log_slopes"][1, 0].abs().max() > 1e-3, "nothing was learnt"
    assert whole["log_slopes"][0].abs().max() == 0


def test_a_state_is_a_checkpoint_and_a_resumed_run_goes_on_with_its_links(whole, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2}
    linked(tmp_path, batch=4, arguments=saving).train()
    state = tmp_path / "checkpoint-2"
    again = linked(tmp_path, batch=4, arguments=saving)
    again.train(resume_from_checkpoint=str(state))
    assert torch.equal(again.model.score_head.weight, whole["head"])
    for name, tensor in links_of(again.model).state().items():
        assert torch.equal(tensor, whole[name]), name
    kept = load_file(state / LINKS_FILE)
    assert not torch.equal(kept["log_slopes"], whole["log_slopes"])
    again._load_links(state)
    assert declaration_of(read_config(state)).scales == links_of(again.model).scales()
    model, _ = load(state)  # no weight too many
    assert links_of(model) is None


def test_trained_links_become_numbers_of_the_declaration(tmp_path):
    trainer = linked(tmp_path, batch=8, arguments={"max_steps": 1})
    trainer.train()
    expected = links_of(trainer.model).scales()
    settle_links(trainer.model)
    assert trainer.model.declaration.scales == expected
    assert links_of(trainer.model) is None and not hasattr(trainer.model, "scale_links")
    assert len(expected[1].links["overall"]) == 5
    settle_links(trainer.model)  # of a model without links, nothing


def test_batches_tell_the_data_set_of_each_row():
    collator = MixedCollator(lambda samples: {"input_ids": torch.zeros(len(samples))}, ("AVA", "KonIQ"))
    rows = MixedRows()
    assert collator([rows[1], rows[0], rows[3]])["score_sets"].tolist() == [1, 0, 1]


def test_validation_reads_each_row_on_its_scale(tmp_path):
    """Shared scores of the second data set come back on 0..100; metrics are those of each, and their mean."""
    from roc.training.validation import validation_metrics

    trainer = linked(tmp_path, batch=8)
    trainer.compute_metrics = validation_metrics(["overall", "light"], ["AVA", "KonIQ"])
    with torch.no_grad():
        trainer.model.scale_links.offsets[1] = 0.25
    batch = trainer.data_collator([MixedRows()[i] for i in range(8)])
    _, scores, labels = trainer.prediction_step(trainer.model.eval(), batch, False)
    with torch.no_grad():
        shared = trainer.model(**batch).scores
    assert labels[:, -1].tolist() == [0, 1] * 4
    torch.testing.assert_close(scores[::2], shared[::2], equal_nan=True)
    torch.testing.assert_close(scores[1::2], 25 + (shared[1::2] - 1) / 9 * 100, equal_nan=True)
    found = trainer.compute_metrics(type("R", (), {"predictions": scores.numpy(), "label_ids": labels.numpy()}))
    assert found["srcc"] == pytest.approx((found["set/AVA/srcc"] + found["set/KonIQ/srcc"]) / 2)
    assert found["n"] == found["set/AVA/n"] + found["set/KonIQ/n"] and "mae" not in found and "set/KonIQ/mae" in found
