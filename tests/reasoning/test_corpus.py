"""A corpus is balanced and filtered, keeps what it rejects, and survives being stopped anywhere."""

import dataclasses
import json

import pytest
from critiques import GOOD_TEXT, Scripted, failure, nine, options, ratings, silent

from roc.data.images import ImageError
from roc.data.reading import read_records
from roc.data.records import Record
from roc.demo.dataset import write_dataset
from roc.endpoints.chat import Reply
from roc.model.reasoned import take_apart
from roc.reasoning import replies
from roc.reasoning.config import CorpusConfig
from roc.reasoning.corpus import write_corpus
from roc.reasoning.outputs import Outputs
from roc.score_space import ScoreSpace
from roc.settings import ConfigError


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(settings, author):
    return write_corpus(settings, silent, author.both())


def test_the_embedded_author_needs_nothing(tmp_path):
    write_dataset(tmp_path / "scenes", 24, 2, 3, size=32, seed=1)
    settings = CorpusConfig(data_path=tmp_path / "scenes/ratings.csv", out=tmp_path / "scenes/corpus.jsonl", count=6)
    corpus = write_corpus(settings, silent)
    records = read_records(tmp_path / "scenes/corpus.jsonl", space=ScoreSpace(1, 10))
    assert len(records) == 6 == len(corpus.kept) and {record.split for record in records} == {"train"}
    assert sorted(outcome.photo.tier for outcome in corpus.kept) == ["bad", "bad", "fair", "fair", "good", "good"]
    rated = {record.id: record.scores["overall"] for record in read_records(settings.data_path, space=None)}
    for record in records:
        (_, question), (_, answer) = record.conversations
        critique, stated = take_apart(answer)
        assert stated == "[SCORE]" and question.startswith("<|image|>How") and "on a scale from 1 to 10" in question
        assert record.scores == {"overall": rated[record.id]} and len(critique.split()) > 40


def test_what_is_written_beside_the_corpus(tmp_path):
    said = iter([f"{GOOD_TEXT} I give it 8 points."])

    def says(request):
        if request.kind == "write" and request.photo.tier == "good":
            return next(said, None)
        return None

    settings = options(nine(tmp_path), price_in=10.0)
    corpus = write(settings, Scripted(says))
    files = Outputs(settings.out)
    assert len(corpus.kept) == 9 == len(lines(files.corpus)) and corpus.others == []
    (rejected,) = lines(files.rejected)
    assert (rejected["reason"], rejected["tier"], rejected["attempt"]) == ("leak", "good", 1)
    assert rejected["critique"].endswith("8 points.") and rejected["detail"].startswith("8 near")
    summary = json.loads(files.summary.read_text())
    assert summary["tiers"] == {"bad": 3, "fair": 3, "good": 3} and summary["rejected"] == {"leak": 1}
    # The same words have the same tone: three texts, three verdicts. Facts are looked up for each photo.
    assert summary["usage"]["writer"]["requests"] == 10 and summary["usage"]["judge"]["requests"] == 3 + 9
    assert summary["cost"] == pytest.approx(22 * 100 * 10 / 1e6)
    page = files.page.read_text()
    assert page.count("<figure>") == 10 and "leak: 8 near" in page and "Content-Security-Policy" in page


@pytest.mark.parametrize(
    ("kind", "said", "reason"),
    [
        ("write", "Nice.", "form"),
        ("write", Reply(GOOD_TEXT, cut=True), "form"),
        ("tone", "good", "contradiction"),
        ("tone", "hard to say", "unjudged"),
        ("facts", "- a dog", "invented"),
        ("facts", Reply("- a dog", cut=True), "unjudged"),
    ],
)
def test_each_filter_keeps_what_it_rejects(tmp_path, kind, said, reason):
    bad = {"2.png", "1.png"}

    def says(request):
        about = request.photo is not None and request.photo.id in bad
        judged = kind == "tone" and request.kind == "tone" and " weak" in request.critique
        return said if request.kind == kind and (about or judged) else None

    settings = options(nine(tmp_path), attempts=1)
    corpus = write(settings, Scripted(says)) if kind != "tone" else None
    if kind == "tone":  # of a tone nothing is known but the words, so all bad photos are without a text
        with pytest.raises(ValueError, match=rf"no text is of use .{reason} 3.*rejected.jsonl holds"):
            write(settings, Scripted(says))
        assert not Outputs(settings.out).corpus.exists()
    else:
        assert sorted(outcome.photo.tier for outcome in corpus.kept) == ["bad", "fair", "good"]
    rejected = lines(Outputs(settings.out).rejected)
    assert [row["reason"] for row in rejected].count(reason) == (3 if kind == "tone" else 2)
    assert {row["reason"] for row in rejected} <= {reason, "surplus"}
    assert all(row["critique"] for row in rejected)


