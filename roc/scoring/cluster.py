"""The Ray engine: many images scored on many machines, the work of `roc.scoring.local` in actors of Ray Data.

    workers    actors on CPUs: images -> prepared images, kept in Ray's object store
    scorers    actors, each with a GPU of its own where there are any: prepared images -> rows

Rows come back as they are done, in any order; the journal puts them into the order of the input. An actor that ends
(killed, out of memory, its machine gone) is started again and its images are done again. Images that still have no row
then are tried once more, one at a time, and one that ends every process that reads it gets a fault.

The calling process is the driver: it holds the list of images and the journal, and loads the weights once, on the CPU,
to identify them. Each machine needs the same version of roc, and the checkpoint and the images under the same path or
URL.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import roc
from roc.data.counts import counted
from roc.model.device import usable_cores
from roc.model.float32_tower import picture_dtype
from roc.scoring.assessment import Assessment
from roc.scoring.batches import LARGEST_BATCH, OutOfMemory, Scorer, Wanted, by_shape
from roc.scoring.identity import short_identity
from roc.scoring.options import NEW_RAY, EngineOptions
from roc.scoring.prepare import Preparation, Prepared
from roc.scoring.readers import CHUNK, set_alarm
from roc.scoring.sources import Source
from roc.scoring.stamps import STAMP
from roc.scoring.urls import is_url

if TYPE_CHECKING:
    import pyarrow

logger = logging.getLogger(__name__)

BLOCK = 64
"""Most images that a task of a worker has in hand; they are done again when it ends."""

RETRIES = 2
"""How often a task whose actor ended is tried again, before its images are tried one at a time."""

WORKERS_PER_GPU = 16


class Cluster:
    """A Ray cluster, joined or started here; a context manager that ends what it has started.

    Args:
        address: Address of a running cluster, `auto` (this machine's), `HOST:PORT` or `ray://HOST:PORT`; None starts
            one on this machine and ends it with the run.
        scorers: How many actors load the model; None takes one per GPU, or without GPUs one for every two CPUs.
        workers: How many actors read and resize; None takes as many as CPUs are left, at most 16 per GPU.
        device: "cuda" or "cpu"; None takes GPUs where the cluster has any.
        compiled: Whether each scorer compiles its layers.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        scorers: int | None = None,
        workers: int | None = None,
        device: str | None = None,
        compiled: bool = False,
    ) -> None:
        self._address = address
        self._scorers = scorers
        self._workers = workers
        self._device = device
        self._compiled = compiled
        self._image_seconds: float | None = None
        self._folder: str | None = None
        self._started = False

    @classmethod
    def asked_for(cls, options: EngineOptions, *, compiled: bool = False) -> Cluster:
        """Makes the one that options name, not started yet.

        Args:
            options: With `workers` and `device` beside those of `EngineOptions`.
            compiled: As above.
        """
        address = None if options.ray_address == NEW_RAY else options.ray_address
        return cls(address, scorers=options.actors, workers=options.workers, device=options.device, compiled=compiled)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._started:
            _ray().shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Starts or joins the cluster, and settles the number of actors.

        Raises:
            ImportError: Ray is not installed.
            ValueError: No cluster answers, it is too small, or has no roc or another version of it.
        """
        ray = _ray()
        self._started = True
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is None:
            # In a folder of its own: in the default one, `auto` would find this cluster.
            self._folder = tempfile.mkdtemp(prefix="roc-ray-")
            # An actor without a free CPU would wait for ever, so there have to be as many as were asked for.
            asked = (self._scorers or 1) + (self._workers or 1)
            ray.init(
                "local", num_cpus=max(usable_cores(), asked), include_dashboard=False, _temp_dir=self._folder, **quiet
            )
        else:
            try:
                ray.init(self._address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ValueError(f"--ray_address {self._address}: no Ray cluster answers there: {error}") from error
            self._check_version(ray)
        self._settle(ray.cluster_resources())

    def _check_version(self, ray: Any) -> None:
        try:
            there = ray.get(ray.remote(num_cpus=0)(_version).remote())
        except Exception as error:
            raise ValueError(
                f"--ray_address {self._address}: roc {roc.__version__} cannot be imported there; install it, with what "
                f"it needs, on every machine of the cluster: {error}"
            ) from error
        if there != roc.__version__:
            raise ValueError(
                f"--ray_address {self._address} has roc {there}, this machine {roc.__version__}; install the same"
            )

    def _settle(self, resources: dict[str, float]) -> None:
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if self._device is None:
            self._device = "cuda" if gpus else "cpu"
        on_gpus = self._device != "cpu"
        if self._scorers is None:
            self._scorers = max(1, gpus if on_gpus else cpus // 2)
        if self._workers is None:
            most = cpus - self._scorers
            self._workers = max(1, min(most, WORKERS_PER_GPU * self._scorers) if on_gpus else most)
        if on_gpus and gpus < self._scorers:
            raise ValueError(f"{self._scorers} scorers need a GPU each, the cluster has {gpus}; give fewer --actors")
        if cpus < self._scorers + self._workers:
            raise ValueError(
                f"{self._scorers} scorers and {self._workers} workers need a CPU each, the cluster has {cpus}; give "
                "fewer --actors or --workers"
            )

    @property
    def scorers(self) -> int:
        """Number of actors that load a model; known once it is started."""
        return self._scorers

    @property
    def device(self) -> str:
        """Device of each of them, "cuda" or "cpu"; known once it is started."""
        return self._device

    @property
    def dtype(self) -> str:
        """Number format of the weights, unless another is asked for."""
        return "float32" if self._device == "cpu" else "bfloat16"

    def score_images(
        self,
        scorer: Scorer,
        sources: Sequence[Source],
        pretrained: str | os.PathLike[str],
        *,
        batch_size: int | None = None,
        image_seconds: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Scores images on the cluster.

        Args:
            scorer: The model, on a CPU, and what its rows should hold. Its weights are freed, since the actors load
                their own.
            sources: The images.
            pretrained: The checkpoint that the scorer's model comes from.
            batch_size: Images per forward pass; None lets each actor find a good size.
            image_seconds: Longest time to read and resize one image; the actor that takes longer is ended.

        Yields:
            One row per image as it is done, as `roc.scoring.local.score_images` gives it.

        Raises:
            OutOfMemory: A single image does not fit into the memory of a scorer.
            RuntimeError: An actor failed for a reason that is no fault of an image, or actors keep ending and no image
                gets done.
        """
        model, wanted = scorer.assessment.model, scorer.wanted
        pretrained = os.path.abspath(pretrained) if os.path.isdir(pretrained) else os.fspath(pretrained)
        preparation = Preparation(
            [],
            pretrained,
            scorer.assessment.collator,
            picture_dtype(model),
            scorer.places,
            True,
            scorer.assessment.lookups,
        )
        self._image_seconds = image_seconds
        same, dtype = short_identity(scorer.assessment), scorer.assessment.dtype
        settings = (pretrained, self._device, dtype, wanted, batch_size, same, self._compiled)
        model.to("meta")
        waiting = dict.fromkeys(range(len(sources)))
        # Of few images, each actor gets several blocks.
        block = max(1, min(BLOCK, len(sources) // (8 * (self._scorers + self._workers))))
        while waiting:
            before = len(waiting)
            for index, row in self._pass(preparation, settings, [(i, sources[i]) for i in waiting], block):
                if index in waiting:
                    del waiting[index]
                    yield {"image": sources[index].name} | row
            if not waiting:
                return
            again = "images are tried again: the processes that had them ended"
            logger.warning(counted(len(waiting), "image is tried again: the process that had it ended", again))
            if block > 1:
                block = 1
                continue
            for index in self._crashing(preparation, [(i, sources[i]) for i in waiting]):
                del waiting[index]
                yield {"image": sources[index].name, "error": "reading it ended the process that read it"}
            if len(waiting) == before:
                name = sources[next(iter(waiting))].name
                raise RuntimeError(f"the scorers end again and again and {before} images get no score ({name}, ...)")

    def _pass(
        self, preparation: Preparation, settings: tuple, sources: Sequence[tuple[int, Source]], block: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Gives index and row of each image that is done; images whose processes ended too often are missing."""
        import pyarrow
        from ray.data import ActorPoolStrategy, DataContext, from_arrow

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1  # missing images are noticed by the caller
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        packed = [pickle.dumps((index, _absolute(source))) for index, source in sources]
        tables = [
            pyarrow.table({"data": pyarrow.array(packed[i : i + block], pyarrow.large_binary())})
            for i in range(0, len(packed), block)
        ]
        retries = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": RETRIES if block > 1 else 0}
        with warnings.catch_warnings():
            # There is no other way yet to set restarts and retries; setup.py stays below the Ray that ends this one.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            prepared = from_arrow(tables).map_batches(
                PreparingActor,
                fn_constructor_args=(preparation, self._image_seconds),
                batch_size=CHUNK,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(min_size=1, max_size=self._workers),
                **retries,
            )
            rows = prepared.map_batches(
                ScoringActor,
                fn_constructor_args=settings,
                batch_size=min(LARGEST_BATCH, 2 * block),
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=self._scorers),
                num_gpus=0 if self._device == "cpu" else 1,
                **retries,
            )
        for table in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            for data in table["data"].to_pylist():
                found = pickle.loads(data)
                if isinstance(found, ActorError):
                    raise OutOfMemory(found.reason) if found.memory else RuntimeError(found.reason)
                yield found

    def _crashing(self, preparation: Preparation, sources: Sequence[tuple[int, Source]]) -> Iterator[int]:
        """Finds the images that end a process that does nothing but prepare them."""
        ray = _ray()
        read = ray.remote(num_cpus=1, max_retries=0)(_prepare)
        seconds = self._image_seconds
        shared = ray.put(preparation)
        readings = {index: read.remote(shared, _absolute(source), seconds) for index, source in sources}
        for index, reading in readings.items():
            try:
                ray.get(reading)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                yield index


class ActorError(Exception):
    """An error in an actor that is no fault of an image; it travels to the driver in the place of rows.

    Attributes:
        reason: In words.
        memory: Whether not even one image fits into memory.
    """

    def __init__(self, reason: str, memory: bool = False) -> None:
        super().__init__(reason, memory)
        self.reason = reason
        self.memory = memory


class PreparingActor:
    """Turns sources into prepared images, both pickled."""

    def __init__(self, preparation: Preparation, image_seconds: float | None = None) -> None:
        self.preparation = preparation
        self.image_seconds = image_seconds

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        indices, sources = zip(*_unpickled(table), strict=True)
        self.preparation.sources = sources
        try:
            return _pickled(self._prepared(i)._replace(index=index) for i, index in enumerate(indices))
        except Exception as error:
            return _pickled([_actor_error(error)])

    def _prepared(self, i: int) -> Prepared:
        set_alarm(self.image_seconds)
        try:
            return self.preparation[i]
        finally:
            set_alarm(None)


class ScoringActor:
    """Turns prepared images into pairs of index and row, both pickled."""

    def __init__(
        self,
        pretrained: str,
        device: str,
        dtype: str,
        wanted: Wanted,
        batch_size: int | None,
        identity: str,
        compiled: bool = False,
    ) -> None:
        self.pretrained = pretrained
        self.device = device
        self.dtype = dtype
        self.wanted = wanted
        self.batch_size = batch_size
        self.identity = identity
        self.compiled = compiled
        self.scorer: Scorer | None = None

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        try:
            # Not in the constructor, which Ray would try again and again.
            if self.scorer is None:
                self.scorer = self._load()
            return _pickled(self._score(_unpickled(table)))
        except Exception as error:
            return _pickled([_actor_error(error)])

    def _load(self) -> Scorer:
        assessment = Assessment(self.pretrained, device=self.device, dtype=self.dtype, compile=self.compiled)
        if short_identity(assessment) != self.identity:
            raise ValueError(
                f"{self.pretrained} holds other weights, another declaration or another processor on {platform.node()} "
                "than on the machine of the command"
            )
        return Scorer(assessment, self.wanted, self.batch_size)

    def _score(self, images: Iterable[Prepared | ActorError]) -> Iterator[tuple[int, dict[str, Any]]]:
        good, stamps = [], {}
        for image in images:
            if isinstance(image, ActorError):
                raise image
            stamps[image.index] = {} if image.stamp is None else {STAMP: image.stamp}
            if image.inputs is None:
                yield image.index, {"error": image.fault} | stamps[image.index]
            else:
                good.append(image)
        for index, row in self.scorer.score(by_shape(good, lambda: self.scorer.batch.size)):
            yield index, row | stamps[index]


def _actor_error(error: Exception) -> ActorError:
    if isinstance(error, ActorError):
        return error
    return ActorError(f"{type(error).__name__}: {error}", isinstance(error, OutOfMemory))


def _pickled(objects: Iterable[Any]) -> pyarrow.Table:
    import pyarrow

    return pyarrow.table({"data": pyarrow.array([pickle.dumps(one) for one in objects], pyarrow.large_binary())})


def _unpickled(table: pyarrow.Table) -> Iterator[Any]:
    return (pickle.loads(data) for data in table["data"].to_pylist())


def _absolute(source: Source) -> Source:
    """Makes the path absolute, since actors have another working directory."""
    return source if is_url(source.path) else source._replace(path=os.path.abspath(source.path))


def _prepare(preparation: Preparation, source: Source, image_seconds: float | None) -> None:
    preparation.sources = [source]
    set_alarm(image_seconds)
    preparation[0]
    set_alarm(None)


def _version() -> str:
    return roc.__version__


def _ray() -> Any:
    # Set before Ray is imported: it sends no usage statistics and prints nothing about its internals, unless asked to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"--engine ray needs Ray Data: pip install 'roc-mllm[ray]' ({error})") from error
    return ray
