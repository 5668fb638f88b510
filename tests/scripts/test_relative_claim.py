"""scripts/relative_claim: arms of one budget, edits that are held out, the arithmetic of the table, resuming."""

import json
import sys
from pathlib import Path

import pytest
from heads import picture

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from agree_claim.parts import Encoder  # noqa: E402
from claims import best_rate, remove_unread  # noqa: E402
from relative_claim import __main__ as command  # noqa: E402
from relative_claim import data as data_files  # noqa: E402
from relative_claim import runs as run_files  # noqa: E402
from relative_claim.arms import ARMS, REFERENCE  # noqa: E402
from relative_claim.data import TESTS, Counts, Data  # noqa: E402
from relative_claim.effects import PairsRight  # noqa: E402
from relative_claim.runs import Budget, Run, Shared, config_of, right  # noqa: E402
from relative_claim.table import summarise  # noqa: E402

from roc.score_space import ScoreSpace  # noqa: E402
from roc.training.config import RunConfig  # noqa: E402
from roc.training.run import claim, mark_finished  # noqa: E402

COUNTS = Counts(labels=16, val=4, test=12, test_edited=4, anchors=10)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return data_files.scenes(folder, COUNTS, 32, "blur")


def test_nothing_of_the_test_is_learnt(scenes):
    taught, held = scenes.pairs("pairs"), {name: scenes.pairs(name) for name in TESTS}
    assert len(taught) == COUNTS.labels == len(scenes.rated("ratings")) and len(scenes.rated("anchors")) == 10
    assert len(scenes.pairs("val_pairs")) == COUNTS.val == len(scenes.rated("val_ratings"))
    assert "blur" not in {pair.category for name in ("alike", "weaker", "stronger") for pair in [*taught, *held[name]]}
    assert {pair.category for pair in held["other"]} == {"blur"} and len(held["other"]) == 8
    groups = {name: {pair.group for pair in pairs} for name, pairs in {"taught": taught, **held}.items()}
    assert not groups["taught"] & set().union(*(groups[name] for name in TESTS))
    strengths = {}
    for name in ("weaker", "alike", "stronger"):
        lines = (scenes.folder / "edits" / name / "pairs.jsonl").read_text().splitlines()
        strengths[name] = [
            abs(edit["strength"])
            for edit in (json.loads(line)["edit"] for line in lines)
            if edit["category"]
            in ("noise", "sharpening", "compression", "clutter")  # a repair is as strong as its damage
        ]
    assert max(strengths["weaker"]) <= 0.4 <= min(strengths["alike"]) <= max(strengths["alike"]) <= 0.8
    assert min(strengths["stronger"]) >= 0.8
    rated = {record.images[0] for record in scenes.rated("test_ratings")}
    assert len(rated) == 12 and not rated & {record.images[0] for record in scenes.rated("ratings")}


def test_all_arms_have_one_budget(tmp_path):
    data = Data("scenes", "x", tmp_path, ScoreSpace(1, 10, 10))
    encoder = Encoder("x", tmp_path, settings={"freeze": ("vision",)})
    shared = Shared({"scenes": data}, {"scenes": encoder}, {"scenes": Budget(7)}, tmp_path)
    found = {name: config_of(Run("scenes", name, 3, 1e-3), shared, tmp_path / "out") for name in ARMS}
    for name, arm in ARMS.items():
        config = found[name]
        assert config.per_device_train_batch_size * (2 if arm.pairs else 1) == 32 and config.max_steps == 7
        assert (config.pairs_path is not None) == arm.pairs and (config.data_path is not None) == (
            arm.rated is not None
        )
    own = {"per_device_train_batch_size", "data_path", "pairs_path", "delta_width"}
    plain = {key: value for key, value in vars(found[REFERENCE]).items() if key not in own}
    assert all({key: value for key, value in vars(one).items() if key not in own} == plain for one in found.values())


