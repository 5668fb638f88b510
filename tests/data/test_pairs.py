"""Files of pairs: what is accepted, and every fault with its line."""

import json

import pytest
from PIL import Image

from roc.data.pairs import Pair, pair_records, read_pairs
from roc.data.rows import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


def write(folder, text, name="pairs.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_who_is_preferred_or_by_how_much(folder):
    text = "image_a,image_b,preferred,delta,category,group,split\na.png,b.png,B,,blur,s1,train\n"
    text += "a.png,c.png,,-1.5,,,\nb.png,c.png,tie,0,,,val\n"
    first, second, third = read_pairs(write(folder, text))
    a, b, c = (str(folder / f"{name}.png") for name in "abc")
    assert first == Pair("1", (a, b), 1.0, None, group="s1", category="blur", split="train", line=2)
    assert (second.wins, second.delta, second.images) == (0.0, -1.5, (a, c))
    assert (third.wins, third.delta, third.split) == (0.5, 0.0, "val")
    records = pair_records([first, second])
    assert [(one.id, one.images, one.group) for one in records] == [
        *(("1#a", (a,), "s1"), ("1#b", (b,), "s1")),
        *(("2#a", (a,), "2"), ("2#b", (c,), "2")),
    ]
    assert not any(record.scores for record in records)
    assert read_pairs(folder / "pairs.csv", split="val") == [third]


def test_pairs_of_edits_are_read_as_they_were_built(folder):
    row = {"id": "s#1", "image": ["a.png", "b.png"], "delta": 1.25, "group": "s", "edit": {"category": "exposure"}}
    row |= {"conversations": [{"from": "human", "value": "<|image|><|image|>?"}], "split": "test"}
    (pair,) = read_pairs(write(folder, json.dumps(row) + "\n", "pairs.jsonl"), width=10)
    assert (pair.id, pair.delta, pair.category, pair.group, pair.split) == ("s#1", 1.25, "exposure", "s", "test")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,,a,", "a pair needs two pictures"),
        ("a.png,a.png,a,", "both pictures are 'a.png'; a picture is not compared with itself"),
        ("a.png,b.png,,", "needs 'preferred' (a, b or tie) or 'delta'; this one has neither"),
        ("a.png,b.png,left,", "preferred is 'left'; expected a, b or tie"),
        ("a.png,b.png,a,0.5", "preferred is a and delta is 0.5, second minus first; correct one of them"),
        ("a.png,b.png,,much", "delta is 'much'; expected a number"),
        ("a.png,b.png,,12", "delta is 12, outside -10..10; correct it, or say with delta_width"),
        ("a.png,../b.png,a,", "lies outside of"),
        ("a.png,d.png,a,", "no image"),
    ],
)
def test_every_fault_is_told_with_its_line(folder, row, message):
    with pytest.raises(DataError) as caught:
        read_pairs(write(folder, f"image_a,image_b,preferred,delta\na.png,b.png,a,\n{row}\n"), width=10)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{folder / 'pairs.csv'}:3: ") and message in fault


def test_an_empty_file_a_split_without_pairs_and_an_id_used_twice(folder):
    header = "id,image_a,image_b,preferred\n"
    with pytest.raises(DataError, match="no pair in this file|no rows"):
        read_pairs(write(folder, header))
    with pytest.raises(DataError, match="no pair belongs to the split 'test'"):
        read_pairs(write(folder, header + "x,a.png,b.png,a\n"), split="test")
    with pytest.raises(DataError, match="id 'x' was used before, in line 2"):
        read_pairs(write(folder, header + "x,a.png,b.png,a\nx,a.png,c.png,a\n"))


def test_a_group_is_pairs_of_its_source_and_each_edit(folder):
    rows = [
        {"id": "s!", "image": "a.png", "group": "s", "split": "val"},
        {"id": "s#1!", "image": "b.png", "group": "s", "edit": {"delta": 1.5, "category": "blur"}, "split": "val"},
        {"id": "s#2!", "image": "c.png", "group": "s", "edit": {"delta": -2}, "split": "val"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    first, second = read_pairs(write(folder, text, "groups.jsonl"))
    assert (first.id, first.delta, first.wins, first.category) == ("s#1!", 1.5, 1.0, "blur")
    assert (second.delta, second.wins, second.split, second.line) == (-2, 0.0, "val", 3)
    assert [path[-5:] for path in (*first.images, *second.images)] == ["a.png", "b.png", "a.png", "c.png"]
    with pytest.raises(DataError, match="the group 's' has 0 pictures without 'edit' and 2 with one; expected"):
        read_pairs(write(folder, text[text.index("\n") + 1 :], "headless.jsonl"))
