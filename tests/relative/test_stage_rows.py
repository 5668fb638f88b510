"""Rows of the first two stages: changes become scores, a question without words stands beside each, faults are told."""

import json

import pytest
from edited_photos import write_photos

from roc.data.rows import DataError
from roc.model.reasoned import reasoned_answer
from roc.relative.stage_rows import read_anchors, read_changes
from roc.relative.train_config import PairsStage
from roc.relative.wording import edit_question, pair_question
from roc.score_space import ScoreSpace
from roc.training.config import load_config


@pytest.fixture
def write(tmp_path):
    write_photos(tmp_path, count=4)

    def rows(name, *rows):
        lines = [json.dumps({key: value for key, value in row.items() if value is not None}) for row in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    return rows


def turns(question, words="It is brighter."):
    reply = reasoned_answer(words) if words else "The change is [SCORE]."
    return [{"from": "human", "value": question}, {"from": "gpt", "value": reply}]


def pair(name, delta, images=("0.png", "1.png"), split="train", words="It is brighter.", **more):
    asked = turns(pair_question(words=bool(words)), words)
    return {"id": name, "image": list(images), "delta": delta, "conversations": asked, "group": "a", "split": split} | {
        "edit": {"instruction": "Brighten."}, **more,
    }  # fmt: skip


def read(pairs, edits=None, **settings):
    given = {"model_name_or_path": "base", "data_path": pairs, "edits_path": edits, **settings}
    return read_changes(load_config(None, given, group=PairsStage))


def test_a_change_is_a_score_and_is_asked_about_twice(write):
    held_out = pair("v", -2, ("2.png", "3.png"), "val", group="b")
    pairs = write("p.jsonl", pair("a", 5), held_out, pair("t", 1, ("2.png", "3.png"), "val", group="b"))
    edit = pair("e", -10, group="a") | {
        "image": "0.png",
        "conversations": turns(edit_question("Brighten.", words=True)),
    }
    found = read(pairs, write("e.jsonl", edit), short_answers=1)
    assert [(row.id, row.scores["overall"]) for row in found.train] == [("a", 7.5), ("e", 0), ("a", 7.5), ("e", 0)]
    short = [row.conversations for row in found.train[2:]]
    assert [one[1][1] for one in short] == ["The change is [SCORE]."] * 2 and "<|image|>" * 2 in short[0][0][1]
    assert short[1][0][1] == edit_question("Brighten.", words=False)
    assert found.comparison.reasoning.endswith("then give the number.") and found.counts == (1, 1, 2)
    assert [(row.scores["overall"], row.conversations[1][1]) for row in found.val] == [
        (4.0, "The change is [SCORE]."), (5.5, "The change is [SCORE]."),
    ]  # fmt: skip


def test_pairs_without_words_teach_no_reasons(write):
    found = read(write("p.jsonl", pair("a", 5, words=None, split=None), pair("b", -5, words=None, split=None)))
    assert found.comparison.reasoning is None and len(found.train) + len(found.val) == 2
    assert len({row.split for row in [*found.train, *found.val]}) == 1  # of one source


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (pair("a", 1, ("0.png", "0.png")), "both pictures are 0.png"),
        (pair("a", 10.5), "the delta is 10.5, outside -10..10; correct it"),
        (pair("a", 1, ("0.png",)), "conversations"),
        (pair("a", None, score=3), "no other score; this row has overall"),
    ],
)
def test_faults_are_told_with_their_line(write, row, told):
    with pytest.raises(DataError) as caught:
        read(write("p.jsonl", pair("x", 1), row))
    text = str(caught.value)
    assert "p.jsonl:2" in text and (told in text or "expected two pictures" in text or "<|image|>" in text)


def test_anchors_are_groups_of_one(write):
    rows = [{"id": str(i), "image": f"{i}.png", "score": i, "group": "a", "split": "train"} for i in range(3)]
    options = {"decode": False, "pixel_limit": 10**6}
    found = read_anchors(write("a.jsonl", *rows), None, ScoreSpace(0, 10), **options)
    assert [record.group for record in found] == [None] * 3
    rows[1] = {**rows[1], "score": None, "edit": {"delta": 1}}
    with pytest.raises(DataError, match=r"a.jsonl:2: an anchor is one photo with a score"):
        read_anchors(write("a.jsonl", *rows), None, ScoreSpace(0, 10), **options)
