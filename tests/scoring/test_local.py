"""Many images on this machine: rows in the order of the input, equal to what `Assessment` gives."""

import pytest
import torch

from roc.scoring import readers
from roc.scoring.reasoning import Sampling
from roc.scoring.sources import Source


@pytest.mark.parametrize("through_pipe", [False, True])
def test_rows_are_in_order_and_equal_the_assessment(rows_of, photos, expected, through_pipe, monkeypatch):
    monkeypatch.setattr(readers, "IN_MEMORY", readers.IN_MEMORY and not through_pipe)
    rows, scorer = rows_of(photos, workers=2, distribution=True)
    assert [row["image"] for row in rows] == [source.name for source in photos]
    assert list(rows[0]) == [
        *("image", "prediction", "std", *(f"p_{n}" for n in range(1, 11)), "prediction.light"),
        *("min_score", "max_score", "calibrated", "scorer", "file"),
    ]
    for row, known in zip(rows, expected, strict=True):
        overall = known.scores["overall"]
        assert row["prediction"] == pytest.approx(overall.value, abs=1e-4)
        assert row["std"] == pytest.approx(overall.std, abs=1e-4)
        assert [row[f"p_{n}"] for n in range(1, 11)] == pytest.approx(overall.distribution, abs=1e-4)
        assert row["prediction.light"] == pytest.approx(known.scores["light"].value, abs=1e-4)
        assert (row["min_score"], row["max_score"], row["calibrated"]) == (1.0, 10.0, False)
    assert scorer.seconds > 0


def test_a_score_does_not_depend_on_its_neighbours(rows_of, photos, expected):
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(1)).tolist()
    rows, _ = rows_of([photos[i] for i in order], batch_size=7)
    for row, i in zip(rows, order, strict=True):
        assert row["prediction"] == pytest.approx(expected[i].scores["overall"].value, abs=1e-4)


def test_attributes_and_words(rows_of, assessment, photos):
    rows, _ = rows_of(photos[:2], attributes=("light",))
    assert list(rows[0]) == ["image", "prediction.light", "min_score", "max_score", "calibrated", "scorer", "file"]
    rows, _ = rows_of(photos[:5], describe=True, sampling=Sampling(max_new_tokens=6))
    told = assessment.describe([source.path for source in photos[:5]], max_new_tokens=6)
    assert [row["text"] for row in rows] == [one.text for one in told]


def test_what_cannot_be_read_is_a_row_with_the_reason(rows_of, photos, expected, tmp_path):
    (tmp_path / "cut.png").write_bytes(open(photos[0].path, "rb").read()[:200])
    sources = [Source("gone.png", "gone.png"), *photos[:3], Source("cut.png", str(tmp_path / "cut.png")), photos[3]]
    rows, _ = rows_of(sources, workers=1)
    assert rows[0] == {"image": "gone.png", "error": "no such file"}
    assert rows[4].keys() == {"image", "error", "file"} and "cut short" in rows[4]["error"]
    assert rows[5]["prediction"] == pytest.approx(expected[3].scores["overall"].value, abs=1e-4)
    assert len(rows) == 6
