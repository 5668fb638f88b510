"""Scores of several data sets: the same score on the scale of one of them."""

import csv
import dataclasses
import json
import shutil

import pytest

import roc
from roc.checkpoint.declared import write_declaration
from roc.checkpoint.head_file import read_declaration
from roc.commands.rank import main as rank
from roc.commands.score import main
from roc.model.calibration import Calibration, Intervals
from roc.model.reference import Reference
from roc.model.scales import DataScale
from roc.scoring.assessment import Assessment
from roc.scoring.results import Assessed, Score
from roc.scoring.scales import on_scale

KONIQ = DataScale("KonIQ", (0, 100), {"overall": (0.0, 20.0, 100.0)})

SHARED = Score(
    value=2.5, std=0.5, distribution=(0, 0.5, 0.5, 0, 0), levels=(1, 2, 3, 4, 5), range=(1, 5), calibrated=True
)


def test_a_score_on_a_linked_scale():
    """The link goes from 0 over 20 at the middle to 100; the shared levels 2 and 3 come to lie on 10 and 20."""
    scale = DataScale("KonIQ", (0, 100), {"overall": (0.0, 20.0, 100.0)})
    found = on_scale(Assessed({"overall": SHARED, "light": None}, path="a.jpg"), scale)
    score = found.scores["overall"]
    assert score.value == pytest.approx(15.0) and score.range == (0.0, 100.0)
    assert score.levels == (0.0, 25.0, 50.0, 75.0, 100.0)
    # 10 is two fifths of the way from 0 to 25, 20 four fifths.
    assert score.distribution == pytest.approx((0.5 * 0.6 + 0.5 * 0.2, 0.5 * 0.4 + 0.5 * 0.8, 0, 0, 0))
    assert score.std == pytest.approx((0.4 * 0.6) ** 0.5 * 25)
    assert found.scores["light"] is None and found.path == "a.jpg"


def test_without_a_link_range_goes_onto_range():
    score = on_scale(Assessed({"overall": SHARED}), DataScale("PARA", (0, 8))).scores["overall"]
    assert score.value == pytest.approx(3.0) and score.std == pytest.approx(1.0)
    assert score.distribution == pytest.approx(SHARED.distribution)


@pytest.fixture(scope="module")
def mixed(checkpoint, tmp_path_factory):
    """The checkpoint as if it had been trained on two data sets, calibrated and given a reference."""
    folder = str(tmp_path_factory.mktemp("mixed") / "mixed")
    shutil.copytree(checkpoint, folder)
    declared = read_declaration(folder)
    intervals = Intervals(0.9, {"overall": 1.0}, rows={"overall": 300}, scores={"overall": (9.9, 10.0)}, stds={})
    write_declaration(
        folder,
        dataclasses.replace(
            declared,
            scales=[DataScale("AVA", (1, 10)), KONIQ],
            calibration=Calibration("0" * 64, 30, intervals=intervals),
            reference=Reference("mine", "0" * 16, 20, {"overall": (1.0, 10.0)}),
        ),
    )
    return folder


def test_a_file_of_scores_on_the_scale_of_a_data_set(mixed, photos, tmp_path, capsys):
    """Rows, facts, gallery and choice are on it; a run on another scale is another run."""
    out, paths = tmp_path / "scores.csv", [source.path for source in photos[:12]]
    words = [*paths, "--checkpoint", mixed, "--out", str(out), "--workers", "0"]
    chosen = ["--top", "1", "--gallery", str(tmp_path / "page.html")]
    assert main([*words, *chosen, "--scale", "KonIQ", "--distribution"]) == 0
    printed = capsys.readouterr()
    assert "0..100" in printed.out and "unlike" not in printed.err
    rows = list(csv.DictReader(out.open()))
    shared = Assessment(mixed).score(paths)
    for row, one in zip(rows, shared, strict=True):
        score = one.scores["overall"]
        assert float(row["prediction"]) == pytest.approx(KONIQ.move((score.value - 1) / 9, "overall"), abs=1e-3)
        assert (row["min_score"], row["max_score"], row["scale"]) == ("0.0", "100.0", "KonIQ")
        assert float(row["percentile"]) == pytest.approx(score.percentile, abs=1e-3)
        assert sum(float(row[f"p_{n}"]) for n in range(1, 11)) == pytest.approx(1)
    assert not {"low", "high", "coverage", "min_score.light"} & set(rows[0])
    assert json.loads((tmp_path / "scores.run.json").read_text())["max_score"] == 100.0
    assert "0 to 100" in (tmp_path / "page.html").read_text()
    assert main(words) == 2 and "scale" in capsys.readouterr().err


def test_a_scale_that_is_not_there(mixed, checkpoint, photos, capsys):
    words = [photos[0].path, "--workers", "0", "--scale"]
    assert main([*words, "PARA", "--checkpoint", mixed]) == 2
    assert "has no scale 'PARA'; it has AVA, KonIQ" in capsys.readouterr().err
    assert main([*words, "PARA", "--checkpoint", checkpoint]) == 2
    assert "it was not trained with --mix" in capsys.readouterr().err
    assert main([*words, "KonIQ", "--checkpoint", mixed]) == 0
    assert "overall, light on 0..100, the scale of KonIQ" in capsys.readouterr().err
    assert main([*words, "AVA", "--describe", "--checkpoint", mixed]) == 2
    assert "leave --describe or --scale out" in capsys.readouterr().err


def test_a_ranking_on_the_scale_of_a_data_set(mixed, photos, tmp_path, capsys):
    words = [*(source.path for source in photos[:3]), "--checkpoint", mixed, "--out"]
    assert rank([*words, str(tmp_path / "shared.json")]) == rank([*words, str(tmp_path / "r.json"), "--scale", "KonIQ"])
    shared, moved = (json.loads((tmp_path / name).read_text()) for name in ("shared.json", "r.json"))
    assert "overall on 0..100" in capsys.readouterr().out and moved["range"] == [0.0, 100.0]
    assert moved["win_probability"] == shared["win_probability"]
    value = KONIQ.move((shared["photos"][0]["prediction"] - 1) / 9, "overall")
    assert moved["photos"][0]["prediction"] == pytest.approx(value, abs=1e-3) and "low" not in moved["photos"][0]
    assert rank([*words, str(tmp_path / "r.json"), "--scale", "KonIQ", "--describe"]) == 2


def test_a_frame_on_the_scale_of_a_data_set(mixed, photos):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"image": [photos[0].path, "gone.png"]})
    assessment = Assessment(mixed)
    found = roc.score_frame(frame, "image", assessment, scale="KonIQ")
    expected = assessment.score(photos[0].path, scale="KonIQ")[0].scores["overall"]
    assert found["prediction"][0] == pytest.approx(expected.value, abs=1e-4)
    assert found["percentile"][0] == pytest.approx(expected.percentile, abs=1e-3)
    assert list(found["max_score"]) == [100.0] * 2 and list(found["scale"]) == ["KonIQ"] * 2 and "low" not in found
