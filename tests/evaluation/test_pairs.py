"""Scored pairs: how many come out right, with what certainty, within groups and by category."""

import csv
import dataclasses
import json

import pytest
from heads import build, picture

from roc.checkpoint.folder import save
from roc.commands.evaluate import main
from roc.data.pairs import Pair
from roc.evaluation.metrics import krcc
from roc.evaluation.pairs import ScoredPair, format_pairs, pair_metrics
from roc.model.comparison import Comparison
from roc.model.declaration import declare
from roc.scoring.assessment import Assessment
from roc.scoring.comparing import compare


def scored(name, wins, first, second, *, win=0.5, **more):
    return ScoredPair(Pair(name, (f"{name}.a", f"{name}.b"), wins, **more), first, second, win)


def test_the_numbers_of_four_pairs_by_hand():
    rows = [
        scored("1", 1.0, 3.0, 4.0, win=0.8, category="blur"),  # right
        scored("2", 0.0, 3.0, 4.0, win=0.7, category="blur"),  # wrong
        scored("3", 1.0, 5.0, 5.0, category="crop"),  # the same score counts half
        scored("4", 0.5, 2.0, 2.5, win=0.6),  # a tie of people
    ]
    found = pair_metrics(rows, n_resamples=0)
    assert (found["n"], found["decided"], found["sources"]) == (4, 3, 4)
    assert found["accuracy"] == pytest.approx(0.5) and found["confidence"] == pytest.approx((0.8 + 0.3 + 0.5) / 3)
    assert found["gap"] == pytest.approx(2 / 3) and found["tie_gap"] == 0.5
    assert found["categories"] == {"blur": {"n": 2, "accuracy": 0.5}, "crop": {"n": 1, "accuracy": 0.5}}
    assert found["krcc"] is None and found["delta_n"] == 0 and "accuracy_low" not in found


def test_sources_are_resampled_and_not_pairs():
    """Ten copies of the same two sources: the interval is that of two draws, and reaches from 0 to 1."""
    rows = [scored(f"{n}", 1.0, 1.0, 2.0 if n % 2 else 0.0, group=str(n % 2)) for n in range(20)]
    found = pair_metrics(rows, n_resamples=200)
    assert (found["sources"], found["accuracy"], found["accuracy_low"], found["accuracy_high"]) == (2, 0.5, 0, 1)
    alone = pair_metrics([scored(f"{n}", 1.0, 1.0, 2.0 if n % 2 else 0.0) for n in range(20)], n_resamples=200)
    assert 0.2 < alone["accuracy_low"] < 0.5 < alone["accuracy_high"] < 0.8


def test_the_order_within_a_group_counts_its_source():
    deltas, scores = (1.0, -2.0, 0.5), (6.0, 3.0, 4.5)
    rows = [
        ScoredPair(Pair(str(n), ("source", f"{n}"), float(delta > 0), delta, group="g"), 5.0, score, 0.5)
        for n, (delta, score) in enumerate(zip(deltas, scores, strict=True))
    ]
    back = Pair("0~", ("0", "source"), 0.0, -1.0, group="g")  # the first pair, swapped
    found = pair_metrics([*rows, ScoredPair(back, 6.0, 5.0, 0.5)], n_resamples=0)
    assert found["krcc_n"] == 1 and found["krcc"] == pytest.approx(4 / 6)  # source and third are in the wrong order
    assert found["delta_n"] == 4 and found["delta_srcc"] > 0.7


def test_the_table_names_what_is_there():
    rows = [scored(f"{n}", 1.0, 1.0, 2.0, win=0.9, category="blur", delta=1.0 + n) for n in range(40)]
    about = {"attribute": "overall", "min_score": 1, "max_score": 10, "calibrated": False}
    text = format_pairs({**about, **pair_metrics(rows, n_resamples=50)})
    assert "overall on 1..10: 40 pairs of 40 sources, 0 ties" in text and "accuracy         1.000" in text
    assert "blur      40  1.000 [1.000, 1.000]" in text and "the confidence is uncalibrated" in text
    assert "of ties" not in text and "few" not in text


def test_the_command_compares_the_scores_of_a_checkpoint(tmp_path, capsys):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "model")
    for n in range(3):
        picture(n).save(tmp_path / f"{n}.png")
    (tmp_path / "pairs.csv").write_text("image_a,image_b,preferred,category\n0.png,1.png,a,blur\n1.png,2.png,b,blur\n")
    words = ["--checkpoint", str(tmp_path / "model"), "--pairs", str(tmp_path / "pairs.csv"), "--workers", "0"]
    out = tmp_path / "out"
    assert main([*words, "--out", str(out), "--n_resamples", "20"]) == 0
    found = json.loads((out / "pairs.json").read_text())
    assert (found["n"], found["attribute"], found["categories"]["blur"]["n"]) == (2, "overall", 2)
    assert found["command"].startswith("roc evaluate --checkpoint")
    header, first, _ = (out / "pair_scores.csv").read_text().splitlines()
    assert header.startswith("id,image_a,image_b,wins,delta") and first.startswith("1,")
    printed = capsys.readouterr().out
    assert "2 pairs of 2 sources, 0 ties" in printed and printed.endswith("report.html\n")
    assert "By kind of edit" in (out / "report.html").read_text()
    assert main([*words, "--out", str(tmp_path / "model")]) == 2
    assert main([*words, "--out", str(out), "--threshold", "3"]) == 2
    assert "--threshold has no meaning for pairs" in capsys.readouterr().err


