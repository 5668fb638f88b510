"""What the tools do: pictures of the allowed folders, scored, ranked and described by one model, one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from roc.data.counts import counted
from roc.data.images import ImageError, open_image
from roc.mcp.folders import Folders
from roc.mcp.options import McpOptions
from roc.scoring.assessment import Assessment
from roc.scoring.ranking import ranking
from roc.scoring.results import Assessed


class Assessor:
    """A model, and the pictures it may look at.

    Args:
        options: The checkpoint, the folders and the limits.

    Attributes:
        assessment: The model.
        folders: Where pictures may lie.

    Raises:
        ValueError: The checkpoint or a folder cannot be used.
    """

    def __init__(self, options: McpOptions) -> None:
        self.options = options
        self.folders = Folders(options.folders)
        self.assessment = Assessment(options.checkpoint, device=options.device, dtype=options.dtype)
        self._turn = threading.Lock()  # calls come in threads, and the model works on one at a time

    @property
    def scale(self) -> str:
        """The attributes with their ranges, in words."""
        declared = self.assessment.model.declaration
        return ", ".join(
            f"{name} {low:g} to {high:g}"
            for name in declared.attributes
            for low, high in [declared.space.of(name).range]
        )

    @property
    def _about(self) -> dict[str, Any]:
        return {"model": self.options.checkpoint, "scorer": self.assessment.scorer}

    def score(self, images: Sequence[str], attributes: Sequence[str] | None) -> dict[str, Any]:
        """Scores pictures; one that cannot be read has its error in its place.

        Returns:
            `results`: for each picture what `Assessed.to_dict` gives, or `image` and `error`.

        Raises:
            ValueError: A path cannot be used, there are too many pictures, or the model does not know an attribute.
        """
        wanted = self.assessment.wanted(attributes)
        rows: list[dict[str, Any]] = []
        for batch in self._batches(images):
            good = {path: one for path, one in batch.items() if not isinstance(one, ImageError)}
            found = self._scored(good, wanted)
            rows += [
                (found[path].to_dict() if path in found else {"error": str(one)}) | {"image": str(path)}
                for path, one in batch.items()
            ]
        return {**self._about, "results": rows}

    def rank(self, images: Sequence[str], attribute: str | None) -> dict[str, Any]:
        """Puts pictures in order, best first.

        Returns:
            What `Ranking.to_dict` gives.

        Raises:
            ValueError: There are fewer than two pictures, or too many, or one cannot be used or gets no score, or the
                model does not know the attribute.
        """
        chosen = self.assessment.wanted(None if attribute is None else [attribute])[0]
        found: dict[str, Assessed] = {}
        for batch in self._batches(images, fewest=2):
            for one in batch.values():
                if isinstance(one, ImageError):
                    raise one
            found |= {str(path): one for path, one in self._scored(batch, [chosen]).items()}
        return {**self._about, **ranking(chosen, found).to_dict()}

    def describe(self, image: str) -> dict[str, Any]:
        """Has the model write about one picture.

        Returns:
            What `Assessed.to_dict` gives, `text` among it.

        Raises:
            ValueError: The path leads to no picture or to several, or the picture cannot be read.
        """
        paths = self.folders.pictures(image)
        if len(paths) != 1:
            raise ValueError(f"{image}: {counted(len(paths), 'picture')} in this folder; describe one at a time")
        picture = open_image(paths[0])
        with self._turn:
            (found,) = self.assessment.describe(picture, max_new_tokens=self.options.max_new_tokens)
        return {**self._about, **found.to_dict(), "image": str(paths[0])}

    def _batches(self, images: Sequence[str], fewest: int = 1) -> Iterator[dict[Path, Image.Image | ImageError]]:
        """Opens the pictures that a request names, each once and some at a time; in place of one, why it cannot be."""
        paths = list(dict.fromkeys(path for image in images for path in self.folders.pictures(image)))
        if not fewest <= len(paths) <= self.options.images:
            came = counted(len(paths), "picture was", "pictures were")
            raise ValueError(f"{came} named; expected {fewest} to {self.options.images} paths in {self.folders}")
        for start in range(0, len(paths), self.assessment.batch_size):
            batch: dict[Path, Image.Image | ImageError] = {}
            for path in paths[start : start + self.assessment.batch_size]:
                try:
                    batch[path] = open_image(path)
                except ImageError as error:
                    batch[path] = error
            yield batch

    def _scored(self, pictures: Mapping[Path, Image.Image], wanted: Sequence[str]) -> dict[Path, Assessed]:
        if not pictures:
            return {}
        with self._turn:
            return dict(zip(pictures, self.assessment.score(list(pictures.values()), wanted), strict=True))
