"""The files of a corpus have names of their own, and pictures are named so that the corpus can be moved with them."""

from roc.data.records import Record
from roc.reasoning.outputs import Outputs, corpus_row, image_name


def test_names():
    files = Outputs("a/corpus.jsonl")
    names = [files.rejected.name, files.summary.name, files.page.name, files.journal.name]
    assert names == ["corpus.rejected.jsonl", "corpus.summary.json", "corpus.html", "corpus.journal.jsonl"]


def test_pictures_below_the_corpus_are_named_from_there(tmp_path):
    assert image_name(str(tmp_path / "photos/a.jpg"), tmp_path) == "photos/a.jpg"
    elsewhere = str(tmp_path / "photos/a.jpg")
    assert image_name(elsewhere, tmp_path / "corpora") == elsewhere


def test_a_row_holds_no_column_that_would_be_an_attribute(tmp_path):
    record = Record("a", (str(tmp_path / "a.jpg"),), {"overall": 3.0, "light": 2.0}, group="g", dataset="d")
    row = corpus_row(record, 3.0, "Words.", (1, 5), tmp_path)
    assert set(row) == {"id", "image", "score", "conversations", "group", "split", "dataset"}
    assert (row["image"], row["score"], row["group"], row["split"], row["dataset"]) == ("a.jpg", 3.0, "g", None, "d")
