"""Compares what a model writes about demo scenes with what is true of them.

A comment is read as its claims (`roc.demo.attributes.claims`). Three things are asked, each against chance:

- is a claim true of the scene?
- is the attribute that is praised first the best one of the scene?
- is the attribute that is blamed first the worst one?

Chance is what the same comments would get if they were written about other scenes: for each claim, the share of all
scenes that it is true of. A model that always writes the likeliest comment gets chance, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from roc.demo.attributes import LATENTS, claims, remarks
from roc.demo.scenes import KnownScene
from roc.evaluation.bootstrap import interval, resample, resampled_pearson, resampled_ranks
from roc.evaluation.metrics import mae, plcc, srcc
from roc.scoring.results import Assessed
from roc.training.finish import is_whole

RESAMPLES = 1000


def judge_answers(
    written: Sequence[Assessed],
    forward: Sequence[float],
    human: Sequence[float],
    scenes: Sequence[KnownScene],
    answer: str,
) -> dict[str, Any]:
    """Judges written answers and the scores in them.

    Args:
        written: What the model wrote, with the scores read there.
        forward: Its scores from one forward pass, without words.
        human: The raters' scores.
        scenes: What is true of each picture.
        answer: The taught sentence.

    Returns:
        `n`, `whole` (share of answers that hold the taught sentence with its score and end with a full stop),
        `commented` (share with a claim), `comments` (as `judge_comments`), `scores`: `srcc`, `plcc` and `mae` of those
        `written` and of those `forward`, with the 95% interval of the SRCC, and `apart`: the `largest` and the `mean`
        difference between the two on the pictures whose answer has a score.
    """
    texts = [one.text or "" for one in written]
    values = [score.value if (score := next(iter(one.scores.values()))) is not None else None for one in written]
    scored = [i for i, value in enumerate(values) if value is not None]
    pairs = {
        "written": ([values[i] for i in scored], [human[i] for i in scored]),
        "forward": (list(forward), list(human)),
    }
    apart = [abs(values[i] - forward[i]) for i in scored]
    return {
        "n": len(written),
        "whole": float(np.mean([is_whole(one, answer) and one.text.endswith(".") for one in written])),
        "commented": float(np.mean([bool(claims(text)) for text in texts])),
        "comments": judge_comments(texts, scenes),
        "scores": {name: _agreement(*pair) for name, pair in pairs.items()},
        "apart": {"largest": max(apart), "mean": float(np.mean(apart))} if apart else None,
    }


def judge_comments(texts: Sequence[str], scenes: Sequence[KnownScene]) -> dict[str, dict[str, Any]]:
    """Counts how often comments are right, and how often they would be about other scenes.

    Args:
        texts: Comments, perhaps among other words.
        scenes: What is true of each picture.

    Returns:
        `true` (claims), `best` and `worst` (first praise, first blame): `n` judged, `share` right, `chance`, and
        `minus_chance` with `low` and `high`, its 95% interval over resampled pictures. All but `n` are None where
        nothing was judged.
    """
    truths = [set(remarks(scene.latents, scene.facts).values()) for scene in scenes]
    best, worst = (
        [choose(LATENTS, key=lambda name, scene=scene: scene.latents[name]) for scene in scenes]
        for choose in (max, min)
    )
    found = [claims(text) for text in texts]
    first = {
        verdict: [[name for name, said, _ in row if said == verdict][:1] for row in found]
        for verdict in ("good", "bad")
    }
    return {
        "true": _against_chance([[phrase for *_, phrase in row] for row in found], truths),
        "best": _against_chance(first["good"], [{name} for name in best]),
        "worst": _against_chance(first["bad"], [{name} for name in worst]),
    }


def _against_chance(said: Sequence[Sequence[str]], true: Sequence[set[str]]) -> dict[str, Any]:
    """Compares what is said of each scene with what is true of it, and with what is true of all of them."""
    count = np.array([len(row) for row in said], dtype=float)
    if not count.sum():
        return {"n": 0, **dict.fromkeys(("share", "chance", "minus_chance", "low", "high"))}
    shares = {word: float(np.mean([word in one for one in true])) for row in said for word in row}
    right = np.array([sum(word in one for word in row) for row, one in zip(said, true, strict=True)], dtype=float)
    expected = np.array([sum(shares[word] for word in row) for row in said])

    def difference(counts: np.ndarray) -> np.ndarray:
        drawn = counts @ count
        return np.divide(counts @ (right - expected), drawn, out=np.full(len(counts), np.nan), where=drawn > 0)

    low, high = interval(resample({"": difference}, len(said), RESAMPLES, 0)[""])
    share, chance = right.sum() / count.sum(), expected.sum() / count.sum()
    return {
        "n": int(count.sum()),
        "share": float(share),
        "chance": float(chance),
        "minus_chance": float(share - chance),
        "low": low,
        "high": high,
    }


def _agreement(predicted: Sequence[float], rated: Sequence[float]) -> dict[str, Any]:
    x, y = np.array(predicted), np.array(rated)
    low = high = None
    if len(x) >= 3:

        def ranks_agree(counts: np.ndarray) -> np.ndarray:
            return resampled_pearson(counts, resampled_ranks(counts, x), resampled_ranks(counts, y))

        low, high = interval(resample({"": ranks_agree}, len(x), RESAMPLES, 0)[""])
    metrics = {"srcc": srcc(predicted, rated), "plcc": plcc(predicted, rated), "mae": mae(predicted, rated)}
    return {"n": len(predicted), **metrics, "srcc_low": low, "srcc_high": high}
