"""scripts/reasoning: from scenes to a reinforced model, and the ablation; what is finished is left out."""

import json
import math
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from reasoning import __main__ as command  # noqa: E402
from reasoning import ablation, parts, photos  # noqa: E402
from reasoning import report as reports  # noqa: E402
from reasoning.arms import ARMS, REFERENCE, Arm  # noqa: E402
from reasoning.report import critique_table, markdown, reward_of  # noqa: E402
from reasoning.sampled import compare_rewards, rewards_of  # noqa: E402
from reasoning.table import markdown as ablation_markdown  # noqa: E402
from stages import StageFailed  # noqa: E402

from roc.files import write_json  # noqa: E402
from roc.policy.config import PolicyConfig  # noqa: E402
from roc.score_space import ScoreSpace  # noqa: E402
from roc.starter.decoder import decoder_tokenizer  # noqa: E402
from roc.starter.sizes import Decoder  # noqa: E402
from roc.training.config import RunConfig, load_config  # noqa: E402

EFFECT = {
    "critique_n": 12, "critique_own_mae": 0.5,
    "critique_other_mae": 0.75, "critique_other_added": 0.25, "critique_other_added_low": 0.2,
    "critique_other_added_high": 0.3, "critique_none_mae": 0.5, "critique_none_added": 0.0,
    "critique_none_added_low": -0.1, "critique_none_added_high": 0.1,
}  # fmt: skip
METRICS = {
    "n": 12,
    "unscored": 0,
    "answers": {"good": 12},
    "readable": 1.0,
    "retried": 1,
    "retried_kinds": {"cut": 1},
} | EFFECT
DIFFERENCE = {"a": 0.9, "b": 0.8, "difference": 0.1, "low": 0.05, "high": 0.15}
REWARD = {"first": {"reward": 1.0, "rank": 0.5}, "last": {"reward": 2.0, "rank": 0.75}, "steps": 20, "seconds": None}
SCENES = {"pictures": "scenes", "subject": "A tiny model", "scale": "1..10"}
AROUND = {"machine": "m", "versions": {"roc": "1"}, "minutes": {"base": 1.25, "rapo": 2}}


def report():
    models = {name: {"critique": METRICS, "short": METRICS} for name in command.MODELS}
    answer = {"text": "<think>a |\nb</think><answer>[SCORE]</answer>", "prediction": 5.0}
    return {
        "command": "x",
        "models": models,
        "differences": {way: dict.fromkeys(("srcc", "plcc", "mae"), DIFFERENCE) for way in ("critique", "short")},
        "sampled": dict.fromkeys(("reward", "rank", "error", "format"), DIFFERENCE),
        "reward": REWARD,
        "samples": [{"image": "a.png", **dict.fromkeys(command.MODELS, answer)}],
        **AROUND,
    }


def write_log(run, rewards, first=1):
    """Writes the log of a run, a reward a step."""
    with SummaryWriter(str(run / "training" / "runs" / f"from_{first}")) as log:
        for step, reward in enumerate(rewards, start=first):
            log.add_scalar("train/reward", reward, step)
            log.add_scalar("train/rewards/rank/mean", reward / 2, step)
        log.add_scalar("eval/entropy", 0.25, step)


def test_the_report_shows_both_models_and_what_changed():
    text = markdown(report())
    assert "| answers in their form at once | 11 of 12 | 11 of 12 | |" in text and "3.2 in all" in text
    told = "all 12 answers readable; 1 written anew: 1 cut at the length"
    assert f"| answers by kind | {told} | {told} | |" in text
    assert "| SRCC with a critique first | 0.800 | 0.900 | +0.100 [+0.050, +0.150] |" in text
    assert "| reward of sampled critiques | 0.800 | 0.900 | +0.100 [+0.050, +0.150] |" in text
    assert "| first tenth | 1.000 | 0.500 |" in text and "| last tenth | 2.000 | 0.750 |" in text
    assert "| after RAPO | 0.500 | 0.750 (+0.250 [+0.200, +0.300]) | 0.500 (+0.000 [-0.100, +0.100]) |" in text
    assert "| a.png | <think>a \\| b</think><answer>5.00</answer> |" in text
    assert len(critique_table({"nothing readable": {"critique_n": 0}})) == 4


