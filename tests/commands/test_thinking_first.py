"""`roc score --reason` and `roc evaluate --reason` as a user types them."""

import csv
import itertools
import json

import pytest
from heads import build, picture
from reasoning_models import GOOD_TEXT, Script, reasoning_model

from roc.checkpoint.folder import save
from roc.commands import evaluate, score
from roc.model.reasoned import reasoned_answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reason")
    (folder / "photos").mkdir()
    for i in range(4):
        picture(i).save(folder / "photos" / f"{i}.png")
    lines = [f"photos/{i}.png,{3 + i}" for i in range(4)]
    (folder / "ratings.csv").write_text("\n".join(["image,score", *lines]) + "\n")
    model, processor, _ = reasoning_model()
    save(model, processor, folder / "thinker")
    model, processor, _ = build("llava")
    save(model, processor, folder / "plain")
    return folder


@pytest.fixture
def says(monkeypatch):
    model, processor, _ = reasoning_model()

    def say(*texts):
        script = Script(model, processor, itertools.cycle(texts))
        monkeypatch.setattr(type(model), "generate_with_scores", lambda self, **inputs: script(**inputs))
        return script

    return say


def scored(folder, out, *words):
    words = [str(folder / "photos"), "--checkpoint", str(folder / "thinker"), "--workers", "0", *words]
    return score.main([*words, "--out", str(out)])


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_critique_is_a_column_and_answers_are_counted(folder, tmp_path, says, capsys):
    says(GOOD_TEXT, "none", GOOD_TEXT)
    out = tmp_path / "s.csv"
    assert scored(folder, out, "--reason", "--batch_size", "2", "--max_new_tokens", "16") == 0
    rows = rows_of(out)
    # Of each two, the second is written anew, and well.
    assert [row["answers"] for row in rows] == ["good 1"] * 4 and "samples" not in rows[0]
    assert rows[0]["text"].startswith("<think>Soft light.</think><answer>")
    assert [row["retried"] for row in rows] == ["", "no_answer 1"] * 2
    assert "all 4 answers readable; 2 written anew: 2 no </answer>" in capsys.readouterr().out
    facts = json.loads((tmp_path / "s.run.json").read_text())
    assert (facts["answers"], facts["retried"]) == ({"good": 4}, {"no_answer": 2})
    assert scored(folder, out, "--reason", "--batch_size", "2", "--max_new_tokens", "16") == 0  # finished
    assert "all 4 answers readable; 2 written anew: 2 no </answer>" in capsys.readouterr().out
    assert scored(folder, out, "--reason", "--samples", "2", "--max_new_tokens", "16") == 2
    assert "from a run with other settings" in capsys.readouterr().err


def test_unreadable_answers_leave_no_number(folder, tmp_path, says, capsys):
    says("<think>a</think><answer>7</answer>")
    out = tmp_path / "s.csv"
    assert scored(folder, out, "--reason", "--samples", "2") == 0
    rows = rows_of(out)
    assert [(row["prediction"], row["std"], row["answers"]) for row in rows] == [("", "", "no_score 2")] * 4
    assert len(json.loads(rows[0]["samples"])) == 2 and rows[0]["std_between"] == ""
    assert "8 of 8 answers unreadable: 8 no [SCORE] in the answer" in capsys.readouterr().out


def test_reasoning_is_asked_of_a_model_that_does(folder, tmp_path, capsys):
    words = [str(folder / "photos"), "--checkpoint", str(folder / "plain"), "--workers", "0", "--reason"]
    assert score.main(words) == 2
    assert "does not reason; train it on critiques" in capsys.readouterr().err
    assert score.main([*words[:-1], "--samples", "3"]) == 2
    assert "samples needs --reason" in capsys.readouterr().err
    words = ["--checkpoint", str(folder / "plain"), "--data_path", str(folder / "ratings.csv"), "--reason"]
    assert evaluate.main([*words, "--out", str(tmp_path / "e"), "--no_report", "--workers", "0"]) == 2
    assert "does not reason" in capsys.readouterr().err


def test_an_evaluation_counts_wrong_answers(folder, tmp_path, says, capsys):
    texts = [reasoned_answer("a"), reasoned_answer("b"), reasoned_answer("c"), "none", "none"]
    says(*texts)
    out = tmp_path / "e"
    words = ["--checkpoint", str(folder / "thinker"), "--data_path", str(folder / "ratings.csv"), "--reason"]
    words += ["--out", str(out), "--no_report", "--workers", "0", "--batch_size", "4", "--n_resamples", "0"]
    assert evaluate.main(words) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["answers"] == {"good": 3, "no_answer": 1} and metrics["readable"] == 0.75
    assert (metrics["n"], metrics["unscored"], metrics["retried"]) == (3, 1, 1)
    assert metrics["retried_kinds"] == {"no_answer": 1}
    table = capsys.readouterr().out
    assert "1 of 4 answers unreadable: 1 no </answer>; 1 written anew: 1 no </answer>; critiques of 1" in table
    assert metrics["critique_n"] == 3 and "do the words matter: MAE" in table
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert [line["answers"][0]["kind"] for line in lines] == ["good", "good", "good", "no_answer"]
    assert lines[0]["id"] == "photos/0.png" and lines[0]["answers"][0]["text"] == texts[0]
