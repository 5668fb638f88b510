"""The files of a corpus have names of their own, and pictures are named so that the corpus can be moved with them."""

from roc.data.pictures import Picture
from roc.data.records import Record
from roc.reasoning.outputs import Outputs, corpus_row


def test_names():
    files = Outputs("a/corpus.jsonl")
    names = [files.rejected.name, files.summary.name, files.page.name, files.journal.name]
    assert names == ["corpus.rejected.jsonl", "corpus.summary.json", "corpus.html", "corpus.journal.jsonl"]


def test_pictures_below_the_corpus_are_named_from_there(tmp_path):
    photo = str(tmp_path / "photos/a.jpg")
    assert Outputs(tmp_path / "c.jsonl").image_name(photo) == "photos/a.jpg"
    assert Outputs(tmp_path / "corpora/c.jsonl").image_name(photo) == photo


def test_pictures_out_of_a_table_are_copied(tmp_path, monkeypatch):
    monkeypatch.setenv("ROC_CACHE", str(tmp_path / "cache"))
    cached = Picture("a.jpg", b"bytes").file()
    files = Outputs(tmp_path / "c.jsonl")
    name = files.image_name(cached)
    assert name.startswith("c.pictures/") and name.endswith("-a.jpg")
    assert (tmp_path / name).read_bytes() == b"bytes" and files.image_name(cached) == name


def test_a_row_holds_no_column_that_would_be_an_attribute(tmp_path):
    record = Record("a", (str(tmp_path / "a.jpg"),), {"overall": 3.0, "light": 2.0}, group="g", dataset="d")
    row = corpus_row(record, 3.0, "Words.", (1, 5), Outputs(tmp_path / "c.jsonl"))
    assert set(row) == {"id", "image", "score", "conversations", "group", "split", "dataset"}
    assert (row["image"], row["score"], row["group"], row["split"], row["dataset"]) == ("a.jpg", 3.0, "g", None, "d")
