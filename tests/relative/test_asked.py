"""Models as judges and voters: chat endpoints that behave and that do not, and a checkpoint of roc."""

import base64
import io
import signal
import threading
import time

import numpy as np
import pytest
import torch
from chat_stand_in import ChatStandIn, prompt_of
from edited_photos import rows, shown, write_photos
from PIL import Image
from tiny_models import tiny_llava

pytest.importorskip("openai")

import roc  # noqa: E402
from roc.checkpoint.folder import save  # noqa: E402
from roc.endpoints import patience  # noqa: E402
from roc.endpoints.chat import Question  # noqa: E402
from roc.relative.asked import make_judges  # noqa: E402
from roc.relative.build import build  # noqa: E402
from roc.relative.config import BuildOptions  # noqa: E402
from roc.relative.scorers import Checkpoint  # noqa: E402
from roc.relative.wording import read_number, read_words  # noqa: E402
from roc.scoring.local import score_images  # noqa: E402
from roc.scoring.sources import Source  # noqa: E402


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(patience, "SHORTEST", 0.01)
    monkeypatch.setattr(patience, "LONGEST", 0.05)


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of photos, and so their edits, are then the same in every folder
    write_photos(tmp_path / "photos", 2)
    common = {"sources": ("photos",), "out": str(tmp_path / "out"), "workers": 1, "edits": 2, "samples": 2}
    common |= {"damaged": 0.0, "weakest": 0.8, "categories": ("exposure", "blur", "noise"), "timeout": 20}
    return lambda **given: BuildOptions(**{**common, **given})


def reply(body):
    means = []
    for part in body["messages"][0]["content"]:
        if part["type"] == "image_url":
            data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
            means.append(float(np.asarray(Image.open(io.BytesIO(data)).convert("L")).mean()))
    if len(means) == 1:
        return f"<answer>{means[0] / 25.5:.2f}</answer>"
    change = (abs(means[0] - 127) - abs(means[1] - 127)) / 12 + 0.3  # likes the second picture
    words = f"Light: {'better' if change > 0 else 'worse'}. Conclusion: so it is."
    return f"<think>{words}</think>\n<answer>{change:+.2f}</answer>"


def stand_in(*faults, answer=None):
    """A chat endpoint that looks at the pictures."""
    server = ChatStandIn(*faults)
    server.answer = lambda prompt: answer or reply(server.bodies[-1])
    return server


def test_numbers_and_words_are_read():
    assert read_number("<answer>+1.25</answer>") == 1.25 and read_number("<answer> \u22120,5 </answer>") == -0.5
    assert read_number("1.5") is None and read_number("<answer>1</answer><answer>2</answer>") is None
    assert read_words("<think>a\n b</think><answer>1</answer>") == "a b" and read_words("<answer>1</answer>") is None
    assert read_words("so [SCORE] and <|image|> it is <answer>1</answer>") == "so and it is"


def test_a_chat_endpoint_judges_in_both_orders(options, tmp_path):
    with stand_in() as server:
        built = build(options(judges=("chat:m", "embedded"), base_url=server.url, requests_at_once=1), shown)
        count = len(server.bodies)
        assert build(options(judges=("chat:m", "embedded"), base_url=server.url), shown).done == 0
    assert count == len(server.bodies) == 8
    first, second = ([part["type"] for part in body["messages"][0]["content"]] for body in server.bodies[:2])
    assert first == second == ["image_url", "image_url", "text"]
    assert server.bodies[0]["temperature"] == 0 and "the second photo is better" in prompt_of(server.bodies[0])
    shown_first = [body["messages"][0]["content"][0]["image_url"]["url"] for body in server.bodies[:2]]
    assert shown_first[0] != shown_first[1]
    said = {change.id: change.edit["verdicts"]["chat:m"] for change in built.changes}
    assert said and all(abs(value) > 0.005 for value in said.values())
    thoughts = [row["conversations"][1]["value"] for row in rows(tmp_path / "out" / "pairs.jsonl")]
    assert any("Conclusion: so it is." in text for text in thoughts)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("It is much better.", "3 answers hold no number, the last one: 'It is much better.'"),
        ("<answer>11</answer>", "the difference is 11, expected a number in -10..10"),
    ],
)
def test_a_judge_whose_answers_are_of_no_use(options, tmp_path, answer, told):
    with stand_in(answer=answer) as server, pytest.raises(ValueError, match="no edit is of use"):
        build(options(judges=("chat:m",), base_url=server.url), shown)
    found = rows(tmp_path / "out" / "rejected.jsonl")
    assert {row["reason"] for row in found} == {"unjudged"} and found[0]["detail"] == f"chat:m: {told}"
    assert len(server.bodies) == (24 if "no number" in told else 8)


