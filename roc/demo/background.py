"""The surroundings of a scene: sky, far shapes, ground and points of light of one of five places."""

from __future__ import annotations

import math

import numpy as np

from roc.demo.brushes import grid, line_noise, noise, soft_step, tint


def _skyline(rng: np.random.Generator, place: str, u: np.ndarray) -> np.ndarray:
    """Draws the height of the far shapes above the horizon at each position `u`, as a fraction of the side."""
    if place == "sea":
        return 0.015 + 0.02 * np.clip(line_noise(rng, u, 7), 0, 2)
    if place == "hills":
        return 0.09 + 0.045 * line_noise(rng, u, 6) + 0.008 * line_noise(rng, u, 40)
    if place == "town":
        edges = np.sort(rng.uniform(-0.25, 1.25, 15))
        return rng.uniform(0.06, 0.3, 16).astype(np.float32)[np.searchsorted(edges, u)]
    if place == "woods":
        return 0.26 + 0.05 * line_noise(rng, u, 12) + 0.025 * line_noise(rng, u, 60)
    return np.zeros_like(u)


def _ground_texture(rng: np.random.Generator, place: str, size: int, depth: np.ndarray) -> np.ndarray:
    """Draws the texture of the ground (size, size), about unit strength; `depth` is the distance below the horizon."""
    lines = line_noise(rng, np.log(np.maximum(depth, 0.004) / 0.004) / 6, 46)
    grain = noise(rng, size, (size // 2, size // 3)) + 0.7 * noise(rng, size, (14, 14))
    lines = rng.uniform(0.0, 1.2) * lines
    if place == "sea":
        return 0.8 * lines * (1 + 0.5 * noise(rng, size, (12, 20))) + 0.35 * grain
    if place == "table":
        return 0.9 * lines + 0.25 * grain
    return 0.4 * lines + 0.8 * grain


def draw_background(
    rng: np.random.Generator, place: str, size: int, horizon: float, hue: float, roll: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the surroundings, without subject and bystander.

    Args:
        rng: Generator of the scene.
        place: One of `roc.demo.things.PLACES`.
        size: Side in pixels.
        horizon: Distance of the horizon from the top, as a fraction of the side.
        hue: Hue that the surroundings share, in degrees.
        roll: Tilt of the camera in degrees.

    Returns:
        Picture (size, size, 3) float32 around [0, 1], sharp everywhere; and its luma without fine texture (size, size).
    """
    x, y = grid(size)
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    u = 0.5 + (x - 0.5) * cos + (y - 0.5) * sin
    v = 0.5 + (y - 0.5) * cos - (x - 0.5) * sin
    chroma = rng.uniform(0.2, 0.44)
    contrast = rng.uniform(0.01, 0.045)
    sky_luma, ground_luma, far_luma = rng.uniform(0.5, 0.82), rng.uniform(0.3, 0.6), rng.uniform(0.22, 0.5)
    sun_u, sun_v, sun_size = rng.uniform(-0.1, 1.1), horizon - rng.uniform(0.08, 0.45), rng.uniform(0.02, 0.05)

    height = _skyline(rng, place, u)
    above = horizon - v
    # Mist: lines of the place may be soft although they are in focus.
    ground = soft_step(-above, 1 / rng.uniform(0.01, 0.07))
    far = soft_step(height - above, 1 / rng.uniform(0.01, 0.04)) * (1 - ground)

    sun_far = np.hypot(u - sun_u, v - sun_v)
    sky = sky_luma + 0.22 * (0.5 - above / max(horizon, 0.2)) + rng.uniform(0.0, 0.3) * np.exp(-sun_far / 0.16)
    clouds = noise(rng, size, (4, 9)) + 0.5 * noise(rng, size, (9, 22))
    sky = sky + rng.uniform(0.02, 0.06) * clouds
    if place != "table" and rng.random() < 0.4:
        sky = sky + 0.35 * soft_step(sun_size - sun_far, size)
    if place == "table":
        sky = sky - 0.15 + contrast * 0.5 * noise(rng, size, (size // 3, size // 3))

    far_shade = far_luma + contrast * (noise(rng, size, (size // 2, size // 3)) + 0.5 * line_noise(rng, u, 70))
    if place == "woods":
        far_shade = far_shade + 0.1 * np.sign(line_noise(rng, u, 48)) - 0.04
    if place == "town":
        far_shade = far_shade + 0.05 * np.sign(np.sin(u * 150)) * np.sign(np.sin(v * 130))
    floor = ground_luma + 0.12 * (v - horizon) + contrast * _ground_texture(rng, place, size, v - horizon)

    smooth = sky * (1 - far - ground) + far_luma * far + ground_luma * ground
    shades = ((sky, 1 - far - ground, 0.55), (far_shade, far, 0.85), (floor, ground, 1.0))
    picture = np.zeros((size, size, 3), dtype=np.float32)
    for shade, mask, strength in shades:
        layer = np.clip(shade, 0.06, 1.1) * mask
        picture += layer[..., None] * tint(hue + rng.uniform(-8, 8), chroma * strength)
    picture += _lights(rng, place, size, u, above)[..., None] * tint(hue, 0.5 * chroma)
    return picture, smooth


def _lights(rng: np.random.Generator, place: str, size: int, u: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Draws small points of light (size, size): lamps, glints, gaps in leaves; out of focus they open into discs."""
    count = int(rng.integers(3, 12))
    at_u, at_above, strength = rng.random(count), rng.uniform(0.02, 0.34, count), rng.uniform(0.4, 1.0, count)
    if place == "sea":
        at_above = -at_above
    radius = rng.uniform(0.008, 0.02)
    lights = np.zeros((size, size), dtype=np.float32)
    for i in range(count):
        lights = np.maximum(
            lights, 0.8 * strength[i] * soft_step(radius - np.hypot(u - at_u[i], above - at_above[i]), size)
        )
    return lights
