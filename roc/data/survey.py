"""Examining many image files: in parallel, with a progress bar, and with a memory of what was found.

Decoding 255,000 photos takes from minutes to hours, and such a run gets stopped. So results can be kept in a memory
file, one line of JSON per image, and the next run opens only files that are new or have changed (another size or
time). Faulty files are opened again each time: the cure may lie outside of them, as for a HEIC photo once pillow-heif
is installed.

Threads do the work, not processes: Pillow decodes outside of Python's lock.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from roc.data.images import ImageError, check_image
from roc.data.limits import DEFAULT_PIXEL_LIMIT
from roc.data.nearby import missing_images
from roc.data.pictures import shown_path
from roc.data.rows import Faults

_HEADER = {"memory of": "roc data"}
_CHUNK = 16


def survey(
    paths: Sequence[str],
    look: Callable[[str], Any],
    name: str,
    *,
    memory: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> Iterator[tuple[str, Any]]:
    """Calls `look` on every file whose result is not remembered.

    Args:
        paths: image files, each once.
        look: takes a path and returns a value that JSON can hold; raises ImageError for a file that cannot be used.
            Called from several threads.
        name: name of the look, with everything that its result depends on. Results under another name do not count.
        memory: file that remembers results; created if needed. None = nothing is remembered.
        workers: number of threads; None = one for each processor.

    Yields:
        (path, result or ImageError) in the order of `paths`.

    Raises:
        ValueError: `memory` is a file that something else wrote, or `workers` is below 1.
        OSError: `memory` cannot be written.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    workers = workers or os.cpu_count() or 1
    known = _recall(Path(memory), name) if memory is not None else {}

    def examine(path: str) -> tuple[Any, list[int] | None]:
        """Returns the result, and the file's size and time if they are to be remembered with it."""
        try:
            stat = os.stat(path)
            stamp = [stat.st_size, stat.st_mtime_ns]
            if path in known and known[path][0] == stamp:
                return known[path][1], None
            return look(path), stamp
        except ImageError as error:
            return error, None
        except OSError as error:
            return ImageError(f"{shown_path(path)}: cannot be read: {error}"), None

    def examine_all(chunk: Sequence[str]) -> list[tuple[str, Any, list[int] | None]]:
        return [(path, *examine(path)) for path in chunk]

    with contextlib.ExitStack() as stack:
        notes = stack.enter_context(_open(Path(memory))) if memory is not None else None
        bar = stack.enter_context(tqdm(total=len(paths), desc="images", unit="", disable=None, smoothing=0.05))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        chunks = (paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK))
        # A window, because submitting a million files at once would hold them all in memory a second time.
        running = deque(pool.submit(examine_all, chunk) for chunk in itertools.islice(chunks, 4 * workers))
        while running:
            found = running.popleft().result()
            running.extend(pool.submit(examine_all, chunk) for chunk in itertools.islice(chunks, 1))
            if notes is not None:
                lines = [
                    json.dumps([name, path, stamp, result]) + "\n" for path, result, stamp in found if stamp is not None
                ]
                notes.write("".join(lines))
                notes.flush()
            bar.update(len(found))
            yield from ((path, result) for path, result, _ in found)


def check_image_files(
    images: Mapping[str, Sequence[int | None]],
    faults: Faults,
    *,
    folder: str | os.PathLike[str] | None = None,
    decode: bool = True,
    pixel_limit: int = DEFAULT_PIXEL_LIMIT,
    memory: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> int | None:
    """Checks that image files are there and can be opened.

    Args:
        images: path -> lines of the data file that name it.
        faults: collects what is wrong, once for each line; what has one cause, such as the wrong folder, once in all.
        folder: the folder that the paths start from, for hints.
        decode: whether to open the files.
        pixel_limit: an image with more pixels is a fault.
        memory, workers: as for `survey`.

    Returns:
        Number of images that were opened; None without `decode`.
    """
    missing = {one.path: one for one in missing_images(images, folder)}
    unknown = [one for one in missing.values() if one.cause is None and not os.path.lexists(one.path)]
    nowhere = len(images) > 1 and len(unknown) == len(images)
    if nowhere:
        first = next(iter(images))
        faults.add(None, f"none of the {len(images)} images is there, the first being {first}; check image_folder")
    for image, one in missing.items() if not nowhere else ():
        for line in images[image]:
            faults.add(line, one.text, one.cause and ("missing", one.cause))
    if not decode:
        return None

    def look(image: str) -> None:
        check_image(image, pixel_limit=pixel_limit)

    there = [image for image in images if image not in missing]
    name = f"decoded, max_pixels={pixel_limit}"  # the limit's earlier name, so that what is remembered stays valid
    for image, found in survey(there, look, name, memory=memory, workers=workers):
        for line in images[image] if isinstance(found, ImageError) else ():
            faults.add(line, str(found))
    return len(there)


def _recall(memory: Path, name: str) -> dict[str, tuple[list[int], Any]]:
    """Reads the results of this look: path -> (size and time of the file, result)."""
    known = {}
    if memory.exists() and memory.stat().st_size:
        with memory.open(encoding="utf-8") as file:
            if _parsed(file.readline()) != _HEADER:
                raise ValueError(f"{memory}: this file holds no results of `roc data`; name another one")
            for entry in map(_parsed, file):
                # A run that was killed leaves a last line that is cut off.
                if isinstance(entry, list) and len(entry) == 4 and entry[0] == name:
                    known[entry[1]] = (entry[2], entry[3])
    return known


def _open(memory: Path) -> TextIO:
    memory.parent.mkdir(parents=True, exist_ok=True)
    file = memory.open("a+", encoding="utf-8")
    if file.tell() == 0:
        file.write(json.dumps(_HEADER) + "\n")
    else:
        file.write("\n")  # ends a line that the last run left incomplete
    return file


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
