"""Opening pictures: any supported file becomes 8-bit RGB in the sRGB colour space, or raises an `ImageError`.

A model sees only numbers, so it gives a score to a picture that lies on its side, is too dark by a factor of 256, or
lacks its lower half. All of that is handled here, once, for training and for inference: orientation, colour profile,
bit depth, transparency, animation, damage and size. Nothing is ever replaced by another picture or by a blank one.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

from roc.data.limits import DEFAULT_PIXEL_LIMIT, MAX_ASPECT
from roc.data.pictures import shown_path
from roc.data.raw import RawError, is_raw, read_preview
from roc.data.workload import work_fault

logger = logging.getLogger(__name__)

# Listed one by one because Pillow also opens formats that run other programs (EPS) or that any bytes match (TGA).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF")
_READS = "JPEG, PNG, WebP, GIF, TIFF, BMP, PPM, JPEG 2000, AVIF and HEIC are read"
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)


class ImageError(ValueError):
    """A picture that cannot be used; the message names it, says what is wrong and, if possible, what to do."""


def open_image(
    source: str | os.PathLike[str] | BinaryIO | bytes | Image.Image | np.ndarray,
    *,
    pixel_limit: int = DEFAULT_PIXEL_LIMIT,
) -> Image.Image:
    """Opens and decodes a picture completely, as 8-bit sRGB.

    The steps, in this order:

    * the first picture of an animation (GIF, WebP, APNG) or of a file with several pages is taken;
    * the EXIF orientation is applied;
    * 16-bit and floating-point grey values are scaled, never clipped: `I;16` by 65535; `I` and `F` by the first of
      255 and 65535 that holds their largest value (`F` by 1 where all lie in 0..1);
    * colours are converted from the embedded profile (Adobe RGB, Display P3, a printer's CMYK, ...) to sRGB, relative
      colorimetric with black point compensation. Without a profile they are taken as sRGB, CMYK by the plain formula.
      A profile that is broken or belongs to another colour space is ignored, as browsers do, with a warning in the
      log;
    * transparent parts are laid on white;
    * of a RAW file, by its name, the preview that the camera put into it is taken.

    Args:
        source: a path; an open binary file or the bytes of one; a PIL image (its current frame; it is not changed);
            or an RGB array (H, W, 3) of uint8.
        pixel_limit: largest width x height that is decoded. Pillow's own limit, twice `PIL.Image.MAX_IMAGE_PIXELS`,
            applies too. Files that ask for far more work than their pixels need are refused (`roc/data/workload.py`).

    Returns:
        A new PIL image of mode "RGB", (W, H), with no profile or orientation left to be applied a second time.

    Raises:
        ImageError: no such file, a folder, an empty file, not a picture, an unsupported format (HEIC without
            `pillow-heif`: the extra `heif`; RAW without `rawpy`: the extra `raw`), damaged or cut short, too many
            pixels, a side of 0, a shape beyond 1:200, pixel values without a known scale, or an array or object of the
            wrong kind. A JPEG that was cut and then properly closed again by another program cannot be told from a
            whole one.
    """
    name = _name(source)
    with pillow_alone():
        return _open(source, name, pixel_limit)


def _open(source: Any, name: str, pixel_limit: int) -> Image.Image:
    if isinstance(source, np.ndarray):
        return _from_array(source, name, pixel_limit)
    if isinstance(source, Image.Image):
        _check_unread(source, name)
        return _decode(source, name, pixel_limit)
    if isinstance(source, bytes | bytearray):
        return _from_file(io.BytesIO(source), name, pixel_limit)
    if hasattr(source, "read"):
        return _from_file(source, name, pixel_limit)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(
            f"{name}: expected a path, an open file, a PIL image or a uint8 RGB array (H, W, 3), "
            f"got {type(source).__module__}.{type(source).__name__}"
        )
    path = Path(source)
    if path.is_dir():
        raise ImageError(f"{name}: this is a folder; give the path of one image file")
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be opened: {error}") from error
    with file:
        return _from_raw(path, name, pixel_limit) if is_raw(path) else _from_file(file, name, pixel_limit)


def _from_raw(path: Path, name: str, pixel_limit: int) -> Image.Image:
    """Opens the preview in a RAW file, turned as its own Exif block says, else as the RAW file does."""
    try:
        content, degrees = read_preview(path)
    except RawError as error:
        raise ImageError(f"{name} {error}") from error
    if isinstance(content, np.ndarray):
        image = _from_array(content, name, pixel_limit)
    else:
        image = _from_file(io.BytesIO(content), name, pixel_limit)
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as header:
            degrees = degrees if _orientation(header) is None else 0
    turns = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
    return image.transpose(turns[degrees]) if degrees else image


def check_image(path: str | os.PathLike[str], *, pixel_limit: int = DEFAULT_PIXEL_LIMIT) -> None:
    """Checks that `open_image` can open a file, by opening it: only decoding shows that a file is cut short.

    Args:
        path: an image file.
        pixel_limit: as for `open_image`.

    Raises:
        ImageError: as for `open_image`.
    """
    open_image(path, pixel_limit=pixel_limit)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Reads from the header of a file the size that `open_image` gives it, as it is after the EXIF orientation.

    Only a PNG whose metadata may follow its pixels is decoded for that, and the preview in a RAW file.

    Args:
        path: an image file that `open_image` can open.

    Returns:
        (width, height).

    Raises:
        ImageError: the header cannot be read.
    """
    if is_raw(path):
        return open_image(path).size
    with _header(path, late=True) as image:
        # Pillow turns the size of a TIFF when it opens it, but not for every way of writing the orientation.
        size = tuple(image.tag_v2[tag] for tag in (256, 257)) if image.format == "TIFF" else image.size
        # The method of PNG images would decode them to look behind the pixels.
        return size[::-1] if _orientation(image, Image.Image.getexif) in _ON_ITS_SIDE else size


def exif_block(source: str | os.PathLike[str] | bytes) -> dict[int, Any]:
    """Reads what the camera wrote into a file, from its header alone.

    Args:
        source: an image file, or its bytes.

    Returns:
        Number of the tag -> value, of the Exif block; empty where there is none.

    Raises:
        ImageError: the header cannot be read.
    """
    with _header(source) as image:
        return dict(image.getexif().get_ifd(ExifTags.IFD.Exif))


def xmp_block(path: str | os.PathLike[str]) -> bytes | None:
    """Reads the XMP packet inside a JPEG, TIFF, PNG or WebP file.

    Args:
        path: an image file. Only a PNG whose metadata may follow its pixels is decoded.

    Returns:
        The packet; None where there is none, and of RAW files that are no TIFF inside.

    Raises:
        ImageError: the header cannot be read.
    """
    try:
        with _header(path, late=True, pixel_limit=DEFAULT_PIXEL_LIMIT) as image:
            found = image.info.get("xmp")
            return found.encode() if isinstance(found, str) else found
    except ImageError:
        if is_raw(path):
            return None
        raise


@contextlib.contextmanager
def _header(
    source: str | os.PathLike[str] | bytes, *, late: bool = False, pixel_limit: int | None = None
) -> Iterator[Image.Image]:
    """Opens an image for what its header says, without decoding it.

    Args:
        source: an image file, or its bytes.
        late: whether to decode a PNG whose metadata may follow its pixels.
        pixel_limit: such a PNG with more pixels is not decoded; None for no limit.

    Raises:
        ImageError: the header cannot be read.
    """
    name = _name(source)
    try:
        with pillow_alone(), io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            head = file.read(64)
            behind = late and head.startswith(b"\x89PNG") and _metadata_after_pixels(file)
            file.seek(0)
            with _identify(file, head, name) as image:
                if behind and pixel_limit is not None:
                    _check_size(*image.size, name, pixel_limit)
                if behind:
                    image.load()
                yield image
    except ImageError:
        raise
    except Exception as error:  # as in _from_file
        raise ImageError(f"{name}: cannot be read: {_reason(error)}") from error


def _metadata_after_pixels(file: BinaryIO) -> bool:
    """Tells whether texts or an Exif block stand behind the first pixels of a PNG file."""
    file.seek(8)
    seen = False
    while len(chunk := file.read(8)) == 8:
        kind = chunk[4:]
        if seen and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
            return True
        seen = seen or kind == b"IDAT"
        file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)
    return False


