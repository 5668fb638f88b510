"""A whole analysis: of a file like the released one, of runs against each other, of a checkpoint with its photos."""

import json
from pathlib import Path

import numpy as np
import pytest
from evaluations import make_metrics
from heads import build, picture

from roc.agree.analysis import _ratios, analyse
from roc.agree.analysis_options import AnalysisOptions
from roc.agree.analysis_page import check_folder, write_analysis
from roc.agree.attributes import ATTRIBUTES
from roc.agree.pull import Pull, Ratio
from roc.agree.table import PREFIX, write_table
from roc.checkpoint.folder import save
from roc.data.rows import DataError, write_rows
from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.folder import write_evaluation
from roc.settings import ConfigError

NUMBER, TRAINED = 40, 12


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def options(*runs, **changes):
    return AnalysisOptions(**{"runs": runs, "out": "seen", "n_resamples": 30, **changes})


def run(name, noise, seed, **extra):
    """The folder of an evaluation on 40 photos; hard are those numbered below 12."""
    generator = np.random.default_rng(seed)
    scores = np.random.default_rng(0).uniform(1, 4, NUMBER)
    errors = noise * (0.1 + (np.arange(NUMBER) < 12)) * generator.uniform(0.8, 1.2, NUMBER)
    rows = [
        EvaluatedRow(f"{place}.png", {"overall": float(score)}, {"overall": float(score + error)})
        for place, (score, error) in enumerate(zip(scores, errors, strict=True))
    ]
    write_evaluation(name, rows, make_metrics(rows, n_resamples=0, attributes=("overall",)) | extra)
    return name


def table(path="sens.parquet", photos=None):
    """Hard photos lean on hue, which few do; training photos on all attributes in turn, brightness twice as often."""
    rows = []
    for identity in photos or [*(f"{i}.png" for i in range(NUMBER)), *(f"t{i}.png" for i in range(TRAINED))]:
        place = int(identity.lstrip("t").partition(".")[0])
        leading = (
            (*ATTRIBUTES, "brightness")[place % 6] if identity[0] == "t" else "hue" if place < 12 else "brightness"
        )
        values = {PREFIX + name: 0.1 + 2.0 * (name == leading) + 0.01 * (place % 7) for name in ATTRIBUTES}
        rows.append({"id": identity, "fold": 1, **values, "f": "x", "digest": None})
    write_table(path, rows, {})
    return path


def test_a_file_like_the_released_one():
    rows = [(f"a_{i}.jpg", 2 + 0.1 * i, 2 + 0.1 * i + (0.5 if i % 2 else -0.5)) for i in range(30)]
    names = ("image_filename", "mean_response_scaled", "pred")
    write_rows("released.csv", [dict(zip(names, row, strict=True)) for row in rows])
    found = analyse(options("released.csv"))
    assert found.facts["photos"] == 30 and found.facts["runs"]["released"]["all"]["mae"]["value"] == pytest.approx(0.5)
    assert 0.7 < found.facts["runs"]["released"]["all"]["srcc"]["value"] < 1
    assert found.photos[3]["id"] == "a_3.jpg" and "leans_on" not in found.photos[0]
    write_rows("released.csv", [dict(zip(names, ("a.jpg", "much", 3), strict=True))])
    with pytest.raises(DataError, match="released.csv:2: expected a name and two numbers; found 'a.jpg', 'much'"):
        analyse(options("released.csv"))


def test_runs_with_agree_against_baselines():
    runs = [run("a", 1.0, 1), run("b", 1.0, 2)]
    better = [run("a2", 0.4, 3), run("b2", 0.4, 4)]
    judges = [run("c", 1.0, 5), run("d", 1.0, 6)]
    given = options(*runs, improved=better, hard_from=judges, share=0.3, table=table(), gradients=False)
    found = analyse(given)
    hard = [photo["id"] for photo in found.photos if photo["hard"]]
    assert hard == [f"{i}.png" for i in range(12)] and found.facts["hard"]["from"] == ["c", "d"]
    change = found.facts["comparisons"][0]
    assert (change["baseline"], change["improved"]) == ("a", "a2") and change["hard"]["mae"]["high"] < 0
    assert found.facts["runs"]["a"]["hard"]["n"] == 12 and found.facts["runs"]["a"]["others"]["n"] == 28
    m = found.facts["marginalisation"]["m"]
    assert m["cohen_d"]["low"] > 1 and m["pearson"]["low"] > 0.5 and m["n_hard"] == 12
    assert found.photos[0]["leans_on"] == "hue" and "m_gradient" not in found.photos[0]
    assert found.facts["leanings"]["counted_on"].startswith("all photos of the table")
    assert not any("very runs that are compared" in caveat for caveat in found.facts["caveats"])
    seen = analyse(options(*runs, improved=better, n_resamples=0))
    assert any("very runs that are compared" in caveat for caveat in seen.facts["caveats"])
    written = write_analysis("seen", found)
    assert {path.name for path in written} == {
        "analysis.json", "photos.csv", "report.html", "groups.png", "errors.png", "changes.png"
    }  # fmt: skip
    assert json.loads(Path("seen/analysis.json").read_text())["comparisons"][0]["baseline"] == "a"
    page = Path("seen/report.html").read_text()
    assert (
        page.count("data:image/png") == 6 and "http://" not in page and "https://" not in page and "Cohen's d" in page
    )
    check_folder("seen")
    with pytest.raises(ValueError, match="holds files and no analysis.json"):
        check_folder("a")


