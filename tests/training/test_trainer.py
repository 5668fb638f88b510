"""The trainer counts, logs, validates, saves and resumes as documented."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from accelerate.state import AcceleratorState
from heads import ATTRIBUTES, build
from safetensors.torch import load_file, save_file
from trainers import (
    LOSSES,
    Rows,
    Words,
    error_aware_run,
    free_port,
    gradient_of_one_step,
    leave,
    linked_run,
    pair_trainer_for,
    same_errors,
    trainer_for,
)

from roc.model.declaration import declare
from roc.model.mirror import mirrored
from roc.model.parts import parameter_parts
from roc.training import trainer as trainer_module
from roc.training.saved_states import DivergedError, SavingError
from roc.training.states import fault_of, newest_whole
from roc.training.validation import pair_validation_metrics, validation_metrics


@pytest.fixture(scope="module")
def one_big_batch(tmp_path_factory):
    trainer = trainer_for(tmp_path_factory.mktemp("whole"), batch=8)
    return gradient_of_one_step(trainer), trainer.state.log_history[0]


def test_accumulation_gives_the_gradient_and_losses_of_one_big_batch(one_big_batch, tmp_path):
    expected, expected_log = one_big_batch
    trainer = trainer_for(tmp_path, batch=2, accumulation=4)
    found = gradient_of_one_step(trainer)
    assert (found - expected).norm() / expected.norm() < 1e-6
    for key in ("loss", "text_loss", "l1_loss", "ce_loss", "emd_loss"):
        assert trainer.state.log_history[0][key] == pytest.approx(expected_log[key], rel=1e-5), key


@pytest.fixture(scope="module")
def pairs_in_one_batch(tmp_path_factory):
    trainer = pair_trainer_for(tmp_path_factory.mktemp("pairs"), batch=6)
    return gradient_of_one_step(trainer), trainer.state.log_history[0]


def same_pairs(found, found_log, expected, expected_log):
    assert (found - expected).norm() / expected.norm() < 1e-6
    for key in ("loss", "text_loss", "l1_loss", "delta_loss", "rank_loss"):
        assert found_log[key] == pytest.approx(expected_log[key], rel=1e-5), key


def test_accumulation_gives_the_losses_of_pairs_of_one_big_batch(pairs_in_one_batch, tmp_path):
    """Four rated rows and two pairs, of which one difference is known; some micro-batches hold no pair."""
    assert min(pairs_in_one_batch[1][key] for key in ("delta_loss", "rank_loss")) > 0
    trainer = pair_trainer_for(tmp_path, batch=2, accumulation=3)
    same_pairs(gradient_of_one_step(trainer), trainer.state.log_history[0], *pairs_in_one_batch)


def _worker(rank, folder, port):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)  # that of the tests before, which is of one process
    trainer = trainer_for(folder, batch=2, accumulation=2)
    gradient = gradient_of_one_step(trainer)
    torch.save(weights_in_stages(folder, batch=2, accumulation=2), f"{folder}/stages{rank}.pt")
    scoreless = trainer_for(folder, batch=2, rows=Words(), arguments={"max_steps": 2})
    scoreless.train()
    torch.save(error_aware_run(folder, batch=1, accumulation=2), f"{folder}/errors{rank}.pt")
    pairs = pair_trainer_for(folder, batch=1, accumulation=3)
    of_pairs = gradient_of_one_step(pairs)
    torch.save(linked_run(f"{folder}/linked{rank}", batch=2), f"{folder}/links{rank}.pt")
    if rank == 0:
        torch.save((of_pairs, pairs.state.log_history[0]), f"{folder}/pairs.pt")
        torch.save((gradient, trainer.state.log_history[0]), f"{folder}/found.pt")
        torch.save(scoreless.state.log_history, f"{folder}/scoreless.pt")
    leave()


def weights_in_stages(folder, **how):
    """Trains three steps, of which the tower takes part in the last two; returns its weights."""
    trainer = trainer_for(folder, **how, joins={"vision": 0.34}, arguments={"max_steps": 3})
    trainer.train()
    return {name: tensor.clone() for name, tensor in trainer.model.model.vision_tower.state_dict().items()}


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Folder with what two processes have found, which are started once."""
    folder = tmp_path_factory.mktemp("two")
    # Forked, they need not import everything anew.
    mp.start_processes(_worker, args=(str(folder), free_port()), nprocs=2, start_method="fork")
    return folder


