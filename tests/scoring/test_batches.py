"""Prepared images in batches: joined, grouped by shape, as many as fit."""

from types import SimpleNamespace

import pytest
import torch
from heads import ATTRIBUTES, SPACE, picture
from tiny_models import FAMILY_BUILDERS

from roc.model.attachment import attach
from roc.model.calibration import Affine, Calibration, Intervals
from roc.model.collator import RocCollator
from roc.model.declaration import Declaration
from roc.model.head import LevelReading
from roc.model.reference import Reference
from roc.score_space import ScoreSpace
from roc.scoring import batches
from roc.scoring.batches import LARGEST_BATCH, WINDOW, BatchSize, OutOfMemory, Scorer, Wanted, by_shape, merge
from roc.scoring.prepare import Prepared
from roc.scoring.results import Assessed, Score, combined

SIZES = [(40, 30), (30, 60), (64, 20), (28, 28)]


def tensors(batch):
    return {name: value for name, value in batch.items() if torch.is_tensor(value)}


@pytest.mark.parametrize("family", FAMILY_BUILDERS)
def test_images_prepared_alone_make_the_batch_of_all(family):
    model, processor = FAMILY_BUILDERS[family]()
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    collator = RocCollator(processor, model.config.roc)
    pictures = [picture(i, size) for i, size in enumerate(SIZES)]
    for prepare, side in ((collator.scoring_batch, "right"), (collator.prompt_batch, "left")):
        whole = tensors(prepare(pictures))
        alone = [tensors(prepare([one])) for one in pictures]
        found = merge(alone, pad_id=processor.tokenizer.pad_token_id, padding_side=side)
        assert found.keys() == whole.keys()
        for name in whole:
            assert torch.equal(found[name], whole[name]), name


def limit_memory(monkeypatch, images):
    tried = []

    def limited(model, batch, whole=batches.level_logits):
        tried.append(len(batch["input_ids"]))
        if tried[-1] > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return whole(model, batch)

    monkeypatch.setattr(batches, "level_logits", limited)
    return tried


def test_a_batch_that_does_not_fit_is_halved(rows_of, photos, expected, monkeypatch):
    tried = limit_memory(monkeypatch, 3)
    rows, scorer = rows_of(photos, batch_size=8)
    assert scorer.batch.size == 2
    assert sum(size > 3 for size in tried) == 2
    for row, known in zip(rows, expected, strict=True):
        assert row["prediction"] == pytest.approx(known.scores["overall"].value, abs=1e-4)


def test_memory_for_not_even_one_image_stops_the_run(rows_of, photos, monkeypatch):
    limit_memory(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="not even one image"):
        rows_of(photos)


def test_other_errors_of_the_model_are_not_taken_for_memory(rows_of, photos, monkeypatch):
    def broken(model, batch):
        raise RuntimeError("device-side assert triggered")

    monkeypatch.setattr(batches, "level_logits", broken)
    with pytest.raises(RuntimeError, match="device-side"):
        rows_of(photos)


def test_no_number_is_an_error_not_a_nan(rows_of, photos, monkeypatch):
    monkeypatch.setattr(
        batches, "level_logits", lambda model, batch: torch.full((len(batch["input_ids"]), 2, 10), torch.nan)
    )
    rows, _ = rows_of(photos[:2])
    assert [row["error"] for row in rows] == ["the model gave no number for overall: nan"] * 2


def run_of(batch_size, rate):
    """Has it find a size where `rate(size)` tokens are scored a second; gives the sizes it tried."""
    tried = []
    for _ in range(100):
        tried.append(batch_size.size)
        batch_size.record(batch_size.size, 10 * batch_size.size, 10 * batch_size.size / rate(batch_size.size))
    return list(dict.fromkeys(tried))


def test_the_size_of_a_batch_is_found():
    size = BatchSize()
    assert run_of(size, lambda images: min(images, 16)) == [4, 8, 16, 32]
    assert size.size == 16
    size = BatchSize()
    assert run_of(size, lambda images: images)[-1] == size.size == LARGEST_BATCH
    assert run_of(BatchSize(6), lambda images: images) == [6]


def test_a_size_that_failed_is_not_tried_again():
    size = BatchSize()
    run = run_of(size, lambda images: images if images < 32 else 1)
    assert size.size == 16 and run == [4, 8, 16, 32]
    size.shrink(16)
    assert run_of(size, lambda images: images) == [8]


def image(index, length):
    return Prepared(index, {"input_ids": torch.zeros(1, length)})


