"""What the ablation compares: rewards, with and without the head's own loss, and lengths of the cold start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One way to reinforce.

    Attributes:
        title: As the table names it.
        rewards: Beside the reward for the form, which the published code always gives.
        epochs: Of the cold start.
        critiques: Whether the text loss of critiques of the corpus is added.
        more: Further words for `roc reasoning train`.
    """

    title: str
    rewards: tuple[str, ...] = ("error", "rank")
    epochs: int = 1
    critiques: bool = True
    more: tuple[str, ...] = ()


REWARDS = {
    "binary": ("binary",),
    "error": ("error",),
    "rank": ("rank",),
    "binary_rank": ("binary", "rank"),
    "error_rank": ("error", "rank"),
}
REFERENCE = "error_rank"
"""The recipe as it is: the published rewards, one epoch of cold start, the head's own loss, and the text loss of
critiques. Others are subtracted from it."""

ARMS = {
    **{name: Arm(" + ".join(rewards), rewards) for name, rewards in REWARDS.items()},
    **{
        f"{name}_policy": Arm(f"{' + '.join(rewards)}, policy alone", rewards, more=("--head_weight", "0"))
        for name, rewards in REWARDS.items()
    },
    # Critiques of the corpus would teach what a cold start does. To be compared with "bare".
    "start_0": Arm("error + rank, no cold start and no text loss of critiques", epochs=0, critiques=False),
    **{f"start_{epochs}": Arm(f"error + rank, {epochs} epochs of cold start", epochs=epochs) for epochs in (2, 10)},
    "bare": Arm("error + rank, no text loss of critiques", critiques=False),
    "fading": Arm("error + rank, the head's loss fades to 0", more=("--head_weight_end", "0")),
}

PAPER_REWARDS = {
    "binary": (0.4433, 0.4255),
    "error": (0.5600, 0.5655),
    "rank": (0.5908, 0.4542),
    "binary + rank": (0.5825, 0.5964),
    "error + rank": (0.6102, 0.6297),
}
"""Aes-R1 (ICLR 2026), mean SRCC and PLCC of five data sets, without a cold start."""
PAPER_STARTS = {0: (0.6102, 0.6297), 1: (0.6186, 0.6337), 2: (0.5903, 0.6027)}
"""The same after 0, 1 and 2 epochs of cold start, then RAPO; the paper's row for 10 repeats another one."""
