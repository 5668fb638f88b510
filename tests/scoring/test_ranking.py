"""Win probabilities that can be verified on paper."""

import json
import math

import pytest

from roc.commands.rank import main
from roc.scoring.ranking import rank, ranking, win_probability
from roc.scoring.results import Assessed, Score


def test_one_standard_deviation_apart():
    assert win_probability(6, 3, 1, 4) == pytest.approx(0.841344746)  # Phi(5 / 5)
    assert win_probability(1, 4, 6, 3) == pytest.approx(1 - 0.841344746)


def test_no_spread_at_all():
    assert [win_probability(a, 0, 2, 0) for a in (3, 2, 1)] == [1, 0.5, 0]


def test_order_and_pairs():
    order, wins = rank([2.0, 5.0, 5.0, 9.0], [1.0, 0.0, 2.0, 0.0])
    assert order == [3, 1, 2, 0]
    assert [wins[i][i] for i in range(4)] == [0.5] * 4
    assert wins[1][2] == 0.5
    assert wins[0][1] == pytest.approx(0.5 * math.erfc(3 / math.sqrt(2)))
    for i in range(4):
        for j in range(4):
            assert wins[i][j] + wins[j][i] == pytest.approx(1)


def scored(value, text=None):
    score = Score(value, 1.0, (0.5, 0.5), (1.0, 10.0), (1.0, 10.0), False)
    return Assessed({"overall": score}, text=text)


def test_photos_come_best_first_with_who_beats_the_next():
    found = ranking("overall", {"a": scored(4.0), "b": scored(6.0, "Fine."), "c": scored(5.0)})
    assert found.names == ["b", "c", "a"] and found.wins[0][1] == pytest.approx(win_probability(6, 1, 5, 1))
    first, *_, last = found.rows()
    assert first == {
        **{"rank": 1, "image": "b", "prediction": 6.0, "std": 1.0},
        **{"beats_next": found.wins[0][1], "text": "Fine."},
    }
    assert last["beats_next"] is None and "text" not in last
    assert found.to_dict()["range"] == [1.0, 10.0] and len(found.to_dict()["win_probability"]) == 3
    with pytest.raises(ValueError, match="b: the model gave no score for overall; leave this photo out"):
        ranking("overall", {"a": scored(4.0), "b": Assessed({"overall": None})})


def test_the_command_ranks_photos(checkpoint, photos, tmp_path, capsys):
    paths = [source.path for source in photos[:3]]
    words = ["--checkpoint", checkpoint, "--device", "cpu"]
    assert main([*paths, *words, "--attribute", "light", "--out", str(tmp_path / "r.json")]) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "r.json").read_text())
    values = [row["prediction"] for row in found["photos"]]
    assert values == sorted(values, reverse=True) and len(values) == len(found["win_probability"]) == 3
    assert printed.startswith("light on 1..10") and printed.count("better than the next with") == 2
    assert "percentages say little" in printed  # trained on mean scores alone
    assert main([paths[0], *words]) == 2
    assert "there is 1 photo to rank; name two or more" in capsys.readouterr().err
    (tmp_path / "torn.png").write_bytes(b"no picture")
    assert main([*paths, str(tmp_path / "torn.png"), *words]) == 2
    assert "torn.png" in capsys.readouterr().err
