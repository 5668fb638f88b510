"""`roc calibrate` and `roc reference` as a user types them, and what everything that scores offers from then on."""

import csv
import dataclasses
import json
import shutil

import pytest
from heads import build, picture

from roc.calibration.affine import Line, with_lines
from roc.checkpoint.declared import write_declaration
from roc.checkpoint.folder import save
from roc.checkpoint.head_file import read_declaration
from roc.commands.calibrate import main as calibrate
from roc.commands.evaluate import main as evaluate
from roc.commands.rank import main as rank
from roc.commands.reference import main as reference
from roc.commands.score import main as score
from roc.model.calibration import Calibration
from roc.scoring.assessment import Assessment

COUNT = 24


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate") / "mine"
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return folder


@pytest.fixture(scope="module")
def photos(trained):
    """A folder of photos, and ratings of `overall` that lie at 0.1, 0.2 ... beside the scores of the model."""
    folder = trained.parent / "photos"
    folder.mkdir()
    names = [f"{n}.png" for n in range(COUNT)]
    for n, name in enumerate(names):
        picture(n, (40, 30)).save(folder / name)
    found = Assessment(trained, device="cpu").score([folder / name for name in names])
    values = [one.scores["overall"].value for one in found]
    lines = ["image,score,split"]
    lines += [
        f"{name},{value + 0.1 * (n // 2 + 1)},{('val', 'test')[n % 2]}"
        for n, (name, value) in enumerate(zip(names, values, strict=True))
    ]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def checkpoint(trained, tmp_path):
    return str(shutil.copytree(trained, tmp_path / "mine"))


def calibrated(checkpoint, photos, *words):
    data = words if "--data_path" in words else ("--data_path", str(photos / "ratings.csv"), *words)
    return calibrate(["--checkpoint", checkpoint, *data, "--device", "cpu", "--workers", "0"])


def test_intervals_from_ratings_to_every_output(checkpoint, photos, tmp_path, capsys):
    weights = (tmp_path / "mine/model.safetensors").read_bytes()
    assert calibrated(checkpoint, photos) == 0
    printed = capsys.readouterr()
    # 12 rows are marked val, at distances 0.1 to 1.2; ceil(13 * 0.9) = 12
    assert "overall: score ± 1.2 holds 0.9 of ratings; with 12 ratings" in printed.out
    assert (
        "not rated, and left as they are: light" in printed.out and "calibrating on the rows marked val" in printed.err
    )
    declared = read_declaration(checkpoint)
    assert declared.calibration.intervals.half_widths == {"overall": pytest.approx(1.2)}
    assert declared.calibration.data in printed.out and declared.calibration.rows == 12
    assert (tmp_path / "mine/model.safetensors").read_bytes() == weights
    assert "Intervals that hold 0.9 of ratings" in (tmp_path / "mine/README.md").read_text()

    out = tmp_path / "scores.csv"
    assert score([str(photos), "--checkpoint", checkpoint, "--out", str(out), "--device", "cpu", "--workers", "0"]) == 0
    row = next(csv.DictReader(out.open()))
    low, high, value = (float(row[name]) for name in ("low", "high", "prediction"))
    assert (low, high) == (pytest.approx(max(1, value - 1.2), abs=1e-4), pytest.approx(min(10, value + 1.2), abs=1e-4))
    assert row["coverage"] == "0.9" and row["scorer"].startswith("mine@") and "low.light" not in row

    capsys.readouterr()
    assert score([str(photos / "0.png"), "--checkpoint", checkpoint, "--device", "cpu", "--workers", "0"]) == 0
    assert f"overall {value:.4f} [{low:.4f}, {high:.4f}] light " in capsys.readouterr().out
    words = [str(photos / "0.png"), str(photos / "1.png"), "--checkpoint", checkpoint, "--device", "cpu"]
    assert rank([*words, "--out", str(tmp_path / "r.json")]) == 0
    printed = capsys.readouterr().out
    assert f"{low:.3f} to {high:.3f}" in printed and f"scored by {row['scorer']}" in printed
    assert json.loads((tmp_path / "r.json").read_text())["scorer"] == row["scorer"]

    words = ["--checkpoint", checkpoint, "--data_path", str(photos / "ratings.csv"), "--device", "cpu", "--no_report"]
    assert evaluate([*words, "--workers", "0", "--out", str(tmp_path / "ev")]) == 0
    metrics = json.loads((tmp_path / "ev/metrics.json").read_text())
    assert (metrics["interval_level"], metrics["interval_coverage"], metrics["interval_n"]) == (0.9, 1, 12)
    assert metrics["scorer"] == row["scorer"] and "intervals at 0.9 hold 1.000" in capsys.readouterr().out
    predictions = str(tmp_path / "ev/predictions.csv")
    assert {one["scorer"] for one in csv.DictReader(open(predictions))} == {row["scorer"]}
    assert evaluate(["--predictions", predictions, "--no_report", "--out", str(tmp_path / "again")]) == 0
    assert json.loads((tmp_path / "again/metrics.json").read_text())["scorer"] == row["scorer"]
    assert evaluate([*words, "--workers", "0", "--out", str(tmp_path / "same"), "--split", "val"]) == 0
    metrics = json.loads((tmp_path / "same/metrics.json").read_text())
    assert metrics["interval_overlap"] == 12 and "interval_coverage" not in metrics


