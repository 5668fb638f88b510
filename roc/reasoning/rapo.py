"""RAPO: reinforcement of a model that reasons, with a ranking and an absolute reward, by the steps of `roc.policy`.

    roc reasoning train configs/reasoning_rapo.yaml --model_name_or_path checkpoints/cold_start --data_path ratings.csv

Photos with their scores are all it needs: the critiques are the model's own. Rows of a corpus may be given too; what
was written about them is not shown to the model, but a critique that states its score is refused all the same, since
the checkpoint was likely taught on it and copies numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roc.policy.config import PolicyConfig
from roc.policy.job import reinforce
from roc.prompts import IMAGE_PLACEHOLDER
from roc.reasoning.wording import question

if TYPE_CHECKING:
    from roc.model.declaration import Declaration


def train(config: PolicyConfig) -> str | None:
    """Reinforces a checkpoint, or carries on with a run.

    Args:
        config: The settings.

    Returns:
        The table of its evaluation; None on all processes but the first.

    Raises:
        DataError: With every fault of the data, before the first step.
        RunError: If the settings cannot be trained with, or a state cannot be saved.
    """
    return reinforce(config, verb="reasoning train", question=house_question)


def house_question(declaration: Declaration) -> str:
    """Words the question that a checkpoint is asked which declares none."""
    return question(declaration.space.range).replace(IMAGE_PLACEHOLDER, "")
