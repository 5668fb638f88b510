"""Trainers of a tiny model on eight rows, in one process or several."""

import dataclasses
import os
import socket

import pytest
import torch
from heads import VOTES, build, picture, record, talk
from transformers import TrainingArguments

from roc.data.pairs import Pair
from roc.model.declaration import declare
from roc.model.links import ScaleLinks
from roc.model.scales import DataScale
from roc.training.error_weights import ErrorWeights
from roc.training.learnt_links import MixedCollator, links_of
from roc.training.samples import PairCollator, Paired
from roc.training.trainer import RocTrainer

LOSSES = {"ce_weight": 0.5, "emd_weight": 0.5}


class Rows(torch.utils.data.Dataset):
    """Eight rows that differ in scores, histograms, words and length."""

    kinds = (
        {},
        {"votes": {"overall": VOTES}},
        {"scores": {"overall": 8.0}},
        {"scores": {}, "conversations": talk("What is it?", "A quiet scene with a low horizon.")},
        {"scores": {"light": 2.0}, "votes": {"light": VOTES[::-1]}},
        {"scores": {"overall": 3.0}, "conversations": talk("Rate it.", "I say [SCORE].")},
        {"comment": "The colours clash."},
        {"scores": {"overall": 9.5, "light": 9.0}},
    )

    def __len__(self):
        return len(self.kinds)

    def __getitem__(self, index):
        return record(str(index), **self.kinds[index]), [picture(index)]


def trainer_for(folder, *, batch, accumulation=1, model=None, **settings):
    arguments = {
        "max_steps": 1,
        "learning_rate": 1e-3,
        "report_to": "none",
        "save_strategy": "no",
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "disable_tqdm": True,
        **settings.pop("arguments", {}),
    }
    if model is None:
        model, processor, collator = build("llava", **LOSSES)
    else:
        model, processor, collator = model
    return RocTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            remove_unused_columns=False,
            label_names=["labels"],
            use_cpu=True,
            seed=1,
            **arguments,
        ),
        data_collator=collator,
        processing_class=processor,
        train_dataset=settings.pop("rows", Rows()),
        scores_per_row=2,
        **settings,
    )


def gradient_of_one_step(trainer):
    seen = {}

    def note(optimizer, *_):
        for name, parameter in trainer.model.named_parameters():
            seen[name] = None if parameter.grad is None else parameter.grad.clone()

    trainer.create_optimizer_and_scheduler(1)
    trainer.optimizer.register_step_pre_hook(note)
    trainer.train()
    return torch.cat([grad.flatten() for grad in seen.values() if grad is not None])


class PairRows(Rows):
    """The same, drawn as four rated rows and two pairs."""

    def set_epoch(self, epoch):
        pass

    @classmethod
    def paired(cls):
        pairs = [Pair("p", ("a", "b"), 1.0, 2.5), Pair("q", ("a", "b"), 0.0)]
        return Paired(cls(), pairs, width=10)


def pair_trainer_for(folder, **how):
    """Makes a trainer on rated rows and pairs."""
    model, processor, collator = build("llava", delta_weight=2.0, rank_weight=3.0)
    together = {"model": (model, processor, collator), "rows": PairRows.paired()}
    return trainer_for(folder, **together, train_collator=PairCollator(collator), **how)


class Words(Rows):
    """Rows without scores."""

    kinds = (Rows.kinds[3],) * 4


def error_aware(folder, *, epochs=0, arguments=None, **how):
    """Makes a trainer that learns by plain gradient descent, in four steps, with error-aware weights."""
    settings = {"max_steps": 4, "optim": "sgd", "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
    weights = ErrorWeights(len(Rows()), epochs=epochs)
    return trainer_for(folder, **how, error_weights=weights, arguments={**settings, **(arguments or {})})


def error_aware_run(folder, **how):
    """Trains it; returns its log, its running errors, and its head."""
    trainer = error_aware(folder, **how)
    trainer.train()
    state = {name: tensor.clone() for name, tensor in trainer.error_weights.state().items()}
    return {"log": trainer.state.log_history, **state, "head": trainer.model.score_head.weight.detach().clone()}


def same_errors(found, expected):
    """Checks that two runs of `error_aware_run` are the same, up to the rounding of float32."""
    assert expected["tracked"].tolist() == [bool(kind.get("scores", True)) for kind in Rows.kinds]
    for name in ("tracked", "errors", "mean", "deviation", "head"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    assert len(expected["log"]) == 5  # one per step, and the summary
    for one, other in zip(found["log"][:4], expected["log"], strict=False):
        for key in {"text_loss", "l1_loss", "ce_loss", "emd_loss", "errors_tracked", "largest_error_weight"} & {*other}:
            assert one[key] == pytest.approx(other[key], rel=1e-5), key
    assert ["largest_error_weight" in entry for entry in expected["log"]] == [False, True, True, True, False]


class MixedRows(Rows):
    """The same rows, in turn of two data sets; those of the second are rated on 0..100."""

    def __getitem__(self, index):
        row, pictures = super().__getitem__(index)
        if index % 2:
            scores = {name: 10 * score for name, score in row.scores.items()}
            return dataclasses.replace(row, scores=scores, dataset="KonIQ"), pictures
        return dataclasses.replace(row, dataset="AVA"), pictures


def linked(folder, *, arguments=None, **how):
    """Makes a trainer of two data sets that learns by plain gradient descent, in four steps."""
    model, processor, collator = build("llava", **LOSSES)
    scales = (DataScale("AVA", (1, 10)), DataScale("KonIQ", (0, 100)))
    model.scale_links = ScaleLinks(scales, ("overall", "light"), ((False, False), (True, True)), 4)
    declare(model, dataclasses.replace(model.declaration, scales=model.scale_links.scales()))
    settings = {"max_steps": 4, "optim": "sgd", "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
    return trainer_for(
        folder,
        **how,
        model=(model, processor, MixedCollator(collator, ("AVA", "KonIQ"))),
        rows=MixedRows(),
        learning_rates={"links": 0.1},
        arguments={**settings, **(arguments or {})},
    )


def linked_run(folder, **how):
    """Trains it; returns its head and its links."""
    trainer = linked(folder, **how)
    trainer.train()
    return {"head": trainer.model.score_head.weight.detach().clone(), **links_of(trainer.model).state()}


def leave():
    """Ends all processes together and at once: threads of the group may abort while the interpreter shuts down."""
    torch.distributed.barrier()
    os._exit(0)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])