def test_rewards_of_sampled_critiques_compare_two_models_on_the_same_scenes(tmp_path):
    """Two scenes, 1 and 10 on 1..10: right values earn rank 1, error 1 and form 1."""

    def evaluation(name, *answers):
        folder = tmp_path / name
        rows = [{"id": f"s{i}", "score": human} for i, human in enumerate((1.0, 10.0))]
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"attributes": ["overall"]}))
        lines = [f"{row['id']},{row['score']},5" for row in rows]
        (folder / "predictions.csv").write_text("\n".join(["id,score,prediction", *lines]) + "\n")
        written = [{"id": row["id"], "answers": list(few)} for row, few in zip(rows, answers, strict=True)]
        (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in written))
        return rewards_of(folder, ScoreSpace(1, 10))

    def answer(prediction, kind="good", retried=False):
        return {"text": "", "kind": kind, "retried": retried, "prediction": prediction}

    right = evaluation("right", [answer(1.0)] * 2, [answer(10.0)] * 2)
    assert right["s0"] == pytest.approx({"reward": 3, "rank": 1, "error": 1, "format": 1}, abs=1e-4)
    # One answer of the first scene was written anew, one of the second cannot be read: both earn 0.
    half = evaluation("half", [answer(1.0), answer(1.0, retried=True)], [answer(10.0), answer(None, kind="cut")])
    assert half["s1"] == pytest.approx({"reward": 1.5, "rank": 0.5, "error": 0.5, "format": 0.5}, abs=1e-4)
    found = compare_rewards(half, right)
    assert found["reward"] == pytest.approx({"a": 3, "b": 1.5, "difference": 1.5, "low": 1.5, "high": 1.5}, abs=1e-3)


def test_rewards_at_the_beginning_and_the_end_come_from_the_whole_log(tmp_path):
    with pytest.raises(ValueError, match="no log of the run"):
        reward_of(tmp_path)
    write_log(tmp_path, [1.0, 3.0, *[5.0] * 10])  # killed after step 12, and gone on with from step 10
    write_log(tmp_path, [*[6.0] * 8, 7.0, 9.0], first=11)
    found = reward_of(tmp_path)
    assert found["first"] == {"reward": 2.0, "rank": 1.0} and found["last"] == {"reward": 8.0, "rank": 4.0}
    assert found["steps"] == 20


@pytest.mark.parametrize("name", ["base", "cold_start", "rapo"])
def test_the_settings_files_and_the_words_that_shorten_them_are_settings(name):
    group = PolicyConfig if name == "rapo" else RunConfig
    for sizes in (parts.WHOLE, parts.QUICK):
        load_config(parts.CONFIGS[name], list(getattr(sizes, name)), group=group)
    tests = ["--no_test_table", "false", "--check_answers", "3", "--seed", "1"]
    config = load_config(parts.CONFIGS[name], tests, group=group)
    assert config.no_test_table is False and config.check_answers == 3
    if name == "rapo":
        for arm in ARMS.values():
            load_config(parts.CONFIGS[name], ["--rewards", *arm.rewards, "format", *arm.more], group=group)