def _name(source: Any) -> str:
    """Names a source for errors: by its path if it has one."""
    if isinstance(source, str | os.PathLike):
        return shown_path(os.fspath(source)) or "''"
    if isinstance(source, np.ndarray):
        return "array"
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    if isinstance(name, str | os.PathLike) and os.fspath(name):
        return os.fspath(name)
    return "PIL image" if isinstance(source, Image.Image) else "image"


def _from_array(array: np.ndarray, name: str, pixel_limit: int) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(
            f"{name}: expected a uint8 RGB array of shape (H, W, 3), got {array.dtype} {array.shape}; bring the "
            "values to 0..255 and the channels last, or hand over a PIL image for other kinds of pixels"
        )
    height, width, _ = array.shape
    _check_size(width, height, name, pixel_limit)
    return Image.fromarray(array)


def _from_file(file: BinaryIO, name: str, pixel_limit: int) -> Image.Image:
    if file.seekable():
        start = file.tell()
    else:
        file, start = io.BytesIO(file.read()), 0
    head = file.read(64)
    file.seek(start)
    if head.startswith((b"\xff\xd8", b"\x89PNG")):
        content = file.read()
        _check_bytes(content, name)
        file = io.BytesIO(content)
    try:
        image = _identify(file, head, name)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too many pixels to be opened: {error}") from error
    except Exception as error:
        # The format readers raise errors of many kinds on damaged files, struct.error and IndexError among them.
        raise ImageError(f"{name}: cannot be read: {_reason(error)}") from error
    with image:
        return _decode(image, name, pixel_limit)


