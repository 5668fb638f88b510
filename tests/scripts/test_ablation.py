"""scripts/ablation: seven ways of teaching a score, compared fairly, resumed, and put into a table."""

import contextlib
import csv
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from tiny_models import tiny_llava
from transformers import AutoModelForImageTextToText, AutoProcessor

from roc.data.reading import read_records
from roc.data.records import Record, resolve_splits
from roc.demo.dataset import write_dataset
from roc.demo.tiny_model import PRESETS, TinyLlavaConfig
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.score_space import ScoreSpace

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import stages  # noqa: E402
from ablation import __main__ as command  # noqa: E402
from ablation import data as ablation_data  # noqa: E402
from ablation import runs, schedule, table  # noqa: E402
from ablation.arms import ARMS, WORDS, Words, choices, decimals, expectation, parse_digits  # noqa: E402
from ablation.base import Base  # noqa: E402
from ablation.runs import Budget, Pace, Run, build, execute, rehearse, train  # noqa: E402

SPACE = ScoreSpace(1, 10, 10)
SENTENCE = "The aesthetic rate of the image is {}."
SMALL = TinyLlavaConfig(
    image_size=32, vision_widths=(8, 8, 16), vision_hidden_size=32, text_hidden_size=32, text_layers=1, text_heads=2
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight scenes of 32 pixels for a model smaller still than the demo's."""
    path = write_dataset(tmp_path_factory.mktemp("data") / "scenes", 8, 4, 4, size=32, seed=0)
    splits = resolve_splits(read_records(path, space=SPACE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "small", SMALL)
        yield ablation_data.Data("scenes", SPACE, splits, Base("small"))


def record(score, comment=None):
    return Record(id="x", images=("x.png",), scores={"overall": score, "light": 2.0}, comment=comment)


# --- what is written and how it is read, on paper --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (SENTENCE.format("6.4"), 6.4),
        (SENTENCE.format("10.0"), 10.0),
        (SENTENCE.format("6"), 6.0),
        (f" {SENTENCE.format('6.4')} Taken at 5.6, 9 of 10.", 6.4),
        (SENTENCE.format("64"), None),  # off the scale
        (SENTENCE.format("0.9"), None),
        (SENTENCE.format("-6.4"), None),
        (SENTENCE.format("6.4.2"), None),
        (SENTENCE.format("6.4 or 7.1"), None),
        (SENTENCE.format("6,4"), None),
        (SENTENCE.format(""), None),
        (SENTENCE.format("good"), None),
        (SENTENCE.format("٦"), None),
        ("The aesthetic rate of the image is 6.4", None),  # cut short: the next digit may have been to come
        ("6.4", None),
        ("The light rate of the image is 6.4.", None),
        ("", None),
    ],
)
def test_digits_are_parsed_and_never_guessed(text, score):
    assert parse_digits(text, SPACE) == score


def test_digits_have_steps_of_a_ninetieth_of_the_range_or_less():
    """1..10 and 0..9: 0.1; 1..5: 0.04 at most, so 0.01; 0..1: 0.01; 0..100: 1."""
    ranges = ((1, 10), (0, 9), (1, 5), (0, 1), (0, 100))
    assert [decimals(ScoreSpace(*of)) for of in ranges] == [1, 1, 2, 2, 0]
    assert ARMS["digits"].text(6.449, SPACE) == "6.4"
    assert ARMS["digits"].text(0.5, ScoreSpace(0, 1)) == "0.50"


def test_words_are_fifths_of_the_range():
    """The fifths of 1..10 end at 2.8, 4.6, 6.4, 8.2, 10."""
    scores = (1, 2.8, 2.81, 4.6, 4.7, 6.4, 6.5, 8.2, 8.3, 10)
    assert [ARMS["words"].text(score, SPACE) for score in scores] == [word for word in WORDS for _ in range(2)]


