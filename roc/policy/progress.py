"""What is seen of reinforcement: a line for each log and validation, and a sample of the texts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from roc.model.reasoned import WRONG
from roc.training.progress import validation_text

logger = logging.getLogger(__name__)

_MOST_CHARACTERS = 300


@dataclass(frozen=True)
class Sample:
    """An answer of the last generation.

    Attributes:
        picture: Id of the record.
        text: The completion.
        value: The score that was read in it, on the unit scale; None where it cannot be read.
        target: The human score on the unit scale; None where nobody rated it.
        rewards: Its rewards by name; None where one does not apply.
    """

    picture: str
    text: str
    value: float | None
    target: float | None
    rewards: dict[str, float | None]

    def __str__(self) -> str:
        value = "unread" if self.value is None else f"{self.value:.3f}"
        wanted = "" if self.target is None else f", people {self.target:.3f}"
        won = ", ".join(f"{name} {reward:.2f}" for name, reward in self.rewards.items() if reward is not None)
        return f"{self.picture}: head {value}{wanted} of 0..1; {won}"


class PolicyLines(TrainerCallback):
    """Logs one short line per training log and per validation, above the bar where there is one."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs:
            return
        if "reward" in logs:
            line = _training_line(logs)
        elif "eval_readable" in logs:
            line = f"validation {validation_text(logs)}"
        else:
            return
        with tqdm.external_write_mode(file=sys.stderr):
            logger.info("step %d of %d  %s", state.global_step, state.max_steps, line)


class Texts(TrainerCallback):
    """Logs an answer of the last generation with every training log, to TensorBoard as well.

    Args:
        latest: Gives it; None before the first generation.
        others: Gives the other callbacks; TensorBoard's writes the text too.
    """

    def __init__(self, latest: Callable[[], Sample | None], others: Callable[[], Sequence[TrainerCallback]]) -> None:
        self.latest, self.others = latest, others

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        sample = self.latest()
        if sample is None or not state.is_world_process_zero or "reward" not in (logs or {}):
            return
        text = sample.text if len(sample.text) <= _MOST_CHARACTERS else f"{sample.text[:_MOST_CHARACTERS]} ..."
        with tqdm.external_write_mode(file=sys.stderr):
            logger.info("  %s\n    %s", sample, " ".join(text.split()))
        for callback in self.others():
            if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
                callback.tb_writer.add_text("answer", f"{sample}\n\n{sample.text}", state.global_step)


def _training_line(logs: dict[str, Any]) -> str:
    parts = " ".join(
        f"{key.split('/')[1]} {value:.2f}"
        for key, value in logs.items()
        if key.startswith("rewards/") and key.endswith("/mean") and value is not None
    )
    words = [f"reward {logs['reward']:.3f} ({parts})"]
    for name, key, form in (
        ("kl", "kl", ".4f"),
        ("entropy", "entropy", ".2f"),
        ("length", "completions/mean_length", ".0f"),
        ("head error", "head_error", ".3f"),
        ("readable", "answers/readable", ".0%"),
        ("flat", "frac_below_floor", ".0%"),
    ):
        if logs.get(key) is not None:
            words.append(f"{name} {logs[key]:{form}}")
    wrong = [f"{logs[f'answers/{kind}']:.0%} {words_}" for kind, words_ in WRONG.items() if logs.get(f"answers/{kind}")]
    return "  ".join(words + ([f"unread: {', '.join(wrong)}"] if wrong else []))
