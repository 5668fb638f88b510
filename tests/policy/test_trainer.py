"""The trainer on a tiny model that writes critiques: what it reads, rewards, learns, saves and goes on from."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")

from policy_processes import prescribe  # noqa: E402
from policy_runs import QUESTION, SPACE, WORDS, build, cold_started, photos, settings, weights  # noqa: E402
from tiny_models import FAMILY_BUILDERS  # noqa: E402

import roc.policy.data  # noqa: E402
from roc.checkpoint.folder import load, save  # noqa: E402
from roc.demo.tiny_model import build_tiny_llava  # noqa: E402
from roc.model.attachment import attach  # noqa: E402
from roc.model.parts import part_modules  # noqa: E402
from roc.model.reasoned import reasoned_answer  # noqa: E402
from roc.training.run import RunError  # noqa: E402


@pytest.fixture(scope="module")
def trained(llava, data, tmp_path_factory):
    """A trainer after two steps, with what its first step saw."""
    trainer = build(settings(llava, data, tmp_path_factory.mktemp("out"), head_weight=0.3, beta=0.02))
    before, seen = weights(trainer.model), watch(trainer)
    trainer.train()
    return trainer, before, seen


def watch(trainer):
    """Keeps what the first step sees: level logits of both passes, the answers, and the inputs of the loss."""
    seen, read, compute = {}, trainer._read, trainer._compute_loss

    def note_read(inputs, ids):
        seen.setdefault("generated", torch.cat(trainer._logits)[: len(inputs)].clone())
        answers = read(inputs, ids)
        seen.setdefault("answers", answers)
        return answers

    def note_loss(model, inputs):
        def tapped(*args, **kwargs):
            output = model(*args, **kwargs)
            seen.setdefault("fused", output.score_logits.detach().clone())
            return output

        seen.setdefault("inputs", dict(inputs))
        return compute(tapped, inputs)

    trainer._read, trainer._compute_loss = note_read, note_loss
    return seen


def by_value(logits):
    """Orders rows that TRL has shuffled."""
    return logits.nan_to_num(nan=-1e3)[logits.nan_to_num(nan=-1e3)[:, 0].argsort()]


def test_the_head_reads_the_same_while_generating_and_in_the_pass_of_the_policy(trained):
    _, _, seen = trained
    assert torch.allclose(by_value(seen["generated"]), by_value(seen["fused"]), atol=1e-4)
    values = [answer.value for answer in seen["answers"]]
    assert sum(value is not None for value in values) >= 4 and all(0 <= v <= 1 for v in values if v is not None)
    assert all((answer.kind == "good") == (answer.value is not None) for answer in seen["answers"])


def test_policy_and_head_move_and_the_reference_stays(trained):
    trainer, before, seen = trained
    moved = {name for name, tensor in weights(trainer.model).items() if not torch.equal(tensor, before[name])}
    assert "score_head.weight" in moved and any("q_proj" in name for name in moved)
    reference = trainer.ref_model.state_dict()
    assert reference and all(torch.equal(tensor, before[name]) for name, tensor in reference.items())
    first, second = [log for log in trainer.state.log_history if "reward" in log]
    assert first["kl"] == pytest.approx(0, abs=1e-6) and second["kl"] > 0
    assert seen["inputs"]["score_labels"].shape == (8,) and not seen["inputs"]["score_labels"].isnan().any()


def test_without_weight_the_head_stays_put_to_the_bit(llava, data, tmp_path):
    """The published objective; what it reads from still moves."""
    trainer = build(settings(llava, data, tmp_path, head_weight=0.0))
    before = weights(trainer.model)
    trainer.train()
    moved = {name for name, tensor in weights(trainer.model).items() if not torch.equal(tensor, before[name])}
    assert moved and not any("score_head" in name for name in moved)
    assert all(log["head_loss"] > 0 for log in trainer.state.log_history if "reward" in log)


def test_a_tower_without_the_kernel_of_the_rest_has_a_reference_too(data, tmp_path):
    """The tower of the demo's model is a ResNet, which has no attention, below a model that computes it by sdpa."""
    model, processor = build_tiny_llava([QUESTION, reasoned_answer(WORDS[0])], seed=0)
    attach(model, processor, SPACE, reasoning=QUESTION)
    save(model, processor, tmp_path / "tiny")
    trainer = build(settings(str(tmp_path / "tiny"), data, tmp_path / "out"))
    own = weights(trainer.model)
    assert all(torch.equal(tensor, own[name]) for name, tensor in trainer.ref_model.state_dict().items())


