"""What the tools answer, without the SDK: the numbers are those of `Assessment`."""

import pytest


def test_score_gives_the_numbers_of_assessment_and_errors_in_their_places(assessor, photos):
    found = assessor.score(["a.png", "trip/broken.png", str(photos / "b.png")], None)["results"]
    names = ["a.png", "trip/broken.png", "b.png"]
    assert [row["image"] for row in found] == [str(photos / name) for name in names]
    expected = assessor.assessment.score([str(photos / name) for name in ("a.png", "b.png")])
    assert [found[0]["prediction"], found[2]["prediction"]] == pytest.approx(
        [float(e.scores["overall"]) for e in expected]
    )
    assert found[0]["max_score"] == 10.0 and found[0]["calibrated"] is False and "prediction.light" in found[0]
    assert set(found[1]) == {"image", "error"} and "not an image" in found[1]["error"]


def test_rank_orders_a_folder(assessor):
    found = assessor.rank(["."], "light")
    values = [photo["prediction"] for photo in found["photos"]]
    assert found["attribute"] == "light" and values == sorted(values, reverse=True) and len(values) == 3
    assert [len(row) for row in found["win_probability"]] == [3] * 3


def test_describe_gives_words(assessor, photos):
    found = assessor.describe("c.jpg")
    assert found["image"] == str(photos / "c.jpg") and isinstance(found["text"], str) and "prediction" in found


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda a: a.score([], None), "0 pictures were named; expected 1 to 3 paths in /"),
        (lambda a: a.score([".", "trip"], None), "4 pictures were named; expected 1 to 3"),
        (lambda a: a.score(["a.png"], ["colour"]), "asked for colour"),
        (lambda a: a.rank(["a.png", "a.png"], None), "1 picture was named; expected 2 to 3"),
        (lambda a: a.rank(["a.png", "trip"], None), "broken.png: not an image"),
        (lambda a: a.rank(["a.png", "b.png"], "colour"), "asked for colour"),
        (lambda a: a.describe("."), "3 pictures in this folder; describe one at a time"),
        (lambda a: a.describe("trip/broken.png"), "broken.png: not an image"),
        (lambda a: a.describe("../secret.png"), "outside the folders"),
    ],
)
def test_what_cannot_be_answered(assessor, call, error):
    with pytest.raises(ValueError, match=error):
        call(assessor)
