"""Parts that join later: their learning rates step by step, and runs in which they are frozen until then."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from heads import picture
from many_processes import build, settings
from safetensors.torch import load_file
from tiny_models import BUILDERS
from transformers import TrainingArguments, get_scheduler

from roc.model.processing import save_processor
from roc.training.run import train
from roc.training.stages import JoinLater, delay, first_step, parameter_groups


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    """Writes eight rated pictures to train on."""
    folder = tmp_path_factory.mktemp("rated")
    rows = ["image,score,light,split"]
    for i in range(8):
        picture(i).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{1 + (7 * i) % 10},{1 + (3 * i) % 10},train")
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")
    return str(folder / "ratings.csv")


def test_a_late_part_has_a_schedule_of_its_own_over_the_rest():
    model = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1, bias=False) for name in ("early", "late")})
    parts = {"early.weight": "head", "late.weight": "vision"}
    schedule = {"learning_rate": 1.0, "lr_scheduler_type": "linear", "warmup_steps": 0.5, "weight_decay": 0.1}
    arguments = TrainingArguments("x", **schedule)
    groups = parameter_groups(
        model, parts, rates={"vision": 8.0}, joins={"vision": 0.2}, decayed={"late.weight"}, args=arguments
    )
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1.0, 0.0), (8.0, 0.1)]
    optimizer = torch.optim.SGD(groups)
    scheduler = get_scheduler("linear", optimizer, 5, 10)
    delay(scheduler, arguments, 10)
    found = []
    for _ in range(10):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    # Ten steps, of which five of warm-up; the late part has eight, of which four.
    early = [0, 0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6, 0.4, 0.2]
    late = [0, 0, 0, 2, 4, 6, 8, 6, 4, 2]
    assert found == [pytest.approx(pair) for pair in zip(early, late, strict=True)]


def test_first_step():
    assert [first_step(share, 10) for share in (0.0, 0.25, 0.5, 0.99)] == [0, 2, 5, 9]


def test_a_part_of_which_nothing_is_trained_cannot_join():
    model = BUILDERS["llava"]()[0]
    model.model.vision_tower.requires_grad_(False)
    with pytest.raises(ValueError, match="vision_from is given, but this model trains nothing of the part vision"):
        JoinLater(model, {"vision": 0.5})


def test_a_part_joins_when_it_is_its_turn():
    model = BUILDERS["llava"]()[0]
    callback = JoinLater(model, {"vision": 0.5, "language": 0.25})
    tower, decoder = model.model.vision_tower, model.get_decoder()
    trained = []
    for step in (0, 1, 2, 3):
        state = SimpleNamespace(global_step=step, max_steps=4)
        (callback.on_step_begin if step else callback.on_train_begin)(None, state, None)
        trained.append(tuple({p.requires_grad for p in part.parameters()} for part in (tower, decoder.layers)))
    assert trained == [({False}, {False}), ({False}, {True}), ({True}, {True}), ({True}, {True})]
    assert all(p.requires_grad for p in model.model.multi_modal_projector.parameters())


@pytest.fixture(scope="module")
def whole(ratings, tmp_path_factory):
    """Trains four steps from nothing, each saved; the tower, with batch normalisation, joins for the last two."""
    folder = tmp_path_factory.mktemp("whole")
    run(ratings, folder)
    return folder


def run(ratings, folder, state=None):
    more = {"tiny_model": "demo", "vision_from": 0.5, "vision_learning_rate": 1e-3, "eval_strategy": "no"}
    saved = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 9}
    trainer, _ = build(settings(None, ratings, str(folder), 1, **more, **saved))
    train(trainer, state)


def state(folder, step):
    return load_file(folder / "training" / f"checkpoint-{step}" / "model.safetensors")


def test_a_late_tower_is_frozen_with_its_statistics(whole):
    states = [state(whole, step) for step in (1, 2, 3)]
    tower = [name for name in states[0] if "vision_tower" in name]
    assert any("running_mean" in name for name in tower)
    assert all(torch.equal(states[0][name], states[1][name]) for name in tower)
    moved = [name for name in tower if not torch.equal(states[1][name], states[2][name])]
    assert any("running_mean" in name for name in moved) and any("convolution.weight" in name for name in moved)
    assert not torch.equal(states[0]["score_head.weight"], states[1]["score_head.weight"])


@pytest.mark.parametrize("step", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_a_run_stopped_in_either_stage_ends_with_the_same_weights(whole, ratings, tmp_path, step):
    begun = tmp_path / "training" / f"checkpoint-{step}"
    shutil.copytree(whole / "training" / f"checkpoint-{step}", begun)
    run(ratings, tmp_path, begun)
    expected, found = state(whole, 4), state(tmp_path, 4)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_low_rank_matrices_join_later_too(ratings, tmp_path):
    model, processor = BUILDERS["llava"]()
    model.save_pretrained(tmp_path / "base")
    save_processor(processor, tmp_path / "base")
    more = {"tuning": "lora", "lora_rank": 2, "lora_parts": ["language", "vision"], "vision_from": 0.5}
    saved = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 9, "eval_strategy": "no"}
    trainer, _ = build(settings(str(tmp_path / "base"), ratings, str(tmp_path / "out"), 1, **more, **saved))
    train(trainer, None)
    moved = {}
    for step in (2, 3):
        adapter = load_file(tmp_path / "out" / "training" / f"checkpoint-{step}" / "adapter_model.safetensors")
        matrices = [name for name, tensor in adapter.items() if "lora_B" in name and tensor.any()]
        moved[step] = {part for part in ("vision", "language") if any(part in name for name in matrices)}
    assert moved == {2: {"language"}, 3: {"vision", "language"}}
