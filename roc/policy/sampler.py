"""The order in which pictures are dealt: whole groups together, one data set at a time, the same after a resume.

The completions of one generation are rewarded together, so all pictures of a group have to be in it, and pictures of
one data set should be, since others are not compared with each other. A picture without a group is a group of one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import Sampler


@dataclass
class _Deal:
    """Places of one generation: how many are taken, and groups of which data set and size take them."""

    taken: int
    slots: list[tuple[Hashable, int]]


class GroupSampler(Sampler[int]):
    """Deals the rows of a data set in generations of N pictures, each K times in a row.

    Every epoch has the same number of generations and deals every picture at least once. Places that no whole group
    fits into are filled with pictures without a group, else with those of the same generation once more.

    Args:
        groups: (rows,) group of each row; None for a row by itself.
        datasets: (rows,) data set of each row.
        pictures: N, pictures in a generation.
        generations: K, completions of each picture.
        repeats: How often each generation is dealt, as TRL takes it: forward passes between two of them.
        seed: With the epoch it decides the order.
        epoch: Gives the epoch when an order begins; the trainer knows it, after a resume as well.

    Raises:
        ValueError: If a group is larger than a generation, or there are fewer rows than N.
    """

    def __init__(
        self,
        groups: Sequence[str | None],
        datasets: Sequence[str | None],
        *,
        pictures: int,
        generations: int,
        repeats: int,
        seed: int,
        epoch: Callable[[], int],
    ) -> None:
        self.pictures, self.generations, self.repeats = pictures, generations, repeats
        self.seed, self.epoch = seed, epoch
        members: dict[Hashable, list[int]] = {}
        for row, group in enumerate(groups):
            members.setdefault(("row", row) if group is None else ("group", group), []).append(row)
        self.units = list(members.values())
        self.kinds = [(datasets[unit[0]], len(unit)) for unit in self.units]
        self.singles = [unit[0] for unit in self.units if len(unit) == 1]
        largest = max(map(len, self.units), default=0)
        if largest > pictures or len(groups) < pictures:
            raise ValueError(
                f"a generation has {pictures} pictures, the largest group {largest} and the data {len(groups)}"
            )
        self.deals = self._plan()

    def _plan(self) -> list[_Deal]:
        """Divides the places of all generations among data sets and sizes, the same in every epoch."""
        deals: list[_Deal] = []
        for dataset in dict.fromkeys(dataset for dataset, _ in self.kinds):
            own: list[_Deal] = []
            for size in sorted((size for other, size in self.kinds if other == dataset), reverse=True):
                fitting = next((deal for deal in own if deal.taken + size <= self.pictures), None)
                if fitting is None:
                    own.append(fitting := _Deal(0, []))
                fitting.taken += size
                fitting.slots.append((dataset, size))
            deals += own
        whole = [deal for deal in deals if deal.taken == self.pictures]
        # What is left of the data sets is put together where it fits.
        for rest in sorted((deal for deal in deals if deal.taken < self.pictures), key=lambda deal: -deal.taken):
            fitting = next((deal for deal in whole if deal.taken + rest.taken <= self.pictures), None)
            if fitting is None:
                whole.append(rest)
            else:
                fitting.taken += rest.taken
                fitting.slots += rest.slots
        return whole

    def __len__(self) -> int:
        return len(self.deals) * self.pictures * self.generations * self.repeats

    def __iter__(self) -> Iterator[int]:
        for chunk in self.chunks(self.epoch()):
            for _ in range(self.repeats):
                for row in chunk:
                    yield from [row] * self.generations

    def chunks(self, epoch: int) -> list[list[int]]:
        """Gives the rows of each generation of an epoch, N in each."""
        order = random.Random(f"{self.seed}:{epoch}")
        waiting: dict[Hashable, list[list[int]]] = {}
        units = list(zip(self.kinds, self.units, strict=True))
        order.shuffle(units)
        for kind, unit in units:
            waiting.setdefault(kind, []).append(unit)
        chunks = []
        for deal in self.deals:
            rows = [row for slot in deal.slots for row in waiting[slot].pop()]
            chunks.append(rows + self._filling(rows, order))
        order.shuffle(chunks)
        return chunks

    def _filling(self, rows: list[int], order: random.Random) -> list[int]:
        missing = self.pictures - len(rows)
        if not missing:
            return []
        taken = set(rows)
        spare = [row for row in self.singles if row not in taken]
        filling = order.sample(spare, min(missing, len(spare)))
        while len(filling) < missing:
            filling += order.sample(rows, min(missing - len(filling), len(rows)))
        return filling
