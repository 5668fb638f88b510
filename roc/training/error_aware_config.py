"""Settings of error-aware weights, which any score loss can have; switched off they change nothing."""

from __future__ import annotations

from dataclasses import dataclass

from roc.settings import Fault, Settings, option

PUBLISHED_EPOCHS = 5
"""Epochs that only track errors, as published; of a run of 100."""


@dataclass(frozen=True)
class ErrorAwareConfig(Settings):
    """How rows that are persistently wrong get a larger weight (AGREE, Eq. 10 to 12)."""

    TITLE = "error-aware weights"

    error_aware: bool = option(
        False,
        "weigh rows whose scores have been wrong for long up to 1 + beta times as much in every loss on scores and "
        "histograms; the weights of a step have mean 1",
    )
    error_aware_epochs: int | None = option(
        None,
        "epochs that only track the errors, before they weigh anything",
        low=0,
        unset=f"{PUBLISHED_EPOCHS}, as published, or half of a shorter run, at least 1",
    )
    error_aware_gamma: float = option(
        0.9, "share of a row's earlier error that stays when it is seen again", low=0, below=1
    )
    error_aware_gamma_global: float = option(
        0.99, "share of the earlier mean and deviation of all errors that stays at a step", low=0, below=1
    )
    error_aware_beta: float = option(1.0, "largest weight above 1, before the weights of a step get mean 1", low=0)
    error_aware_tau: float = option(
        0.1,
        "deviations above the mean error within which a weight rises; small: rows weigh 1 or 1 + beta, hardly anything "
        "between",
        above=0,
    )

    def faults(self) -> list[Fault]:
        """Finds weights that would never be used, and a loss that is no mean over rows."""
        if not self.error_aware:
            return []
        found = []
        epochs = tracking_epochs(self, self.num_train_epochs)
        if self.max_steps == -1 and epochs >= self.num_train_epochs:
            found.append(("error_aware_epochs", never_weighed(epochs, self.num_train_epochs)))
        if self.published_losses:
            found.append(
                (
                    "error_aware",
                    "error_aware is on with published_losses, whose earth mover's distance has one root over the "
                    "whole batch, so no row in it has a weight; switch one of them off",
                )
            )
        return found


def tracking_epochs(config: ErrorAwareConfig, passes: float) -> int:
    """Counts the epochs that only track errors, in a run of `passes` epochs."""
    if config.error_aware_epochs is not None:
        return config.error_aware_epochs
    return max(1, min(PUBLISHED_EPOCHS, int(passes / 2)))


def never_weighed(epochs: int, passes: float) -> str:
    """Says that a run ends before its errors weigh anything.

    Args:
        epochs: Those that only track.
        passes: Passes over the training rows that the run makes.
    """
    return (
        f"error_aware_epochs is {epochs}, but the run has {passes:.3g} epochs, so no row would ever be weighed; give "
        "fewer, or train for more epochs"
    )