@pytest.fixture
def stages(monkeypatch):
    """Collects the runs of both commands, which write nothing but what later stages look for; `fails` ends badly."""

    class Stages(list):
        fails, commands = None, []

        def do(self, *words):
            words = [str(word) for word in words]
            self.commands.append(words)
            out = Path(words[words.index("--output_dir" if "--output_dir" in words else "--out") + 1])
            self.append(f"{words[0] if words[0] == 'finetune' else words[1]} {out.name}")
            if out.name == self.fails:
                raise StageFailed
            if out.suffix == ".jsonl":
                out.write_text("{}\n")
            elif not out.is_dir():
                write_log(out, [1.0, 2.0])
                metrics = {f"reasoned/{name}": value for name, value in METRICS.items()} | {"srcc": 0.5}
                (out / "metrics.json").write_text(json.dumps(metrics | {"reasoned/srcc": 0.75}))

    done = Stages()

    def draw(some, sizes):
        done.append("scenes")
        some.validation.parent.mkdir(parents=True)
        some.validation.write_text("image\n")
        some.ratings.write_text("image,score,split\nimages/a.png,7,train\nimages/b.png,3,test\n")

    monkeypatch.setattr(reports, "version", lambda package: "1.0")  # TRL, which only the stages need, may not be there
    monkeypatch.setattr(parts, "run_roc", done.do)
    monkeypatch.setattr(parts, "_draw", draw)
    for module in (parts, photos):
        monkeypatch.setattr(module, "build_start", lambda some, folder: folder.mkdir(exist_ok=True))
    monkeypatch.setattr(photos, "run_roc", done.do)
    monkeypatch.setattr(ablation, "untaught", lambda some, folder: done.append("untaught"))
    monkeypatch.setattr(command, "evaluate_model", lambda some, name, threads: done.append(f"evaluate {name}"))
    monkeypatch.setattr(command, "compare_models", lambda out: {k: v for k, v in report().items() if k not in AROUND})
    return done


def test_the_demo_goes_on_where_it_was_stopped(tmp_path, stages, capsys, monkeypatch):
    words = ["--output-dir", str(tmp_path / "out"), "--quick"]
    stages.fails = "reinforced"
    assert command.main(words) == 2
    assert stages == ["scenes", "corpus corpus.jsonl", "finetune base", "finetune cold_start", "train reinforced"]
    stages.fails = stages.clear()
    assert command.main(words) == 0
    # Runs of roc know themselves whether they are finished.
    assert stages[:3] == ["finetune base", "finetune cold_start", "train reinforced"] and len(stages) == 5
    assert "MAE behind" in capsys.readouterr().out
    done = json.loads((tmp_path / "out" / "reason.json").read_text())
    assert set(done["minutes"]) == {"scenes", "corpus", "base", "cold start", "rapo", "evaluation"}
    stages.clear()
    assert command.main(words) == 0 and stages == []
    for whole in (command, ablation):  # nor is anything made of the quick scenes and corpus
        assert whole.main(["--output_dir", words[1]]) == 2 and "other settings (quick)" in capsys.readouterr().err
    assert ablation.main(["--output_dir", *words[1:], "--arms", "rank"]) == 0 and "scenes" not in stages  # reuses them
    stages.clear()
    monkeypatch.setattr(command, "CONFIGS", {**command.CONFIGS, "rapo": tmp_path / "out" / "reason.md"})
    assert command.main(words) == 2 and "other settings (configs)" in capsys.readouterr().err and stages == []


