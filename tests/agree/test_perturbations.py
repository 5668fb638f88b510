"""The perturbations give the recorded numbers and change what they are named after."""

import math

import pytest
import torch
import torch.nn.functional as F

from roc.agree.attributes import ATTRIBUTES
from roc.agree.batches import as_tensor
from roc.agree.maps import attribute_maps
from roc.agree.perturbations import PERTURBATIONS, both_ways
from roc.demo.scenes import render_scene


@pytest.fixture
def photos():
    """Two pictures whose values are nowhere cut off."""
    return 0.3 + 0.3 * torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_there_is_one_for_each_attribute():
    assert tuple(PERTURBATIONS) == ATTRIBUTES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_perturbations_reference(vectors, name, dtype):
    entry = vectors[f"agree.perturb.{name}"]
    assert "R=[0.2,0.4,0.6] G=[0.1,0.5,0.9] B=[0.8,0.3,0.0], 3x3x3" in entry["inputs"]["image"]
    row = torch.tensor([[0.2, 0.4, 0.6], [0.1, 0.5, 0.9], [0.8, 0.3, 0.0]], dtype=dtype)
    found = both_ways(row[None, :, None].expand(1, 3, 3, 3), name, entry["inputs"]["delta"])
    for way, pictures in zip(("plus_row1", "minus_row1"), found, strict=True):
        expected = torch.tensor(entry["expected"][way], dtype=dtype)
        torch.testing.assert_close(pictures[0, :, 1], expected, rtol=0, atol=entry["tol"])


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_batch_and_dtype(photos, name):
    plus, minus = both_ways(photos, name)
    assert plus.shape == minus.shape == photos.shape and not torch.allclose(plus, minus)
    alone = both_ways(photos[1:], name)
    torch.testing.assert_close((plus[1:], minus[1:]), alone)
    for dtype in (torch.float16, torch.bfloat16):
        for found, expected in zip(both_ways(photos.to(dtype), name), (plus, minus), strict=True):
            assert found.dtype == dtype
            torch.testing.assert_close(found.double(), expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_results_stay_between_0_and_1(name):
    pictures = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    for found in both_ways(pictures, name):
        assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_gradients(photos, name):
    pictures = photos[:1, :, :5, :5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: both_ways(given, name), (pictures,))


def test_what_stays_the_same(photos):
    def luma(pictures, weights=(0.2989, 0.587, 0.114)):
        return (pictures * torch.tensor(weights, dtype=pictures.dtype).view(1, 3, 1, 1)).sum(dim=1)

    for found in both_ways(photos, "hue"):
        torch.testing.assert_close(luma(found, (0.299, 0.587, 0.114)), luma(photos, (0.299, 0.587, 0.114)))
    for found in both_ways(photos, "saturation"):  # the weights of luma add up to 0.9999
        torch.testing.assert_close(luma(found), luma(photos), rtol=0, atol=1e-4)
    for found in both_ways(photos, "contrast"):
        torch.testing.assert_close(luma(found).mean(dim=(1, 2)), luma(photos).mean(dim=(1, 2)), rtol=0, atol=1e-4)
    grey = photos[:, :1].expand_as(photos)
    for found in both_ways(grey, "hue"):
        torch.testing.assert_close(found, grey)


def test_each_change_shows_most_in_the_map_of_its_attribute_but_for_contrast():
    """The map of contrast is stretched, so that a change of contrast as a whole leaves it as it is."""
    moved = torch.zeros(len(ATTRIBUTES), len(ATTRIBUTES))
    for number in range(4):
        photo = as_tensor(render_scene(number, seed=0, size=96).image)
        for row, name in enumerate(ATTRIBUTES):
            more, less = (attribute_maps(one) for one in both_ways(photo, name))
            for column, other in enumerate(ATTRIBUTES):
                moved[row, column] += (more[other] - less[other]).abs().mean()
    found = [ATTRIBUTES[place] for place in moved.argmax(dim=1)]
    assert found == ["brightness", "saturation", "saturation", "hue", "blur"]
    assert moved[1, 1] < 0.2 * moved[1].max()


def test_blur_of_a_large_picture_is_a_gaussian_of_its_size():
    pictures = torch.rand(1, 3, 512, 520, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma, radius = 2.048, 7
    row = torch.tensor([math.exp(-(step**2) / (2 * sigma**2)) for step in range(-radius, radius + 1)]).double()
    row /= row.sum()
    blurred = pictures
    for weights, margin in (
        (row.view(1, 1, 1, -1), (radius, radius, 0, 0)),
        (row.view(1, 1, -1, 1), (0, 0, radius, radius)),
    ):
        blurred = F.conv2d(F.pad(blurred, margin, mode="reflect"), weights.expand(3, 1, -1, -1), groups=3)
    plus, minus = both_ways(pictures, "blur", 0.2)
    torch.testing.assert_close(plus, blurred, rtol=0, atol=1e-6)
    torch.testing.assert_close(minus, (2 * pictures - blurred).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "delta", "message"),
    [
        ("sharpness", 0.2, "attribute is 'sharpness'; expected one of brightness, contrast, saturation, hue, blur"),
        ("hue", 0, "delta is 0; expected a number above 0"),
        ("hue", -0.1, "delta is -0.1"),
        ("hue", math.nan, "delta is nan"),
        ("hue", 1.5, "the change is 1.5; expected a number from -1 to 1, but not 0"),
        ("blur", 0.3, "the change is 0.3; expected a number from -1 to 0.2"),
    ],
)
def test_changes_that_cannot_be_made(photos, name, delta, message):
    with pytest.raises(ValueError, match=message):
        both_ways(photos, name, delta)