def test_everything_is_logged(trained):
    trainer, _, _ = trained
    log = [log for log in trainer.state.log_history if "reward" in log][0]
    assert log["reward"] == pytest.approx(sum(log[f"rewards/{name}/mean"] for name in ("rank", "error", "format")))
    for key in ("kl", "entropy", "completions/mean_length", "head_error", "head_loss", "answers/readable"):
        assert log[key] is not None
    assert log["rewards/format/mean"] == pytest.approx(log["answers/readable"])
    assert "frac_below_floor" not in log  # there is no floor
    shares = [log[key] for key in log if key.startswith("answers/")]
    assert sum(shares) == pytest.approx(1)
    assert "<think>" in trainer.sample.text or trainer.sample.value is None


def test_the_floor_is_in_the_advantages_and_counted(llava, data, tmp_path):
    trainer = build(settings(llava, data, tmp_path, max_steps=1, spread_floor=100.0))
    seen, compute = [], trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: seen.append(inputs["advantages"]) or compute(model, inputs)
    trainer.train()
    assert 0 < seen[0].abs().max() < 0.05  # at most 3 / 100
    assert trainer.state.log_history[0]["frac_below_floor"] == 1


def test_the_pictures_of_a_generation_are_opened_once_and_not_kept_for_long(llava, data, tmp_path, monkeypatch):
    opened, stock = [], roc.policy.data.open_image
    monkeypatch.setattr(roc.policy.data, "open_image", lambda path, **limits: opened.append(path) or stock(path))
    more = {"per_device_train_batch_size": 4, "steps_per_generation": 2, "gradient_accumulation_steps": 2}
    trainer = build(settings(llava, data, tmp_path, **more))
    opened.clear()
    trainer.train()
    assert len(opened) == len(set(opened)) == 6  # those of the next generation are read ahead
    assert len(trainer.rows._opened) <= 4  # two of this process, and no more than two beside them


@pytest.mark.parametrize("frozen", [{"freeze": ("vision",)}, {"tuning": "lora", "lora_rank": 4}], ids=["full", "lora"])
def test_each_picture_passes_once_through_a_frozen_tower(llava, data, tmp_path, frozen):
    """It does so for policy and reference: in sampling, in the passes of both, and for all completions of a picture."""

    def rows_of(model):
        (tower,) = part_modules(model, "vision").values()
        return tower.forward.__self__

    frozen = {**frozen, "beta": 0.02}
    plain = build(settings(llava, data, tmp_path / "plain", keep_features=False, **frozen))
    plain.train()
    kept = build(settings(llava, data, tmp_path / "kept", **frozen))
    own = rows_of(kept.model)
    kept.train()
    assert kept.args.max_steps == 2 and own.computed == 4 and own.found > 16  # two pictures a step
    if kept.ref_model is not None:
        reference = rows_of(kept.ref_model)
        assert reference.computed == 0 and reference.found == 16  # the policy's tower has computed them
    expected = weights(plain.model)
    assert all(torch.allclose(tensor, expected[name], atol=1e-6) for name, tensor in weights(kept.model).items())
    trained = build(settings(llava, data, tmp_path / "trained"))
    assert not hasattr(rows_of(trained.model), "computed")


def test_pictures_are_padded_and_scaled_as_the_collator_does(tmp_path, data):
    folder = cold_started(tmp_path / "padded", steps=0, image_aspect_ratio="pad")
    trainer = build(settings(folder, data, tmp_path, max_pixels=400))
    row = trainer.rows({"row": [0]})
    assert row["images"][0][0].size == (20, 20)
    batch = trainer.collator.prompt_batch([roc.policy.data.open_image(trainer.rows.records[0].images[0])])
    assert row["prompt"][0][0]["content"][1]["text"] in trainer.collator.tokenizer.decode(batch["input_ids"][0])


