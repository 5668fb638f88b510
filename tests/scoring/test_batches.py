"""Prepared images in batches: joined, grouped by shape, as many as fit."""

from types import SimpleNamespace

import pytest
import torch
from heads import ATTRIBUTES, SPACE, picture
from tiny_models import FAMILY_BUILDERS

from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.declaration import Declaration
from roc.model.head import LevelReading
from roc.score_space import ScoreSpace
from roc.scoring import batches
from roc.scoring.batches import LARGEST_BATCH, WINDOW, BatchSize, OutOfMemory, Scorer, Wanted, by_shape, merge
from roc.scoring.prepare import Prepared
from roc.scoring.results import Assessed, Score

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
    )
    reading = LevelReading(torch.full((10,), 0.1), torch.tensor(0.0), torch.tensor(1.0))
    scores = {name: Score.from_reading(reading, declaration, name) for name in declaration.attributes}
    assert scores["delta"].range == (-10, 10) and scores["delta"].levels[0] == -10
    row = Scorer(assessment, Wanted(("light", "delta"))).row(Assessed(scores))
    assert list(row) == [
        *("prediction.light", "prediction.delta"),
        *("min_score", "max_score", "min_score.delta", "max_score.delta", "calibrated"),
    ]
    assert (row["min_score"], row["min_score.delta"], row["max_score.delta"]) == (1, -10, 10)
