"""scripts/words: a language model learns to comment on scenes, and what it writes is compared with the truth."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_llava
from training_runs import finetune

from roc.demo.scenes import KnownScene, known_scene
from roc.demo.tiny_model import TinyLlavaConfig, build_tiny_llava
from roc.model.attachment import attach
from roc.score_space import ScoreSpace
from roc.scoring.results import Assessed, Score

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import stages as shared  # noqa: E402
from stages import StageFailed  # noqa: E402
from words import __main__ as command  # noqa: E402
from words import parts  # noqa: E402
from words.judge import judge_answers, judge_comments  # noqa: E402
from words.report import markdown  # noqa: E402

FACTS = {"subject_x": 0.5, "roll": 0.0, "stops": 0.0, "hue_gap": 90.0, "focus": 0.5}


def scene(**latents):
    """A scene of which the four attributes are known; those not named are fair."""
    return KnownScene({name: 0.5 for name in ("composition", "light", "colour", "focus")} | latents, FACTS, "", "", "")


SCENES = [scene(light=0.9, focus=0.1), scene(light=0.9, colour=0.1), scene(focus=0.9, light=0.2), scene(focus=0.8)]


def test_claims_are_held_against_the_scene_and_against_chance_on_paper():
    """Light is soft in 2 of 4 scenes, the subject sharp in 2 of 4, blurred in 1 of 4.

    Rows 0 and 3 are right (2 claims of 3 in row 0, 1 of 1 in row 3), row 1 is wrong and row 2 silent: 3 of 5. By chance
    row 0 gets 2/4 + 1/4 + 2/4, row 1 gets 1/4, row 3 gets 2/4: 2 of 5.
    """
    texts = ["The light is soft, but the subject is blurred; the subject is sharp.", "The subject is blurred.", "Nice.",
             "The subject is sharp."]  # fmt: skip
    found = judge_comments(texts, SCENES)
    assert found["true"]["n"] == 5
    assert (found["true"]["share"], found["true"]["chance"]) == (pytest.approx(3 / 5), pytest.approx(2 / 5))
    # Praised first: light in row 0 (the best there, and of 2 in 4), sharpness in row 3 (the best of 2 in 4).
    assert found["best"]["n"] == 2 and found["best"]["share"] == 1 and found["best"]["chance"] == 0.5
    # Blamed first: focus in rows 0 (the worst) and 1 (not). Row 3's worst is the first of three equals, composition.
    assert found["worst"]["n"] == 2 and found["worst"]["share"] == 0.5 and found["worst"]["chance"] == 0.25
    assert found["true"]["low"] <= found["true"]["minus_chance"] <= found["true"]["high"]


def test_the_true_comments_are_right_and_one_comment_for_all_is_no_better_than_chance():
    scenes = [known_scene(i, seed=1) for i in range(60)]
    true = judge_comments([_comment(one) for one in scenes], scenes)
    assert all(found["share"] == 1 and found["low"] > 0.3 for found in true.values())
    same = judge_comments(["The light is soft, but the colours clash."] * 60, scenes)
    for found in same.values():
        assert found["minus_chance"] == pytest.approx(0) and found["low"] < 0 < found["high"]
    nothing = judge_comments(["?"] * 60, scenes)["true"]
    assert nothing == {"n": 0, **dict.fromkeys(("share", "chance", "minus_chance", "low", "high"))}


def _comment(one):
    from roc.demo.attributes import comment

    return comment(one.latents, one.facts)


def answered(value, text):
    score = None if value is None else Score(value, 0.0, (1.0,), (value,), (1, 10), True)
    return Assessed({"overall": score}, text=text)


def test_answers_and_both_ways_of_scoring():
    written = [
        answered(5.0, "It is 5.0000. The light is soft."),
        answered(6.0, "It is 6.0000. The subject is"),  # cut short
        answered(7.0, "So 7.0000."),  # another sentence
        answered(None, "The light is soft."),
    ]
    found = judge_answers(written, [5.0, 6.5, 7.0, 4.0], [5, 6, 7, 4], SCENES, "It is [SCORE].")
    assert (found["n"], found["whole"], found["commented"]) == (4, 0.25, 0.5)
    assert found["scores"]["written"]["n"] == 3 and found["scores"]["forward"]["n"] == 4
    assert found["scores"]["written"]["srcc"] == pytest.approx(1) and found["scores"]["forward"]["mae"] == 0.125
    assert found["apart"] == {"largest": 0.5, "mean": pytest.approx(0.5 / 3)}
    text = markdown({**found, "command": "x", "machine": "y", "versions": {}, "minutes": {"a": 1.25, "b": 2},
                     "samples": [{"image": "a.png", "written": "w\n|", "true": "t"}]})  # fmt: skip
    assert "3.2 in all" in text and "differ by 0.5 at most" in text and "| a.png | w \\| | t |" in text
    silent = judge_answers([answered(None, "?")] * 4, [5.0] * 4, [5, 6, 7, 4], SCENES, "It is [SCORE].")
    assert silent["apart"] is None and "| 0 | - | - | - |" in markdown({**found, **silent, "command": "", "machine": "",
        "versions": {}, "minutes": {}, "samples": []})  # fmt: skip


def test_the_taught_tower_comes_under_the_language_model(tmp_path):
    (model, processor), (other, other_processor) = tiny_llava(seed=0), tiny_llava(seed=1)
    model.save_pretrained(tmp_path / "full")
    processor.save_pretrained(tmp_path / "full")
    attach(other, other_processor, ScoreSpace())
    other.save_pretrained(tmp_path / "taught")
    other_processor.save_pretrained(tmp_path / "taught")
    parts.put_tower(tmp_path / "full", tmp_path / "taught", tmp_path / "start")
    start = type(model).from_pretrained(tmp_path / "start")
    for name, weight in start.state_dict().items():
        source = other if "vision_tower" in name else model
        assert torch.equal(weight, source.state_dict()[name]), name
    before = (tmp_path / "start" / "config.json").stat().st_mtime_ns
    parts.put_tower(tmp_path / "nowhere", tmp_path / "nowhere", tmp_path / "start")  # it is there
    assert (tmp_path / "start" / "config.json").stat().st_mtime_ns == before
    build_tiny_llava(["Fine."], TinyLlavaConfig(), seed=0)[0].save_pretrained(tmp_path / "wide")
    with pytest.raises(ValueError, match="not of the same kind"):
        parts.put_tower(tmp_path / "wide", tmp_path / "taught", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.fixture
def stages(monkeypatch):
    """Collects what the command does, with made-up results; `fails` names a stage that does not end well."""

    class Stages(list):
        fails = None

        def do(self, stage, *folders):
            self.append(stage)
            if stage == self.fails:
                raise StageFailed
            for folder in folders:
                Path(folder).mkdir(parents=True)

    done = Stages()
    found = judge_answers([answered(5.0, "It is 5.0000.")] * 4, [5.0] * 4, [5, 6, 7, 4], SCENES, "It is [SCORE].")
    monkeypatch.setattr(parts, "build_part", lambda folder, size, wheels: folder.is_dir() or done.do(size, folder))
    monkeypatch.setattr(parts, "put_tower", lambda source, taught, folder: folder.is_dir() or done.do("start", folder))
    monkeypatch.setattr(command, "run_roc", lambda verb, config, *words: done.do(config.stem))
    monkeypatch.setattr(command, "judge_model", lambda *_: done.do("judge") or {**found, "samples": []})
    return done


def test_stages_that_are_finished_are_left_out(tmp_path, stages, capsys):
    words = ["--output-dir", str(tmp_path / "out")]
    stages.fails = "words"
    assert command.main(words) == 2
    assert stages == ["small", "words_tower", "full", "start", "words"]
    assert [folder.name for folder in sorted((tmp_path / "out" / "parts").iterdir())] == ["small", "start"]
    stages.fails = stages.clear()
    assert command.main(words) == 0 and stages == ["words", "judge"]
    assert "By chance: the same comments" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "words.json").read_text())
    assert set(report["minutes"]) == {"tower", "start", "words", "judge"} and report["n"] == 4
    assert command.main(words) == 0 and stages == ["words", "judge"]


def test_folders_of_the_same_name_are_neither_taken_nor_removed(tmp_path, stages):
    own = [tmp_path / name / "model.safetensors" for name in ("small", "full", "start")]
    for file in own:
        file.parent.mkdir()
        file.touch()
    assert command.main(["--output_dir", str(tmp_path)]) == 0
    assert stages[:4] == ["small", "words_tower", "full", "start"] and all(file.is_file() for file in own)


def test_a_result_of_other_settings_is_not_taken_for_this_one(tmp_path, stages, monkeypatch, capsys):
    configs = {name: tmp_path / file.name for name, file in command.CONFIGS.items()}
    for file in configs.values():
        file.write_text("seed: 1\n")
    monkeypatch.setattr(command, "CONFIGS", configs)
    words = ["--output_dir", str(tmp_path / "out")]
    stages.fails = "words_tower"
    assert command.main(words) == 2
    configs["words_tower"].write_text("seed: 2\n")  # nothing was made with the faulty one
    stages.fails = "words"
    assert command.main(words) == 2 and stages[-1] == "words"
    configs["words"].write_text("seed: 2\n")
    stages.fails = stages.clear()
    assert command.main([*words, "--quick"]) == 2 and stages == []
    assert "other settings (quick)" in capsys.readouterr().err
    assert command.main(words) == 0 and stages == ["words", "judge"]
    for name, file in configs.items():
        file.write_text("seed: 3\n")
        assert command.main(words) == 2 and f"other settings ({name})" in capsys.readouterr().err
        file.write_text("seed: 2\n")
    assert command.main(words) == 0 and stages == ["words", "judge"]


def test_the_time_of_a_stage_that_is_killed_is_kept(tmp_path, monkeypatch):
    """Nothing runs any more in a killed process, so it has to be written before."""
    monkeypatch.setattr(shared, "NOTED_EVERY", 0.01)
    shared.write_json(tmp_path / "times.json", {"tower": 5.0, "words": 100.0})
    with shared.timed(tmp_path, "words"):
        deadline = time.monotonic() + 30
        while shared.times(tmp_path)["words"] == 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 100 < shared.times(tmp_path)["words"] < 130
    before, number = shared.times(tmp_path), threading.active_count()
    time.sleep(0.05)
    assert shared.times(tmp_path) == before and before["tower"] == 5 and threading.active_count() == number


@pytest.mark.slow
def test_everything_with_tiny_models(tmp_path, monkeypatch):
    """Both runs, the tower between them, the adapter and its answers are real; only the starters are not."""

    def build_part(folder, size, wheels):
        shape = TinyLlavaConfig(image_size=96, text_hidden_size=32 if size == "small" else 64)
        if not folder.is_dir():
            texts = ["The aesthetic rate is [SCORE].", *(_comment(known_scene(i, seed=42)) for i in range(20))]
            for part in build_tiny_llava(texts, shape, seed=0):
                part.save_pretrained(folder)

    monkeypatch.setattr(parts, "build_part", build_part)
    monkeypatch.setattr(command, "run_roc", lambda _, *words: finetune(*map(str, words)) and pytest.fail("it failed"))
    assert command.main(["--output_dir", str(tmp_path / "out"), "--quick", "--threads", "1"]) == 0
    report = json.loads((tmp_path / "out" / "words.json").read_text())
    assert report["n"] == 16 and report["scores"]["forward"]["n"] == 16 and len(report["samples"]) == 6
    assert (tmp_path / "out" / "model" / "adapter_config.json").is_file()
    assert report["samples"][0]["true"].endswith(".")