def test_two_processes_give_the_gradient_and_losses_of_one_big_batch(one_big_batch, two_processes):
    found, log = torch.load(two_processes / "found.pt")
    expected, expected_log = one_big_batch
    assert (found - expected).norm() / expected.norm() < 1e-6
    for key in ("text_loss", "l1_loss", "ce_loss", "emd_loss"):
        assert log[key] == pytest.approx(expected_log[key], rel=1e-5), key


def test_what_joins_later_is_synchronised_as_well(two_processes, tmp_path):
    first, second = (torch.load(two_processes / f"stages{rank}.pt") for rank in (0, 1))
    alone = weights_in_stages(tmp_path / "alone", batch=8)
    start = trainer_for(tmp_path / "start", batch=8).model.model.vision_tower.state_dict()
    assert [name for name in alone if not torch.equal(first[name], second[name])] == []
    moved, apart = (
        torch.cat([(one[name] - other[name]).flatten() for name in alone]).norm()
        for one, other in ((alone, start), (first, alone))
    )
    assert 0 < moved and apart / moved < 1e-2


def test_a_batch_without_scores_trains_under_ddp(two_processes):
    log = torch.load(two_processes / "scoreless.pt")
    assert log[1]["l1_loss"] == 0
    assert log[1]["text_loss"] < log[0]["text_loss"]


def test_error_aware_weights_are_those_of_one_process(two_processes, tmp_path):
    """Four rows a step, the fourth unrated; in the second step all rows are new and weighed at once."""
    first, second = (torch.load(two_processes / f"errors{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in ("errors", "tracked", "mean", "deviation", "head"))
    same_errors(first, error_aware_run(tmp_path, batch=4))


def test_links_are_those_of_one_process(two_processes, tmp_path):
    first, second = (torch.load(two_processes / f"links{rank}.pt") for rank in (0, 1))
    alone = linked_run(tmp_path, batch=4)
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], expected, rtol=1e-5, atol=1e-6)


def test_learning_rates_by_part_cover_every_parameter(tmp_path):
    trainer = trainer_for(tmp_path, batch=8, learning_rates={"head": 0.1, "vision": 0.01, "projector": None})
    trainer.args.weight_decay = 0.3
    optimizer = trainer.create_optimizer()
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(trainer.model.named_parameters())
    assert len(rate) == len(named) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, part in parameter_parts(trainer.model).items():
        assert rate[id(named[name])] == {"head": 0.1, "vision": 0.01}.get(part, 1e-3)
        if name.endswith("bias") or "norm" in name:
            assert decay[id(named[name])] == 0


def test_the_optimiser_of_lora_holds_all_that_is_trained_and_nothing_else(tmp_path):
    from roc.model.adapters import add_lora

    model, processor, collator = build("llava", **LOSSES)
    model = add_lora(model, rank=2, parts=("language", "vision"))
    rates = {"head": 0.1, "vision": 0.01}
    trainer = trainer_for(tmp_path, batch=8, model=(model, processor, collator), learning_rates=rates)
    rate = {id(p): group["lr"] for group in trainer.create_optimizer().param_groups for p in group["params"]}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert set(rate) == {id(p) for p in trained.values()}
    parts = parameter_parts(model)
    assert {parts[name] for name in trained} == {"language", "vision", "embeddings", "head"}
    for name, p in trained.items():
        assert rate[id(p)] == rates.get(parts[name], 1e-3), name


def test_a_learning_rate_for_a_frozen_part_is_refused(tmp_path):
    from roc.model.parts import freeze

    trainer = trainer_for(tmp_path, batch=8, learning_rates={"vision": 0.01})
    freeze(trainer.model, ["vision"])
    with pytest.raises(ValueError, match="given for vision, but nothing of it is trained"):
        trainer.create_optimizer()


def test_pairs_are_right_where_the_better_picture_has_the_higher_score():
    pairs = [SimpleNamespace(wins=wins) for wins in (1.0, 0.0, 1.0, 0.0)]
    scores = np.array([[1.0, 9], [2.0, 9], [5.0, 9], [3.0, 9], [4.0, 9], [4.0, 9], [1.0, 9], [2.0, 9]])
    found = pair_validation_metrics(pairs)(SimpleNamespace(predictions=scores))
    assert found == {"compared": 4, "pair_accuracy": (1 + 1 + 0.5 + 0) / 4}
    scores[3, 0] = np.nan
    with pytest.raises(FloatingPointError, match="no numbers any more"):
        pair_validation_metrics(pairs)(SimpleNamespace(predictions=scores))


