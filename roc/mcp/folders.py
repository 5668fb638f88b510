"""The pictures that a request may name: those inside the folders given when the server was started, and no others.

An assistant passes on what it has read somewhere, so a path is no wish of the user. Every path is resolved first, links
and `..` included, and only then compared; of a path outside nothing is told, not even whether it exists.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from roc.data.folders import PICTURES
from roc.scoring.urls import is_url


class Folders:
    """The folders whose pictures may be opened.

    Args:
        folders: At least one.

    Attributes:
        roots: The folders, as absolute paths without links.

    Raises:
        ValueError: One is no folder.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        for folder in folders:
            if not os.path.isdir(folder):
                raise ValueError(f"folders: {folder} is no folder; name folders that hold the pictures")
        self.roots = tuple(Path(folder).resolve() for folder in folders)

    def __str__(self) -> str:
        return ", ".join(map(str, self.roots))

    def pictures(self, path: str) -> list[Path]:
        """Finds the pictures behind a path: itself, or of a folder those that lie directly in it, by name.

        Args:
            path: Absolute, or relative to one of the folders.

        Returns:
            Resolved paths, at least one.

        Raises:
            ValueError: It is a URL, lies outside the folders, does not exist, is neither a file nor a folder, or is a
                folder without pictures.
        """
        found = self._inside(path)
        try:
            mode = found.stat().st_mode
        except OSError:
            raise ValueError(f"{path}: no such picture or folder in {self}") from None
        if stat.S_ISREG(mode):
            return [found]
        if not stat.S_ISDIR(mode):
            raise ValueError(f"{path}: neither a picture nor a folder of pictures")
        listed = [one for one in sorted(found.iterdir()) if one.suffix.lower() in PICTURES and one.name[0] != "."]
        pictures = [one for one in listed if self._holds(one) and one.is_file()]
        if not pictures:
            raise ValueError(f"{path}: there is no picture directly in this folder; name one of its subfolders")
        return pictures

    def _inside(self, path: str) -> Path:
        """Resolves a path that a request names.

        Raises:
            ValueError: It leads out of the folders.
        """
        if is_url(path):
            raise ValueError(f"{path}: URLs are not opened; expected a picture in {self}")
        if "\0" in path:
            raise ValueError(f"{path!r}: no path; expected a picture in {self}")
        inside = [one for root in self.roots if self._holds(one := Path(os.path.realpath(root / path)))]
        there = [one for one in inside if one.exists()]
        if not inside:
            raise ValueError(f"{path}: outside the folders that this server may open, which are {self}")
        return (there or inside)[0]

    def _holds(self, path: Path) -> bool:
        resolved = path.resolve()
        return any(resolved.is_relative_to(root) for root in self.roots)