def test_level_words_become_a_score_on_paper():
    """Shares .1 .2 .3 .2 .2 of 1, 3.25, 5.5, 7.75, 10: 0.1 + 0.65 + 1.65 + 1.55 + 2 = 5.95.

    With the middles of the fifths, 1.9, 3.7, 5.5, 7.3, 9.1: 0.19 + 0.74 + 1.65 + 1.46 + 1.82 = 5.86.
    """
    logits = torch.tensor([0.1, 0.2, 0.3, 0.2, 0.2]).log() + 7
    assert expectation(logits, ScoreSpace(1, 10, 5).levels) == pytest.approx(5.95, abs=1e-5)
    assert Words.middles([5.95, None], SPACE) == [pytest.approx(5.86), None]


def test_level_tokens_are_the_nearest_levels():
    assert [ARMS["coupled"].text(score, SPACE) for score in (1, 6.4, 6.6, 10)] == ["(S1)", "(S6)", "(S7)", "(S10)"]


@pytest.mark.parametrize(("name", "said"), [("digits", "6.4"), ("words", "fair"), ("coupled", "(S6)")])
def test_baselines_teach_the_same_sentence_with_their_score(name, said):
    taught = ARMS[name].taught(record(6.4, " Nice. "), SPACE, True)
    assert taught.conversations[1] == ("assistant", SENTENCE.format(said) + " Nice.")
    plain = ARMS[name].taught(record(6.4, "Nice."), SPACE, False)
    assert plain.conversations[1] == ("assistant", SENTENCE.format(said))
    assert taught.scores == ({"overall": 6.4} if name == "coupled" else {}) and not taught.histograms


# --- fair: the same weights, pictures and order ----------------------------------------------------------------------


class Spy:
    """A collator that records what it collates."""

    def __init__(self, collator):
        self.collator, self.processor, self.seen = collator, collator.processor, []

    def __call__(self, samples):
        batch = self.collator(samples)
        self.seen.append(([record.id for record, _ in samples], float(batch["pixel_values"].double().sum())))
        return batch


def test_arms_start_alike_and_see_the_same_batches(data):
    """Neither comments nor random numbers drawn before make a difference."""
    weights, seen = [], []
    for name, comments in (("digits", False), ("coupled", True), ("l1_ce", False)):
        arm = ARMS[name]
        torch.rand(len(weights))
        model, processor = build(arm, data, seed=3)
        weights.append({key: value.clone() for key, value in model.state_dict().items()})
        spy = Spy(RocCollator(processor, model.config.roc))
        train(model, spy, arm, Run(name, comments, 3, 1e-3), data, Budget(steps=3, batch_size=4))
        seen.append(spy.seen)
    assert seen[0][0] != seen[0][1]
    assert seen[1:] == seen[:1] * 2
    for other in weights[1:]:
        assert other.keys() == weights[0].keys()
        # The level tokens' rows come last.
        assert all(torch.equal(other[key][: len(one)], one) for key, one in weights[0].items() if one.ndim)
    assert len(weights[1]["lm_head.weight"]) == len(weights[0]["lm_head.weight"]) + 10


def test_a_run_does_not_depend_on_what_ran_before(data):
    first, _, again = (execute(Run("l1", False, seed, 1e-3), data, Budget(steps=2, batch_size=4)) for seed in (0, 1, 0))
    for name in ("losses", "validation", "test"):
        assert again[name] == first[name]


def test_another_seed_is_another_start(data):
    first, other = (build(ARMS["l1"], data, seed=seed)[0].state_dict() for seed in (3, 4))
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_the_tokenizer_holds_each_level_word_as_one_token(data):
    model, processor = build(ARMS["words"], data, 0)
    collator = RocCollator(processor, model.config.roc)
    before, ids = choices(ARMS["words"], collator, SPACE)
    assert [processor.tokenizer.decode([token]).strip() for token in ids] == list(WORDS)
    assert processor.tokenizer.decode(before).strip() == "The aesthetic rate of the image is"


# --- level tokens inside the vocabulary ------------------------------------------------------------------------------


