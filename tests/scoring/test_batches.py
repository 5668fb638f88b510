"""Many images: prepared ahead, batched by shape, scored, and given back in the order of the input."""

import os
import signal

import pytest
import torch
from heads import ATTRIBUTES, SPACE, build, picture
from tiny_models import FAMILY_BUILDERS
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import roc.scoring.sources
from roc.checkpoint.folder import save
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.scoring import batches as scoring
from roc.scoring.assessment import Assessment
from roc.scoring.batches import (
    BatchSize,
    OutOfMemory,
    Prepared,
    Scorer,
    Wanted,
    by_shape,
    default_workers,
    fingerprint,
    merge,
    score_images,
)
from roc.scoring.sources import Source

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


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A Qwen2.5-VL, whose pictures keep their shapes."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor, _ = build("qwen2_5_vl")
    save(model, processor, folder)
    return str(folder)


@pytest.fixture(scope="module")
def assessment(checkpoint):
    return Assessment(checkpoint)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    sources = []
    for i in range(30):
        path = folder / f"{i:02d}.png"
        picture(i, SIZES[i % 7 % len(SIZES)]).save(path)
        sources.append(Source(path.name, str(path)))
    return sources


@pytest.fixture(scope="module")
def expected(assessment, photos):
    return assessment.score([source.path for source in photos])


def rows_of(assessment, sources, checkpoint, *, workers=0, batch_size=None, **wanted):
    wanted = {"attributes": assessment.attributes, **wanted}
    scorer = Scorer(assessment, Wanted(**wanted), batch_size)
    return list(score_images(scorer, sources, checkpoint, workers=workers)), scorer


@pytest.mark.parametrize("through_pipe", [False, True])
def test_rows_are_in_order_and_equal_the_assessment(
    assessment, checkpoint, photos, expected, through_pipe, monkeypatch
):
    monkeypatch.setattr(scoring, "_through_pipe", lambda: through_pipe)
    rows, scorer = rows_of(assessment, photos, checkpoint, workers=2, distribution=True)
    assert [row["image"] for row in rows] == [source.name for source in photos]
    assert list(rows[0]) == [
        *("image", "prediction", "std", *(f"p_{n}" for n in range(1, 11)), "prediction.light"),
        *("min_score", "max_score", "calibrated"),
    ]
    for row, known in zip(rows, expected, strict=True):
        overall = known.scores["overall"]
        assert row["prediction"] == pytest.approx(overall.value, abs=1e-4)
        assert row["std"] == pytest.approx(overall.std, abs=1e-4)
        assert [row[f"p_{n}"] for n in range(1, 11)] == pytest.approx(overall.distribution, abs=1e-4)
        assert row["prediction.light"] == pytest.approx(known.scores["light"].value, abs=1e-4)
        assert (row["min_score"], row["max_score"], row["calibrated"]) == (1.0, 10.0, False)
    assert scorer.seconds > 0


def test_a_score_does_not_depend_on_its_neighbours(assessment, checkpoint, photos, expected):
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(1)).tolist()
    rows, _ = rows_of(assessment, [photos[i] for i in order], checkpoint, batch_size=7)
    for row, i in zip(rows, order, strict=True):
        assert row["prediction"] == pytest.approx(expected[i].scores["overall"].value, abs=1e-4)


def test_attributes_and_words(assessment, checkpoint, photos):
    rows, _ = rows_of(assessment, photos[:2], checkpoint, attributes=("light",))
    assert list(rows[0]) == ["image", "prediction.light", "min_score", "max_score", "calibrated"]
    rows, _ = rows_of(assessment, photos[:5], checkpoint, describe=True, max_new_tokens=6)
    told = assessment.describe([source.path for source in photos[:5]], max_new_tokens=6)
    assert [row["text"] for row in rows] == [one.text for one in told]


def test_what_cannot_be_read_is_a_row_with_the_reason(assessment, checkpoint, photos, expected, tmp_path):
    (tmp_path / "cut.png").write_bytes(open(photos[0].path, "rb").read()[:200])
    sources = [Source("gone.png", "gone.png"), *photos[:3], Source("cut.png", str(tmp_path / "cut.png")), photos[3]]
    rows, _ = rows_of(assessment, sources, checkpoint, workers=1)
    assert rows[0] == {"image": "gone.png", "error": "no such file"}
    assert rows[4].keys() == {"image", "error"} and "cut short" in rows[4]["error"]
    assert rows[5]["prediction"] == pytest.approx(expected[3].scores["overall"].value, abs=1e-4)
    assert len(rows) == 6