@pytest.mark.parametrize("fault", [429, *(pytest.param(fault, marks=pytest.mark.slow) for fault in (503, "slow"))])
def test_a_run_waits_for_an_endpoint_that_is_down(options, fault, caplog):
    faults = [fault] * (2 if fault == "slow" else 7)
    with stand_in(*faults) as server:
        given = {"base_url": server.url, "retries": 0, "timeout": 0.5 if fault == "slow" else 20}
        built = build(options(judges=("chat:m",), requests_at_once=1, **given), shown)
    assert built.changes and {row["reason"] for row in built.rejected} <= {"no change"}
    assert len(server.bodies) == 8 + len(faults)
    told = [record.getMessage() for record in caplog.records]
    assert any("does not answer" in text for text in told) and "answers again" in told[-1]


@pytest.mark.slow  # tests/commands/test_relative.py ends the command
def test_a_waiting_run_can_be_ended_without_loss(options):
    def end(*_):
        raise KeyboardInterrupt

    with stand_in() as server:
        given = {"judges": ("chat:m@" + server.url,), "retries": 0, "requests_at_once": 1}
        server.faults = [None] * 3 + [503] * 10_000
        before, start = signal.signal(signal.SIGALRM, end), time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 2.0)
        try:
            with pytest.raises(KeyboardInterrupt):
                build(options(**given), shown)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - start < 30
        server.faults, asked = [], len(server.bodies)
        built = build(options(**given), shown)
        assert built.done == len(server.bodies) - asked == 5
        assert len(built.changes) + len(built.rejected) == 4


def test_an_endpoint_that_is_gone_for_too_long_ends_the_run(options):
    with stand_in() as server:
        url = server.url
    with pytest.raises(ValueError, match=r"has not answered for 0 minutes \(--patience\).*the same command goes on"):
        build(options(judges=("chat:m",), base_url=url, retries=0, patience=0.005), shown)


def test_a_wrong_key_ends_the_run(options):
    with stand_in(401) as server, pytest.raises(ValueError, match="refuses chat:m.*401"):
        build(options(judges=("chat:m",), base_url=server.url, requests_at_once=1), shown)


@pytest.mark.parametrize("base", [True, False])
def test_each_host_gets_its_own_key(options, monkeypatch, base):
    monkeypatch.setenv("KEY", "one")
    monkeypatch.setenv("KEY_LOCALHOST", "two")
    with stand_in(answer="1") as first, stand_in(answer="1") as second:
        other = f"chat:b@{second.url.replace('127.0.0.1', 'localhost')}"
        given = {"judges": ("chat:a", other), "base_url": first.url}
        if not base:
            given = {"judges": (f"chat:a@{first.url}", other)}
            monkeypatch.setenv("KEY_127_0_0_1", "three")
        for judge in make_judges(options(key_variable="KEY", **given), 1, threading.Event()):
            judge._chat.ask(Question("text"))
    assert (first.keys, second.keys) == (["Bearer one" if base else "Bearer three"], ["Bearer two"])


def test_the_only_host_gets_the_key_and_others_get_none(options, monkeypatch, caplog):
    monkeypatch.setenv("KEY", "one")
    with stand_in(answer="1") as first, stand_in(answer="1") as second:
        names = (f"chat:a@{first.url}", f"chat:b@{second.url}")
        for judge in make_judges(options(key_variable="KEY", judges=names), 1, threading.Event()):
            judge._chat.ask(Question("text"))
        assert not caplog.records
        names = ("chat:a", f"chat:b@{second.url.replace('127.0.0.1', 'localhost')}")
        own = options(key_variable="KEY", judges=names, base_url=first.url)
        second.faults = [401]
        with pytest.raises(ValueError, match="the key in KEY_LOCALHOST"):
            make_judges(own, 1, threading.Event())[1]._chat.ask(Question("text"))
        (told,) = (record.getMessage() for record in caplog.records)
        assert "the key in KEY is not sent to localhost" in told and "KEY_LOCALHOST" in told
        monkeypatch.setenv("KEY_LOCALHOST", "two")
        make_judges(own, 1, threading.Event())
    assert len(caplog.records) == 1
    assert (first.keys, second.keys) == (["Bearer one"], ["Bearer one", "Bearer none"])