@pytest.mark.slow
def test_scores_on_the_scale_of_other_raters(checkpoint, photos, tmp_path, capsys):
    """Stars are 1 + (score - 1) / 2 here, so the line is known; intervals rest on the other half."""
    rows = list(csv.DictReader((photos / "ratings.csv").open()))
    found = Assessment(checkpoint, device="cpu").score([photos / row["image"] for row in rows])
    before = [one.scores["overall"].value for one in found]
    lines = [f"{photos / row['image']},{0.5 + value / 2}" for row, value in zip(rows, before, strict=True)]
    stars = tmp_path / "stars.csv"
    stars.write_text("\n".join(["image,score", *lines]) + "\n")
    scale = ["--min_score", "1", "--max_score", "5.5", "--affine", "--unit", "stars"]
    assert calibrated(checkpoint, photos, "--data_path", str(stars), *scale) == 0
    assert "overall: 0.5 + 0.5 * score before, so that scores lie on 1..5.5 stars" in capsys.readouterr().out
    (one,) = Assessment(checkpoint, device="cpu").score(photos / rows[0]["image"])
    one = one.scores["overall"]
    assert one.value == pytest.approx(0.5 + before[0] / 2, abs=1e-4) and one.unit == "stars"
    assert one.high - one.low == pytest.approx(0, abs=1e-3)

    # A later call must say what the line is to it.
    assert calibrated(checkpoint, photos, "--data_path", str(stars)) == 2
    said = capsys.readouterr().err
    assert "moved by a line, fitted to the ratings" in said and "--earlier keep" in said
    line = read_declaration(checkpoint).calibration
    assert calibrated(checkpoint, photos, "--data_path", str(stars), "--earlier", "keep", "--level", "0.8") == 0
    kept = read_declaration(checkpoint).calibration
    assert kept.affine == line.affine and kept.earlier == line.data and kept.intervals.rows == {"overall": COUNT}
    assert calibrated(checkpoint, photos, "--earlier", "drop") == 0
    assert read_declaration(checkpoint).space.range == (1, 10)


@pytest.mark.slow
def test_a_temperature_and_widths_by_thirds(checkpoint, photos, capsys):
    words = ["--split", "all", "--temperature", "--by_third", "--level", "0.5"]
    assert calibrated(checkpoint, photos, *words) == 0
    printed = capsys.readouterr().out
    declared = read_declaration(checkpoint)
    assert f"temperature {declared.temperature:.4g}: negative log-likelihood" in printed and declared.temperature != 1
    assert declared.calibration.intervals.rows == {"overall": 12}
    widths = declared.calibration.intervals.thirds["overall"][1]
    assert f"score ± {widths[0]:.4g} for scores up to " in printed
    assert f"± {widths[2]:.4g} above that holds 0.5 of ratings in each third; with 12 ratings" in printed
    assert calibrated(checkpoint, photos, "--by_third", "--earlier", "drop") == 0
    assert "overall: one width for all scores, because a third of the scores has 4 ratings" in capsys.readouterr().out


