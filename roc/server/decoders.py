"""The pool of processes that decode images: who is next, what is tried again, and what becomes of slow ones.

A picture is blamed only for what it does alone in a fresh process: end it twice, or keep it busy for too long. If a
process is killed from outside, another one takes its picture. A picture that is still being decoded after a second,
while others wait who have less, is set aside: its process goes on at a lower priority in one of as many further lanes,
and a new process takes its place. If those lanes are full too, it starts again when one of them is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from roc.server.children import Child, Starter
from roc.server.decoding import run
from roc.server.errors import Refusal, unavailable
from roc.server.turns import NOBODY, Turns, Whose

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds until a process that could not be started is tried again."""

STARTING_SECONDS = 120.0
STARTS = 5
"""How often a process that is killed while it starts is started, with pauses in between."""

FIRST_PAUSE = 0.1
"""First of these pauses in seconds; each further one is twice as long."""

CRASHES = 2
"""A picture that has crashed this many processes, the last one a fresh one that had nothing else to do, is blamed."""

KILLS = 10
"""After this many processes that were killed from outside while they had a picture, its request gets a 503."""

QUANTUM = 1.0
"""Seconds after which a picture is set aside if others wait."""

TICK = 0.1
"""Seconds between two looks at how long the pictures take."""

NICE = 5
"""Priority of a process that was set aside: it gets about a quarter of what another one gets."""


class Decoded(NamedTuple):
    """What became of one image.

    Attributes:
        length: Tokens of its prompt.
        inputs: Inputs of the model as safetensors; None if the image cannot be used.
        fault: Why it cannot be used.
        pixels: Width x height that was decoded or attempted; None if the process crashed.
    """

    length: int
    inputs: bytes | None
    fault: str | None = None
    pixels: int | None = 0


@dataclass(eq=False)
class _Job:
    mode: str
    files: Sequence[bytes]
    whose: Whose
    future: asyncio.Future[Decoded]
    given_back: bool = False


class _Nonsense(Exception):
    """What a process sent is no valid message."""


@dataclass(eq=False)
class _Lane:
    """A thread with its process and the image in its hands; `place` is None for one that was set aside."""

    place: int | None
    child: Child | None = None
    job: _Job | None = None
    began: float = 0.0
    taken_away: bool = False
    thread: threading.Thread = field(init=False)


