"""Pictures per minute of each embedded edit, on one thread, and of a whole pair: opened, edited, checked and written.

python scripts/benchmark_edits.py --seconds 4 --photos photos
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from roc.data.images import open_image
from roc.relative.operations import OPERATIONS
from roc.relative.photos import edit_fault, write_picture
from roc.scoring.sources import find_sources

SIZES = ((768, 576), (192, 192))


def pictures_of(photos: str | None, size: tuple[int, int], count: int = 6) -> list[Image.Image]:
    """Gives pictures of one size: photos of a folder, or soft random ones."""
    if photos is not None:
        found = [source.open() for source in find_sources([photos]).sources[:count]]
    else:
        draw = np.random.default_rng(0)
        found = [Image.fromarray(draw.integers(30, 220, (9, 12, 3)).astype(np.uint8)) for _ in range(count)]
    return [picture.resize(size, Image.Resampling.BICUBIC) for picture in found]


def per_minute(work: Callable[[int], object], seconds: float) -> float:
    """Counts how often work gets done in a minute of processor time."""
    work(0)
    start, done = time.process_time(), 0
    while time.process_time() - start < seconds:
        work(done)
        done += 1
    return 60 * done / (time.process_time() - start)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", help="folder of photos; without it random pictures")
    parser.add_argument("--seconds", type=float, default=4.0, help="processor time for each number")
    given = parser.parse_args(argv)
    print("| operation | " + " | ".join(f"{width} x {height}" for width, height in SIZES) + " |\n|---|---:|---:|")
    pictures = {size: pictures_of(given.photos, size) for size in SIZES}
    for name, operation in OPERATIONS.items():
        strengths = (0.3, 0.8, -0.6) if operation.both_ways else (0.3, 0.6, 0.9)
        rates = []
        for found in pictures.values():

            def work(step: int, found=found, operation=operation, strengths=strengths) -> object:
                return operation.apply(found[step % len(found)], strengths[step % 3], step)

            rates.append(per_minute(work, given.seconds))
        print(f"| `{name}` | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rates = []
        for found in pictures.values():
            for place, picture in enumerate(found):
                write_picture(Path(folder, f"{place}.jpg"), picture)

            def whole(step: int, found=found) -> None:
                before = open_image(Path(folder, f"{step % len(found)}.jpg"))
                operation = list(OPERATIONS.values())[step % len(OPERATIONS)]
                edited = operation.apply(before, 0.6, step)
                operation.effect(before, 0.6)
                edit_fault(before, edited)
                write_picture(Path(folder, "edit.jpg"), edited)

            rates.append(per_minute(whole, given.seconds))
        print("| a whole edit | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |")


if __name__ == "__main__":
    main()
