"""What is seen of a training run: a line for each log and validation, and a bar where there is a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback, TrainerCallback

from roc.evaluation.keys import FEW_ROWS, metric_text
from roc.model.reasoned import WRONG

logger = logging.getLogger(__name__)

LOSSES = ("text_loss", "l1_loss", "ce_loss", "emd_loss", "delta_loss", "rank_loss")
"""The terms of the loss, by their names in the model's output and in the log."""

_VALIDATED = {"srcc": "SRCC", "plcc": "PLCC", "mae": "MAE"}


class LogLines(TrainerCallback):
    """Logs one short line per training log and per validation, above the bar where there is one."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs:
            return
        place = f"epoch {logs.get('epoch', 0):.1f}"
        if "loss" in logs:
            terms = " ".join(f"{name.removesuffix('_loss')} {logs[name]:.3f}" for name in LOSSES if name in logs)
            line = f"{place}  loss {logs['loss']:.3f} ({terms})  lr {logs['learning_rate']:.1e}"
            line += _weights_text(logs)
        elif "eval_loss" in logs:
            line = f"{place}  validation {validation_text(logs)}"
        else:
            return
        with tqdm.external_write_mode(file=sys.stderr):
            logger.info(line)


class Bar(ProgressCallback):
    """The stock progress bar without its dictionaries, which `LogLines` replaces."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        pass


def _weights_text(logs: dict[str, Any]) -> str:
    """Writes what error-aware weights do: how many rows have an error, and the largest weight once there are any."""
    if "errors_tracked" not in logs:
        return ""
    heaviest = f", weights up to {logs['largest_error_weight']:.2f}" if "largest_error_weight" in logs else ""
    return f"  errors of {logs['errors_tracked']:.0%} of the rows tracked{heaviest}"


def validation_text(logs: dict[str, Any]) -> str:
    """Writes the figures of a validation as an evaluation does: rounded where they rest on few rows, which is said."""
    found = {key.removeprefix("eval_"): value for key, value in logs.items()}
    values = [f"{word} {metric_text(found, key)}" for key, word in _VALIDATED.items() if key in found]
    if "pair_accuracy" in found:
        values.append(f"pairs right {found['pair_accuracy']:.1%}")
    if "srcc" not in found and "compared" not in found:
        few = "readable" in found and found["n"] < 3
        values.append(f"(no SRCC: {'too few answers can be read' if few else 'the predictions are all equal'})")
    if found.get("n", FEW_ROWS) < FEW_ROWS:
        values.append(f"(rounded: {found['n']} rows)")
    if "readable" in found:
        wrong = ", ".join(f"{found[f'wrong/{kind}']} {WRONG[kind]}" for kind in WRONG if f"wrong/{kind}" in found)
        values.append(f" readable {found['readable']:.0%}" + (f" ({wrong})" if wrong else ""))
        values += [f" one pass MAE {metric_text(found, 'short_mae')}"] if "short_mae" in found else []
    if "entropy" in found:
        values.append(f" entropy {found['entropy']:.3f} (sampled: {found['sampled_readable']:.0%} readable)")
    return " ".join(values)
