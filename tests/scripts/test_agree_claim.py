"""scripts/agree_claim: which rows there are, their switches, the scenes, the arithmetic of the table, resuming."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from heads import picture

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from agree_claim import __main__ as command  # noqa: E402
from agree_claim import runs as run_files  # noqa: E402
from agree_claim import scenes  # noqa: E402
from agree_claim.arms import ARMS, PAIRS, REFERENCE  # noqa: E402
from agree_claim.data import photos  # noqa: E402
from agree_claim.effects import Compared, Found  # noqa: E402
from agree_claim.parts import Encoder, Parts  # noqa: E402
from agree_claim.runs import Budget, Run, config_of  # noqa: E402
from agree_claim.table import shown, summarise  # noqa: E402
from claims import best_rate  # noqa: E402

from roc.agree.attributes import ATTRIBUTES  # noqa: E402
from roc.data.reading import read_records  # noqa: E402
from roc.evaluation.metrics import mae, srcc  # noqa: E402
from roc.score_space import ScoreSpace  # noqa: E402


def test_the_nine_rows_differ_in_their_switches_alone(tmp_path):
    assert list(ARMS) == ["none", "D", "DE", "DF", "DFE", "DW", "DWE", "DFW", "DFWE"]
    space = ScoreSpace(1, 10, 10)
    data = type("Data", (), {"space": space, "folder": tmp_path, "learn": tmp_path / "learn.csv"})()
    parts = Parts(data, Encoder("x", tmp_path, settings={"freeze": ("vision",)}), tmp_path / "scenes")
    found = {
        name: config_of(Run("scenes", name, 3, 1e-3), parts, Budget(7), data.learn, tmp_path / "out") for name in ARMS
    }
    on = {
        name: "".join(
            letter
            for letter, switch in zip("DFWE", ("decoupling", "fusion", "routing", "error_aware"), strict=True)
            if getattr(config, switch)
        )
        for name, config in found.items()
    }
    assert on == {name: "" if name == REFERENCE else name for name in ARMS}
    own = {"decoupling", "fusion", "routing", "error_aware", "sensitivity", "anchors"}
    plain = {key: value for key, value in vars(found[REFERENCE]).items() if key not in own}
    assert all({key: value for key, value in vars(one).items() if key not in own} == plain for one in found.values())
    assert plain["seed"] == 3 and plain["num_train_epochs"] == 7 and plain["freeze"] == ("vision",)
    assert PAIRS["D"] == (("D", "none"),) and set(PAIRS["W"]) == {
        ("DW", "D"), ("DWE", "DE"), ("DFW", "DF"), ("DFWE", "DFE")
    }  # fmt: skip


def test_scenes_lean_on_the_attribute_of_their_place(tmp_path):
    still = dict.fromkeys(ATTRIBUTES, 0.0)
    for name in ATTRIBUTES:
        more = scenes.score_of(name, still | {name: 1.0}) - scenes.score_of(name, still)
        others = [scenes.score_of(name, still | {one: 1.0}) - 5.5 for one in ATTRIBUTES if one != name]
        assert more > 2 and all(-0.5 < other < 0 for other in others)
    scenes.draw(tmp_path / "a", {"train": 6, "val": 2, "test": 3}, 32)
    scenes.draw(tmp_path / "b", {"train": 2, "val": 0, "test": 3}, 32)
    learn = read_records(tmp_path / "a" / scenes.LEARN_FILE, space=ScoreSpace(1, 10, 10))
    assert [record.split for record in learn] == ["train"] * 6 + ["val"] * 2
    leading = scenes.leading_of(tmp_path / "a")
    assert len(leading) == 11 and set(leading.values()) <= set(ATTRIBUTES)
    one, other = ((tmp_path / name / "images" / "test_2.png").read_bytes() for name in "ab")
    assert one == other  # test scenes do not depend on the number of training scenes


def test_photos_are_divided_and_squeezed(tmp_path):
    for number in range(90):
        picture(number % 4).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{number / 90:.3f}" for number in range(90)]
    (tmp_path / "r.csv").write_text("\n".join(["image,score", *rows]) + "\n")
    wanted = {"train": 20, "val": 3, "test": 12}
    space = ScoreSpace(0, 1, 10)
    found = photos(tmp_path / "out", tmp_path / "r.csv", None, space, wanted, 16)
    learn, tested = read_records(found.learn, space=space), found.tested()
    assert len(learn) == 23 and len(tested) == 12 and found.leading() is None
    assert not {record.id for record in learn} & {record.id for record in tested}
    with pytest.raises(ValueError, match="0 usable val rows, at least 3 are needed"):
        photos(tmp_path / "other", tmp_path / "r.csv", None, space, {**wanted, "val": 0}, 16)


def test_differences_are_paired_and_their_intervals_draw_photos_and_seeds():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 10, 60)
    noise = rng.normal(size=(3, 60))
    plain = {seed: truth + noise[seed] for seed in range(2)}
    better = {seed: truth + 0.5 * noise[seed] for seed in range(3)}  # the third seed has no partner
    compared = Compared({"none": plain, "D": better}, truth, n_resamples=200)
    found = compared.difference([("D", "none")], "mae")
    expected = [mae(better[seed], truth) - mae(plain[seed], truth) for seed in range(2)]
    assert found.value == pytest.approx(np.mean(expected)) and found.low < found.value < found.high < 0 and found.clear
    assert compared.mean("D", "srcc").value == pytest.approx(np.mean([srcc(one, truth) for one in better.values()]))
    same = compared.difference([("D", "D")], "srcc")
    assert (same.value, same.low, same.high) == (0, 0, 0) and not same.clear
    both = compared.difference([("D", "none"), ("none", "none")], "mae")
    assert both.value == pytest.approx(found.value / 2)
    some = Compared({"none": plain, "D": better}, truth, [0, 1, 2, 3], n_resamples=50)
    assert some.n == 4 and some.mean("none", "mae").value == pytest.approx(
        np.mean([np.abs(noise[seed][:4]).mean() for seed in range(2)])
    )
    assert Compared({"none": plain}, truth, [0, 1]).mean("none", "srcc") == Found(None)
    assert shown((0.5, 0.4, 0.6), signed=True) == "**+0.500 [+0.400, +0.600]**" and shown((None, None, None)) == "-"


def test_common_errors_come_from_other_seeds_than_those_compared():
    truth = np.linspace(1, 10, 16)
    far = truth.copy()
    far[:4] += 3  # the four that every plain run of another seed gets wrong
    result = {"arm": "none", "rate": 1e-3, "cpu_seconds": 1.0, "by_predictor": None}
    compared = [
        {**result, "seed": 0, "predictions": truth + 1.0},
        {**result, "seed": 0, "arm": "DW", "predictions": np.where(np.arange(16) < 4, truth, truth + 1.0),
         "by_predictor": truth + 1.0},
    ]  # fmt: skip
    hard = [{**result, "seed": seed, "predictions": far} for seed in (200, 201)]
    found = summarise(compared, hard, truth, ["hue"] * 4 + ["blur"] * 12, n_resamples=20)
    assert found["hard"] == {"n": 4, "seeds": [200, 201]}
    assert (
        found["rows"]["DW"]["hard_minus"]["mae"].value == -1 and found["rows"]["DW"]["all_minus"]["mae"].value == -0.25
    )
    assert found["leading"]["hue"]["hard"] == 4 and found["leading"]["hue"]["minus"]["DW"].value == -1
    assert found["leading"]["blur"]["minus"]["DW"].value == 0 and found["switches"] == {}
    assert found["predictor"]["DW"]["mae"].value == 0.25
    assert summarise(compared, [], truth, [""] * 16, n_resamples=0)["hard"]["n"] == 0


def test_the_rate_is_chosen_by_validation():
    tried = [{"rate": 2e-3, "srcc": 0.5}, {"rate": 1e-3, "srcc": 0.5}, {"rate": 3e-3, "srcc": None}]
    assert best_rate(tried, (1.0,), "srcc") == 1e-3 and best_rate([], (7.0, 8.0), "srcc") == 7.0


@pytest.fixture
def executed(monkeypatch):
    """Collects the runs that the command executes, with made-up predictions; `fails` maps a count to an exception."""

    class Executed(list):
        fails = {}

    done = Executed()

    def fake(run, shared):
        if len(done) in done.fails:
            raise done.fails.pop(len(done))
        done.append(run)
        rng = np.random.default_rng(run.seed)
        predictions = rng.uniform(1, 10, command.QUICK_COUNTS["test"]).tolist()
        result = {**vars(run), "predictions": predictions, "by_predictor": None, "srcc": run.rate, "cpu_seconds": 6.0}
        file = shared.out / "results" / f"{run.name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(result))
        return result

    monkeypatch.setattr(run_files, "execute", fake)
    monkeypatch.setattr(command, "_prepare_routing", lambda *given: None)
    monkeypatch.setattr("agree_claim.parts.write_anchors", lambda *given, **more: None)
    return done


def test_a_stopped_comparison_goes_on(tmp_path, executed, capsys):
    words = ["--output_dir", str(tmp_path / "out"), "--quick", "--jobs", "1", "--arms", "DW", "none", "--seeds", "2"]
    rates = ["--rates", "1e-3", "2e-3"]
    assert command.main([*words, *rates, "--table"]) == 2 and "no finished run yet" in capsys.readouterr().err
    executed.fails = {6: KeyboardInterrupt()}
    assert command.main([*words, *rates]) == 130
    tried = [(run.arm, run.rate, run.part) for run in executed[:4]]
    assert tried == [(arm, rate, "val") for arm in ("none", "DW") for rate in (1e-3, 2e-3)]
    assert [(run.arm, run.seed) for run in executed[4:]] == [("none", 200), ("none", 0)]
    assert command.main([*words, *rates]) == 0
    assert len(executed) == len({run.name for run in executed}) == 4 + 1 + 4
    assert {run.rate for run in executed[4:]} == {2e-3} and all(run.part == "test" for run in executed[4:])
    printed = capsys.readouterr().out
    assert "4 of 4 runs" in printed and "| DW | 2 | 0.002 |" in printed and "| DFWE | 0.732 |" in printed
    assert command.main([*words, *rates]) == 0 and len(executed) == 9
    assert command.main([*words, "--rates", "5e-3"]) == 2
    assert "holds runs with other settings (rates)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--min_score", "1"], "--min_score: these belong to --photos"),
        (["--photos", "r.csv"], "the scale of r.csv is not guessed"),
        (["--photos", "r.csv", "--min_score", "5", "--max_score", "1"], "must be below max_score"),
        (["--photos", "no.csv", "--min_score", "1", "--max_score", "5"], "no.csv"),
        (["--arms", "E"], "expected any of none, D"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, executed, capsys, words, said):
    assert command.main([*words, "--quick", "--output_dir", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err and not executed


@pytest.mark.slow
def test_everything_quickly(tmp_path, capsys):
    """Scenes and photos for real, two rows; then again, when nothing is left to do."""
    for number in range(90):
        picture(number % 8).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{1 + number % 8 / 2}" for number in range(90)]
    (tmp_path / "r.csv").write_text("\n".join(["image,score", *rows]) + "\n")
    words = ["--quick", "--jobs", "1", "--arms", "none", "DFWE", "--output_dir", str(tmp_path / "out")]
    words += ["--photos", str(tmp_path / "r.csv"), "--min_score", "1", "--max_score", "5"]
    assert command.main(words) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())["data"]
    assert set(found) == {"scenes", "photos"} and all(set(one["rows"]) == {"none", "DFWE"} for one in found.values())
    assert found["scenes"]["agreement"].startswith("The largest calibrated weight is that of the known")
    results = sorted(path.name for path in (tmp_path / "out" / "results").iterdir())
    assert len(results) == 6 and not list((tmp_path / "out" / "training").iterdir())
    capsys.readouterr()
    assert command.main(words) == 0
    assert "runs to do" not in capsys.readouterr().out