def test_arms_and_seeds_run_one_by_one(tmp_path, stages, capsys):
    out = tmp_path / "out"
    words = ["--output_dir", str(out), "--quick"]
    assert ablation.main([*words, "--arms", "rank", "start_0"]) == 0
    assert stages[-4:] == ["finetune 1-seed0", "train rank-seed0", "untaught", "train start_0-seed0"]
    assert not list((out / "runs").iterdir())  # their results stay
    stages.clear()
    stages.fails = f"{REFERENCE}-seed1"
    assert ablation.main([*words, "--arms", "rank", REFERENCE, "--seeds", "2"]) == 2
    assert [name for name in stages if name.startswith("train")] == [
        f"train {REFERENCE}-seed0", "train rank-seed1", f"train {REFERENCE}-seed1"
    ]  # fmt: skip
    capsys.readouterr()
    assert ablation.main([*words, "--arms", "rank", REFERENCE, "--seeds", "2", "--table"]) == 0
    table = capsys.readouterr().out
    assert "3 of 4 runs are finished" in table and "| rank | 2 | 100.0% " in table
    told = "all 24 answers readable; 2 written anew: 2 cut at the length"
    assert next(line for line in table.splitlines() if line.startswith("| rank | 2 | ")).endswith(f"| {told} |")
    start = next(line for line in table.splitlines() if line.startswith("| 1 | 2 | "))
    assert start.endswith(f"| 0.250 [0.250, 0.250] | {told} |")
    assert "| rank | before RAPO | 0.500" in table and "## error + rank minus the others" in table
    assert ablation.main([*words[:2], "--arms", "rank"]) == 2
    said = capsys.readouterr().err
    assert "other settings (steps, quick)" in said and "steps: there 2, asked for 60" in said
    held = json.loads((out / "settings.json").read_text())
    write_json(out / "settings.json", held | {"configs": held["configs"] | {"rapo": "0"}})
    assert ablation.main([*words, "--table"]) == 2 and "other settings files: rapo\n" in capsys.readouterr().err
    write_json(out / "settings.json", held)
    assert ablation.main([*words, "--short"]) == 2 and "give one of them" in capsys.readouterr().err
    shutil.rmtree(out / "results")
    assert ablation.main([*words, "--table"]) == 2 and "no finished run yet" in capsys.readouterr().err


@pytest.fixture
def rated(tmp_path):
    """Writes a file of 30 photos on 1..5, 6 of them for the test."""
    (tmp_path / "photos").mkdir()
    lines = ["image,mos,split"]
    for number in range(30):
        Image.new("RGB", (40, 30), (8 * number, 100, 50)).save(tmp_path / "photos" / f"{number}.png")
        lines.append(f"{number}.png,{1 + number / 10},{'test' if number % 5 == 0 else 'train'}")
    file = tmp_path / "ratings.csv"
    file.write_text("\n".join(lines) + "\n")
    return ["--photos", str(file), "--image_folder", str(tmp_path / "photos"), "--min_score", "1", "--max_score", "5"]


def test_photos_of_ones_own_take_the_place_of_the_scenes(tmp_path, stages, rated, capsys):
    out = tmp_path / "out"
    words = [*rated, "--output_dir", str(out), "--quick", "--arms", "rank"]
    assert ablation.main(words) == 0
    assert stages == ["corpus corpus.jsonl", "finetune base", "finetune 1-seed0", "train rank-seed0"]
    told = (out / "results.md").read_text()
    assert "Test photos, never used in training" in told and "MAE on 0..1, which the scores are brought to." in told
    corpus, base, start, rapo = stages.commands[-4:]
    assert "measured" in corpus and str(photos.RECIPE) in base
    for stage in (corpus, base, start):
        assert stage[stage.index("--max_score") + 1] == "1"
    group = {"finetune": RunConfig, "reasoning": PolicyConfig}
    found = []
    for stage in (base, start, rapo):
        place = next(place for place, word in enumerate(stage) if word.endswith(".yaml"))
        found.append(load_config(stage[place], stage[place + 1 :], group=group[stage[0]]))
    assert all(config.dataset == "photos" for config in found)
    assert found[0].starter is None and found[0].score_flip is False and found[0].l1_scale == "native"  # made for 0..1
    for config in found[1:]:
        assert config.freeze == ("vision",) and config.features_folder == str(out / "features")
    assert found[0].question == found[1].question and not (out / "features").exists()  # once all runs are done
    listed = [line.split(",") for line in (out / "photos" / "ratings.csv").read_text().splitlines()[1:]]
    splits = Counter(row[-1] for row in listed)
    assert splits["test"] == 6 and splits["train"] + splits["val"] == 24
    assert len((out / "photos" / "validation.csv").read_text().splitlines()) == splits["val"] + 1
    assert all(0 <= float(row[-2]) <= 1 for row in listed)
    tested = [json.loads(line) for line in (out / "corpus_and_tests.jsonl").read_text().splitlines()[1:]]
    assert len(tested) == 6 and all(Path(row["image"]).is_file() for row in tested)
    capsys.readouterr()
    assert ablation.main(["--output_dir", str(out), "--quick", "--arms", "rank"]) == 2
    assert "holds parts made of photos" in capsys.readouterr().err
    assert command.main(["--output_dir", str(out), "--quick"]) == 2
    assert "holds parts made of photos" in capsys.readouterr().err
    file = Path(rated[1])
    file.write_text(file.read_text().replace("3.1", "3.2"))
    assert ablation.main(words) == 2 and "other settings (photos)" in capsys.readouterr().err


