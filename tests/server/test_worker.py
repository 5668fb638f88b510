"""The worker, run in a thread: its rows hold the numbers of `Assessment`."""

import datetime
import math
import os

import pytest
import safetensors.torch
import torch
from heads import picture
from serving import in_thread

from roc.server import worker
from roc.server.children import Child

SETTINGS = {"device": "cpu", "dtype": None, "batch_size": 3, "max_new_tokens": 24, "threads": None}


@pytest.fixture(scope="module")
def child(checkpoint):
    child = Child(worker.run, ({**SETTINGS, "checkpoint": checkpoint},), in_thread)
    header, _ = child.receive(60)
    child.facts = header["facts"]
    yield child
    child.send({"stop": True})
    child.close(10)


def inputs(assessment, pictures, mode="score"):
    collator = assessment.collator
    for one in pictures:
        batch = collator.scoring_batch([one], len(assessment.attributes))
        batch = batch if mode == "score" else collator.prompt_batch([one])
        yield safetensors.torch.save({name: value for name, value in batch.items() if torch.is_tensor(value)})


def ask(child, parts, *, mode="score", batch=0):
    child.send({"batch": batch, "mode": mode, "indices": list(range(len(parts)))}, parts)
    header, _ = child.receive(60)
    assert (header["batch"], header["mode"]) == (batch, mode)
    rows = dict(header["rows"])
    return [rows[i] for i in range(len(parts))]


def test_facts(child, assessment):
    facts = child.facts
    assert (facts["id"], facts["min_score"], facts["max_score"]) == ("tiny", 1.0, 10.0)
    assert facts["attributes"] == list(assessment.attributes) and facts["levels"] == list(range(1, 11))
    assert facts["places"] == {"score": len(assessment.attributes), "describe": 0, "sample": 0, "features": 1}
    assert (facts["dtype"], facts["device"], facts["calibrated"]) == ("float32", "cpu", False)


def test_rows_are_the_numbers_of_assessment(child, assessment):
    pictures = [picture(i) for i in range(3)]
    rows = ask(child, list(inputs(assessment, pictures)))
    for row, known in zip(rows, assessment.score(pictures), strict=True):
        assert row["text"] is None and row["scores"].keys() == known.scores.keys()
        for name, score in known.scores.items():
            assert row["scores"][name]["value"] == pytest.approx(score.value, abs=1e-5)
            assert row["scores"][name]["std"] == pytest.approx(score.std, abs=1e-5)
            assert row["scores"][name]["distribution"] == pytest.approx(score.distribution, abs=1e-5)


def test_words(child, assessment):
    row = ask(child, list(inputs(assessment, [picture(1)], "describe")), mode="describe")[0]
    known = assessment.describe(picture(1), max_new_tokens=24)[0]
    assert row["text"] == known.text
    values = {name: score and score.value for name, score in known.scores.items()}
    assert {name: score and score["value"] for name, score in row["scores"].items()} == pytest.approx(values)


def test_batches_that_lie_in_the_pipe(child, assessment):
    parts = list(inputs(assessment, [picture(i) for i in range(6)]))
    words = list(inputs(assessment, [picture(0)], "describe"))
    for batch, (mode, some) in enumerate([("score", parts[:3]), ("score", parts[3:]), ("describe", words)]):
        child.send({"batch": batch, "mode": mode, "indices": [10 * batch + i for i in range(len(some))]}, some)
    answers = [child.receive(60)[0] for _ in range(3)]
    assert [answer["batch"] for answer in answers] == [0, 1, 2]
    assert [[index for index, _ in answer["rows"]] for answer in answers] == [[0, 1, 2], [10, 11, 12], [20]]


def test_an_odd_picture_does_not_spoil_its_neighbours(child, assessment):
    good = list(inputs(assessment, [picture(0), picture(1)]))
    odd = safetensors.torch.load(good[0])
    odd["input_ids"][0, 0] = 10**6
    rows = ask(child, [good[0], safetensors.torch.save(odd), good[1]])
    assert "the model could not take it" in rows[1]["error"]
    known = assessment.score([picture(0), picture(1)])
    assert [rows[i]["scores"]["overall"]["value"] for i in (0, 2)] == pytest.approx(
        [one.scores["overall"].value for one in known], abs=1e-5
    )
    # The worker goes on.
    assert "scores" in ask(child, good[:1])[0]


def test_no_number(assessment):
    scorer = worker.make_scorers(assessment, 1, 8)["score"]
    known = assessment.score(picture(0))[0]
    score = known.scores["light"]
    for name in ("std", "value"):
        object.__setattr__(score, name, math.nan)
        assert scorer.row(known) == {"error": "the model gave no number for light: nan"}
        object.__setattr__(score, name, 1.0)
    object.__setattr__(score, "distribution", (math.inf, *score.distribution[1:]))
    assert scorer.row(known) == {"error": "the model gave no number for light: inf"}


def test_a_checkpoint_that_is_none(tmp_path):
    child = Child(worker.run, ({**SETTINGS, "checkpoint": str(tmp_path)},), in_thread)
    header, _ = child.receive(60)
    assert header["fault"]
    with pytest.raises(EOFError):
        child.receive(10)
    child.close(5)


def test_an_error_after_which_a_gpu_is_of_no_use():
    with pytest.raises(RuntimeError):
        worker._give_up_if_broken(RuntimeError("CUDA error: device-side assert triggered"))
    worker._give_up_if_broken(RuntimeError("shapes do not match"))


def test_the_day_of_a_checkpoint(tmp_path):
    """A folder, a personal head and a hub id in the cache have one, as clients of decision models expect."""
    head, folder, kept = tmp_path / "mine.json", tmp_path / "mine", tmp_path / "models--org--model"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("0" * 40)
    for file in (head, folder / "adapter_config.json", kept / "snapshots" / ("0" * 40) / "config.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
        os.utime(file, (1_700_000_000, 1_700_000_000))
    day = {"saved": datetime.date.fromtimestamp(1_700_000_000).isoformat()}
    assert (
        worker.saved_on(str(head)) == worker.saved_on(str(folder)) == worker.saved_on("org/model", str(tmp_path)) == day
    )
    assert worker.saved_on("org/other", str(tmp_path)) == {}
