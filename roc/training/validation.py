"""The metrics of a validation: how well scores agree with people's, for each attribute, or how many pairs are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from transformers import EvalPrediction

from roc.data.pairs import Pair
from roc.evaluation.metrics import mae, plcc, srcc


def validation_metrics(attributes: list[str], sets: Sequence[str] = ()) -> Callable[[EvalPrediction], dict[str, float]]:
    """Makes the function that computes SRCC, PLCC and MAE (native scale) at every validation.

    Args:
        attributes: Names of the score columns, the first called `overall`.
        sets: Names of the data sets, where there are several; the last column of the labels then tells each row's.

    Returns:
        A function for `Trainer(compute_metrics=...)` with the keys `n, srcc, plcc, mae` of the first attribute, `n`
        being the number of rated rows, and `<attribute>/n, ...` of the others; a metric that does not exist is left
        out. With several data sets, `set/<name>/n, ...` are those of each, n is their sum, and every other metric their
        mean; errors on different scales have no mean, so there is none of the MAE. It raises `FloatingPointError` where
        a rated row has a score that is no number.
    """

    def compute(result: EvalPrediction) -> dict[str, float]:
        if not sets:
            return _agreement(result.predictions, result.label_ids, attributes)
        numbers = result.label_ids[:, -1]
        found = {
            name: _agreement(
                result.predictions[numbers == number], result.label_ids[numbers == number, :-1], attributes
            )
            for number, name in enumerate(sets)
        }
        metrics = {f"set/{name}/{key}": value for name, values in found.items() for key, value in values.items()}
        for key in dict.fromkeys(key for values in found.values() for key in values):
            values = [values[key] for values in found.values() if key in values]
            name = key.rpartition("/")[2]
            if name != "mae":
                metrics[key] = sum(values) if name == "n" else float(np.mean(values))
        return metrics

    return compute


def pair_validation_metrics(pairs: Sequence[Pair]) -> Callable[[EvalPrediction], dict[str, float]]:
    """Makes the function that measures pairs at every validation.

    Args:
        pairs: None of them a tie; row 2 i of what is predicted is the first picture of pair i, row 2 i + 1 its second.

    Returns:
        A function for `Trainer(compute_metrics=...)` with the keys `pair_accuracy`, the share of the pairs whose better
        picture has the higher score, a draw being half right, and `compared`, their number. It raises
        `FloatingPointError` where a score is no number.
    """
    wins = np.array([pair.wins for pair in pairs])

    def compute(result: EvalPrediction) -> dict[str, float]:
        scores = result.predictions[:, 0].reshape(-1, 2)
        if not np.isfinite(scores).all():
            raise FloatingPointError("validation scores are no numbers any more (NaN or infinite)")
        won = np.sign(scores[:, 1] - scores[:, 0]) / 2 + 0.5
        return {"compared": len(wins), "pair_accuracy": float((1 - np.abs(won - wins)).mean())}

    return compute


def _agreement(predictions: np.ndarray, labels: np.ndarray, attributes: Sequence[str]) -> dict[str, float]:
    """Computes SRCC, PLCC and MAE of every attribute, as `validation_metrics` names them.

    Raises:
        FloatingPointError: Where a rated row has a score that is no number.
    """
    metrics = {}
    for column, name in enumerate(attributes):
        predicted, scores = predictions[:, column], labels[:, column]
        rated = ~np.isnan(scores)
        if not np.isfinite(predicted[rated]).all():
            raise FloatingPointError("validation scores are no numbers any more (NaN or infinite)")
        prefix = "" if column == 0 else f"{name}/"
        metrics[f"{prefix}n"] = int(rated.sum())
        for key, metric in (("srcc", srcc), ("plcc", plcc), ("mae", mae)):
            value = metric(predicted[rated], scores[rated])
            if value is not None:
                metrics[prefix + key] = value
    return metrics
