"""The sheet shows each attribute's photo, map and perturbations where their captions say."""

import numpy as np
import pytest
from PIL import Image

from roc.agree import sheet as module
from roc.agree.batches import as_image, as_tensor
from roc.agree.config import MapsOptions
from roc.agree.maps import attribute_maps
from roc.agree.perturbations import both_ways
from roc.agree.sheet import write_sheet
from roc.data.images import ImageError


def picture(path, width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_pictures_and_tensors_turn_into_each_other(tmp_path):
    with Image.open(picture(tmp_path / "a.png", 9, 6)) as image:
        tensor = as_tensor(image)
        assert tensor.shape == (1, 3, 6, 9) and tensor.min() >= 0 and tensor.max() <= 1
        assert np.array_equal(np.asarray(as_image(tensor[0])), np.asarray(image))


@pytest.mark.parametrize("size", [(200, 170), (40, 30)], ids=["as it is", "enlarged"])
def test_every_tile_is_what_its_row_and_column_say(tmp_path, size):
    out = tmp_path / "new" / "sheet.png"
    assert write_sheet(MapsOptions(photo=str(picture(tmp_path / "a.png", *size)), out=str(out), delta=0.1)) == size
    with Image.open(tmp_path / "a.png") as image:
        photo = as_tensor(image)
    with Image.open(out) as image:
        drawn = np.asarray(image)
    scale = max(1, module._SMALLEST_TILE // max(size))
    width, height = size[0] * scale, size[1] * scale
    for row, (name, plane) in enumerate(attribute_maps(photo).items()):
        for column, expected in enumerate((photo, plane, *both_ways(photo, name, 0.1))):
            left = module._GAP + column * (width + module._GAP)
            top = module._GAP + row * (module._CAPTION + height + module._GAP) + module._CAPTION
            tile = drawn[top : top + height : scale, left : left + width : scale]
            assert np.array_equal(tile, np.asarray(as_image(expected[0]))), (name, column)
    assert drawn.shape[1] == module._GAP + 4 * (width + module._GAP)


def test_a_large_photo_is_scaled_down_and_a_strip_is_refused(tmp_path):
    large = str(picture(tmp_path / "large.png", 300, 150))
    assert write_sheet(MapsOptions(photo=large, out=str(tmp_path / "sheet.jpg"), side=100)) == (100, 50)
    strip = str(picture(tmp_path / "strip.png", 300, 3))
    with pytest.raises(ImageError, match=r"strip.png, 300 x 3 pixels, side 512: the pictures are 300 x 3 pixels"):
        write_sheet(MapsOptions(photo=strip, out=str(tmp_path / "strip.jpg")))
    assert not (tmp_path / "strip.jpg").exists()
