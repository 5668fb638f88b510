"""The good rows are those without a fault, and nothing is left out without being listed."""

import json

import pytest
from PIL import Image

from roc.data.check import check_data
from roc.data.good_rows import write_good
from roc.data.reading import read_records


@pytest.fixture
def folder(tmp_path):
    for name in "abcd":
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-8])
    return tmp_path


def good(folder, path, out="good.csv", **options):
    report = check_data(path, folder, **options)
    return write_good(path, folder / out, report, folder, **options)


def test_a_damaged_picture_is_left_out_and_listed(folder):
    path = folder / "data.csv"
    path.write_text(
        "image,score,note\na.jpg,5,x\ncut.jpg,5,y\n\n,,\nb.jpg,6,z\ngone.jpg,6,\nc.jpg,x,\nd.jpg,7,\na.jpg,1,\nb.jpg\n"
    )
    written = good(folder, path)
    assert (folder / "good.csv").read_text() == "image,score,note\na.jpg,5,x\nb.jpg,6,z\nd.jpg,7,\n"
    assert (written.written, written.left_out) == (3, 4)
    listed = written.left_out_file.read_text()
    assert all(f"data.csv:{line}: " in listed for line in (3, 7, 8, 10, 11))
    assert len(read_records(folder / "good.csv", folder, space=None)) == 3


def test_samples_that_stand_in_one_line_are_told_apart(folder):
    samples = [{"image": name, "score": 5} for name in ("a.jpg", "cut.jpg", "b.jpg", "gone.jpg", "c.jpg")]
    (folder / "data.json").write_text(json.dumps(samples))
    assert good(folder, folder / "data.json", "good.json").written == 3
    assert [one["image"] for one in json.loads((folder / "good.json").read_text())] == ["a.jpg", "b.jpg", "c.jpg"]


def test_all_rows_of_a_fault_that_is_told_once_are_left_out(folder):
    samples = [
        {"image": name, "score": 5, "id": n}
        for n, name in enumerate(("x\\\\a.jpg", "x\\\\b.jpg", "c.jpg", "x\\\\c.jpg"))
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))
    written = good(folder, folder / "data.jsonl", "good.jsonl")
    assert (written.written, written.left_out) == (1, 3)


def test_columns_can_be_dropped(folder):
    turns = [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "Fine."}]
    (folder / "data.json").write_text(json.dumps([{"image": "a.jpg", "gt_score": 4, "conversations": turns}]))
    assert check_data(folder / "data.json", folder).faults
    written = good(folder, folder / "data.json", "good.csv", drop=("conversations",))
    assert written.left_out_file is None and (folder / "good.csv").read_text() == "image,gt_score\na.jpg,4\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("image,score\ncut.jpg,5\n", "no row is without a fault"),
        ("picture,score\na.jpg,5\n", "no choice of rows mends the first fault"),
        ("image,score,prediction\na.jpg,5,4\nb.jpg,5,4\n", "leaving out rows does not mend this: 2: 'prediction'"),
    ],
)
def test_what_cannot_be_mended_so_is_not_written(folder, text, what):
    (folder / "data.csv").write_text(text)
    with pytest.raises(ValueError, match=what):
        good(folder, folder / "data.csv")
    assert not (folder / "good.csv").exists() and not (folder / "good.csv.left_out.txt").exists()


def test_the_data_file_is_never_replaced(folder):
    (folder / "data.csv").write_text("image,score\na.jpg,5\n")
    with pytest.raises(ValueError, match="the data file itself"):
        good(folder, folder / "data.csv", "data.csv")


@pytest.mark.parametrize("text", ["image,score\ncut.jpg,5\n", "image,score,prediction\na.jpg,5,4\nb.jpg,5,4\n"])
def test_a_refusal_leaves_an_earlier_file_as_it_was(folder, text):
    (folder / "data.csv").write_text(text)
    (folder / "kept.csv").write_text("of another run\n")
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ValueError, match="is not written"):
        good(folder, folder / "data.csv", "kept.csv")
    assert (folder / "kept.csv").read_text() == "of another run\n"
    assert sorted(path.name for path in folder.iterdir()) == before