def test_shares_are_paired_and_their_intervals_draw_photos_and_seeds():
    photos = [name for name in "abcdefghij" for _ in range(3)]
    worse = [1.0, 0.0, 0.5] * 10
    better = {seed: [1.0, 1.0, 0.5] * 10 for seed in range(3)}  # the third seed has no partner
    found = PairsRight({"edits": better, "ratings": {0: worse, 1: worse}}, photos, n_resamples=50)
    assert found.mean("ratings") == pytest.approx((0.5, 0.5, 0.5))  # every photo has the same share
    assert found.difference("edits", "ratings") == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    varied = {0: [1.0] * 15 + [0.0] * 15}
    mean = PairsRight({"edits": varied}, photos, n_resamples=200).mean("edits")
    assert mean.value == 0.5 and 0.1 < mean.low < 0.4 < 0.6 < mean.high < 0.9
    assert PairsRight({"edits": varied}, photos, n_resamples=0).mean("edits") == (0.5, None, None)


def results_of(scenes, arm, seed, shift=0.0):
    """A run whose scores are the ratings of the photos, squeezed, and that gets every second pair right."""
    space = scenes.space
    edits = {
        name: [(0.5, 0.6 if (pair.wins > 0.5) == (place % 2 == 0) else 0.4)
               for place, pair in enumerate(scenes.pairs(name))]
        for name in TESTS
    }  # fmt: skip
    rated = {
        part: [shift + space.to_unit(record.scores["overall"]) / 2 for record in scenes.rated(file)]
        for part, file in {"test": "test_ratings", "anchors": "anchors"}.items()
    }
    return {"arm": arm, "seed": seed, "rate": 1e-3, "cpu_seconds": 2.0, "edits": edits, "rated": {"scenes": rated}}


def test_a_line_mends_the_scale_and_not_the_order(scenes):
    results = [results_of(scenes, "ratings", 0), results_of(scenes, "edits", 0, shift=0.25)]
    results[0]["rated"]["scenes"]["anchors"] = [-one for one in results[0]["rated"]["scenes"]["anchors"]]
    found = summarise(results, scenes, {"scenes": scenes}, n_resamples=20)
    one = found["rated"]["scenes"]
    assert one["lines"] == {"ratings": 0, "edits": 1} and one["n"] == 12 and one["anchors"] == 10
    assert found["arms"]["ratings"]["labels"] == "16 ratings" and found["arms"]["edits"]["labels"] == "16 edits"
    assert one["before"]["edits"]["srcc"].value == pytest.approx(1) == one["after"]["edits"]["plcc"].value
    assert one["after"]["edits"]["mae"].value < 1e-4 < one["before"]["edits"]["mae"].value
    assert one["after"]["ratings"]["mae"] == one["before"]["ratings"]["mae"]  # no line fits: as they are
    assert found["edits"]["alike"]["right"]["edits"].value == 0.5
    assert found["edits"]["other"]["minus"] == {"edits minus ratings": (0, 0, 0)}
    pairs = scenes.pairs("alike")[:2]
    assert right(pairs, [(0.1, 0.1), (0.2, 0.1 if pairs[1].wins == 0 else 0.3)]) == [0.5, 1]


def test_the_rate_is_chosen_by_validation():
    tried = [{"rate": 2e-3, "chosen_by": 0.5}, {"rate": 1e-3, "chosen_by": 0.5}, {"rate": 3e-3, "chosen_by": None}]
    assert best_rate(tried, (1.0,), "chosen_by") == 1e-3 and best_rate([], (7.0, 8.0), "chosen_by") == 7.0


