"""Editors: whoever changes pictures, behind one small interface.

    class Editor(Protocol):
        name: str
        at_once: int
        def edit(self, picture: Image.Image, order: Order) -> Edited: ...
        def close(self) -> None: ...

The embedded one needs no model and knows how much better or worse it made a picture.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from roc.data.records import hash_fraction
from roc.relative.operations import OPERATIONS


@dataclass(frozen=True)
class Order:
    """What an editor is asked to do.

    Attributes:
        instruction: One sentence.
        category: Kind of edit, by which results are grouped.
        seed: Chooses among what the editor could do; the same order gives the same picture.
        strength: For the embedded editor: how much, -1..1.
        level: For the embedded editor: how much of the same was done to the picture before.
    """

    instruction: str
    category: str
    seed: int
    strength: float | None = None
    level: float = 0.0


@dataclass(frozen=True)
class Edited:
    """What came of an order.

    Attributes:
        picture: The edited picture, RGB.
        known: How much better it is, in points of a scale of 0..10, where the editor knows; else None.
    """

    picture: Image.Image
    known: float | None = None


class EditError(RuntimeError):
    """One order that could not be carried out; others may still be."""


class Editor(Protocol):
    """Whoever carries out orders.

    Attributes:
        name: What it is, in records and in the journal.
        at_once: Orders that it takes at the same time, each from a thread of its own.
    """

    name: str
    at_once: int

    def edit(self, picture: Image.Image, order: Order) -> Edited:
        """Carries out an order.

        Args:
            picture: RGB; it is not changed.
            order: What to do.

        Raises:
            EditError: This order gave no picture.
            ValueError: No order will: a wrong key, an unknown model.
        """

    def close(self) -> None:
        """Gives back the memory that editing took, before judges are loaded."""


class Embedded:
    """The `Editor` that needs no model: the operations of `roc.relative.operations`.

    Args:
        at_once: Pictures at the same time.
    """

    name = "embedded"

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once

    def close(self) -> None:
        """Does nothing; see `Editor.close`."""

    def edit(self, picture: Image.Image, order: Order) -> Edited:
        """Carries out an order; see `Editor.edit`."""
        operation = OPERATIONS.get(order.category)
        if operation is None or order.strength is None:
            raise ValueError(
                f"the embedded editor cannot do {order.category!r} with strength {order.strength}; it knows "
                f"{', '.join(OPERATIONS)}, each with a strength"
            )
        known = operation.effect(picture, order.strength, order.level)
        return Edited(operation.apply(picture, order.strength, order.seed), known)


def embedded_order(category: str, strength: float, seed: int, level: float = 0.0) -> Order:
    """Words an order of the embedded editor."""
    operation = OPERATIONS[category]
    instruction = operation.more if strength > 0 else operation.less
    how = "A little: " if abs(strength) < 0.4 else "Strongly: " if abs(strength) > 0.75 else ""
    if how:
        instruction = how + instruction[0].lower() + instruction[1:]
    return Order(instruction, category, seed, strength, level)


def plan(
    name: str,
    count: int,
    *,
    categories: tuple[str, ...],
    strengths: tuple[float, float],
    damaged: float,
    seed: int,
) -> tuple[Order | None, list[Order]]:
    """Plans what the embedded editor does to one photo; the name and the seed decide all of it.

    Some photos are damaged before anything else, by an operation that has an inverse. One of their edits repairs that,
    so that there are edits that make a picture better, too.

    Args:
        name: The photo's id.
        count: Edits to plan; their categories differ until all were used.
        categories: Operations to choose from.
        strengths: Smallest and largest strength, in 0..1.
        damaged: Share of the photos that are damaged, 0..1.
        seed: Another one gives another plan.

    Returns:
        The damage, None for a photo that stays as it is, and the edits.
    """
    draw = random.Random(int(hash_fraction(name, f"plan {seed}") * 2**53))
    damage = None
    repairable = [category for category in categories if OPERATIONS[category].undone]
    if repairable and draw.random() < damaged:
        damage = embedded_order(draw.choice(repairable), _strength(draw, strengths, both=True), draw.getrandbits(31))
    orders: list[Order] = []
    if damage is not None and count:
        orders.append(embedded_order(damage.category, -damage.strength, draw.getrandbits(31), damage.strength))
    while len(orders) < count:
        used = {order.category for order in orders}
        left = [category for category in categories if category not in used]
        if not left:
            left = [category for category in categories if damage is None or category != damage.category]
        category = draw.choice(left or list(categories))
        level = damage.strength if damage is not None and damage.category == category else 0.0
        strength = _strength(draw, strengths, both=OPERATIONS[category].both_ways)
        orders.append(embedded_order(category, strength, draw.getrandbits(31), level))
    draw.shuffle(orders)
    return damage, orders


def _strength(draw: random.Random, strengths: tuple[float, float], *, both: bool) -> float:
    size = round(draw.uniform(*strengths), 3)
    return -size if both and draw.random() < 0.5 else size
