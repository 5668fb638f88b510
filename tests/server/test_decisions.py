"""`score` questions of decision clients, over a real socket: both forms, and what is not offered."""

import base64
import json

import pytest
from heads import picture
from serving import photo, running

from roc.server.decisions import confidence, spread_over

KEY = "0123456789abcdef"
LEVELS = ["poor", "fair", "good"]
DATA = base64.b64encode(photo(0)).decode()
URL = f"data:image/png;base64,{DATA}"
QUESTION = {"type": "score", "instructions": "How good is it?", "criteria": LEVELS}


@pytest.fixture(scope="module")
def server(checkpoint):
    with running(checkpoint, keys=[KEY], max_new_tokens=8) as server:
        server.http.headers["Authorization"] = f"Bearer {KEY}"
        yield server


def asked(**changed):
    return {
        "model": "jev-latest",
        "state": ["rate this", "pic"],
        "assets": {"pic": {"type": "image", "format": "png", "data_base64": DATA}},
        "questions": {"quality": QUESTION},
    } | changed


@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_the_expectation_stays_on_any_number_of_levels(count):
    shares = [0.05, 0.1, 0.0, 0.25, 0.1, 0.1, 0.2, 0.1, 0.05, 0.05]
    moved = spread_over(shares, count)
    mean = sum(i * p for i, p in enumerate(shares)) / 9
    assert sum(i * p for i, p in enumerate(moved)) / (count - 1) == pytest.approx(mean) and sum(moved) == pytest.approx(
        1
    )
    if count == 10:
        assert moved == pytest.approx(shares)


def test_confidence_is_the_documented_formula():
    assert confidence([0, 1, 0]) == 1 and confidence([0.1, 0.1, 0.8]) == pytest.approx(1 - 0.3 / (2 / 3))


@pytest.mark.parametrize("path", ["/v1/systemone", "/v1/decisions"])
def test_named_questions(server, assessment, path):
    other = QUESTION | {"x_attribute": "light", "criteria": [str(i) for i in range(10)]}
    got = server.http.post(path, json=asked(questions={"quality": QUESTION, "b": other}, seed=1)).json()
    scores = assessment.score(picture(0))[0].scores
    answer, light = got["answers"]["quality"], got["answers"]["b"]
    assert answer["legend"] == {"0": "poor", "1": "fair", "2": "good"} and got["model"] == "tiny"
    assert answer["x_score"] == pytest.approx(scores["overall"].value, abs=1e-4) and answer["x_range"] == [1, 10]
    assert answer["score"] == pytest.approx((scores["overall"].value - 1) / 9 * 2, abs=1e-4)
    assert list(light["probabilities"].values()) == pytest.approx(scores["light"].distribution, abs=1e-4)
    assert got["usage"]["input_tokens"] > 0 and got["usage"]["output_tokens"] == 0


def test_the_form_of_openai(server, assessment):
    content = [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": URL}]
    levels = [{"label": "bad"}, {"label": "good", "description": "very"}]
    body = {
        "model": "gpt-6-luna",
        "input": [{"role": "user", "content": content}],
        "questions": [{"type": "score", "name": "q", "instructions": "light", "levels": levels}],
    }
    (answer,) = server.http.post("/v1/decisions", json=body).json()["answers"]
    assert (answer["name"], answer["x_attribute"]) == ("q", "light")
    assert [p["label"] for p in answer["probabilities"]] == ["bad", "good"]
    assert answer["x_score"] == pytest.approx(assessment.score(picture(0))[0].scores["light"].value, abs=1e-4)


def test_large_images_as_data_urls_and_as_parts(server, assessment):
    large = photo(0, (200, 150))
    assert len(large) > 3 * 16384
    url = f"data:image/png;base64,{base64.b64encode(large).decode()}"
    part = {"type": "image_url", "image_url": {"url": url}}
    expected = assessment.score(picture(0, (200, 150)))[0].scores["overall"].value
    got = server.http.post("/v1/systemone", json=asked(state=[part], assets=None)).json()
    assert got["answers"]["quality"]["x_score"] == pytest.approx(expected, abs=1e-4)
    body = asked(assets={"pic": {"type": "image", "part": "asset-0"}})
    files = [("request", (None, json.dumps(body), "application/json")), ("asset-0", ("asset-0", large, "image/png"))]
    got = server.http.post("/v1/systemone", files=files).json()
    assert got["answers"]["quality"]["x_score"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"questions": {"q": {"type": "noul"}}},
            "questions.q.type: 'noul' came; this server answers `score` questions",
        ),
        ({"questions": {"q": QUESTION | {"criteria": ["one"]}}}, "1 level came; expected a list of 2 to 10"),
        ({"questions": {"q": QUESTION | {"criteria": {"0": "a", "1": "b"}}}}, "dict came; expected a list of 2 to 10"),
        ({"questions": {"q": QUESTION | {"criteria": ["a", None]}}}, "null came; expected a text"),
        ({"state": "no picture", "assets": None}, "no images came for it"),
        ({"state": "nothing"}, "put the name of its asset into `state`"),
        ({"state": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]}, "URLs are not fetched"),
        ({"questions": {"q": QUESTION | {"x_attribute": "colour"}}}, "this model scores overall, light"),
        ({"questions": {}}, "no question came; expected 1 to 64"),
        ({"questions": {f"{i}": QUESTION for i in range(65)}}, "65 questions came; expected 1 to 64"),
        (
            {"questions": {"q": QUESTION | {"criteria": ["a", "b" * 2001]}}},
            "2001 characters came; expected",
        ),
        ({"questions": {"q" * 257: QUESTION}}, "a name has more than 256 characters"),
    ],
)
def test_what_is_not_offered(server, changed, message):
    answer = server.http.post("/v1/systemone", json=asked(**changed))
    assert answer.status_code == 422 and message in answer.json()["error"]["message"], answer.text
    assert all(one["loc"][0] == "body" and one["msg"] and one["type"] for one in answer.json()["detail"])


def test_a_name_inside_another_and_an_asset_that_nobody_names(server):
    image = {"type": "image", "data_base64": DATA}
    both = {"pic": image, "pic 2": image}
    questions = {"a": QUESTION | {"instructions": "pic"}, "b": QUESTION | {"instructions": ["pic 2"]}}
    got = server.http.post("/v1/systemone", json=asked(state="", assets=both, questions=questions)).json()
    assert sorted(got["answers"]) == ["a", "b"]
    answer = server.http.post("/v1/systemone", json=asked(assets=both))
    assert "assets.pic 2: nothing names this asset" in answer.json()["error"]["message"]
    answer = server.http.post("/v1/systemone", json=asked(assets={str(i): image for i in range(65)}))
    assert answer.status_code == 413 and answer.json()["detail"]["error_type"] == "too_many_images"


def test_errors_beside_those_of_the_body(server):
    for route in ("score", "rank", "reward", "describe", "features", "personalize", "systemone"):
        answer = server.http.post(f"/v1/{route}", content=b"\x28\xb5", headers={"Content-Encoding": "zstd"})
        assert answer.status_code == 415 and "send the body uncompressed" in answer.json()["error"]["message"], route
    assert answer.status_code == 415 and answer.json()["detail"]["message"] == answer.json()["error"]["message"]
    nested = asked(state="@").__repr__().replace("'", '"').replace('"@"', "[" * 5000 + "]" * 5000)
    answer = server.http.post("/v1/systemone", content=nested, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body"], answer.text
    answer = server.http.post("/v1/decisions", json=asked(), headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401 and answer.json()["detail"]["error_type"] == "authentication_error"