def test_the_starter_for_photos_knows_the_words_of_their_critiques(tmp_path, stages, rated, monkeypatch):
    built = []
    monkeypatch.setattr("roc.starter.plan.locate", lambda packages, from_, cache: [])
    monkeypatch.setattr("roc.starter.build.build_starter", lambda options, wheels, texts: built.append(texts))
    critique = "Light and shadow stand far apart. The palette is rich in colour."
    write = stages.do

    def do(*words):
        write(*words)
        if "corpus" in map(str, words):
            turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": critique}]
            (tmp_path / "out" / "corpus.jsonl").write_text(json.dumps({"conversations": turns}) + "\n")

    monkeypatch.setattr(photos, "run_roc", do)
    options = ablation.AblationOptions(photos=rated[1], image_folder=rated[3], min_score=1.0, max_score=5.0)
    (tmp_path / "out").mkdir()
    photos.make_photo_parts(tmp_path / "out", options, parts.WHOLE, 1)
    assert critique in built[0] and "Rate this photo." in built[0]
    tokenizer = decoder_tokenizer(Decoder(), built[0])
    assert len(tokenizer.tokenize(critique)) == len(re.findall(r"\w+|\.", critique))


def test_scenes_and_photos_share_no_folder(tmp_path, stages, rated, capsys):
    out = tmp_path / "out"
    assert command.main(["--output_dir", str(out), "--quick"]) == 0
    assert ablation.main([*rated, "--output_dir", str(out), "--quick"]) == 2
    assert "holds parts made of scenes; name another --output_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    "left_out, said", [("--max_score", "give --min_score and --max_score"), ("--photos", "these belong to --photos")]
)
def test_photos_need_their_scale(tmp_path, rated, left_out, said, capsys):
    place = rated.index(left_out)
    assert ablation.main([*rated[:place], *rated[place + 2 :], "--output_dir", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_too_few_photos_are_told_by_split(tmp_path, stages, rated, capsys):
    file = Path(rated[1])
    file.write_text("\n".join(file.read_text().splitlines()[:9]) + "\n")
    assert ablation.main([*rated, "--output_dir", str(tmp_path / "out"), "--quick"]) == 2
    assert "usable train rows, at least 12 are needed" in capsys.readouterr().err


def test_a_faulty_settings_file_of_the_ablation_may_be_mended(tmp_path, stages, monkeypatch, capsys):
    out, faulty = tmp_path / "out", tmp_path / "rapo.yaml"
    faulty.write_text("seeed: 1\n")
    monkeypatch.setattr(ablation, "CONFIGS", {**ablation.CONFIGS, "rapo": faulty})
    words = ["--output_dir", str(out), "--quick", "--arms", "rank", "start_2"]
    stages.fails = "rank-seed0"
    assert ablation.main(words) == 2
    faulty.write_text("seed: 1\n")
    stages.fails = "start_2-seed0"
    assert ablation.main(words) == 2 and "train start_2-seed0" in stages
    faulty.write_text("seed: 2\n")  # one run was made with the other
    capsys.readouterr()
    assert ablation.main(words) == 2 and "other settings files: rapo" in capsys.readouterr().err


def test_a_table_of_nothing_makes_no_folder(tmp_path, capsys):
    out = tmp_path / "mistyped"
    assert ablation.main(["--output_dir", str(out), "--table"]) == 2
    assert "holds no run yet" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_a_cold_start_of_the_ablation_keeps_its_last_state(tmp_path, monkeypatch, epochs):
    """A row says N epochs: it validates once, at the end, so that no earlier epoch is taken, nor another's entropy."""
    given = []
    monkeypatch.setattr(parts, "run_roc", lambda *words: given.extend(map(str, words)))
    monkeypatch.setattr(ablation, "corpus_and_tests", lambda some: some.corpus)
    ablation.make_start(parts.Parts(tmp_path), Arm("x", epochs=epochs), 0, parts.WHOLE, 1, ())
    config = load_config(parts.CONFIGS["cold_start"], given[given.index("--num_train_epochs") :])
    steps = epochs * 100
    for strategy, share in ((config.eval_strategy, config.eval_steps), (config.save_strategy, config.save_steps)):
        assert strategy == "steps" and 0 < share < 1 and math.ceil(steps * share) == steps


def test_a_cold_start_of_the_ablation_is_measured_on_the_test_scenes(tmp_path, stages):
    """They stand in its file of critiques, so that a row compares before and after on the same scenes."""
    some = parts.Parts(tmp_path)
    parts._draw(some, parts.QUICK)
    some.corpus.write_text('{"id": 1}\n{"id": 2}\n')
    file = parts.corpus_and_tests(some)
    taught = [{"id": 1, "split": "train"}, {"id": 2, "split": "train"}]
    tested = [{"image": "scenes/images/b.png", "score": 3.0, "split": "test"}]
    assert [json.loads(line) for line in file.read_text().splitlines()] == taught + tested
    assert parts.corpus_and_tests(some) == file


def test_every_arm_has_its_place_in_the_table():
    runs = [
        {"arm": name, "seed": 0, "before": {} if not arm.epochs else METRICS, "after": METRICS, "reward": REWARD}
        for name, arm in ARMS.items()
    ]
    text = ablation_markdown({"command": "x", **SCENES, "steps": 2, "wanted": len(runs), "runs": runs, **AROUND})
    assert all(f"| {arm.title} | 1 | " in text for arm in ARMS.values()) and "| 0 | 0 | - |" in text
    runs[0]["after"] = {
        name: value for name, value in METRICS.items() if name != "retried_kinds"
    }  # an earlier version's
    text = ablation_markdown({"command": "x", **SCENES, "steps": 2, "wanted": 1, "runs": runs[:1], **AROUND})
    assert "| all 12 answers readable; 1 written anew |" in text


@pytest.mark.slow
def test_photos_with_two_steps(tmp_path, rated, monkeypatch):
    """The ablation on photos for real, with a model that is built from nothing."""
    pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    out = tmp_path / "out"
    assert ablation.main([*rated, "--output_dir", str(out), "--quick", "--arms", REFERENCE, "start_0"]) == 0
    report = json.loads((out / "results.json").read_text())
    assert report["subject"] == ablation.FROM_NOTHING and [run["seed"] for run in report["runs"]] == [0, 0]
    assert all(sum(run["after"]["answers"].values()) == 4 and run["reward"]["steps"] == 2 for run in report["runs"])


@pytest.mark.slow
def test_everything_with_two_steps(tmp_path, monkeypatch):
    """The whole demo and two arms of the ablation for real, from the same parts."""
    pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    out = tmp_path / "out"
    assert command.main(["--output_dir", str(out), "--quick", "--threads", "1"]) == 0
    done = json.loads((out / "reason.json").read_text())
    assert done["models"]["reinforced"]["short"]["n"] == 12 and done["reward"]["steps"] == 2
    assert len(done["samples"]) == 6 and done["sampled"]["reward"]["low"] <= done["sampled"]["reward"]["high"]
    assert ablation.main(["--output_dir", str(out), "--quick", "--arms", REFERENCE, "start_0"]) == 0
    runs = json.loads((out / "results.json").read_text())["runs"]
    assert [run["arm"] for run in runs] == [REFERENCE, "start_0"] and runs[1]["before"] == {}
    assert all(run["after"]["answers"] and run["reward"]["steps"] == 2 for run in runs)
