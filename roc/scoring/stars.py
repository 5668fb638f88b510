"""Stars for scored photos, written into XMP sidecars where the programs that show photos find them.

A photo is never written to. A sidecar that is there keeps everything but its rating, byte for byte, and photos that
somebody has rated, in a sidecar or inside, are left alone unless it is asked for. Stars that roc gave before are given
anew, so that other thresholds can be tried.
"""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import roc
from roc.data.sidecars import Folder, content_of, embedded, read_sidecar, write_sidecar
from roc.data.xmp import XmpError, new_packet, with_rating
from roc.scoring.copies import Fault, lies_in
from roc.scoring.options import ScoreOptions
from roc.scoring.selection import Rows, first_score
from roc.scoring.sources import Source


@dataclass
class Starring:
    """What was written.

    Attributes:
        stars: 1..5 -> number of photos whose sidecar says so now.
        written: How many sidecars were written; the others said so already.
        kept: Photos that somebody had rated before and that were left alone.
        faults: Photos that could not be given stars.
    """

    stars: Counter[int] = field(default_factory=Counter)
    written: int = 0
    kept: int = 0
    faults: list[Fault] = field(default_factory=list)


def stars_of(values: Sequence[float], at: Sequence[float], by: str) -> list[int]:
    """Turns scores into stars.

    Args:
        values: Scores, native scale.
        at: Four rising thresholds, where 2, 3, 4 and 5 stars begin.
        by: "score" compares the scores with them, "percentile" the share of scores that are lower, in percent; of
            equal scores half count as lower.

    Returns:
        For each score 1 to 5.
    """
    if by == "percentile":
        ordered = sorted(values)
        half = 50 / max(len(ordered), 1)
        values = [half * (bisect_left(ordered, value) + bisect_right(ordered, value)) for value in values]
    return [1 + bisect_right(at, value) for value in values]


def write_stars(options: ScoreOptions, sources: Sequence[Source], rows: Rows) -> Starring:
    """Gives every scored photo its stars.

    Args:
        options: Of the run.
        sources: All photos.
        rows: All rows; those without a score get no stars.
    """
    scores = {row["image"]: score for row in rows() if (score := first_score(row)) is not None}
    scored = [source for source in sources if source.name in scores]
    stars = stars_of([scores[source.name] for source in scored], options.xmp_thresholds, options.xmp_by)
    done, folder_of = Starring(), functools.lru_cache(maxsize=64)(Folder)
    for source, count in zip(scored, stars, strict=True):
        try:
            _write(options, source, count, folder_of, done)
        except (XmpError, OSError) as error:
            done.faults.append({"image": source.name, "error": str(error)})
    return done


def _write(
    options: ScoreOptions, source: Source, stars: int, folder_of: Callable[[Path], Folder], done: Starring
) -> None:
    where = lies_in(source)
    if where is not None:
        raise XmpError(f"it lies {where}, where no sidecar can lie beside it")
    path = Path(source.path)
    folder = folder_of(path.parent)
    sidecars = folder.beside(path.name, alone=True)
    packets = [read_sidecar(sidecar) for sidecar in sidecars]
    if not options.xmp_overwrite:
        rated = any(packet.rating is not None and not packet.is_ours for packet in packets)
        if rated or embedded(path).rating is not None:
            done.kept += 1
            return
    for sidecar, packet in zip(sidecars, packets, strict=True):
        # Where there are two, both say the same: programs read one or the other.
        if packet.rating != stars:
            try:
                content = with_rating(content_of(sidecar), stars)
            except XmpError as error:
                raise XmpError(f"{sidecar} {error}") from None
            write_sidecar(sidecar, content)
            done.written += 1
    if not sidecars:
        write_sidecar(_new_sidecar(options, path, folder), new_packet(stars, roc.__version__))
        done.written += 1
    done.stars[stars] += 1


def _new_sidecar(options: ScoreOptions, path: Path, folder: Folder) -> Path:
    if options.xmp_name == "full":
        return path.with_name(f"{path.name}.xmp")
    if folder.stems.get(path.name.rpartition(".")[0], 0) > 1:
        raise XmpError(f"{path.stem}.xmp would belong to other files of that name too; use --xmp_name full")
    return path.with_name(f"{path.stem}.xmp")
