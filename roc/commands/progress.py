"""Progress of long work on stderr: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

SECONDS = 60.0
"""Between two lines where stderr is no terminal."""


def with_progress(items: Iterable[T], total: int, done: int = 0, *, unit: str = "img") -> Iterator[T]:
    """Gives the items on, and shows how many are done, how fast, and how long the rest will take.

    Args:
        items: As they are done.
        total: How many there are in all, those done before included.
        done: How many were done before.
        unit: Name of one item, for the bar.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, initial=done, unit=unit, smoothing=0.05)
        return
    start = shown = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= SECONDS:
            shown, rate = now, count / (now - start)
            left = (total - done - count) / rate / 60
            print(
                f"{done + count:,} of {total:,} {unit}, {rate:.1f}/s, {left:.0f} min left", file=sys.stderr, flush=True
            )
