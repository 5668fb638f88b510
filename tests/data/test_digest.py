"""The content of a data file in one hash."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from roc.data.digest import content_digest
from roc.data.hub import known_revision


def test_a_file_is_hashed_by_its_content_and_never_held_whole(tmp_path, monkeypatch):
    path = tmp_path / "r.csv"
    path.write_text("image,score\n")
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read whole"))
    assert content_digest(path) == hashlib.sha256(b"image,score\n").hexdigest()
    path.write_text("image,score\na.jpg,3\n")
    assert content_digest(path) == hashlib.sha256(b"image,score\na.jpg,3\n").hexdigest()
    assert content_digest(tmp_path / "gone.csv") is None


def test_of_a_data_set_in_a_folder_every_file_counts(tmp_path):
    assert content_digest(tmp_path) is None  # any other folder
    for name in ("state.json", "dataset_info.json", "data-00000-of-00002.arrow", "data-00001-of-00002.arrow"):
        (tmp_path / name).write_text(name)
    before = content_digest(tmp_path)
    assert before is not None
    (tmp_path / "cache-1234.arrow").write_text("what the library keeps beside it")
    assert content_digest(tmp_path) == before
    (tmp_path / "data-00001-of-00002.arrow").write_text("another shard")
    assert content_digest(tmp_path) != before
    (tmp_path / "data-00001-of-00002.arrow").write_text("data-00001-of-00002.arrow")
    assert content_digest(tmp_path) == before


def test_a_data_set_of_the_hub_is_known_by_its_revision(tmp_path, monkeypatch):
    path = Path("hf://datasets/me/photos@v1")
    asked = []

    def info(self, name, *, revision, timeout):
        asked.append((name, revision))
        return SimpleNamespace(sha="c0ffee")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    known_revision.cache_clear()
    assert (content_digest(path), asked) == ("c0ffee", [("me/photos", "v1")])

    def unreachable(self, name, **_):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    known_revision.cache_clear()
    assert content_digest(path) is None
    (tmp_path / "datasets--me--photos" / "refs").mkdir(parents=True)
    (tmp_path / "datasets--me--photos" / "refs" / "v1").write_text("bada55")
    known_revision.cache_clear()
    assert content_digest(path) == "bada55"
    known_revision.cache_clear()
