"""`roc relative` as a user types it: records, what failed, and what cannot be used in one line and exit status 2."""

import json
import signal
import threading
import time
from pathlib import Path

import pytest
from chat_stand_in import ChatStandIn
from image_stand_in import ImageStandIn
from PIL import Image

from roc.cli import main
from roc.endpoints import patience

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.effect_noise((64, 48), 90).convert("RGB").save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def test_build(photos, capsys):
    words = ["relative", "build", "photos", "--out", "pairs", "--edits", "2", "--judges", "embedded", "embedded:0.1"]
    assert main([*words, "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "pairs: 1 photos, 2 pairs" in out and "100.0% of 2 pairs unanimous" in out
    assert "embedded and embedded:0.1 agree on 100.0%" in out and "pairs.html: pairs to look at" in out
    (photos / "b.jpg").write_bytes(b"nothing")
    assert main([*words, "--workers", "1"]) == 1
    told = capsys.readouterr()
    assert "unreadable: 1" in told.out and "1 photos or edits failed; --retry_failed" in told.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["built"], "unknown command 'built'; the commands are build"),
        (["build", "nothing", "--out", "a"], "nothing"),
        (["build", "photos"], "--out"),
        (["build", "photos", "--out", "a", "--votes", "none.csv"], "none.csv: no such file"),
        (
            ["build", "photos", "--out", "a", "--edits", "8"],
            "edits is '8', expected a whole number at least 1 and at most 7",
        ),
        (["build", "photos", "--out", "a", "--judges", "me"], "judges has 'me', expected some of embedded"),
    ],
)
def test_what_cannot_be_used(photos, words, told, capsys):
    assert main(["relative", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert told in error and error.startswith("roc relative") and "\n" not in error
    assert not (photos.parent / "a").exists()


def lines(file, *rows):
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model with a score head, and one before it has one."""
    from tiny_models import tiny_llava

    import roc
    from roc.checkpoint.folder import save

    folder = tmp_path_factory.mktemp("models")
    built, processor = tiny_llava()
    built.save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    roc.attach(built, processor, roc.ScoreSpace(0, 10))
    save(built, processor, folder / "scorer")
    return folder


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        Image.effect_noise((40, 30), 90).convert("RGB").save(tmp_path / f"{name}.png")
    return tmp_path


TURNS = [{"from": "human", "value": "<|image|><|image|>?"}, {"from": "gpt", "value": "The change is [SCORE]."}]
PAIR = {"image": ["a.png", "b.png"], "delta": 1, "conversations": TURNS}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**PAIR, "image": ["a.png", "a.png"]}, "is not compared with itself"),
        ({**PAIR, "delta": 10.5}, "the delta is 10.5, outside -10..10; correct it"),
    ],
)
def test_pairs_that_cannot_be_used(pictures, model, row, told, capsys):
    file = lines(pictures / "p.jsonl", {**PAIR, "id": "x"}, {**row, "id": "y"})
    words = ["--model_name_or_path", str(model / "base"), "--output_dir", "out", "--report_to", "none"]
    train = ["relative", "train", str(CONFIGS / "relative_pairs.yaml"), "--data_path", file, *words]
    assert main(train) == 2 and "pairs/edits.jsonl: no such file" in capsys.readouterr().err
    assert main([*train, "--edits_path", "none"]) == 2
    error = capsys.readouterr().err
    assert told in error and "p.jsonl:2" in error and "Traceback" not in error and not Path("out").exists()
    plain = ["--pairs_path", file, "--min_score", "0", "--max_score", "10", "--num_tokens", "10"]
    assert main(["finetune", *plain, *words]) == 2
    error = capsys.readouterr().err
    assert "p.jsonl:2" in error and ("compared with itself" in error or "delta is 10.5, outside -10..10" in error)
    if "itself" in told:
        assert main(["evaluate", "--pairs", file, "--checkpoint", str(model / "scorer"), "--out", "e"]) == 2
        assert "p.jsonl:2: both pictures are" in capsys.readouterr().err


def test_groups_that_cannot_be_used(pictures, model, capsys):
    edited = {"image": "b.png", "group": "g", "edit": {"delta": 1.0}}
    file = lines(pictures / "g.jsonl", edited, {**edited, "image": "a.png"})
    words = ["--checkpoint", str(model / "scorer"), "--out", "out"]
    assert main(["evaluate", "--pairs", file, *words]) == 2
    error = capsys.readouterr().err
    assert "g.jsonl:1: the group 'g' has 0 pictures without 'edit' and 2 with one; expected one source" in error
    assert not Path("out").exists()


@pytest.fixture
def quick(monkeypatch, photos):
    pytest.importorskip("openai")
    monkeypatch.setattr(patience, "SHORTEST", 0.01)
    monkeypatch.setattr(patience, "LONGEST", 0.05)
    common = ["relative", "build", "photos", "--out", "out", "--workers", "1", "--damaged", "0"]
    return [*common, "--requests_at_once", "1", "--retries", "0"]


JUDGED = "<think>Conclusion: worse.</think><answer>-1.5</answer>"


def test_a_judge_that_answers_nothing(quick, capsys):
    with ChatStandIn(answer=lambda prompt: "I cannot say.") as server:
        words = [*quick, "--edits", "2", "--judges", f"chat:m@{server.url}"]
        assert main(words) == 2
    error = capsys.readouterr().err
    assert (
        "no edit is of use (unjudged 2), for instance: chat:m: 3 answers" in error
        and "rejected.jsonl says why" in error
    )
    assert "hold no number, the last one: 'I cannot say.'" in error and "Traceback" not in error
    told = [json.loads(line) for line in Path("out/rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["reason"] for row in told] == ["unjudged"] * 2 and not Path("out/pairs.jsonl").exists()


def test_an_editor_that_returns_another_size_or_the_unchanged_picture(quick, capsys):
    judge = iter([JUDGED, JUDGED.replace("-", "")] * 9)
    with ImageStandIn("unchanged", "square", "larger") as editor, ChatStandIn(answer=lambda _: next(judge)) as server:
        words = [*quick, "--edits", "4", "--editors", f"images:m@{editor.url}", "--judges", f"chat:m@{server.url}"]
        assert main(words) == 1
    printed = capsys.readouterr()
    assert "2 pairs, 0 better, 2 worse" in printed.out and "1 resized, 2 not used" in printed.out
    assert "unchanged: 1" in printed.out and "other size: 1" in printed.out
    assert "1 photos or edits failed; --retry_failed tries them again" in printed.err
    found = json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    assert found["rejected"] == {"other size": 1, "unchanged": 1} and found["resized"] == 1


def stop_after(server, requests):
    """Sends the signal to this process once so many requests have come."""
    while len(server.bodies) < requests:
        time.sleep(0.01)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)


def test_a_command_that_waits_for_an_endpoint_is_ended_without_loss(quick, capsys):
    def end(*_):
        raise KeyboardInterrupt  # as Ctrl-C does

    judge = iter([JUDGED, JUDGED.replace("-", "")] * 9)
    with ChatStandIn(answer=lambda _: next(judge)) as server:
        server.faults = [None] * 2 + [503] * 10_000
        words = [*quick, "--edits", "2", "--judges", f"chat:m@{server.url}"]
        before = signal.signal(signal.SIGALRM, end)
        threading.Thread(target=stop_after, args=(server, 6), daemon=True).start()
        try:
            assert main(words) == 130
        finally:
            signal.signal(signal.SIGALRM, before)
        error = capsys.readouterr().err
        assert "does not answer" in error and "waiting. Ctrl-C ends the run, nothing is lost" in error
        assert "everything that was done is kept; the same command goes on from here" in error
        server.faults, asked = [], len(server.bodies)
        assert main(words) == 0 and len(server.bodies) - asked == 2  # of four judgements, two were there
    assert "2 pairs" in capsys.readouterr().out
