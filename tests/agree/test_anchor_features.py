"""The file of features: what was written is read by id, and what is missing or damaged is an error."""

import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from roc.agree.anchor_features import AnchorFeatures, write_features
from roc.agree.anchor_text import NAMES


def rows(count, width=4, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, len(NAMES), width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_photos_are_found_by_id(tmp_path):
    path, values = tmp_path / "a.safetensors", rows(3)
    write_features(path, values, ["a.jpg", "7", "é"], 4, {"model": "m"})
    found = AnchorFeatures.read(path)
    assert found.ids == ("a.jpg", "7", "é") and found.per_photo and found.width == 4 and found.facts == {"model": "m"}
    read = found.features(["é", "a.jpg"])
    assert list(read) == list(NAMES)
    assert torch.equal(read["hue"], torch.from_numpy(values[[2, 0], NAMES.index("hue")]))
    with safe_open(path, "pt") as file:  # any reader of safetensors opens it
        assert torch.equal(file.get_tensor("features"), torch.from_numpy(values))
    with pytest.raises(ValueError, match="lacks 2 of 3 photos \\(b, A.jpg\\); add them by `roc agree anchors`"):
        found.features(["7", "b", "A.jpg"])


def test_mean_digests_and_what_made_them(tmp_path):
    path, values = tmp_path / "a.safetensors", rows(3)
    facts = {"weights": "w", "dtype": "float32", "questions": {"hue": "?"}, "versions": {"roc": "1"}}
    write_features(path, values, ["a", "b", "c"], 4, facts, ["1", None, "3"])
    found = pickle.loads(pickle.dumps(AnchorFeatures.read(path)))
    expected = torch.nn.functional.normalize(torch.from_numpy(values[[0, 2]]).mean(dim=0), dim=-1)
    torch.testing.assert_close(found.mean(["a", "c"]), expected)
    assert torch.equal(found.rows(["c", "a"]), torch.from_numpy(values[[2, 0]]))
    assert found.digests == ("1", None, "3") and found.made_by.keys() == {"weights", "dtype", "questions"}
    write_features(path, np.concatenate([values[:1], -values[:1]]), ["a", "b"], 4, {})
    assert AnchorFeatures.read(path).digests == (None, None)
    with pytest.raises(ValueError, match="the features of 2 photos cancel each other"):
        AnchorFeatures.read(path).mean(["a", "b"])


def test_fixed_sentences_stand_for_all(tmp_path):
    write_features(tmp_path / "a.safetensors", rows(1), None, 4, {})
    found = AnchorFeatures.read(tmp_path / "a.safetensors")
    read = found.features(["any", "other"])
    assert not found.per_photo and read["blur"].shape == (2, 4) and torch.equal(read["blur"][0], read["blur"][1])


def test_files_that_cannot_be_used(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="make it by `roc agree anchors`"):
        AnchorFeatures.read(path)
    path.write_bytes(b"torn")
    with pytest.raises(ValueError, match="no safetensors file, or it is damaged"):
        AnchorFeatures.read(path)
    save_file({"features": torch.ones(2, 6, 4)}, path)
    with pytest.raises(ValueError, match="no file of anchors"):
        AnchorFeatures.read(path)
    write_features(path, rows(2), ["a", "a"], 4, {})
    with pytest.raises(ValueError, match="names 2 photos"):
        AnchorFeatures.read(path)
    write_features(path, 0 * rows(2), ["a", "b"], 4, {})
    with pytest.raises(ValueError, match="a feature of b has no length of 1"):
        AnchorFeatures.read(path).features(["b"])
    write_features(path, rows(1), ["a"], 4, {})
    path.write_bytes(path.read_bytes().replace(b"saturation", b"saturatiom"))
    with pytest.raises(ValueError, match="the features are of overall, brightness, contrast, saturatiom"):
        AnchorFeatures.read(path)


def test_a_short_file_is_never_left(tmp_path):
    with pytest.raises(ValueError, match="fewer photos came"):
        write_features(tmp_path / "a.safetensors", rows(1), ["a", "b"], 4, {})
    with pytest.raises(ValueError, match="features of the shape"):
        write_features(tmp_path / "a.safetensors", rows(1, 5), ["a"], 4, {})
    assert list(tmp_path.iterdir()) == []
