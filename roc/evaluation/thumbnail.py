"""Pictures inside an HTML page: small ones made from files, and the `data:` URLs that hold them."""

from __future__ import annotations

import base64
import io
import os
from html import escape

from PIL import Image

from roc.data.images import ImageError, open_image
from roc.data.pictures import shown_path

SIDE = 320


def thumbnail(path: str | os.PathLike[str], name: str) -> str:
    """Makes a small copy of a picture as an `<img>`, or a frame with what is wrong with it.

    It is not loaded lazily: below the visible part of the page it would stay blank in a print.

    Args:
        path: The picture.
        name: Its text in place of the picture.
    """
    try:
        image = open_image(path)
    except ImageError as error:
        why = str(error).removeprefix(f"{shown_path(path)}: ")
        return f'<div class="nothing">no image: {escape(why)}</div>'
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=82)
    return f'<img decoding="sync" src="{data_url(buffer.getvalue(), "jpeg")}" alt="{escape(name)}">'


def data_url(content: bytes, kind: str) -> str:
    """Encodes the bytes of an image file of this kind ("png", "jpeg")."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
