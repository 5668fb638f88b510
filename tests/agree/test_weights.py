"""Weights of a table in a checkpoint: every command finds its photos by their content, others keep the predictor's."""

import csv
import json

import pytest
import torch
from branched import checkpoint
from heads import picture
from PIL import Image
from safetensors.torch import load_file, save_file

from roc import Assessment
from roc.agree.attributes import ATTRIBUTES
from roc.agree.routing import routing_weights
from roc.agree.table import PREFIX, write_table
from roc.agree.weights import FILE
from roc.checkpoint.lookups import notes_of
from roc.commands import agree, score
from roc.scoring.one_forward import one_forward
from roc.scoring.prepare import Preparation
from roc.scoring.sources import Source
from roc.scoring.stamps import stamp_of
from roc.server.decoding import EncodedImage
from roc.server.worker import facts

MEDIANS = {"brightness": 0.4, "contrast": 0.2, "saturation": 0.1, "hue": 0.05, "blur": 0.3}
VALUES = [[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.0, 0.1, 0.0, 0.0]]


@pytest.fixture
def given(tmp_path):
    """A checkpoint that keeps medians, three photos, and a table of the first two under other names."""
    photos = [str(tmp_path / f"{i}.png") for i in range(3)]
    for i, photo in enumerate(photos):
        picture(i).save(photo)
    rows = [
        {"id": f"elsewhere/{i}", "fold": 1,
         **{PREFIX + name: value for name, value in zip(ATTRIBUTES, values, strict=True)},
         "f": "abc", "digest": stamp_of(Source(photo, photo))[-1]}
        for i, (photo, values) in enumerate(zip(photos, VALUES, strict=False))
    ]  # fmt: skip
    write_table(tmp_path / "new.parquet", rows, {"settings": {}})
    return checkpoint(tmp_path / "routed", medians=MEDIANS), photos, tmp_path / "new.parquet"


def expected_scores(folder, photos, medians):
    """Scores with the weights of the formula, given to the model itself; the last photo by the predictor."""
    one = Assessment(folder)
    columns = {name: torch.tensor(column) for name, column in zip(ATTRIBUTES, zip(*VALUES, strict=True), strict=True)}
    weights = torch.stack(list(routing_weights(columns, medians).values()), dim=1)
    batch = one.collator.scoring_batch([Image.open(photo).convert("RGB") for photo in photos])
    found = one_forward(one.model, batch).scores[:, 0].clone()
    batch = {name: value[:2] for name, value in batch.items()}
    found[:2] = one_forward(one.model, {**batch, "routing_weights": weights}).scores[:, 0]
    return found


def test_photos_of_the_table_are_scored_by_its_weights_in_every_way(given, tmp_path, capsys):
    folder, photos, table = given
    by_predictor = torch.tensor([one.scores["overall"].value for one in Assessment(folder).score(photos)])
    words = [*photos, "--checkpoint", folder, "--workers", "0", "--dtype", "float32"]
    assert score.main([*words, "--out", str(tmp_path / "scores.csv")]) == 0
    assert "routing weights come from the predictor" in capsys.readouterr().err
    assert agree.main(["weights", folder, "--table", str(table)]) == 0
    assert "holds the routing weights of 2 photos" in capsys.readouterr().out
    expected = expected_scores(folder, photos, MEDIANS)
    assert (expected - by_predictor)[:2].abs().min() > 1e-4 and (expected - by_predictor)[2].abs() < 1e-5
    assessment = Assessment(folder)
    found = torch.tensor([one.scores["overall"].value for one in assessment.score(photos)])
    torch.testing.assert_close(found, expected)
    assert score.main([*words, "--out", str(tmp_path / "scores.csv")]) == 2  # scores by other weights
    assert score.main([*words, "--out", str(tmp_path / "again.csv")]) == 0
    said = capsys.readouterr().err
    assert "routing weights of 2 photos come from the table" in said and "new.parquet; those of others" in said
    with (tmp_path / "again.csv").open() as file:
        values = torch.tensor([float(row["prediction"]) for row in csv.DictReader(file)])
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=0)
    # What a decoding process of the server sends to the model.
    served = Preparation([], folder, assessment.collator, torch.float32, 1, lookups=assessment.lookups)
    with open(photos[1], "rb") as file:
        served.sources = [EncodedImage(file.read(), 10**6)]
    weights = served[0].inputs["routing_weights"]
    assert facts(assessment, folder, {})["notes"] == list(notes_of(folder)) != []
    assert weights.shape == (1, 5) and weights.argmax() == 0
    assert agree.main(["weights", folder, "--remove"]) == 0
    found = torch.tensor([one.scores["overall"].value for one in Assessment(folder).score(photos)])
    assert torch.equal(found, by_predictor)


def test_the_form_of_training_decides_the_weights(given, tmp_path):
    _, _, table = given
    columns = {name: torch.tensor(column) for name, column in zip(ATTRIBUTES, zip(*VALUES, strict=True), strict=True)}
    published = checkpoint(tmp_path / "published", medians=None)
    assert agree.main(["weights", published, "--table", str(table)]) == 0
    expected = torch.stack(list(routing_weights(columns).values()), dim=1)
    torch.testing.assert_close(load_file(tmp_path / "published" / FILE)["weights"], expected)


def test_what_cannot_get_weights(given, tmp_path, capsys):
    folder, _, table = given
    earlier = checkpoint(tmp_path / "earlier")
    cases = [
        ([folder], "give --table FILE, --anchors FILE or both; or --remove"),
        ([folder, "--remove", "--table", str(table)], "give --table FILE, --anchors FILE or both; or --remove"),
        ([folder, "--table", str(tmp_path / "no.parquet")], "no such file"),
        ([earlier, "--table", str(table)], "kept no medians; name the table of its training photos"),
        ([checkpoint(tmp_path / "even", routing=False), "--table", str(table)], "has no routing; train it by"),
        ([str(tmp_path / "nowhere"), "--table", str(table)], "nowhere"),
    ]
    for words, expected in cases:
        assert agree.main(["weights", *words]) == 2
        error = capsys.readouterr().err
        assert expected in error and "Traceback" not in error
    assert agree.main(["weights", earlier, "--table", str(table), "--training_table", str(table)]) == 0
    capsys.readouterr()
    save_file({"weights": torch.zeros(1, 4)}, tmp_path / "earlier" / FILE, {"roc": json.dumps({"digests": ["a"]})})
    assert score.main([str(tmp_path / "0.png"), "--checkpoint", earlier]) == 2
    assert f"{FILE} cannot be used" in capsys.readouterr().err
