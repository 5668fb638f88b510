"""Reading several data sets: native scores, names, splits of each, and what is refused."""

import pytest
from training_runs import SPLITS, data_set

from roc.data.rows import DataError
from roc.training.config import load_config
from roc.training.data import read_data
from roc.training.mixed_data import respread


def config(*mix, **more):
    return load_config(None, {"mix": list(mix), "tiny_model": "demo", **more})


def test_each_keeps_its_scores_and_is_divided_by_itself(tmp_path):
    ava, koniq = data_set(tmp_path / "a", [1, 2, 3, 4, 5, 6]), data_set(tmp_path / "k", [0, 20, 40, 60, 80, 100])
    data = read_data(config(f"AVA=1:10:{ava}", f"KonIQ=0:100:{koniq}"))
    assert [record.id for record in data.val] == ["AVA/4.png", "KonIQ/4.png"]
    assert [record.scores["overall"] for record in data.train] == [1, 2, 3, 4, 0, 20, 40, 60]
    assert {record.dataset for record in data.test} == {"AVA", "KonIQ"}


def test_one_data_set_gives_the_records_of_data_path(tmp_path):
    file = data_set(tmp_path / "a", [1, 2, 3, 4, 5, 6])
    plain = load_config(None, {"data_path": str(file), "max_score": 6, "tiny_model": "demo"})
    assert read_data(config(f"AVA=1:6:{file}")) == read_data(plain)


def test_histograms_of_another_length_keep_their_mean(tmp_path):
    found = respread((0.2, 0.5, 0.3), 5)
    assert found == pytest.approx((0.2, 0, 0.5, 0, 0.3))
    found = respread((0.25, 0.25, 0.25, 0.25), 3)
    assert sum(found) == pytest.approx(1) and found[1] + 2 * found[2] == pytest.approx(2 * 0.5)
    votes = (",h_1,h_2,h_3", [",0.2,0.5,0.3"] * 6)
    ava, koniq = data_set(tmp_path / "a", [1, 2, 3, 4, 5, 6]), data_set(tmp_path / "k", [1, 2, 3, 4, 5, 6], more=votes)
    data = read_data(config(f"AVA=1:10:{ava}", f"KonIQ=0:100:{koniq}", num_tokens=5, ce_weight=1))
    assert data.train[4].histograms["overall"] == pytest.approx((0.2, 0, 0.5, 0, 0.3))
    with pytest.raises(DataError, match="no training row of mix has a histogram"):
        read_data(config(f"AVA=1:10:{ava}", f"B=1:10:{ava}", ce_weight=1))


def test_all_files_are_checked_together(tmp_path):
    ava, koniq = data_set(tmp_path / "a", [1, 2, 3, 4, 5, 11]), data_set(tmp_path / "k", [7] * 6)
    with pytest.raises(DataError) as error:
        read_data(config(f"AVA=1:10:{ava}", f"KonIQ=0:100:{koniq}"))
    assert "a/r.csv:7" in str(error.value) and "outside the range 1..10" in str(error.value)
    assert f"declare the range it was given on (AVA=LOWEST:HIGHEST:{ava} in mix)" in str(error.value)
    with pytest.raises(DataError, match=r"by guess on the scale 0..100: B=0:100:.*r.csv in mix"):
        read_data(config(f"AVA=1:10:{ava}", f"B=1:10:{data_set(tmp_path / 'b', [20, 30, 40, 50, 60, 70])}"))
    assert "k/r.csv: all training rows of KonIQ are rated 7, so there is no order to link" in str(error.value)


def test_a_picture_that_another_data_set_holds_out_is_refused(tmp_path):
    scores = [1, 2, 3, 4, 5, 6]
    ava = data_set(tmp_path / "a", scores)
    other = data_set(tmp_path / "a", scores, SPLITS[::-1], name="other.csv")
    with pytest.raises(DataError, match=r"r.csv:6: .*4.png is a val picture of AVA and a training picture of B"):
        read_data(config(f"AVA=1:10:{ava}", f"B=1:10:{other}"))
