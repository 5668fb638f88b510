"""Folds: every photo in one, its edits with it, and no training file with anything of the fold it leaves out."""

import json
from pathlib import Path

import pytest
from heads import picture

from roc.agree.config import FoldsOptions
from roc.agree.folds import fold_numbers, seen_photos, write_folds
from roc.data.digest import content_digest
from roc.data.reading import read_records
from roc.data.rows import write_rows


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Photos with edits of some, in all three splits."""
    monkeypatch.chdir(tmp_path)
    names = [f"{i:02d}" for i in range(24)] + [f"{i:02d}_blur" for i in range(8)]
    Path("photos").mkdir()
    rows = []
    for i, name in enumerate(names):
        picture(i, (16, 12)).save(f"photos/{name}.png")
        split = {5: "test", 6: "val", 13: "test"}.get(int(name[:2]), "train")
        rows.append({"image": f"{name}.png", "score": 1 + i % 9, "split": split})
    write_rows("ratings.csv", rows)
    return "ratings.csv"


def options(**changes):
    return FoldsOptions(**{"data_path": "ratings.csv", "image_folder": "photos", "out": "folds", **changes})


def records_of(path):
    return read_records(path, "photos", space=None, check_images=False)


def test_no_file_holds_anything_of_its_fold(data):
    folds = write_folds(options())
    records, facts = records_of(data), json.loads(Path("folds/folds.json").read_text())
    assert facts["fold"].keys() == {record.id for record in records} and set(facts["fold"].values()) == {1, 2}
    assert sum(folds.photos) == 32 and [file.name for file in folds.files] == ["train_1.csv", "train_2.csv"]
    assert facts["files"] == {file.name: content_digest(file) for file in folds.files}
    for number, file in enumerate(folds.files, start=1):
        kept = records_of(file)
        expected = [one.id for one in records if facts["fold"][one.id] != number and one.split != "test"]
        assert [one.id for one in kept] == expected and {one.split for one in kept} <= {"train", "val"}
    for i in range(8):
        assert facts["fold"][f"{i:02d}.png"] == facts["fold"][f"{i:02d}_blur.png"]
    again = fold_numbers(records, 2)
    assert again == list(facts["fold"].values()) != fold_numbers(records, 2, seed=1)


def test_photos_that_nobody_rated_have_a_fold_and_train_nothing(data):
    rows = [{"image": f"{i:02d}.png", "score": None if i % 3 else 1 + i % 9} for i in range(24)]
    write_rows(data, rows)
    folds = write_folds(options())
    facts = json.loads(Path("folds/folds.json").read_text())
    assert len(facts["fold"]) == 24 == sum(folds.photos)
    assert sorted(one.id for file in folds.files for one in records_of(file)) == [
        f"{i:02d}.png" for i in range(0, 24, 3)
    ]
    assert folds.trained == tuple(len(records_of(file)) for file in folds.files)


def test_the_commands_name_the_files(data):
    *train, last = write_folds(options(seed=3)).commands("ratings.csv", 3)
    assert "--data_path folds/train_2.csv --image_folder photos --min_score 1 --max_score 10" in train[1]
    assert "--checkpoint checkpoints/fold_1 checkpoints/fold_2 --folds 2" in last and "--seed 3" in last


def test_what_cannot_be_divided(data):
    with pytest.raises(ValueError, match=r"fold \d+ of 20 is empty: the file holds 24 photos"):
        write_folds(options(folds=20))
    write_folds(options())
    with pytest.raises(ValueError, match="train_1.csv is there already"):
        write_folds(options())
    write_folds(options(seed=1, overwrite=True))
    assert json.loads(Path("folds/folds.json").read_text())["seed"] == 1
    Path("ratings.csv").rename("train_1.csv")
    with pytest.raises(ValueError, match="train_1.csv is the data file itself"):
        write_folds(options(data_path="train_1.csv", out=".", overwrite=True))


def run_of(folder, **settings):
    """Writes what a training run leaves of its settings."""
    files = [settings.get(name) for name in ("data_path", "eval_data_path") if settings.get(name)]
    Path(folder).mkdir(exist_ok=True)
    run = {"settings": {"image_folder": "photos", **settings}, "data": [content_digest(Path(file)) for file in files]}
    Path(folder, "run.json").write_text(json.dumps(run))
    return folder


def test_what_a_checkpoint_saw(data):
    seen = seen_photos(run_of("model", data_path=data))
    names = {Path(path).name for path in seen}
    # Photos to validate on choose the state; those to test on do nothing.
    assert "06.png" in names and "05.png" not in names and len(names) == 32 - 3
    seen = seen_photos(run_of("model", data_path=data, eval_data_path=data))
    assert {Path(path).name for path in seen} >= {"05.png"}
    write_rows("few.csv", [{"image": "05.png", "score": 3}])
    seen = seen_photos(run_of("few", data_path="few.csv", model_name_or_path="organisation/model"))
    assert [Path(path).name for path in seen] == ["05.png"]
    run_of("model", data_path=data)
    assert len(seen_photos(run_of("later", data_path="few.csv", model_name_or_path="model"))) == 29 + 1
    with open(data, "a") as file:
        file.write("00.png,5,train\n")
    assert seen_photos("later") is None and seen_photos("model") is None and seen_photos("organisation/model") is None
