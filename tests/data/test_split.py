"""Sources stay together, go the same way every time, and a given test set is kept."""

import json
import shutil

import pytest

from roc.data import split as data_split
from roc.data.leaks import find_leaks, read_entries
from roc.data.reading import read_records
from roc.data.records import resolve_splits
from roc.data.rows import DataError
from roc.data.split import split_data
from roc.demo.scenes import render_scene


def table(folder, rows, header="image,score,group"):
    path = folder / "data.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def ids(report, name):
    return [entry.id for entry in read_entries(report.files[name])] if name in report.files else []


@pytest.fixture
def edits(tmp_path):
    """300 photos with three edits each, by group or by name."""
    rows = [f"{i}{edit}.jpg,{i % 7},{f'g{i}' if i % 2 else ''}" for i in range(300) for edit in ("", "_blur", "_crop2")]
    return table(tmp_path, rows)


def test_sources_stay_together_and_nothing_is_lost(edits, tmp_path):
    report = split_data(edits, tmp_path / "out")
    parts = {name: ids(report, name) for name in ("train", "val", "test")}
    assert sorted(sum(parts.values(), [])) == sorted(entry.id for entry in read_entries(edits))
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        leaks = find_leaks(read_entries(report.files[one]), read_entries(report.files[other]), open_images=False)
        assert leaks.leaks == []
    assert sum(report.sources.values()) == 300 and report.records["train"] == 3 * report.sources["train"]
    assert 15 <= report.sources["val"] <= 45 and 15 <= report.sources["test"] <= 45


def test_the_same_every_time_whatever_the_order_and_the_others(edits, tmp_path):
    first = split_data(edits, tmp_path / "out")
    before = {name: path.read_bytes() for name, path in first.files.items()}
    again = split_data(edits, tmp_path / "out")
    assert {name: path.read_bytes() for name, path in again.files.items()} == before
    test, train = set(ids(first, "test")), set(ids(first, "train"))
    header, *rows = edits.read_text().splitlines()
    more = table(tmp_path, [f"new{i}.jpg,3," for i in range(50)] + rows[::-1])
    later = split_data(more, tmp_path / "later")
    assert test <= set(ids(later, "test")) and train <= set(ids(later, "train"))
    assert set(ids(split_data(more, tmp_path / "other", seed=1), "test")) != set(ids(later, "test"))


def test_a_known_division(tmp_path):
    """Guards the hash: splits that people have published must not move."""
    report = split_data(table(tmp_path, [f"{i}.jpg,1," for i in range(20)]), tmp_path / "out", val=0.2, test=0.2)
    assert ids(report, "val") == ["0.jpg", "13.jpg", "14.jpg", "15.jpg", "18.jpg", "19.jpg"]
    assert ids(report, "test") == ["2.jpg", "5.jpg", "11.jpg"]


def test_a_test_set_that_is_there_is_kept_and_what_belongs_to_it_left_out(tmp_path):
    rows = [f"{i}.jpg,1,g{i // 2},{'test' if i in (0, 1, 2) else 'train'}" for i in range(40)]
    report = split_data(table(tmp_path, rows, "image,score,group,Split"), tmp_path / "out", val=0.3)
    assert ids(report, "test") == ["0.jpg", "1.jpg", "2.jpg"] and report.kept_test
    assert ids(report, "left_out") == ["3.jpg"]
    assert len(ids(report, "train")) + len(ids(report, "val")) == 36 and ids(report, "val")
    assert (tmp_path / "out" / "test.csv").read_text().splitlines()[:2] == [
        "image,score,group,Split",
        "0.jpg,1,g0,test",
    ]
    assert (tmp_path / "out" / "left_out.csv").read_text().splitlines()[1] == "3.jpg,1,g1,train"
    assert "as the file has it" in report.summary() and "use them for neither" in report.summary()


def test_an_image_in_train_and_test_is_mended(tmp_path):
    rows = ["a.jpg,1,1,train", "a.jpg,1,2,test", "b.jpg,1,3,train"]
    report = split_data(table(tmp_path, rows, "image,score,id,split"), tmp_path / "out", val=0)
    assert [ids(report, name) for name in ("train", "test", "left_out")] == [["3"], ["2"], ["1"]]


def test_validation_rows_that_are_there_are_kept(tmp_path):
    rows = [f"{i}.jpg,1,{'val' if i < 4 else ''}" for i in range(60)]
    report = split_data(table(tmp_path, rows, "image,score,split"), tmp_path / "out", val=0.5, test=0.2)
    assert ids(report, "val") == [f"{i}.jpg" for i in range(4)] and ids(report, "test")


def test_all_columns_and_the_format_stay(tmp_path):
    sample = {
        "image": "a.jpg",
        "gt_score": [3, 2.5],
        "attributes": ["overall", "light"],
        "target": [[0.5, 0.5], [1, 0]],
    }
    (tmp_path / "d.jsonl").write_text(json.dumps(sample) + "\n")
    report = split_data(tmp_path / "d.jsonl", tmp_path / "out", val=0, test=0)
    assert json.loads(report.files["train"].read_text()) == {**sample, "split": "train"}
    path = table(tmp_path, ["\u00e9, 1.jpg;2.50;;"], "image;score;comment;note_1").rename(tmp_path / "e.csv")
    report = split_data(path, tmp_path / "out", val=0, test=0)
    assert report.files["train"].read_text() == 'image,score,comment,note_1,split\n"\u00e9, 1.jpg",2.50,,,train\n'


