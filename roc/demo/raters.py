"""A simulated panel that rates the demo's scenes, and how well it knows what it rates.

A panel of 60 by default. Rater r has a bias, a scale, a noise level and a taste (weights on the latents that sum to
zero). A scene is voted on by 24 to 40 of them, drawn without replacement. With the scene's ambiguity k, a vote is

    round(clip(5.5 + scale_r (Q - 5.5) + bias_r + taste_r . (a - 1/2) + k noise_r e,  1, 10)),   Q = 1.8 + 7.4 quality

and the residuals about their mean are widened until the standard deviation of the integer votes is at least 1. The
attributes are voted on in the same way (without taste), on the same 1..10 range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roc.demo.attributes import LATENTS
from roc.demo.scenes import Scene
from roc.evaluation.metrics import srcc

NUM_LEVELS = 10


@dataclass(frozen=True)
class Ratings:
    """The votes of a panel on one scene.

    Attributes:
        votes: For each of `ATTRIBUTES` the integer votes, (n_votes,) int64 in 1..10, same raters in the same order.
        raters: (n_votes,) numbers of the raters in the panel.
    """

    votes: dict[str, np.ndarray]
    raters: np.ndarray

    @property
    def n_votes(self) -> int:
        """Number of raters who voted."""
        return len(self.raters)

    @property
    def means(self) -> dict[str, float]:
        """Mean vote of each attribute."""
        return {name: float(votes.mean()) for name, votes in self.votes.items()}

    @property
    def std(self) -> float:
        """Standard deviation of the overall votes (divided by n, as the histogram's own is)."""
        return float(self.votes["overall"].std())

    @property
    def histogram(self) -> tuple[float, ...]:
        """Shares of the overall votes 1..10; they sum to 1."""
        counts = np.bincount(self.votes["overall"], minlength=NUM_LEVELS + 1)[1:]
        return tuple((counts / counts.sum()).tolist())


class RaterPanel:
    """A fixed panel of simulated raters, each with a bias, a scale, a noise level and a taste (see the file's head).

    Args:
        size: Number of raters.
        min_votes: Fewest votes on a scene.
        max_votes: Most votes on a scene, at most `size`.
        seed: Decides who the raters are.

    Raises:
        ValueError: For fewer than 20 votes, or more votes than raters.
    """

    def __init__(self, size: int = 60, min_votes: int = 24, max_votes: int = 40, seed: int = 0) -> None:
        if not 20 <= min_votes <= max_votes <= size:
            raise ValueError(f"need 20 <= min_votes <= max_votes <= size, got {min_votes}, {max_votes}, {size}")
        rng = np.random.default_rng([seed, 3])
        self.size, self.min_votes, self.max_votes, self.seed = size, min_votes, max_votes, seed
        self.bias = rng.normal(0, 0.5, size)
        self.scale = np.exp(rng.normal(0, 0.12, size))
        self.noise = rng.uniform(0.7, 1.2, size)
        taste = rng.normal(0, 0.8, (size, len(LATENTS)))
        self.taste = taste - taste.mean(axis=1, keepdims=True)

    def rate(self, scene: Scene) -> Ratings:
        """Has 24 to 40 (by default) randomly chosen raters vote on `scene`; same scene, same votes."""
        rng = np.random.default_rng([self.seed, scene.seed, scene.index, 4])
        n_votes = int(rng.integers(self.min_votes, self.max_votes + 1))
        raters = rng.permutation(self.size)[:n_votes]
        ambiguity = rng.uniform(0.85, 1.3)
        taste = self.taste[raters] @ (np.array([scene.latents[name] for name in LATENTS]) - 0.5)
        votes = {}
        for name, score in scene.true_scores.items():
            opinion = 5.5 + self.scale[raters] * (score - 5.5) + self.bias[raters]
            opinion += ambiguity * self.noise[raters] * rng.standard_normal(n_votes)
            votes[name] = _to_votes(opinion + taste if name == "overall" else opinion)
        return Ratings(votes, raters)


def _to_votes(opinion: np.ndarray) -> np.ndarray:
    """Rounds real-valued opinions to votes 1..10 whose standard deviation is at least 1."""
    centre, width = opinion.mean(), 1.0
    while True:
        votes = np.rint(np.clip(centre + width * (opinion - centre), 1, NUM_LEVELS)).astype(np.int64)
        if votes.std() >= 1:
            return votes
        width *= 1.1


def rater_ceiling(votes: Sequence[np.ndarray], quality: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Measures how well the raters know the score, a ceiling for models trained on their votes.

    Args:
        votes: For each scene its votes, (n_votes,).
        quality: For each scene the noise-free score.
        seed: Decides the halves.

    Returns:
        `srcc_quality`: SRCC of mean vote and noise-free score. `split_half`: SRCC between the mean votes of two random
        halves of the raters of each scene. `reliability`: the same for all raters, 2 r / (1 + r) (Spearman-Brown), 0
        where the halves do not agree at all.

    Raises:
        ValueError: For fewer than 3 scenes, or different numbers of votes and qualities.
    """
    if len(votes) != len(quality) or len(votes) < 3:
        raise ValueError(f"need votes and quality of the same 3 or more scenes, got {len(votes)} and {len(quality)}")
    rng = np.random.default_rng(seed)
    halves = []
    for row in votes:
        mixed = rng.permutation(row)
        halves.append((mixed[: len(row) // 2].mean(), mixed[len(row) // 2 :].mean()))
    first, second = np.array(halves).T
    split_half = srcc(first, second)
    return {
        "srcc_quality": srcc(np.array([row.mean() for row in votes]), np.asarray(quality, dtype=np.float64)),
        "split_half": split_half,
        "reliability": 2 * split_half / (1 + split_half) if split_half > 0 else 0.0,
    }