def test_percentiles_and_rewards_from_photos_of_ones_own(checkpoint, photos, tmp_path, capsys):
    (photos.parent / "broken").mkdir(exist_ok=True)
    (photos.parent / "broken/no.png").write_text("no picture")
    words = [
        checkpoint,
        str(photos),
        str(photos.parent / "broken"),
        "--name",
        "travel",
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    assert reference(words) == 1
    printed = capsys.readouterr()
    assert "compared with 24 photos, travel" in printed.out and "no.png: " in printed.err
    assessment = Assessment(checkpoint, device="cpu")
    found = [one.scores["overall"] for one in assessment.score(sorted(photos.glob("*.png")))]
    found.sort(key=float)
    assert [one.percentile for one in found] == pytest.approx([100 * n / 23 for n in range(24)], abs=0.5)
    rewards = [one.reward for one in found]
    assert rewards == sorted(rewards) and 0 < rewards[0] < 0.5 < rewards[-1] < 1
    assert found[0].low is None and "travel" in (tmp_path / "mine/README.md").read_text()

    # Intervals move no score, so that the reference stays; a temperature moves them.
    assert calibrated(checkpoint, photos) == 0
    assert read_declaration(checkpoint).reference.name == "travel"
    assert calibrated(checkpoint, photos, "--split", "all", "--temperature", "--level", "none") == 0
    assert "the reference travel is of other scores and was dropped" in capsys.readouterr().err
    assert read_declaration(checkpoint).reference is None


def test_what_was_written_is_taken_back(checkpoint, photos, tmp_path, capsys):
    """Whatever the calls before, the checkpoint declares again what it did, to the letter, and scores as it did."""
    files = [tmp_path / "mine" / name for name in ("config.json", "README.md")]
    assert calibrate(["--checkpoint", checkpoint, "--remove"]) == reference([checkpoint, "--remove"]) == 2
    said = capsys.readouterr().err
    assert "has no calibration, so there is nothing to take back" in said and "has no reference" in said
    assert reference([checkpoint, str(photos), "--device", "cpu", "--workers", "0"]) == 0
    before = [json.loads(files[0].read_text()), files[1].read_text()]
    assert calibrated(checkpoint, photos) == 0
    capsys.readouterr()
    assert calibrate(["--checkpoint", checkpoint, "--remove"]) == 0
    assert "the calibration on 12 photos" in capsys.readouterr().out
    assert [json.loads(files[0].read_text()), files[1].read_text()] == before  # intervals move no score

    declared = read_declaration(checkpoint)
    line = with_lines(declared, {"overall": Line(0.5, 0.5)}, Calibration("ab" * 8, 30), ratings={"overall": (1, 5)})
    write_declaration(checkpoint, dataclasses.replace(line, reference=declared.reference))
    assert reference([checkpoint, "--remove"]) == 0 and read_declaration(checkpoint).calibration is not None
    write_declaration(checkpoint, dataclasses.replace(line, reference=declared.reference))
    capsys.readouterr()
    assert calibrate(["--checkpoint", checkpoint, "--remove"]) == 0
    printed = capsys.readouterr().out
    assert (
        "scores are those of the training again: overall, light on 1..10" in printed
        and "so is the reference photos" in printed
    )
    assert read_declaration(checkpoint) == dataclasses.replace(declared, reference=None)
    assert calibrate(["--checkpoint", checkpoint, "--remove", "--level", "0.8"]) == 2
    assert reference([checkpoint, str(photos), "--remove"]) == calibrate(["--checkpoint", checkpoint]) == 2
    said = capsys.readouterr().err
    assert "level means nothing beside --remove" in said and "photos means nothing beside --remove" in said
    assert "data_path is missing" in said


def rated(count):
    return ["image,score", *(f"{n}.png,{1 + n % 10}" for n in range(count))]


@pytest.mark.parametrize(
    ("lines", "words", "said"),
    [
        (rated(8), [], "has 8 ratings of overall to calibrate on; intervals at 0.9 take 9 or more"),
        (rated(12), ["--temperature"], "which rest on one half of the ratings, take 18 or more"),
        (
            [f"{line},{('split', 'train')[n > 0]}" for n, line in enumerate(rated(12))],
            [],
            "marks all of its rows as train",
        ),
        (["image,colour", *rated(12)[1:]], [], "there are no overall scores"),
        (["image,score"], [], "there is no sample in this file"),
        (["image,score", "0.png,50", *rated(12)[2:]], [], "50"),
        (
            ["image,score", *(f"{n}.png,3" for n in range(24))],
            ["--affine", "--min_score", "1", "--max_score", "5"],
            "do not rise with the scores of overall",
        ),
    ],
)
def test_ratings_that_cannot_be_calibrated_on(checkpoint, photos, tmp_path, capsys, lines, words, said):
    before = (tmp_path / "mine/config.json").read_bytes()
    (tmp_path / "bad.csv").write_text("\n".join(lines) + "\n")
    data = ["--data_path", str(tmp_path / "bad.csv"), "--image_folder", str(photos)]
    assert calibrated(checkpoint, photos, *data, *words) == 2
    assert said in capsys.readouterr().err
    assert (tmp_path / "mine/config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--level", "1"], "level"),
        (["--level", "none"], "nothing would be calibrated"),
        (["--affine"], "--affine needs the scale of the ratings"),
        (["--unit", "stars"], "unit needs --affine"),
        (["--scaled"], "was not fitted to distributions of ratings"),
        (["--earlier", "keep"], "no earlier call has moved the scores"),
        (["--earlier", "keep", "--temperature"], "--earlier keep leaves scores as they are"),
        (["--level", "none", "--temperature", "--by_third"], "by_third is about intervals"),
    ],
)
def test_options_that_cannot_be(checkpoint, photos, capsys, words, said):
    assert calibrated(checkpoint, photos, *words) == 2
    assert said in capsys.readouterr().err


def test_checkpoints_and_photos_that_cannot_be_used(checkpoint, photos, tmp_path, capsys):
    assert calibrated(str(tmp_path / "gone"), photos) == 2
    assert "gone" in capsys.readouterr().err
    assert reference([checkpoint, str(photos / "0.png")]) == 2
    assert "1 photo to compare with; give 20 or more" in capsys.readouterr().err
    config = json.loads((tmp_path / "mine/config.json").read_text())
    del config["roc"]
    (tmp_path / "mine/config.json").write_text(json.dumps(config))
    assert reference([checkpoint, str(photos)]) == 2
    assert "has no section 'roc' that could be changed" in capsys.readouterr().err
