"""RAW files: refused by name without the package, opened by their previews with it."""

import importlib.util
import io
import struct

import numpy as np
import pytest
from PIL import Image

from roc.data import raw
from roc.data.images import ImageError, image_size, open_image
from roc.data.sidecars import embedded
from roc.scoring.sources import find_sources

needs_rawpy = pytest.mark.skipif(importlib.util.find_spec("rawpy") is None, reason="needs rawpy, the extra [raw]")


def dng(preview, size, orientation=1):
    """Builds a DNG file: a small sensor's values, and a preview."""
    entries = {
        0: [(254, 4, [0]), (256, 4, [32]), (257, 4, [32]), (258, 3, [16]), (259, 3, [1]), (262, 3, [32803])]
        + [(271, 2, b"Seed\0"), (272, 2, b"One\0"), (273, 4, ["sensor"]), (274, 3, [orientation]), (277, 3, [1])]
        + [(278, 4, [32]), (279, 4, [2048]), (330, 4, ["sub"]), (33421, 3, [2, 2]), (33422, 1, bytes([0, 1, 1, 2]))]
        + [(50706, 1, bytes([1, 4, 0, 0])), (50708, 2, b"Seed One\0")],
        1: [(254, 4, [1]), (256, 4, [size[0]]), (257, 4, [size[1]]), (258, 3, [8, 8, 8]), (259, 3, [7])]
        + [(262, 3, [6]), (273, 4, ["preview"]), (277, 3, [3]), (278, 4, [size[1]]), (279, 4, [len(preview)])],
    }
    starts = {0: 8, 1: 8 + 2 + 12 * len(entries[0]) + 4}
    places = {"sub": starts[1], "sensor": starts[1] + 2 + 12 * len(entries[1]) + 4}
    places["preview"] = places["sensor"] + 2048
    head, more = struct.pack("<2sHI", b"II", 42, 8), b""
    for one in (0, 1):
        head += struct.pack("<H", len(entries[one]))
        for tag, kind, values in entries[one]:
            if isinstance(values, bytes):
                content, count = values, len(values)
            else:
                values = [places.get(value, value) for value in values]
                content, count = struct.pack(f"<{len(values)}{'HI'[kind == 4]}", *values), len(values)
            if len(content) > 4:
                content, more = struct.pack("<I", places["preview"] + len(preview) + len(more)), more + content
            head += struct.pack("<HHI4s", tag, kind, count, content)
        head += struct.pack("<I", 0)
    return head + np.arange(1024, dtype="<u2").tobytes() + preview + more


def write(path, orientation=1, exif=None):
    picture = Image.new("RGB", (96, 64), "white")
    picture.paste("black", (0, 0, 48, 32))  # the upper left is dark
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95, **({} if exif is None else {"exif": exif}))
    path.write_bytes(dng(file.getvalue(), (96, 64), orientation))


def test_without_the_package_they_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("roc.data.raw.can_read_raw", lambda: False)
    monkeypatch.setattr("roc.data.folders.can_read_raw", lambda: False)
    (tmp_path / "x.CR2").write_bytes(b"II*\0whatever")
    for work in (open_image, image_size):
        with pytest.raises(ImageError, match=r"^x\.CR2 is a RAW file; install roc-mllm\[raw\]"):
            work("x.CR2")
    with pytest.raises(ImageError, match=r"no such file"):
        open_image("y.cr2")
    with pytest.raises(ValueError, match=r"other files in it: 1 \.cr2; to read RAW files, install roc-mllm\[raw\]"):
        find_sources(["."])
    assert [source.name for source in find_sources(["x.CR2"]).sources] == ["x.CR2"]
    assert embedded(tmp_path / "x.CR2").rating is None


@needs_rawpy
def test_the_preview_is_opened_upright(tmp_path):
    write(tmp_path / "a.dng")
    image = open_image(tmp_path / "a.dng")
    assert image.size == image_size(tmp_path / "a.dng") == (96, 64) and image.getpixel((5, 5))[0] < 40
    write(tmp_path / "b.dng", orientation=6)
    image = open_image(tmp_path / "b.dng")
    assert image.size == (64, 96) and image.getpixel((58, 5))[0] < 40 and image.getpixel((5, 5))[0] > 200
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "c.dng", orientation=6, exif=exif.tobytes())  # said twice, turned once
    assert np.array_equal(np.asarray(open_image(tmp_path / "c.dng")), np.asarray(image))
    assert len(find_sources([str(tmp_path)]).sources) == 3


@needs_rawpy
def test_what_has_no_preview(tmp_path):
    (tmp_path / "a.nef").write_bytes(b"no photo")
    with pytest.raises(ImageError, match="a.nef is a RAW file that LibRaw cannot read"):
        open_image(tmp_path / "a.nef")
    assert raw.is_raw("B.NEF") and not raw.is_raw("nef")
