"""The five photometric attributes of AGREE. Everything that belongs to one of them is keyed by its name.

The released code numbered them, in two different orders, so that blur and saturation traded places.
"""

from __future__ import annotations

NAME = "agree"
"""Of the extension (`roc.model.extensions`), and of its room."""

ATTRIBUTES = ("brightness", "contrast", "saturation", "hue", "blur")
"""The attributes in the order of the paper."""

DELTA = 0.2
"""Size of a perturbation where none is given."""
