"""A model that reasons behind `/v1/describe`: one critique, or several whose scores are combined."""

import itertools

import pytest
from reasoning_models import GOOD_TEXT, Script, reasoning_model
from serving import files, photo, running

from roc.checkpoint.folder import save
from roc.model.reasoned import reasoned_answer
from roc.server.client import Client


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reasoning") / "thinker"
    model, processor, _ = reasoning_model()
    save(model, processor, folder)
    script = Script(model, processor, itertools.cycle([GOOD_TEXT, reasoned_answer("Hard light.")]))
    with pytest.MonkeyPatch.context() as patch, running(str(folder), max_new_tokens=24) as server:
        patch.setattr(type(model), "generate_with_scores", lambda self, **inputs: script(**inputs))
        yield server


def test_one_answer_has_its_critique(server):
    answer = server.http.post("/v1/describe", files=files(photo(0))).json()["results"][0]
    assert answer["variance"] is None and [one["kind"] for one in answer["answers"]] == ["good"]
    assert answer["text"].startswith("<think>") and "[SCORE]" in answer["answers"][0]["text"]
    assert answer["scores"]["overall"]["value"] == pytest.approx(answer["answers"][0]["prediction"])
    assert server.http.get("/v1/models").json()["data"][0]["reasons"] is True


def test_several_answers_are_combined(server):
    with Client(server.url) as client:
        answer = client.describe([photo(0), photo(1)], samples=4)
    for result in answer["results"]:
        values = [one["prediction"] for one in result["answers"]]
        assert len(values) == 4 and result["scores"]["overall"]["value"] == pytest.approx(sum(values) / 4)
        parts = result["variance"]
        assert result["scores"]["overall"]["std"] ** 2 == pytest.approx(parts["within"] + parts["between"])


@pytest.mark.parametrize("samples", ["0", "17", "two"])
def test_numbers_of_answers_that_cannot_be_are_refused(server, samples):
    answer = server.http.post("/v1/describe", files=files(photo(0)), data={"samples": samples})
    assert answer.status_code == 422 and "expected a whole number, 1 to 16" in answer.json()["error"]["message"]


def test_a_model_that_does_not_reason_gives_one(checkpoint):
    with running(checkpoint, max_new_tokens=8) as server:
        answer = server.http.post("/v1/describe", files=files(photo(0)), data={"samples": "2"})
    assert answer.status_code == 422 and "this model does not reason" in answer.json()["error"]["message"]
