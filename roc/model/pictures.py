"""Pictures as a processor is shown them: scaled down and padded as declared; and the one it cannot take."""

from __future__ import annotations

from PIL import Image
from transformers import ProcessorMixin

from roc.data.augment import pad_to_square, scaled_size
from roc.model.declaration import Declaration

Size = tuple[int, int]
"""Width and height."""

THIN = 20
"""Longer side over shorter side above which an image is to blame if a processor fails on it."""


def scaled(size: Size, declaration: Declaration) -> Size:
    """Computes the size that a picture is scaled down to; padding comes after."""
    limit = declaration.max_pixels
    return size if limit is None else scaled_size(size, limit, padded=declaration.image_aspect_ratio == "pad")


def shown_size(size: Size, declaration: Declaration) -> Size:
    """Computes the size that `shown` gives a picture."""
    size = scaled(size, declaration)
    return (max(size),) * 2 if declaration.image_aspect_ratio == "pad" else size


def shown(image: Image.Image, declaration: Declaration, processor: ProcessorMixin) -> Image.Image:
    """Scales an RGB picture down and pads it, as declared; the same object where neither is needed."""
    size = scaled(image.size, declaration)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    if declaration.image_aspect_ratio != "pad":
        return image
    mean = getattr(processor.image_processor, "image_mean", None) or [0.5] * 3
    return pad_to_square(image, tuple(int(channel * 255) for channel in mean))


def blame_thin(images: list[list[Image.Image]], names: list[str] | None, error: Exception) -> None:
    """Raises what is behind an opaque error of a processor: an image whose shorter side vanishes when it is resized.

    Raises:
        ValueError: If there is such an image; it names the first one and its size.
    """
    for row, some in enumerate(images):
        for image in some:
            if max(image.size) > THIN * min(image.size):
                name = f"{names[row]}: " if names else ""
                width, height = image.size
                raise ValueError(
                    f"{name}this model's processor cannot take an image of {width} x {height}, which is too thin for "
                    f"it; crop the image, or set image_aspect_ratio to pad"
                ) from error
