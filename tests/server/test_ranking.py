"""Win probabilities that can be verified on paper."""

import math

import pytest

from roc.server.ranking import rank, win_probability


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
