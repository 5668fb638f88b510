"""Scored pairs: how many come out right, with what certainty, within groups and by category."""

import json

import pytest
from heads import build, picture

from roc.checkpoint.folder import save
from roc.commands.evaluate import main
from roc.data.pairs import Pair
from roc.evaluation.pairs import ScoredPair, format_pairs, pair_metrics


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
    assert "2 pairs of 2 sources, 0 ties" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "model")]) == 2
    assert main([*words, "--out", str(out), "--threshold", "3"]) == 2
    assert "--threshold has no meaning for pairs" in capsys.readouterr().err


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