def test_coupled_loss_on_paper(data):
    """Equal rows say 5.5. Smooth L1 of 1.5 and of 0.5 away: (1.0 + 0.125) / 2."""
    arm = ARMS["coupled"]
    model, processor = build(arm, data, 0)
    collator = RocCollator(processor, model.config.roc)
    rows = [arm.taught(record(score), SPACE, False) for score in (7.0, 5.0)]
    batch = collator([(row, [Image.new("RGB", (32, 32))]) for row in rows])
    out = model(**batch)
    assert out.l1_loss.item() == pytest.approx(0.5625, abs=1e-5)
    assert out.loss.item() == pytest.approx(out.text_loss.item() + 0.5625, abs=1e-5)
    # Not decoupled: the regression moves the words' own rows, and only these; the head beside them is idle.
    grad = torch.autograd.grad(out.l1_loss, model.lm_head.weight, retain_graph=True)[0]
    moved = grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert moved == model.level_ids.tolist()
    out.loss.backward()
    assert model.score_head.weight.grad is None or not model.score_head.weight.grad.any()


def test_ours_is_the_package_as_it_is(data):
    for name, weights in (("l1", (1, 0, 0)), ("ce", (0, 1, 0)), ("emd", (0, 0, 1)), ("l1_ce", (1, 1, 0))):
        roc = build(ARMS[name], data, 0)[0].config.roc
        assert tuple(roc[f"{loss}_weight"] for loss in ("l1", "ce", "emd")) == weights and roc["text_weight"] == 1


# --- every arm trains, answers, and is read --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_trains_and_scores(data, name):
    comments = name in ("words", "coupled", "l1_ce")
    result = json.loads(json.dumps(execute(Run(name, comments, 0, 1e-3), data, Budget(steps=2, batch_size=8))))
    assert (result["arm"], result["comments"], result["seed"], result["rate"]) == (name, comments, 0, 1e-3)
    assert result["test"]["n"] == result["validation"]["n"] == 4 and 0 <= result["test"]["unscored"] <= 1
    assert ("mae_middles" in result["test"]) == (name == "words")
    used = {"text_loss", *(key.replace("weight", "loss") for key in ARMS[name].weights)}
    assert all(result["losses"][loss] > 0 for loss in used)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARMS)
def test_every_arm_learns_to_answer(data, name):
    """Trained for longer on the same eight scenes, every arm writes an answer with a score."""
    result = execute(Run(name, name in ("words", "l1"), 0, 3e-3), data, Budget(steps=200, batch_size=8))
    assert result["test"]["unscored"] == 0 and 0 <= result["test"]["mae"] < 4


@pytest.mark.parametrize("name", ["digits", "words", "coupled", "l1"])
def test_an_answer_without_a_score_is_unscored(data, name):
    """Row 0 answers as taught, row 1 begins otherwise, row 2 says another word where the score belongs."""
    arm = ARMS[name]
    model, processor = build(arm, data, 0)
    collator = RocCollator(processor, model.config.roc)
    good = collator.tokenize_answer(SENTENCE.format(arm.text(10.0, SPACE)))
    other = collator.tokenize_answer("A quiet scene with the sea in it, and boats.")
    if name == "digits":
        third = collator.tokenize_answer(SENTENCE.format("nice"))
    else:
        place = collator.tokenize_answer(SENTENCE.format("[SCORE]")).index(model.config.roc["token_id"])
        place = place if name == "l1" else len(choices(arm, collator, SPACE)[0])
        third = [*good[:place], other[0], *good[place:]]
    width = max(map(len, (good, other, third)))
    said = torch.tensor([row + [processor.tokenizer.pad_token_id] * (width - len(row)) for row in (good, other, third)])
    logits = torch.nn.functional.one_hot(said, model.lm_head.weight.shape[0]) * 50.0

    def generate(**inputs):
        return SimpleNamespace(sequences=torch.cat([inputs["input_ids"], said], dim=1), logits=logits.unbind(dim=1))

    def generate_with_scores(**inputs):
        top = [torch.eye(10)[9:] * 50] * 3
        found = [row.count(model.config.roc["token_id"]) for row in said.tolist()]
        return SimpleNamespace(sequences=said, score_logits=[one[:n] for one, n in zip(top, found, strict=True)])

    model.generate, model.generate_with_scores = generate, generate_with_scores
    scores = arm.read(model, collator, [Image.new("RGB", (32, 32))] * 3)
    assert scores == [pytest.approx(10.0, abs=1e-3), None, None]


