"""The data set on disk is written whole, read, reused and replaced; files of anything else are never touched."""

import csv
import json

import pytest

from roc.data.reading import read_records
from roc.demo import dataset
from roc.demo.attributes import ATTRIBUTES, LATENTS
from roc.demo.dataset import write_dataset
from roc.demo.scenes import render_scene
from roc.score_space import ScoreSpace


def test_the_data_set_is_written_read_reused_and_replaced(tmp_path):
    folder = tmp_path / "scenes"
    path = write_dataset(folder, 6, 2, 4, size=32, seed=0)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    levels = [f"h_{level}" for level in range(1, 11)]
    assert list(rows[0]) == ["image", "score", *LATENTS, "std", "n_votes", *levels, "comment", "split"]
    assert [row["split"] for row in rows] == ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    for row in rows:
        assert sum(float(row[level]) for level in levels) == pytest.approx(1, abs=1e-8)

    records = read_records(path, folder, space=ScoreSpace(), num_levels=10, require_histogram=True)
    assert len(records) == 12
    assert tuple(records[0].scores) == ATTRIBUTES
    assert records[0].std >= 1 and records[0].n_votes >= 20 and records[0].comment

    assert set(dataset.read_ceiling(folder)) == set(ATTRIBUTES)
    stamp = path.stat().st_mtime_ns
    assert write_dataset(folder, 6, 2, 4, size=32, seed=0) == path
    assert path.stat().st_mtime_ns == stamp

    test_image = (folder / "images/test_0.png").read_bytes()
    write_dataset(folder, 3, 2, 4, size=32, seed=0)
    assert not (folder / "images/train_3.png").exists()
    assert (folder / "images/test_0.png").read_bytes() == test_image
    assert json.loads((folder / "manifest.json").read_text())["parameters"]["counts"]["train"] == 3
    assert [child.name for child in tmp_path.iterdir()] == ["scenes"]


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "write_rows", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_dataset(tmp_path / "scenes", 2, 1, 1, size=32, seed=0)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(ValueError, match="no demo scenes"):
        write_dataset(tmp_path, 2, 1, 1, size=32, seed=0)
    assert (tmp_path / "holiday.txt").read_text() == "mine"


def test_a_picture_on_disk_is_known_without_drawing_it(tmp_path):
    write_dataset(tmp_path / "scenes", 2, 1, 0, size=32, seed=5)
    for split, index in (("train", 1), ("val", 1_000_000)):
        known = dataset.scene_of(tmp_path / f"scenes/images/{split}_{index % 1_000_000}.png")
        drawn = render_scene(index, seed=5, size=32)
        assert (known.latents, known.facts, known.place, known.kind) == (
            drawn.latents, drawn.facts, drawn.place, drawn.kind
        )  # fmt: skip
    for name in ("train_2.png", "other_0.png", "train_0.jpg", "train_x.png"):
        with pytest.raises(ValueError, match="no scene of the demo"):
            dataset.scene_of(tmp_path / "scenes/images" / name)