def test_a_file_of_groups_gives_the_order_within_each(tmp_path, capsys):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "model")
    rows = []
    for group in range(3):
        for n, delta in enumerate((None, 1.0, -2.0)):
            picture(3 * group + n).save(tmp_path / f"{group}{n}.png")
            edit = None if delta is None else {"delta": delta, "category": ("blur", "tilt")[n - 1]}
            rows.append({"image": f"{group}{n}.png", "group": str(group), "edit": edit, "split": "test"})
    (tmp_path / "groups.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    words = ["--checkpoint", str(tmp_path / "model"), "--pairs", str(tmp_path / "groups.jsonl"), "--workers", "0"]
    assert main([*words, "--out", str(tmp_path / "out"), "--n_resamples", "50"]) == 0
    found = json.loads((tmp_path / "out" / "pairs.json").read_text())
    assert (found["n"], found["sources"], found["krcc_n"], found["delta_n"]) == (6, 3, 3, 6)
    assert {name: one["n"] for name, one in found["categories"].items()} == {"blur": 3, "tilt": 3}
    with (tmp_path / "out" / "pair_scores.csv").open() as lines:
        scored = {row["image_b"][-6:-4]: row for row in csv.DictReader(lines)}
    taus = []
    for group in "012":
        values = [float(scored[f"{group}1"]["prediction_a"])]
        values += [float(scored[f"{group}{n}"]["prediction_b"]) for n in (1, 2)]
        taus.append(krcc(values, [0.0, 1.0, -2.0]))
    assert found["krcc"] == pytest.approx(sum(taus) / 3) and found["krcc_low"] <= found["krcc"] <= found["krcc_high"]
    assert "KRCC in group" in capsys.readouterr().out


def test_held_out_pairs_are_those_that_count(tmp_path, capsys):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "model")
    for n in range(3):
        picture(n).save(tmp_path / f"{n}.png")
    pairs, out = tmp_path / "pair_scores.csv", tmp_path / "out"
    pairs.write_text("image_a,image_b,preferred,split\n0.png,1.png,a,train\n1.png,2.png,b,test\n")
    words = ["--checkpoint", str(tmp_path / "model"), "--pairs", str(pairs), "--workers", "0", "--n_resamples", "0"]
    for split, n in ([], 1), (["--split", "all"], 2), (["--split", "train"], 1):
        assert main([*words, *split, "--out", str(out)]) == 0
        found = json.loads((out / "pairs.json").read_text())
        assert (found["n"], found["split"]) == (n, split[1] if split else "test")
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path)]) == 2 and "is a file that --out" in capsys.readouterr().err
    assert pairs.read_text().startswith("image_a,image_b,preferred,split")


def test_both_pictures_in_one_question(tmp_path, capsys):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "plain")
    comparison = Comparison(question="What changes?", answer="The change is [SCORE].")
    declare(model, dataclasses.replace(model.declaration, comparison=comparison))
    save(model, processor, tmp_path / "compares")
    for n in range(3):
        picture(n).save(tmp_path / f"{n}.png")
    (tmp_path / "pairs.csv").write_text("image_a,image_b,delta,category\n0.png,1.png,2,blur\n2.png,1.png,-1,tilt\n")
    words = ["--pairs", str(tmp_path / "pairs.csv"), "--together", "--out", str(tmp_path / "out"), "--n_resamples", "0"]
    assert main([*words, "--checkpoint", str(tmp_path / "plain")]) == 2
    assert "was not taught to compare two pictures" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main([*words, "--checkpoint", str(tmp_path / "compares"), "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "out" / "pairs.json").read_text())
    assert (found["attribute"], found["min_score"], found["max_score"], found["n"]) == ("delta", -10, 10, 2)
    with (tmp_path / "out" / "pair_scores.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    changes = [float(row["prediction_b"]) for row in rows]
    assessment = Assessment(tmp_path / "compares", device="cpu")
    asked = compare(assessment, [(picture(0), picture(1)), (picture(2), picture(1))])
    assert changes == pytest.approx([one.change.value for one in asked], abs=1e-4)
    assert [float(row["std_b"]) for row in rows] == pytest.approx([one.change.std for one in asked], abs=1e-4)
    assert [row["std_a"] for row in rows] == ["", ""]  # the change is from the first picture
    assert found["accuracy"] == ((changes[0] > 0) + (changes[1] < 0)) / 2
