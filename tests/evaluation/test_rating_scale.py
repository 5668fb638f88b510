"""The scale of the ratings beside the range of a checkpoint: refused where they differ, mapped when asked for."""

import pytest

from roc.data.records import Record
from roc.data.rows import DataError
from roc.evaluation.rating_scale import check_same_scale, mapped, rating_space, read_rated
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10, 10)
STARS = ScoreSpace(1, 5, 10)


def records(scores):
    return [Record(id=str(n), images=(f"{n}.jpg",), scores={"overall": float(s)}) for n, s in enumerate(scores)]


def test_the_options_may_name_the_scale():
    assert rating_space(SPACE, None, map_range=False, checkpoint="c") == SPACE
    assert rating_space(SPACE, (1, 10), map_range=False, checkpoint="c") == SPACE
    assert rating_space(SPACE, (1, 5), map_range=True, checkpoint="c") == STARS
    with pytest.raises(ValueError, match="the ratings are on 1..5, but c scores on 1..10.*Add --map_range"):
        rating_space(SPACE, (1, 5), map_range=False, checkpoint="c")


def test_ratings_in_the_lower_half_look_like_another_scale():
    with pytest.raises(
        ValueError, match=r"the ratings lie on 2..5 and c scores on 1..10.*--min_score 1 --max_score 10"
    ):
        check_same_scale(records([2, 3, 4, 5] * 3), SPACE, "c")
    with pytest.raises(ValueError, match="none of 6 rows is above"):
        check_same_scale(records([2, 3, 4.5, 5, 2, 2]), SPACE, "c")
    check_same_scale(records([2, 3, 4, 5]), SPACE, "c")  # four rows may well be bad photos
    check_same_scale(records([2.3, 3, 4.1, 5, 4, 2]), SPACE, "c")
    check_same_scale(records([2, 3, 4, 5, 6] * 3), SPACE, "c")


def test_mapping_is_linear_and_keeps_the_rest():
    given = Record(id="a", images=("a.jpg",), scores={"overall": 1.0, "light": 4.0}, std=0.4, comment="fine")
    (found,) = mapped([given], STARS, SPACE)
    assert found.scores == pytest.approx({"overall": 1.0, "light": 7.75}) and found.std == pytest.approx(0.9)
    assert (found.id, found.comment) == ("a", "fine")
    assert mapped([given], SPACE, SPACE)[0].scores == given.scores


def read(path, space=SPACE):
    return read_rated(path, None, ratings=space, space=SPACE, attributes=("overall",), split=None)


def test_ratings_outside_the_range_are_named_by_line_and_both_ranges_with_them(tmp_path):
    (tmp_path / "r.csv").write_text("image,score\na.png,0.3\nb.png,0.9\n")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    said = r"r.csv: 2 of 2 ratings lie outside the range 1..10.\nThe ratings lie on 0.3..0.9, the checkpoint.* 1..10"
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "r.csv")
    lines = (f"{n}.png,{n}" for n in range(1, 6))
    (tmp_path / "typing.csv").write_text("\n".join(["image,score", "a.png,55", *lines]) + "\n")
    for n in range(1, 6):
        (tmp_path / f"{n}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"typing.csv:2: the score is 55.*\nThe ratings lie on 1..55"):
        read(tmp_path / "typing.csv")
    assert len(read(tmp_path / "r.csv", ScoreSpace(0, 1, 10))) == 2


def test_other_faults_of_the_file_are_reported_as_they_are(tmp_path):
    (tmp_path / "r.csv").write_text("image,score\na.png,3\n")
    with pytest.raises(DataError, match="r.csv:2"):
        read(tmp_path / "r.csv")


MIXED = ScoreSpace(1, 10, 10, attribute_ranges={"light": (-1, 1)})


def test_an_attribute_on_another_range_is_rated_on_that_unless_it_is_named():
    assert rating_space(MIXED, None, map_range=False, checkpoint="c") == MIXED
    stars = rating_space(MIXED, (1, 5), map_range=True, checkpoint="c")
    assert (stars.range, stars.of("light").range) == ((1, 5), (-1, 1))
    with pytest.raises(ValueError, match="--attribute_ranges says that the ratings of light are on 0..1, but c scores"):
        rating_space(MIXED, None, {"light": (0, 1)}, map_range=False, checkpoint="c")
    given = Record(id="a", images=("a.jpg",), scores={"overall": 6.7, "light": 0.75})
    named = rating_space(MIXED, None, {"light": (0, 1)}, map_range=True, checkpoint="c")
    assert mapped([given], named, MIXED)[0].scores == {"overall": 6.7, "light": 0.5}
    assert mapped([given], stars, MIXED)[0].scores == {"overall": pytest.approx(1 + 5.7 * 9 / 4), "light": 0.75}


def test_ratings_outside_an_attributes_own_range_name_that(tmp_path):
    (tmp_path / "r.csv").write_text("image,score,light\na.png,3,4\nb.png,8,5\n")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    said = r"2 of 2 ratings of light lie outside the range -1..1.\n.* lie on 4..5, .* --attribute_ranges light=LOWEST"
    with pytest.raises(ValueError, match=said):
        read_rated(tmp_path / "r.csv", None, ratings=MIXED, space=MIXED, attributes=("overall", "light"), split=None)
