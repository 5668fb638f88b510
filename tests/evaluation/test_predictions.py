"""Files of predictions: what is read from them, what is refused, and that what is written is read back."""

import json

import pytest

from roc.data.rows import DataError
from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.predictions import read_predictions, write_predictions
from roc.score_space import ScoreSpace


def written(tmp_path, text, name="predictions.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def faults_of(path, **options):
    with pytest.raises(DataError) as caught:
        read_predictions(path, **options)
    return [fault.removeprefix(f"{path}:") for fault in caught.value.faults]


def test_score_and_prediction_are_enough(tmp_path):
    found = read_predictions(written(tmp_path, "score,prediction\n1,1.5\n2,\n,3\n"))
    assert [row.id for row in found.rows] == ["1", "2", "3"]
    assert [row.scores["overall"] for row in found.rows] == [1, 2, None]
    assert [row.predictions["overall"] for row in found.rows] == [1.5, None, 3]
    assert (found.attributes, found.calibrated, found.notes) == (("overall",), None, ())


def test_bom_crlf_semicolons_quotes_and_other_alphabets(tmp_path):
    text = '\ufeffid;score;prediction;subset\r\n"ä; ö, 山.jpg";1;2;"day, night"\r\n'
    (row,) = read_predictions(written(tmp_path, text)).rows
    assert (row.id, row.subset, row.scores["overall"]) == ("ä; ö, 山.jpg", "day, night", 1)


def test_everything_there_is_comes_back_as_it_was_written(tmp_path):
    rows = [
        EvaluatedRow("a, b", {"overall": 1.0, "light": 2.0}, {"overall": 0.1 + 0.2, "light": None}, 0.5, (0.25, 0.75),
                     (0.5, 0.5), "day"),
        EvaluatedRow("c", {"overall": None, "light": 2.0}, {"overall": None, "light": 1.0}),
    ]  # fmt: skip
    path = write_predictions(tmp_path / "p.csv", rows, ("overall", "light"), calibrated=False)
    found = read_predictions(path)
    assert found.attributes == ("overall", "light")
    assert found.calibrated is False
    assert found.rows[1] == rows[1]
    assert found.rows[0].predictions["overall"] == pytest.approx(0.3)
    assert (found.rows[0].std, found.rows[0].p_n, found.rows[0].h_n, found.rows[0].subset) == (
        0.5,
        (0.25, 0.75),
        (0.5, 0.5),
        "day",
    )


def test_json_lines_may_name_columns_late(tmp_path):
    lines = [{"score": 1, "prediction": 2}, {"id": "b", "score": 1, "prediction": 2, "std": 0.5, "h_1": 3, "h_2": 1}]
    path = written(tmp_path, "\n".join(map(json.dumps, lines)), "p.jsonl")
    first, second = read_predictions(path).rows
    assert (first.std, first.h_n) == (None, None)
    assert (second.std, second.h_n) == (0.5, (0.75, 0.25))  # counts of votes become shares


def test_a_number_beyond_all_numbers_is_a_fault(tmp_path):
    (fault,) = faults_of(written(tmp_path, '{"score": 1, "prediction": 1' + "0" * 400 + "}", "p.jsonl"))
    assert fault.startswith("1: prediction is 1000")


def test_all_faults_are_reported_together_with_their_lines(tmp_path):
    text = (
        "id,score,prediction,std,h_1,h_2,calibrated\n"
        "a,bad,2,0.1,1,1,yes\n"
        "b,11,inf,-1,0.5,0.7,no\n"
        "a,5,5,,1,,yes\n"
    )  # fmt: skip
    assert faults_of(written(tmp_path, text), space=ScoreSpace(1, 10)) == [
        "2: score is 'bad'; expected a number, or an empty cell where there is none",
        "3: prediction is 'inf'; expected a number, or an empty cell where there is none",
        "3: score is 11, outside the range 1..10; correct it, or give the scale of this file with --min_score and "
        "--max_score",
        "3: the std is -1; a standard deviation cannot be negative",
        "3: calibrated is 'no'; expected yes in every row, or no in every row",
        "3: h_1 .. h_2 add up to 1.2; expected shares that add up to 1, or whole numbers of votes",
        "4: the id 'a' was used before, in line 2; give every row its own",
        "4: h_1 .. h_2 are not all numbers of at least 0; fill all of them, or none",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,mos,pred\na,1,2\n", "no column 'score' and no column 'prediction', only 'image', 'mos', 'pred'"),
        ("score,prediction\n", "there is no row in this file"),
        ("score,prediction\n1,5_3\n", "prediction is '5_3'; expected a number"),
        ("score,prediction,h_1\n1,2,1\n1,2,1\n", "h_1 alone is no distribution; expected h_1 .. h_N"),
        ("score,prediction,p_1,p_3\n1,2,0.5,0.5\n", "p_1, p_3 leave a level out"),
        ("score,prediction,p_1,p_2\n1,2,3,5\n", "p_1 .. p_2 add up to 8; expected shares that add up to 1"),
    ],
)
def test_what_makes_a_file_useless_is_said_once(tmp_path, text, said):
    (fault,) = faults_of(written(tmp_path, text))
    assert said in fault


