"""The largest pictures that are opened; apart from `images`, so that `--help` does not load Pillow."""

DEFAULT_PIXEL_LIMIT = 120_000_000
"""Above the largest medium-format cameras of today (102 million); such a picture takes 360 MB once it is decoded."""

FEWEST_PIXELS = 256
"""Smallest number of pixels that images may be scaled down to."""

MAX_ASPECT = 200
"""Longer side over shorter side; beyond it no picture is left once a model has resized it (Qwen-VL refuses it too)."""

MAX_SCANS = 100
"""Times that a progressive JPEG may go over its pixels. Encoders write about 10, those that search for the smallest
file up to some 20. An empty scan of 60 million pixels takes 0.04 s, so a hundred of them stay within seconds. libtiff
has the same bound for JPEG inside TIFF."""

PICTURE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .tif .tiff .bmp .ppm .pgm .pbm .pnm .jp2 .j2k .jpx .avif .heic .heif"
    .split()
)  # fmt: skip
"""How the names of pictures end, in small letters. A picture that is given by name may end in anything."""
