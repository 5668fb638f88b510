"""The keys of an evaluation: what each metric means, and how keys, values and intervals are written.

An evaluation is one flat dict, kept as metrics.json. A key is the name of a metric, such as `srcc`, with `_low` and
`_high` for the ends of its 95% interval. A prefix names the part of the data that it is computed on: none for the first
attribute, `<attribute>/` for each other attribute, `subset/<name>/` for a part of the test set.

The table on the terminal, the report and the comparison all read and show these keys with the functions below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

COVERAGES = (50, 80, 95)
"""Percent of the central intervals whose coverage is measured."""


class Metric(NamedTuple):
    """What a key of an evaluation means.

    Attributes:
        name: The name that tables show.
        better: "higher" or "lower", or the best value, for shares that should meet a target.
        meaning: One line for a reader who does not know the metric.
    """

    name: str
    better: str | float
    meaning: str

    def goodness(self, values: Any) -> Any:
        """Turns values of this metric, a number or an array, into numbers of which the larger is the better."""
        if self.better == "higher":
            return values
        return -values if self.better == "lower" else -abs(values - self.better)


METRICS: dict[str, Metric] = {
    "srcc": Metric("SRCC", "higher", "Spearman correlation: is the order right?"),
    "plcc": Metric("PLCC", "higher", "Pearson correlation of the raw predictions, no fitted curve"),
    "plcc_mapped": Metric(
        "PLCC mapped", "higher", "Pearson correlation after a 4-parameter logistic was fitted on these very rows"
    ),
    "krcc": Metric("KRCC", "higher", "Kendall's tau-b: pairs in the right order minus pairs in the wrong one"),
    "mae": Metric("MAE", "lower", "mean absolute error, native scale"),
    "rmse": Metric("RMSE", "lower", "root mean squared error, native scale"),
    "mae_unit": Metric("MAE on 0..1", "lower", "mean absolute error, range taken as 0..1"),
    "rmse_unit": Metric("RMSE on 0..1", "lower", "root mean squared error, range taken as 0..1"),
    "accuracy": Metric("accuracy", "higher", "share of rows on the right side of the threshold"),
    "emd": Metric("EMD", "lower", "earth mover's distance (r = 2) of predicted and voted distribution, 0..1"),
    "emd_baseline": Metric("EMD baseline", "lower", "the same for the mean histogram of the training rows"),
    "emd_ratio": Metric("EMD ratio", "lower", "EMD / EMD baseline: below 1 is better than not looking"),
    "kl": Metric("KL", "lower", "Kullback-Leibler divergence of the votes from the prediction, in nats"),
    "wasserstein": Metric("Wasserstein", "lower", "1-Wasserstein distance of the distributions, native scale"),
    **{
        f"coverage_{percent}": Metric(
            f"coverage {percent}%", percent / 100, f"share of human scores inside the central {percent}% interval"
        )
        for percent in COVERAGES
    },
    **{
        f"votes_coverage_{percent}": Metric(
            f"votes in {percent}%", percent / 100, f"share of single votes inside the central {percent}% interval"
        )
        for percent in COVERAGES
    },
    "unscored_share": Metric("unscored", "lower", "share of the rated images that got no score"),
}
"""Key -> what it means, in the order of the tables."""


def attribute_prefix(attribute: str, attributes: Sequence[str]) -> str:
    """Prefix of the keys of an attribute; empty for the first of `attributes`."""
    return "" if attribute == attributes[0] else f"{attribute}/"


def subset_prefix(subset: str) -> str:
    """Prefix of the keys of a subset."""
    return f"subset/{subset}/"


def split_key(key: str) -> tuple[str, str]:
    """Splits a key into its prefix, which may be empty or hold several slashes, and the name of the metric."""
    prefix, slash, name = key.rpartition("/")
    return prefix + slash, name


def scale_of(metrics: Mapping[str, Any]) -> tuple[float, float] | None:
    """Lowest and highest score of an evaluation; None where the scale is not known."""
    return (metrics["min_score"], metrics["max_score"]) if "min_score" in metrics else None


def range_text(scale: tuple[float, float]) -> str:
    """Writes a scale: `1..10`."""
    return f"{scale[0]:g}..{scale[1]:g}"


def threshold_text(metrics: Mapping[str, Any]) -> str:
    """Says at which threshold the accuracy was computed; empty where there was none."""
    return f"threshold of the accuracy {metrics['threshold']:g}" if "threshold" in metrics else ""


def value_text(value: float | None) -> str:
    """Writes a metric with three decimals; "-" where it has no value."""
    return "-" if value is None else f"{value:.3f}"


def bounds_text(low: float | None, high: float | None, form: str = ".3f") -> str:
    """Writes an interval, each end in the given format; empty where an end is missing."""
    return "" if low is None or high is None else f"[{low:{form}}, {high:{form}}]"


def interval_text(metrics: Mapping[str, Any], key: str, form: str = ".3f") -> str:
    """Writes the 95% interval of a metric as `bounds_text` does."""
    return bounds_text(metrics.get(f"{key}_low"), metrics.get(f"{key}_high"), form)
