"""An author behind a chat endpoint: what is sent for each kind of request, and a bad answer is an author's error."""

import base64
import io
import json
import sys

import pytest

pytest.importorskip("openai")

from chat_stand_in import CRITIQUE, ChatStandIn  # noqa: E402
from critiques import options, ratings, silent  # noqa: E402
from PIL import Image  # noqa: E402

from roc.data.records import Record  # noqa: E402
from roc.reasoning.authors import AuthorDown, AuthorError, Request, authors_of  # noqa: E402
from roc.reasoning.chat import Chat  # noqa: E402
from roc.reasoning.config import AuthorOptions, CorpusConfig  # noqa: E402
from roc.reasoning.corpus import write_corpus  # noqa: E402
from roc.reasoning.outputs import Outputs  # noqa: E402
from roc.reasoning.tiers import Photo  # noqa: E402
from roc.score_space import ScoreSpace  # noqa: E402

SPACE = ScoreSpace(1, 10)


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (400, 100), "red").save(tmp_path / "a.png")
    return Photo.of(Record("a", (str(tmp_path / "a.png"),), {"overall": 2.5}), SPACE)


def author(url, key=None, **options):
    return Chat("m", url, key=key, options=AuthorOptions(writer="chat:m", **{"timeout": 20, **options}))


