"""Bodies of answers in cases that a real model rarely produces."""

import pytest
from serving import httpx  # noqa: F401  (skips where the server's libraries are missing)

from roc.model.declaration import Declaration
from roc.model.scales import DataScale
from roc.score_space import ScoreSpace
from roc.server.answers import (
    check_scale,
    combine,
    model_data,
    put_ranks,
    put_rewards,
    put_scores,
    put_scores_and_texts,
)
from roc.server.errors import Refusal
from roc.server.options import Limits
from roc.server.uploads import Order, Upload


def test_a_score_the_model_did_not_give():
    facts = {"id": "m", "min_score": 0.0, "max_score": 2.0, "levels": [0, 2], "attributes": ["overall"]}
    facts["calibrated"] = True
    order = Order([Upload("a", b""), Upload("b", b"")])
    found = [
        {"scores": {"overall": None}, "text": "Fine."},
        {"scores": {"overall": {"value": 2.0, "std": 0.0, "distribution": [0, 1]}}, "text": "Finer."},
    ]
    assert put_scores_and_texts(facts, order, found)["results"][0] == {
        **{"name": "a", "scores": {"overall": None}, "error": None, "text": "Fine."},
        **{"answers": None, "variance": None},
    }
    assert put_rewards(facts, order, found)["rewards"] == [None, 1.0]
    with pytest.raises(Refusal, match="no score for overall"):
        put_ranks(facts, order, found)
    both = [found[1], {**found[1], "text": "Finest."}]
    asked = Order(order.images, describe=True)
    assert [result["text"] for result in put_ranks(facts, asked, both)["results"]] == ["Finer.", "Finest."]
    assert "text" not in put_ranks(facts, order, both)["results"][0]


def test_several_answers_are_combined_as_assessment_does():
    facts = {"min_score": 0.0, "max_score": 2.0, "levels": [0.0, 2.0], "attributes": ["overall"], "calibrated": True}

    def row(value, shares, kind="good"):
        std = (shares[0] * shares[1]) ** 0.5 * 2
        score = None if value is None else {"value": value, "std": std, "distribution": shares}
        return {"scores": {"overall": score}, "text": kind, "answers": [{"kind": kind}]}

    bad = row(None, (1.0, 0.0), "cut")
    found = combine(facts, [bad, row(0.4, (0.8, 0.2)), row(1.2, (0.4, 0.6))])
    assert found["scores"]["overall"]["value"] == pytest.approx(0.8)
    assert found["scores"]["overall"]["distribution"] == pytest.approx([0.6, 0.4])
    assert found["variance"] == {"within": pytest.approx(0.8), "between": pytest.approx(0.16)}
    assert found["text"] == "good" and [answer["kind"] for answer in found["answers"]] == ["cut", "good", "good"]
    none = combine(facts, [bad, bad])
    assert none["scores"] == {"overall": None} and none["variance"] is None and none["text"] == "cut"


def test_an_attribute_on_another_range_is_answered_on_that():
    facts = {"id": "m", "min_score": 0.0, "max_score": 2.0, "levels": [0, 1, 2], "attributes": ["overall", "delta"]}
    facts |= {"calibrated": True, "attribute_ranges": {"delta": [-10.0, 10.0]}}
    found = [
        {"scores": {name: {"value": value, "std": 1.0, "distribution": [0, 1]} for name in ("overall", "delta")}}
        for value in (0.0, 1.0)
    ]
    images = [Upload("a", b""), Upload("b", b"")]
    scores = put_scores_and_texts(facts, Order(images), found)
    assert (scores["min_score"], scores["attribute_ranges"]) == (0.0, {"delta": [-10.0, 10.0]})
    assert put_scores_and_texts(facts, Order(images, attributes=["overall"]), found)["attribute_ranges"] == {}
    ranks = put_ranks(facts, Order(images, attributes=["delta"]), found)
    assert (ranks["min_score"], ranks["max_score"], ranks["levels"]) == (-10.0, 10.0, [-10.0, 0.0, 10.0])
    assert put_rewards(facts, Order(images, attributes=["delta"]), found)["rewards"] == [0.5, 0.55]


