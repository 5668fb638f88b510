"""Editors that follow an instruction in words: pipelines of `diffusers`, and models behind image-edit endpoints."""

from __future__ import annotations

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

    Args:
        pipeline: Takes `image`, `prompt` and `generator`, gives `images`.
        name: What it is called.
        steps: Denoising steps; None for the pipeline's own number.
    """

    at_once = 1

    def __init__(self, pipeline: Any, name: str, steps: int | None = None) -> None:
        self.name = name
        self._pipeline, self._steps = pipeline, steps
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str, *, device: str | None, dtype: str | None, steps: int | None) -> Pipeline:
        """Loads a pipeline.

        Args:
            path: A folder, a hub id, or a key of `READY`.
            device, dtype: As for checkpoints.
            steps: As above.

        Raises:
            ImportError: With the command that installs `diffusers`.
            ValueError: There is no such pipeline, or it edits no pictures.
        """
        try:
            from diffusers import DiffusionPipeline
        except ImportError as error:
            raise ImportError("pipelines need diffusers; install it with: pip install 'roc-mllm[diffusers]'") from error
        import inspect

        import torch

        from roc.model.device import checked_device, number_format

        device = checked_device(device)
        number = getattr(torch, number_format(dtype, device))
        try:
            pipeline = DiffusionPipeline.from_pretrained(READY.get(path, path), dtype=number)
        except (OSError, ValueError) as error:
            short = " ".join(str(error).split())[:300]
            raise ValueError(f"diffusers:{path}: no pipeline can be loaded: {short}") from error
        taken = inspect.signature(type(pipeline).__call__).parameters
        if not {"image", "prompt", "generator"} <= set(taken):
            raise ValueError(
                f"diffusers:{path} is a {type(pipeline).__name__}, which takes no image and prompt; expected a "
                "pipeline that edits pictures"
            )
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(device), f"diffusers:{path}", steps)

    def edit(self, picture: Image.Image, order: Order) -> Edited:
        """Carries out an order; see `Editor.edit`. The seed alone decides the noise, on every device."""
        import torch

        settings = {} if self._steps is None else {"num_inference_steps": self._steps}
        generator = torch.Generator("cpu").manual_seed(order.seed)
        try:
            with self._lock, torch.inference_mode():
                made = self._pipeline(image=picture, prompt=order.instruction, generator=generator, **settings)
        except torch.OutOfMemoryError as error:
            raise ValueError(f"{self.name} does not fit into memory: {error}; give a smaller --side") from error
        except Exception as error:  # of many kinds, out of pipelines that were never tried
            raise EditError(f"{self.name}: {' '.join(str(error).split())[:200] or type(error).__name__}") from error
        refused = getattr(made, "nsfw_content_detected", None)
        if refused and any(refused):
            raise EditError(f"{self.name}: its safety checker refused the picture")
        return Edited(made.images[0].convert("RGB"))