def test_the_picture_and_the_words_are_sent(photo):
    with ChatStandIn() as server:
        chat = author(server.url, "secret", image_side=200, temperature=0.7, max_tokens=99)
        reply = chat.ask(Request.write(photo, SPACE.range, 0))
        chat.ask(Request.tone(reply.text, 0))
        chat.ask(Request.tone(reply.text, 1))
    assert reply.text == CRITIQUE + "All in all the photo is weak and does not succeed."
    assert (reply.tokens_in, reply.tokens_out, reply.cut) == (100, 20, False)
    assert chat.name == "chat:m" and server.keys == ["Bearer secret"] * 3
    written, judged, again = server.bodies
    shown, words = written["messages"][0]["content"]
    kind, _, data = shown["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (200, 50)
    assert "2.50 on a scale from 1 to 10" in words["text"]
    assert (written["model"], written["temperature"], written["max_tokens"]) == ("m", 0.7, 99)
    assert judged["temperature"] == 0 and again["temperature"] == 0.7
    assert [part["type"] for part in judged["messages"][0]["content"]] == ["text"]


def test_an_answer_that_cannot_be_used_is_the_authors_error(photo):
    with ChatStandIn("empty") as server, pytest.raises(AuthorError, match="the answer holds no text"):
        author(server.url).ask(Request.write(photo, SPACE.range, 0))


def test_nobody_there_is_told_from_a_refusal(photo):
    with ChatStandIn(503, 400) as server:
        one = author(server.url, retries=0)
        for down in (True, False):
            with pytest.raises(AuthorError) as error:
                one.ask(Request.write(photo, SPACE.range, 0))
            assert isinstance(error.value, AuthorDown) == down


def test_photos_that_are_refused_for_good_leave_a_corpus_of_the_others(tmp_path):
    path = ratings(tmp_path, [1.31, 2.17, 3.49, 5.53, 6.11, 6.83, 7.91, 8.37, 9.73, 9.11, 8.91, 7.33])
    for refused in (400, "empty"):
        settings = {"balance": "none", "writer": "chat:m", "requests_at_once": 1, "attempts": 1}
        settings["out"] = tmp_path / f"{refused}.jsonl"
        with ChatStandIn(*[refused] * 8) as server:
            corpus = write_corpus(options(path, base_url=server.url, **settings), silent)
            assert (len(corpus.kept), len(corpus.others)) == (4, 8)
            rows = [json.loads(line) for line in Outputs(settings["out"]).rejected.read_text().splitlines()]
            reason, told = ("failed", "400") if refused == 400 else ("form", "holds no text")
            assert [row["reason"] for row in rows] == [reason] * 8 and all(told in row["detail"] for row in rows)
            server.faults, asked = [400] * 8, len(server.bodies)
            again = write_corpus(options(path, base_url=server.url, **settings), silent)
            assert len(again.kept) == 4
            assert len(server.bodies) - asked == (8 if refused == 400 else 0)  # what was paid for is not asked again
    assert again.usage["writer"].requests == 12 and again.usage["writer"].tokens_in == 1200


def test_authors_are_made_from_their_names(monkeypatch, tmp_path):
    given = {"data_path": "a.csv", "out": "c.jsonl"}
    monkeypatch.setenv("MY_KEY", "x")
    url = {"base_url": "http://127.0.0.1:1/v1"}
    both = authors_of(CorpusConfig(**given, writer="chat:a", key_variable="MY_KEY", **url))
    assert both["writer"] is both["judge"]
    mixed = authors_of(CorpusConfig(**given, writer="chat:a", judge="chat:b", judge_url="http://127.0.0.1:2/v1", **url))
    assert [mixed[role].name for role in ("writer", "judge")] == ["chat:a", "chat:b"]
    assert authors_of(CorpusConfig(**given))["judge"].name == "embedded"


@pytest.mark.parametrize(
    ("judge", "named", "expected"),
    [
        ("127.0.0.1", None, "Bearer one"),  # another server on the same machine
        ("localhost", None, "Bearer none"),
        ("localhost", "TWO", "Bearer two"),
        ("127.0.0.1", "TWO", "Bearer two"),
    ],
)
def test_no_key_goes_to_another_host(monkeypatch, photo, caplog, judge, named, expected):
    monkeypatch.setenv("ONE", "one")
    monkeypatch.setenv("TWO", "two")
    with ChatStandIn() as first, ChatStandIn() as second:
        given = {
            "base_url": first.url,
            "judge_url": second.url.replace("127.0.0.1", judge),
            "judge_key_variable": named,
        }
        settings = {"data_path": "a.csv", "out": "c.jsonl", "writer": "chat:a", "key_variable": "ONE", "timeout": 20}
        both = authors_of(CorpusConfig(**settings, **given))
        both["writer"].ask(Request.write(photo, SPACE.range, 0))
        both["judge"].ask(Request.tone("weak", 0))
    assert first.keys == ["Bearer one"] and second.keys == [expected]
    assert ("--judge_key_variable" in caplog.text) == (expected == "Bearer none")


def test_the_only_endpoint_gets_the_key(monkeypatch):
    monkeypatch.setenv("ONE", "one")
    with ChatStandIn() as server:
        settings = {"data_path": "a.csv", "out": "c.jsonl", "judge": "chat:a", "key_variable": "ONE", "timeout": 20}
        authors_of(CorpusConfig(**settings, judge_url=server.url))["judge"].ask(Request.tone("weak", 0))
    assert server.keys == ["Bearer one"]


def test_one_model_with_two_keys_is_two_authors(monkeypatch):
    given = {"data_path": "a.csv", "out": "c.jsonl", "writer": "chat:a", "base_url": "http://127.0.0.1:1/v1"}
    both = authors_of(CorpusConfig(**given, judge_key_variable="TWO"))
    assert both["writer"] is not both["judge"]


def test_a_refused_judge_is_told_by_its_own_variable(photo):
    with ChatStandIn(401) as server:
        given = {"base_url": "http://127.0.0.1:1/v1", "judge_url": server.url, "judge_key_variable": "TWO"}
        both = authors_of(CorpusConfig(data_path="a.csv", out="c.jsonl", writer="chat:a", **given))
        with pytest.raises(ValueError, match="the key in TWO"):
            both["judge"].ask(Request.tone("weak", 0))


def test_without_a_key_or_the_library_it_says_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match="chat:m needs a key in the environment variable OPENAI_API_KEY"):
        author(None)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r"pip install 'roc-mllm\[chat\]'"):
        author("http://127.0.0.1:1/v1")