def test_the_next_photo_takes_the_place_of_one_without_a_text(tmp_path):
    first = []

    def says(request):
        if request.kind == "write" and request.photo.tier == "bad":
            first.append(request.photo.id)
            return "Nice." if request.photo.id == first[0] else None
        return None

    settings = options(nine(tmp_path), count=6)
    corpus = write(settings, Scripted(says))
    assert len(corpus.kept) == 6 and corpus.short == 0 and corpus.surplus == []
    assert [outcome.photo.id for outcome in corpus.others] == [first[0]] and len(corpus.others[0].attempts) == 2


def test_a_stopped_run_goes_on_wherever_it_was(tmp_path):
    settings = options(nine(tmp_path), count=3)
    whole = Scripted()
    write(settings, whole)
    kept = Outputs(settings.out).corpus.read_bytes()
    for most in range(len(whole.asked)):
        again = options(tmp_path / "ratings.csv", count=3, out=tmp_path / f"{most}.jsonl")
        with pytest.raises(KeyboardInterrupt):
            write(again, Scripted(most=most))
        files = Outputs(again.out)
        assert not files.corpus.exists()
        with files.journal.open("ab") as file:
            file.write(b'{"reply": "torn')
        rest = Scripted()
        corpus = write(again, rest)
        assert len(rest.asked) == len(whole.asked) - most == corpus.asked
        assert files.corpus.read_bytes() == kept


def test_a_larger_count_goes_on_and_the_bar_begins_there(tmp_path):
    shown = []

    def progress(items, total, done=0, *, unit):
        shown.append((total, done, unit))
        return items

    path = nine(tmp_path)
    author = Scripted(at_once=3)
    write_corpus(options(path, count=3), progress, author.both())
    write_corpus(options(path, count=9), progress, author.both())
    asked = len(author.asked)
    corpus = write_corpus(options(path, count=9), progress, author.both())
    assert shown == [(3, 0, "texts"), (9, 3, "texts"), (9, 9, "texts")]
    assert asked == len(author.asked) and corpus.asked == 0


def test_tiers_stay_equal_where_photos_run_out(tmp_path, caplog):
    path = ratings(tmp_path, [1.31, 2.17, 5.53, 5.77, 6.11, 7.91, 8.37, 9.73, 9.11])

    def says(request):
        return "Nice." if request.kind == "write" and request.photo.id == "1.png" else None

    corpus = write(options(path, count=6), Scripted(says))
    assert [outcome.photo.tier for outcome in corpus.kept].count("bad") == 1 and len(corpus.kept) == 3
    assert corpus.short == 3
    assert "all 2 bad photos gave 1 texts, so there are as many of each tier" in caplog.text
    assert len(write(options(path, balance="none", out=tmp_path / "all.jsonl"), Scripted(says)).kept) == 8


def test_a_photo_that_cannot_be_asked_about_is_named(tmp_path):
    faults = {"4.png": failure("refused"), "3.png": ImageError("3.png: damaged")}
    settings = options(nine(tmp_path), count=9)
    author = Scripted(lambda request: request.photo and faults.get(request.photo.id))
    corpus = write(settings, author)
    assert sorted((outcome.photo.id, outcome.error) for outcome in corpus.failed) == [
        ("3.png", "3.png: damaged"),
        ("4.png", "refused"),
    ]
    assert [outcome.photo.tier for outcome in corpus.kept] == ["bad", "fair", "good"]
    rows = lines(Outputs(settings.out).rejected)
    assert [row["reason"] for row in rows].count("failed") == 2
    faults.clear()
    assert len(write(settings, author).kept) == 9


