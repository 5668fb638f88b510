"""What sampled critiques are rewarded with, before RAPO and after it, on the same scenes.

The log of a run has other scenes in each step, so its beginning and its end differ by chance too. Here both models
answer the same scenes, none of which they were taught on, at temperature 1 and with every token of the vocabulary
allowed; RAPO itself draws from the likeliest ones (`top_k`), so that a few more answers cannot be read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from roc.evaluation.bootstrap import interval, resample, resampled_mean
from roc.evaluation.folder import ANSWERS_FILE, read_evaluation
from roc.model.reasoned import GOOD
from roc.policy.rewards import error_rewards, format_rewards, rank_rewards
from roc.score_space import ScoreSpace

SAMPLES = 2
"""Answers of a model to each scene."""
TOTAL = "reward"
RESAMPLES = 1000


def rewards_of(folder: Path, space: ScoreSpace) -> dict[str, dict[str, float]]:
    """Rewards the answers of an evaluation, each scene compared with all others.

    An answer that could not be read at once earns 0, whatever was written in its place.

    Args:
        folder: What `roc evaluate --reason` wrote.
        space: Scale of its scores.

    Returns:
        Id of a scene -> `rank`, `error`, `format` and their sum, `reward`, as means over its answers.
    """
    human = {row.id: row.scores["overall"] for row in read_evaluation(folder).rows}
    lines = [json.loads(line) for line in (folder / ANSWERS_FILE).read_text(encoding="utf-8").splitlines()]
    scenes = [line["id"] for line in lines for _ in line["answers"]]
    values = [
        space.to_unit(one["prediction"]) if one["kind"] == GOOD and not one["retried"] else None
        for line in lines
        for one in line["answers"]
    ]
    targets = [space.to_unit(human[scene]) for scene in scenes]
    columns = {
        "rank": rank_rewards(values, targets, scenes, [None] * len(scenes)),
        "error": error_rewards(values, targets),
        "format": format_rewards(values),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for name, column in columns.items():
        for scene, reward in zip(scenes, column, strict=True):
            found.setdefault(scene, {}).setdefault(name, []).append(reward)
    means = {scene: {name: fmean(column) for name, column in some.items()} for scene, some in found.items()}
    return {scene: {TOTAL: sum(some.values()), **some} for scene, some in means.items()}


def compare_rewards(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """Compares two models scene by scene.

    Args:
        before, after: What `rewards_of` found, of the same scenes.

    Returns:
        Name of a reward -> `a` (mean after), `b` (mean before), `difference`, and its 95% interval `low`, `high`.
    """
    rewards = {
        name: tuple(np.array([side[scene][name] for scene in before]) for side in (after, before))
        for name in next(iter(before.values()))
    }
    drawn = resample({name: resampled_mean(a - b) for name, (a, b) in rewards.items()}, len(before), RESAMPLES, seed=0)
    found = {}
    for name, (a, b) in rewards.items():
        low, high = interval(drawn[name])
        found[name] = {
            "a": float(a.mean()), "b": float(b.mean()), "difference": float((a - b).mean()), "low": low, "high": high,
        }  # fmt: skip
    return found