def test_by_looks(tmp_path):
    for i in range(8):
        picture = render_scene(i, seed=5, size=64).image
        picture.save(tmp_path / f"{i}.png")
        picture.save(tmp_path / f"x{i}.jpg", quality=80)
    shutil.copy(tmp_path / "0.png", tmp_path / "z.png")
    names = [f"{i}.png" for i in range(8)] + [f"x{i}.jpg" for i in range(8)] + ["z.png", "missing.png"]
    path = table(tmp_path, [f"{name},1," for name in names])
    report = split_data(path, tmp_path / "out", val=0.4, test=0.2, by_looks=True)
    assert sum(report.sources.values()) == 9 and len(report.unreadable) == 1
    where = {name: split for split in ("train", "val", "test") for name in ids(report, split)}
    assert all(where[f"{i}.png"] == where[f"x{i}.jpg"] for i in range(8)) and where["0.png"] == where["z.png"]
    assert len(set(where.values())) > 1


def test_a_split_file_is_read_by_training(edits, tmp_path):
    for i in range(300):
        for edit in ("", "_blur", "_crop2"):
            (tmp_path / f"{i}{edit}.jpg").touch()
    report = split_data(edits, tmp_path / "out")
    records = read_records(report.files["val"], tmp_path, space=None, check_images=False)
    assert {record.split for record in records} == {"val"}


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.1), (0.1, float("nan")), (1, 0)])
def test_shares_that_leave_nothing(tmp_path, val, test):
    with pytest.raises(ValueError, match="expected shares from 0"):
        split_data(table(tmp_path, ["a.jpg,1,"]), tmp_path / "out", val=val, test=test)


def test_the_data_file_itself_is_never_written_to(tmp_path):
    path = table(tmp_path, ["a.jpg,1,"]).rename(tmp_path / "train.csv")
    with pytest.raises(ValueError, match="is the data file itself"):
        split_data(path, tmp_path)
    assert path.read_text() == "image,score,group\na.jpg,1,\n"


def test_a_file_with_faults_is_not_split(tmp_path):
    with pytest.raises(DataError, match="2: the score is 'x'"):
        split_data(table(tmp_path, ["a.jpg,x,"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_neither_replaced_nor_deleted(tmp_path):
    path = table(tmp_path, [f"{i}.jpg,1," for i in range(9)])
    out = tmp_path / "out"
    out.mkdir()
    (out / "test.csv").write_text("image,score\nmine.jpg,1\n")
    for test in (0, 0.1):
        with pytest.raises(ValueError, match="test.csv is there already, and not from an earlier split"):
            split_data(path, out, test=test)
    assert [file.name for file in out.iterdir()] == ["test.csv"] and "mine" in (out / "test.csv").read_text()
    # The data file itself is found before anything is written, too.
    path = path.rename(tmp_path / "test.csv")
    with pytest.raises(ValueError, match="the data file itself"):
        split_data(path, tmp_path)
    assert not (tmp_path / "train.csv").exists()


def test_many_identical_files_are_one_source_without_all_their_pairs(tmp_path, monkeypatch):
    render_scene(0, seed=5, size=32).image.save(tmp_path / "0.png")
    for i in range(1, 20):
        shutil.copy(tmp_path / "0.png", tmp_path / f"{i}.png")
    compared = []
    original = data_split.find_lookalikes
    monkeypatch.setattr(data_split, "find_lookalikes", lambda one, other: compared.append(one) or original(one, other))
    report = split_data(table(tmp_path, [f"{i}.png,1," for i in range(20)]), tmp_path / "out", by_looks=True)
    assert sum(report.sources.values()) == 1 and [len(prints) for prints in compared] == [1]


def test_one_file_holds_all_splits_and_training_takes_it(edits, tmp_path):
    for i in range(300):
        for edit in ("", "_blur", "_crop2"):
            (tmp_path / f"{i}{edit}.jpg").touch()
    report = split_data(edits, tmp_path / "out")
    again = split_data(edits, tmp_path / "out")
    assert again.files == report.files and again.files["all"] == tmp_path / "out" / "all.csv"
    alone = split_data(edits, tmp_path / "alone.jsonl")
    assert list(alone.files) == ["all"] and alone.records == report.records
    for path in (report.files["all"], alone.files["all"]):
        splits = resolve_splits(read_records(path, tmp_path, space=None, check_images=False))
        assert {name: len(records) for name, records in splits.items()} == dict(report.records)
    command = report.training_command("photos")
    assert command.startswith(f"roc finetune --model_name_or_path MODEL --data_path {tmp_path}/out/all.csv")
    assert "--image_folder photos --min_score 0 --max_score 10 --output_dir OUT" in command


def test_a_file_alone_replaces_nothing(edits, tmp_path):
    for name in ("all.csv", "all.left_out.csv"):
        (tmp_path / name).write_text("image,score,split\nmine.jpg,1,train\n")
        with pytest.raises(ValueError, match=f"{name} is there already; name another file"):
            split_data(edits, tmp_path / "all.csv")
        assert "mine" in (tmp_path / name).read_text()
        (tmp_path / name).unlink()
