"""The embedded editor does what it is told, and plans differ by photo and by seed, with repairs among the edits."""

import pytest
from PIL import Image

from roc.relative.editors import Embedded, Order, embedded_order, plan
from roc.relative.operations import OPERATIONS

ALL = tuple(OPERATIONS)


def planned(name, count=7, seed=0, damaged=0.5, categories=ALL):
    return plan(name, count, categories=categories, strengths=(0.2, 1.0), damaged=damaged, seed=seed)


def test_an_order_is_carried_out():
    picture = Image.effect_noise((60, 40), 60).convert("RGB")
    edited = Embedded().edit(picture, embedded_order("exposure", -0.5, seed=1))
    assert edited.known == -1.75 and edited.picture.size == (60, 40) and edited.picture != picture
    for order in (Order("Add a dog.", "objects", 0), Order("Darker.", "exposure", 0)):
        with pytest.raises(ValueError, match="it knows exposure, contrast"):
            Embedded().edit(picture, order)


def test_an_instruction_tells_what_and_how_much():
    told = [embedded_order("tilt", strength, 0).instruction for strength in (0.3, -0.5, -0.8)]
    assert told == [
        "A little: turn the photo clockwise.", "Turn the photo anticlockwise.",
        "Strongly: turn the photo anticlockwise.",
    ]  # fmt: skip


def test_a_plan_is_decided_by_name_and_seed():
    assert planned("a") == planned("a") and planned("a") != planned("b") and planned("a") != planned("a", seed=1)
    damage, orders = planned("a", damaged=0.0)
    assert damage is None and len({order.category for order in orders}) == 7
    assert all(0.2 <= abs(order.strength) <= 1 for order in orders)
    assert all(order.strength > 0 for order in orders if not OPERATIONS[order.category].both_ways)
    assert len(planned("a", 20)[1]) == 20 and planned("a", 0)[1] == []


def test_some_photos_are_damaged_and_repaired():
    plans = [planned(f"photo {number}") for number in range(200)]
    damaged = [(damage, orders) for damage, orders in plans if damage is not None]
    assert 70 < len(damaged) < 130
    for damage, orders in damaged:
        repair = [order for order in orders if order.category == damage.category and order.level == damage.strength]
        assert repair and any(order.strength == -damage.strength for order in repair)
        assert OPERATIONS[damage.category].undone
    assert planned("a", damaged=1.0, categories=("blur", "noise"))[0] is None  # nothing that could be undone


def test_few_categories_come_again():
    damage, orders = planned("a", 5, damaged=1.0, categories=("exposure",))
    assert [order.category for order in orders] == ["exposure"] * 5
    assert all(order.level == damage.strength for order in orders)
