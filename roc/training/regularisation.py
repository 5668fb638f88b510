"""What acts on a model's modules while they are trained and leaves no trace in the checkpoint.

`head_dropout` hides some of what the score head reads, `batch_norm_momentum` decides how fast the running statistics of
batch normalisation follow the training batches. Neither is in the configuration that the checkpoint carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.modules.batchnorm import _BatchNorm

from roc.model.head import ScoreHead
from roc.training.run import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from roc.training.config import RunConfig


def regularise(model: PreTrainedModel, config: RunConfig) -> None:
    """Sets `head_dropout` and `batch_norm_momentum` on the modules of a model.

    Args:
        model: Carries the head, with or without LoRA.
        config: The settings.

    Raises:
        RunError: If `batch_norm_momentum` is given for a model without batch normalisation.
    """
    for module in model.modules():
        if isinstance(module, ScoreHead):
            module.dropout = config.head_dropout
    if config.batch_norm_momentum is None:
        return
    normalising = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not normalising:
        raise RunError(
            f"batch_norm_momentum is {config.batch_norm_momentum:g}, but this model has no batch normalisation; leave "
            "the setting out."
        )
    for module in normalising:
        # In PyTorch's sense. Some configurations of transformers hold the share of the old statistics instead
        # (EfficientNet: 0.99) and hand it on as it is.
        module.momentum = config.batch_norm_momentum
