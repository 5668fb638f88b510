"""`Assessment` as a user calls it."""

import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from heads import build, fill_head, picture
from PIL import Image

from roc.checkpoint.folder import load, save
from roc.data.augment import scaled_size
from roc.data.images import ImageError
from roc.model.calibration import Calibration, Intervals
from roc.model.declaration import declare
from roc.model.families import FAMILIES, Family
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted
from roc.scoring.identity import identity
from roc.scoring.prepare import Prepared


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny model trained in seconds to generate its one sentence."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor, collator = build("llava")
    from heads import sample

    batch = collator([sample(i) for i in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(**batch).text_loss.backward()
        optimizer.step()
    save(model, processor, folder)
    return folder


@pytest.fixture(scope="module")
def assessment(checkpoint):
    return Assessment(pretrained=checkpoint)


def test_the_published_call(assessment):
    pictures = [picture(i) for i in range(3)]
    texts, scores = assessment(pictures, precision=4)
    assert len(texts) == len(scores) == 3
    for text, score in zip(texts, scores, strict=True):
        assert text.startswith(f"The aesthetic rate of the image is {score:.4f}, the light rate of the image is ")
        assert round(score, 4) == score
        assert 1 <= score <= 10


def test_score_is_rich_and_equals_the_generated_one(assessment):
    pictures = [picture(i) for i in range(3)]
    quick, told = assessment.score(pictures), assessment.describe(pictures)
    for fast, slow in zip(quick, told, strict=True):
        assert fast.text is None and slow.text
        for name in ("overall", "light"):
            one = fast.scores[name]
            assert one.value == pytest.approx(slow.scores[name].value, abs=1e-5)
            assert sum(one.distribution) == pytest.approx(1, abs=1e-6)
            assert one.value == pytest.approx(np.dot(one.distribution, one.levels), abs=1e-5)
            variance = np.dot(one.distribution, (np.array(one.levels) - one.value) ** 2)
            assert one.std == pytest.approx(variance**0.5, abs=1e-4)
            assert one.range == (1.0, 10.0)
            assert one.calibrated is False


def test_paths_arrays_and_single_pictures(assessment, tmp_path):
    image = picture(5)
    image.save(tmp_path / "a.png")
    forms = [image, tmp_path / "a.png", str(tmp_path / "a.png"), np.asarray(image)]
    together = assessment.score(forms)
    alone = [assessment.score(form)[0] for form in forms]
    for one in [*together, *alone]:
        assert one.scores["overall"].value == pytest.approx(together[0].scores["overall"].value, abs=1e-5)
    assert [one.path for one in together] == [None, str(tmp_path / "a.png"), str(tmp_path / "a.png"), None]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_batches_of_any_size_keep_the_order(checkpoint, assessment, size):
    pictures = [picture(i) for i in range(7)]
    expected = [one.scores["overall"].value for one in assessment.score(pictures)]
    found = [one.scores["overall"].value for one in Assessment(checkpoint, batch_size=size).score(pictures)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert assessment.score([]) == []
    assert assessment([]) == ([], [])


def test_sizes_that_would_change_each_other_are_scored_apart(assessment, tmp_path, monkeypatch):
    pictures = [Image.new("RGB", size, color) for size, color in (((40, 30), "red"), ((30, 40), "blue"))]
    images = [pictures[0], pictures[1], pictures[1], pictures[0]]
    expected = [one.scores["overall"].value for one in assessment.score(images)]
    monkeypatch.setitem(FAMILIES, assessment.model.config.model_type, Family(one_size=True))
    batches = []
    batch = type(assessment.collator).scoring_batch

    def counted(collator, images, places=None):
        batches.append(len(images))
        return batch(collator, images, places)

    monkeypatch.setattr(type(assessment.collator), "scoring_batch", counted)
    assert [one.scores["overall"].value for one in assessment.score(images)] == pytest.approx(expected, abs=1e-5)
    assert batches == [1, 2, 1]
    ways = []
    prepared = [Prepared(i, {"input_ids": torch.zeros(1, length)}) for i, length in enumerate((5, 9, 9))]
    scorer = Scorer(assessment, Wanted(("overall",)))
    monkeypatch.setattr(scorer, "_started", lambda batch: ways.append([one.index for one in batch]))
    monkeypatch.setattr(scorer, "_pieces", lambda batch: [])
    assert list(scorer.score([prepared])) == [] and ways == [[0], [1, 2]]


def test_attributes_by_name(assessment):
    everything = assessment.score(picture(0))[0].scores
    light = assessment.score(picture(0), attributes=["light"])[0].scores
    overall = assessment.score(picture(0), attributes="overall")[0].scores
    assert list(light) == ["light"]
    assert light["light"].value == pytest.approx(everything["light"].value, abs=1e-5)
    assert overall["overall"].value == pytest.approx(everything["overall"].value, abs=1e-5)
    with pytest.raises(ValueError, match="scores overall, light; asked for mood"):
        assessment.score(picture(0), attributes=["mood"])


def test_no_score_is_none_never_a_number(checkpoint):
    assessment = Assessment(checkpoint)
    assessment.model.generation_config.suppress_tokens = [assessment.model.config.roc["token_id"]]
    texts, scores = assessment([picture(0)])
    told = assessment.describe(picture(0), max_new_tokens=4)[0]
    assert scores == [None]
    assert "[SCORE]" not in texts[0]
    assert told.scores == {"overall": None, "light": None}


def test_dtype_and_device_can_be_set(checkpoint):
    half = Assessment(checkpoint, device="cpu", dtype="bfloat16")
    assert half.model.dtype == torch.bfloat16
    full = Assessment(checkpoint, dtype=torch.float32)
    found = half.score(picture(0))[0].scores["overall"].value
    assert found == pytest.approx(full.score(picture(0))[0].scores["overall"].value, abs=0.2)


def test_bad_input_is_named(assessment, checkpoint, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        assessment.score([picture(0), tmp_path / "broken.jpg"])
    with pytest.raises(ValueError, match="batch_size is 0"):
        Assessment(checkpoint, batch_size=0)


def test_nothing_is_said_that_a_user_can_do_nothing_about(tmp_path, capfd):
    """An adapter of a model whose layers have kernels for GPUs, on a CPU."""
    import logging
    import warnings

    import transformers
    from heads import save_base, trained_adapter

    model, processor = trained_adapter(save_base("llava", tmp_path / "base"), steps=2)
    save(model, processor, tmp_path / "adapter")
    logger = transformers.utils.logging.get_logger("transformers.integrations.hub_kernels")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        Assessment(tmp_path / "adapter", device="cpu")
    assert not logger.filter(
        logging.makeLogRecord({"msg": "`f` is falling back to its reference PyTorch implementation because ..."})
    )
    assert logger.filter(logging.makeLogRecord({"msg": "a kernel was not found"}))


def test_images_of_every_kind_one_or_several(assessment, tmp_path):
    path = tmp_path / "a.png"
    picture(0).save(path)
    data = path.read_bytes()
    (expected,) = assessment.score(path)
    number = pytest.approx(expected.scores["overall"].value, abs=1e-5)
    kinds = [
        *(lambda: str(path), lambda: data, lambda: bytearray(data), lambda: memoryview(data), lambda: io.BytesIO(data)),
        *(lambda: open(path, "rb"), lambda: f"file://{path}", lambda: np.asarray(picture(0)), lambda: picture(0)),
    ]
    for kind in kinds:
        for images, count in ((kind(), 1), ([kind(), kind()], 2), ((kind() for _ in range(2)), 2)):
            found = assessment.score(images)
            assert [float(one.scores["overall"]) for one in found] == [number] * count
    assert [one.path for one in assessment.score([open(path, "rb"), data, f"file://{path}"])] == [
        *(str(path), None, f"file://{path}")
    ]
    assert len(assessment.score(np.stack([np.asarray(picture(0))] * 3))) == 3


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (b"x", "not an image"),
        ([b""], "the file is empty"),
        (None, "got builtins.NoneType"),
        (7, "got builtins.int"),
        ({"a": "a.jpg"}, "got builtins.dict"),
        ([7], "got builtins.int"),
        ("file:///nowhere/a.jpg", "file:///nowhere/a.jpg: cannot be opened"),
        ("nowhere://a.jpg", "nowhere"),
    ],
)
def test_what_is_no_image_is_named(assessment, images, says):
    with pytest.raises((ValueError, TypeError), match=says):
        assessment.score(images)


def test_a_declared_limit_of_pixels_holds_for_every_picture(tmp_path):
    """What is declared decides scores and is part of what journals are bound to; undeclared it leaves them alone."""
    for name, settings in (("limited", {"max_pixels": 1500}), ("plain", {})):
        model, processor, _ = build("qwen2_5_vl", **settings)
        save(model, processor, tmp_path / name)
    limited, plain = Assessment(tmp_path / "limited"), Assessment(tmp_path / "plain")
    large = picture(0, (200, 100))
    small = large.resize(scaled_size(large.size, 1500), Image.Resampling.BICUBIC)
    expected = plain.score([small, large])
    assert limited.score([large, small]) == [expected[0]] * 2
    assert expected[0].scores != expected[1].scores
    apart = {name for name, value in identity(limited).items() if value != identity(plain)[name]}
    assert apart == {"declared"}
    earlier = {"token": "[SCORE]", "image_aspect_ratio": "keep", "prefix_lm": False, "distribution_supervised": False}
    earlier = json.dumps(earlier | {"attributes": ["overall", "light"]}, sort_keys=True).encode()
    assert identity(plain)["declared"] == hashlib.sha256(earlier).hexdigest()[:16]


def test_mirror_images_are_part_of_what_scores_and_generated_answers_are_of_the_photo_alone(checkpoint, tmp_path):
    model, processor = load(checkpoint)
    fill_head(model)
    intervals = Intervals(level=0.9, half_widths={"overall": 0.5}, rows={"overall": 20}, scores={}, stds={})
    calibration = Calibration(data="ab", rows=20, intervals=intervals)
    answered = {}
    for flips in (False, True):
        declare(model, replace(model.declaration, score_flip=flips, calibration=calibration))
        save(model, processor, tmp_path / str(flips))
        one = Assessment(tmp_path / str(flips))
        both = (one.score(picture(0))[0], one.describe(picture(0), max_new_tokens=32)[0])
        answered[flips] = one, *(made.scores["overall"] for made in both)
    plain, flipped = answered[False], answered[True]
    assert plain[0].scorer.rpartition("@")[2] != flipped[0].scorer.rpartition("@")[2]
    assert flipped[1].value != pytest.approx(plain[1].value, abs=0.01) and flipped[1].low is not None
    assert plain[2].low is not None
    assert flipped[2].value == pytest.approx(plain[2].value) and flipped[2].low is None