def test_unscored_pictures_leave_the_metrics_and_are_counted(data):
    class Silent(type(ARMS["digits"])):
        def read(self, model, collator, pictures):
            return [None] + [5.0] * (len(pictures) - 1)

    model, processor = build(ARMS["digits"], data, 0)
    found = runs.measured(Silent("x"), model, RocCollator(processor, model.config.roc), data.records["test"])
    human = [record.scores["overall"] for record in data.records["test"][1:]]
    assert found["unscored"] == 0.25 and found["srcc"] == 0 and found["predictions"] == [None, 5.0, 5.0, 5.0]
    assert found["mae"] == pytest.approx(np.mean([abs(score - 5) for score in human]))


# --- any model -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A stock model on disk, its vocabulary padded beyond the tokenizer's."""
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    for part in tiny_llava(vocab_padding=20):
        part.save_pretrained(folder)
    return folder


def with_base(data, folder, tmp_path):
    base = Base(source=str(folder), freeze=("vision",))
    return dataclasses.replace(data, base=base, features=tmp_path / "features")


def test_a_pretrained_model_is_taught_and_its_frozen_tower_sees_each_picture_once(data, pretrained, tmp_path):
    own = with_base(data, pretrained, tmp_path)
    stock = AutoModelForImageTextToText.from_pretrained(pretrained).state_dict()
    known, vocabulary = len(AutoProcessor.from_pretrained(pretrained).tokenizer), len(stock["lm_head.weight"])
    assert known < vocabulary
    found = {}
    for name in ("digits", "coupled", "l1"):
        model, processor = build(ARMS[name], own, 0)
        # The vocabulary is no smaller than it was, and everything but the new words' rows is what lies on disk.
        for key, one in model.state_dict().items():
            if key in stock and one.ndim:
                rows = known if len(stock[key]) == vocabulary else len(stock[key])
                assert len(one) >= len(stock[key]) and torch.equal(one[:rows], stock[key][:rows]), key
        spy = Spy(RocCollator(processor, model.config.roc))
        train(model, spy, ARMS[name], Run(name, False, 0, 1e-3), own, Budget(steps=3, batch_size=8))
        found[name] = len(list(own.features.rglob("*.safetensors")))
        trained = model.state_dict()
        same = {key for key, one in stock.items() if one.ndim == 0 or torch.equal(trained[key][: len(one)], one)}
        assert {key for key in stock if "vision_tower" in key} <= same < set(stock)
    # Each of the 8 pictures as it is or mirrored; the other arms see the same ones.
    assert 8 <= found["digits"] <= 16 and found["coupled"] == found["l1"] == found["digits"]


def test_a_rehearsal_times_steps_and_reading(data):
    pace = rehearse(Run("l1", False, 0, 1e-3), data, Budget(steps=100, batch_size=4))
    assert pace.ready > 0 and pace.step > 0 and pace.row > 0
    # 5 runs, 2 at a time, are 3 after each other of 60 + 100 x 6 + 120 x 0.5 = 720 s.
    assert schedule.expected_hours(Pace(60, 6, 0.5), 5, Budget(steps=100), 120, 2) == pytest.approx(0.6)


