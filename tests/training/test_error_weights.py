"""Error-aware weights in the trainer: independent of how a step is divided, resumed exactly, nothing where off."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from trainers import Rows, error_aware, error_aware_run, same_errors, trainer_for

from roc.score_space import ScoreSpace
from roc.settings import ConfigError
from roc.training.config import load_config
from roc.training.error_weights import ERRORS_FILE, ErrorWeights, error_weights, row_errors
from roc.training.run import RunError

SGD = {"max_steps": 4, "optim": "sgd", "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
ON = {"error_aware": True}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of four steps of four rows, each in one pass."""
    return error_aware_run(tmp_path_factory.mktemp("whole"), batch=4)


def test_accumulation_gives_the_weights_of_one_pass(whole, tmp_path):
    same_errors(error_aware_run(tmp_path, batch=1, accumulation=4), whole)


def test_the_weights_of_a_step_by_hand(tmp_path):
    """The second step: weights from the errors of the first, in the loss of the model."""
    trainer = error_aware(tmp_path, batch=8, epochs=1, arguments={"max_steps": 2})
    seen = []
    compute = trainer.compute_loss
    trainer.compute_loss = lambda model, inputs, *more, **named: (
        seen.append(dict(inputs)) or compute(model, inputs, *more, **named)
    )
    batch = trainer.data_collator([Rows()[i] for i in range(8)])
    with torch.no_grad():
        scores = trainer.model(**batch).scores
    trainer.train()
    labels = batch["score_labels"]
    errors = ((scores - labels).abs() / 9).nanmean(dim=1).double()
    rated = ~errors.isnan()
    distance = (errors - errors[rated].mean()) / (0.1 * (errors[rated].std(correction=0) + 1e-6) + 1e-6)
    raw = 1 + torch.tanh(distance.clamp(min=0))
    expected = torch.where(rated, raw / raw[rated].mean(), 1.0)
    assert "score_weights" not in seen[0]
    found = dict(zip(seen[1]["row_numbers"].tolist(), seen[1]["score_weights"].tolist(), strict=True))
    assert [found[row] for row in range(8)] == pytest.approx(expected.tolist(), abs=1e-4)
    assert trainer.state.log_history[1]["largest_error_weight"] == pytest.approx(max(found.values()), abs=1e-6)


def test_rows_of_the_first_step_are_weighed_by_the_errors_they_are_about_to_have(tmp_path):
    """To the bit, dropout included; the pass that finds them leaves no trace in batch normalisation."""
    trainer = error_aware(tmp_path, batch=2, accumulation=2, arguments={"max_steps": 2})
    trainer.model.score_head.dropout = 0.5
    norm = trainer.model.model.multi_modal_projector.act = torch.nn.BatchNorm1d(16)
    ahead = []
    look = trainer._errors_ahead
    trainer._errors_ahead = lambda batches: ahead.append(look(batches)) or ahead[-1]
    passed = []
    update = trainer.update_errors
    trainer.update_errors = lambda: passed.append(torch.cat([errors for _, errors in trainer._passed])) or update()
    trainer.train()
    assert len(ahead) == 1 and len(passed) == 2
    assert int(norm.num_batches_tracked) == 4
    torch.testing.assert_close(ahead[0], passed[1].double(), rtol=0, atol=0, equal_nan=True)


def test_a_resumed_run_goes_on_with_the_errors_of_an_uninterrupted_one(whole, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 1}
    error_aware(tmp_path, batch=4, arguments={**saving}).train()
    again = error_aware(tmp_path, batch=4, arguments=saving)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for name, tensor in again.error_weights.state().items():
        assert torch.equal(tensor, whole[name]), name
    assert torch.equal(again.model.score_head.weight, whole["head"])
    saved = load_file(tmp_path / "checkpoint-2" / ERRORS_FILE)
    assert saved["tracked"].sum() == 7 and not torch.equal(saved["errors"], whole["errors"])


def test_no_loss_jumps_where_the_weights_begin_to_count(tmp_path):
    """With equal weights, a step that is weighed has the losses of one that only tracks, those of histograms too.

    The released code took the mean over the bins before the weights counted and the sum after it: ten times as much.
    """
    arguments = {**SGD, "max_steps": 2, "learning_rate": 0.0}
    weights = ErrorWeights(len(Rows()), epochs=1, beta=0.0)
    trainer = trainer_for(tmp_path, batch=8, arguments=arguments, error_weights=weights)
    trainer.train()
    tracked, weighed = trainer.state.log_history[:2]
    assert "largest_error_weight" not in tracked and weighed["largest_error_weight"] == 1.0
    for name in ("loss", "text_loss", "l1_loss", "ce_loss", "emd_loss"):
        assert tracked[name] > 0 and weighed[name] == pytest.approx(tracked[name], rel=1e-5), name


