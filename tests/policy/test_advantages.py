"""Advantages against the recorded vectors; rewards that do not apply."""

import pytest
import torch

from roc.policy.advantages import advantages, total_rewards


def test_reference(vectors):
    entry = vectors["aes.advantage.a"]
    found = advantages(torch.tensor(entry["inputs"]["rewards"], dtype=torch.float64), 4, 0.0)
    assert found.values.tolist() == pytest.approx(entry["expected"], abs=1e-6)


@pytest.mark.parametrize(("form", "floor"), [("as_coded", 0.0), ("floor_0p05", 0.05)])
def test_the_floor_keeps_noise_small(vectors, form, floor):
    entry = vectors["aes.advantage.flat"]
    found = advantages(torch.tensor(entry["inputs"]["rewards"], dtype=torch.float64), 4, floor)
    assert found.values.tolist() == pytest.approx(entry["expected"][form], abs=1e-6)


def test_pictures_are_centred_each_for_itself_and_nothing_comes_of_nothing():
    nan = float("nan")
    totals = total_rewards(torch.tensor([[1.0, 1.0], [3.0, nan], [nan, nan], [nan, nan]]))
    assert totals[:2].tolist() == [2.0, 3.0] and totals[2:].isnan().all()
    found = advantages(torch.tensor([2.0, 3.0, nan, 5.0, nan, nan]), 2, 0.0)
    assert found.values[:2].tolist() == pytest.approx([-0.70701, 0.70701], abs=1e-4)
    assert found.values[2:].tolist() == [0.0] * 4
    assert found.spreads.tolist() == pytest.approx([0.5**0.5, 0.0, 0.0])