def test_a_checkpoint_and_the_photos_it_learnt_from():
    model, processor, _ = build("llava")
    save(model, processor, "a")
    Path("photos").mkdir()
    rows = [{"image": f"t{i}.png", "score": 1 + i % 9, "light": 5} for i in range(TRAINED)]
    for i, row in enumerate(rows):
        picture(i, (24, 18)).save(f"photos/{row['image']}")
    write_rows("ratings.csv", rows)
    settings = {"data_path": "ratings.csv", "image_folder": "photos", "val_fraction": 0.0, "eval_data_path": None}
    run("a", 1.0, 1)
    Path("a/run.json").write_text(json.dumps({"settings": settings}))
    save(model, processor, "a/training/checkpoint-5")
    seen = []
    given = options("a", table=table(), fewest=2, photos=2, published=True)
    found = analyse(given, lambda photos, total: seen.append(total) or photos)
    gradients = found.facts["gradients"]["a"]
    assert gradients["photos"] == dict.fromkeys(ATTRIBUTES, 2) and seen == [10, 10]
    reading = gradients["readings"]["shared"]
    assert len(reading["cosines"]) == 10 and reading["of"] == "model.language_model.layers.1"
    assert [point["step"] for point in gradients["over_training"]] == [5]
    (point,) = gradients["over_training"]
    assert {"value": point["conflict_ratio"], "low": point["low"], "high": point["high"]} == reading["conflict_ratio"]
    assert found.facts["leanings"]["frequency"]["brightness"] == pytest.approx(1 / 3)
    assert found.facts["marginalisation"]["m_gradient"]["n"] == NUMBER
    toward = gradients["with_all"]["hue"]["value"]
    assert found.photos[0]["m_gradient"] == pytest.approx(1 - max(0, toward))
    with pytest.raises(ValueError, match="fewer than two attributes have 5 training photos .*hue 2"):
        analyse(options("a", table="sens.parquet", fewest=5, published=True))
    table("tested.parquet", [f"{i}.png" for i in range(NUMBER)])
    with pytest.raises(ValueError, match="holds none of the training photos"):
        analyse(options("a", table="tested.parquet"))


def test_runs_that_do_not_fit_together():
    run("a", 1.0, 1)
    write_rows("other.csv", [{"id": f"{i}.png", "score": 2, "prediction": 3} for i in range(3)])
    with pytest.raises(ValueError, match="were evaluated on other photos \\(37 are in one alone, such as 10.png\\)"):
        analyse(options("a", "other.csv"))
    write_rows("other.csv", [{"id": f"{i}.png", "score": 2, "prediction": 3} for i in range(NUMBER)])
    with pytest.raises(ValueError, match="the human scores in other.csv are not those in a"):
        analyse(options("a", "other.csv"))
    with pytest.raises(ValueError, match="gone: no such file or folder"):
        analyse(options("gone"))
    Path("empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no metrics.json"):
        analyse(options("empty"))
    with pytest.raises(ValueError, match="a holds no checkpoint, so there is no gradient to take"):
        analyse(options("a", table=table()))
    with pytest.raises(ValueError, match="the table lacks 39 of 40 photos"):
        analyse(options("a", table=table("few.parquet", ["1.png"]), gradients=False))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"improved": ("a", "b")}, "2 improved runs for 1 baselines"),
        ({"improved": ("./a",)}, "is a baseline too"),
        ({"photos": 8}, "photos is 8, fewer than fewest 32"),
        ({"published": True}, "give --table too"),
    ],
)
def test_options_that_contradict_each_other(given, expected):
    with pytest.raises(ConfigError, match=expected):
        options("a", **given)


def test_conflicts_are_compared_at_the_same_place():
    # Drawn again, both ratios move together: their difference does not.
    drawn = np.linspace(-0.2, 0.2, 41)
    ends = ((Ratio(0.5, 0.5 + drawn), Ratio(0.2)), (Ratio(0.25, 0.25 + drawn), Ratio(0.3)), (None, Ratio(0.4)))
    kept, more, without = (Pull({}, np.zeros(5), mean, end) for mean, end in ends)
    found = _ratios(kept, more)["conflict_ratio"]
    assert found["of"] == "saved states" and found["relative"]["value"] == -0.5
    assert found["absolute"] == pytest.approx({"value": -0.25, "low": -0.25, "high": -0.25})
    assert (
        found["baseline"]["low"] == pytest.approx(0.31) and found["relative"]["low"] < -0.5 < found["relative"]["high"]
    )
    found = _ratios(kept, without)["conflict_ratio"]
    assert (found["of"], found["baseline"]["value"], found["improved"]["value"]) == ("end", 0.2, 0.4)
    assert found["absolute"]["low"] is None
    assert _ratios(kept, Pull({}, np.zeros(5), None, None)) == {}