def test_a_run_that_ended_before_its_result_was_written_is_run_again(tmp_path):
    """A finished job only returns its table; the result would lack all scores."""
    (tmp_path / "r.csv").write_text("image,score\n")
    config = RunConfig(model_name_or_path="x", data_path=str(tmp_path / "r.csv"), output_dir=str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    claim(config)
    remove_unread(config)
    assert (tmp_path / "run" / "run.json").is_file()  # not finished: it goes on
    mark_finished(config)
    remove_unread(config)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def executed(monkeypatch, scenes):
    """Collects the runs that the command executes, with made-up scores; `fails` maps a count to an exception."""

    class Executed(list):
        fails = {}

    done = Executed()

    def fake(run, shared):
        if len(done) in done.fails:
            raise done.fails.pop(len(done))
        done.append(run)
        result = {**vars(run), "chosen_by": run.rate, "cpu_seconds": 6.0}
        if run.part == "test":
            result |= results_of(scenes, run.arm, run.seed)
        file = shared.out / "results" / f"{run.name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({**result, "rate": run.rate}))
        return {**result, "rate": run.rate}

    monkeypatch.setattr(run_files, "execute", fake)
    monkeypatch.setattr(data_files, "scenes", lambda *given: scenes)
    return done


def test_a_stopped_comparison_goes_on(tmp_path, executed, capsys):
    words = ["--output_dir", str(tmp_path / "out"), "--quick", "--jobs", "1", "--arms", "edits", "ratings"]
    words += ["--seeds", "2"]
    rates = ["--rates", "1e-3", "2e-3"]
    assert command.main([*words, *rates, "--table"]) == 2 and "no finished run yet" in capsys.readouterr().err
    executed.fails = {5: KeyboardInterrupt()}
    assert command.main([*words, *rates]) == 130
    tried = [(run.arm, run.rate, run.part) for run in executed[:4]]
    assert tried == [(arm, rate, "val") for arm in ("ratings", "edits") for rate in (1e-3, 2e-3)]
    assert command.main([*words, *rates]) == 0
    assert [(run.arm, run.seed, run.rate) for run in executed[4:]] == [
        (arm, seed, 2e-3) for seed in range(2) for arm in ("ratings", "edits")
    ]
    printed = capsys.readouterr().out
    assert "4 of 4 runs" in printed and "| edits | 16 edits | 2 | 0.002 | 2 |" in printed
    assert "| edits minus ratings | +0.000 [+0.000, +0.000] |" in printed
    assert command.main([*words, *rates]) == 0 and len(executed) == 8
    assert command.main([*words, "--rates", "5e-3"]) == 2
    assert "holds runs with other settings (rates)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--min_score", "1"], "--min_score: these belong to --photos"),
        (["--photos", "r.csv"], "the scale of r.csv is not guessed"),
        (["--photos", "r.csv", "--min_score", "5", "--max_score", "1"], "must be below max_score"),
        (["--held_out", "smoke"], "expected one of exposure"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, executed, capsys, words, said):
    assert command.main([*words, "--quick", "--output_dir", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err and not executed


@pytest.mark.slow
def test_everything_quickly(tmp_path, capsys):
    """Scenes and photos for real; then again, when nothing is left to do."""
    for number in range(90):
        picture(number, size=(48, 40)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{1 + number % 8 / 2}" for number in range(90)]
    (tmp_path / "r.csv").write_text("\n".join(["image,score", *rows]) + "\n")
    words = ["--quick", "--jobs", "1", "--output_dir", str(tmp_path / "out")]
    words += ["--photos", str(tmp_path / "r.csv"), "--min_score", "1", "--max_score", "5"]
    words += ["--photos_model", str(_encoder(tmp_path / "encoder"))]
    assert command.main([*words, "--rates", "1e-3", "2e-3"]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())["data"]
    assert set(found) == {"scenes", "photos"} and all(set(one["arms"]) == set(ARMS) for one in found.values())
    assert set(found["photos"]["rated"]) == {"scenes", "photos"} and found["photos"]["rated"]["photos"]["n"] == 19
    assert len(list((tmp_path / "out" / "results").iterdir())) == 2 * 4 * 3
    assert not list((tmp_path / "out" / "training").iterdir())
    capsys.readouterr()
    assert command.main([*words, "--rates", "1e-3", "2e-3"]) == 0
    assert "runs to do" not in capsys.readouterr().out


def _encoder(folder):
    from agree_claim.parts import untrained

    return untrained(folder, 32).source(0)
