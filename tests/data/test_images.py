"""Every kind of picture file comes out as the same upright sRGB pixels, or as an error that names it."""

import io
import logging
import struct
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, features

from roc.data.images import ImageError, check_image, exif_block, image_size, open_image, xmp_block


def pixel(source, x=0, y=0):
    image = open_image(source)
    assert image.mode == "RGB"
    return image.getpixel((x, y))


def noise(width=64, height=48):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(folder, image, name, **options):
    path = folder / name
    image.save(path, **options)
    return path


# --- sources -------------------------------------------------------------------------------------------------------


def test_all_sources_give_the_same_pixels(tmp_path):
    array = noise()
    path = save(tmp_path, Image.fromarray(array), "a.png")
    with path.open("rb") as file:
        for source in (path, str(path), file, path.read_bytes(), Image.open(path), Image.fromarray(array), array):
            assert np.array_equal(np.asarray(open_image(source)), array)
        assert not file.closed


def test_the_given_pil_image_stays_as_it_is():
    given = Image.new("RGBA", (4, 2), (10, 20, 30, 0))
    given.info["note"] = "kept"
    opened = open_image(given)
    assert opened is not given and given.mode == "RGBA" and given.info == {"note": "kept"} and opened.info == {}


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_kind_are_refused_with_dtype_and_shape(array):
    with pytest.raises(ImageError) as error:
        open_image(array)
    assert str(array.dtype) in str(error.value) and str(array.shape) in str(error.value)
    assert "(H, W, 3)" in str(error.value)


def test_objects_of_another_kind_are_refused():
    with pytest.raises(ImageError, match="got builtins.int"):
        open_image(3)


# --- modes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (0, 255), (0, 0, 0)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 51), (204, 204, 204)),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 100, (100, 100, 100)),
        ("I;16", 255, (1, 1, 1)),
        ("I", 257 * 100, (100, 100, 100)),
        ("I", 200, (200, 200, 200)),
        ("F", 0.2, (51, 51, 51)),
        ("F", 51.0, (51, 51, 51)),
        ("F", 257 * 51.0, (51, 51, 51)),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("YCbCr", (100, 128, 128), (100, 100, 100)),
    ],
)
def test_modes(mode, colour, expected):
    assert pixel(Image.new(mode, (4, 4), colour)) == expected


@pytest.mark.parametrize(("mode", "colour"), [("F", -1.0), ("F", float("nan")), ("F", 1e6), ("I", -5), ("I", 70000)])
def test_grey_values_without_a_known_scale_are_refused(mode, colour):
    with pytest.raises(ImageError, match=r"no known scale; bring them to 0\.\.65535"):
        open_image(Image.new(mode, (4, 4), colour))


def test_16_bit_grey_png(tmp_path):
    values = np.array([[0, 257 * 64, 257 * 128, 65535]] * 2, np.uint16)
    path = save(tmp_path, Image.fromarray(values), "grey16.png")
    assert np.asarray(open_image(path))[0, :, 0].tolist() == [0, 64, 128, 255]