def test_the_short_form_on_a_pretrained_model(tmp_path, photos, pretrained, executed, capsys):
    words = ["--model_name_or_path", str(pretrained), "--freeze", "vision", "--short", "--output_dir"]
    words += [str(tmp_path / "out"), "--data_path", str(photos), "--min_score", "1", "--max_score", "5"]
    assert command.main(words) == 0
    assert [run.arm for run in executed] == list(command.SHORT_ARMS) * 3
    assert {(run.rate, run.comments) for run in executed} == {(2e-4, False)}
    printed = capsys.readouterr().out
    assert "expected: 12 runs of 100 steps, 2 at a time, about 1.1 hours (6 s a step" in printed
    assert f"Model: `{pretrained}`, pretrained, 9 parameters, vision frozen." in printed
    assert not (tmp_path / "out" / "features").exists()
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["budget"]["batch_size"] == 16
    assert command.main([*words, "--rates", "1e-4", "3e-4"]) == 2
    assert "holds runs with other settings" in capsys.readouterr().err and len(executed) == 12


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "processor_config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_a_model_with_another_processor_is_another_model(tmp_path, pretrained, name):
    """Other pictures or other tokens make other runs, though the weights are the same."""
    folder = tmp_path / "model"
    shutil.copytree(pretrained, folder)
    before = Base(source=str(folder)).identity()
    (folder / "README.md").write_text("Read me.")
    assert Base(source=str(folder)).identity() == before
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert Base(source=str(folder)).identity() != before


def test_the_table_of_a_starter_needs_no_starter(tmp_path, photos, pretrained, executed, capsys, monkeypatch):
    starter, out = tmp_path / "full", tmp_path / "out"
    monkeypatch.setattr(command, "kept_folder", lambda size: starter)
    monkeypatch.setattr(command, "keep_starter", lambda size: shutil.copytree(pretrained, starter))
    words = ["--starter", "full", "--freeze", "vision", "--output_dir", str(out), "--quick"]
    words += ["--data_path", str(photos), "--min_score", "1", "--max_score", "5"]
    assert command.main([*words, "--table"]) == 2 and "holds no run yet" in capsys.readouterr().err
    assert not out.exists() and not starter.exists()
    assert command.main(words) == 0
    report = json.loads((out / "results.json").read_text())
    assert report["model"] == "the starter `full`, pretrained, 9 parameters, vision frozen"
    for folder in (starter, out / "pictures"):
        shutil.rmtree(folder)
    assert command.main([*words, "--table"]) == 0 and not (starter.exists() or (out / "pictures").exists())
    again = json.loads((out / "results.json").read_text())
    assert again == {**report, "command": again["command"]}
    assert command.main([*words, "--bf16", "--table"]) == 2
    assert "other settings (model)" in capsys.readouterr().err


