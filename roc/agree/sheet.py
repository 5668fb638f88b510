"""A sheet that shows what AGREE does to a photo: for each attribute the photo, its map, and both perturbations."""

from __future__ import annotations

import os

from PIL import Image, ImageDraw, ImageFont

from roc.agree.batches import as_image, as_tensor
from roc.agree.config import MapsOptions
from roc.agree.maps import attribute_maps
from roc.agree.perturbations import both_ways
from roc.data.images import ImageError, open_image
from roc.files import write_whole

_GAP, _CAPTION = 12, 28
_SMALLEST_TILE = 160
_INK, _PAPER = "#1a1a1a", "#ffffff"
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def write_sheet(options: MapsOptions) -> tuple[int, int]:
    """Draws photo, map, and the perturbations up and down for each of the five attributes, and writes the sheet.

    Args:
        options: The photo, the output, and the sizes.

    Returns:
        Width and height at which maps and perturbations were computed.

    Raises:
        ImageError: If the photo cannot be read, or is too narrow at this size.
        OSError: If the sheet cannot be written.
    """
    photo = open_image(options.photo)
    original = photo.size
    photo.thumbnail((options.side, options.side), Image.Resampling.LANCZOS)
    try:
        sheet = _draw(photo, options.delta)
    except ValueError as error:
        width, height = original
        raise ImageError(f"{options.photo}, {width} x {height} pixels, side {options.side}: {error}") from error
    kind = _FORMATS[os.path.splitext(options.out)[1].lower()]
    write_whole(options.out, lambda temporary: sheet.save(temporary, kind))
    return photo.size


def _draw(photo: Image.Image, delta: float) -> Image.Image:
    pictures = as_tensor(photo)
    rows = []
    for name, plane in attribute_maps(pictures).items():
        plus, minus = both_ways(pictures, name, delta)
        captions = ("photo", f"{name} map", f"{name} +{delta:g}", f"{name} -{delta:g}")
        rows.append(list(zip(captions, (pictures, plane, plus, minus), strict=True)))
    # A photo of few pixels is shown enlarged, each pixel as a square.
    scale = max(1, _SMALLEST_TILE // max(photo.size))
    width, height = max(_SMALLEST_TILE, photo.width * scale), photo.height * scale
    size = (_GAP + len(rows[0]) * (width + _GAP), _GAP + len(rows) * (_CAPTION + height + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for row, tiles in enumerate(rows):
        for column, (caption, tile) in enumerate(tiles):
            left, top = _GAP + column * (width + _GAP), _GAP + row * (_CAPTION + height + _GAP)
            draw.text((left, top), caption, font=font, fill=_INK)
            shown = as_image(tile[0]).resize((photo.width * scale, height), Image.Resampling.NEAREST)
            sheet.paste(shown, (left, top + _CAPTION))
    return sheet