def test_while_errors_are_only_tracked_the_run_is_the_plain_one_to_the_bit(tmp_path):
    plain = trainer_for(tmp_path / "plain", batch=4, arguments=SGD)
    plain.train()
    tracking = error_aware_run(tmp_path / "tracking", batch=4, epochs=9)
    assert torch.equal(plain.model.score_head.weight, tracking["head"])
    assert [entry.get("loss") for entry in plain.state.log_history] == [entry.get("loss") for entry in tracking["log"]]
    assert "errors_tracked" not in plain.state.log_history[0]
    assert [entry.get("errors_tracked") for entry in tracking["log"][1:3]] == [7 / 8, 7 / 8]


def test_the_error_of_a_row():
    """The mean over its rated scores on 0..1; a histogram alone stands for its mean; NaN where nothing is rated."""
    nan, space = float("nan"), ScoreSpace(1, 5, 3)
    votes = torch.full((4, 2, 3), nan)
    votes[1, 0] = torch.tensor([0.5, 0.5, 0.0])  # mean 2
    batch = {
        "score_labels": torch.tensor([[1.0, 2.0], [nan, nan], [5.0, nan], [nan, nan]]),
        "score_distributions": votes,
    }
    scores = torch.tensor([[2.0, 4.0], [3.0, 3.0], [1.0, nan], [3.0, 3.0]])
    expected = torch.tensor([(1 / 4 + 2 / 4) / 2, 1 / 4, 1.0, nan])
    torch.testing.assert_close(row_errors(scores, batch, [space] * 2), expected, equal_nan=True)
    wider = [space, ScoreSpace(0, 8, 3)]
    expected[0] = (1 / 4 + 2 / 8) / 2
    torch.testing.assert_close(row_errors(scores, batch, wider), expected, equal_nan=True)
    del batch["score_distributions"]
    assert row_errors(scores, batch, wider).isnan().tolist() == [False, True, False, True]


def step(**changes):
    given = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "world_size": 1}
    return SimpleNamespace(**{**given, "num_train_epochs": 2.0, "max_steps": -1, **changes})


@pytest.mark.parametrize(("epochs", "tracking"), [(2, 1), (3, 1), (9, 4), (100, 5)])
def test_errors_are_tracked_for_five_epochs_or_half_of_a_shorter_run(epochs, tracking):
    config = load_config(None, {**ON, "num_train_epochs": epochs, "error_aware_tau": 1})
    weights = error_weights(config, step(num_train_epochs=epochs), 80)
    assert weights.epochs == tracking and weights.tau == 1 and len(weights.errors) == 80
    assert error_weights(load_config(), step(), 80) is None


def test_a_batch_of_one_is_told_once(caplog):
    one = step(per_device_train_batch_size=1)
    error_weights(load_config(None, ON), one, 80)
    assert [line for line in caplog.messages if "a step holds one image, whose weight is always 1" in line] != []
    assert len(caplog.messages) == 1
    caplog.clear()
    error_weights(load_config(None, ON), step(per_device_train_batch_size=1, world_size=2), 80)
    assert caplog.messages == []


def test_weights_that_would_never_count_are_refused():
    with pytest.raises(ConfigError, match="error_aware_epochs is 1, but the run has 1 epochs"):
        load_config(None, {**ON, "num_train_epochs": 1})
    with pytest.raises(ConfigError, match="error_aware_epochs is 5, but the run has 4 epochs"):
        load_config(None, {**ON, "num_train_epochs": 4, "error_aware_epochs": 5})
    config = load_config(None, {**ON, "max_steps": 20, "error_aware_epochs": 2})
    with pytest.raises(RunError, match="error_aware_epochs is 2, but the run has 2 epochs"):
        error_weights(config, step(max_steps=20), 80)
    assert error_weights(config, step(max_steps=21), 80).epochs == 2
    with pytest.raises(ConfigError, match="error_aware is on with published_losses"):
        load_config(None, {**ON, "published_losses": True})
    off, other = load_config(None, {}), load_config(None, {"error_aware_tau": 1})
    assert other.differences(off.to_dict()) == []
