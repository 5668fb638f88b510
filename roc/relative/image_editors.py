"""Editors that follow an instruction in words: pipelines of `diffusers`, and models behind image-edit endpoints."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import threading
from typing import TYPE_CHECKING, Any

from PIL import Image

from roc.relative.editors import Edited, EditError, Order

if TYPE_CHECKING:
    from roc.endpoints.images import ImageEdits
    from roc.endpoints.patience import Patience

READY = {
    "flux_kontext": "black-forest-labs/FLUX.1-Kontext-dev",
    "qwen_image_edit": "Qwen/Qwen-Image-Edit",
    "longcat_image_edit": "meituan-longcat/LongCat-Image-Edit",
    "instruct_pix2pix": "timbrooks/instruct-pix2pix",
}
"""Short name -> hub id of the open editors that the paper used or cites."""


class EndpointEditor:
    """An `Editor` behind an image-edit endpoint.

    Args:
        endpoint: The model.
        patience: Waits while the endpoint is down.
        at_once: Orders at the same time.
        seeded: Whether the endpoint takes a seed.
    """

    def __init__(self, endpoint: ImageEdits, patience: Patience, at_once: int, *, seeded: bool) -> None:
        self.name, self.at_once = endpoint.name, at_once
        self._endpoint, self._patience, self._seeded = endpoint, patience, seeded

    def close(self) -> None:
        """Does nothing; see `Editor.close`."""

    def edit(self, picture: Image.Image, order: Order) -> Edited:
        """Carries out an order; see `Editor.edit`."""
        from roc.endpoints.chat import EndpointDown, EndpointError

        seed = order.seed if self._seeded else None
        try:
            return Edited(self._patience(lambda: self._endpoint.edit(picture, order.instruction, seed)))
        except EndpointDown:
            raise
        except EndpointError as error:
            raise EditError(str(error)) from error


class Pipeline:
    """An `Editor` that is an image-editing pipeline of `diffusers`, one order at a time.

    It is loaded when the first order comes, so that a run that has nothing left to edit does not wait for it.

    Args:
        path: A folder, a hub id, or a key of `READY`.
        device, dtype: As for checkpoints.
        steps: Denoising steps; None for the pipeline's own number.

    Raises:
        ImportError: With the command that installs `diffusers`.
    """

    at_once = 1

    def __init__(self, path: str, *, device: str | None = None, dtype: str | None = None, steps: int | None = None):
        if importlib.util.find_spec("diffusers") is None:
            raise ImportError("pipelines need diffusers; install it with: pip install 'roc-mllm[diffusers]'")
        self.name = f"diffusers:{path}"
        self._path, self._device, self._dtype, self._steps = path, device, dtype, steps
        self._lock = threading.Lock()
        self._loaded: Any = None

    def close(self) -> None:
        """Gives its memory back; see `Editor.close`."""
        if self._loaded is not None:
            import torch

            self._loaded = None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _pipeline(self) -> Any:
        """Loads the pipeline.

        Raises:
            ValueError: There is none, or it edits no pictures.
        """
        if self._loaded is not None:
            return self._loaded
        import torch
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging as bars

        from roc.model.device import checked_device, number_format

        device = checked_device(self._device)
        number = getattr(torch, number_format(self._dtype, device))
        bars.disable_progress_bar()
        try:
            pipeline = DiffusionPipeline.from_pretrained(READY.get(self._path, self._path), dtype=number)
        except (OSError, ValueError) as error:
            short = " ".join(str(error).split())[:300]
            raise ValueError(f"{self.name}: no pipeline can be loaded: {short}") from error
        taken = inspect.signature(type(pipeline).__call__).parameters
        if not {"image", "prompt", "generator"} <= set(taken):
            raise ValueError(
                f"{self.name} is a {type(pipeline).__name__}, which takes no image and prompt; expected a pipeline "
                "that edits pictures"
            )
        pipeline.set_progress_bar_config(disable=True)
        self._loaded = pipeline.to(device)
        return self._loaded

    def edit(self, picture: Image.Image, order: Order) -> Edited:
        """Carries out an order; see `Editor.edit`. The seed alone decides the noise, on every device."""
        import torch

        settings = {} if self._steps is None else {"num_inference_steps": self._steps}
        generator = torch.Generator("cpu").manual_seed(order.seed)
        with self._lock:
            pipeline = self._pipeline()
        try:
            with self._lock, torch.inference_mode():
                made = pipeline(image=picture, prompt=order.instruction, generator=generator, **settings)
        except torch.OutOfMemoryError as error:
            raise ValueError(f"{self.name} does not fit into memory: {error}; give a smaller --side") from error
        except Exception as error:  # of many kinds, out of pipelines that were never tried
            raise EditError(f"{self.name}: {' '.join(str(error).split())[:200] or type(error).__name__}") from error
        refused = getattr(made, "nsfw_content_detected", None)
        if refused and any(refused):
            raise EditError(f"{self.name}: its safety checker refused the picture")
        return Edited(made.images[0].convert("RGB"))
