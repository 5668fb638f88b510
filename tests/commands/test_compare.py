"""`roc compare` as a user types it: what it prints and writes, and what it refuses."""

import json
from dataclasses import replace

import pytest
from evaluations import make_folder, make_rows

from roc.commands.compare import main


def test_the_comparison_is_printed_and_written_to_each_file(tmp_path, capsys):
    a = make_folder(tmp_path, "a", make_rows())
    out = [str(tmp_path / name) for name in ("c.json", "c, d.html")]
    assert main([a, a, "--out", out[0], "--out", out[1], "--n-resamples", "10"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("A and B are equal to three decimals.\n")
    assert f"\nA: {a}\nB: {a}\n" in printed.out and printed.out.endswith("\n".join([*out, ""]))
    assert printed.err == "" and json.loads((tmp_path / "c.json").read_text())["n_resamples"] == 10


def test_the_verdict_comes_first_and_the_rest_only_when_asked(tmp_path, capsys):
    rows = make_rows(60)
    other = [replace(row, predictions=dict.fromkeys(row.predictions, 2.0 + n % 2)) for n, row in enumerate(rows)]
    a, b = make_folder(tmp_path, "a", rows), make_folder(tmp_path, "b", other)
    assert main([a, b, "--n_resamples", "100"]) == 0
    short = capsys.readouterr().out.splitlines()
    assert short[0].startswith("A is better than B: SRCC 0.") and short[0].endswith(
        "; of the other scores light: SRCC, light: MAE."
    )
    assert len(short) <= 20 and not any("KRCC" in line or "votes in" in line for line in short)
    assert "--full prints them" in short[-1]
    assert main([a, b, "--n_resamples", "100", "--full"]) == 0
    full = capsys.readouterr().out
    assert full.splitlines()[0] == short[0] and "votes in 80%" in full and "--full" not in full
    assert main([b, a, "--n_resamples", "100"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == short[0].replace("A is better than B", "B is better than A")


def test_what_is_no_evaluation_is_refused(tmp_path, capsys):
    a = make_folder(tmp_path, "a", make_rows())
    (tmp_path / "empty").mkdir()
    assert main([a, str(tmp_path / "empty")]) == 2
    assert "holds no metrics.json and no predictions.csv" in capsys.readouterr().err
    (tmp_path / "a" / "metrics.json").write_text("[]")
    assert main([a, a]) == 2
    assert "is no metrics file of roc" in capsys.readouterr().err
    assert main([a, a, "--out", "c.pdf"]) == 2
    assert "ends in .html or .json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "-1"], "seed is '-1', expected a whole number at least 0"),
        (["--threshold", "nan"], "threshold is 'nan', expected a number"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, capsys, words, said):
    assert main(["a", "b", *words]) == 2
    assert said in capsys.readouterr().err