def test_16_bit_rgb_png(tmp_path):
    """Builds the file by hand, one row of two pixels, because Pillow writes none."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">6H", 257 * 10, 257 * 100, 257 * 200, 65535, 0, 257 * 128)
    header = chunk(b"IHDR", struct.pack(">2I5B", 2, 1, 16, 2, 0, 0, 0))
    path = tmp_path / "rgb16.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b""))
    assert pixel(path, 0) == (10, 100, 200)
    assert pixel(path, 1) == (255, 0, 128)


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 10, 10, 10, 200])
    image.putdata([0, 1])
    plain = save(tmp_path, image, "p.png")
    assert (pixel(plain, 0), pixel(plain, 1)) == ((200, 10, 10), (10, 10, 200))
    see_through = save(tmp_path, image, "pt.png", transparency=0)
    assert (pixel(see_through, 0), pixel(see_through, 1)) == ((255, 255, 255), (10, 10, 200))


def test_transparent_colour_of_an_rgb_png(tmp_path):
    path = save(tmp_path, Image.new("RGB", (2, 2), (1, 2, 3)), "t.png", transparency=(1, 2, 3))
    assert pixel(path) == (255, 255, 255)


def test_cmyk_jpeg(tmp_path):
    path = save(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "cmyk.jpg", quality=100)
    red, green, blue = pixel(path)
    assert red > 250 and green < 5 and blue < 5


# --- orientation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(
    ("orientation", "corner"),
    # where the red upper left corner of the stored picture belongs when it is upright (right, lower)
    [(1, (0, 0)), (2, (1, 0)), (3, (1, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 1)), (8, (0, 1))],
)
def test_orientation_is_applied_once(tmp_path, extension, orientation, corner):
    image = Image.new("RGB", (64, 32))
    image.paste((255, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(save(tmp_path, image, f"a.{extension}", exif=exif))
    width, height = opened.size
    assert (width, height) == ((64, 32) if orientation < 5 else (32, 64))
    assert opened.getpixel((corner[0] * (width - 1), corner[1] * (height - 1)))[0] > 200
    again = open_image(opened)
    assert again.size == opened.size and again.tobytes() == opened.tobytes()


def test_broken_exif_block_costs_nothing(tmp_path):
    path = save(tmp_path, Image.new("RGB", (8, 8), "white"), "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert pixel(path) == (255, 255, 255)


# --- colour profiles -----------------------------------------------------------------------------------------------


def icc(colour_space, tags, version=b"\x02\x10\0\0", device=b"mntr", connection=b"XYZ "):
    """Builds the bytes of an ICC profile with the given tags (signature -> data)."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"cprt": b"text\0\0\0\0none\0",
    } | tags
    table, body = struct.pack(">I", len(tags)), b""
    offset = 128 + 4 + 12 * len(tags)
    for signature, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4s2I", signature, offset + len(body), len(data))
        body += data
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4s4s4s4s4s", size, bytes(4), version, device, colour_space, connection)
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(0.9642, 1.0, 0.8249)[8:]
    return head + bytes(128 - len(head)) + table + body


def xyz(x, y, z):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in (x, y, z)))


def gamma(exponent):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * exponent))


# primaries of Adobe RGB (1998) and sRGB in the profiles' D50 white, one column each (ICC, Adobe)
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def adobe_rgb_profile():
    curve = gamma(563 / 256)
    columns = {b"rXYZ": 0, b"gXYZ": 1, b"bXYZ": 2}
    tags = {name: xyz(*ADOBE_RGB[:, column]) for name, column in columns.items()}
    return icc(b"RGB ", tags | {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def adobe_to_srgb(colour):
    """The same by hand: linear light, Adobe RGB -> XYZ -> sRGB, sRGB's curve."""
    return srgb_curve(np.linalg.solve(SRGB, ADOBE_RGB @ (np.array(colour) / 255) ** (563 / 256)))


def srgb_curve(linear):
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
def test_adobe_rgb_is_converted(tmp_path, extension):
    colour = (120, 160, 90)
    options = {"quality": 100} if extension in ("jpg", "webp") else {}
    image = Image.new("RGB", (16, 16), colour)
    path = save(tmp_path, image, f"a.{extension}", icc_profile=adobe_rgb_profile(), **options)
    expected = adobe_to_srgb(colour)
    assert np.abs(expected - colour).max() > 15
    assert np.abs(np.array(pixel(path)) - expected).max() <= 3
    assert pixel(open_image(path)) == pixel(path)


def test_profile_under_alpha_and_palette():
    colour = (120, 160, 90)
    for image in (Image.new("RGBA", (2, 2), (*colour, 255)), Image.new("RGB", (2, 2), colour).quantize(2)):
        image.info["icc_profile"] = adobe_rgb_profile()
        assert np.abs(np.array(pixel(image)) - adobe_to_srgb(colour)).max() <= 2


def test_grey_profile():
    """Gamma 1 says that the numbers are linear light: a quarter of the light is 137 on sRGB's curve."""
    image = Image.new("L", (2, 2), 64)
    image.info["icc_profile"] = icc(b"GRAY", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)})
    assert np.abs(np.array(pixel(image)) - 137).max() <= 1


