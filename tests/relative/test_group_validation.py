"""Validation on groups: which comparisons count, and that pictures without a readable answer lose theirs."""

import pytest

from roc.data.records import Record
from roc.relative.group_validation import compared, group_metrics, some_groups
from roc.score_space import ScoreSpace
from roc.scoring.results import Reasoned, Score


def group(name, *deltas):
    source = Record(f"{name}#0", (f"{name}.png",), group=name)
    edits = [Record(f"{name}#{i}", (f"{name}{i}.png",), group=name, edit={"delta": d}) for i, d in enumerate(deltas)]
    return [source, *edits]


def said(value):
    if value is None:
        return (Reasoned("cut", "", "cut", None),)
    return (Reasoned("t", "two words", "good", Score(value, 0.0, (1.0,), (value,), (0, 10), False)),)


def test_comparisons_are_those_whose_order_is_known():
    records = group("a", 1.0, 1.2, -1.0)
    # source against each edit, and the bad edit against both good ones: the good ones are too near each other
    assert compared([5.0, 6.0, 5.5, 4.0], records) == (5.0, 5)
    assert compared([5.0, 5.0, 5.5, 6.0], records) == (1.5, 5)
    assert compared([5.0, None, 5.5, 4.0], records) == (3.0, 5)


@pytest.mark.parametrize("name", ["red.concordance.a", "red.concordance.b"])
def test_concordance_reference(vectors, name):
    given = vectors[name]["inputs"]
    right, count = compared(given["pred"], group("a", *given["ref"][1:]))  # ref[0] is the source
    assert right / count == pytest.approx(vectors[name]["expected"], abs=vectors[name]["tol"])


def test_groups_are_taken_whole():
    records = [*group("a", 1.0), *group("b", 1.0, 2.0), Record("lone", ("l.png",), group="c"), Record("x", ("x.png",))]
    assert {record.group for record in some_groups(records, 100)} == {"a", "b"}
    assert len({record.group for record in some_groups(records, 1)}) == 1


def test_metrics_tell_form_and_spread():
    found = group_metrics(group("a", 1.0, -1.0), [said(4.0), said(6.0), said(None)], ScoreSpace(0, 10))
    assert found["pair_accuracy"] == 1 / 3 and found["compared"] == 3 and found["n"] == 3
    assert round(found["readable"], 3) == 0.667 and found["wrong/cut"] == 1 and abs(found["spread"] - 0.1) < 1e-9
    unread = group_metrics(group("a", 1.0), [said(None), said(None)], ScoreSpace(0, 10))
    assert unread["pair_accuracy"] == 0 and "spread" not in unread  # no scores, not scores that are all the same
