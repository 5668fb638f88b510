"""Settings of a run whose rows hold critiques; without such rows they change nothing."""

from __future__ import annotations

from dataclasses import dataclass

from roc.settings import Settings, option


@dataclass(frozen=True)
class ReasoningConfig(Settings):
    """How a model that is taught to reason is taught to answer at once too, and how it is validated."""

    TITLE = "rows with critiques"

    short_answers: float = option(
        1.0,
        "share of the rows with a critique that are taught a second time in each epoch, with the short question and "
        "answer of `.score()`; with 0 `.score()` is not taught",
        low=0,
        high=1,
    )
    reasoning_rows: int = option(
        200, "validation rows for which the model writes its critiques at each validation", low=3
    )
    reasoning_tokens: int = option(512, "longest critique with its answer, in tokens, in validation and tests", low=8)
    entropy_rows: int = option(
        64,
        "of these, rows for which an answer is sampled at temperature 1, to measure the entropy of the policy",
        low=0,
        matters=False,
    )
    stable_format: float = option(
        0.9,
        "share of the sampled answers that have to be readable before a state counts as a start of reinforcement",
        low=0,
        high=1,
        matters=False,
    )
