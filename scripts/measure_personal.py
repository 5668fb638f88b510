"""Measures what a personal head gains on photos with simulated tastes, as docs/personalize.md reports it.

A taste is the rating of the crowd alone, or mixed in equal parts with how bright or how colourful a photo is; or it is
chance. Of the rated photos some are drawn as one's own and get stars from 1 to 5, with noise; the head is fitted on
them, and both scores are compared with the taste on all other photos. Several draws; the range over them is given.

    python scripts/measure_personal.py --checkpoint checkpoints/demo --data_path photos/ratings.csv --split test
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import stats

from roc.commands.line import Parser, run
from roc.data.reading import read_records
from roc.personal.features import Features
from roc.personal.fit import fit
from roc.personal.opinions import Ratings
from roc.personal.options import PersonalOptions
from roc.personal.personalize import check_general, photo_features
from roc.personal.rated import Rated
from roc.personal.validation import validate
from roc.scoring.assessment import Assessment
from roc.settings import REQUIRED, Settings, option

NOISE = 0.3
"""Standard deviation of what moves a star at random, where the taste has 1."""

THUMBNAIL = (96, 96)


@dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """The checkpoint, the rated photos, and how many of them are one's own."""

    checkpoint: str = option(REQUIRED, "folder of a checkpoint")
    data_path: str = option(REQUIRED, "file of rated photos", metavar="FILE")
    image_folder: str | None = option(None, "folder of the photos", metavar="DIR", unset="that of the file")
    split: str | None = option(None, "rows to use", unset="all")
    counts: tuple[int, ...] = option((30, 100, 300), "numbers of photos that are one's own")
    draws: int = option(5, "draws of each", low=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the measurement; returns the exit status."""
    return run(Parser("measure_personal.py", __doc__ or ""), Options, argv, _measure)


def _measure(options: Options) -> None:
    records = read_records(options.data_path, options.image_folder, space=None, check_images=False, split=options.split)
    images = [record.images[0] for record in records]
    crowd = np.array([record.scores["overall"] for record in records])
    assessment = Assessment(options.checkpoint)
    check_general(assessment)
    rated = Rated(images, Ratings(crowd), {image: [None] for image in images})
    asked = PersonalOptions(checkpoint=options.checkpoint, data_path=options.data_path, out="unused.json", workers=0)
    features = photo_features(assessment, rated, asked, lambda rows, total, done: rows)
    print("| taste | my photos | general SRCC | personal SRCC | gain, lowest to highest | accepted |")
    print("|---|---|---|---|---|---|")
    for name, taste in tastes(images, crowd).items():
        for count in options.counts:
            print(_line(features, name, taste, count, options.draws), flush=True)


def tastes(images: Sequence[str], crowd: np.ndarray) -> dict[str, np.ndarray]:
    """Makes the tastes, a number of each photo."""
    bright, colourful = np.array([_statistics(image) for image in images]).T
    return {
        "the crowd's": _standard(crowd),
        "half bright": _standard(_standard(crowd) + _standard(bright)),
        "half colourful": _standard(_standard(crowd) + _standard(colourful)),
        "chance": np.random.default_rng(0).normal(size=len(crowd)),
    }


def _statistics(image: str) -> tuple[float, float]:
    with Image.open(image) as opened:
        small = opened.convert("RGB")
    small.thumbnail(THUMBNAIL)
    return float(np.asarray(small.convert("L")).mean()), float(np.asarray(small.convert("HSV"))[..., 1].mean())


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _line(features: Features, name: str, taste: np.ndarray, count: int, draws: int) -> str:
    generals, personals, accepted = [], [], 0
    for seed in range(draws):
        draw = np.random.default_rng(seed)
        order = draw.permutation(len(taste))
        mine, others = order[:count], order[count:]
        stars = np.clip(np.round(3 + 1.1 * (taste[mine] + NOISE * draw.normal(size=count))), 1, 5)
        head, both = fit(features.of(mine), Ratings(stars)), features.of(others)
        generals.append(stats.spearmanr(both.scores(), taste[others]).statistic)
        personals.append(stats.spearmanr(head.scores(both), taste[others]).statistic)
        accepted += validate(features.of(mine), Ratings(stars)).helps
    gains = np.subtract(personals, generals)
    return (
        f"| {name} | {count} | {np.mean(generals):.2f} | {np.mean(personals):.2f} | {gains.mean():+.2f}, "
        f"{gains.min():+.2f} to {gains.max():+.2f} | {accepted} of {draws} |"
    )


if __name__ == "__main__":
    raise SystemExit(main())
