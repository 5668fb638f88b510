"""Scales of data sets: reading a shared score on each, and back."""

import pytest

from roc.model.scales import DataScale, find_scale

# Knots at the shared scores 0, 0.5 and 1 of the unit scale.
LINKED = DataScale("KonIQ", (0, 100), {"overall": (-10.0, 20.0, 110.0)})


def test_a_link_is_a_line_in_pieces_that_ends_with_the_range():
    assert LINKED.move(0.25, "overall") == pytest.approx(5.0)
    assert LINKED.move(0.75, "overall") == pytest.approx(65.0)
    assert LINKED.move(0.0, "overall") == 0.0 and LINKED.move(1.0, "overall") == 100.0
    assert LINKED.move(0.3, "light") == pytest.approx(30.0)  # without a link, range onto range
    assert DataScale("AVA", (1, 10)).move(0.5, "overall") == pytest.approx(5.5)


def test_a_rating_is_found_again():
    for unit in (0.2, 0.5, 0.8):
        assert LINKED.unit_of(LINKED.move(unit, "overall"), "overall") == pytest.approx(unit)
    assert LINKED.unit_of(-20, "overall") == 0.0 and LINKED.unit_of(120, "overall") == 1.0


def test_it_is_read_back_from_json():
    assert DataScale.from_dict(LINKED.to_dict()) == LINKED
    assert DataScale("AVA", (1, 10)).to_dict() == {"name": "AVA", "range": [1.0, 10.0]}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"name": "", "range": [1, 2]}, "the name of a scale is ''"),
        ({"name": "A", "range": [2, 1]}, "expected rising numbers"),
        ({"name": "A", "range": [1, 2], "links": {"overall": [1, 1]}}, "a link of the scale A"),
        ({"name": "A", "range": [1, 2], "link": 3}, "a scale of config.roc cannot be used"),
    ],
)
def test_what_cannot_be_is_refused(values, told):
    with pytest.raises(ValueError, match=told):
        DataScale.from_dict(values)


def test_an_unknown_scale_names_the_others():
    with pytest.raises(ValueError, match="CK has no scale 'PARA'; it has AVA, KonIQ"):
        find_scale((DataScale("AVA", (1, 10)), LINKED), "PARA", "CK")
    with pytest.raises(ValueError, match="it was not trained with --mix, so leave scale out"):
        find_scale((), "PARA", "CK")
