"""The files below a folder, found without ever going astray: in no circle, at no pipe, at any depth.

Each real folder is searched once, and what cannot or need not be entered is given with the reason, so that nothing is
left out without a word. Hidden files and folders are no part of a folder's content.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from roc.data.raw import RAW, can_read_raw

# Suffixes that a folder or tar file is searched for; an image given by name may end in anything.
PICTURES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .tif .tiff .bmp .ppm .pgm .pbm .pnm .jp2 .j2k .jpx .avif .heic .heif"
    .split()
)  # fmt: skip


def is_picture(name: str) -> bool:
    """Tells whether a file is a picture by its name; a RAW file is where the package for them is there."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in PICTURES or (suffix in RAW and can_read_raw())


NO_FILE = "this is no file but a pipe or a device"


class Found(NamedTuple):
    """A file, or something that cannot be searched.

    Attributes:
        path: Below the folder, as it was given.
        fault: Why it cannot be used; None for a file.
    """

    path: str
    fault: str | None = None


def walk(folder: str, closed: Container[str] = ()) -> Iterator[Found]:
    """Gives the files in a folder and its subfolders, by name.

    A link to a folder elsewhere is followed. One to a folder that is searched anyway, or to one around it, is not.

    Args:
        folder: Where to search.
        closed: Real paths of folders that are not entered.
    """
    top = os.path.realpath(folder)
    if top in closed:
        return
    searched = {top: folder}
    try:
        levels = [(top, iter(_entries(folder)))]
    except OSError as error:
        yield _unreadable(folder, error)
        return
    while levels:
        above, entries = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            continue
        # macOS leaves "._a.jpg" beside "a.jpg" on foreign disks; thumbnails lie in hidden folders too.
        if entry.name.startswith("."):
            continue
        try:
            is_folder, is_link = entry.is_dir(), entry.is_symlink()
            # A broken link is a file that cannot be opened, which is found when its turn comes.
            fault = None if is_folder or entry.is_file() or not os.path.exists(entry.path) else NO_FILE
        except OSError as error:
            yield Found(entry.path, f"this cannot be looked at: {error.strerror}")
            continue
        if not is_folder:
            yield Found(entry.path, fault)
            continue
        real = os.path.realpath(entry.path) if is_link else os.path.join(above, entry.name)
        if real in closed:
            continue
        fault = _searched(real, top, searched, is_link)
        if fault is not None:
            yield Found(entry.path, fault)
            continue
        searched[real] = entry.path
        try:
            levels.append((real, iter(_entries(entry.path))))
        except OSError as error:
            yield _unreadable(entry.path, error)


def matching(pattern: str, closed: Container[str], tops: Iterator[str]) -> Iterator[Found]:
    """Gives what matches a pattern with `**`, and all that could not be searched.

    Args:
        pattern: The part of the pattern from `**` on.
        closed: Real paths of folders that are not entered.
        tops: The folders that the part before it stands for.
    """
    words = pattern.split("/")
    for top in tops:
        for found in walk(top or ".", closed):
            path = found.path if top else os.path.relpath(found.path, ".")
            names = os.path.relpath(found.path, top or ".").replace(os.sep, "/").split("/")
            if found.fault is not None or _matches(words, names):
                yield found._replace(path=path)


def _matches(words: list[str], names: list[str]) -> bool:
    """Tells whether names match the words of a pattern, in which `**` stands for any number of names."""

    def reached(places: set[int]) -> set[int]:
        found = set()
        for place in places:
            found.add(place)
            while place < len(words) and words[place] == "**":
                place += 1
                found.add(place)
        return found

    places = reached({0})
    for name in names:
        following = set()
        for place in places:
            if place < len(words):
                if words[place] == "**":
                    following.add(place)
                elif fnmatchcase(name, words[place]):
                    following.add(place + 1)
        places = reached(following)
    return len(words) in places


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _searched(real: str, top: str, searched: dict[str, str], is_link: bool) -> str | None:
    """Says why a folder need not be searched; None where it has to be."""
    if real in searched:
        return f"this is the folder {searched[real]}, which is searched already"
    if not is_link:
        return None
    if _is_in(top, real):
        return f"this link leads in a circle: to {real}, a folder around it"
    if _is_in(real, top) and not any(name.startswith(".") for name in os.path.relpath(real, top).split(os.sep)):
        return f"this is a link to {real}, which is searched itself"
    return None


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _unreadable(folder: str, error: OSError) -> Found:
    return Found(folder, f"this folder cannot be read: {error.strerror}")
