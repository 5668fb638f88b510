"""Pairs behind `/v1/rank`: neighbours are asked about at once, by models that were taught to, within the limits."""

import base64
import dataclasses
import itertools
import time
from unittest.mock import ANY

import pytest
from heads import SPACE, fill_head, picture
from reasoning_models import Script
from serving import files, photo, running
from tiny_models import BUILDERS

from roc.checkpoint.folder import save
from roc.model.attachment import attach
from roc.model.comparison import Comparison
from roc.model.declaration import declare
from roc.model.reasoned import reasoned_answer
from roc.scoring.assessment import Assessment
from roc.scoring.comparing import compare
from roc.server.client import Client

PHOTOS = [photo(i) for i in range(3)]


def comparing(folder, **more):
    model, processor = BUILDERS["llava"]()
    attach(model, processor, SPACE)
    fill_head(model)
    comparison = Comparison(question="What changes?", answer="The change is [SCORE].", **more)
    declare(model, dataclasses.replace(model.declaration, comparison=comparison))
    save(model, processor, folder)
    return model, processor, str(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    *_, folder = comparing(tmp_path_factory.mktemp("compares") / "plain")
    with running(folder) as server:
        yield server


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A model that gives reasons; its answers are scripted, every second one is cut."""
    model, processor, folder = comparing(tmp_path_factory.mktemp("compares") / "words", reasoning="Think.")
    script = Script(model, processor, itertools.cycle([reasoned_answer("It is brighter."), "<think>It is..."]))
    with pytest.MonkeyPatch.context() as patch, running(folder, max_new_tokens=24) as server:
        patch.setattr(type(model), "generate_with_scores", lambda self, **inputs: script(**inputs))
        server.script = script
        yield server


def test_neighbours_are_compared_as_the_library_does(plain):
    with Client(plain.url) as client:
        answer = client.rank(PHOTOS, compare=True)
        assert client.models()[0]["compares"] is True and "comparisons" not in client.rank(PHOTOS)
    order = answer["order"]
    assert [(one["better"], one["worse"]) for one in answer["comparisons"]] == list(itertools.pairwise(order))
    assessment = Assessment(plain.service.checkpoint, device="cpu", dtype="float32")
    pairs = [(picture(worse, (40, 30)), picture(better, (40, 30))) for better, worse in itertools.pairwise(order)]
    for found, known in zip(answer["comparisons"], compare(assessment, pairs), strict=True):
        assert found["change"] == pytest.approx(known.change.value, abs=1e-4)
        assert found["std"] == pytest.approx(known.change.std, abs=1e-4)
        assert found["distribution"] == pytest.approx(known.change.distribution, abs=1e-5)
        assert (found["why"], found["kind"], found["error"]) == (None, "good", None)
    assert answer["change_range"] == [-10, 10]
    images = [{"data": base64.b64encode(content).decode()} for content in PHOTOS]
    again = plain.http.post("/v1/rank", json={"images": images, "compare": True}).json()
    assert again["comparisons"] == [{**one, "change": pytest.approx(one["change"], abs=1e-4), "std": ANY,
                                     "distribution": ANY} for one in answer["comparisons"]]  # fmt: skip
    backwards = compare(assessment, [pairs[0][::-1]])[0].change.value
    assert backwards != pytest.approx(answer["comparisons"][0]["change"], abs=1e-4)  # the order is not lost on the way
    assert 'roc_pairs_total{outcome="compared"} 4.0' in plain.http.get("/metrics").text


def test_reasons_come_along_and_an_answer_that_cannot_be_read_gives_no_number(told):
    answer = told.http.post("/v1/rank", files=files(*PHOTOS), data={"compare": "true"}).json()
    first, second = sorted(answer["comparisons"], key=lambda one: one["kind"] != "good")
    assert first["why"] == "It is brighter." and -10 <= first["change"] <= 10
    assert (second["change"], second["std"], second["why"], second["kind"]) == (None, None, None, "cut")
    assert sum(call["rows"] for call in told.script.asked) == 2
    described = told.http.get("/openapi.json").json()["components"]["schemas"]
    assert set(answer["comparisons"][0]) == set(described["ComparisonResult"]["properties"])
    assert set(answer) <= set(described["RankAnswer"]["properties"])


@pytest.mark.slow
def test_a_pair_that_cannot_be_decoded_twice_has_its_error(plain, monkeypatch):
    from roc.scoring.pair_batches import PairPreparation
    from roc.scoring.prepare import Prepared

    monkeypatch.setattr(PairPreparation, "prepared", lambda self, pair, index=0: Prepared(index, None, "no more"))
    with running(plain.service.checkpoint) as server:
        answer = server.http.post("/v1/rank", files=files(*PHOTOS[:2]), data={"compare": "true"}).json()
    (one,) = answer["comparisons"]
    assert one["change"] is None and one["error"] == {"code": "unreadable_image", "message": "no more"}


def test_the_time_limit_is_for_scores_and_comparisons_together(told, monkeypatch):
    def slowly(self, **inputs):
        time.sleep(0.6)
        return told.script(**inputs)

    monkeypatch.setattr(type(told.script.model), "generate_with_scores", slowly)
    monkeypatch.setattr(told.service, "limits", dataclasses.replace(told.service.limits, timeout=0.5))
    answer = told.http.post("/v1/rank", files=files(*PHOTOS), data={"compare": "true"})
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "timeout"
    monkeypatch.undo()
    assert told.service._images.total == 0  # nothing is held any more
    assert told.http.post("/v1/rank", files=files(*PHOTOS)).status_code == 200


def test_a_model_that_does_not_compare_says_so(checkpoint):
    with running(checkpoint) as server, Client(server.url) as client:
        assert client.models()[0]["compares"] is False
        answer = server.http.post("/v1/rank", files=files(*PHOTOS), data={"compare": "true"})
        assert answer.status_code == 422 and answer.json()["error"]["code"] == "no_comparison"
        assert "roc relative train" in answer.json()["error"]["message"]
        for fields, told in (
            ({"compare": "yes"}, "expected true or false"),
            ({"compare": "true", "scale": "x"}, "compare came with scale"),
        ):
            odd = server.http.post("/v1/rank", files=files(*PHOTOS), data=fields)
            assert odd.status_code == 422 and told in odd.json()["error"]["message"]
