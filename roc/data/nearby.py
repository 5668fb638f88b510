"""Images that are not where a data file says: which file was probably meant, and what to change.

Paths are made on another machine, by another program or for another folder: `images\\a.jpg`, `/home/jane/set/a.jpg`,
`a` or `a.jpeg` for `a.jpg`, `images/a.jpg` below a folder that ends in `images` itself, a URL. The hint names the file
that is there; nothing is ever replaced by it.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

from roc.data.limits import PICTURE_SUFFIXES
from roc.data.records import casefold

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,3}")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_MOST_FOLDERS, _MOST_SEARCHES = 200, 200
"""Bounds of the search in the folders below where nothing was found yet."""


def is_url(path: str) -> bool:
    """Tells whether a path is a URL."""
    return _URL.match(path) is not None


class Missing(NamedTuple):
    """An image that is not there.

    Attributes:
        path: as asked for.
        text: what is wrong and what to do.
        cause: equal for images with one cause that one change mends; None where nothing is known.
    """

    path: str
    text: str
    cause: Any = None


@dataclass(frozen=True)
class Meant:
    """A file that was probably meant.

    Attributes:
        text: "FILE is there: what to change".
        cause: equal for paths that differ from their files in the same way.
    """

    text: str
    cause: tuple[str, ...]


class _Names:
    """The names in one folder."""

    def __init__(self, folder: str) -> None:
        try:
            self.exact = set(os.listdir(folder))
        except OSError:
            self.exact = set()
        self._alike: dict[str, str] = {}
        self._stems: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.exact):
            self._alike.setdefault(casefold(name), name)
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in PICTURE_SUFFIXES:
                self._stems[casefold(stem)].append(name)
                if stem.isdigit() and stem.lstrip("0") != stem:
                    self._stems[f"number {stem.lstrip('0') or '0'}"].append(name)

    def find(self, name: str) -> tuple[str, str] | None:
        """Returns the name that is there and how it differs: "", "letters", "suffix" or "zeros"."""
        if name in self.exact:
            return name, ""
        if (other := self._alike.get(casefold(name))) is not None:
            return other, "letters"
        stem, suffix = os.path.splitext(name)
        stems = [name, stem] if suffix.lower() in PICTURE_SUFFIXES else [name]
        for one in stems:
            if others := self._stems.get(casefold(one)):
                return others[0], "suffix"
        for one in (*stems, stem):  # 7.0 is a 7 that a data frame wrote
            if others := self._stems.get(f"number {one.lstrip('0') or '0'}" if one.isdigit() else ""):
                return others[0], "zeros"
        return None


class Nearby:
    """Finds the files that paths were meant to name, below one folder.

    Args:
        folder: where the paths start.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = os.path.abspath(folder)
        self._names: dict[str, _Names] = {}
        self._below: list[str] | None = None
        self._hits: list[str] = []  # folders below in which something was found; the others are looked at after them
        self._searches = 0

    def find(self, written: str) -> Meant | None:
        """Finds the file that a path was meant to name; None where there is nothing like it."""
        text = written.strip()
        foreign = ""
        if is_url(text):
            text = unquote(_URL.sub("", text, count=1).split("?")[0].split("#")[0])
            foreign = "URL"
        elif _DRIVE.match(text):
            text, foreign = text[3:], "drive"
        parts = [part for part in re.split(r"[\\/]+", text) if part not in ("", ".", "..")]
        backslash = "\\" in text
        for skip in range(len(parts)):
            if (found := self._walk(self._folder, parts[skip:])) is not None:
                return self._meant(written, *found, parts[:skip], "", backslash, foreign)
        for folder in self._where_to_look() if parts else ():
            there = os.path.join(self._folder, folder, parts[-1])
            if os.path.isfile(there):
                if folder not in self._hits:
                    self._hits.append(folder)
                return self._meant(written, there, [], parts[:-1], folder, backslash, foreign)
        return self.find(unquote(written)) if unquote(written) != written else None

    def _walk(self, folder: str, parts: list[str]) -> tuple[str, list[str]] | None:
        """Goes down a folder; returns the path that is there and how its names differ."""
        place, kinds = folder, []
        for part in parts:
            if place not in self._names:
                self._names[place] = _Names(place)
            found = self._names[place].find(part)
            if found is None:
                return None
            name, how = found
            place = os.path.join(place, name)
            kinds += [how] if how else []
        return (place, kinds) if os.path.isfile(place) else None

    def _where_to_look(self) -> Iterator[str]:
        """Yields the folders below: those of earlier finds always, the others in `_MOST_SEARCHES` searches."""
        yield from self._hits[:]
        self._searches += 1
        if self._searches <= _MOST_SEARCHES:
            yield from self._folders_below()

    def _folders_below(self) -> list[str]:
        if self._below is None:
            try:
                with os.scandir(self._folder) as entries:
                    self._below = sorted(entry.name for entry in entries if entry.is_dir())[:_MOST_FOLDERS]
            except OSError:
                self._below = []
        return self._below

    def _meant(
        self,
        written: str,
        there: str,
        kinds: list[str],
        dropped: list[str],
        below: str,
        backslash: bool,
        foreign: str,
    ) -> Meant:
        name = os.path.relpath(there, self._folder)
        advice, cause = [], [foreign, *kinds]
        if backslash:
            advice.append("write '/' for '\\'")
            cause.append("backslash")
        if dropped and foreign != "URL":
            lead = "/".join(dropped)
            last = os.path.basename(self._folder)
            if casefold(dropped[-1]) == casefold(last) and len(dropped) == 1:
                advice.append(
                    f"image_folder ends in {last!r} already: leave {lead + '/'!r} out of the paths, or give the folder "
                    f"above, {os.path.dirname(self._folder)}"
                )
            else:
                advice.append(f"leave {lead + '/'!r} out of the paths")
            cause.append(f"without {lead}")
        if below:
            advice.append(
                f"give {os.path.join(self._folder, below)} as image_folder, or write {below + '/'!r} in front"
            )
            cause.append(f"in {below}")
        if "suffix" in kinds:
            advice.append(f"its name ends in {os.path.splitext(there)[1]!r}")
        if "zeros" in kinds:
            advice.append("keep the zeros in front")
        if "letters" in kinds:
            advice.append(_letters(written, there))
        shown = ascii(name) if "letters" in kinds else repr(name)
        return Meant(f"{shown} is there: {'; '.join(advice) or 'write it so'}", tuple(cause))


