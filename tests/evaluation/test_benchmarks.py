"""Published numbers of test sets: each entry is whole, and only what was measured alike is called comparable."""

import pytest

from roc.evaluation.benchmarks import TEST_SETS, Published, comparable

AVA = TEST_SETS["ava"]
OURS = AVA.published[0]
EVALUATION = {"n": 19_930, "unscored": 0, "scale": (1.0, 10.0)}


@pytest.mark.parametrize("name", TEST_SETS)
def test_every_row_is_whole(name):
    one = TEST_SETS[name]
    assert one.name == name and one.min_score < one.max_score and one.layout.endswith(".")
    for published in one.published:
        assert published.source
        assert all(-1 <= value <= 1 for value in (published.srcc, published.plcc))
        assert published.mae is None or 0 < published.mae < one.max_score - one.min_score
    said = [(published.model, published.source) for published in one.published]
    assert len(set(said)) == len(said)


def test_the_test_sets_called_ava_are_told_apart_by_their_size():
    sizes = [one.rows for one in TEST_SETS.values() if one.dataset == "AVA"]
    assert {19_930, 25_551, 12_776, 12_818, 19_805} == set(sizes) - {None}
    assert len(sizes) == len(set(sizes))


def test_comparable_means_the_same_rows():
    assert comparable(OURS, AVA, **EVALUATION) == ("yes", "same number of rows")
    verdict, why = comparable(OURS, AVA, **EVALUATION | {"n": 12_776})
    assert verdict == "no" and "12,776 were evaluated, this set has 19,930" in why
    verdict, why = comparable(OURS, AVA, **EVALUATION | {"n": 19_900, "unscored": 30})
    assert verdict == "no" and "30 rows without a score" in why


def test_what_speaks_against_a_number_comes_first():
    fitted = Published("x", 0.9, 0.9, None, "y", against="its PLCC is fitted")
    assert comparable(fitted, AVA, **EVALUATION) == ("no", "its PLCC is fitted")


def test_an_unknown_size_and_another_scale_are_said():
    quoted = next(one for one in AVA.published if one.model == "ArtiMuse")
    verdict, why = comparable(quoted, AVA, **EVALUATION)
    assert verdict == "unknown" and "quoted" in why
    verdict, why = comparable(OURS, TEST_SETS["para"], **EVALUATION)
    assert verdict == "unknown" and "does not state how many rows" in why
    verdict, why = comparable(OURS, AVA, **EVALUATION | {"scale": (0.0, 1.0)})
    assert verdict == "yes" and "MAE is on 1..10, here scores are on 0..1" in why