def test_answers_offer_what_a_calibration_and_a_reference_say():
    facts = {"id": "m", "min_score": 1.0, "max_score": 5.0, "levels": [1, 5], "attributes": ["overall", "light"]}
    facts |= {"calibrated": True, "reasons": False, "comparison": None, "scorer": "m@0 roc/1"}
    facts |= {"coverage": 0.9, "unit": "stars"}
    facts |= {"reference": {"name": "travel", "photos": 40, "attributes": ["overall"]}}
    compared = {"low": 2.0, "high": 4.0, "percentile": 75.0, "reward": 0.8}
    score = {"value": 3.0, "std": 1.0, "distribution": [0.5, 0.5]}
    found = [{"scores": {"overall": score | compared, "light": score}, "text": None}]
    order = Order([Upload("a", b"")])
    body = put_scores_and_texts(facts, order, found)
    assert (body["scorer"], body["coverage"], body["unit"], body["reference"]["photos"]) == (
        "m@0 roc/1",
        0.9,
        "stars",
        40,
    )
    assert body["results"][0]["scores"] == {
        "overall": {"value": 3.0, "std": 1.0, **compared}, "light": {"value": 3.0, "std": 1.0}
    }  # fmt: skip
    assert model_data(facts, Limits())["scorer"] == "m@0 roc/1"
    for scale, reward in (("percentile", 75.0), ("reference", 0.8), ("unit", 0.5), ("native", 3.0)):
        asked = Order(order.images, scale=scale)
        check_scale(asked, facts)
        rewards = put_rewards(facts, asked, found)
        assert (rewards["rewards"], rewards["scorer"]) == ([reward], "m@0 roc/1")
    check_scale(Order(order.images, attributes=["light"]), facts)
    with pytest.raises(Refusal, match="no reference for light") as caught:
        check_scale(Order(order.images, attributes=["light"], scale="percentile"), facts)
    assert (caught.value.status, caught.value.code) == (422, "no_reference")


def test_answers_on_the_scale_of_a_data_set():
    """The link goes from 0 over 20 at the middle to 100; order and chances to win stay those of the shared score."""
    scales = (DataScale("A", (1, 3)), DataScale("KonIQ", (0, 100), {"overall": (0.0, 20.0, 100.0)}))
    declared = Declaration(space=ScoreSpace(1, 3, num_levels=3), token_id=5, scales=scales)
    facts = {"id": "m", "min_score": 1.0, "max_score": 3.0, "levels": [1, 2, 3], "attributes": ["overall"]}
    facts |= {"calibrated": True, "coverage": 0.9, "declaration": declared.to_dict()}
    found = [
        {"scores": {"overall": {"value": value, "std": 0.5, "distribution": shares, "low": 1.0, "high": 3.0}}}
        for value, shares in ((1.5, [0.5, 0.5, 0.0]), (2.5, [0.0, 0.5, 0.5]))
    ]
    order = Order([Upload("a", b""), Upload("b", b"")], data_set="KonIQ", distribution=True)
    scores = put_scores(facts, order, found)
    assert (scores["min_score"], scores["max_score"], scores["levels"]) == (0.0, 100.0, [0.0, 50.0, 100.0])
    assert scores["scale"] == "KonIQ" and scores["attribute_ranges"] == {} and "coverage" not in scores
    first, second = (result["scores"]["overall"] for result in scores["results"])
    assert (first["value"], second["value"]) == (pytest.approx(10.0), pytest.approx(60.0)) and "low" not in first
    assert first["distribution"] == pytest.approx([0.8, 0.2, 0.0])
    ranks, plain = put_ranks(facts, order, found), put_ranks(facts, Order(order.images), found)
    assert ranks["max_score"] == 100.0 and ranks["results"][1]["scores"]["overall"]["value"] == pytest.approx(60.0)
    assert ranks["win_probability"] == plain["win_probability"] and "scale" not in plain
    rewards = put_rewards(facts, Order(order.images, scale="native", data_set="KonIQ"), found)
    assert rewards["rewards"] == [pytest.approx(10.0), pytest.approx(60.0)]
    assert (rewards["scale"], rewards["range"]) == ("KonIQ", [0.0, 100.0])
    with pytest.raises(Refusal, match="has no scale 'AVA'; it has A, KonIQ"):
        check_scale(Order(order.images, data_set="AVA"), facts)
