"""Anchors of single photos in a checkpoint are found by content, beside weights; those of another kind are refused."""

import csv
import re

import numpy as np
import pytest
import torch
from branched import checkpoint
from heads import picture
from PIL import Image

from roc import Assessment
from roc.agree.anchor_features import AnchorFeatures, write_features
from roc.agree.attributes import ATTRIBUTES
from roc.agree.known import FILE, lookup
from roc.agree.table import PREFIX, write_table
from roc.agree.weights import FILE as WEIGHTS_FILE
from roc.checkpoint.lookups import notes_of
from roc.commands import agree, score
from roc.scoring.one_forward import one_forward
from roc.scoring.sources import Source
from roc.scoring.stamps import stamp_of

MADE_BY = {"weights": "w", "dtype": "float32"}


def features(path, photos, width=4, facts=MADE_BY, digests=True):
    rows = np.random.default_rng(0).normal(size=(len(photos), 6, width)).astype("f4")
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    found = [stamp_of(Source(photo, photo))[-1] for photo in photos] if digests else None
    write_features(path, rows, [f"elsewhere/{i}" for i in range(len(photos))], width, facts, found)
    return str(path)


@pytest.fixture
def photos(tmp_path):
    names = [str(tmp_path / f"{i}.png") for i in range(3)]
    for i, name in enumerate(names):
        picture(i).save(name)
    return names


def test_photos_are_scored_by_their_anchors_and_weights(photos, tmp_path, capsys):
    folder = checkpoint(tmp_path / "own", anchor_width=4, own_anchors=True, anchors_by=MADE_BY, medians=None)
    assert lookup(folder) is None and "text anchors are the mean of those of the training photos" in notes_of(folder)[0]
    row = {PREFIX + name: 1.0 * (name == "hue") for name in ATTRIBUTES}
    row |= {"id": "x", "fold": 1, "f": "f", "digest": stamp_of(Source("x", photos[0]))[-1]}
    write_table(tmp_path / "sens.parquet", [row], {})
    file = features(tmp_path / "a.safetensors", photos[:2])
    assert agree.main(["weights", folder, "--anchors", file, "--table", str(tmp_path / "sens.parquet")]) == 0
    said = capsys.readouterr().out
    assert "holds the routing weights of 1 photo" in said and f"{FILE} holds the anchors of 2 photos" in said
    assert (
        "weights of 1 photo come from the table" in notes_of(folder)[0]
        and f"of 2 photos come from {file}" in (notes_of(folder)[0])
    )
    one = Assessment(folder)
    anchors = torch.full((3, 6, 4), float("nan"))
    anchors[:2] = AnchorFeatures.read(file).rows(["elsewhere/0", "elsewhere/1"])
    weights = torch.full((3, 5), float("nan"))
    weights[0] = torch.eye(5)[ATTRIBUTES.index("hue")]
    batch = one.collator.scoring_batch([Image.open(photo).convert("RGB") for photo in photos])
    expected = one_forward(one.model, {**batch, "anchors": anchors, "routing_weights": weights}).scores[:, 0]
    plain = one_forward(one.model, batch).scores[:, 0]
    assert (expected - plain)[:2].abs().min() > 1e-4 and expected[2] == plain[2]
    found = torch.tensor([found.scores["overall"].value for found in one.score(photos)])
    torch.testing.assert_close(found, expected)
    out = tmp_path / "scores.csv"
    words = [*photos, "--checkpoint", folder, "--workers", "0", "--dtype", "float32", "--out", str(out)]
    assert score.main(words) == 0
    with out.open() as file:
        values = torch.tensor([float(row["prediction"]) for row in csv.DictReader(file)])
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=0)
    assert lookup(folder).fingerprint != lookup(folder)._parts[0].fingerprint
    assert agree.main(["weights", folder, "--remove"]) == 0 and lookup(folder) is None


def test_anchors_that_a_checkpoint_cannot_take(photos, tmp_path, capsys):
    own = checkpoint(tmp_path / "own", anchor_width=4, own_anchors=True, anchors_by=MADE_BY, routing=False)
    fixed = checkpoint(tmp_path / "fixed", anchor_width=4)
    write_features(tmp_path / "fixed.safetensors", np.eye(6, 4, dtype="f4")[None], None, 4, {})
    good = features(tmp_path / "good.safetensors", photos)
    other = {"weights": "v", "dtype": "float32"}
    cases = [
        ([fixed, "--anchors", good], "takes no anchors of single photos; train it by"),
        ([own, "--anchors", str(tmp_path / "no.safetensors")], "no such file; make it by `roc agree anchors`"),
        ([own, "--anchors", str(tmp_path / "fixed.safetensors")], "holds fixed sentences"),
        ([own, "--anchors", features(tmp_path / "wide", photos, 5)], "anchors of 5 numbers, and .* trained with 4"),
        ([own, "--anchors", features(tmp_path / "v", photos, facts=other)], r"weights \(w there, v here\); make it"),
        ([own, "--anchors", features(tmp_path / "old", photos, digests=False)], "holds no digest of a file"),
        ([own, "--training_table", "t"], "give --table FILE, --anchors FILE or both; or --remove"),
        ([own, "--anchors", good, "--training_table", "t"], "training_table has no meaning without --table FILE"),
        ([own, "--table", "t.parquet"], "has no routing; train it by"),
    ]
    for words, expected in cases:
        assert agree.main(["weights", *words]) == 2
        error = capsys.readouterr().err
        assert re.search(expected, error) and error.count("\n") == 1, error
    routed = checkpoint(tmp_path / "routed", anchor_width=4, own_anchors=True, anchors_by=MADE_BY, medians=None)
    row = {PREFIX + name: 1.0 for name in ATTRIBUTES}
    row |= {"id": "x", "fold": 1, "f": "f", "digest": stamp_of(Source("x", photos[0]))[-1]}
    write_table(tmp_path / "sens.parquet", [row], {})
    both = ["--table", str(tmp_path / "sens.parquet"), "--anchors", features(tmp_path / "wide2", photos, 5)]
    assert agree.main(["weights", routed, *both]) == 2 and not (tmp_path / "routed" / WEIGHTS_FILE).exists()
    assert capsys.readouterr().out == "" and agree.main(["weights", routed, *both[:2]]) == 0
    (tmp_path / "own" / FILE).write_bytes(b"torn")
    assert score.main([photos[0], "--checkpoint", own]) == 2
    assert f"{FILE} cannot be used" in capsys.readouterr().err
