"""The author that measures photos: measures by hand, and sentences that are true of the photo alone."""

import numpy as np
import pytest
from PIL import Image

from roc.data.images import ImageError
from roc.data.records import Record
from roc.reasoning.authors import Request
from roc.reasoning.filters import check_form, check_leak
from roc.reasoning.measured import SENTENCES, Measures, MeasuringAuthor
from roc.reasoning.tiers import Photo
from roc.reasoning.wording import read_claims, read_tone
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(0, 1)


@pytest.fixture
def saved(tmp_path):
    def save(pixels, name="photo.png"):
        Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(tmp_path / name)
        return str(tmp_path / name)

    return save


def some_photos(save, count):
    """Draws blocks of random colours: dark and bright, grey and vivid, coarse and fine."""
    paths = []
    for number in range(count):
        draw = np.random.default_rng(number)
        cells = int(draw.choice([2, 5, 17, 64]))
        colours = draw.beta(*draw.uniform(0.3, 3, 2), size=(cells, cells, 3))
        colours = colours.mean(axis=-1, keepdims=True) + draw.uniform(0, 1) * (colours - 0.5)
        pixels = np.clip(colours.repeat(128 // cells + 1, axis=0).repeat(128 // cells + 1, axis=1), 0, 1)
        paths.append(save(pixels[:128, :128] * 255, f"{number}.png"))
    return paths


def test_measures_of_a_flat_photo(saved):
    found = Measures.of(saved(np.full((40, 60, 3), 51)))
    assert found.brightness == pytest.approx(0.2)
    assert found.range == pytest.approx(0) and found.sharpness == pytest.approx(0, abs=1e-9)
    assert found.colourfulness == pytest.approx(0, abs=1e-9) and found.warmth == pytest.approx(0)
    assert found.centred == 1 and found.plain == 1 and found.burnt == 0 and found.blocked == 0


def test_measures_of_black_beside_white(saved):
    pixels = np.zeros((64, 64, 3))
    pixels[:, 32:] = 255
    found = Measures.of(saved(pixels))
    assert found.brightness == pytest.approx(0.5) and found.range == pytest.approx(1)
    assert found.burnt == pytest.approx(0.5) and found.blocked == pytest.approx(0.5)
    # The edge: two columns of 64 have a gradient of 0.5, so more than 1% of the pixels.
    assert found.sharpness == pytest.approx(0.5)
    # Both lie in the middle half, which so has twice the mean gradient; and in 2 of 8 columns of cells.
    assert found.centred == pytest.approx(2) and found.plain == pytest.approx(0.75)
    held = [one.words for one in SENTENCES["exposure"] if one.holds(found)]
    assert held == ["The exposure keeps to the middle tones, and both ends are lost, bright areas and dark ones."]


def test_colourfulness_and_warmth_by_hand(saved):
    """Red beside blue: rg is 1 and 0, yb is .5 and -1, so sd .5 and .75, means .5 and -.25."""
    pixels = np.zeros((8, 8, 3))
    pixels[:, :4, 0], pixels[:, 4:, 2] = 255, 255
    found = Measures.of(saved(pixels))
    assert found.colourfulness == pytest.approx(np.hypot(0.5, 0.75) + 0.3 * np.hypot(0.5, 0.25))
    assert found.warmth == pytest.approx(0)
    assert Measures.of(saved(np.full((8, 8, 3), (255, 128, 51)))).warmth == pytest.approx(0.8)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 600), (2, 2)])
def test_photos_of_any_shape_can_be_measured(saved, size):
    found = Measures.of(saved(np.full((*size, 3), 200)))
    assert found.centred == 1 and found.plain == 1 and 0 < found.brightness < 1


def test_of_each_dimension_one_meaning_holds(saved):
    seen = [Measures.of(path) for path in some_photos(saved, 60)]
    for sentences in SENTENCES.values():
        for one in seen:
            held = {sentence.holds for sentence in sentences if sentence.holds(one)}
            assert len(held) == 1
        assert len({sentence.holds for one in seen for sentence in sentences if sentence.holds(one)}) > 1


def test_its_critiques_pass_all_filters_and_those_of_another_photo_do_not(saved):
    author, texts = MeasuringAuthor(), []
    photos = [
        Photo.of(Record(str(number), (path,), {"overall": number / 30}), SPACE)
        for number, path in enumerate(some_photos(saved, 30))
    ]
    for photo in photos:
        critique = author.ask(Request.write(photo, SPACE.range, 0)).text
        assert check_form(critique) is None and check_leak(critique, photo.score, SPACE) is None
        assert read_tone(author.ask(Request.tone(critique, 0)).text) == photo.tier
        assert read_claims(author.ask(Request.facts(photo, critique, 0)).text) == []
        texts.append(critique)
    assert len(set(texts)) > 25
    invented = [author.unsupported(texts[number - 1], Measures.of(photos[number].path)) for number in range(30)]
    assert sum(map(bool, invented)) > 25


def test_no_sentence_that_it_knows_states_a_score():
    for sentences in SENTENCES.values():
        for sentence in sentences:
            for score in (0.1, 0.5, 1.0):
                assert check_leak(sentence.words, score, SPACE) is None


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"a\.png"):
        MeasuringAuthor().look(str(tmp_path / "a.png"))
