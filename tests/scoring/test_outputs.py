"""The files beside an output, and what may not take their place."""

import pytest

from roc.scoring.options import ScoreOptions
from roc.scoring.outputs import Outputs, check_outputs, make_folders


def test_names_of_the_files(tmp_path):
    files = Outputs(tmp_path / "my.scores.jsonl")
    beside = [files.journal, files.facts, files.errors, files.selected]
    assert [path.name for path in beside] == [
        *("my.scores.jsonl.part.jsonl", "my.scores.run.json", "my.scores.errors.csv", "my.scores.selected.jsonl")
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_are_read_as_they_were_written(tmp_path, suffix):
    files = Outputs(tmp_path / f"scores.{suffix}")
    rows = [
        {"image": "1", "prediction": 1.0, "std": None, "text": "2", "min_score": 1.0, "calibrated": True},
        {"image": "b.jpg", "prediction": 0.1 + 0.2, "std": 0.5, "text": "fine", "min_score": 1.0, "calibrated": False},
    ]
    files.write_rows([rows[0], {"image": "gone", "error": "no such file"}, rows[1]])
    found = list(files.read_rows())
    assert [{name: row.get(name) for name in rows[0]} for row in found] == rows


def test_errors_are_one_row_each_and_leave_no_file_where_there_are_none(tmp_path):
    files = Outputs(tmp_path / "scores.csv")
    assert files.write_errors([{"image": " a.jpg", "error": "one\nline"}, {"image": "b", "prediction": 1.0}]) == 1
    assert files.errors.read_text() == "image,reason\na.jpg,one line\n"
    assert files.write_errors([{"image": "b", "prediction": 1.0}]) == 0 and not files.errors.exists()


@pytest.mark.parametrize("content", [None, "", "[1]", "{"])
def test_facts_that_cannot_be_read_are_none(tmp_path, content):
    files = Outputs(tmp_path / "scores.csv")
    if content is not None:
        files.facts.write_text(content)
    assert files.read_facts() == {}
    files.out.write_text("image\n")
    files.kept.write_text("")
    files.write_facts({"failed": 0}, 0)
    facts = files.read_facts()
    assert facts["outs"] == ["scores.csv"] and list(facts["outputs"]["scores.csv"]["files"]) == ["scores.csv"]


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "best").write_text("")
    given = {"paths": ["a.jpg"], "checkpoint": "mine", "out": str(tmp_path / "new/s.csv"), "top": 1}
    with pytest.raises(ValueError, match="best, which is a file; name a folder"):
        check_outputs(ScoreOptions(**given, copy_to=str(tmp_path / "best")))
    options = ScoreOptions(**given, copy_to=str(tmp_path / "chosen"), gallery=str(tmp_path / "page/g.html"))
    check_outputs(options)
    assert not (tmp_path / "new").exists()
    make_folders(options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "chosen", "new", "page"]