def test_validation_metrics_leave_out_what_nobody_rated(tmp_path):
    nan = float("nan")
    predictions = np.array([[1, 4], [2, 3], [3, 2], [4, 1], [9, 9]], dtype=float)
    labels = np.array([[1, 1], [2, 2], [3, 3], [4, nan], [nan, 9]], dtype=float)
    from transformers import EvalPrediction

    found = validation_metrics(["overall", "light"])(EvalPrediction(predictions=predictions, label_ids=labels))
    assert found["srcc"] == found["plcc"] == pytest.approx(1)
    assert (found["mae"], found["n"], found["light/n"]) == (0, 4, 4)
    assert found["light/mae"] == pytest.approx((3 + 1 + 1 + 0) / 4)
    assert -1 <= found["light/srcc"] < 1


def test_validation_scores_are_the_models(tmp_path):
    trainer = trainer_for(
        tmp_path, batch=3, eval_dataset=Rows(), compute_metrics=validation_metrics(list(ATTRIBUTES)),
        arguments={"per_device_eval_batch_size": 3},
    )  # fmt: skip
    result = trainer.predict(Rows())
    assert result.predictions.shape == (8, 2)
    batch = trainer.data_collator([Rows()[i] for i in range(8)])
    with torch.no_grad():
        expected = trainer.model(**batch).scores
    torch.testing.assert_close(torch.tensor(result.predictions), expected, atol=1e-5, rtol=0, equal_nan=True)
    assert {"eval_srcc", "eval_plcc", "eval_mae"} <= set(trainer.evaluate())


def test_validation_reads_mirror_images_where_scoring_will(tmp_path):
    model, processor, collator = build("llava", **LOSSES)
    declare(model, replace(model.declaration, score_flip=True))
    trainer = trainer_for(tmp_path, batch=8, model=(model, processor, collator), eval_dataset=Rows())
    batch = collator([Rows()[i] for i in range(8)])
    with torch.no_grad():
        as_it_is, other = model.eval()(**batch), model(**mirrored(batch))
    loss, scores, _ = trainer.prediction_step(model, batch, False)
    torch.testing.assert_close(scores, (as_it_is.scores + other.scores) / 2, equal_nan=True)
    assert not torch.equal(scores.nan_to_num(), as_it_is.scores.nan_to_num())
    assert loss == as_it_is.loss


def test_a_full_disk_loses_nothing_already_saved(tmp_path, monkeypatch):
    trainer = trainer_for(tmp_path, batch=8, arguments={"max_steps": 2, "save_strategy": "steps", "save_steps": 1})
    save = trainer._save_optimizer_and_scheduler

    def full(folder):
        if folder.endswith("-2"):
            raise OSError(28, "No space left on device")
        save(folder)

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(SavingError, match=r"step 2 .*No space left.*checkpoint-1, is whole.*Free some space"):
        trainer.train()
    assert newest_whole(tmp_path)[0].name == "checkpoint-1"
    assert not (tmp_path / "checkpoint-2").exists()
    assert json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())["global_step"] == 1


@pytest.mark.parametrize("when", ["log", "save", "validation", "end"])
def test_a_training_that_diverges_is_told_with_its_step(tmp_path, when):
    """It is noticed at the next log, save, validation or at the end, and no state of weights that are NaN is saved."""
    arguments = {
        "log": {"max_steps": 4},
        "save": {"max_steps": 4, "logging_steps": 100, "save_strategy": "steps", "save_steps": 1},
        "validation": {"max_steps": 4, "logging_steps": 100, "eval_strategy": "steps", "eval_steps": 3},
        "end": {"max_steps": 3, "logging_steps": 100},
    }[when]
    settings = {"eval_dataset": Rows(), "compute_metrics": validation_metrics(list(ATTRIBUTES))}
    trainer = trainer_for(tmp_path, batch=8, arguments=arguments, **(settings if when == "validation" else {}))
    step = trainer.training_step

    def poisoned(model, inputs, *more):
        if trainer.state.global_step == 1:
            with torch.no_grad():
                model.score_head.weight.fill_(float("nan"))
        return step(model, inputs, *more)

    trainer.training_step = poisoned
    says = r"diverged: at step 2 of \d the loss is no number .*lower learning_rate \(it is 0.001\).*max_grad_norm 1"
    with pytest.raises(DivergedError, match=says) as error:
        trainer.train()
    if when == "save":
        assert "The last state before it is" in str(error.value)
        assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]


