"""The line on anchors: fitted, measured on both ways of scoring, and left out where none fits."""

import pytest

from roc.calibration.affine import Line
from roc.relative.calibration import applied, fit, lines_of, rows_of


def test_a_line_keeps_the_order_and_gives_back_mean_and_width():
    wanted = [1.0, 3.0, 5.0, 7.0, 9.0, 2.0]
    found = fit([4.5 + 0.1 * one for one in wanted[:5]] + [None], wanted)
    assert found.line == pytest.approx(Line(-45.0, 10.0)) and (found.n, found.of) == (5, 6)
    assert found.before["mae"] > 2 and found.after["mae"] == pytest.approx(0, abs=1e-9)
    assert found.before["srcc"] == found.after["srcc"] == 1
    beside = applied(found.line, [5.0, 5.2, 5.1], [5.0, 7.0, 6.3])
    assert beside.after["mae"] == pytest.approx(0.1)
    text = "\n".join(lines_of({"critique": found, "short": beside}, "critique"))
    assert "5 of 6 anchors" in text and "10.000 x score" in text and text.count("before") == 2
    told = rows_of({"critique": found, "short": beside}, "critique")
    assert (told["n"], told["of"], told["fitted_on"]) == (5, 6, "behind critiques")
    assert [(row["read"], row["when"]) for row in told["rows"]] == [
        (read, when) for read in ("behind critiques", "in one forward pass") for when in ("before", "after")
    ]
    assert told["rows"][3] == {"read": "in one forward pass", "when": "after", **beside.after}


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([None, None, 1.0, 2.0, 3.0], "3 anchors have a score, 5 are needed"),
        ([5.0, 4.0, 3.0, 2.0, 1.0], "do not rise"),
        ([5.0] * 5, "are equal"),
    ],
)
def test_no_line_is_told_with_its_reason(scores, reason):
    found = fit(scores, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.line is None and reason in found.reason and found.after == found.before
    assert reason in "\n".join(lines_of({"short": found}, "short")) and found.to_dict()["line"] is None
