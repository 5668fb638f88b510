"""Results carry their scale, hold plain numbers, and keep a missing score as None."""

import dataclasses
import json

import numpy as np
import pytest

from roc.scoring.results import Assessed, Score


def a_score() -> Score:
    return Score(
        value=np.float32(2.5),
        std=np.float64(0.5),
        distribution=np.array([0.0, 0.5, 0.5, 0.0]),
        levels=np.linspace(1, 4, 4),
        range=(1, 4),
        calibrated=np.bool_(True),
    )


def test_numbers_of_any_kind_become_plain_ones():
    score = a_score()
    assert type(score.value) is float and type(score.std) is float and score.calibrated is True
    assert score.distribution == (0.0, 0.5, 0.5, 0.0) and type(score.distribution[1]) is float
    assert score.levels == (1.0, 2.0, 3.0, 4.0) and score.range == (1.0, 4.0)


def test_to_dict_goes_through_json_unchanged():
    assessed = Assessed(scores={"overall": a_score(), "light": None}, text="fine", path="a.jpg")
    as_dict = assessed.to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert list(as_dict.items()) == [
        ("image", "a.jpg"),
        ("prediction", 2.5),
        ("std", 0.5),
        ("prediction.light", None),
        ("text", "fine"),
        ("min_score", 1.0),
        ("max_score", 4.0),
        ("calibrated", True),
    ]
    as_dict = assessed.scores["overall"].to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert as_dict == {
        "value": 2.5,
        "std": 0.5,
        "distribution": [0.0, 0.5, 0.5, 0.0],
        "levels": [1.0, 2.0, 3.0, 4.0],
        "range": [1.0, 4.0],
        "calibrated": True,
    }


def test_results_are_rows_of_a_data_frame():
    pandas = pytest.importorskip("pandas")
    results = [Assessed({"overall": a_score(), "light": None}, path=f"{i}.jpg") for i in range(3)]
    frame = pandas.DataFrame(result.to_dict() for result in results)
    assert frame.shape == (3, 7) and frame["prediction"].mean() == 2.5 and list(frame["image"])[2] == "2.jpg"
    assert Assessed({"overall": None}).to_dict()["min_score"] is None


def test_a_score_is_a_number():
    assert float(a_score()) == 2.5


def test_one_probability_per_level():
    with pytest.raises(ValueError, match="got 2 probabilities and 3 levels"):
        Score(2.0, 0.0, (0.5, 0.5), (1.0, 2.0, 3.0), (1.0, 3.0), False)


def test_a_score_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_score().value = 3.0


def test_an_attribute_on_another_range_names_it():
    light = dataclasses.replace(a_score(), range=(-1, 1), levels=np.linspace(-1, 1, 4))
    row = Assessed({"overall": a_score(), "light": light}).to_dict()
    assert {name: row[name] for name in row if "_score" in name} == {
        **{"min_score": 1.0, "max_score": 4.0},
        **{"min_score.light": -1.0, "max_score.light": 1.0},
    }
    row = Assessed({"overall": None, "light": light, "colour": a_score()}).to_dict()
    assert row["min_score"] is None and row["min_score.colour"] == 1.0  # that of the missing score is not known
