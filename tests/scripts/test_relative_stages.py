"""scripts/relative_stages: edits, a base, three stages and their comparison; what is finished is left out."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from relative_stages import __main__ as command  # noqa: E402
from relative_stages import parts  # noqa: E402
from relative_stages import report as reports  # noqa: E402
from relative_stages.report import markdown  # noqa: E402
from stages import StageFailed  # noqa: E402

from roc.relative.train_config import STAGES  # noqa: E402
from roc.training.config import RunConfig, load_config  # noqa: E402

METRICS = {"n": 12, "srcc": 0.5, "plcc": 0.25, "mae": 1.5, "spread": 0.75}
LINE = {"intercept": 1.0, "slope": 0.5}
DIFFERENCE = {"a": 0.9, "b": 0.8, "difference": 0.1, "low": 0.05, "high": 0.15}
GROUPS = {
    "decided": 10, "accuracy": 0.75, "accuracy_low": 0.5, "accuracy_high": 1.0, "krcc": 0.5, "krcc_n": 4,
    "categories": {"blur": {"n": 3, "accuracy": 1.0}, "tilt": {"n": 1, "accuracy": None}},
    "words": {"n": 8, "compared": 20, "pair_accuracy": 0.625, "readable": 0.875, "spread": 0.125},
}  # fmt: skip
FOUND = {
    "build": {
        "pairs": 20, "photos": 6, "better": 5, "worse": 15, "anchors": 4, "rejected": {"unchanged": 2},
        "agreement": {"pairs": 22, "unanimous": 0.875, "kappa": None, "pairwise": {"a, b": 0.9}},
    },
    "pairs": {"split": "test", "decided": 9, "accuracy": 0.5,
              "words": {"n": 4, "decided": 4, "accuracy": 0.75, "kinds": {"good": 3, "cut": 1}}},
    "groups": {"anchors": GROUPS, "groups": GROUPS | {"accuracy": 0.875, "accuracy_low": None}},
    "scenes": {way: {name: METRICS for name in ("anchors", "groups")} for way in ("short", "critique")},
    "differences": {
        way: {"anchors": dict.fromkeys(("srcc", "plcc", "mae"), DIFFERENCE)} for way in ("short", "critique")
    },
    "calibration_alone": None,
    "calibration": {"fitted_on": "critique", "short": {"before": METRICS, "after": METRICS},
                    "critique": {"line": LINE, "before": {}, "after": {}}},
}  # fmt: skip


def test_the_report_shows_every_stage():
    around = {"command": "x", "machine": "m", "versions": {"roc": "1"}, "minutes": {"base": 1.25, "edits": 2}}
    text = markdown({**FOUND, **around})  # of the two stages that score a photo
    assert "20 edits of 6 scenes are kept, 5 for the better and 15 for the worse" in text and "3.2 in all" in text
    assert "87.5% of 22 edits unanimous." in text and "| a, b | 90.0% |" in text
    assert "9 pairs of test scenes, both pictures in one question: 50.0% with the right sign" in text
    assert "With reasons first: 75.0% of 4. Answers: good 3, cut 1 of 4." in text
    assert "| source against edit, 10 pairs, in one forward pass | 75.0% [50.0%, 100.0%] | 87.5% |" in text
    assert "| comparisons within groups, 20, with a critique first | 62.5% | 62.5% |" in text
    assert "| SRCC with a critique first | 0.500 | 0.500 | +0.100 [+0.050, +0.150] |" in text
    assert "| standard deviation of the scores in one forward pass | 0.750 | 0.750 | - |" in text
    assert "The line of stage 3 is fitted on the anchors, on scores read with a critique first; it keeps" in text
    none = {"line": None, "reason": "the scores of the anchors are equal", "before": {}, "after": {}}
    unfit = FOUND["calibration"] | {"critique": none}
    assert "no line fits the anchors, on scores read with a critique first: the scores of the anchors are equal;" in (
        markdown({**FOUND, **around, "calibration": unfit})
    )
    assert "share of the range, with a critique first | 0.125 | 0.125 |" in text and "without anchors" not in text
    assert "| in one forward pass | 0.500 | 0.250 | 1.500 | 1.500 |" in text
    assert "| with a critique first | - | - | - | - |" in text
    assert "| blur | 3 | 100.0% | 100.0% |" in text and "| tilt | 1 | - | - |" in text


@pytest.mark.parametrize("sizes", [parts.WHOLE, parts.QUICK])
def test_the_settings_files_and_the_words_that_fit_them_to_a_tiny_model_are_settings(sizes):
    load_config(parts.CONFIGS["base"], list(sizes.base), group=RunConfig)
    for name, words in {"pairs": sizes.pairs, "anchors": sizes.stage_anchors, "groups": sizes.groups}.items():
        start = ["--model_name_or_path", "x"]
        config = load_config(parts.CONFIGS[name], [*start, *words], group=STAGES[name])
        if name == "groups":  # a group as a whole, and an anchor beside it
            assert config.per_device_train_batch_size // config.num_generations > sizes.edits + 1


@pytest.fixture
def stages(monkeypatch):
    """Collects the runs of the command, which write what later ones look for; `fails` ends badly."""

    class Stages(list):
        fails = None
        starts = {}

        def do(self, *words):
            words = [str(word) for word in words]
            out = Path(words[words.index("--output_dir" if "--output_dir" in words else "--out") + 1])
            if words[:2] == ["relative", "train"]:
                self.starts[out.name] = Path(words[words.index("--model_name_or_path") + 1]).name
                assert ("--with_anchors" in words) == (out.name == "stage_groups_alone")
            self.append(f"{' '.join(words[:2]) if words[0] != 'finetune' else 'finetune'} {out.name}")
            if out.name == self.fails:
                raise StageFailed
            turns = [{"from": "human", "value": "How good?"}, {"from": "gpt", "value": "Fair."}]
            row = {"id": "images/train_0.png", "image": "a.jpg", "score": 5.0, "conversations": turns}
            if words[1] == "build":
                out.mkdir(exist_ok=True)
                for name in ("pairs", "edits", "groups", "anchors"):
                    (out / f"{name}.jsonl").write_text(json.dumps(row | {"split": "train"}) + "\n")
            elif words[1] == "corpus":
                assert "images/train_0.png" in Path(words[words.index("--data_path") + 1]).read_text()
                out.write_text(json.dumps(row | {"image": "scene.png"}) + "\n")

    done = Stages()
    monkeypatch.setattr(reports, "version", lambda package: "1.0")  # TRL, which only the stages need, may not be there
    monkeypatch.setattr(parts, "run_roc", done.do)
    monkeypatch.setattr(parts, "_build_start", lambda some, folder: None)
    monkeypatch.setattr(command, "evaluate_stage", lambda some, name, pictures: done.append(f"evaluate {name}"))
    monkeypatch.setattr(command, "compare_stages", found_of)
    return done


def found_of(parts, names):
    """What the evaluations of these stages hold."""
    if names[-1] == "groups":
        return FOUND
    scenes = {way: {**one, "groups_alone": METRICS} for way, one in FOUND["scenes"].items()}
    differences = {way: {**one, "groups_alone": one["anchors"]} for way, one in FOUND["differences"].items()}
    more = {"scenes": scenes, "differences": differences, "calibration_alone": FOUND["calibration"]}
    return FOUND | more | {"groups": FOUND["groups"] | {"groups_alone": GROUPS}}


def test_a_stopped_way_goes_on(tmp_path, stages, capsys):
    words = ["--output_dir", str(tmp_path / "out"), "--quick"]
    stages.fails = "stage_anchors"
    assert command.main(words) == 2
    assert stages == [
        "relative build pairs", "reasoning corpus corpus.jsonl", "finetune base", "relative train stage_pairs",
        "relative train stage_anchors",
    ]  # fmt: skip
    scenes = tmp_path / "out" / "scenes"
    seen, rated = (scenes.joinpath(name).read_text().splitlines() for name in ("seen.csv", "rated.csv"))
    drawn = (scenes / "ratings.csv").read_text().splitlines()
    head, first = drawn[0].split(","), drawn[1].split(",")
    assert len(seen) == len(drawn) and seen[1].split(",")[0] == first[head.index("composition")]
    assert len(rated) == 13 and all(0 <= float(row.split(",")[1]) <= 10 for row in rated[1:])
    assert len((scenes / "sources.csv").read_text().splitlines()) == 1 + sum(parts.QUICK.sources)
    anchor = json.loads((tmp_path / "out" / "pairs" / "anchors_in_words.jsonl").read_text())
    assert anchor["image"] == "a.jpg" and anchor["conversations"][1]["value"] == "Fair."
    stages.clear()
    stages.fails = None
    for name in ("anchors", "anchors_in_words"):  # a build that was stopped after its pairs
        (tmp_path / "out" / "pairs" / f"{name}.jsonl").unlink()
    assert command.main(words) == 0
    # Runs of roc know themselves whether they are finished.
    assert stages == [
        "relative build pairs", "reasoning corpus corpus.jsonl", "finetune base",
        "relative train stage_pairs", "relative train stage_anchors", "relative train stage_groups",
        "evaluate anchors", "evaluate groups",
    ]  # fmt: skip
    stages.clear()
    assert command.main(words) == 0 and stages == [] and "## Stages 2 and 3" in capsys.readouterr().out
    done = json.loads((tmp_path / "out" / "relative.json").read_text())
    assert set(done["minutes"]) == {
        "scenes", "edits", "base", "stage pairs", "stage anchors", "stage groups", "evaluation"
    }  # fmt: skip


def test_the_third_stage_without_anchors_is_added_to_what_is_there(tmp_path, stages, capsys, monkeypatch):
    words = ["--output_dir", str(tmp_path / "out"), "--quick"]
    assert command.main(words) == 0 and "without anchors" not in capsys.readouterr().out
    stages.clear()
    assert command.main([*words, "--without_anchors"]) == 0
    assert stages[-5:] == [
        "relative train stage_groups", "relative train stage_groups_alone", "evaluate anchors", "evaluate groups",
        "evaluate groups_alone",
    ]  # fmt: skip
    assert stages.starts["stage_groups"] == stages.starts["stage_groups_alone"] == "stage_anchors"
    printed = capsys.readouterr().out
    assert "| SRCC in one forward pass | 0.500 | 0.500 | 0.500 | +0.100 [+0.050, +0.150] | +0.100" in printed
    assert "The line of stage 3 without anchors is fitted" in printed
    stages.clear()
    assert command.main(words) == 0 and stages == []
    assert command.main(words[:2]) == 2  # the whole way, in the folder of the quick one
    assert "holds runs with other settings (quick)" in capsys.readouterr().err
    monkeypatch.setattr(command, "CONFIGS", {**command.CONFIGS, "groups": tmp_path / "out" / "relative.md"})
    assert command.main(words) == 2 and "other settings (configs)" in capsys.readouterr().err


@pytest.mark.slow
def test_everything_with_two_steps(tmp_path, monkeypatch):
    pytest.importorskip("trl", reason="the third stage needs trl: pip install 'roc-mllm[rl]'")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    assert command.main(["--output_dir", str(tmp_path / "out"), "--quick", "--threads", "1"]) == 0
    done = json.loads((tmp_path / "out" / "relative.json").read_text())
    assert done["build"]["anchors"] == 12 and done["build"]["agreement"]["pairwise"]
    assert done["scenes"]["short"]["groups"]["n"] == 12 and done["groups"]["anchors"]["words"]["n"] == 10