def test_cmyk_profile_decides_what_cyan_looks_like(tmp_path):
    """A press whose cyan is Lab (60, -30, -30), whatever the plain formula says; its other inks are invisible."""
    corners = []
    for corner in range(16):
        cyan = corner & 8
        corners += [round(60 * 2.55), 128 - 30, 128 - 30] if cyan else [255, 128, 128]
    identity = bytes(range(256))
    lut = b"mft1\0\0\0\0" + struct.pack(">4B", 4, 3, 2, 0)
    lut += struct.pack(">9i", *(65536 * value for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lut += identity * 4 + bytes(corners) + identity * 3
    profile = icc(b"CMYK", {b"A2B0": lut, b"A2B1": lut}, device=b"prtr", connection=b"Lab ")
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert pixel(image) == (0, 255, 255)
    # by hand: Lab -> XYZ of the D50 white -> linear light -> sRGB's curve
    white = np.array([0.9642, 1.0, 0.8249])
    middle = (60 + 16) / 116
    light = white * np.array([middle - 30 / 500, middle, middle + 30 / 200]) ** 3
    expected = srgb_curve(np.linalg.solve(SRGB, light))
    path = save(tmp_path, image, "cmyk.tif", icc_profile=profile)
    assert np.abs(np.array(pixel(path)) - expected).max() <= 4


def test_srgb_profile_changes_nothing():
    array = noise()
    image = Image.fromarray(array)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(open_image(image)), array)


@pytest.mark.parametrize("profile", [b"no profile at all", adobe_rgb_profile()[:200], icc(b"CMYK", {})])
def test_unusable_profile_is_left_out_and_logged(tmp_path, caplog, profile):
    path = save(tmp_path, Image.new("RGB", (4, 4), (120, 160, 90)), "a.png", icc_profile=profile)
    with caplog.at_level(logging.WARNING):
        assert pixel(path) == (120, 160, 90)
    assert f"{path}: its colour profile is ignored" in caplog.text


# --- animations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path, extension):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    path = save(tmp_path, frames[0], f"a.{extension}", save_all=True, append_images=frames[1:], duration=100)
    assert Image.open(path).n_frames == 3
    red, green, blue = pixel(path)
    assert red > 240 and green < 20 and blue < 20


# --- AVIF and HEIC -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(tmp_path):
    path = save(tmp_path, Image.new("RGB", (32, 32), (200, 60, 30)), "a.avif", quality=100)
    assert np.abs(np.array(pixel(path)) - (200, 60, 30)).max() <= 4


HEIC_HEAD = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic"


def test_heic_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(HEIC_HEAD + bytes(100))
    with pytest.raises(ImageError, match=r"a\.heic: HEIC images need pillow-heif; .*roc-mllm\[heif\]"):
        open_image(path)


def test_heic_with_its_package(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.from_pillow(Image.new("RGB", (64, 32), (200, 60, 30))).save(path, quality=95, exif=exif.tobytes())
    opened = open_image(path)
    assert opened.size == (32, 64)
    assert np.abs(np.array(opened.getpixel((0, 0))) - (200, 60, 30)).max() <= 4
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ImageError, match=r"a\.heic"):
        open_image(path)


# --- what is refused -----------------------------------------------------------------------------------------------


def test_missing_path_folder_and_empty_path(tmp_path):
    with pytest.raises(ImageError, match=r"nothing\.jpg: no such file"):
        open_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="this is a folder"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="this is a folder|no such file"):
        open_image("")
    with pytest.raises(ImageError, match="cannot be opened"):
        open_image("a\0b.jpg")


@pytest.mark.parametrize("read", [open_image, image_size, exif_block, xmp_block])
def test_empty_file_and_no_image(tmp_path, read):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.jpg: the file is empty"):
        read(path)
    path.write_bytes(b"<html>404 not found</html>")
    with pytest.raises(ImageError, match=r"a\.jpg: not an image"):
        read(path)


def test_formats_that_run_programs_are_not_opened(tmp_path):
    path = save(tmp_path, Image.new("RGB", (8, 8)), "a.eps")
    with pytest.raises(ImageError, match=r"a\.eps: not an image"):
        open_image(path)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "gif", "tif", "bmp", "ppm", "jp2", "avif"])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_cut_file_is_never_half_grey(tmp_path, extension, kept):
    if extension == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = save(tmp_path, Image.fromarray(noise()), f"cut.{extension}")
    check_image(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=rf"cut\.{extension}"):
        check_image(path)


