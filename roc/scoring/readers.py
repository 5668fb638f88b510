"""Worker processes that read and prepare images ahead of the model, any of which may end at any moment.

Each worker has a pipe of its own and nothing in common with the others, no queue and no lock, so that its death leaves
nothing behind: what it had in hand is given to others again. The picture it was at is tried in a process that has
nothing else to do, and is blamed only where that ends too. A picture that takes too long ends its process by the alarm
that the process has set itself, whatever the decoder is doing.

On Linux, tensors travel in anonymous memory that belongs to no folder and is freed with its last holder; elsewhere as
bytes through the pipe.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from roc.scoring.prepare import Preparation, Prepared

CHUNK, CHUNKS_AHEAD = 8, 4
"""Images that travel together from a worker, and how many such chunks a worker is ahead."""

IN_MEMORY = hasattr(os, "memfd_create")
"""Whether tensors travel in anonymous memory."""

TRIES, MOST_TRIES = 3, 20
"""How often a picture is tried alone where its process is ended from outside (SIGKILL, SIGTERM) each time; up to the
second number while as many processes are ended that read other pictures, which says that somebody ends them all."""

STARTS = 10
"""How many workers in a row may end before they have prepared anything."""

_LOST = (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError)
"""What talking to a process raises that is gone, or was so in the middle of a word."""

_FAULTS = tuple(
    getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT") if hasattr(signal, name)
)


@dataclass
class _Task:
    """Images that are given to a worker together.

    Attributes:
        indices: Their places.
        tries: How many processes have ended at this picture, where it is tried alone; None for others.
        since: How many processes had ended in all when it was first tried alone.
    """

    indices: Sequence[int]
    tries: int | None = None
    since: int = 0


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    current: Any
    tasks: deque[_Task] = field(default_factory=deque)
    useful: bool = False


class Readers:
    """A pool of workers; a context manager that ends them.

    Args:
        dataset: Gives `Prepared` by index.
        workers: How many, at least 1.
        image_seconds: Longest time for one picture; None for no limit.
    """

    def __init__(self, dataset: Preparation, workers: int, image_seconds: float | None = None) -> None:
        self._dataset = dataset
        self._seconds = image_seconds
        self._context = multiprocessing.get_context()
        self._lost: deque[_Task] = deque()
        self._useless = self._ended = 0
        self._blamed: list[Prepared] = []
        self._workers: list[_Worker] = []
        self._count = workers

    def __enter__(self) -> Readers:
        # A tokenizer that has used threads before would warn in each forked worker.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._workers = [self._start() for _ in range(self._count)]
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()

    def read(self) -> Iterator[Prepared]:
        """Gives all images in order.

        Raises:
            RuntimeError: Workers end again and again before they have prepared anything.
        """
        total = len(self._dataset)
        window = self._count * CHUNK * CHUNKS_AHEAD
        done: dict[int, Prepared] = {}
        begun = following = 0
        while following < total:
            while begun < min(total, following + window) and (worker := self._free()) is not None:
                # Few images are shared out, so that no worker has them all.
                chunk = max(1, min(CHUNK, -(-total // self._count)))
                self._give(worker, _Task(range(begun, min(begun + chunk, total))))
                begun += chunk
            self._give_lost()
            for prepared in self._received():
                done[prepared.index] = prepared
            while following in done:
                yield done.pop(following)
                following += 1

    def _free(self) -> _Worker | None:
        """Finds the worker with the least to do; None where all have enough."""
        free = [
            worker
            for worker in self._workers
            if len(worker.tasks) < CHUNKS_AHEAD and not any(task.tries is not None for task in worker.tasks)
        ]
        return min(free, key=lambda worker: len(worker.tasks), default=None)

    def _give(self, worker: _Worker, task: _Task) -> None:
        worker.tasks.append(task)
        try:
            worker.pipe.send(list(task.indices))
        except _LOST:
            pass  # its end is noticed when its results are waited for

    def _give_lost(self) -> None:
        """Gives out again what workers had in hand that have ended; a picture to be tried alone gets a worker alone."""
        for _ in range(len(self._lost)):
            task = self._lost.popleft()
            if task.tries is not None:
                worker = next((worker for worker in self._workers if not worker.tasks), None)
            else:
                worker = self._free()
            if worker is None:
                self._lost.append(task)
            else:
                self._give(worker, task)

    def _received(self) -> Iterator[Prepared]:
        """Waits for results; notices the workers that have ended."""
        ready = wait([worker.pipe for worker in self._workers if worker.tasks])
        for place, worker in enumerate(self._workers):
            if worker.pipe not in ready:
                continue
            try:
                found = _receive(worker.pipe)
            except _LOST:
                self._workers[place] = self._replaced(worker)
                continue
            task = worker.tasks.popleft()
            worker.useful, self._useless = True, 0
            if isinstance(found, Exception):
                raise found
            yield from (prepared._replace(index=index) for prepared, index in zip(found, task.indices, strict=True))
        yield from self._blamed
        self._blamed = []

    def _replaced(self, worker: _Worker) -> _Worker:
        """Starts a worker in the place of one that has ended, and sees to what that had in hand."""
        worker.process.kill()  # where only its pipe is broken
        worker.process.join()
        worker.pipe.close()
        self._useless = 0 if worker.useful else self._useless + 1
        self._ended += 1
        at, status = worker.current.value - 1, worker.process.exitcode
        at_work = worker.tasks.popleft() if worker.tasks else None
        for task in worker.tasks:
            self._lost.append(task)
        if at_work is not None:
            if at in at_work.indices:
                self._useless = 0
                self._suspect(at, at_work, status)
            self._lost += [_Task([index], at_work.tries, at_work.since) for index in at_work.indices if index != at]
        if self._useless >= STARTS:
            raise RuntimeError(f"{STARTS} reader processes in a row ended at their start (exit status {status})")
        return self._start()

    def _suspect(self, index: int, task: _Task, status: int) -> None:
        """Tries a picture alone, or blames it for the end of a process that had nothing else to do."""
        from roc.scoring.prepare import Prepared

        alone = task.tries is not None
        tries, since = (task.tries + 1, task.since) if alone else (0, self._ended)
        others = self._ended - since - tries
        if hasattr(signal, "SIGALRM") and status == -signal.SIGALRM:
            fault = f"reading it took longer than {self._seconds:g} seconds (image_seconds)"
        elif alone and (-status in _FAULTS or status >= 0 or TRIES <= tries > others or tries >= MOST_TRIES):
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
            fault = f"reading it ended the process that read it ({how}), and again alone"
        else:
            self._lost.appendleft(_Task([index], tries, since))
            return
        self._blamed.append(Prepared(index, None, fault))

    def _start(self) -> _Worker:
        here, there = self._context.Pipe()
        current = self._context.RawValue("q", 0)
        process = self._context.Process(
            target=_work, args=(self._dataset, there, current, self._seconds, os.getpid()), daemon=True
        )
        with warnings.catch_warnings():
            # Workers do nothing but read and resize: forking beside threads harms none of that.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork")
            process.start()
        there.close()
        return _Worker(process, here, current)


def _work(dataset: Preparation, pipe: Connection, current: Any, seconds: float | None, parent: int) -> None:
    """Prepares what comes through the pipe until it is closed."""
    _end_with_parent(parent)
    torch.set_num_threads(1)  # the threads of the parent are not there
    try:
        while True:
            indices = pipe.recv()
            chunk: list[Any] = []
            try:
                for index in indices:
                    current.value = index + 1
                    set_alarm(seconds)
                    chunk.append(dataset[index])
                    set_alarm(None)
            except Exception as error:  # no fault of a picture
                set_alarm(None)
                current.value = 0
                pipe.send((_portable(error), None))
                continue
            _send(pipe, chunk)
            current.value = 0
    except (EOFError, OSError):
        os._exit(0)


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def set_alarm(seconds: float | None) -> None:
    """Has this process ended in so many seconds, in the midst of whatever it does; None calls that off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds or 0)


