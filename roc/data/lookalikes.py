"""Images that are the same file or look the same: a hash of every image's bytes and looks, and the pairs that agree.

Looks are compared by the signs of the lowest frequencies of a picture's cosine transform (a perceptual hash), 63 of
them to find pairs and 255 to confirm them. Tried on 2,400 photos: 87 pairs passed, and by eye all but one show one
scene, taken again a moment later or exposed otherwise; the one is two blurs. Of 400 altered copies it found all that
were saved at JPEG quality 30, halved, turned grey or mirrored, 98% of those brightened by a fifth, 95% of those with 2%
cut off each side, but 24% with 5% cut off and half of those turned by 3 degrees: such edits are found by their names
(`roc/data/leaks.py`). A picture that is nearly plain has no such signs and is not compared by its looks.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.fft import dctn

from roc.data.images import ImageError, open_image
from roc.data.nearby import missing_images
from roc.data.survey import survey

COARSE, FINE = 8, 16
"""Sides of the squares of frequencies whose signs are kept; their first one, the brightness, is left out."""

MAX_COARSE, MAX_FINE = 7, 80
"""Signs that may differ, of 63 and of 255, in pictures that look the same."""

MOST_PAIRS = 10
"""Pairs that are reported for one test image or record, of identical files or records of one source."""

# Files that remember the hashes hold this name; another one makes all of them be computed anew.
_LOOK = f"bytes and signs of {FINE} x {FINE} frequencies, 1"
_THUMBNAIL = 64
_PLAIN = 2.0  # standard deviation of a thumbnail's grey values below which its signs are noise
_BLOCK = (1024, 8192)


class ImageHash(NamedTuple):
    """What is kept of an image file.

    Attributes:
        digest: SHA-256 of its bytes.
        signs: signs of its frequencies, row by row, 256 bits in hexadecimal; None for a picture that is nearly plain.
    """

    digest: str
    signs: str | None


def hash_image(path: str) -> list[str | None]:
    """Computes the `ImageHash` of a file, as a list that JSON can hold.

    Raises:
        ImageError: the file cannot be used.
    """
    picture = open_image(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [digest, signs_of(picture)]


def signs_of(picture: Image.Image) -> str | None:
    """Computes the signs of a picture's lowest 16 x 16 frequencies, as in `ImageHash`."""
    small = picture.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    values = np.asarray(small, dtype=np.float32)
    if values.std() < _PLAIN:
        return None
    signs = dctn(values, norm="ortho")[:FINE, :FINE] > 0
    signs[0, 0] = False
    return np.packbits(signs).tobytes().hex()


def hash_images(
    images: Sequence[str], *, memory: str | os.PathLike[str] | None = None, workers: int | None = None
) -> tuple[dict[str, ImageHash], list[str]]:
    """Opens every image once and computes its hash.

    Args:
        images: paths, each once.
        memory, workers: as for `survey`.

    Returns:
        (image -> its hash, what is wrong with the images that have none).
    """
    missing = {one.path: one.text for one in missing_images(images)}
    there = [image for image in images if image not in missing]
    hashes, unreadable = {}, list(missing.values())
    for image, found in survey(there, hash_image, _LOOK, memory=memory, workers=workers):
        if isinstance(found, ImageError):
            unreadable.append(str(found))
        else:
            hashes[image] = ImageHash(*found)
    return hashes, unreadable


def find_lookalikes(train: Mapping[str, ImageHash], test: Mapping[str, ImageHash]) -> Iterator[tuple[str, str, str]]:
    """Finds pairs of images with the same bytes or the same looks.

    Args:
        train, test: image -> its hash.

    Yields:
        (image of train, image of test, reason). Identical files are not compared by their looks; of many in train,
        the first `MOST_PAIRS` are given.
    """
    by_digest = defaultdict(list)
    for image, one in train.items():
        by_digest[one.digest].append(image)
    for image, one in test.items():
        for other in by_digest.get(one.digest, ())[:MOST_PAIRS]:
            yield other, image, "identical file"
    ours = [image for image, one in train.items() if one.signs is not None]
    theirs = [image for image, one in test.items() if one.signs is not None]
    if not ours or not theirs:
        return
    left, right = sign_bits(train[image].signs for image in ours), sign_bits(test[image].signs for image in theirs)
    for mirrored in (False, True):
        # In a mirror image, every second frequency along the width changes its sign.
        turned = np.logical_xor(right, np.arange(FINE) % 2 == 1) if mirrored else right
        turned[:, 0, 0] = False
        for i, j in near_pairs(left, turned):
            if train[ours[i]].digest != test[theirs[j]].digest:
                yield ours[i], theirs[j], "looks the same, mirrored" if mirrored else "looks the same"


def near_pairs(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[int, int]]:
    """Finds signs that differ in at most `MAX_COARSE` and `MAX_FINE` places.

    Every pair is compared, by a matrix product: of signs +1 and -1, it counts agreements minus differences.

    Args:
        left, right: signs, bool, (n, 16, 16) and (m, 16, 16).

    Yields:
        (row of left, row of right).
    """
    coarse = [one[:, :COARSE, :COARSE].reshape(len(one), -1) for one in (left, right)]
    coarse = [np.where(one, np.float32(1), np.float32(-1)) for one in coarse]
    least = COARSE * COARSE - 2 * MAX_COARSE
    rows, columns = _BLOCK
    for i in range(0, len(left), rows):
        for j in range(0, len(right), columns):
            agree = coarse[0][i : i + rows] @ coarse[1][j : j + columns].T
            a, b = np.nonzero(agree >= least)
            differ = np.logical_xor(left[i + a], right[j + b]).sum(axis=(1, 2)) <= MAX_FINE
            yield from zip((i + a[differ]).tolist(), (j + b[differ]).tolist(), strict=True)


def sign_bits(signs: Iterable[str]) -> np.ndarray:
    """Unpacks the signs of photos into (n, FINE, FINE) booleans."""
    packed = np.frombuffer(bytes.fromhex("".join(signs)), dtype=np.uint8)
    return np.unpackbits(packed).astype(bool).reshape(-1, FINE, FINE)
