"""How wrong each row of the training data has been for how long, and the weight that follows from it.

The arithmetic of error-aware weights in AGREE (Eq. 10 and 11), on the numbers of rows; it knows no model and no
trainer. Row i has a running error `e_i <- gamma e_i + (1 - gamma) |y_i - yhat_i|`, its first error as it is. Mean and
deviation of all errors run along, `m <- gamma_global m + (1 - gamma_global) mean of the step`. The weight before a step
has mean 1 is `w_i = 1 + beta tanh(max(0, (e_i - m) / (tau s)))`: 1 up to the mean error, 1 + beta well above it.

In the released code the state is a dictionary that no checkpoint holds and no other process sees, and a mean of 0
stands for "none yet". Here it is tensors and an explicit flag, so that it can be saved and compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Added to the deviation of a step, and to what the distance from the mean is divided by, as published.
_EPSILON = 1e-6

_STATE = ("errors", "tracked", "mean", "deviation", "started")


class ErrorTracker:
    """Running errors of the rows of a data set.

    Args:
        num_rows: Rows are numbered from 0 to `num_rows - 1`.
        gamma: Share of a row's earlier error that stays, 0..1.
        gamma_global: Share of the earlier mean and deviation of all errors that stays, 0..1.
        beta: Largest weight above 1, at least 0.
        tau: Deviations above the mean within which the weight rises, above 0.
    """

    def __init__(
        self, num_rows: int, *, gamma: float = 0.9, gamma_global: float = 0.99, beta: float = 1.0, tau: float = 0.1
    ) -> None:
        self.gamma, self.gamma_global, self.beta, self.tau = gamma, gamma_global, beta, tau
        self.errors = torch.zeros(num_rows, dtype=torch.float64)
        self.tracked = torch.zeros(num_rows, dtype=torch.bool)
        self.mean = torch.zeros((), dtype=torch.float64)
        self.deviation = torch.zeros((), dtype=torch.float64)
        self.started = torch.zeros((), dtype=torch.bool)

    @property
    def share_tracked(self) -> float:
        """Share of all rows that have an error, 0..1; rows that nobody rated never get one."""
        return float(self.tracked.double().mean())

    def knows(self, rows: Tensor) -> bool:
        """Tells whether every one of these rows has an error."""
        return bool(self.tracked[rows].all())

    def raw_weights(self, rows: Tensor, errors: Tensor) -> Tensor:
        """Computes weights from the errors before this step.

        Args:
            rows: (n,) numbers.
            errors: (n,) errors of this step, which stand in for rows that have none yet; NaN elsewhere.

        Returns:
            (n,) float64 in 1..1 + beta; all 1 before the first `update` with more than one row.
        """
        if not self.started:
            return torch.ones(len(rows), dtype=torch.float64)
        known = torch.where(self.tracked[rows], self.errors[rows], errors.double())
        distance = (known - self.mean) / (self.tau * self.deviation + _EPSILON)
        return 1 + self.beta * distance.clamp(min=0).tanh()

    def update(self, rows: Tensor, errors: Tensor) -> None:
        """Takes in the errors of a step; the result does not depend on their order.

        Args:
            rows: (n,) numbers. A row that comes twice, as at the end of an epoch of several processes, counts once with
                the mean of its errors.
            errors: (n,) errors, at least 0.
        """
        if not len(rows):
            return
        rows, places = rows.unique(return_inverse=True)
        sums = torch.zeros(len(rows), dtype=torch.float64).index_add(0, places, errors.double())
        errors = sums / places.bincount()
        earlier = self.gamma * self.errors[rows] + (1 - self.gamma) * errors
        self.errors[rows] = torch.where(self.tracked[rows], earlier, errors)
        self.tracked[rows] = True
        if len(rows) == 1:
            return
        mean, deviation = errors.mean(), errors.std(correction=0) + _EPSILON
        if self.started:
            mean, deviation = mean.lerp(self.mean, self.gamma_global), deviation.lerp(self.deviation, self.gamma_global)
        self.mean, self.deviation, self.started = mean, deviation, torch.ones((), dtype=torch.bool)

    def state(self) -> dict[str, Tensor]:
        """Returns all that is kept, by name."""
        return {name: getattr(self, name) for name in _STATE}

    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned.

        Raises:
            ValueError: If it is that of another number of rows.
        """
        if len(state["errors"]) != len(self.errors):
            raise ValueError(
                f"the saved state has the errors of {len(state['errors'])} rows, and there are {len(self.errors)} rows "
                "to train on; resume with the data that it was saved with"
            )
        for name in _STATE:
            setattr(self, name, state[name].clone())