def _send(pipe: Connection, chunk: Sequence[Prepared]) -> None:
    """Sends prepared images: their tensors end to end in one piece of memory, and how to cut it."""
    good = [prepared.inputs for prepared in chunk if prepared.inputs is not None]
    layout, parts, end = [], [], 0
    for name in good[0] if good else ():
        tensors = [inputs[name] for inputs in good]
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        layout.append((name, flat.dtype, [tensor.shape for tensor in tensors], end, flat.numel()))
        parts.append(memoryview(flat.view(torch.uint8).numpy()))
        end += -(-len(parts[-1]) // 64) * 64
    memory = None
    if end and IN_MEMORY:
        memory = os.memfd_create("roc", os.MFD_CLOEXEC)
        os.ftruncate(memory, end)
    content = mmap.mmap(memory, end) if memory is not None else bytearray(end)
    for (_, _, _, start, _), part in zip(layout, parts, strict=True):
        content[start : start + len(part)] = part
    pipe.send(([prepared._replace(inputs=None) for prepared in chunk], layout))
    if memory is not None:
        from multiprocessing.reduction import send_handle

        send_handle(pipe, memory, os.getppid())
        content.close()
        os.close(memory)
    elif end:
        pipe.send_bytes(content)


def _receive(pipe: Connection) -> list[Prepared] | Exception:
    """Receives what `_send` sends."""
    chunk, layout = pipe.recv()
    if isinstance(chunk, Exception):
        return chunk
    columns = {}
    if layout:
        if IN_MEMORY:
            from multiprocessing.reduction import recv_handle

            memory = recv_handle(pipe)
            content: Any = mmap.mmap(memory, os.fstat(memory).st_size)
            os.close(memory)
        else:
            content = bytearray(pipe.recv_bytes())
        for name, dtype, shapes, start, count in layout:
            flat = torch.frombuffer(content, dtype=dtype, count=count, offset=start)
            parts = flat.split([shape.numel() for shape in shapes])
            columns[name] = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    found, row = [], 0
    for prepared in chunk:
        if prepared.fault is None:
            prepared = prepared._replace(inputs={name: column[row] for name, column in columns.items()})
            row += 1
        found.append(prepared)
    return found


def _end_with_parent(parent: int) -> None:
    """Makes a worker leave Ctrl-C to its parent, and end when the parent ends, even where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(0)