def test_a_group_of_edits_is_rewarded_as_a_whole_beside_rated_photos(llava, tmp_path):
    """The source is 0, one edit better, one worse; of the other photos people's scores are known."""
    edits = {"0": None, "1": {"delta": 2.0}, "2": {"delta": -1.0}}

    def change(record):
        return replace(record, group="g", edit=edits[record.id], scores={}) if record.id in edits else record

    more = {"rewards": ["relative", "error", "format"], "per_device_train_batch_size": 16, "max_steps": 1}
    more["freeze"] = ("vision",)  # the outputs of a frozen tower are kept, with the unrated rows first
    trainer = build(settings(llava, photos(tmp_path / "photos", 4, 0), tmp_path, **more), change)
    seen, calculate = watch(trainer), trainer._calculate_rewards
    trainer._calculate_rewards = lambda *args: seen.setdefault("rewards", calculate(*args))
    trainer.train()
    (tower,) = part_modules(trainer.model, "vision").values()
    assert tower.forward.__self__.computed == 4
    answers, rewards = seen["answers"], seen["rewards"]
    groups = torch.tensor([answer.group == "g" for answer in answers])
    assert {answer.picture for answer in answers if answer.group == "g"} == set(edits)
    assert torch.equal(rewards[:, 0].isnan(), ~groups) and torch.equal(rewards[:, 1].isnan(), groups)
    labels = seen["inputs"]["score_labels"]
    assert (~labels.isnan()).all() and (labels >= 1).all() and (labels <= 10).all()


def families():
    slow = set(FAMILY_BUILDERS) - {"qwen2_5_vl", "mistral3"}
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in FAMILY_BUILDERS]


@pytest.mark.parametrize("family", families())
def test_families_are_asked_the_same_by_trl_or_refused_by_name(family, tmp_path, data):
    """And those that are not refused take a step, in which both passes read the same scores of two shapes of photos."""
    from unittest.mock import patch

    with patch("policy_runs.BUILDERS", FAMILY_BUILDERS):
        folder = cold_started(tmp_path / family, family, steps=0)
    config = settings(folder, data, tmp_path, max_steps=1, beta=0.0)
    if family in ("mistral3", "paligemma"):
        with pytest.raises(RunError, match=f"{family}: reinforcement is not possible with this family"):
            build(config)
        return
    trainer = build(config)
    assert trainer.processing_class.tokenizer.padding_side == "left"
    with torch.no_grad():
        trainer.model.score_head.weight.normal_(generator=torch.Generator().manual_seed(3))
    prescribe(trainer)
    seen = watch(trainer)
    trainer.train()
    assert {trainer.rows.picture(record).size for record in trainer.rows.records} == {(30, 24), (24, 40)}
    assert (~seen["generated"].isnan()).all(dim=1).sum() == 7  # one answer was prescribed without a score
    assert torch.allclose(by_value(seen["generated"]), by_value(seen["fused"]), atol=1e-4)


def test_a_run_goes_on_exactly_inside_its_second_epoch(llava, tmp_path):
    """An epoch has two steps; TRL's own sampler would deal the first epoch's pictures again."""
    data = photos(tmp_path / "photos", 4, 0)
    more = {"max_steps": 4, "save_strategy": "steps", "save_steps": 3, "head_weight": 0.2}
    whole = build(settings(llava, data, tmp_path, **more))
    whole.train()
    again = build(settings(llava, data, tmp_path, **more))
    again.train(resume_from_checkpoint=str(tmp_path / "training" / "checkpoint-3"))
    expected, found = weights(whole.model), weights(again.model)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    rewards = [[log["reward"] for log in one.state.log_history if "reward" in log] for one in (whole, again)]
    assert rewards[0] == rewards[1] and len(rewards[0]) == 4


