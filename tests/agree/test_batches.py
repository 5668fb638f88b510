"""What a batch of pictures has to be, and the filters."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from roc.agree.batches import as_batch, luma, smoothed
from roc.agree.maps import MAPS, attribute_maps
from roc.agree.perturbations import PERTURBATIONS

GREY = torch.full((1, 3, 6, 6), 0.5)

BAD = {
    "an array": (np.zeros((1, 3, 6, 6), np.float32), "pictures is a ndarray; expected a tensor"),
    "one picture": (GREY[0], r"has the shape \(3, 6, 6\); expected \(B, 3, H, W\)"),
    "grey": (GREY[:, :1], r"has the shape \(1, 1, 6, 6\)"),
    "no picture": (GREY[:0], "with B at least 1"),
    "bytes": (GREY.byte(), "dtype torch.uint8; expected floating point .* divide uint8 by 255"),
    "0 to 255": (GREY * 255, r"values from 127.5 to 127.5; expected \[0, 1\]"),
    "normalised": (GREY - 1, r"values from -0.5 to -0.5; expected \[0, 1\]: undo the normalisation"),
    "not a number": (GREY.index_put((torch.tensor(0),) * 4, torch.tensor(torch.nan)), "values from nan to nan"),
    "too small": (GREY[..., :1], "are 1 x 6 pixels; expected at least [25] on each side"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_batch_of_pictures_is_an_error_everywhere(kind):
    pictures, message = BAD[kind]
    functions = [*MAPS.values(), attribute_maps]
    functions += [lambda given, change=change: change(given, 0.1) for change in PERTURBATIONS.values()]
    for function in functions:
        with pytest.raises(TypeError if kind == "an array" else ValueError, match=message):
            function(pictures)


@pytest.mark.parametrize(
    ("given", "computed"),
    [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_half_precision_is_computed_in_float32(given, computed):
    assert as_batch(GREY.to(getattr(torch, given)), 5).dtype == getattr(torch, computed)


def test_luma():
    colours = torch.eye(3).view(3, 3, 1, 1)
    assert luma(colours).flatten().tolist() == pytest.approx([0.2989, 0.5870, 0.1140])


def test_smoothing_is_a_convolution_with_reflection():
    kernel = [0.4, 0.2, 0.1]
    batch = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    row = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1], dtype=torch.float64)
    weights = torch.outer(row, row).expand(3, 1, 5, 5)
    expected = F.conv2d(F.pad(batch, (2, 2, 2, 2), mode="reflect"), weights, groups=3)
    torch.testing.assert_close(smoothed(batch, kernel), expected)