def test_a_chat_endpoint_votes(options, tmp_path):
    with stand_in() as server:
        given = {
            "base_url": server.url,
            "requests_at_once": 1,
            "voters": ("chat:m",),
            "fewest_votes": 1,
            "val": 0.0,
            "test": 0.0,
        }
        build(options(**given), shown)
    anchors = rows(tmp_path / "out" / "anchors.jsonl")
    means = [np.asarray(Image.open(row["id"]).convert("L")).mean() / 25.5 for row in anchors]
    assert [row["score"] for row in anchors] == pytest.approx(means, abs=0.1) and len(anchors) == 2
    with stand_in(answer="none") as server:
        built = build(options(**{**given, "base_url": server.url, "out": str(tmp_path / "b")}), shown)
    assert [row["reason"] for row in built.rejected] == ["no consensus"] * 2
    assert "chat:m: 3 answers hold no number" in built.rejected[0]["detail"]


def test_a_checkpoint_votes_and_judges(options, tmp_path):
    name = write_checkpoint(tmp_path / "model")
    given = {"voters": (name,), "fewest_votes": 1, "val": 0.0, "test": 0.0, "workers": 1, "device": "cpu"}
    built = build(options(judges=(name,), **given), shown)
    scores = roc.Assessment(str(tmp_path / "model"), device="cpu").score([str(tmp_path / "photos" / "0.png")])
    anchor = rows(tmp_path / "out" / "anchors.jsonl")[0]
    assert anchor["score"] == pytest.approx((scores[0].scores["overall"].value - 1) * 2.5, abs=1e-3)
    assert built.changes and built.agreement.pairs == 4
    assert all(change.edit["std"] > 0 and list(change.edit["verdicts"]) == [name] for change in built.changes)
    judged = [
        row for row in rows(tmp_path / "out" / "build.journal.jsonl") if row.get("step", "").startswith("judge:roc")
    ]
    assert len(judged) == 8 and all(row["spread"] > 0 for row in judged)
    pairs = {}
    for row in judged:
        pairs.setdefault(row["step"][:-3], []).append(row["difference"])
    assert all(one == -other for one, other in pairs.values())
    assert build(options(judges=(name,), **given), shown).done == 0


def write_checkpoint(folder):
    model, processor = tiny_llava()
    roc.attach(model, processor, roc.ScoreSpace(1, 5))
    torch.manual_seed(0)
    torch.nn.init.normal_(model.score_head.weight, std=1.0)
    save(model, processor, folder)
    return f"roc:{folder}"


class Backwards:
    """A cluster that is done with the last picture first."""

    dtype = "float32"

    def __init__(self, fault=None):
        self.fault = fault

    def score_images(self, scorer, sources, pretrained, *, batch_size):
        if self.fault is not None:
            raise self.fault
        yield from list(score_images(scorer, sources, pretrained, workers=0))[::-1]
        scorer.assessment.model.to("meta")  # as the cluster does it


def test_rows_of_a_cluster_come_in_any_order(options, tmp_path):
    path = write_checkpoint(tmp_path / "model").removeprefix("roc:")
    sources = {f"key {i}": Source("same name", f"photos/{i}.png") for i in range(2)} | {"gone": Source("a", "a.png")}
    here = Checkpoint(path, options(device="cpu"))
    expected = dict(here.rows(sources))
    assert list(expected) == ["key 0", "key 1", "gone"] and expected["gone"] == {"error": "no such file"}
    cluster = Checkpoint(path, options(), Backwards())
    assert cluster.identity == here.identity
    for _ in range(2):
        found = dict(cluster.rows(sources))
        assert list(found) == ["gone", "key 1", "key 0"] and found == expected
        cluster.free()
    broken = Checkpoint(path, options(), Backwards(RuntimeError("the scorers end again and again")))
    with pytest.raises(ValueError, match="again and again, and the same command goes on from here"):
        dict(broken.rows(sources))


@pytest.mark.slow
def test_a_checkpoint_votes_and_judges_on_ray(options, tmp_path):
    pytest.importorskip("ray")
    name = write_checkpoint(tmp_path / "model")
    given = {"voters": (name,), "judges": (name,), "fewest_votes": 1, "val": 0.0, "test": 0.0, "device": "cpu"}
    build(options(**given), shown)
    on_ray = options(**given, engine="ray", actors=1, out=str(tmp_path / "b"))
    build(on_ray, shown)
    for file in ("anchors.jsonl", "pairs.jsonl"):
        assert (tmp_path / "b" / file).read_text() == (tmp_path / "out" / file).read_text()
    assert build(on_ray, shown).done == 0
