"""Sensitivities and weights give the recorded numbers, and go by names, never by places."""

import pytest
import torch

from roc.agree.attributes import ATTRIBUTES
from roc.agree.routing import from_scores, medians_of, routing_weights, sensitivities

RELEASED_ORDERS = (
    ("brightness", "contrast", "blur", "hue", "saturation"),
    ("brightness", "contrast", "saturation", "hue", "blur"),
)
"""Those in which the released code passes weights and features."""


def by_name(rows):
    """Five columns in the order of the attributes, by name."""
    return dict(zip(ATTRIBUTES, torch.tensor(rows, dtype=torch.float64).T, strict=True))


def rows_of(values):
    return torch.stack([values[name] for name in ATTRIBUTES], dim=1)


@pytest.mark.parametrize("name", ["a", "zero"])
def test_equations_5_and_6_reference(vectors, name):
    entry = vectors[f"agree.sensitivity.{name}"]
    given, expected, tol = entry["inputs"], entry["expected"], entry["tol"]
    more, less = (torch.tensor(given[way], dtype=torch.float64) for way in ("f_plus", "f_minus"))
    found = from_scores(more, less, given["delta"])
    torch.testing.assert_close(found, torch.tensor(expected["s"], dtype=torch.float64), rtol=0, atol=tol)
    weights = rows_of(routing_weights(by_name([found.tolist()])))[0]
    assert weights.tolist() == pytest.approx(expected["alpha"], abs=tol)
    coded = rows_of(routing_weights(by_name([found.tolist()]), flat="zero"))[0]
    assert coded.tolist() == pytest.approx(expected.get("alpha_as_coded", expected["alpha"]), abs=tol)


def test_calibrated_reference(vectors):
    entry = vectors["agree.sensitivity.calibrated"]
    values, expected = by_name(entry["inputs"]["s"]), entry["expected"]
    medians = medians_of(values)
    assert [medians[name] for name in ATTRIBUTES] == pytest.approx(expected["median"], abs=entry["tol"])
    weights = rows_of(routing_weights(values, medians))
    torch.testing.assert_close(weights, torch.tensor(expected["alpha"], dtype=torch.float64), rtol=0, atol=entry["tol"])


def test_softmax_reference(vectors):
    entry = vectors["agree.sensitivity.softmax"]
    given = entry["inputs"]
    weights = rows_of(routing_weights(by_name([given["s"]]), temperature=given["temperature"]))[0]
    assert weights.tolist() == pytest.approx(entry["expected"], abs=entry["tol"])
    with pytest.raises(ValueError, match="the temperature is 0; expected above 0"):
        routing_weights(by_name([given["s"]]), temperature=0)


@pytest.mark.parametrize("order", RELEASED_ORDERS)
def test_the_order_of_the_names_means_nothing(order):
    values = by_name([[0.25, 0.05, 0.2, 0.0, 0.4], [0.1, 0.3, 0.2, 0.7, 0.0]])
    medians = {name: 0.1 * place for place, name in enumerate(ATTRIBUTES, start=1)}
    expected = routing_weights(values, medians)
    found = routing_weights({name: values[name] for name in order}, {name: medians[name] for name in order})
    assert list(found) == list(ATTRIBUTES)
    for name in ATTRIBUTES:
        assert torch.equal(found[name], expected[name])
    assert expected["blur"][0] > expected["saturation"][0] and expected["blur"][1] == 0


def test_negative_values_count_as_zero_and_dtypes_are_kept():
    weights = routing_weights({name: torch.tensor([-1.0]) for name in ATTRIBUTES} | {"hue": torch.tensor([2.0])})
    assert weights["hue"].dtype == torch.float32 and weights["hue"].item() == 1 and weights["blur"].item() == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda values: values.pop("hue"), "sensitivity lacks hue; expected brightness"),
        (lambda values: values.update(composition=values["hue"]), "sensitivity has composition"),
        (lambda values: values.update(hue=torch.tensor([float("nan")])), "NaN or infinite"),
    ],
)
def test_other_attributes_and_no_numbers_are_refused(change, expected):
    values = by_name([[0.1] * 5])
    change(values)
    with pytest.raises(ValueError, match=expected):
        routing_weights(values)


def test_a_median_of_zero_is_refused():
    values = by_name([[0.1, 0.1, 0.1, 0.0, 0.1]])
    with pytest.raises(ValueError, match="median sensitivity to hue is not above 0"):
        routing_weights(values, medians_of(values))


def test_any_callable_is_measured():
    pictures = 0.3 + 0.3 * torch.rand(3, 3, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sensitivities(lambda batch: batch.mean(dim=(1, 2, 3)), pictures)
    assert list(found) == list(ATTRIBUTES)
    # 1.2 times and 0.8 times the mean, over twice 0.2
    torch.testing.assert_close(found["brightness"], pictures.mean(dim=(1, 2, 3)))
    found = sensitivities(lambda batch: batch.std(dim=1).mean(dim=(1, 2)), pictures)
    assert (found["saturation"] > 5 * found["hue"]).all() and (found["saturation"] > 0.01).all()
    for wrong in (lambda batch: batch.mean(), lambda batch: torch.full((3,), float("nan"))):
        with pytest.raises(ValueError, match="expected one finite number for each"):
            sensitivities(wrong, pictures)
