"""Rows as the policy is asked about them: which are of one picture."""

from dataclasses import replace

from roc.data.records import Record
from roc.policy.data import each_once


def rated(name, score, **fields):
    return Record(name, (f"{name}.png",), scores={"overall": score}, **fields)


def test_a_photo_is_asked_about_in_every_data_set_and_every_group_of_edits(caplog):
    """Its rating is another one there, or what it is compared with."""
    photo, source = rated("a", 5.0, dataset="ava"), Record("s", ("s.png",), group="blur")
    rows = [
        *(photo, replace(photo, id="a2", dataset="para", scores={"overall": 3.0})),
        *(source, Record("e", ("e.png",), group="blur", edit={"delta": -1.0})),
        *(replace(source, id="s2", group="crop"), Record("f", ("f.png",), group="crop", edit={"delta": 1.0})),
    ]
    assert each_once("rows.jsonl", rows) == rows
    with caplog.at_level("INFO"):
        assert each_once("rows.jsonl", [*rows, replace(source, id="s3"), replace(photo, id="a3")]) == rows
    assert "rows.jsonl: 2 rows repeat the photo of another one" in caplog.text


def test_of_a_rated_and_an_unrated_row_the_rated_one_is_kept():
    photo = rated("a", 5.0)
    assert each_once("rows.jsonl", [replace(photo, id="bare", scores={}), rated("b", 2.0), photo]) == [
        photo,
        rated("b", 2.0),
    ]


def test_rows_that_do_not_have_one_picture_are_left_for_the_check_that_refuses_them():
    rows = [Record("a", (), scores={"overall": 5.0}, line=1), Record("b", (), scores={"overall": 3.0}, line=2)]
    rows += [replace(row, images=("a.png", "b.png"), line=row.line + 2) for row in rows]
    assert each_once("rows.jsonl", rows) == rows