def _identify(file: BinaryIO, head: bytes, name: str) -> Image.Image:
    """Reads the header only. HEIC needs `pillow-heif`, which is loaded for the first such file.

    Raises:
        ImageError: the file is empty or no image that is read here.
    """
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    is_avif = brand in _AVIF_BRANDS or (brand in _HEIC_BRANDS and any(known in head[16:] for known in _AVIF_BRANDS))
    if brand in _HEIC_BRANDS and not is_avif:
        try:
            import pillow_heif
        except ImportError as error:
            raise ImageError(
                f"{name}: HEIC images need pillow-heif; install it by `pip install 'roc-mllm[heif]'`"
            ) from error
        pillow_heif.register_heif_opener(thumbnails=False)
    Image.init()
    if is_avif and "AVIF" not in Image.OPEN:
        raise ImageError(f"{name}: this Pillow ({Image.__version__}) reads no AVIF; install pillow 11.3 or newer")
    try:
        return Image.open(file, formats=[known for known in _FORMATS if known in Image.OPEN])
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image, or one whose beginning is damaged; {_READS}") from error


def _check_bytes(content: bytes, name: str) -> None:
    """Refuses files that ask for far too much work, and a JPEG whose end was never written.

    Pillow decodes the zeros there as plain grey.
    """
    if (fault := work_fault(content)) is not None:
        raise ImageError(f"{name}: {fault}")
    zeros = len(content) - len(content.rstrip(b"\0"))
    if content.startswith(b"\xff\xd8") and zeros >= 512 and content[-zeros - 2 : -zeros] != b"\xff\xd9":
        raise ImageError(f"{name}: the file is incomplete: its last {zeros} bytes are all 0")


def _check_unread(image: Image.Image, name: str) -> None:
    """Looks into the file of a PIL image that was opened but not yet decoded."""
    file = getattr(image, "fp", None)
    if file is None or image.format not in ("JPEG", "MPO", "PNG"):
        return
    try:
        position = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(position)
    except (OSError, ValueError, AttributeError):
        return  # closed or no such file; decoding says so
    if (fault := work_fault(content)) is not None:
        raise ImageError(f"{name}: {fault}")


