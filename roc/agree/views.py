"""The ten views of each photo: every attribute moved up and down, made where the photo is read.

`Views` is the list of pictures that the engines of `roc.scoring` go through: ten for each photo, one after the other. A
worker keeps the photo it has read, so that a photo is read about twice, not ten times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from roc.agree.attributes import ATTRIBUTES
from roc.agree.batches import as_image, as_tensor
from roc.agree.perturbations import PERTURBATIONS
from roc.data.images import ImageError
from roc.scoring.sources import Source

CHANGES = tuple((name, sign) for name in ATTRIBUTES for sign in (1, -1))
"""The views of a photo in their order: attribute, and 1 for more or -1 for less."""


class View:
    """One view of a photo; it opens as a `Source` does, and is bound to the photo's file.

    Args:
        views: The list it belongs to.
        index: Its place there.
    """

    def __init__(self, views: Views, index: int) -> None:
        self._views, self._index = views, index
        self.source = views.sources[index // len(CHANGES)]
        self.name = self.source.name
        # What `roc.scoring.stamps` looks at.
        self.path, self.offset, self.size = self.source.path, self.source.offset, self.source.size
        self.fault, self.version = self.source.fault, self.source.version
        self.read, self.length = self.source.read, self.source.length

    def open(self) -> Image.Image:
        """Opens the photo and moves one attribute of it.

        Returns:
            RGB, in 8 bits as every picture that the model takes.

        Raises:
            ImageError: The photo cannot be used.
        """
        name, sign = CHANGES[self._index % len(CHANGES)]
        photo = self._views.photo(self._index // len(CHANGES))
        try:
            return as_image(PERTURBATIONS[name](as_tensor(photo), sign * self._views.delta)[0])
        except ValueError as error:
            raise ImageError(str(error)) from error


class Views(Sequence):
    """The views of photos, ten for each.

    Args:
        sources: The photos.
        delta: Size of the perturbations.
        side: Longest side in pixels; larger photos are scaled down before. None keeps their size.
    """

    def __init__(self, sources: Sequence[Source], delta: float, side: int | None) -> None:
        self.sources, self.delta, self.side = sources, delta, side
        self._held: tuple[int, Image.Image | ImageError] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def __len__(self) -> int:
        return len(self.sources) * len(CHANGES)

    def __getitem__(self, index: int) -> View:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return View(self, index)

    def photo(self, place: int) -> Image.Image:
        """Opens a photo, or gives the one that was opened last again.

        Raises:
            ImageError: It cannot be read; nor is it tried again for its next view.
        """
        if self._held is None or self._held[0] != place:
            try:
                photo = self.sources[place].open()
                if self.side is not None:
                    photo.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
                self._held = place, photo
            except ImageError as error:
                self._held = place, error
        found = self._held[1]
        if isinstance(found, ImageError):
            raise found
        return found
