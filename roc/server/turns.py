"""Fairness between requests: who gets the next free place."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator


class Turns:
    """A fixed number of places; a free one goes to the request that holds the fewest, among equals to each in turn.

    Args:
        places: How many can be taken at once.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._held: Counter[object] = Counter()
        self._waiting: dict[object, deque[asyncio.Future[None]]] = {}

    @contextlib.asynccontextmanager
    async def turn(self, whose: object) -> AsyncIterator[None]:
        """Waits for a place and holds it while the block runs.

        Args:
            whose: The request.
        """
        if self._free:
            self._free -= 1
            self._held[whose] += 1
        else:
            future = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(whose, deque()).append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._give_up(whose)
                raise
        try:
            yield
        finally:
            self._give_up(whose)

    def _give_up(self, whose: object) -> None:
        self._held[whose] -= 1
        if not self._held[whose]:
            del self._held[whose]
        while self._waiting:
            whose = min(self._waiting, key=self._held.__getitem__)
            own = self._waiting.pop(whose)
            future = own.popleft()
            if own:
                self._waiting[whose] = own  # at the end now, behind its equals
            if not future.done():
                self._held[whose] += 1
                future.set_result(None)
                return
        self._free += 1
