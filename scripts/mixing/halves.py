"""The data: scenes of the demo, rated by two halves of its panel that use scales of their own.

Half A (raters 0 to 29) rates on 1..5 and keeps to the middle of it: a vote x of the panel's 1..10 becomes
3 + 0.6 (x - 5.5) 4/9. Half B (the others) rates on 0..100 and is strict: a vote becomes 100 ((x - 1) / 9)^2. No
training photo is rated by both; the test photos are. Votes also become histograms over 10 levels of the half's scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roc.data.rows import write_rows
from roc.demo.raters import RaterPanel
from roc.demo.scenes import render_scene
from roc.training.mixed_data import respread

LEVELS = 10
_TEST_FROM, _VAL_FROM = 2_000_000, 1_000_000


@dataclass(frozen=True)
class Half:
    """One half of the raters.

    Attributes:
        name: Of its data set.
        low, high: Ends of its scale.
        scale: Turns votes on 1..10 into votes on that scale.
    """

    name: str
    low: float
    high: float
    scale: Callable[[np.ndarray], np.ndarray]

    def rates(self, raters: np.ndarray, panel: RaterPanel) -> np.ndarray:
        """Tells which of the raters belong to this half."""
        return (raters < panel.size // 2) == (self.name == "A")


HALVES = (
    Half("A", 1, 5, lambda votes: 3 + 0.6 * (votes - 5.5) * 4 / 9),
    Half("B", 0, 100, lambda votes: 100 * ((votes - 1) / 9) ** 2),
)


def write_halves(folder: Path, *, train: int, val: int, test: int, side: int, seed: int) -> dict[str, Path]:
    """Draws the scenes and writes a file for each half, unless they are there.

    Args:
        folder: For images and files.
        train, val: Scenes of each half.
        test: Scenes that both rate.
        side: Of a scene in pixels.
        seed: Of scenes and panel.

    Returns:
        Name of a half -> its file.
    """
    files = {half.name: folder / f"{half.name}.csv" for half in HALVES}
    if all(file.is_file() for file in files.values()):
        return files
    (folder / "images").mkdir(parents=True, exist_ok=True)
    panel = RaterPanel(seed=seed)
    rows: dict[str, list[dict[str, Any]]] = {half.name: [] for half in HALVES}
    for split, first, count in (("train", 0, 2 * train), ("val", _VAL_FROM, 2 * val), ("test", _TEST_FROM, test)):
        for number in range(count):
            scene = render_scene(first + number, seed=seed, size=side)
            image = f"images/{split}_{number}.png"
            scene.image.save(folder / image, compress_level=1)
            ratings = panel.rate(scene)
            for place, half in enumerate(HALVES):
                if split == "test" or number % 2 == place:
                    votes = half.scale(ratings.votes["overall"][half.rates(ratings.raters, panel)].astype(float))
                    rows[half.name].append({"image": image, "split": split} | _rating(half, votes))
    for name, file in files.items():
        write_rows(file, rows[name])
    return files


def _rating(half: Half, votes: np.ndarray) -> dict[str, Any]:
    """The mean vote and the histogram; a vote between two levels counts for both, more for the nearer one."""
    fine = np.zeros(10_001)
    places = np.rint((votes - half.low) / (half.high - half.low) * (len(fine) - 1)).astype(int)
    np.add.at(fine, places, 1 / len(votes))
    shares = respread(fine.tolist(), LEVELS)
    return {"score": round(float(votes.mean()), 6)} | {f"h_{n}": f"{s:.10g}" for n, s in enumerate(shares, start=1)}
