"""The tokens of a row are computed as the collator will lay it out, from texts and the sizes of its pictures alone."""

import pytest
from heads import ATTRIBUTES, SPACE, picture, record, talk
from tiny_models import FAMILY_BUILDERS, tiny_qwen2_5_vl

from roc.data.records import Record
from roc.model import lengths as module
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.lengths import RowLengths

SIZES = [(28, 28), (40, 30), (30, 40), (200, 20), (57, 133), (600, 420)]
TEXTS = [
    {},
    {"comment": "Fine light, and more of it."},
    {"conversations": talk("\n What <image> </s> is\n it?\n", "It is [SCORE] and [SCORE], I think.")},
]


def collator_of(builder, **settings):
    try:
        model, processor = builder()
    except ImportError as error:  # older releases of transformers want torchvision for more families
        pytest.skip(str(error))
    attach(model, processor, SPACE, attributes=ATTRIBUTES, **settings)
    return RocCollator(processor, model.declaration)


def really(collator, row, sizes):
    return collator([(row, [picture(0, size) for size in sizes])])["input_ids"].shape[1]


# PaliGemma's vocabulary has more than a thousand marks.
SOME_SLOW = [pytest.param(name, marks=pytest.mark.slow) if name == "paligemma" else name for name in FAMILY_BUILDERS]


@pytest.mark.parametrize("name", SOME_SLOW)
def test_lengths_are_those_of_the_collator(name):
    collator = collator_of(FAMILY_BUILDERS[name])
    lengths = RowLengths(collator)
    rows = [record("not there.png", **fields) for fields in TEXTS]
    for place, size in enumerate(SIZES):
        for row in rows if place < 2 else rows[:1]:
            found = lengths.of(row, [size])
            assert found.total == really(collator, row, [size]), (size, row)
            assert found.needed <= found.total and found.pictures > 0
    many = [(20 + 9 * i, 300 - 7 * i) for i in range(40)]
    lengths.learn(many)
    for size in many[:2] + many[19:21] + many[-2:]:
        assert lengths.of(rows[0], [size]).total == really(collator, rows[0], [size]), size


@pytest.mark.parametrize("name", ["qwen2_5_vl", "llava"])
def test_rows_of_several_pictures_and_of_none(name):
    collator = collator_of(FAMILY_BUILDERS[name])
    lengths = RowLengths(collator)
    several = Record("two", ("a.png", "b.png"), {"overall": 3.0})
    none = Record("text", (), conversations=(("user", "What is light?"), ("assistant", "Waves.")))
    sizes = [(40, 30), (28, 70)]
    assert lengths.of(several, sizes).total == really(collator, several, sizes)
    assert lengths.of(none, []).total == really(collator, none, []) and lengths.of(none, []).pictures == 0


@pytest.mark.parametrize("settings", [{"image_aspect_ratio": "pad"}, {"max_pixels": 1000},
                                      {"image_aspect_ratio": "pad", "max_pixels": 1000}])  # fmt: skip
def test_padding_and_scaling_down_count(settings):
    collator = collator_of(tiny_qwen2_5_vl, **settings)
    lengths, plain = RowLengths(collator), RowLengths(collator_of(tiny_qwen2_5_vl))
    row, size = record("a.png"), (200, 20)
    assert lengths.of(row, [size]).total == really(collator, row, [size]) != plain.of(row, [size]).total
    if "max_pixels" in settings and "image_aspect_ratio" not in settings:
        assert plain.limited(1000).of(row, [size]) == lengths.of(row, [size])


def test_what_is_needed_is_the_shortest_limit_without_a_lost_score():
    collator = collator_of(tiny_qwen2_5_vl)
    row, size = record("a.png", comment="Soft light, " * 5), (40, 30)
    found = RowLengths(collator).of(row, [size])
    assert found.needed < found.total
    fits = RocCollator(collator.processor, collator.declaration, max_length=found.needed)
    assert really(fits, row, [size]) == found.needed
    with pytest.raises(ValueError, match="cutting would lose"):
        really(RocCollator(collator.processor, collator.declaration, max_length=found.needed - 1), row, [size])


def test_the_arithmetic_of_a_processor_is_used_only_where_it_is_right(monkeypatch):
    collator = collator_of(tiny_qwen2_5_vl)
    row, many = record("a.png"), [(20 + 5 * i, 300 - 7 * i) for i in range(40)]
    expected = [RowLengths(collator).of(row, [size]) for size in many]
    shown = []
    encode = collator.encode
    monkeypatch.setattr(collator, "encode", lambda *rest: shown.append(rest) or encode(*rest))
    lengths = RowLengths(collator)
    lengths.learn(many)
    assert [lengths.of(row, [size]) for size in many] == expected
    assert len(shown) < 25  # not each of the 40
    wrong = {"num_image_tokens": [1] * 100}
    monkeypatch.setattr(type(collator.processor), "_get_num_multimodal_tokens", lambda *_, **__: wrong)
    lengths = RowLengths(collator)
    lengths.learn(many)
    assert [lengths.of(row, [size]) for size in many] == expected


def test_other_processes_may_count_many_sizes(monkeypatch, caplog):
    caplog.set_level("INFO", "roc")
    collator = collator_of(FAMILY_BUILDERS["smolvlm"])
    many = [(20 + 5 * i, 300 - 7 * i) for i in range(6)] + [(4000, 2)]
    alone, together = RowLengths(collator), RowLengths(collator)
    alone.learn(many)
    monkeypatch.setattr(module, "_MANY", 5)
    together.learn(many, workers=1)
    assert caplog.messages == ["Counting the tokens that pictures of 7 sizes take."]
    row = record("a.png")
    assert [together.of(row, [size]) for size in many[:6]] == [alone.of(row, [size]) for size in many[:6]]


def test_each_prompt_is_counted_with_pictures_processed_once(monkeypatch):
    collator = collator_of(tiny_qwen2_5_vl)
    processed = []
    process = type(collator.processor.image_processor).__call__
    monkeypatch.setattr(
        type(collator.processor.image_processor),
        "__call__",
        lambda self, images, *rest, **more: processed.append(1) or process(self, images, *rest, **more),
    )
    lengths = RowLengths(collator)
    for i in range(20):
        lengths.of(record("a.png", conversations=talk(f"Question {i}?", "[SCORE], [SCORE].")), [(40, 30)])
    assert len(processed) == 3  # the question with a small picture and with this one, and the prompts


def test_a_picture_that_the_processor_cannot_take_is_named():
    collator = collator_of(FAMILY_BUILDERS["mistral3"])
    with pytest.raises(ValueError, match=r"cannot take an image of 400 x 3"):
        RowLengths(collator).of(record("a.png"), [(400, 3)])
