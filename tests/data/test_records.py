"""Splits of records: a hash of the id decides, and what the file says about them is kept."""

import random

import pytest

from roc.data.records import Record, resolve_splits, split_by_id


def make_records(count, split=None):
    return [Record(f"{split}{number}.jpg", (f"{split}{number}.jpg",), split=split) for number in range(count)]


def test_split_by_id_depends_on_the_id_alone():
    records = make_records(2000)
    kept, held_out = split_by_id(records, 0.1)
    assert len(kept) + len(held_out) == 2000 and 150 < len(held_out) < 250
    shuffled = records[500:]
    random.Random(0).shuffle(shuffled)
    again = {record.id for record in split_by_id(shuffled, 0.1)[1]}
    assert again == {record.id for record in held_out} & {record.id for record in shuffled}
    assert {record.id for record in split_by_id(records, 0.1, "other")[1]} != {record.id for record in held_out}
    assert split_by_id(records, 0) == (records, []) and split_by_id(records, 1) == ([], records)
    with pytest.raises(ValueError, match="expected 0..1"):
        split_by_id(records, 10)


def test_split_by_id_is_the_same_everywhere():
    """sha256("roc:a") to "roc:h" start at .42 .63 .57 .24 .48 .39 .78 .88 of the way from 0 to its largest value."""
    kept, held_out = split_by_id([Record(name, (name,)) for name in "abcdefgh"], 0.45)
    assert ["".join(record.id for record in part) for part in (kept, held_out)] == ["bcegh", "adf"]


def test_resolve_splits_without_validation_rows_holds_out_some_of_train():
    train, test = make_records(300, "train"), make_records(50, "test")
    splits = resolve_splits(train + test)
    assert splits["test"] == test
    assert 10 < len(splits["val"]) < 60 and {record.split for record in splits["val"]} == {"train"}
    assert len(splits["train"]) + len(splits["val"]) == 300


def test_resolve_splits_keeps_given_validation_rows():
    records = make_records(20, "train") + make_records(3, "val") + make_records(2)
    splits = resolve_splits(records)
    assert {name: len(part) for name, part in splits.items()} == {"train": 22, "val": 3, "test": 0}


def test_resolve_splits_never_takes_the_last_training_record():
    for number in range(50):
        splits = resolve_splits([Record(f"{number}", ("a.jpg",))])
        assert len(splits["train"]) == 1 and not splits["val"]
