"""Running errors and weights against the recorded vectors, and what does not change them."""

import pytest
import torch

from roc.model.losses import smooth_l1
from roc.training.error_tracker import ErrorTracker

NAMES = {name: number for number, name in enumerate("abcd")}


def exact(values):
    return torch.tensor(values, dtype=torch.float64)


def step_of(given):
    return torch.tensor([NAMES[name] for name in given["ids"]]), exact(given["errors"])


def test_the_recorded_sequence(vectors):
    """Weights are read before the update; the first step has none."""
    entry = vectors["agree.tracker.sequence"]
    rule = {key: value for key, value in entry["inputs"].items() if key != "steps"}
    tracker = ErrorTracker(len(NAMES), **rule)
    for given, expected in zip(entry["inputs"]["steps"], entry["expected"], strict=True):
        rows, errors = step_of(given)
        raw = tracker.raw_weights(rows, errors)
        assert raw.tolist() == pytest.approx(expected["raw"] or [1.0] * 3, abs=entry["tol"])
        assert (raw / raw.mean()).tolist() == pytest.approx(expected["weights"] or [1.0] * 3, abs=entry["tol"])
        tracker.update(rows, errors)
        found = {name: float(tracker.errors[row]) for name, row in NAMES.items() if tracker.tracked[row]}
        assert found == pytest.approx(expected["ema"], abs=entry["tol"])
        assert float(tracker.mean) == pytest.approx(expected["mu"], abs=entry["tol"])
        assert float(tracker.deviation) == pytest.approx(expected["sd"], abs=entry["tol"])


@pytest.mark.parametrize("key", ["weights", "weights_tau1"])
def test_the_recorded_weights(vectors, key):
    """The history of a row wins over its present error, which counts where there is no history."""
    entry = vectors["agree.weights.tau"]
    given = entry["inputs"]
    tracker = ErrorTracker(3, beta=given["beta"], tau=1.0 if key == "weights_tau1" else given["tau"])
    tracker.errors[:2] = exact([given["ema"]["x"], given["ema"]["y"]])
    tracker.tracked[:2] = True
    tracker.mean, tracker.deviation = exact(given["mu"]), exact(given["sd"])
    tracker.started = torch.tensor(True)
    raw = tracker.raw_weights(torch.arange(3), exact(given["errors"]))
    assert (raw / raw.mean()).tolist() == pytest.approx(entry["expected"][key], abs=entry["tol"])


@pytest.mark.parametrize("name", ["agree.eamse.a", "agree.eamse.b"])
def test_the_recorded_weighted_squared_error(vectors, name):
    """Below beta, smooth L1 is half the squared error."""
    entry = vectors[name]
    scores, labels, weights = (torch.tensor(entry["inputs"][key]) for key in ("pred", "gt", "weights"))
    assert 2 * float(smooth_l1(scores, labels, weights=weights)) == pytest.approx(entry["expected"], abs=entry["tol"])


def test_a_mean_of_zero_is_a_mean():
    """The released code takes it for none, and begins again at every step."""
    tracker = ErrorTracker(2, gamma_global=0.5)
    tracker.update(torch.tensor([0, 1]), torch.tensor([0.0, 0.0]))
    assert bool(tracker.started) and float(tracker.mean) == 0
    tracker.update(torch.tensor([0, 1]), torch.tensor([1.0, 1.0]))
    assert float(tracker.mean) == 0.5


def test_a_single_row_has_its_error_and_moves_no_mean():
    tracker = ErrorTracker(2)
    tracker.update(torch.tensor([1]), torch.tensor([0.4]))
    assert tracker.tracked.tolist() == [False, True] and not tracker.started
    assert tracker.raw_weights(torch.tensor([1]), torch.tensor([9.0])).tolist() == [1.0]


def test_a_row_that_comes_twice_in_a_step_counts_once():
    once, twice = ErrorTracker(3), ErrorTracker(3)
    once.update(torch.tensor([0, 2]), torch.tensor([0.3, 0.5]))
    twice.update(torch.tensor([2, 0, 2]), torch.tensor([0.25, 0.3, 0.75]))
    for name, tensor in once.state().items():
        torch.testing.assert_close(twice.state()[name], tensor)


def test_the_order_of_the_rows_changes_no_bit():
    generator = torch.Generator().manual_seed(0)
    errors, order = torch.rand(50, generator=generator), torch.randperm(50, generator=generator)
    one, other = ErrorTracker(50), ErrorTracker(50)
    for _ in range(2):
        one.update(torch.arange(50), errors)
        other.update(order, errors[order])
    assert all(torch.equal(tensor, other.state()[name]) for name, tensor in one.state().items())


def test_the_state_of_other_rows_is_refused():
    state = ErrorTracker(3).state()
    with pytest.raises(ValueError, match="errors of 3 rows, and there are 4 rows"):
        ErrorTracker(4).load(state)
