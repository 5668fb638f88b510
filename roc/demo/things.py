"""The things that stand in a scene, subjects and bystanders: flat shapes of one hue, and the places they belong to."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

PLACES = ("sea", "hills", "town", "woods", "table")
KINDS = {
    "sea": ("boat", "balloon", "figure"),
    "hills": ("house", "tree", "figure", "balloon", "tent"),
    "town": ("figure", "balloon", "house"),
    "woods": ("tent", "figure", "house"),
    "table": ("cup", "vase"),
}

# Each part of a thing: (shape, points, tone, share of the subject's chroma). Points are (x, y), y up from the foot,
# in units of the thing's height; an ellipse is given by two corners. Neutral parts are kept small, so that the
# subject has one hue.
_PARTS: dict[str, tuple[tuple[str, tuple[tuple[float, float], ...], float, float], ...]] = {
    "house": (
        ("polygon", ((-0.5, 0), (0.5, 0), (0.5, 0.58), (-0.5, 0.58)), 1.0, 1.0),
        ("polygon", ((-0.6, 0.56), (0.6, 0.56), (0.32, 1.0), (-0.32, 1.0)), 0.72, 1.0),
        ("polygon", ((0.2, 0.9), (0.32, 0.9), (0.32, 1.12), (0.2, 1.12)), 0.8, 0.8),
        ("polygon", ((-0.1, 0), (0.1, 0), (0.1, 0.36), (-0.1, 0.36)), 0.5, 0.6),
        ("polygon", ((-0.4, 0.24), (-0.2, 0.24), (-0.2, 0.44), (-0.4, 0.44)), 1.35, 0.3),
        ("polygon", ((0.2, 0.24), (0.4, 0.24), (0.4, 0.44), (0.2, 0.44)), 1.35, 0.3),
    ),
    "boat": (
        ("polygon", ((-0.03, 0.2), (0.03, 0.2), (0.03, 1.05), (-0.03, 1.05)), 0.6, 0.4),
        ("polygon", ((0.05, 0.28), (0.5, 0.28), (0.05, 1.0)), 1.1, 1.0),
        ("polygon", ((-0.06, 0.28), (-0.38, 0.28), (-0.06, 0.9)), 0.9, 1.0),
        ("polygon", ((-0.6, 0.22), (0.62, 0.22), (0.42, 0), (-0.42, 0)), 0.85, 1.0),
        ("polygon", ((-0.6, 0.22), (0.62, 0.22), (0.6, 0.17), (-0.57, 0.17)), 1.3, 0.4),
    ),
    "figure": (
        ("polygon", ((-0.15, 0), (-0.03, 0), (0.0, 0.4), (-0.2, 0.4)), 0.6, 0.7),
        ("polygon", ((0.05, 0), (0.17, 0), (0.2, 0.4), (0.0, 0.4)), 0.65, 0.7),
        ("polygon", ((-0.26, 0.26), (0.26, 0.26), (0.2, 0.8), (0.1, 0.86), (-0.1, 0.86), (-0.2, 0.8)), 1.0, 1.0),
        ("polygon", ((-0.2, 0.8), (-0.34, 0.42), (-0.24, 0.38), (-0.1, 0.72)), 0.88, 1.0),
        ("polygon", ((0.2, 0.8), (0.34, 0.42), (0.24, 0.38), (0.1, 0.72)), 0.88, 1.0),
        ("ellipse", ((-0.11, 0.82), (0.11, 1.06)), 1.15, 0.5),
        ("polygon", ((-0.16, 0.98), (0.16, 0.98), (0.09, 1.1), (-0.09, 1.1)), 0.8, 1.0),
    ),
    "balloon": (
        ("polygon", ((-0.2, 0.36), (0.2, 0.36), (0.07, 0.12), (-0.07, 0.12)), 0.85, 1.0),
        ("ellipse", ((-0.42, 0.24), (0.42, 1.06)), 1.0, 1.0),
        ("ellipse", ((-0.2, 0.24), (0.2, 1.06)), 1.25, 0.8),
        ("polygon", ((-0.09, 0), (0.09, 0), (0.09, 0.11), (-0.09, 0.11)), 0.55, 0.5),
    ),
    "tree": (
        ("polygon", ((-0.06, 0), (0.06, 0), (0.04, 0.45), (-0.04, 0.45)), 0.5, 0.5),
        ("ellipse", ((-0.46, 0.3), (0.06, 0.78)), 0.88, 1.0),
        ("ellipse", ((-0.06, 0.32), (0.46, 0.8)), 0.95, 1.0),
        ("ellipse", ((-0.32, 0.48), (0.32, 1.08)), 1.08, 1.0),
    ),
    "tent": (
        ("polygon", ((-0.75, 0), (0.75, 0), (0.1, 0.9), (-0.1, 0.9)), 1.0, 1.0),
        ("polygon", ((-0.28, 0), (0.24, 0), (-0.02, 0.66)), 0.5, 0.8),
        ("polygon", ((0.24, 0), (0.75, 0), (0.1, 0.9), (-0.02, 0.66)), 0.82, 1.0),
    ),
    "cup": (
        ("ellipse", ((0.3, 0.25), (0.75, 0.78)), 0.9, 1.0),
        ("ellipse", ((0.4, 0.36), (0.64, 0.67)), 0.5, 0.5),
        ("polygon", ((-0.45, 0.9), (0.45, 0.9), (0.38, 0.08), (0.28, 0), (-0.28, 0), (-0.38, 0.08)), 1.0, 1.0),
        ("ellipse", ((-0.45, 0.8), (0.45, 1.0)), 1.25, 0.7),
        ("ellipse", ((-0.37, 0.83), (0.37, 0.97)), 0.5, 0.6),
    ),
    "vase": (
        ("polygon", ((-0.03, 0.4), (0.0, 0.4), (-0.2, 0.85), (-0.24, 0.85)), 0.55, 0.7),
        ("polygon", ((0.0, 0.4), (0.03, 0.4), (0.24, 0.82), (0.2, 0.82)), 0.55, 0.7),
        ("polygon", ((-0.02, 0.4), (0.02, 0.4), (0.02, 0.95), (-0.02, 0.95)), 0.6, 0.7),
        ("ellipse", ((-0.4, 0.7), (-0.12, 0.98)), 1.15, 1.0),
        ("ellipse", ((0.1, 0.66), (0.38, 0.94)), 1.1, 1.0),
        ("ellipse", ((-0.15, 0.8), (0.15, 1.1)), 1.3, 1.0),
        ("ellipse", ((-0.06, 0.89), (0.06, 1.01)), 0.7, 0.5),
        ("polygon", ((-0.1, 0.52), (0.1, 0.52), (0.27, 0.3), (0.16, 0), (-0.16, 0), (-0.27, 0.3)), 0.95, 1.0),
        ("polygon", ((-0.14, 0.56), (0.14, 0.56), (0.12, 0.48), (-0.12, 0.48)), 1.2, 0.7),
    ),
}
# Bystanders: plainer and smaller than any subject.
_PARTS |= {
    "bush": (
        ("ellipse", ((-0.75, -0.1), (0.1, 0.75)), 0.9, 1.0),
        ("ellipse", ((-0.1, -0.1), (0.75, 0.7)), 1.0, 1.0),
        ("ellipse", ((-0.4, 0.0), (0.42, 1.0)), 1.08, 1.0),
    ),
    "rock": (
        ("polygon", ((-0.8, 0), (0.8, 0), (0.66, 0.5), (0.2, 0.95), (-0.3, 0.85), (-0.72, 0.4)), 1.0, 1.0),
        ("polygon", ((0.8, 0), (0.66, 0.5), (0.2, 0.95), (0.1, 0.5), (0.3, 0)), 0.8, 1.0),
    ),
    "ball": (("ellipse", ((-0.52, 0), (0.52, 1.0)), 1.0, 1.0),),
    "box": (
        ("polygon", ((-0.7, 0), (0.35, 0), (0.35, 0.8), (-0.7, 0.8)), 1.0, 1.0),
        ("polygon", ((0.35, 0), (0.7, 0.14), (0.7, 0.94), (0.35, 0.8)), 0.75, 1.0),
        ("polygon", ((-0.7, 0.8), (0.35, 0.8), (0.7, 0.94), (-0.35, 0.94)), 1.2, 1.0),
    ),
}
BYSTANDERS = {
    "sea": ("rock", "ball"),
    "hills": ("bush", "rock"),
    "town": ("box", "bush"),
    "woods": ("bush", "rock"),
    "table": ("ball", "box"),
}
_OVERSAMPLE = 3


def draw_thing(
    kind: str, size: int, centre: tuple[float, float], height: float, roll: float, mirror: bool, tint: np.ndarray
) -> np.ndarray:
    """Draws one thing, unlit.

    Args:
        kind: A subject of `KINDS` or a bystander of `BYSTANDERS`.
        size: Side of the picture in pixels.
        centre: Where the middle of the thing stands, fractions of the side, y down.
        height: Fraction of the side.
        roll: Tilt of the camera in degrees.
        mirror: Whether it is mirrored left to right.
        tint: (3,) from `roc.demo.brushes.tint`.

    Returns:
        (size, size, 4) float32: colour times coverage, and coverage; the middle tone is 0.5.
    """
    wide = size * _OVERSAMPLE
    canvas = Image.new("RGBA", (wide, wide))
    draw = ImageDraw.Draw(canvas)
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    for shape, points, tone, share in _PARTS[kind]:
        if shape == "ellipse":
            (x0, y0), (x1, y1) = points
            turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            outline = np.stack([(x0 + x1 + (x1 - x0) * np.cos(turn)) / 2, (y0 + y1 + (y1 - y0) * np.sin(turn)) / 2], 1)
        else:
            outline = np.array(points)
        across = outline[:, 0] * height * (-1 if mirror else 1)
        down = (0.5 - outline[:, 1]) * height
        px = (centre[0] + across * cos - down * sin) * wide
        py = (centre[1] + across * sin + down * cos) * wide
        colour = np.clip(0.5 * tone * (1 + share * (tint - 1)), 0, 1) * 255
        draw.polygon(list(zip(px.tolist(), py.tolist(), strict=True)), fill=(*colour.astype(int).tolist(), 255))
    layer = np.array(canvas.reduce(_OVERSAMPLE), dtype=np.float32) / 255
    layer[..., :3] *= layer[..., 3:]
    return layer
