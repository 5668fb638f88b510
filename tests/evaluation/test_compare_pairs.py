"""Two models on the same pairs: paired differences over sources, and what cannot be compared."""

import dataclasses
import json

import pytest
from evaluations import make_folder, make_rows

from roc.commands.compare import main
from roc.data.pairs import Pair
from roc.evaluation.compare_pairs import compare_pair_folders, holds_pairs
from roc.evaluation.pairs import ScoredPair, pair_metrics, write_pairs

ABOUT = {"attribute": "overall", "min_score": 1, "max_score": 10, "calibrated": True, "split": "test"}


def folder(path, right, *, change=lambda row: row):
    """Writes an evaluation on 3 pairs of each of 20 sources; `right(source, number)` says which come out right."""
    rows = []
    for source in range(20):
        for number in range(3):
            delta = (1.0, -2.0, 0.0)[number]
            better = 1.0 if right(source, number) == (delta > 0) else -1.0
            pair = Pair(
                f"{source}-{number}", (f"{source}.png", f"{source}-{number}.png"),
                0.5 if not delta else float(delta > 0), delta, f"s{source}", ("blur", "tilt", "noise")[number],
            )  # fmt: skip
            rows.append(change(ScoredPair(pair, 5.0, 5.0 + better, 0.8 if better > 0 else 0.2)))
    write_pairs(path, rows, {**ABOUT, **pair_metrics(rows, n_resamples=0)})
    return str(path)


def test_differences_are_paired_by_source(tmp_path):
    a = folder(tmp_path / "a", lambda source, number: source < 15)
    b = folder(tmp_path / "b", lambda source, number: source < 10 or number == 1)
    found = compare_pair_folders(a, b, n_resamples=300)
    assert (found["n"], found["sources"], holds_pairs(a)) == (40, 20, True)
    one = found["metrics"]["accuracy"]
    assert (one.a, one.b, one.difference) == (0.75, 0.75, 0) and one.low < 0 < one.high
    blur, tilt = (found["metrics"][f"{name}/accuracy"] for name in ("blur", "tilt"))
    assert (blur.a, blur.b, tilt.b) == (0.75, 0.5, 1.0) and tilt.difference == -0.25 and tilt.high <= 0
    assert "noise/accuracy" not in found["metrics"]  # ties of people are right for nobody
    for place in (a, b):  # one pair of a kind of its own
        file = tmp_path / place / "pair_scores.csv"
        file.write_text(file.read_text().replace("tilt", "crop", 1))
    alone = compare_pair_folders(a, b, n_resamples=50)["metrics"]["crop/accuracy"]
    assert alone.a is not None and alone.low is None  # another draw of one source says nothing
    same = compare_pair_folders(a, a, n_resamples=50)["metrics"]
    assert (same["krcc"].low, same["krcc"].high, same["confidence"].a) == (0, 0, pytest.approx(0.75 * 0.8 + 0.25 * 0.2))


def test_pairs_of_one_source_have_no_interval_and_are_counted_as_pairs(tmp_path, capsys):
    def lone(row):
        return dataclasses.replace(row, pair=dataclasses.replace(row.pair, group="s0"))

    a = folder(tmp_path / "a", lambda source, number: source < 15, change=lone)
    b = folder(tmp_path / "b", lambda source, number: source < 10, change=lone)
    found = compare_pair_folders(a, b, n_resamples=300)
    assert found["n_resamples"] == 0 and found["caveats"] == [
        "all pairs are of one source, so there is nothing to resample"
    ]
    assert found["counts"] == {"": 40, "blur/": 20, "tilt/": 20}
    assert main([a, b]) == 0
    assert "40 decided pairs of 1 source;" in capsys.readouterr().out


def test_the_command_tells_which_model_knows_better(tmp_path, capsys):
    a = folder(tmp_path / "a", lambda source, number: source < 18)
    b = folder(tmp_path / "b", lambda source, number: source < 4)
    out = [str(tmp_path / f"c.{kind}") for kind in ("json", "html")]
    assert main([a, b, "--out", out[0], "--out", out[1], "--n_resamples", "100", "--full"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("A is better than B: accuracy 0.900 against 0.200, by 0.700 [")
    assert "40 decided pairs of 20 sources" in text and "blur: accuracy" in text and "confidence" in text
    assert json.loads((tmp_path / "c.json").read_text())["metrics"]["accuracy"]["difference"] == pytest.approx(0.7)
    assert "blur: accuracy" in (tmp_path / "c.html").read_text()


def test_what_is_not_of_the_same_pairs_is_refused(tmp_path, capsys):
    a = folder(tmp_path / "a", lambda source, number: True)
    turned = ScoredPair(Pair("0-0", ("x", "y"), 0.0, -1.0, "s0", "blur"), 5.0, 4.0, 0.2)
    b = folder(tmp_path / "b", lambda s, n: True, change=lambda row: turned if row.pair.id == "0-0" else row)
    assert main([a, b]) == 2 and "1 pair is judged otherwise: 0-0" in capsys.readouterr().err
    assert main([a, make_folder(tmp_path, "rows", make_rows())]) == 2
    assert "holds an evaluation on pairs and" in capsys.readouterr().err
    assert main([a, a, "--threshold", "3"]) == 2 and "no meaning for pairs" in capsys.readouterr().err
    (tmp_path / "b" / "pair_scores.csv").write_text("id,wins\n1,1\n")
    assert main([a, b]) == 2
    error = capsys.readouterr().err
    assert "holds no evaluation on pairs that can be read" in error and "Traceback" not in error
