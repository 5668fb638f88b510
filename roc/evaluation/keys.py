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

VOTE_METRICS = ("emd", "emd_baseline", "emd_ratio", "kl", "wasserstein")
"""Metrics of distributions, on the rows that have a histogram."""

FEW_ROWS = 30
"""Below this number of rows a metric is shown with one digit. The 95% interval of an SRCC of 0.8 is then wider than
0.6..0.9, so that further digits say nothing, and a handful of other photos would give quite another number."""


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
    "confidence": Metric("confidence", "higher", "of pairs: mean probability that the model gives the better picture"),
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


def scale_of(metrics: Mapping[str, Any], prefix: str = "") -> tuple[float, float] | None:
    """Lowest and highest score of an evaluation; None where the scale is not known.

    Args:
        metrics: Of the evaluation.
        prefix: Of an attribute or a subset; an attribute may be on another range than the first one.
    """
    if "min_score" not in metrics:
        return None
    low, high = (metrics.get(prefix + end, metrics[end]) for end in ("min_score", "max_score"))
    return low, high


def rating_scale_of(metrics: Mapping[str, Any], prefix: str = "") -> tuple[float, float] | None:
    """Lowest and highest rating; that of the scores unless the checkpoint was calibrated onto the scale of others."""
    given = metrics.get(f"{prefix}rating_range")
    return scale_of(metrics, prefix) if given is None else tuple(given)


def own_scale_text(metrics: Mapping[str, Any], prefix: str) -> str:
    """Writes the range of an attribute that is on another one than the first, ` (-10..10)`; empty for any other."""
    return f" ({range_text(scale_of(metrics, prefix))})" if prefix and f"{prefix}min_score" in metrics else ""


def range_text(scale: tuple[float, float]) -> str:
    """Writes a scale: `1..10`."""
    return f"{scale[0]:g}..{scale[1]:g}"


def threshold_text(metrics: Mapping[str, Any]) -> str:
    """Says at which threshold the accuracy was computed; empty where there was none."""
    return f"threshold of the accuracy {metrics['threshold']:g}" if "threshold" in metrics else ""


def value_text(value: float | None, n: int | None = None, form: str = ".3f") -> str:
    """Writes a metric.

    Args:
        value: The metric; None is written "-".
        n: Number of rows that it rests on; below `FEW_ROWS` it is rounded to one digit. None rounds nothing.
        form: Format of a number that rests on enough rows.
    """
    if value is None:
        return "-"
    if n is None or n >= FEW_ROWS:
        return f"{value:{form}}"
    rounded = float(f"{value:.1g}")
    if form.endswith("%"):
        return f"{rounded:.0%}"
    return f"{rounded if abs(rounded) >= 0.001 else 0.0:{'+' if '+' in form else ''}g}"


def bounds_text(low: float | None, high: float | None, n: int | None = None, form: str = ".3f") -> str:
    """Writes an interval, each end as `value_text` does; empty where an end is missing."""
    return "" if low is None or high is None else f"[{value_text(low, n, form)}, {value_text(high, n, form)}]"


def metric_text(metrics: Mapping[str, Any], key: str) -> str:
    """Writes a metric of an evaluation, to one digit with "~" before it where it rests on few rows."""
    n = rows_behind(metrics, key)
    text = value_text(metrics[key], n)
    return f"~{text}" if n is not None and n < FEW_ROWS and text != "-" else text


def interval_text(metrics: Mapping[str, Any], key: str, form: str = ".3f") -> str:
    """Writes the 95% interval of a metric as `bounds_text` does."""
    return bounds_text(metrics.get(f"{key}_low"), metrics.get(f"{key}_high"), rows_behind(metrics, key), form)


def rows_behind(metrics: Mapping[str, Any], key: str) -> int | None:
    """Number of rows that a metric is computed on; None for a share of rows, which is a count and no estimate."""
    prefix, name = split_key(key)
    if name == "unscored_share":
        return None
    counted = "coverage_n" if "coverage" in name else "emd_n" if name in VOTE_METRICS else "n"
    return metrics.get(f"{prefix}{counted}")