def test_one_set_of_rates_for_all_and_no_comments(tmp_path, executed):
    words = ["--output_dir", str(tmp_path / "out"), "--arms", "words", "l1", "--seeds", "1", "--no_comments"]
    assert command.main([*words, "--rates", "1e-4", "3e-4"]) == 0
    found = [(run.arm, run.seed, run.rate) for run in executed]
    assert found[:4] == [(arm, command.RATE_SEED, rate) for arm in ("words", "l1") for rate in (1e-4, 3e-4)]
    assert found[4:] == [("words", 0, 3e-4), ("l1", 0, 3e-4)] and not any(run.comments for run in executed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--freeze", "vision"], "--freeze and --bf16 are for a pretrained model"),
        (["--starter", "full", "--model_name_or_path", "x"], "name two models"),
        (["--model_name_or_path", "./nowhere"], "nowhere"),
        (["--model_name_or_path", "{head}"], "was taught scores with a head"),
        (["--model_name_or_path", "x", "--freeze", "embeddings"], "expected any of vision, projector, language"),
        (["--rates", "0"], "expected a list of numbers above 0"),
    ],
)
def test_a_model_that_cannot_be_compared_on(tmp_path, pretrained, executed, capsys, words, said):
    if "{head}" in words:
        model = AutoModelForImageTextToText.from_pretrained(pretrained)
        attach(model, AutoProcessor.from_pretrained(pretrained), SPACE)
        model.save_pretrained(tmp_path / "head")
    words = [word.format(head=tmp_path / "head") for word in words]
    assert command.main([*words, "--output_dir", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err and not executed and not (tmp_path / "out").exists()


# --- many runs, resumed ----------------------------------------------------------------------------------------------


class Inline:
    """A pool that works in this process, at once, and stops where a real one would."""

    def __init__(self, jobs, mp_context, initializer, initargs):
        initializer(*initargs)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def shutdown(self, wait, cancel_futures):
        assert cancel_futures and not wait

    def submit(self, function, *words):
        future = Future()
        future.set_result(function(*words))
        return future


@pytest.fixture
def executed(monkeypatch):
    """Collects the runs that the command executes, with made-up results; `.fails` maps a count to an exception."""

    class Executed(list):
        fails = {}

    done = Executed()

    def fake(run, data, budget, parts):
        if len(done) in done.fails:
            raise done.fails.pop(len(done))
        done.append(run)
        found = {"n": 4, "unscored": 0.0, "srcc": 0.5 + run.rate, "plcc": 0.5, "mae": 1.0, "mae_middles": 1.0}
        found["predictions"] = [5.0] * 4
        rest = {"parameters": 9, "train_seconds": 1.0, "cpu_seconds": 1.0}
        return {**runs.asdict(run), **{part: found for part in parts}, **rest}

    monkeypatch.setattr(stages, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(schedule, "execute", fake)
    monkeypatch.setattr(schedule, "rehearse", lambda run, data, budget: Pace(60, 6, 0.5))
    monkeypatch.setattr(command, "DEMO_COUNTS", (8, 4, 4))
    return done


def test_finished_runs_are_not_repeated(tmp_path, executed, capsys):
    words = ["--output-dir", str(tmp_path / "out"), "--seeds", "2", "--arms", "words", "l1"]
    assert command.main(words) == 0
    # 2 arms x 2 x 3 rates to choose from, then x 2 seeds at the best of these.
    assert len(executed) == 12 + 8 and {run.rate for run in executed[12:]} == {1e-3}
    assert {run.seed for run in executed[:12]} == {command.RATE_SEED} and {run.seed for run in executed[12:]} == {0, 1}
    assert command.main(words) == 0 and len(executed) == 20
    (tmp_path / "out" / "runs" / "l1-comments-seed1-rate0.001.json").unlink()
    assert command.main([*words[:3], "3", *words[4:]]) == 0
    again = [(run.arm, run.comments, run.seed) for run in executed[20:]]
    assert again == [("l1", True, 1), *((arm, said, 2) for said in (False, True) for arm in ("words", "l1"))]
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [entry["seeds"] for entry in report["summary"]] == [[0, 1, 2]] * 4
    assert report["machine"] and report["versions"]["torch"] and report["command"].startswith("bash scripts/")
    assert "five level words" in capsys.readouterr().out


def test_a_stop_keeps_what_is_finished(tmp_path, executed, capsys):
    words = ["--output_dir", str(tmp_path / "out"), "--quick"]
    executed.fails = {5: KeyboardInterrupt(), 9: BrokenProcessPool("killed")}
    assert command.main([*words, "--table"]) == 2 and "holds no run yet" in capsys.readouterr().err
    assert command.main(words) == 130
    assert command.main([*words, "--table"]) == 0 and "5 of 14 runs are there" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 5
    assert command.main(words) == 2
    assert "--jobs 1 takes less memory" in capsys.readouterr().err
    assert command.main(words) == 0
    assert len(executed) == len({run.name for run in executed}) == 14


def test_other_settings_are_refused(tmp_path, executed, capsys):
    words = ["--output_dir", str(tmp_path / "out"), "--quick", "--arms", "l1"]
    assert command.main(words) == 0
    assert command.main([*words, "--steps", "7"]) == 2
    assert "holds runs with other settings" in capsys.readouterr().err


def test_the_learning_rate_is_chosen_by_one_rule():
    """An SRCC of 0.6 with 70% scored counts as 0.42; of two equal rates the lower one wins."""
    found = [(1e-3, 0.6, 0.3), (2e-3, 0.5, 0.0), (5e-4, 0.5, 0.0), (4e-3, None, 1.0)]
    trials = [{"rate": rate, "validation": {"srcc": srcc, "unscored": share}} for rate, srcc, share in found]
    assert command.best_rate(trials, (5e-4,)) == 5e-4
    assert command.best_rate(trials[:1] + trials[3:], (5e-4,)) == 1e-3
    assert command.best_rate([], (5e-4,)) == 5e-4


# --- a file of one's own ---------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    """Sixty photos that are not square, scores on 1..5, and nothing else."""
    rows = []
    for i in range(60):
        Image.fromarray(np.full((20 + i, 30, 3), 3 * i, dtype=np.uint8)).save(tmp_path / f"{i}.jpg")
        rows.append({"image": f"{i}.jpg", "score": 1 + i / 15})
    with (tmp_path / "ratings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "score"])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "ratings.csv"


def test_a_plain_file_of_ones_own(tmp_path, photos, executed):
    words = ["--data_path", str(photos), "--min_score", "1", "--max_score", "5", "--output_dir", str(tmp_path / "out")]
    assert command.main([*words, "--quick"]) == 0
    assert [run.arm for run in executed] == ["digits", "words", "coupled", "l1"]
    assert not any(run.comments for run in executed)
    text = (tmp_path / "out" / "results.md").read_text()
    assert "no votes (h_1 .. h_10): ours, CE; ours, EMD; ours, L1 + CE" in text and "the file has none" in text
    report = json.loads((tmp_path / "out" / "results.json").read_text())["data"]
    assert report["train"] + report["val"] + report["test"] == 60 and report["test"] >= 3
    pictures = list((tmp_path / "out" / "pictures").rglob("*.png"))
    assert len(pictures) == 60 and {Image.open(path).size for path in pictures} == {(64, 64)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data_path", "{}"], "the scale of"),
        (["--image_folder", ".", "--num_tokens", "5"], "--image_folder, --num_tokens: these belong to a --data_path"),
        (["--data_path", "{}", "--min_score", "2", "--max_score", "5"], "outside the range"),
        (["--data_path", "{}", "--min_score", "1", "--max_score", "5", "--arms", "ce"], "the file has none"),
        (["--data_path", "none.csv", "--min_score", "1", "--max_score", "5"], "none.csv"),
    ],
)
def test_bad_input_is_named(tmp_path, photos, executed, capsys, words, said):
    words = [word.format(photos) for word in words]
    assert command.main([*words, "--output_dir", str(tmp_path / "out"), "--quick"]) == 2
    assert said in capsys.readouterr().err and not executed


def test_a_corrected_file_may_use_the_folder(tmp_path, photos, executed):
    """Faults are found before the folder is claimed, and pictures of another file are not mistaken for its own."""
    words = ["--data_path", str(photos), "--min_score", "1", "--output_dir", str(tmp_path / "out"), "--quick"]
    assert command.main([*words, "--max_score", "2"]) == 2
    assert command.main([*words, "--max_score", "5"]) == 0
    first = {path.name for path in (tmp_path / "out" / "pictures").iterdir()}
    (tmp_path / "out" / "settings.json").unlink()
    photos.write_text(photos.read_text() + "copy.jpg,1.5\n")
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    assert command.main([*words, "--max_score", "5"]) == 0
    assert len({path.name for path in (tmp_path / "out" / "pictures").iterdir()} - first) == 1


# --- the table -------------------------------------------------------------------------------------------------------


def test_interval_on_paper():
    """1 to 5: mean 3, standard deviation sqrt(2.5), t of 4 degrees 2.7764: half = 2.7764 sqrt(2.5 / 5) = 1.9632."""
    found = table.interval([1, 2, 3, 4, 5])
    assert (found["mean"], found["n"]) == (3, 5)
    assert found["low"] == pytest.approx(3 - 1.9632, abs=1e-4) and found["high"] == pytest.approx(4.9632, abs=1e-4)
    assert table.interval([2.0]) == {"mean": 2.0, "low": None, "high": None, "n": 1}
    assert table.interval([])["mean"] is None
    assert table.cell(found) == "3.000 [1.037, 4.963]" and table.cell(table.interval([])) == "-"
    assert table.cell(table.interval([0.125]), percent=True) == "12.5%"


def made(arm, seed, srcc, comments=False, unscored=0.0):
    test = {"n": 9, "unscored": unscored, "srcc": srcc, "plcc": srcc, "mae": 1.0, "mae_middles": 0.9}
    return {"arm": arm, "comments": comments, "seed": seed, "rate": 1e-3, "test": test}


def test_differences_are_paired_by_seed():
    """0.2 apart in each of three seeds, though the seeds themselves are 0.3 apart; seed 7 has no partner."""
    runs = [made("digits", seed, 0.1 + 0.3 * seed) for seed in range(3)]
    runs += [made("l1", seed, 0.3 + 0.3 * seed) for seed in range(3)] + [made("l1", 7, 0.9)]
    runs += [made("digits", seed, 0.15 + 0.3 * seed, comments=True) for seed in range(3)]
    digits, ours, commented = table.summarise(runs)
    assert (digits["arm"], ours["arm"], commented["comments"]) == ("digits", "l1", True)
    assert digits["minus"]["srcc"]["mean"] == pytest.approx(0.2)
    assert digits["minus"]["srcc"]["high"] - digits["minus"]["srcc"]["low"] < 1e-9 and digits["minus"]["srcc"]["n"] == 3
    assert commented["with_comments"]["srcc"]["mean"] == pytest.approx(0.05)
    assert commented["minus"]["srcc"]["mean"] is None
    lines = table.markdown(report(runs)).splitlines()
    assert "| score as digits in the text | **+0.200 [+0.200, +0.200]** |" in "\n".join(lines)


def test_a_seed_without_a_metric_is_not_hidden():
    runs = [made("digits", 0, 0.5), made("digits", 1, None, unscored=1.0)]
    assert "| 0.500 (1 of 2 seeds) |" in table.markdown(report(runs)) and "| 50.0% [" in table.markdown(report(runs))


def test_the_paper_stands_beside():
    text = table.markdown(report([made("words", seed, 0.5) for seed in (0, 1)]))
    assert "| mPLUG-Owl2 | 0.761 / 0.762 / 0.379 | 0.831 / 0.830 / 0.322 | +0.070 / +0.068 / -0.057 |" in text
    assert "+0.206 / +0.196 | +0.021 / +0.023 |" in text and "their MAE is 0.900 [0.900, 0.900]" in text
    assert "mPLUG-Owl2 direct -0.003, ROC +0.004" in text


def report(runs):
    return {
        "command": "x",
        "machine": "y",
        "versions": {"torch": "2"},
        "data": {"name": "scenes", "test": 9, "min_score": 1, "max_score": 10},
        "settings": {"steps": 2, "batch_size": 4, "rates": [1e-3]},
        "model": "a model",
        "pretrained": False,
        "parameters": 9,
        "seconds": {"median": 1.0, "longest": 2.0},
        "constant_mae": 1.1,
        "notes": [],
        "summary": table.summarise(runs),
    }


def left(session):
    """Lists the running processes of a session, zombies left out."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.name())
    return found


@pytest.mark.slow
def test_the_script_itself_killed_and_resumed(tmp_path):
    """Finished runs are kept, no process is left behind, and the same command goes on. Every arm answers in the end."""
    words = ["bash", str(ROOT / "scripts" / "reproduce_ablation.sh"), "--quick", "--output_dir", str(tmp_path / "out")]
    environment = {**os.environ, "ROC_PYTHON": sys.executable}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    results = tmp_path / "out" / "runs"
    deadline = time.monotonic() + 300
    while len(list(results.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while left(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left(process.pid) == []
    kept = {path.name: path.stat().st_mtime_ns for path in results.glob("*.json")}
    assert 3 <= len(kept) < 14
    assert subprocess.run(words, env=environment).returncode == 0
    assert {name: (results / name).stat().st_mtime_ns for name in kept} == kept
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(report["summary"]) == 14 and all(math.isfinite(e["unscored"]["mean"]) for e in report["summary"])