def test_a_picture_that_ends_its_reader_is_found(assessment, checkpoint, photos, monkeypatch):
    opened = roc.scoring.sources.open_image

    def deadly(path):
        if path.endswith(("05.png", "06.png")):
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(path)

    monkeypatch.setattr(roc.scoring.sources, "open_image", deadly)
    # Else it takes five seconds to notice.
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    rows, _ = rows_of(assessment, photos, checkpoint, workers=2)
    assert [row["image"] for row in rows if "error" in row] == ["05.png", "06.png"]
    assert "ended the process" in rows[5]["error"]
    assert [row["image"] for row in rows] == [source.name for source in photos]


def limit_memory(monkeypatch, images):
    tried = []

    def limited(model, batch, whole=scoring.level_logits):
        tried.append(len(batch["input_ids"]))
        if tried[-1] > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return whole(model, batch)

    monkeypatch.setattr(scoring, "level_logits", limited)
    return tried


def test_a_batch_that_does_not_fit_is_halved(assessment, checkpoint, photos, expected, monkeypatch):
    tried = limit_memory(monkeypatch, 3)
    rows, scorer = rows_of(assessment, photos, checkpoint, batch_size=8)
    assert scorer.batch.size == 2
    assert sum(size > 3 for size in tried) == 2
    for row, known in zip(rows, expected, strict=True):
        assert row["prediction"] == pytest.approx(known.scores["overall"].value, abs=1e-4)


def test_memory_for_not_even_one_image_stops_the_run(assessment, checkpoint, photos, monkeypatch):
    limit_memory(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="not even one image"):
        rows_of(assessment, photos, checkpoint)


def test_other_errors_of_the_model_are_not_taken_for_memory(assessment, checkpoint, photos, monkeypatch):
    def broken(model, batch):
        raise RuntimeError("device-side assert triggered")

    monkeypatch.setattr(scoring, "level_logits", broken)
    with pytest.raises(RuntimeError, match="device-side"):
        rows_of(assessment, photos, checkpoint)


def test_no_number_is_an_error_not_a_nan(assessment, checkpoint, photos, monkeypatch):
    monkeypatch.setattr(
        scoring, "level_logits", lambda model, batch: torch.full((len(batch["input_ids"]), 2, 10), torch.nan)
    )
    rows, _ = rows_of(assessment, photos[:2], checkpoint)
    assert [row["error"] for row in rows] == ["the model gave no number for overall: nan"] * 2


def run_of(batch_size, rate):
    """Lets it find a size where `rate(size)` tokens are scored a second; the sizes it tried."""
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
    assert run_of(size, lambda images: images)[-1] == size.size == scoring.LARGEST_BATCH
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
    assert place <= scoring.WINDOW + 1
    assert sorted(one.index for batch in batches for one in batch) == list(range(101))


def test_the_fingerprint_tells_weights_apart(assessment):
    model, _, _ = build("qwen2_5_vl")
    before = fingerprint(model)
    assert before == fingerprint(assessment.model)
    with torch.no_grad():
        model.score_head.weight[0, 0] += 1e-3
    assert fingerprint(model) != before


def test_workers_fit_the_machine(monkeypatch):
    for cores, gpu, cpu in ((2, 1, 1), (16, 15, 4), (128, 16, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)), raising=False)
        assert (default_workers("cuda"), default_workers("cpu")) == (gpu, cpu)


@pytest.mark.slow
def test_workers_that_inherit_nothing(assessment, checkpoint, photos, expected, monkeypatch):
    """As on a Mac: they are started anew and load the processor from the checkpoint."""
    monkeypatch.setattr(torch.multiprocessing, "get_start_method", lambda allow_none=False: "spawn")
    original = scoring.DataLoader
    monkeypatch.setattr(scoring, "DataLoader", lambda *a, **k: original(*a, multiprocessing_context="spawn", **k))
    rows, _ = rows_of(assessment, photos, checkpoint, workers=1)
    assert rows[-1]["prediction"] == pytest.approx(expected[-1].scores["overall"].value, abs=1e-4)
