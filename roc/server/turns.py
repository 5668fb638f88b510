"""Fairness between clients, and between the requests of one client: who is next, and how much one may hold.

A client is the key it showed, or its address. Everything here counts twice, first by client and then by request, so a
client with many requests gets as much as a client with one.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

PART = 3
"""A client may hold this many times what is left for all others: alone three quarters of everything."""


class Whose(NamedTuple):
    """Who asks.

    Attributes:
        client: Its key or address.
        request: The request, which may be any object of its own.
    """

    client: Hashable = None
    request: Hashable = None


NOBODY = Whose()


class Turns(Generic[Item]):
    """A queue between threads: next is the client that holds the fewest items, and among its requests likewise.

    An item is held from `take` until `give_back`; among equals each gets its turn.

    Args:
        most: How many items may be taken and not yet given back.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._changed = threading.Condition()
        self._closed = False
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, dict[Hashable, deque[tuple[Whose, Item]]]] = {}

    def __len__(self) -> int:
        with self._changed:
            return sum(len(items) for requests in self._waiting.values() for items in requests.values())

    @property
    def held(self) -> int:
        """Number of items that were taken and not yet given back."""
        with self._changed:
            return sum(count for whose, count in self._held.items() if isinstance(whose, Whose))

    def put(self, whose: Whose, item: Item) -> None:
        """Adds an item."""
        with self._changed:
            requests = self._waiting.setdefault(whose.client, {})
            requests.setdefault(whose, deque()).append((whose, item))
            self._changed.notify()

    def take(self) -> tuple[Whose, Item] | None:
        """Waits for the next item; returns None once the queue is closed."""
        with self._changed:
            while not self._closed and not (self._waiting and self._free > 0):
                self._changed.wait()
            return None if self._closed else self._next()

    def take_now(self) -> tuple[Whose, Item] | None:
        """Returns the next item if there is one; places do not matter."""
        with self._changed:
            return self._next() if self._waiting else None

    def comes_first(self, whose: Whose) -> bool:
        """Tells whether an item is waiting that comes before anything of this request."""
        with self._changed:
            if not self._waiting or self._free <= 0:
                return False
            client = self._fewest(self._waiting)
            if client != whose.client:
                return self._held[client] < self._held[whose.client]
            return self._held[self._fewest(self._waiting[client])] < self._held[whose]

    def set_free(self, count: int) -> None:
        """Adds places, or takes some away; who holds how many stays as it is."""
        with self._changed:
            self._free += count
            self._changed.notify_all()

    def give_back(self, whose: Whose) -> None:
        """Ends the holding of an item."""
        with self._changed:
            for one in (whose.client, whose):
                self._held[one] -= 1
                if self._held[one] <= 0:
                    del self._held[one]
            self._free += 1
            self._changed.notify()

    def close(self) -> None:
        """Wakes up everybody who waits in `take`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fewest(self, waiting: Iterable[Hashable]) -> Hashable:
        return min(waiting, key=self._held.__getitem__)

    def _next(self) -> tuple[Whose, Item]:
        client = self._fewest(self._waiting)
        requests = self._waiting.pop(client)
        request = self._fewest(requests)
        items = requests.pop(request)
        whose, item = items.popleft()
        # What is left goes to the end, behind its equals.
        if items:
            requests[request] = items
        if requests:
            self._waiting[client] = requests
        self._held[whose.client] += 1
        self._held[whose] += 1
        self._free -= 1
        return whose, item


def in_turn(items: Iterable[Item], whose: Callable[[Item], Whose]) -> list[Item]:
    """Orders items so that each client has one, then each a second one, and so on; likewise its requests.

    Args:
        items: The items, oldest first.
        whose: Gives the owner of an item.
    """
    of_request: Counter[Whose] = Counter()
    of_client: dict[Hashable, list[tuple[int, int, Item]]] = {}
    for age, item in enumerate(items):
        owner = whose(item)
        of_client.setdefault(owner.client, []).append((of_request[owner], age, item))
        of_request[owner] += 1
    ordered = [
        (rank, age, item)
        for mine in of_client.values()
        for rank, (_, age, item) in enumerate(sorted(mine, key=lambda one: one[:2]))
    ]
    return [item for _, _, item in sorted(ordered, key=lambda one: one[:2])]


class Shares:
    """A quantity that clients hold parts of; none may hold so much that nothing is left for the others.

    A client that holds nothing gets what is free. One that holds something may have at most `PART` times what is left.

    Args:
        most: All there is.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = 0
        self._held: Counter[Hashable] = Counter()

    def fits(self, client: Hashable, count: int) -> bool:
        """Tells whether a client may have so much more."""
        left, own = self.most - self.total, self._held[client]
        return count <= left and (own == 0 or own + count <= PART * left)

    def add(self, client: Hashable, count: int) -> None:
        """Counts what a client takes, or gives back if it is negative."""
        self.total += count
        self._held[client] += count
        if self._held[client] <= 0:
            del self._held[client]
