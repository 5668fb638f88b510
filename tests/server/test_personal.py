"""One's own taste over HTTP: features, questions, the ranking that follows the answers, and the head."""

import asyncio
import base64
import json
import re

import numpy as np
import pytest
from serving import files, photo, running, tiny_checkpoint

from roc import load
from roc.scoring.features import Feature
from roc.server.errors import Refusal
from roc.server.options import Limits
from roc.server.personal import PersonalRequest, personal_limits
from roc.server.personal import _features as received
from roc.server.uploads import read_json

COUNT = 24


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    checkpoint = tiny_checkpoint(tmp_path_factory.mktemp("personal") / "llava")
    with running(checkpoint) as found:
        yield found


@pytest.fixture(scope="module")
def features(server):
    answer = server.http.post("/v1/features", files=files(*[photo(i) for i in range(COUNT)], b"", names=None))
    *results, broken = answer.json()["results"]
    assert answer.json()["attribute"] == "overall" and broken["error"]["code"] == "unreadable_image"
    return [one["feature"] for one in results]


def ask(server, features, **more):
    return server.http.post("/v1/personalize", json={"features": features, **more})


def test_answers_move_the_ranking_and_the_head_is_a_checkpoint(server, features, tmp_path):
    start = ask(server, features).json()
    assert start["scorer"] == server.http.get("/v1/models").json()["data"][0]["scorer"]
    assert start["personal"] == start["general"] and start["verdict"] is start["head"] is None
    scored = server.http.post("/v1/score", files=files(photo(0))).json()["results"][0]["scores"]["overall"]["value"]
    assert start["general"][0] == pytest.approx(scored, abs=1e-4)

    # Somebody who always prefers what the model does not.
    pairs, found = [], start
    for _ in range(6):
        found = ask(server, features, pairs=pairs, questions=4).json()
        for first, second, probability in found["questions"]:
            assert [first, second] not in [pair[:2] for pair in pairs] and 0 < probability < 1
            pairs.append([first, second, float(start["general"][second] < start["general"][first])])
    assert len(pairs) == 24 and found["personal"] != found["general"]

    checked = ask(server, features, pairs=pairs, check=True).json()
    assert checked["verdict"]["metric"] == "accuracy" and checked["verdict"]["general"] == 0
    assert checked["verdict"]["helps"] is (checked["head"] is not None)

    ratings = [-value for value in start["general"]]
    checked = ask(server, features, ratings=ratings, check=True).json()
    assert checked["verdict"]["helps"]
    head = tmp_path / "mine.json"
    head.write_text(json.dumps(checked["head"]))
    model, _ = load(head)
    assert model.declaration.personal.photos == COUNT
    with running(str(head)) as personal:
        assert personal.http.get("/v1/models").json()["data"][0]["id"] == "mine.json"
        told = personal.http.post("/v1/score", files=files(photo(0))).json()
        assert list(told["results"][0]["scores"]) == ["overall"]
        assert told["results"][0]["scores"]["overall"]["value"] == pytest.approx(checked["personal"][0], abs=1e-3)
        refused = ask(personal, features)
        assert refused.status_code == 422 and "can have no personal head" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"pairs": [[0, 99, 1]]}, "expected two photos of 0..23"),
        ({"pairs": [[0, 1, 0.3]]}, "and 0, 0.5 or 1"),
        ({"ratings": [1.0]}, "1 rating came for 24 photos"),
        ({"ratings": [None] * 24, "pairs": [[0, 1, 1]]}, "both ratings and pairs"),
        ({"ratings": [float(i) if i < 9 else None for i in range(24)], "check": True}, "at least 10"),
        ({"ratings": [3.0] * 24, "check": True}, "all ratings are the same"),
        ({"stars": 1}, "stars"),
    ],
)
def test_what_cannot_be_used(server, features, more, message):
    answer = ask(server, features, **more)
    assert answer.status_code == 422 and re.search(message, answer.json()["error"]["message"]), answer.text


def test_two_readings_of_a_photo_come_back_as_they_were_read():
    draw = np.random.default_rng(0)
    sent = [Feature(*(draw.normal(size=(2, size)).astype(np.float32) for size in (3, 4))) for _ in range(2)]
    facts = {"levels": [1, 2, 3], "readings": 2}
    found = received(facts, [one.packed() for one in sent], {})
    assert np.array_equal(found.logits[1], sent[1].logits) and np.array_equal(found.hidden[0], sent[0].hidden)
    odd = base64.b64encode(np.zeros(13, dtype="<f4").tobytes()).decode()
    with pytest.raises(Refusal, match="not what /v1/features gave"):
        received(facts, [odd], {})


def test_features_that_did_not_come_from_here(server, features):
    for odd in ("AAAA", "no base64!", features[0][:40]):
        answer = ask(server, [*features[:3], odd])
        assert answer.status_code == 422 and "features.3 is not what" in answer.json()["error"]["message"]
    answer = ask(server, [features[0]] * 4)
    assert answer.status_code == 422 and "the same for all 4 photos" in answer.json()["error"]["message"]
    assert ask(server, features[:1]).status_code == 422
    assert server.http.post("/v1/personalize", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415


def test_features_of_a_wide_model_are_read_beyond_the_limit_of_images():
    text = base64.b64encode(bytes(20_000)).decode()

    async def body():
        yield json.dumps({"features": [text] * 100}).encode()

    limits = Limits(images=8, queue=8)
    asked, long = asyncio.run(read_json(PersonalRequest, body(), personal_limits(limits)))
    assert [long[one].data for one in asked.features] == [bytes(20_000)] * 100
    with pytest.raises(Refusal, match="more than 8"):
        asyncio.run(read_json(PersonalRequest, body(), limits))