def test_a_photo_that_cannot_be_read_is_one_that_failed(tmp_path, monkeypatch):
    def digest(path):
        if path.endswith("4.png"):
            raise PermissionError(13, "Permission denied")
        return path

    monkeypatch.setattr(replies, "picture_digest", digest)
    corpus = write(options(nine(tmp_path), balance="none"), Scripted())
    (failed,) = corpus.failed
    assert failed.photo.id == "4.png" and failed.error.endswith("4.png: cannot be opened: [Errno 13] Permission denied")
    assert len(corpus.kept) == 8


@pytest.mark.parametrize("kind", ["write", "tone", "facts"])
def test_a_paid_answer_without_text_is_one_attempt_and_not_the_end_of_its_photo(tmp_path, kind):
    """Another attempt is another question, and may be answered; so may another verdict."""
    said = iter([failure("no text (content_filter)", 100, 20)])
    author = Scripted(lambda request: next(said, None) if request.kind == kind else None)
    settings = options(nine(tmp_path), balance="none")
    corpus = write(settings, author)
    assert len(corpus.kept) == 9 and corpus.others == []
    rejected = lines(Outputs(settings.out).rejected)
    assert [(row["reason"], row["detail"]) for row in rejected] == [("form", "no text (content_filter)")] * (
        kind == "write"
    )
    assert write(settings, author).asked == 0


def test_a_photo_whose_answers_never_hold_text_is_rejected(tmp_path):
    """No later run could do better, so it is none of those that are asked about again."""
    settings = options(nine(tmp_path), balance="none", attempts=2)
    silence = failure("no text (content_filter)", 100, 20)

    def says(request):
        return silence if request.photo and request.photo.id == "4.png" and request.kind == kind else None

    for kind, reason in (("write", "form"), ("facts", "unjudged")):
        again = dataclasses.replace(settings, out=str(tmp_path / f"{kind}.jsonl"))
        corpus = write(again, Scripted(says))
        assert len(corpus.kept) == 8 and corpus.failed == []
        rows = lines(Outputs(again.out).rejected)
        assert [(row["id"], row["reason"]) for row in rows] == [("4.png", reason)] * 2
        assert all(row["detail"].endswith("no text (content_filter)") for row in rows)


def test_test_photos_and_records_of_other_forms_are_left_out(tmp_path, caplog):
    path = nine(tmp_path)
    more = ["a.png,9.1,test", "b.png,9.2,val"]
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((tmp_path / "0.png").read_bytes())
    path.write_text(path.read_text() + "\n".join(more) + "\n")
    ids = {outcome.photo.id for outcome in write(options(path, balance="none"), Scripted()).kept}
    assert len(ids) == 9 and not ids & {"a.png", "b.png"}
    both = options(path, balance="none", split=("train", "val"), out=tmp_path / "both.jsonl")
    kept = write(both, Scripted()).kept
    assert len(kept) == 10
    assert {row["id"]: row["split"] for row in lines(Outputs(both.out).corpus)}["b.png"] == "val"
    assert isinstance(kept[0].photo.record, Record)


def test_nothing_of_anybody_else_is_replaced(tmp_path):
    settings = options(nine(tmp_path))
    settings_file = Outputs(settings.out).corpus
    settings_file.write_text("mine\n")
    author = Scripted()
    with pytest.raises(ValueError, match="corpus.jsonl is there.*--overwrite"):
        write(settings, author)
    assert settings_file.read_text() == "mine\n" and author.asked == []
    assert len(write(options(tmp_path / "ratings.csv", overwrite=True), author).kept) == 9


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"out": "corpus.csv"}, "expected a name that ends in .jsonl"),
        ({"count": 4}, "expected a multiple of 3 for balance equal, such as 3"),
        ({"writer": "gpt"}, "expected one of embedded, measured, chat:MODEL, transformers:PATH"),
        ({"writer": "chat:"}, "expected one of embedded"),
        ({"base_url": "http://x/v1"}, "nobody is asked there"),
        ({"judge_key_variable": "TWO"}, "judge_key_variable is given, but the judge is no chat:MODEL"),
        ({"split": "test"}, "any of train, val"),
        ({"max_score": 1.0}, "expected more than min_score"),
    ],
)
def test_settings_that_cannot_be_used(given, told):
    with pytest.raises(ConfigError, match=told):
        CorpusConfig(**{"data_path": "a.csv", "out": "c.jsonl", **given})