class Decoders:
    """A pool of decoding processes, each with a thread here that talks to it.

    Args:
        arguments: Arguments of `run` after the connection.
        starter: Starts the processes.
        count: Number of processes; up to twice as many while some images are set aside.
        seconds: Time limit for one image.
        on_restart: Called when a process is replaced.
        most: Images that may be decoded, or decoded and still in use, at once.
    """

    def __init__(
        self,
        arguments: tuple[Any, ...],
        starter: Starter,
        count: int,
        seconds: float,
        on_restart: Callable[[], None] = lambda: None,
        most: int = 128,
    ) -> None:
        self.count = count
        self.turns: Turns[_Job] = Turns(most)
        self._arguments = arguments
        self._starter = starter
        self._seconds = seconds
        self._on_restart = on_restart
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        # Guards the lanes, their `job`, `place` and `taken_away`, and the images that wait for a lane of slow ones.
        self._lock = threading.Lock()
        self._lanes: list[_Lane] = []
        self._slow: deque[_Job] = deque()
        # Per place: None while its process is being started for the first time.
        self._up: list[bool | None] = [None] * count
        with self._lock:
            for place in range(count):
                self._open_lane(place)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    @property
    def ready(self) -> bool:
        """Whether a process is running or being started."""
        return any(up is not False for up in self._up)

    @contextlib.asynccontextmanager
    async def decode(self, mode: str, *files: bytes, whose: Whose = NOBODY) -> AsyncIterator[Decoded]:
        """Decodes and resizes an image and makes model inputs of it; its place is free again after the block.

        Args:
            mode: One of `roc.server.worker.MODES`.
            *files: Content of the image file; of two, to be compared, which take one place and twice the time.
            whose: Who asks.

        Raises:
            Refusal: 503 if no process can be started, or one after the other is killed.
        """
        if not self.ready:
            raise _no_reader()
        job = _Job(mode, files, whose, self._loop.create_future())
        self.turns.put(whose, job)
        try:
            yield await job.future
        finally:
            # Of a cancelled one the lane that has it, or will take it, finds out.
            if job.future.done() and not job.future.cancelled():
                self._give_back(job)

    async def close(self) -> None:
        """Ends all processes."""
        self._closing.set()
        self.turns.close()
        with self._lock:
            lanes = list(self._lanes)
            for lane in lanes:
                if lane.job is not None and lane.child is not None:
                    lane.child.kill()
        for thread in [self._watching, *(lane.thread for lane in lanes)]:
            await asyncio.to_thread(thread.join, 10)

    # --- lanes --------------------------------------------------------------------------------------------------------

    def _open_lane(self, place: int) -> None:
        lane = _Lane(place)
        lane.thread = threading.Thread(target=self._serve, args=(lane,), daemon=True)
        self._lanes.append(lane)
        lane.thread.start()

    def _serve(self, lane: _Lane) -> None:
        """Runs in a thread: feeds one process. Images are refused only while no process at all can be started."""
        while not self._closing.is_set():
            if lane.place is not None and lane.child is None and not self._start(lane):
                self._refuse_all_if_alone()
                self._closing.wait(PAUSE)
                continue
            job = self._next(lane)
            if job is None:
                break
            try:
                self._work(lane, job)
            except Exception:
                # Whatever it is, this thread has to go on, and somebody waits for an answer.
                logger.exception("An image could not be handed to a process that decodes images.")
                self._call(self._refuse, job, _no_reader())
                self._drop(lane)
            with self._lock:
                lane.job = None
        if lane.child is not None:
            lane.child.close(0.0 if lane.place is None else 2.0)

    def _next(self, lane: _Lane) -> _Job | None:
        """Waits for the next image of a lane; None if the lane is to end."""
        while True:
            if lane.place is not None:
                taken = self.turns.take()
                job = None if taken is None else taken[1]
            else:
                job = self._next_slow(lane)
            if job is None:
                return None
            with self._lock:
                lane.job, lane.taken_away, lane.began = job, False, time.monotonic()
            if not job.future.done():
                return job
            self._call(self._settle, job, None)
            with self._lock:
                lane.job = None

    def _next_slow(self, lane: _Lane) -> _Job | None:
        with self._lock:
            if not self._slow:
                self._lanes.remove(lane)
                return None
            # The client that has the fewest in the lanes of slow ones; among equals the oldest image.
            has = [other.job.whose.client for other in self._lanes if other.place is None and other.job is not None]
            job = min(self._slow, key=lambda one: has.count(one.whose.client))
            self._slow.remove(job)
            self.turns.set_free(-1)
            return job

    def _work(self, lane: _Lane, job: _Job) -> None:
        """Has an image decoded, by other processes if the first one ends."""
        crashes = kills = 0
        if lane.child is not None and not lane.child.alive:
            self._drop(lane)
        while lane.child is not None or self._start(lane):
            lane.began = time.monotonic()
            try:
                found = self._ask(lane.child, job)
            except TimeoutError:
                fault = f"decoding it takes longer than {self._limit(job):g} s; make it smaller"
                self._call(self._settle, job, Decoded(0, None, fault, None))
                self._drop(lane)
                return
            except (EOFError, OSError, _Nonsense) as error:
                if not isinstance(error, _Nonsense) and lane.child.was_killed():
                    kills += 1
                else:
                    crashes += 1
                self._drop(lane)
                with self._lock:
                    if lane.taken_away:
                        return
                if job.future.cancelled():
                    self._call(self._settle, job, None)
                elif crashes == CRASHES:
                    fault = "decoding it crashed the process that did it; the file may be damaged"
                    self._call(self._settle, job, Decoded(0, None, fault, None))
                elif kills == KILLS:
                    self._call(self._refuse, job, _lost())
                else:
                    continue
                return
            self._call(self._settle, job, found)
            return
        self._call(self._refuse, job, _no_reader())

    def _ask(self, child: Child, job: _Job) -> Decoded:
        """Returns what became of the image.

        Raises:
            TimeoutError: If it takes too long.
            EOFError: If the process ended; OSError too.
            _Nonsense: If what it sent is no valid message.
        """
        child.send({"mode": job.mode}, job.files)
        try:
            header, parts = child.receive(self._limit(job))
            pixels = max(0, int(header.get("pixels", 0)))
            if "fault" in header:
                return Decoded(0, None, str(header["fault"]), pixels)
            return Decoded(int(header["length"]), parts[0], None, pixels)
        except (EOFError, OSError):
            raise
        except Exception as error:
            raise _Nonsense from error

    def _limit(self, job: _Job) -> float:
        """Gives the seconds that decoding may take."""
        return self._seconds * len(job.files)

    def _drop(self, lane: _Lane) -> None:
        """Ends the process of a lane."""
        with contextlib.suppress(Exception):
            lane.child.kill()
            lane.child.close()
        lane.child = None
        self._call(self._on_restart)

    def _start(self, lane: _Lane) -> bool:
        """Starts a process for a lane and waits until it is ready; tells whether it is."""
        for attempt in range(1, STARTS + 1):
            child = None
            if self._closing.is_set():
                return False
            try:
                child = Child(run, self._arguments, self._starter)
                child.receive(STARTING_SECONDS)
            except Exception as error:
                # Not only OSError: the fork server may be gone (EOFError), or no thread be left (RuntimeError).
                killed = isinstance(error, EOFError | ConnectionError) and (child is None or child.was_killed())
                if child is not None:
                    with contextlib.suppress(Exception):
                        child.kill()
                        child.close()
                if killed and attempt < STARTS:
                    self._closing.wait(FIRST_PAUSE * 2 ** (attempt - 1))
                    continue
                logger.error("A process that decodes images could not be started: %r", error)
                break
            lane.child = child
            if lane.place is None:
                _lower_priority(child)
            self._tell(lane, True)
            return True
        self._tell(lane, False)
        return False

    def _tell(self, lane: _Lane, up: bool) -> None:
        with self._lock:
            if lane.place is not None:
                self._up[lane.place] = up

    def _refuse_all_if_alone(self) -> None:
        while not self.ready:
            taken = self.turns.take_now()
            if taken is None:
                return
            self._call(self._refuse, taken[1], _no_reader())

    # --- slow images --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Runs in a thread: ends work that nobody waits for, and sets slow images aside if others wait."""
        while not self._closing.wait(TICK):
            with self._lock:
                now = time.monotonic()
                for lane in self._lanes:
                    # The second is a process that does not even take its image.
                    if lane.job is not None and (
                        lane.job.future.cancelled() or now - lane.began > self._limit(lane.job) + QUANTUM
                    ):
                        self._kill(lane)
                fast = [lane for lane in self._lanes if lane.place is not None]
                busy = [lane for lane in fast if lane.job is not None and not lane.taken_away]
                late = [
                    lane
                    for lane in busy
                    if now - lane.began > QUANTUM and self.turns.comes_first(lane.job.whose) and lane.child is not None
                ]
                # One at a time, and only if no lane is about to take the next image anyway.
                if late and len(busy) == len(fast):
                    self._set_aside(min(late, key=lambda lane: lane.began))

    def _set_aside(self, lane: _Lane) -> None:
        place = lane.place
        if sum(other.place is None for other in self._lanes) < self.count:
            lane.place = None
            _lower_priority(lane.child)
            self._open_lane(place)
            return
        lane.taken_away = True
        self._slow.append(lane.job)
        self.turns.set_free(1)
        self._kill(lane)

    def _kill(self, lane: _Lane) -> None:
        with contextlib.suppress(Exception):
            lane.child.kill()

    # --- answers ------------------------------------------------------------------------------------------------------

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            logger.debug("the event loop was closed before the image was decoded")

    def _give_back(self, job: _Job) -> None:
        if not job.given_back:
            job.given_back = True
            self.turns.give_back(job.whose)

    def _settle(self, job: _Job, found: Decoded | None) -> None:
        if job.future.cancelled():
            self._give_back(job)
        elif not job.future.done():
            job.future.set_result(found)

    def _refuse(self, job: _Job, refusal: Refusal) -> None:
        if job.future.cancelled():
            self._give_back(job)
        elif not job.future.done():
            job.future.set_exception(refusal)


def _lower_priority(child: Child) -> None:
    with contextlib.suppress(OSError, AttributeError):  # AttributeError: there is no such thing on Windows
        if child.pid is not None:
            os.setpriority(os.PRIO_PROCESS, child.pid, NICE)


def _no_reader() -> Refusal:
    return unavailable("no process that decodes images could be started", code="no_reader", retry_after=5)


def _lost() -> Refusal:
    message = f"{KILLS} processes were killed from outside, one after the other, while they decoded this image"
    return unavailable(message, code="reader_lost", retry_after=5)
