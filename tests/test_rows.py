"""Rows keep the line they stand on, whatever the format; the values themselves are judged in test_records.py."""

import pytest

from roc.rows import DataError, Faults, read_rows


def rows_of(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    faults = Faults(path)
    return read_rows(path, faults), [fault.removeprefix(f"{path}:") for fault in faults.texts()]


def test_csv_lines_count_quoted_line_ends_and_blank_lines(tmp_path):
    text = '\ufeffa;b\r\n1;"x\r\ny"\r\n\r\n2; \r\n'
    assert rows_of(tmp_path, "t.csv", text) == ([(2, {"a": "1", "b": "x\r\ny"}), (5, {"a": "2", "b": None})], [])


def test_rows_before_and_after_a_bad_line_are_kept(tmp_path):
    rows, faults = rows_of(tmp_path, "t.csv", "a,b\n1,2\n3\n5,6\n")
    assert rows == [(2, {"a": "1", "b": "2"}), (4, {"a": "5", "b": "6"})]
    assert faults == ["3: 1 cells where the header has 2; put cells that contain ',' in quotation marks"]
    rows, faults = rows_of(tmp_path, "t.jsonl", '{"a": 1}\n{"a":\n{"a": 3}\n')
    assert rows == [(1, {"a": 1}), (3, {"a": 3})] and faults[0].startswith("2: this is not JSON")


def test_json_list_gives_the_line_each_sample_begins_on(tmp_path):
    assert rows_of(tmp_path, "t.json", '[{"a":\n1}, {"a": 2},\n\n{"a": 3}]\n') == (
        [(1, {"a": 1}), (2, {"a": 2}), (4, {"a": 3})],
        [],
    )


def test_faults_are_sorted_by_line_with_the_whole_file_first(tmp_path):
    faults = Faults(tmp_path / "f.csv")
    assert not faults
    for line, what in ((7, "late"), (2, "b"), (None, "whole"), (2, "a")):
        faults.add(line, what)
    texts = [text.removeprefix(f"{tmp_path}/") for text in faults.texts()]
    assert faults and texts == ["f.csv: whole", "f.csv:2: b", "f.csv:2: a", "f.csv:7: late"]


def test_data_error_with_one_fault_is_that_fault():
    assert str(DataError(["x.csv:3: wrong"])) == "x.csv:3: wrong"


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_rows(tmp_path / "t.csv", Faults(tmp_path / "t.csv"))
