"""Which score is bad, fair or good, and which photos are written about."""

import pytest

from roc.data.records import Record
from roc.reasoning.tiers import Photo, allowed_tiers, queues, tier_of
from roc.score_space import ScoreSpace


def photos(*scores):
    space = ScoreSpace(0, 1)
    return [Photo.of(Record(str(n), (f"{n}.png",), {"overall": score}), space) for n, score in enumerate(scores)]


def test_borders_are_half_open(vectors):
    entry = vectors["aes.tier"]
    assert [tier_of(unit) for unit in entry["inputs"]["u"]] == entry["expected"]


def test_a_score_on_a_border_is_not_lost_to_rounding():
    space = ScoreSpace(1, 10)
    assert space.to_unit(4.6) < 0.4 and tier_of(space.to_unit(4.6)) == "fair"


def test_the_tier_beyond_a_near_border_is_no_contradiction():
    assert allowed_tiers(0.38) == {"bad", "fair"} == allowed_tiers(0.42)
    assert allowed_tiers(0.36) == {"bad"} and allowed_tiers(0.55) == {"fair"} and allowed_tiers(1.0) == {"good"}


def test_each_tier_has_a_queue_the_shortest_first_in_an_order_of_their_own():
    given = photos(0.1, 0.2, 0.3, 0.5, 0.6, 0.8)
    found = queues(given, balance="equal", seed=0)
    assert [(tier, len(queue)) for tier, queue in found.items()] == [("good", 1), ("fair", 2), ("bad", 3)]
    assert queues(given[::-1], balance="equal", seed=0) == found
    orders = {tuple(photo.id for photo in queues(given, balance="none", seed=seed)["all"]) for seed in range(5)}
    assert len(orders) > 1


def test_an_empty_tier_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match="no photo is bad .bad 0, fair 1, good 1.*--min_score.*--balance none"):
        queues(photos(0.5, 0.9), balance="equal", seed=0)
    with pytest.raises(ValueError, match="no photo to write about"):
        queues([], balance="none", seed=0)
