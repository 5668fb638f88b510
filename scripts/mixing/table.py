"""The result: metrics of each way and half, and differences to the half alone, paired by photo and seed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np

from roc.evaluation.metrics import srcc

from .halves import HALVES
from .runs import WAYS

RESAMPLES = 1000


def difference(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], seed: int = 0) -> dict[str, float]:
    """Compares two ways on one half, SRCC of ours minus theirs.

    Args:
        ours, theirs: One result a seed, the same seeds in the same order, with `predictions` and `human`.
        seed: Of the resampling.

    Returns:
        `difference`, the mean over the seeds; `low` and `high`, its central 95% over draws of photos and of seeds;
        `wins`, the share of seeds in which ours is the higher one.
    """
    pairs = [(a["srcc"], b["srcc"]) for a, b in zip(ours, theirs, strict=True)]
    rng = np.random.default_rng(seed)
    count = len(ours[0]["human"])
    human = np.array(ours[0]["human"])
    first, second = (np.array([one["predictions"] for one in side]) for side in (ours, theirs))
    drawn = []
    for _ in range(RESAMPLES):
        photos, seeds = rng.integers(count, size=count), rng.integers(len(pairs), size=len(pairs))
        found = {
            s: srcc(first[s, photos], human[photos]) - srcc(second[s, photos], human[photos])
            for s in set(seeds.tolist())
        }
        drawn.append(mean(found[s] for s in seeds.tolist()))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "difference": mean(a - b for a, b in pairs),
        "low": float(low),
        "high": float(high),
        "wins": mean(float(a > b) for a, b in pairs),
    }


def compare(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Gathers the results: way -> half -> mean metrics and, of what is trained on both, the difference to alone."""
    found: dict[str, Any] = {}
    by_way = {way: sorted((r for r in results if r["way"] == way), key=lambda r: r["seed"]) for way in WAYS}
    for way, runs in by_way.items():
        for half in (half.name for half in HALVES):
            own = [run["halves"][half] for run in runs if half in run["halves"]]
            if not own:
                continue
            row: dict[str, Any] = {"seeds": len(own)} | {
                k: mean(one[k] for one in own) for k in ("srcc", "plcc", "mae")
            }
            alone = {run["seed"]: run["halves"][half] for run in by_way[half]}
            shared = [run for run in runs if run["seed"] in alone]
            if way != half and shared:
                row |= difference([run["halves"][half] for run in shared], [alone[run["seed"]] for run in shared])
            found.setdefault(way, {})[half] = row
    return found


def format_results(found: dict[str, Any], about: str) -> str:
    """Writes the table in Markdown."""
    lines = [
        "| trained on | half | SRCC | against alone (95%) | PLCC | MAE, own scale |",
        "|---|---|---|---|---|---|",
    ]
    for way, halves in found.items():
        for half, row in halves.items():
            against = ""
            if "difference" in row:
                against = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
            cells = (WAYS[way], half, f"{row['srcc']:.4f}", against, f"{row['plcc']:.4f}", f"{row['mae']:.3g}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([about, "", *lines])