def test_what_is_left_aside_is_said(tmp_path):
    text = "score,prediction,score.light,prediction.colour,colour\n1,2,3,4,5\n"
    found = read_predictions(written(tmp_path, text))
    assert found.attributes == ("overall",)
    assert found.notes == (
        "prediction.colour has no score.colour beside it and is ignored",
        "score.light has no prediction.light beside it and is ignored",
        "ignored: colour",
    )
    twice = read_predictions(written(tmp_path, "score,prediction,score.overall,prediction.overall\n1,2,3,4\n"))
    assert (twice.attributes, twice.notes) == (("overall",), ("ignored: score.overall, prediction.overall",))
    assert twice.rows[0].scores == {"overall": 1}


def test_pictures_are_looked_for_in_their_folder_only(tmp_path):
    path = written(tmp_path, "id,score,prediction\nday/a.jpg,1,2\n../secret.jpg,1,2\n/etc/passwd,1,2\n")
    inside, *outside = read_predictions(path, image_folder=tmp_path / "photos").rows
    assert inside.image == str(tmp_path / "photos" / "day" / "a.jpg")
    assert [row.image for row in outside] == [None, None]
    assert [row.image for row in read_predictions(path).rows] == [None] * 3  # an id alone is no path
    with_images = written(tmp_path, "image,score,prediction\na.jpg,1,2\n", "images.csv")
    (row,) = read_predictions(with_images).rows
    assert (row.id, row.image) == ("a.jpg", str(tmp_path / "a.jpg"))


def test_an_attribute_may_have_semicolons_in_its_name(tmp_path):
    attributes = ("overall", "colour; warm; cold; neither; nor")
    rows = [EvaluatedRow("a", dict.fromkeys(attributes, 1.0), dict.fromkeys(attributes, 2.0))]
    assert read_predictions(write_predictions(tmp_path / "p.csv", rows, attributes)).attributes == attributes


def test_histograms_have_the_same_levels_in_all_rows(tmp_path):
    lines = [
        {"score": 1, "prediction": 2, "h_1": 1, "h_2": 1},
        {"score": 1, "prediction": 2} | dict(h_1=1, h_2=1, h_3=1),
    ]
    path = written(tmp_path, "\n".join(map(json.dumps, lines)), "p.jsonl")
    assert faults_of(path) == ["2: h_1 .. h_3 are 3 levels, where line 1 has 2; expected as many in every row"]


def test_tables_as_spreadsheets_and_data_frames_write_them(tmp_path):
    text = "sep=;\nID;Score;Prediction;P_1;P_2\n7.0;NA;4.5;;\n;;;;\n8;3;4;0.5;0.5\n"
    (tmp_path / "p.csv").write_text(text)
    rows = read_predictions(tmp_path / "p.csv").rows
    assert [(row.id, row.scores["overall"], row.predictions["overall"], row.p_n) for row in rows] == [
        ("7", None, 4.5, None),
        ("8", 3.0, 4.0, (0.5, 0.5)),
    ]
    (tmp_path / "p.csv").write_text('id,score,prediction\n1,"1,234.5",4\n')
    with pytest.raises(DataError, match="expected a number, without marks between the thousands: 1234.5"):
        read_predictions(tmp_path / "p.csv")


def test_two_names_that_differ_in_capital_letters_only_are_two_columns(tmp_path):
    (tmp_path / "p.csv").write_text("id,ID,score,prediction\n1,x,3,4\n")
    found = read_predictions(tmp_path / "p.csv")
    assert found.rows[0].id == "1" and "ignored: ID" in found.notes


def test_capital_letters_in_the_names_of_attributes_make_no_difference(tmp_path):
    text = "Score,Prediction,Score.Light,prediction.light,SCORE.colour,PREDICTION.Colour\n1,2,3,4,5,6\n"
    found = read_predictions(written(tmp_path, text))
    assert (found.attributes, found.notes) == (("overall", "Light", "colour"), ())
    assert found.rows[0].scores == {"overall": 1, "Light": 3, "colour": 5}
    assert found.rows[0].predictions == {"overall": 2, "Light": 4, "colour": 6}
    twice = written(tmp_path, "score,prediction,score.light,Score.Light\n1,2,3,4\n")
    assert faults_of(twice) == ["2: there are two columns for 'score.light'; drop one"]


def test_a_score_outside_its_attributes_own_range_names_the_setting(tmp_path):
    text = "score,prediction,score.delta,prediction.delta\n1,1.5,-8,0\n2,2,11,0\n"
    (fault,) = faults_of(written(tmp_path, text), space=ScoreSpace(1, 10, attribute_ranges={"delta": (-10, 10)}))
    assert fault.startswith("3: score.delta is 11, outside the range -10..10") and fault.endswith("--attribute_ranges")
