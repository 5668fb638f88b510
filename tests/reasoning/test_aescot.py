"""Critiques of others are read in the shapes that are around, and what cannot be used is kept with its reason."""

import json
import re

import pytest
from critiques import GOOD_TEXT
from PIL import Image

from roc.data.reading import read_records
from roc.data.rows import DataError
from roc.reasoning.aescot import convert
from roc.reasoning.config import ConvertOptions
from roc.reasoning.look import look_at
from roc.reasoning.outputs import Outputs
from roc.score_space import ScoreSpace

ANSWER = f"<think>{GOOD_TEXT}</think>\n<answer>0.62</answer>"
CHAT = [{"role": "user", "content": "<image>Rate it."}, {"role": "assistant", "content": ANSWER}]


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    return tmp_path


def convert_rows(folder, *rows, **others):
    (folder / "theirs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return convert(ConvertOptions(file=folder / "theirs.jsonl", out=folder / "corpus.jsonl", **others))


def records(folder, low=0, high=1):
    return read_records(folder / "corpus.jsonl", space=ScoreSpace(low, high))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT, "images": ["a.jpg"]},
        {"messages": [CHAT[0], {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}], "image": "a.jpg"},
        {
            "conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": ANSWER}],
            "image": "a.jpg",
            "gt_score": 0.6179,
        },
        {"image_path": "a.jpg", "response": ANSWER},
        {"image": "a.jpg", "critique": GOOD_TEXT, "score": 0.62},
        {"image": "a.jpg", "think": f"<think>{GOOD_TEXT}</think>", "answer": "<answer>0.62</answer>"},
        {"image": "a.jpg", "cot": GOOD_TEXT, "label": "0.62"},
        {"image": "a.jpg", "response": ANSWER.replace("0.62", "[SCORE]"), "score": 0.62},
    ],
)
def test_a_row_becomes_a_record(folder, row):
    assert convert_rows(folder, row).kept == 1
    (record,) = records(folder)
    assert record.id == "a.jpg" and record.scores["overall"] == row.get("gt_score", 0.62)
    assert record.conversations[1] == ("assistant", f"<think>{GOOD_TEXT}</think><answer>[SCORE]</answer>")
    assert record.conversations[0][1].startswith("<|image|>How would") and "0 to 1?" in record.conversations[0][1]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"image": "a.jpg", "response": ANSWER.replace("0.62", ".62")}, "the answer is '.62'; expected one plain"),
        ({"image": "a.jpg", "response": ANSWER.replace("0.62", "6/10")}, "expected one plain decimal"),
        ({"image": "a.jpg", "response": ANSWER.replace("0.62", "6.2")}, "outside of 0..1; set --min_score"),
        ({"image": "a.jpg", "response": ANSWER, "score": 0.7}, "the score is 0.7 and the answer 0.62"),
        ({"image": "a.jpg", "response": ANSWER.replace("</think>", "")}, "each once and nothing outside"),
        ({"image": "a.jpg", "critique": GOOD_TEXT}, "there is no score"),
        ({"image": "a.jpg", "score": 0.5}, "there is no conversation, and no text"),
        ({"messages": CHAT[:1], "image": "a.jpg"}, "does not end with an answer"),
        ({"messages": CHAT}, "there is no path of one image"),
        ({"messages": CHAT, "images": ["a.jpg", "a.jpg"]}, "there is no path of one image"),
        ({"messages": CHAT, "image": "gone.jpg"}, "is not in .*--image_folder"),
        ({"messages": CHAT, "image": "../a.jpg"}, "lies outside of"),
        ({"messages": CHAT, "image": "a.jpg", "split": "dev"}, "the split is 'dev'"),
    ],
)
def test_a_row_that_cannot_be_read_is_kept_with_its_reason(folder, row, told):
    good = {"messages": CHAT, "image": "a.jpg"}
    converted = convert_rows(folder, good, row)
    assert (converted.kept, converted.rejected) == (1, {"unread": 1})
    (rejected,) = [json.loads(line) for line in Outputs(folder / "corpus.jsonl").rejected.read_text().splitlines()]
    assert rejected["line"] == 2 and rejected["row"] == row
    assert re.search(told, rejected["detail"])


def test_a_leak_is_kept_with_its_reason(folder):
    leak = {"image": "a.jpg", "critique": GOOD_TEXT + " I would say 62%.", "score": 0.62}
    converted = convert_rows(folder, {"messages": CHAT, "image": "a.jpg"}, leak, {**leak, "critique": "Nice."})
    assert (converted.kept, converted.rejected) == (1, {"leak": 1, "form": 1})
    rejected = [json.loads(line) for line in (folder / "corpus.rejected.jsonl").read_text().splitlines()]
    assert [row["detail"] for row in rejected] == ["62%", "1 words, expected at least 25"]


def test_rejected_critiques_are_shown(folder):
    leak = {"image": "a.jpg", "critique": GOOD_TEXT + " I would say 62%.", "score": 0.62}
    convert_rows(folder, {"messages": CHAT, "image": "a.jpg"}, leak, {"image": "a.jpg", "score": 0.62})
    look = look_at(folder / "corpus.jsonl", ScoreSpace(0, 1))
    assert look.reasons == {"leak": 1, "unread": 1}
    (shown,) = look.rejected  # nothing but counted is what could not be read
    assert (shown.tier, shown.critique, shown.note) == ("fair", leak["critique"], "leak: 62%")


def test_several_critiques_of_one_photo_are_several_records(folder):
    convert_rows(folder, *[{"messages": CHAT, "image": "a.jpg"}] * 2)
    assert [record.id for record in records(folder)] == ["a.jpg", "a.jpg (line 2)"]
    assert len({record.group for record in records(folder)}) == 1


def test_nothing_is_replaced_and_nothing_usable_is_an_error(folder):
    row = {"image": "a.jpg", "critique": GOOD_TEXT, "score": 3.2}
    with pytest.raises(ValueError, match="no row is of use.*line 1, the score is 3.2, outside of 0..1"):
        convert_rows(folder, row)
    assert not (folder / "corpus.jsonl").exists()
    assert convert_rows(folder, row, min_score=1, max_score=5).kept == 1
    assert records(folder, 1, 5)[0].scores == {"overall": 3.2}
    with pytest.raises(ValueError, match="corpus.jsonl is there.*--overwrite"):
        convert_rows(folder, row, min_score=1, max_score=5)
    with pytest.raises(DataError, match="this is not JSON"):
        (folder / "bad.jsonl").write_text("{")
        convert(ConvertOptions(file=folder / "bad.jsonl", out=folder / "x.jsonl"))