def test_scores_that_are_no_numbers_are_a_divergence(tmp_path):
    trainer = trainer_for(tmp_path, batch=8, eval_dataset=Rows(), compute_metrics=validation_metrics(list(ATTRIBUTES)))
    labels = SimpleNamespace(predictions=np.full((3, 1), np.nan), label_ids=np.ones((3, 1)))
    with pytest.raises(FloatingPointError, match="validation scores are no numbers"):
        validation_metrics(["overall"])(labels)
    trainer.compute_metrics = lambda _: validation_metrics(["overall"])(labels)
    with pytest.raises(DivergedError, match="at step 0 of .* validation scores are no numbers"):
        trainer.evaluate()


def test_predictions_that_are_all_equal_are_not_the_best(tmp_path, caplog):
    """An SRCC that does not exist ends no training."""
    each_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    trainer = trainer_for(
        tmp_path, batch=8, eval_dataset=Rows(), compute_metrics=lambda _: {"mae": 1.0},
        arguments={**each_step, "load_best_model_at_end": True, "metric_for_best_model": "srcc"},
    )  # fmt: skip
    with caplog.at_level("INFO", "roc"):
        trainer.train()
    assert trainer.state.best_model_checkpoint is None and trainer.state.global_step == 2
    assert "no SRCC: the predictions are all equal" in caplog.text


def test_the_best_state_is_forgotten_where_it_is_damaged(tmp_path):
    each_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    best = {**each_step, "load_best_model_at_end": True, "metric_for_best_model": "srcc"}
    metrics = iter([0.9, 0.1, 0.2])
    settings = {"batch": 8, "eval_dataset": Rows(), "compute_metrics": lambda _: {"srcc": next(metrics)}}
    trainer = trainer_for(tmp_path, arguments={**best, "max_steps": 2}, **settings)
    trainer.train()
    states = tmp_path / "checkpoint-1", tmp_path / "checkpoint-2"
    assert trainer.state.best_model_checkpoint == str(states[0]) and [fault_of(state) for state in states] == [None] * 2
    shutil.rmtree(states[0])
    again = trainer_for(tmp_path, arguments={**best, "max_steps": 3}, **settings)
    again.train(resume_from_checkpoint=str(states[1]))
    assert again.state.best_metric == 0.2 and again.state.best_model_checkpoint == str(tmp_path / "checkpoint-3")


def test_the_best_model_is_left_in_training_mode(tmp_path):
    """Some towers (LeViT) keep tensors computed from their weights for as long as they are in evaluation mode."""
    each_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    trainer = trainer_for(
        tmp_path, batch=8, eval_dataset=Rows(), compute_metrics=validation_metrics(list(ATTRIBUTES)),
        arguments={**each_step, "load_best_model_at_end": True, "metric_for_best_model": "srcc"},
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_model_checkpoint and trainer.model.training


def test_a_saved_state_that_does_not_fit_is_an_error(tmp_path):
    each_step = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trainer = trainer_for(tmp_path, batch=8, arguments=each_step)
    trainer.train()
    weights = tmp_path / "checkpoint-1" / "model.safetensors"
    held = load_file(weights)
    held["elsewhere.weight"] = held.pop("score_head.weight")
    save_file(held, weights, metadata={"format": "pt"})
    with pytest.raises(RuntimeError, match=r"missing \['score_head.weight'\], unexpected \['elsewhere.weight'\]"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_logs_are_lines_of_the_room(tmp_path, capsys, caplog):
    caplog.set_level("INFO", logger="roc.training.progress")
    trainer_for(tmp_path, batch=8).train()
    assert capsys.readouterr().out == ""
    assert re.fullmatch(
        r"epoch 1\.0  loss \S+ \(text \S+ l1 \S+ ce \S+ emd \S+\)  lr 0\.0e\+00|epoch.*lr 1\.0e-03", caplog.messages[0]
    )


def test_the_docstring_names_tests_that_are_there():
    files = list(Path(__file__).parent.glob("test_*.py"))
    defined = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    named = set(re.findall(r"test_\w+", trainer_module.__doc__))
    assert len(named) > 10 and named <= defined, named - defined


def test_two_processes_give_the_losses_of_pairs_of_one_big_batch(two_processes, pairs_in_one_batch):
    same_pairs(*torch.load(two_processes / "pairs.pt"), *pairs_in_one_batch)
