"""The head's arithmetic, against the worked vectors and against numbers one can redo on paper."""

import pytest
import torch

from roc.model.head import ScoreHead, read_levels
from roc.score_space import ScoreSpace


def levels(entry):
    space = ScoreSpace(entry["inputs"]["lo"], entry["inputs"]["hi"], len(entry["inputs"]["logits"]))
    return torch.tensor(space.levels, dtype=torch.float64)


def logits(entry):
    return torch.tensor(entry["inputs"]["logits"], dtype=torch.float64)


@pytest.mark.parametrize("name", ["roc.expectation.n10", "roc.expectation.stable_n3", "roc.expectation.uniform"])
def test_expectation_vectors(vectors, name):
    entry = vectors[name]
    assert float(read_levels(logits(entry), levels(entry)).scores) == pytest.approx(entry["expected"], abs=entry["tol"])


@pytest.mark.parametrize("name", ["glue.headstd.a", "glue.headstd.uniform"])
def test_std_vectors(vectors, name):
    entry = vectors[name]
    assert float(read_levels(logits(entry), levels(entry)).stds) == pytest.approx(entry["expected"], abs=entry["tol"])


def test_the_softmax_is_over_logits_not_over_probabilities(vectors):
    entry = vectors["roc.expectation.literal_eq5"]
    score = float(read_levels(logits(entry), levels(entry)).scores)
    assert abs(score - entry["expected"]) > 0.01  # the printed equation cannot leave the midpoint
    literal = read_levels(logits(entry).softmax(-1), levels(entry)).scores
    assert float(literal) == pytest.approx(entry["expected"], abs=entry["tol"])


def test_gradient_is_probability_times_distance_from_the_score():
    values = torch.tensor([0.3, -1.2, 0.8, 2.0], dtype=torch.float64, requires_grad=True)
    points = torch.tensor([1.0, 4.0, 7.0, 10.0], dtype=torch.float64)
    reading = read_levels(values, points)
    reading.scores.backward()
    expected = reading.probabilities * (points - reading.scores)
    torch.testing.assert_close(values.grad, expected.detach())


def test_half_precision_logits_are_read_in_float32():
    reading = read_levels(torch.zeros(2, 10, dtype=torch.bfloat16), torch.linspace(1, 10, 10))
    assert reading.scores.dtype == torch.float32
    assert reading.scores.tolist() == [5.5, 5.5]


def test_dropout_hides_input_in_training_mode_only():
    head = ScoreHead(400, 2)
    torch.nn.init.ones_(head.weight)
    head.dropout = 0.25
    with torch.no_grad():
        shown = float(head(torch.ones(1, 400))[0, 0]) * 0.75  # what is left is scaled up by 4/3
        assert 250 < shown < 350 and shown == pytest.approx(round(shown), abs=1e-3)
        assert float(head.eval()(torch.ones(1, 400))[0, 0]) == 400
    assert set(head.state_dict()) == {"weight"}


def test_fresh_head_gives_equal_logits_and_keeps_float32_under_autocast():
    head = ScoreHead(8, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = head(torch.randn(3, 8))
    assert out.dtype == torch.float32
    assert out.shape == (3, 5)
    assert not out.any()
