"""Bodies of answers in cases that a real model rarely produces."""

import pytest
from serving import httpx  # noqa: F401  (skips where the server's libraries are missing)

from roc.server.answers import put_ranks, put_rewards, put_scores_and_texts
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
        **{"name": "a", "scores": {"overall": None}, "error": None, "text": "Fine."}
    }
    assert put_rewards(facts, order, found)["rewards"] == [None, 1.0]
    with pytest.raises(Refusal, match="no score for overall"):
        put_ranks(facts, order, found)
