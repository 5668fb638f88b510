"""How far scores depend on the image: the figures by hand, with a function in place of a model."""

import numpy as np
import pytest
from PIL import Image

from roc.evaluation import image_effect as effects
from roc.evaluation.image_effect import effect_text, image_effect, sample_pictures


def brightness(pictures):
    return np.array([np.asarray(picture).mean() / 255 for picture in pictures])


def pixels(pictures):
    """Scores the size of a picture and nothing else."""
    return np.array([picture.width * picture.height / 100 for picture in pictures])


def grey(level, size=(8, 8)):
    return Image.new("RGB", size, (level,) * 3)


def test_the_figures_by_hand():
    # 0 and 1 are exchanged for each other; black is 0, so only the white one moves.
    effect = image_effect(brightness, [grey(0), grey(255)])
    assert (effect.n, effect.spread, effect.swapped, effect.black) == pytest.approx((2, 0.5, 1.0, 0.5))
    assert not effect.is_blind(1) and effect.is_blind(2000)
    assert effect_text(effect.to_metrics(), 10) == (
        "scores move by 1 (10.00% of the range) when pictures are swapped, by 0.5 (5.00% of the range) when all is "
        "black (2 pictures, standard deviation of their scores 0.5)"
    )


def test_a_score_of_the_size_alone_is_blind_although_it_varies():
    effect = image_effect(pixels, [grey(0), grey(99, (4, 4)), grey(200, (20, 5))])
    assert effect.spread > 0.1 and effect.swapped == effect.black == 0 and effect.is_blind(1)


def test_one_picture_cannot_be_swapped():
    effect = image_effect(brightness, [grey(255)])
    assert effect.swapped is None and effect.black == 1 and not effect.is_blind(1)
    assert effect_text(effect.to_metrics()).startswith("scores move by 1 when all is black (1 picture,")


def test_the_sample_is_spread_over_the_rows_and_small(tmp_path, monkeypatch):
    monkeypatch.setattr(effects, "SAMPLE", 3)
    paths = []
    for n in range(6):
        paths.append(str(tmp_path / f"{n}.png"))
        grey(40 * n, (1200, 600) if n == 2 else (8, 8)).save(paths[-1])
    (tmp_path / "4.png").write_bytes(b"no picture")
    pictures = sample_pictures([*paths, paths[0]])
    assert [(picture.size, picture.getpixel((0, 0))[0]) for picture in pictures] == [((8, 8), 0), ((512, 256), 80)]
    assert sample_pictures([]) == []