def _check_size(width: int, height: int, name: str, pixel_limit: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the image is {width} x {height} pixels, there is nothing in it")
    if width * height > pixel_limit:
        raise ImageError(f"{name}: the image is {width} x {height} pixels, more than pixel_limit={pixel_limit} in all")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"{name}: the image is {width} x {height} pixels, longer than {MAX_ASPECT} times its short side; crop it"
        )


def _decode(image: Image.Image, name: str, pixel_limit: int) -> Image.Image:
    _check_size(*image.size, name, pixel_limit)
    try:
        image.load()
        image = _upright(image)
        rgb = _to_srgb(image, name)
    except ImageError:
        raise
    except Exception as error:
        # As in _from_file: what a damaged file raises depends on its format.
        raise ImageError(f"{name}: cut short or damaged: {_reason(error)}") from error
    rgb.info = {}
    return rgb


def _reason(error: Exception) -> str:
    return f"{error}" or type(error).__name__


_decoding = threading.Lock()
_decoders = 0
_before = contextlib.ExitStack()


@contextlib.contextmanager
def pillow_alone() -> Iterator[None]:
    """Has Pillow decode as this file needs it, whatever the rest of the process has set.

    It refuses cut files, which another library may let it fill up with grey, and warns of nothing: its warnings name
    no file, and what they are about (a damaged Exif block, many pixels, a palette's transparency) is handled here.

    Both are global to the process, and pictures are decoded in several threads: the first thread that enters sets
    them, the last one that leaves restores them.
    """
    global _decoders
    with _decoding:
        if _decoders == 0:
            _before.callback(setattr, ImageFile, "LOAD_TRUNCATED_IMAGES", ImageFile.LOAD_TRUNCATED_IMAGES)
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            _before.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _decoders += 1
    try:
        yield
    finally:
        with _decoding:
            _decoders -= 1
            if _decoders == 0:
                _before.close()


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation. Has to follow load(), in which the TIFF reader turns the picture itself."""
    orientation = _orientation(image)
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _orientation(image: Image.Image, read: Callable[[Any], Image.Exif] | None = None) -> int | None:
    try:
        return (image.getexif() if read is None else read(image)).get(_ORIENTATION_TAG)
    except Exception:
        # An unreadable EXIF block does not affect the pixels; other viewers show such a picture unturned too.
        return None


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    """Converts an upright image of any mode to a new RGB image."""
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _grey_to_8_bit(image, name)
    elif image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    elif image.mode in ("P", "PA") or "transparency" in image.info:
        transparent = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")

    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha is not None:
        image = image.convert(image.mode.removesuffix("A"))
    rgb = _from_profile(image, profile, name) if profile else image.convert("RGB")
    if alpha is None:
        return rgb
    on_white = Image.new("RGB", rgb.size, "white")
    on_white.paste(rgb, mask=alpha)
    return on_white


def _grey_to_8_bit(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    lowest, highest = values.min(), values.max()
    if image.mode.startswith("I;16"):
        scales = [65535]
    else:
        scales = [1, 255, 65535] if image.mode == "F" else [255, 65535]
    scale = next((scale for scale in scales if lowest >= 0 and highest <= scale), None)
    if scale is None:
        raise ImageError(
            f"{name}: grey values from {lowest} to {highest} (mode {image.mode}) have no known scale; "
            f"bring them to 0..{scales[-1]}"
        )
    return Image.fromarray(np.rint(values.astype(np.float64) * (255 / scale)).astype(np.uint8))


def _from_profile(image: Image.Image, profile: bytes, name: str) -> Image.Image:
    """Converts a picture without alpha channel from its embedded profile to sRGB; ignores a profile that fails."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return image.convert("RGB")
        if space == "GRAY" and image.mode in ("1", "L"):
            image = image.convert("L")
        elif space == "RGB" and image.mode in ("1", "L", "RGB"):
            image = image.convert("RGB")
        elif space != image.mode:
            raise ImageCms.PyCMSError(f"it is a {space} profile on a {image.mode} image")
        return ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        logger.warning("%s: its colour profile is ignored, its colours are read as sRGB: %s", name, error)
        return image.convert("RGB")
