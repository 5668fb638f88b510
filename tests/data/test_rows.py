"""Rows keep their line in every format, and come back as they were written; test_reading.py checks the values."""

import csv
import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from roc.data.reading import read_records
from roc.data.rows import DataError, Faults, read_rows, write_rows


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


RATED = [
    {"image": Path("a, \u00e9.jpg"), "score": np.float64(0.1) + 0.2, "h_1": 1, "h_2": np.int64(3), "group": "7"},
    {"image": "b.jpg", "id": 'say "b"', "score": 5, "light, soft; dim": np.float32(0.5), "comment": "two\r\nlines"},
    {"image": "c.jpg", "score": 4.25, "split": "test", "std": None},
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_what_is_written_is_read_as_equal_records(tmp_path, suffix):
    for row in RATED:
        (tmp_path / row["image"]).touch()
    path = tmp_path / "out" / f"data{suffix}"
    assert write_rows(path, iter(RATED)) == 3
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    records = read_records(path, tmp_path, space=None, check_images=False)
    assert [record.id for record in records] == ["a, \u00e9.jpg", 'say "b"', "c.jpg"]
    assert [record.scores for record in records] == [
        {"overall": 0.1 + 0.2},
        {"overall": 5.0, "light, soft; dim": 0.5},
        {"overall": 4.25},
    ]
    assert records[0].histograms == {"overall": (0.25, 0.75)} and not records[1].histograms
    assert [record.group for record in records] == ["7", None, None]
    assert records[1].comment == "two\r\nlines" and records[2].split == "test"


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_lists_and_objects_are_written_where_the_file_can_hold_them(tmp_path, suffix):
    turns = [{"from": "human", "value": "<|image|>How?"}, {"from": "gpt", "value": "[SCORE] and [SCORE]"}]
    rows = [{"image": ["a.jpg"], "gt_score": (3.5, 2), "edit": {"blur": 2.0}, "conversations": turns}]
    write_rows(tmp_path / f"t{suffix}", rows)
    back = read_rows(tmp_path / f"t{suffix}", Faults(tmp_path))
    assert [row for _, row in back] == [{**rows[0], "gt_score": [3.5, 2]}]


def test_columns_stand_in_the_order_of_their_first_appearance(tmp_path):
    write_rows(tmp_path / "t.csv", [{"b": 1}, {"a": "x;y", "b": None}, {"b": 2.50, "c": ""}])
    assert (tmp_path / "t.csv").read_bytes() == b"b,a,c\n1,,\n,x;y,\n2.5,,\n"
    assert write_rows(tmp_path / "t.json", []) == 0 and (tmp_path / "t.json").read_text() == "[]\n"


def test_columns_that_are_named_come_first_even_in_a_table_without_rows(tmp_path):
    assert write_rows(tmp_path / "t.csv", [{"b": 1, "c": 2}], ("a", "c")) == 1
    assert (tmp_path / "t.csv").read_text() == "a,c,b\n,2,1\n"
    assert write_rows(tmp_path / "t.csv", [], ("a", "b")) == 0 and (tmp_path / "t.csv").read_text() == "a,b\n"


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("t.csv", [1, 2], r"row 2, 'x': a table of text cannot hold \[1, 2\]; write .jsonl"),
        ("t.tsv", float("nan"), "row 2, 'x': nan cannot be written"),
        ("t.jsonl", {1, 2}, "row 2, 'x': {1, 2} is a set"),
        ("t.parquet", "text", "'x': a column of Parquet holds one type only"),
        ("t.parquet", {"b": 1}, "'x': "),
        ("t.txt", 1, "the suffix '.txt' is not known"),
    ],
)
def test_what_cannot_be_given_back_is_refused_and_the_old_file_stays(tmp_path, name, value, what):
    (tmp_path / name).write_text("old")
    first = {"a": 1} if isinstance(value, dict) else 1
    with pytest.raises(ValueError, match=what):
        write_rows(tmp_path / name, [{"x": first}, {"x": value}])
    assert [file.name for file in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "old"


def test_a_blank_around_an_image_would_be_lost_in_a_table(tmp_path):
    with pytest.raises(ValueError, match="row 1, 'image': ' a.jpg' begins or ends with a blank"):
        write_rows(tmp_path / "t.csv", [{"image": " a.jpg"}])


@pytest.mark.parametrize(("value", "what"), [("[" * 100_000, "recursion"), ("1" * 5000, "4300 digits")])
def test_json_that_python_cannot_hold_is_a_fault_of_its_line(tmp_path, value, what):
    rows, faults = rows_of(tmp_path, "t.jsonl", f'{{"a": 1}}\n{{"a": {value}}}\n{{"a": 3}}\n')
    assert (
        rows == [(1, {"a": 1}), (3, {"a": 3})]
        and faults[0].startswith("2: cannot be read as JSON")
        and what in faults[0]
    )
    rows, faults = rows_of(tmp_path, "t.json", f'[{{"a": 1}},\n{{"a": {value}}}]\n')
    assert rows == [(1, {"a": 1})] and faults[0].startswith("2: cannot be read as JSON") and what in faults[0]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_carriage_return_in_a_cell_ends_no_row(tmp_path, suffix):
    rows = [{"image": "a\rb.jpg", "comment": "one\rtwo"}, {"image": "c.jpg", "comment": None}]
    path = tmp_path / f"data{suffix}"
    write_rows(path, rows)
    assert [row for _, row in read_rows(path, Faults(path))] == rows


# One rule for every table: what spreadsheets and data frames write.


@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_first_line_may_name_the_separator(tmp_path, mark, bom):
    text = f"{bom}sep={mark}\r\na{mark}b\r\n1{mark}2\r\n3\r\n"
    rows, faults = rows_of(tmp_path, "t.csv", text)
    assert rows == [(3, {"a": "1", "b": "2"})] and faults[0].startswith("4: 1 cells where the header has 2")
    assert rows_of(tmp_path, "t.csv", f'{bom}"sep={mark}"\na{mark}b\n1{mark}2\n')[0] == [(3, {"a": "1", "b": "2"})]


def test_empty_rows_and_cells_beside_the_table_are_left_out(tmp_path):
    text = "a,b,,\n1,2,,\n,,,\n,\n , ,,\n3,4\n5,,,x\nNA,nan\n"
    rows, faults = rows_of(tmp_path, "t.csv", text)
    assert rows == [(2, {"a": "1", "b": "2"}), (6, {"a": "3", "b": "4"})]
    assert faults == ["7: 4 cells where the header has 2; put cells that contain ',' in quotation marks"]


def test_no_value_is_none_in_every_format(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {"a": [1.5, float("nan"), None, 4.0], "b": ["x", "N/A", None, "NA"]}
    parquet.write_table(pyarrow.table(table), tmp_path / "t.parquet")
    expected = [{"a": 1.5, "b": "x"}, {"a": 4.0, "b": None}]
    assert [row for _, row in read_rows(tmp_path / "t.parquet", Faults(tmp_path))] == expected
    text = '{"a": 1.5, "b": "x"}\n{"a": NaN, "b": "N/A"}\n{"a": null}\n{"a": 4.0, "b": "null"}\n'
    assert [row for _, row in rows_of(tmp_path, "t.jsonl", text)[0]] == expected


def test_decimals_dates_and_bytes_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {
        "image": ["a.jpg", "b.jpg"],
        "score": [Decimal("3.50"), Decimal("4.00")],
        "day": [datetime.date(2024, 5, 1), None],
    }
    parquet.write_table(pyarrow.table(table), tmp_path / "t.parquet")
    for name in "ab":
        (tmp_path / f"{name}.jpg").touch()
    records = read_records(tmp_path / "t.parquet", space=None, check_images=False)
    assert [record.scores for record in records] == [{"overall": 3.5}, {"overall": 4.0}]
    rows = [row for _, row in read_rows(tmp_path / "t.parquet", Faults(tmp_path))]
    assert write_rows(tmp_path / "t.csv", rows) == 2
    assert (tmp_path / "t.csv").read_text() == "image,score,day\na.jpg,3.5,2024-05-01\nb.jpg,4,\n"


FORMULAS = [
    "=1+1.jpg",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "  =1",
    "'=1",
    "''=1",
    "'plain",
    "-",
    "\uff1d1",
    "-0.5",
    "+1e-5",
    "#N/A.jpg",
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx", ".jsonl"])
def test_text_is_never_a_formula_and_comes_back_as_it_was(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    texts = [text for text in FORMULAS if suffix != ".xlsx" or (text == text.strip() and "\r" not in text)]
    rows = [{"id": str(place), "text": text, "=name": 1} for place, text in enumerate(texts)]
    write_rows(path, rows)
    back = [row for _, row in read_rows(path, Faults(path))]
    assert [row["text"] for row in back] == texts and all("=name" in row for row in back)
    if suffix in (".csv", ".tsv"):
        with path.open(newline="") as file:
            cells = [cell for line in csv.reader(file, delimiter="\t" if suffix == ".tsv" else ",") for cell in line]
        assert {cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@\uff1d")} == {"-0.5", "+1e-5"}
    if suffix == ".xlsx":
        import openpyxl

        sheet = openpyxl.load_workbook(path).active
        assert {cell.data_type for line in sheet.iter_rows() for cell in line} == {"s", "n"}


def test_a_guard_that_another_program_wrote_is_taken_off(tmp_path):
    rows, _ = rows_of(tmp_path, "t.csv", "image,score\n'=1+1.jpg,5\n'quoted'.jpg,6\n")
    assert [row["image"] for _, row in rows] == ["=1+1.jpg", "'quoted'.jpg"]


def test_a_spreadsheet_comes_back_as_it_was(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    rows = [{"image": "a.jpg", "score": 4, "light": None}, {"image": "é 2.jpg", "score": 4.25, "light": 1}]
    assert write_rows(tmp_path / "t.xlsx", rows) == 2
    assert read_rows(tmp_path / "t.xlsx", Faults(tmp_path)) == [(2, rows[0]), (3, rows[1])]
    book = openpyxl.load_workbook(tmp_path / "t.xlsx")
    book.active["E5"] = "remark"
    book.active.append([])
    book.save(tmp_path / "t.xlsx")
    faults = Faults(tmp_path / "t.xlsx")
    assert len(read_rows(tmp_path / "t.xlsx", faults)) == 2
    assert "5 cells where the header has 3; clear the cells beside the table" in faults.texts()[0]


@pytest.mark.parametrize(
    ("value", "what"), [("a\rb", "a carriage return"), ("a\0b", "cannot hold"), ("x" * 40_000, "more than 32767")]
)
def test_what_a_spreadsheet_cannot_hold_is_refused(tmp_path, value, what):
    with pytest.raises(ValueError, match=f"row 1, 'text': .*{what}.*write .csv"):
        write_rows(tmp_path / "t.xlsx", [{"text": value}])
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_spreadsheet(tmp_path):
    (tmp_path / "t.xlsx").write_text("image,score\n")
    with pytest.raises(DataError, match="this is not an .xlsx file, or a damaged one"):
        read_rows(tmp_path / "t.xlsx", Faults(tmp_path / "t.xlsx"))


def test_faults_of_one_cause_are_told_once_with_their_lines(tmp_path):
    faults = Faults(tmp_path / "f.csv")
    for line in range(2, 20):
        faults.add(line, f"line {line}", "cause")
    faults.add(3, "another")
    assert [text.removeprefix(f"{tmp_path}/") for text in faults.texts()] == [
        "f.csv:2: line 2 (the same in 17 more lines: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...)",
        "f.csv:3: another",
    ]
    assert faults.rows() == set()  # plain line numbers name no row


def test_a_folder_is_no_data_file(tmp_path):
    with pytest.raises(DataError, match=f"this is a folder.*roc score {tmp_path} --checkpoint CHECKPOINT"):
        read_rows(tmp_path, Faults(tmp_path))
    (tmp_path / "ratings.csv").touch()
    with pytest.raises(DataError, match=f"such as {tmp_path}/ratings.csv"):
        read_rows(tmp_path, Faults(tmp_path))


def test_empty_rows_above_the_header_and_excels_unicode_text(tmp_path):
    rows, faults = rows_of(tmp_path, "t.csv", "sep=;\n\n;\na;b\n1;2\n")
    assert (rows, faults) == ([(5, {"a": "1", "b": "2"})], [])
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "t.csv").write_text("image\tscore\n\u00e9.jpg\t5\n", encoding=encoding)
        assert read_rows(tmp_path / "t.csv", Faults(tmp_path)) == [(2, {"image": "\u00e9.jpg", "score": "5"})]


def test_row_numbers_of_pandas_have_no_name(tmp_path):
    _, faults = rows_of(tmp_path, "t.csv", ",image,score\n0,a.jpg,5\n")
    assert faults == ["1: column 1 has no name; name it or drop it (in pandas: to_csv(..., index=False))"]
