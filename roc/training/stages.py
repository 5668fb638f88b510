"""Learning rates by part of the model, and parts that join the training later.

A part that joins later is frozen until then, the statistics of its batch normalisation included. From that step on it
has a schedule of its own over the rest of the run, warm-up included. The optimiser holds it from the start, so a state
saved before that step resumes as any other; and DDP, which counts the parameters once, knows it from the start as well.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, get_scheduler

from roc.model.parts import parameter_parts

logger = logging.getLogger(__name__)

_JOINS = "joins_after"
"""Key of an optimiser's group: the share of the steps after which its parameters are trained."""


def parameter_groups(
    model: torch.nn.Module,
    parts: Mapping[str, str],
    *,
    rates: Mapping[str, float],
    joins: Mapping[str, float],
    decayed: Collection[str],
    args: TrainingArguments,
) -> list[dict[str, Any]]:
    """Divides the trained parameters into groups of one learning rate, weight decay and first step.

    Args:
        model: Its names are those of `parts` and `decayed`.
        parts: Part of each parameter, from `parameter_parts`.
        rates: Learning rate of a part where it is not `args.learning_rate`.
        joins: Share of the steps after which a part is trained, for those that join later.
        decayed: Names of the parameters with weight decay.
        args: The Trainer's.

    Returns:
        Groups for an optimiser; those that are trained from the start come first.

    Raises:
        ValueError: If `rates` names a part of which nothing is trained.
    """
    groups: dict[tuple[float, float, float], list] = {}
    trained = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = parts[name]
            trained.add(part)
            rate = rates.get(part, args.learning_rate)
            key = joins.get(part, 0.0), rate, args.weight_decay if name in decayed else 0.0
            groups.setdefault(key, []).append(parameter)
    idle = sorted(set(rates) - trained)
    if idle:
        raise ValueError(
            f"A learning rate is given for {', '.join(idle)}, but nothing of it is trained (trained: "
            f"{', '.join(sorted(trained))}); drop that learning rate or do not freeze that part."
        )
    # The Trainer logs the rate of the first group.
    ordered = sorted(groups.items(), key=lambda item: item[0][0])
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay, **({_JOINS: share} if joins else {})}
        for (share, rate, decay), parameters in ordered
    ]


def make_optimizer(
    trainer: Trainer, model: torch.nn.Module, rates: Mapping[str, float], joins: Mapping[str, float]
) -> torch.optim.Optimizer:
    """Makes the optimiser of a trainer, with one of `parameter_groups` per learning rate and weight decay.

    Args:
        trainer: Names the kind of optimiser and its settings.
        model: What it trains, wrapped or not.
        rates, joins: As for `parameter_groups`.
    """
    groups = parameter_groups(
        model,
        parameter_parts(trainer.accelerator.unwrap_model(model)),
        rates=rates,
        joins=joins,
        decayed=set(trainer.get_decay_parameter_names(model)),
        args=trainer.args,
    )
    kind, settings = trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
    return kind(groups, **settings)


def first_step(share: float, num_steps: int) -> int:
    """Counts the steps before a part joins that does so after this share of them."""
    return int(share * num_steps)


def delay(scheduler: LambdaLR, args: TrainingArguments, num_steps: int) -> None:
    """Gives every group of `parameter_groups` that joins later a schedule of its own over the rest of the run.

    Args:
        scheduler: The run's schedule, over the optimiser with these groups.
        args: Names the schedule and its warm-up, a share of the steps it has.
        num_steps: Optimiser steps of the run.
    """
    for i, group in enumerate(scheduler.optimizer.param_groups):
        start = first_step(group[_JOINS], num_steps)
        if start:
            scheduler.lr_lambdas[i] = _delayed(args, start, num_steps - start)


def _delayed(args: TrainingArguments, start: int, rest: int) -> Any:
    nothing = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    own = get_scheduler(args.lr_scheduler_type, nothing, args.get_warmup_steps(rest), rest).lr_lambdas[0]
    return lambda step: 0.0 if step < start else own(step - start)


class JoinLater(TrainerCallback):
    """Freezes parts of a model when training begins and lets each join at its step.

    Args:
        model: Its parameters that are trained. The callback begins after DDP has wrapped it and a state was read.
        joins: Share of the steps after which a part is trained.

    Raises:
        ValueError: If nothing of a part is trained.
    """

    def __init__(self, model: PreTrainedModel, joins: Mapping[str, float]) -> None:
        parts = parameter_parts(model)
        self.joins = dict(joins)
        self.waiting: dict[str, list[torch.nn.Parameter]] = {
            part: [p for name, p in model.named_parameters() if parts[name] == part and p.requires_grad]
            for part in joins
        }
        idle = [part for part, parameters in self.waiting.items() if not parameters]
        if idle:
            raise ValueError(f"{idle[0]}_from is given, but this model trains nothing of the part {idle[0]}.")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for part, parameters in self.waiting.items():
            _set_trained(parameters, state.global_step >= first_step(self.joins[part], state.max_steps))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for part, parameters in self.waiting.items():
            if not parameters[0].requires_grad and state.global_step >= first_step(self.joins[part], state.max_steps):
                _set_trained(parameters, True)
                logger.info("%s joins the training after step %d of %d", part, state.global_step, state.max_steps)


def _set_trained(parameters: list[torch.nn.Parameter], trained: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(trained)
