"""The largest pictures that are opened; apart from `images`, so that `--help` does not load Pillow."""

DEFAULT_MAX_PIXELS = 120_000_000
"""Above the largest medium-format cameras of today (102 million); such a picture takes 360 MB once it is decoded."""

MAX_ASPECT = 200
"""Longer side over shorter side; beyond it no picture is left once a model has resized it (Qwen-VL refuses it too)."""
