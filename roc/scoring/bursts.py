"""Bursts and near-duplicates: photos that show one thing, of which a selection keeps the best.

By looks, photos are compared by the perceptual hash of `roc data leaks`: of those that look the same as a better one,
none is kept. By time, photos whose times of capture follow each other within some seconds are one burst. A photo that
cannot be compared, nearly plain or without a time, stands alone.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from PIL import ExifTags

from roc.data.images import ImageError, exif_block
from roc.data.lookalikes import near_pairs, sign_bits, signs_of
from roc.model.device import usable_cores
from roc.scoring.sources import Source
from roc.scoring.urls import is_url

logger = logging.getLogger(__name__)

_TAKEN, _FRACTION = ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal

T = TypeVar("T")


def best_of_groups(
    names: Sequence[str], sources: Mapping[str, Source], by: Literal["looks", "time"], *, seconds: float
) -> list[str]:
    """Keeps the best photo of each group.

    Args:
        names: Photos, best first.
        sources: Name -> where it is.
        by: What makes a group.
        seconds: Longest time between two photos of a burst.

    Returns:
        The names that are kept, in the same order.
    """
    chosen = [sources[name] for name in names]
    kept = _by_looks(chosen) if by == "looks" else _by_time(chosen, seconds)
    logger.info("%d of %d photos are the best of their group by %s", len(kept), len(names), by)
    return [names[place] for place in kept]


def _by_looks(chosen: Sequence[Source]) -> list[int]:
    """Places of the photos that look the same as no better one that is kept."""
    signs = _each(chosen, lambda source: signs_of(source.open()))
    seen = [place for place, one in enumerate(signs) if one is not None]
    bits = sign_bits(signs[place] for place in seen)
    better: dict[int, list[int]] = {}
    for one, other in near_pairs(bits, bits):
        if one < other:
            better.setdefault(seen[other], []).append(seen[one])
    kept: set[int] = set()
    for place in range(len(chosen)):
        if not kept.intersection(better.get(place, ())):
            kept.add(place)
    return sorted(kept)


def _by_time(chosen: Sequence[Source], seconds: float) -> list[int]:
    """Places of the best photo of each burst, and of the photos without a time."""
    times = _each(chosen, capture_time)
    known = sorted((time, place) for place, time in enumerate(times) if time is not None)
    if len(known) < len(times):
        logger.warning("%d of %d photos have no time of capture and stand alone", len(times) - len(known), len(times))
    bursts: list[list[int]] = []
    for i, (time, place) in enumerate(known):
        if i and (time - known[i - 1][0]).total_seconds() <= seconds:
            bursts[-1].append(place)
        else:
            bursts.append([place])
    alone = [place for place, time in enumerate(times) if time is None]
    return sorted([*map(min, bursts), *alone])


def _each(chosen: Sequence[Source], look: Callable[[Source], T | None]) -> list[T | None]:
    def looked(source: Source) -> T | None:
        try:
            return look(source)
        except ImageError:  # it was scored, so it was readable then; without a look it stands alone
            return None

    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        return list(pool.map(looked, chosen))


def capture_time(source: Source) -> datetime.datetime | None:
    """Reads when a photo was taken, by its camera's clock, from its Exif block; None where it does not say.

    Raises:
        ImageError: The header cannot be read.
    """
    held = source.offset is not None or is_url(source.path)
    block = exif_block(source.read() if held else source.path)
    try:
        taken = datetime.datetime.strptime(str(block[_TAKEN]).strip(" \0"), "%Y:%m:%d %H:%M:%S")
    except (KeyError, ValueError):  # absent, or as cameras without a set clock write it: 0000:00:00
        return None
    fraction = str(block.get(_FRACTION, "0")).strip(" \0")
    return taken + datetime.timedelta(seconds=float(f"0.{fraction}") if fraction.isdigit() else 0)