def test_validation_is_on_texts_that_the_model_writes_and_the_best_state_is_kept(llava, data, tmp_path):
    more = {"max_steps": 2, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    trainer = build(settings(llava, data, tmp_path, entropy_rows=2, **more))
    scores, log = iter([0.9, 0.2]), trainer.log

    def scored(logs, start_time=None):
        if "eval_readable" in logs:
            logs["eval_readable_srcc"] = next(scores)
        log(logs, start_time)

    trainer.log = scored
    trainer.train()
    validated = [log for log in trainer.state.log_history if "eval_readable" in log]
    assert len(validated) == 2
    for log in validated:
        assert log["eval_n"] + sum(log[key] for key in log if key.startswith("eval_wrong/")) == 4
        assert log["eval_short_mae"] > 0 and log["eval_entropy"] > 0
    assert trainer.state.best_global_step == 1
    best, _ = load(tmp_path / "training" / "checkpoint-1")
    kept = weights(trainer.model)
    assert all(torch.equal(kept[name], tensor) for name, tensor in best.state_dict().items())
    assert best.declaration.reasoning == trainer.model.declaration.reasoning


def adapter_of(checkpoint, folder):
    """Makes an adapter whose every part differs from a new one's."""
    from roc.model.adapters import add_lora

    model, processor = load(checkpoint)
    model = add_lora(model, rank=2, dropout=0.3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    save(model, processor, folder)
    return str(folder)


def test_an_adapter_is_trained_on_with_a_frozen_copy_as_its_reference(llava, data, tmp_path):
    start = adapter_of(llava, tmp_path / "adapter")
    trainer = build(settings(start, data, tmp_path / "out", tuning="lora", save_strategy="steps", save_steps=2))
    named = dict(trainer.model.named_parameters())
    copies = {name: name.replace(".default", ".ref") for name in named if ".default" in name}
    assert any("trainable_tokens_delta" in name for name in copies) and any("score_head" in name for name in copies)
    assert all(torch.equal(named[name], named[copy]) for name, copy in copies.items())
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    moved = [name for name in copies if not torch.equal(before[name], after[name])]
    assert len(moved) > 0.8 * len(copies)
    assert all(torch.equal(before[copy], after[copy]) for copy in copies.values())
    logs = [log["kl"] for log in trainer.state.log_history if "kl" in log]
    assert logs[0] == pytest.approx(0, abs=1e-6)
    state = tmp_path / "out" / "training" / "checkpoint-2"
    assert not (state / "ref").exists()
    saved, _ = load(state)
    trained = {name for name, weight in named.items() if weight.requires_grad}
    found = dict(saved.named_parameters())
    assert trained and all(torch.equal(found[name], after[name]) for name in trained)


@pytest.mark.slow
def test_a_new_adapter_leaves_its_base_alone_and_goes_on_exactly(llava, data, tmp_path):
    more = {"tuning": "lora", "lora_rank": 2, "max_steps": 3, "save_strategy": "steps", "save_steps": 2}
    whole = build(settings(llava, data, tmp_path / "out", **more))
    frozen = {name: weight.clone() for name, weight in whole.model.named_parameters() if not weight.requires_grad}
    whole.train()
    assert all(torch.equal(weight, frozen[name]) for name, weight in whole.model.named_parameters() if name in frozen)
    again = build(settings(llava, data, tmp_path / "out", **more))
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "training" / "checkpoint-2"))
    expected, found = weights(whole.model), weights(again.model)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
def test_a_base_in_four_bits(llava, data, tmp_path):
    pytest.importorskip("bitsandbytes")
    trainer = build(settings(llava, data, tmp_path, tuning="qlora", lora_rank=2))
    trained = {name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert {weight.dtype for weight in trained.values()} == {torch.float32}
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    trainer.train()
    assert sum(not torch.equal(before[name], weight) for name, weight in trained.items()) > len(trained) / 2


class EngineOfItsOwn:
    """Stands in for vLLM: generates the same texts outside of the trainer's forward, so that no head is read."""

    def __init__(self, trainer):
        self.trainer, self.model = trainer, trainer.model

    def sync_weights(self):
        pass

    def generate(self, prompts, images, num_generations, profiler):
        batch = self.trainer.collator.prompt_batch([picture[0] for picture in images])
        torch.manual_seed(5)
        self.model.score_logging, log = None, self.model._score_log
        self.model._score_log = None
        ids = self.model.generate(**batch, generation_config=self.config)[:, batch["input_ids"].shape[1] :]
        self.model._score_log = log
        eos = self.trainer.eos_token_ids[0]
        rows = [row[: row.index(eos) + 1] if eos in row else row for row in ids.tolist()]
        return None, rows, [[[0.0] for _ in row] for row in rows], None


def test_values_come_from_the_pass_that_corrects_for_another_engine(llava, data, tmp_path):
    """TRL's switch to vLLM, with a stand-in for the engine."""
    trainer = build(settings(llava, data, tmp_path, max_steps=1))
    engine = EngineOfItsOwn(trainer)
    engine.config = trainer.generation_config
    trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, engine, -1
    seen = watch(trainer)
    trainer.train()
    assert (~seen["generated"].isnan()).any() and len(seen["generated"]) == 8
    assert torch.allclose(by_value(seen["generated"]), by_value(seen["fused"]), atol=1e-5)


@pytest.mark.slow
def test_forty_steps_bring_the_head_nearer_and_the_reward_up(llava, tmp_path):
    more = {"max_steps": 40, "head_weight": 0.3, "lr_scheduler_type": "constant", "per_device_train_batch_size": 16}
    trainer = build(settings(llava, photos(tmp_path / "photos", 24, 4), tmp_path, **more))
    trainer.train()
    logs = [log for log in trainer.state.log_history if "reward" in log]

    def mean(key, part):
        return sum(log[key] for log in part) / len(part)

    assert mean("head_error", logs[-8:]) < 0.75 * mean("head_error", logs[:8])
    assert mean("reward", logs[-8:]) > mean("reward", logs[:8]) + 0.2
