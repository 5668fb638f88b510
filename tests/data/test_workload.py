"""Files that ask for far more work than a picture needs are refused before any of it is done."""

import io
import struct
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from roc.data.images import ImageError, open_image
from roc.data.limits import MAX_SCANS
from roc.data.workload import work_fault


def progressive(width=64, height=48):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", progressive=True)
    return file.getvalue()


def with_scans(content, count):
    """Repeats the last scan of a progressive JPEG, which refines bits that are there."""
    start = content.rindex(b"\xff\xda")
    return content[:-2] + content[start:-2] * count + content[-2:]


def test_a_progressive_jpeg_of_thousands_of_scans_is_refused_at_once():
    bomb = with_scans(progressive(), 2000)
    start = time.process_time()
    with pytest.raises(ImageError, match=r"a progressive JPEG of 2010 scans.*up to 100 are decoded.*Save it anew"):
        open_image(bomb)
    with pytest.raises(ImageError, match="2010 scans"):
        open_image(Image.open(io.BytesIO(bomb)))
    assert time.process_time() - start < 0.5


def test_an_ordinary_progressive_jpeg_is_far_below_the_bound():
    whole = progressive()
    assert 5 < whole.count(b"\xff\xda") < MAX_SCANS / 5
    assert open_image(whole).size == (64, 48)
    assert work_fault(with_scans(whole, MAX_SCANS - whole.count(b"\xff\xda"))) is None


def test_what_only_looks_like_a_scan_is_not_counted():
    """Thumbnails, profiles and data behind the end of the picture hold the same two bytes."""
    whole = progressive()
    remark = b"\xff\xda" * 5000
    segment = b"\xff\xfe" + struct.pack(">H", len(remark) + 2) + remark
    assert work_fault(whole[:2] + segment + whole[2:] + with_scans(whole, 500)) is None


@pytest.mark.parametrize("parts", [9_000, 20_000])
def test_headers_of_thousands_of_parts(parts):
    whole = progressive()
    fault = work_fault(whole[:2] + b"\xff\xfe\x00\x02" * parts + whole[2:])
    assert fault is None if parts < 10_000 else "more than 10000 parts" in fault


def test_png_of_empty_chunks():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    whole = file.getvalue()
    chunk = struct.pack(">I", 0) + b"roCk" + struct.pack(">I", zlib.crc32(b"roCk"))
    assert work_fault(whole[:33] + chunk * 5000 + whole[33:]) is None
    with pytest.raises(ImageError, match="more than 10000 chunks"):
        open_image(whole[:33] + chunk * 20_000 + whole[33:])


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_are_no_fault_of_this_check_and_end(seed):
    rng = np.random.default_rng(seed)
    whole = bytearray(progressive())
    for place in rng.integers(2, len(whole), 20):
        whole[place] = rng.integers(0, 256)
    work_fault(bytes(whole))
    work_fault(bytes(whole[: rng.integers(0, 200)]))


def test_warnings_of_pillow_are_not_printed_and_those_of_others_are():
    """Pillow warns of a damaged Exif block, for one, and names no file."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\0\0\xff\xff\0\0"
    code = (
        "import io, sys, warnings; from PIL import Image; from roc.data.images import open_image\n"
        f"file = io.BytesIO(); Image.new('RGB', (8, 8)).save(file, 'JPEG', exif={exif!r})\n"
        "image = Image.new('P', (8, 8)); image.info['transparency'] = bytes(256)\n"
        "print(len(warnings.filters), file=sys.stderr); open_image(file.getvalue())\n"
        "print(len(warnings.filters), file=sys.stderr); image.convert('RGB')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after, *others = done.stderr.splitlines()
    assert before == after  # the filter is there while a picture is opened, not longer
    assert "Palette images with Transparency" in others[0]


def test_threads_that_open_pictures_leave_the_filters_as_they_were():
    before, whole = list(warnings.filters), progressive()
    with ThreadPoolExecutor(8) as pool, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        within = list(warnings.filters)
        list(pool.map(lambda _: open_image(whole), range(64)))
        assert list(warnings.filters) == within
    assert list(warnings.filters) == before and [str(one.message) for one in caught] == []
