"""Bodies of answers in cases that a real model rarely produces."""

import pytest
from serving import httpx  # noqa: F401  (skips where the server's libraries are missing)

from roc.server.answers import combine, put_ranks, put_rewards, put_scores_and_texts
from roc.server.errors import Refusal
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
