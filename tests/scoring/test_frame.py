"""`score_frame`: the photos of a pandas data frame."""

import numpy as np
import pytest
from PIL import Image

import roc

pandas = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def mixed(photos):
    """Photos in every form that a cell may have, three that cannot be scored between them, under a repeated index."""
    paths = [source.path for source in photos[:4]]
    with open(paths[1], "rb") as file:
        data = file.read()
    cells = [paths[0], "gone.png", data, Image.open(paths[2]), None, np.asarray(Image.open(paths[3])), float("nan")]
    return pandas.DataFrame({"image": cells, "who": list("abcdefg")}, index=[5, 5, "x", 7, 8, 9, 10])


def test_a_frame_comes_back_with_its_index_and_the_numbers_of_assessment(mixed, assessment, expected):
    before = mixed.copy()
    found = roc.score_frame(mixed, "image", assessment)
    pandas.testing.assert_frame_equal(mixed, before)
    assert list(found.index) == [5, 5, "x", 7, 8, 9, 10]
    assert list(found.columns) == [
        "prediction", "std", "prediction.light", "min_score", "max_score", "calibrated", "scorer", "reason"
    ]  # fmt: skip
    good = found[found["reason"].isna()]
    assert list(good.index) == [5, "x", 7, 9]
    assert good["prediction"].tolist() == pytest.approx([one.scores["overall"].value for one in expected[:4]], abs=1e-5)
    assert good["std"].tolist() == pytest.approx([one.scores["overall"].std for one in expected[:4]], abs=1e-5)
    assert [reason is None for reason in good["reason"]] == [True] * 4
    failed = found[found["reason"].notna()]
    assert failed[["prediction", "std", "prediction.light"]].isna().all(axis=None)
    assert failed["reason"].tolist() == ["gone.png: no such file", *["the cell is empty; expected an image"] * 2]
    assert {str(found[name].dtype) for name in ("prediction", "std", "prediction.light")} == {"float64"}
    assert found["calibrated"].dtype == bool and set(found["max_score"]) == {10.0}


def test_columns_stay_where_nothing_can_be_scored(photos, checkpoint):
    frame = pandas.DataFrame({"file": [photos[0].name, "gone.png"]})
    folder = photos[0].path.rpartition("/")[0]
    found = roc.score_frame(frame, "file", checkpoint, attributes=["light"], image_folder=folder)
    assert list(found.columns) == ["prediction.light", "min_score", "max_score", "calibrated", "scorer", "reason"]
    assert found["prediction.light"].isna().tolist() == [False, True] and found["reason"][1].endswith("no such file")
    empty = roc.score_frame(frame[:0], "file", checkpoint, distribution=True)
    assert list(empty.columns)[:4] == ["prediction", "std", "p_1", "p_2"] and len(empty) == 0


@pytest.mark.parametrize(
    ("frame", "column", "error"),
    [
        ([{"image": "a.jpg"}], "image", "expected a pandas DataFrame, got builtins.list"),
        (pandas.DataFrame({"photo": []}), "image", "there is no column 'image' in the data frame; its columns are 'ph"),
        (pandas.DataFrame([["a", "b"]], columns=["image", "image"]), "image", "there are 2 columns 'image'"),
    ],
)
def test_what_is_no_column_of_photos(frame, column, error, assessment):
    with pytest.raises((TypeError, ValueError), match=error):
        roc.score_frame(frame, column, assessment)


def test_what_the_model_cannot_give(photos, assessment):
    frame = pandas.DataFrame({"image": [photos[0].path]})
    with pytest.raises(ValueError, match="asked for colour"):
        roc.score_frame(frame, "image", assessment, attributes=["colour"])
    with pytest.raises(ValueError, match="leave device out"):
        roc.score_frame(frame, "image", assessment, device="cpu")
