"""The images that a row of a data file names: paths below one folder, or pictures inside the table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roc.data.cells import as_text, shown
from roc.data.nearby import Nearby, is_url
from roc.data.pictures import Picture, without_bytes


class ImagePaths:
    """Reads the cells that name images, and finds the files.

    Args:
        folder: where relative paths start.
        fault: is called with what is wrong and its cause (see `Faults.add`).
        anywhere: whether absolute paths may lead out of the folder.
    """

    def __init__(self, folder: Path, fault: Callable[[str, Any], None], *, anywhere: bool) -> None:
        self._folder = os.path.abspath(folder)
        self._fault = fault
        self._anywhere = anywhere
        self._nearby = Nearby(self._folder)

    def named(self, value: Any) -> list[str | Picture]:
        """Reads a cell that names one image or several; returns none, and adds a fault, if it cannot be read."""
        given = map(without_bytes, value if isinstance(value, list) else [value])
        images = [one if isinstance(one, Picture) else as_text(one) for one in given]
        if not images or not all(images) or any("\0" in str(image) for image in images):
            self._fault(f"the image is {shown(value)}; expected a path or a list of paths", None)
            return []
        return images

    def resolve(self, image: str | Picture) -> str | None:
        """Returns the path to open; None, and a fault, for a path out of the folder.

        Otherwise a data file could pull in any file of the machine. Symbolic links may lead anywhere: whoever keeps
        the folder made them, as in a hub's cache.
        """
        if isinstance(image, Picture):
            return image.file()
        path = os.path.normpath(os.path.join(self._folder, image))
        allowed = self._anywhere and os.path.isabs(image)
        if not allowed and not path.startswith(os.path.join(self._folder, "")):
            meant = self._nearby.find(image)
            if meant is not None:
                what = f"the image {image!r} lies outside of {self._folder}, but {meant.text}"
                self._fault(what, ("outside", meant.cause))
            else:
                what = f"the image {image!r} lies outside of {self._folder}; set image_folder to a folder around it"
                self._fault(what, ("outside", os.path.isabs(image)))
            return None
        if is_url(image):
            meant = self._nearby.find(image)
            what = f"the image {image!r} is a URL, and images are read from files; "
            if meant is not None:
                self._fault(f"{what}{meant.text}", ("URL", meant.cause))
            else:
                self._fault(f"{what}download it and write its path", "URL")
            return None
        return path
