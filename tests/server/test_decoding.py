"""What runs in a decoding process."""

import io
import time
import warnings

import pytest
from PIL import Image

from roc.server.decoding import EncodedImage


def test_a_bomb_is_refused_by_its_header():
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    assert len(file.getvalue()) < 100_000
    start = time.monotonic()
    with pytest.raises(ValueError, match="12000 x 12000"):
        EncodedImage(file.getvalue(), 60_000_000).open()
    assert time.monotonic() - start < 0.5


def test_the_header_is_read_without_a_warning_that_names_no_file():
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert EncodedImage(file.getvalue(), 200_000_000).decoded_pixels == 144_000_000