def test_batches_hold_one_shape_where_they_can():
    lengths = [5, 9, 5, 5, 9, 5, 5, 9, 9, 5]
    batches = list(by_shape((image(i, length) for i, length in enumerate(lengths)), lambda: 3))
    assert [[one.index for one in batch] for batch in batches] == [[0, 2, 3], [1, 4, 7], [5, 6, 9], [8]]


def test_a_rare_shape_does_not_wait_for_ever():
    lengths = [7, *[5] * 100]
    batches = list(by_shape((image(i, length) for i, length in enumerate(lengths)), lambda: 4))
    place = next(i for i, batch in enumerate(batches) if batch[0].index == 0 or any(one.index == 0 for one in batch))
    assert place <= WINDOW + 1
    assert sorted(one.index for batch in batches for one in batch) == list(range(101))


def test_a_row_names_the_ranges_of_its_attributes():
    space = ScoreSpace(1, 10, attribute_ranges={"delta": (-10, 10)})
    declaration = Declaration(space=space, token_id=0, attributes=("overall", "light", "delta"))
    tokenizer = SimpleNamespace(pad_token_id=0)
    assessment = SimpleNamespace(
        collator=SimpleNamespace(declaration=declaration),
        attributes=declaration.attributes,
        processor=SimpleNamespace(tokenizer=tokenizer),
        scorer="mine@0 roc/1",
    )
    reading = LevelReading(torch.full((10,), 0.1), torch.tensor(0.0), torch.tensor(1.0))
    scores = {name: Score.from_reading(reading, declaration, name) for name in declaration.attributes}
    assert scores["delta"].range == (-10, 10) and scores["delta"].levels[0] == -10
    row = Scorer(assessment, Wanted(("light", "delta"))).row(Assessed(scores))
    assert list(row) == [
        *("prediction.light", "prediction.delta"),
        *("min_score", "max_score", "min_score.delta", "max_score.delta", "calibrated", "scorer"),
    ]
    assert (row["min_score"], row["min_score.delta"], row["max_score.delta"]) == (1, -10, 10)


def test_a_row_holds_what_calibration_and_reference_say():
    intervals = Intervals(level=0.8, half_widths={"overall": 2.0}, rows={"overall": 9}, scores={}, stds={})
    affine = Affine(
        lines={"overall": (0.0, 0.5)},
        before={"overall": (2, 10), "light": (2, 10)},
        ratings={"overall": (1, 4)},
        unit="stars",
    )
    declaration = Declaration(
        space=ScoreSpace(1, 5, 5, attribute_ranges={"light": (2, 10)}),
        token_id=0,
        attributes=("overall", "light"),
        calibration=Calibration(data="ab", rows=9, affine=affine, intervals=intervals),
        reference=Reference(name="mine", data="cd", photos=5, quantiles={"light": (2, 4, 6, 8, 10)}),
    )
    assessment = SimpleNamespace(
        collator=SimpleNamespace(declaration=declaration),
        attributes=declaration.attributes,
        processor=SimpleNamespace(tokenizer=SimpleNamespace(pad_token_id=0)),
        scorer="mine@0 roc/1",
    )
    reading = LevelReading(torch.full((5,), 0.2), torch.tensor(3.0), torch.tensor(1.0))
    scores = {name: Score.from_reading(reading, declaration, name) for name in declaration.attributes}
    scorer = Scorer(assessment, Wanted(("overall", "light")))
    row = scorer.row(Assessed(scores))
    assert list(row) == [
        *("prediction", "std", "low", "high", "prediction.light", "percentile.light", "reward.light"),
        *("min_score", "max_score", "min_score.light", "max_score.light", "calibrated", "coverage", "unit", "scorer"),
    ]
    # 3 - 2 and 3 + 2, but no rating lies above 4; 3 is halfway between the first two of four steps
    assert (row["low"], row["high"], row["coverage"], row["unit"]) == (1.0, 4.0, 0.8, "stars")
    assert row["percentile.light"] == 12.5
    assert row["reward.light"] == pytest.approx(1 / (1 + 3 ** (2 * 3 / 4)))  # 3 below the median 6, quartiles 4 apart
    assert list(Assessed(scores).to_dict())[1:8] == list(row)[:7]
    nothing = scorer.row(Assessed(dict.fromkeys(declaration.attributes)))
    assert list(nothing) == list(row) and nothing["low"] is None and nothing["reward.light"] is None
    # A score behind a critique, and a combination of several, have been compared with nothing.
    behind = Score.from_reading(reading, declaration, "light", one_pass=False)
    assert behind.comparisons() == {} and combined([scores["light"]]).comparisons() == {}