def test_cut_file_is_refused_where_another_library_allows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = save(tmp_path, Image.fromarray(noise()), "cut.jpg")
    path.write_bytes(path.read_bytes()[:1000])
    refused = []

    def check():
        for _ in range(20):
            try:
                check_image(path)
            except ImageError:
                refused.append(1)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 80
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_jpeg_whose_rest_was_never_written(tmp_path):
    path = save(tmp_path, Image.fromarray(noise()), "zeros.jpg")
    content = path.read_bytes()
    path.write_bytes(content + bytes(4096))
    check_image(path)
    path.write_bytes(content[:1500] + bytes(len(content) - 1500))
    with pytest.raises(ImageError, match=r"zeros\.jpg: the file is incomplete"):
        check_image(path)


def test_lazy_pil_image_of_a_cut_file(tmp_path):
    path = save(tmp_path, Image.fromarray(noise()), "cut.jpg")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ImageError, match=r"cut\.jpg: cut short or damaged"):
        open_image(Image.open(path))


def test_size_is_checked_before_decoding(tmp_path):
    """The header alone is refused: the file has no pixels."""
    header = struct.pack(">2I5B", 60000, 60000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    path = tmp_path / "bomb.png"
    path.write_bytes(png + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 9) + b"IDAT")
    with pytest.raises(ImageError, match=r"bomb\.png: too many pixels"):
        open_image(path)


def test_pixel_limit():
    image = Image.new("RGB", (20, 10))
    assert open_image(image, pixel_limit=200).size == (20, 10)
    with pytest.raises(ImageError, match="20 x 10 pixels, more than pixel_limit=199"):
        open_image(image, pixel_limit=199)


def test_extreme_shapes(tmp_path):
    assert open_image(np.zeros((1, 200, 3), np.uint8)).size == (200, 1)
    path = save(tmp_path, Image.new("RGB", (1, 10000)), "line.png")
    with pytest.raises(ImageError, match=r"line\.png: the image is 1 x 10000 pixels, longer than 200 times"):
        open_image(path)
    for empty in (np.zeros((0, 5, 3), np.uint8), Image.new("RGB", (0, 5))):
        with pytest.raises(ImageError, match="there is nothing in it"):
            open_image(empty)


def test_file_object_is_named_in_errors():
    file = io.BytesIO(b"text")
    file.name = "upload.png"
    with pytest.raises(ImageError, match=r"upload\.png: not an image"):
        open_image(file)


# --- sizes ---------------------------------------------------------------------------------------------------------

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff", "a.gif", "a.bmp", "a.ppm", "a.jp2", "a.avif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_size_from_the_header_is_that_of_the_opened_picture(tmp_path, name, orientation):
    if name == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(noise(32, 24)), name, exif=exif)
    assert image_size(path) == open_image(path).size


def test_an_orientation_in_xmp_turns_the_size(tmp_path):
    for name in ("a.jpg", "a.tiff", "a.webp"):
        options = {"tiffinfo": {700: XMP}} if name == "a.tiff" else {"xmp": XMP}
        path = save(tmp_path, Image.fromarray(noise(32, 24)), name, **options)
        assert image_size(path) == open_image(path).size == (24, 32)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", ["eXIf", "iTXt"])
def test_metadata_of_a_png_counts_wherever_it_stands(tmp_path, kind, place):
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes()[6:] if kind == "eXIf" else b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
    chunk = struct.pack(">I", len(body)) + kind.encode() + body
    chunk += struct.pack(">I", zlib.crc32(kind.encode() + body))
    whole = save(tmp_path, Image.fromarray(noise(32, 24)), "a.png").read_bytes()
    at = whole.index(b"IDAT") - 4 if place == "before" else whole.index(b"IEND") - 4
    path = tmp_path / "b.png"
    path.write_bytes(whole[:at] + chunk + whole[at:])
    assert image_size(path) == open_image(path).size == (24, 32)


def test_a_size_is_read_without_the_pixels(tmp_path):
    for name in ("a.jpg", "a.png"):
        path = save(tmp_path, Image.fromarray(noise()), name)
        path.write_bytes(path.read_bytes()[:700])
        assert image_size(path) == (64, 48)
        with pytest.raises(ImageError):
            open_image(path)
    path.write_bytes(b"text")
    with pytest.raises(ImageError, match=r"a\.png: not an image|a\.png: cannot be read"):
        image_size(path)
