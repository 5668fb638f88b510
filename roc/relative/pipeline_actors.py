"""A pipeline of `diffusers` on a cluster: each actor of Ray loads it once and edits one picture at a time."""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from PIL import Image

from roc.relative.editors import Edited, EditError, Order
from roc.relative.image_editors import Pipeline

if TYPE_CHECKING:
    from roc.scoring.cluster import Cluster

RETRIES = 2
"""How often an order is carried out again whose actor ended."""


class PipelineActor:
    """What runs in an actor: a pipeline. An error is handed over as a value, so that it arrives as what it was.

    Args:
        path, settings: As for `Pipeline`.
    """

    def __init__(self, path: str, settings: dict[str, Any]) -> None:
        self._path, self._settings = path, settings
        self._pipeline: Pipeline | None = None

    def edit(self, picture: Image.Image, order: Order) -> Edited | Exception:
        """Carries out an order; the pipeline is loaded for the first one."""
        try:
            # Not in the constructor: Ray would start an actor again and again whose constructor fails.
            if self._pipeline is None:
                self._pipeline = Pipeline(self._path, **self._settings)
            return self._pipeline.edit(picture, order)
        except (EditError, ValueError, ImportError) as error:
            return error


class PipelineActors:
    """An `Editor` that is a pipeline of `diffusers` in several actors, each with a GPU where the cluster has any.

    An order whose actor ended, with its machine or out of memory, is carried out again by the actor that takes its
    place. The seed decides the noise, so that the picture is the same.

    Args:
        path: As for `Pipeline`; a folder has to be on every machine of the cluster.
        cluster: Started.
        settings: `dtype` and `steps`, as for `Pipeline`.
    """

    def __init__(self, path: str, cluster: Cluster, **settings: Any) -> None:
        self.name = f"diffusers:{path}"
        self.at_once = cluster.scorers
        self._path = os.path.abspath(path) if os.path.isdir(path) else path
        self._gpus = 0 if cluster.device == "cpu" else 1
        self._settings = {"device": cluster.device, **settings}
        self._lock = threading.Lock()
        self._actors: list[Any] = []
        self._free: SimpleQueue[Any] = SimpleQueue()

    def close(self) -> None:
        """Ends the actors, so that the judges can have their GPUs; see `Editor.close`."""
        import ray

        for actor in self._actors:
            ray.kill(actor)
        self._actors, self._free = [], SimpleQueue()

    def edit(self, picture: Image.Image, order: Order) -> Edited:
        """Carries out an order in an actor that is free; see `Editor.edit`."""
        import ray

        with self._lock:
            if not self._actors:
                self._start()
        actor = self._free.get()
        try:
            made = ray.get(actor.edit.remote(picture, order))
        except ray.exceptions.RayError as error:
            # Ray's own words are a page of places in its code.
            raise EditError(f"{self.name}: the process that edited it ended ({type(error).__name__})") from error
        finally:
            self._free.put(actor)
        if isinstance(made, Exception):
            raise made
        return made

    def _start(self) -> None:
        import ray

        actor = ray.remote(num_cpus=1, num_gpus=self._gpus, max_restarts=-1, max_task_retries=RETRIES)(PipelineActor)
        self._actors = [actor.remote(self._path, self._settings) for _ in range(self.at_once)]
        for one in self._actors:
            self._free.put(one)