def _letters(written: str, there: str) -> str:
    one, other = (unicodedata.normalize("NFC", os.path.basename(path)) for path in (written, there))
    differs = "the code points of its letters" if one == other else "capital letters"
    return f"it differs in {differs}"


def missing_images(images: Iterable[str], folder: str | os.PathLike[str] | None = None) -> Iterator[Missing]:
    """Finds the images that are not there.

    Args:
        images: paths as in `Record.images`.
        folder: the folder that they start from; None looks for similar names in the image's own folder only.

    Yields:
        What is wrong with each, with a hint if a file is there that may be meant.
    """
    below = Nearby(folder) if folder is not None else None
    beside: dict[str, Nearby] = {}
    for image in images:
        if os.path.isfile(image):
            continue
        if os.path.isdir(image):
            yield Missing(image, f"the image {image} is a folder; give the path of one file")
        elif os.path.exists(image):
            yield Missing(image, f"the image {image} is no file that can be read twice; save it as one")
        elif os.path.islink(image):
            yield Missing(image, f"the image {image} is a link to {os.readlink(image)!r}, which is not there")
        else:
            around, name = os.path.split(image)
            start = os.path.join(os.path.abspath(folder), "") if folder is not None else ""
            if below is not None and image.startswith(start):
                meant = below.find(image[len(start) :])
            else:
                if around not in beside:
                    beside[around] = Nearby(around)
                meant = beside[around].find(name)
            if meant is None:
                yield Missing(image, f"there is no image {image}; check image_folder and the file's name")
            else:
                yield Missing(image, f"there is no image {image}, but {meant.text}", meant.cause)
