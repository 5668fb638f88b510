"""Settings of a run that learns from pairs; without a file of pairs they change nothing."""

from __future__ import annotations

from dataclasses import dataclass

from roc.settings import Settings, option


@dataclass(frozen=True)
class PairConfig(Settings):
    """Pictures that were compared, beside rated ones or alone."""

    TITLE = "pairs"

    pairs_path: str | None = option(
        None,
        "pairs to train on, beside data_path or alone: a file with the columns image_a, image_b and preferred (a, b or "
        "tie) or delta (second minus first); a pair counts as one row of a batch",
    )
    delta_width: float | None = option(
        None,
        "delta that spans the whole range of the first score",
        above=0,
        unset="max_score - min_score",
    )
    delta_weight: float = option(
        1.0,
        "with pairs: weight of the smooth L1 loss on the difference of two scores, where a delta is known",
        low=0,
    )
    rank_weight: float = option(
        1.0, "with pairs: weight of the ranking loss (FRank) on which of the two scores is the higher one", low=0
    )
