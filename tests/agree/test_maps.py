"""The maps give the recorded numbers, for every batch, dtype and size, and have gradients."""

import pytest
import torch

from roc.agree import maps
from roc.agree.attributes import ATTRIBUTES
from roc.agree.maps import MAPS, attribute_maps

RECORDED = {
    "brightness": maps.brightness,
    "contrast_sobel": maps.edges,
    "contrast_enhanced": maps.contrast,
    "saturation": maps.saturation,
    "hue": maps.hue,
    "blur": maps.blur,
}


@pytest.fixture
def photos():
    """Three noisy pictures, each with a bright square."""
    pictures = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.6
    for number, picture in enumerate(pictures):
        picture[number, 8:24, 8 + number : 30] += 0.4
    return pictures


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RECORDED)
def test_maps_reference(vectors, name, dtype):
    entry = vectors[f"agree.map.{name}"]
    assert "((7*i + 11*j + 5*c*(i+1)) mod 17)/16, shape 3x6x6" in entry["inputs"]["image_rule"]
    pixels = [[[(7 * i + 11 * j + 5 * c * (i + 1)) % 17 / 16 for j in range(6)] for i in range(6)] for c in range(3)]
    found = RECORDED[name](torch.tensor([pixels], dtype=dtype))
    expected = torch.tensor(entry["expected"], dtype=dtype).view(found.shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=entry["tol"])


def test_flat_picture_reference(vectors):
    entry = vectors["agree.map.flat"]
    for name, plane in attribute_maps(torch.full((1, 3, 6, 6), 0.25)).items():
        expected = torch.tensor(entry["expected"][name]).view(1, -1, 1, 1).expand_as(plane)
        torch.testing.assert_close(plane, expected, rtol=0, atol=entry["tol"])


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.3, 0.7, 0.1)])
def test_a_flat_colour_has_no_contrast_and_no_detail(colour):
    """Rounding must not be stretched to a pattern."""
    found = attribute_maps(torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 48, 48))
    assert found["contrast"].unique().tolist() == [0] and found["blur"].unique().tolist() == [1]


def test_all_five_are_pictures_of_three_channels_by_name(photos):
    found = attribute_maps(photos)
    assert tuple(found) == ATTRIBUTES == tuple(MAPS)
    for name, plane in found.items():
        assert plane.shape == photos.shape and plane.min() >= 0 and plane.max() <= 1
        torch.testing.assert_close(plane, MAPS[name](photos).expand_as(photos))


def test_pictures_of_a_batch_do_not_touch_each_other(photos):
    together = attribute_maps(photos)
    for number in range(len(photos)):
        for name, alone in attribute_maps(photos[number : number + 1]).items():
            torch.testing.assert_close(together[name][number : number + 1], alone)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_dtype_comes_back_and_costs_only_its_rounding(photos, dtype):
    given = photos.to(dtype)
    for name, expected in attribute_maps(given.double()).items():
        found = attribute_maps(given)[name]
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2 * torch.finfo(dtype).eps + 1e-5)


@pytest.mark.parametrize("size", [(5, 5), (5, 40), (40, 5), (300, 301)])
def test_any_size_from_5_pixels_on(size):
    pictures = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    for name, plane in attribute_maps(pictures).items():
        assert plane.shape == pictures.shape and plane.isfinite().all(), name
    with pytest.raises(ValueError, match="4 x 5 pixels; expected at least 5 on each side"):
        attribute_maps(pictures[..., :5, :4])


def test_the_layout_in_memory_does_not_matter(photos):
    last = photos.contiguous(memory_format=torch.channels_last)
    for name, plane in attribute_maps(last).items():
        assert torch.equal(plane, attribute_maps(photos)[name])


def test_the_input_stays_as_it_was(photos):
    before = photos.clone()
    attribute_maps(photos)
    assert torch.equal(photos, before)


@pytest.mark.parametrize("name", MAPS)
def test_gradients(name):
    pictures = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(MAPS[name], (pictures.requires_grad_(),))
    both = (pictures.detach().clone().requires_grad_(), pictures)
    attribute_maps(both[0])[name][:, : MAPS[name](both[1]).shape[1]].square().sum().backward()
    MAPS[name](both[1]).square().sum().backward()
    torch.testing.assert_close(both[0].grad, both[1].grad)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_gradients_of_a_flat_picture_are_finite(value):
    pictures = torch.full((1, 3, 6, 6), value, requires_grad=True)
    sum(plane.sum() for plane in attribute_maps(pictures).values()).backward()
    assert pictures.grad.isfinite().all()
