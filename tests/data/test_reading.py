"""Data files: what is accepted and how it is read; every fault is found and reported with its line."""

import builtins
import json
import os
import re
import shutil
import unicodedata

import pytest
from PIL import Image

from roc.data.reading import read_records
from roc.data.records import Record
from roc.data.rows import DataError
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10, num_levels=10)

# the sample published with ROC4MLLM, as it stands in the authors' README
AVA_SAMPLE = """
{
  "image": "771257.jpg",
  "gt_score": 3.463414634146341,
  "conversations": [{"from": "human", "value": "<|image|>Could you evaluate the aesthetics of this image?"}, {"from": "gpt", "value": "The aesthetic rate of the image is [SCORE]. "}],
  "target": [0.15853658536585366, 0.10975609756097561, 0.2073170731707317, 0.2926829268292683, 0.16463414634146342, 0.04878048780487805, 0.0, 0.0, 0.006097560975609756, 0.012195121951219513]
}
"""  # noqa: E501


@pytest.fixture
def folder(tmp_path):
    """A folder with the images a.jpg .. e.jpg and the published sample's."""
    for name in (*"abcde", "771257"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.jpg")
    return tmp_path


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def read(path, **options):
    return read_records(path, **{"space": SPACE} | options)


def faults(path, **options):
    """Returns the faults of a file without the file's name in front: "LINE: what"."""
    with pytest.raises(DataError) as error:
        read(path, **options)
    assert all(fault.startswith(f"{path}") for fault in error.value.faults)
    return [fault.removeprefix(f"{path}").removeprefix(":").strip() for fault in error.value.faults]


def sample(**changes):
    return {"image": "a.jpg", "gt_score": 5.0} | changes


def turns(question="How?", answer="It is [SCORE]."):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def jsonl(folder, *samples):
    return write(folder, "data.jsonl", "".join(json.dumps(one) + "\n" for one in samples))


# --- what is accepted ------------------------------------------------------------------------------------------------


def test_published_ava_sample_is_read_unchanged(folder):
    (record,) = read(write(folder, "ava.json", f"[{AVA_SAMPLE}]"), image_folder=folder, num_levels=10)
    assert record.id == "771257.jpg"
    assert record.images == (str(folder / "771257.jpg"),)
    assert record.scores == {"overall": 3.463414634146341}
    target = json.loads(AVA_SAMPLE)["target"]
    assert record.histograms["overall"] == pytest.approx(target, abs=1e-12)
    assert sum(record.histograms["overall"]) == pytest.approx(1, abs=1e-15)
    assert record.conversations == (
        ("user", "<|image|>Could you evaluate the aesthetics of this image?"),
        ("assistant", "The aesthetic rate of the image is [SCORE]. "),
    )


def test_num_tokens_that_does_not_match_the_target_is_refused(folder):
    path = write(folder, "ava.json", f"[{AVA_SAMPLE}]")
    (fault,) = faults(path, num_levels=5)
    assert fault.startswith("2: the histogram has 10 levels, expected 5; num_levels (num_tokens)")


def test_csv_with_every_kind_of_column(folder):
    path = write(
        folder,
        "data.csv",
        "\ufeffimage,MOS,id,std,n_votes,comment,split,dataset,group,h_1,h_2,h_3,light,score.depth_of_field,"
        "h_light_1,h_light_2,h_light_3\r\n"
        'a.jpg,5.5,first,1.25,8,"warm, and\r\nquiet",train,mine,g1,2,4,2,7,3,0,0.25,0.75\r\n'
        "\r\n"
        "b.jpg,6,,,,,Validation,,,,,,,2.5,,,\r\n",
    )
    first, second = read(path, num_levels=3)
    assert first == Record(
        id="first",
        images=(str(folder / "a.jpg"),),
        scores={"overall": 5.5, "light": 7.0, "depth_of_field": 3.0},
        histograms={"overall": (0.25, 0.5, 0.25), "light": (0.0, 0.25, 0.75)},
        std=1.25,
        n_votes=8,
        comment="warm, and\r\nquiet",
        conversations=None,
        group="g1",
        split="train",
        dataset="mine",
        line=2,
    )
    assert list(first.scores) == ["overall", "light", "depth_of_field"]
    assert second == Record(
        "b.jpg", (str(folder / "b.jpg"),), {"overall": 6.0, "depth_of_field": 2.5}, split="val", line=5
    )


@pytest.mark.parametrize("name", ["score", "mos", "gt_score", "mean"])
def test_names_of_the_score_column(folder, name):
    assert read(write(folder, "data.csv", f"image,{name}\na.jpg,4\n"))[0].scores == {"overall": 4.0}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators(folder, separator):
    text = "image,score,light\na.jpg,4,5\n".replace(",", separator)
    assert read(write(folder, "data.csv", text))[0].scores == {"overall": 4.0, "light": 5.0}


def test_json_lines_take_the_names_of_both(folder):
    path = jsonl(
        folder,
        sample(conversations=turns(), target=[1, 1, 2], id=7),
        {"image": "b.jpg", "score": 6, "light": 3, "h_1": 0.5, "h_2": 0.5, "h_3": 0, "edit": {"crop": 0.9}},
    )
    first, second = read(path)
    assert (first.id, first.histograms, first.line) == ("7", {"overall": (0.25, 0.25, 0.5)}, 1)
    assert second.scores == {"overall": 6.0, "light": 3.0} and second.edit == {"crop": 0.9}
    assert second.histograms == {"overall": (0.5, 0.5, 0.0)} and second.line == 2


def test_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {
            "image": ["a.jpg", "b.jpg"],
            "mos": [4.0, 5.0],
            "light": [None, 2.0],
            "split": ["train", None],
            "__index_level_0__": [3, 9],
        }
    )
    path = folder / "data.parquet"
    parquet.write_table(table, path)
    assert [record.scores for record in read(path)] == [{"overall": 4.0}, {"overall": 5.0, "light": 2.0}]
    path.write_bytes(b"not parquet")
    assert "not a Parquet file" in faults(path)[0]


def test_text_that_nobody_asked_for_is_not_read_and_named_in_one_note(folder, caplog):
    path = write(
        folder,
        "data.csv",
        "image,score,photographer,licence,year,light\na.jpg,5,Bob,CC,2019,3\nb.jpg,6,Ann,CC,2020,bright\nc.jpg,6,,,,4\n",
    )
    for _ in range(2):
        assert [set(record.scores) for record in read(path, attributes=("overall",))] == [{"overall"}] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: not read: 'photographer' (no numbers), 'licence' (no numbers), 'year' (outside the range), "
        "'light' (not only numbers); a column is an attribute if it holds scores"
    ]
    assert faults(path, attributes=("overall", "photographer")) == [
        "2: the attribute 'photographer' is 'Bob'; expected numbers, or leave it out of --attributes"
    ]
    assert faults(path, attributes=("overall", "light")) == ["3: the score of 'light' is 'bright'; expected a number"]


def test_ids_and_images_may_be_numbers(folder):
    shutil.copy(folder / "a.jpg", folder / "7")
    path = jsonl(folder, sample(image=7), sample(id=8.0), sample(image="b.jpg", id="9.0"))
    assert [record.id for record in read(path)] == ["7", "8", "9"]


def test_a_path_as_datasets_writes_it_into_json(folder):
    cells = ({"path": "a.jpg", "bytes": None}, [{"path": "b.jpg"}, "c.jpg"])
    first, second = read(jsonl(folder, *(sample(image=cell) for cell in cells)))
    assert (first.id, second.id) == ("a.jpg", "b.jpg|c.jpg")


def test_names_of_columns_are_known_in_any_letters(folder):
    path = write(
        folder, "data.csv", "IMAGE,Mos,H_1,H_2,Score.Light,H_Light_1,h_Light_2,SPLIT\na.jpg,5,1,3,4,1,1,Test\n"
    )
    (record,) = read(path)
    assert record.scores == {"overall": 5, "Light": 4} and record.split == "test"
    assert record.histograms == {"overall": (0.25, 0.75), "Light": (0.5, 0.5)}


def test_no_value_in_every_spelling(folder):
    cells = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A"]
    text = "".join(f"a.jpg,{5 + place / 10},{cell},{place}\n" for place, cell in enumerate(cells))
    records = read(write(folder, "data.csv", f"image,score,light,id\n{text}a.jpg,4,3,x\n"))
    assert [record.scores.get("light") for record in records] == [None] * 10 + [3]
    path = jsonl(folder, sample(light=float("nan"), id=1), sample(light=None, id=2), sample(light="NA", id=3))
    assert [set(record.scores) for record in read(path)] == [{"overall"}] * 3


def test_words_stay_words_where_a_name_is_expected(folder):
    shutil.copy(folder / "a.jpg", folder / "NA")
    path = write(folder, "data.csv", "image,score,id,comment,group,dataset\nNA,5,null,None,NaN,n/a\n")
    (record,) = read(path)
    assert (record.id, record.comment, record.group, record.dataset) == ("null", "None", "NaN", "n/a")
    assert record.images == (str(folder / "NA"),)


# Paths that are nearly right; the hint of all rows with one cause is given once.


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("set\\a.jpg", "'set/a.jpg' is there: write '/' for '\\'"),
        (".\\set\\a.jpg", "'set/a.jpg' is there: write '/' for '\\'"),
        ("a.jpg", "'set/a.jpg' is there: give {root}/set as image_folder, or write 'set/' in front"),
        ("set/a", "'set/a.jpg' is there: its name ends in '.jpg'"),
        ("set/a.jpeg", "'set/a.jpg' is there: its name ends in '.jpg'"),
        ("set/a.JPG", "'set/a.jpg' is there: it differs in capital letters"),
        ("other/set/a.jpg", "'set/a.jpg' is there: leave 'other/' out of the paths"),
        (
            "C:\\Users\\jane\\set\\a.jpg",
            "'set/a.jpg' is there: write '/' for '\\'; leave 'Users/jane/' out of the paths",
        ),
        ("set/7.jpg", "'set/0007.jpg' is there: keep the zeros in front"),
        ("set/7", "'set/0007.jpg' is there: keep the zeros in front"),
        ("set/two%20words.jpg", "'set/two words.jpg' is there: write it so"),
        ("set/z.jpg", None),
    ],
)
def test_hint_for_an_image_that_is_nearly_there(tmp_path, written, hint):
    root = tmp_path / "root"
    (root / "set").mkdir(parents=True)
    for name in ("a", "b", "0007", "two words"):
        Image.new("RGB", (8, 8)).save(root / "set" / f"{name}.jpg")
    (root / "set" / "a.txt").touch()
    good = {"image": "set/b.jpg", "score": 4, "id": "good"}
    rows = [{"image": written, "score": 5, "id": number} for number in range(30)]
    found = faults(jsonl(root, good, *rows), image_folder=root)
    if hint is None:
        assert len(found) == 30 and all("check image_folder and the file's name" in fault for fault in found)
        return
    assert len(found) == 1
    assert found[0] == (
        f"2: there is no image {root}/{os.path.normpath(written)}, but {hint.format(root=root)} "
        "(the same in 29 more lines: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...)"
    )


def test_hint_for_a_doubled_folder_an_absolute_path_and_a_url(folder):
    images = folder / "images"
    images.mkdir()
    shutil.copy(folder / "a.jpg", images / "a b.jpg")

    def fault(written):
        (found,) = faults(jsonl(folder, {"image": written, "score": 5}), image_folder=images)
        return found

    for written in ("images/a b.jpg", "images\\a b.jpg"):
        advice = f"ends in 'images' already: leave 'images/' out of the paths, or give the folder above, {folder}"
        assert "'a b.jpg' is there: " in fault(written) and advice in fault(written)
    absolute = fault("/home/jane/set/a b.jpg")
    assert "lies outside of" in absolute and "leave 'home/jane/set/' out of the paths" in absolute
    url = fault("https://host/x/a%20b.jpg?v=1")
    assert "is a URL, and images are read from files; 'a b.jpg' is there: write it so" in url
    assert "download it and write its path" in fault("https://host/x/z.jpg")


# Record files of other projects.


def peer(**changes):
    """A sample as Q-Align and DeQA-Score publish them."""
    return {
        "id": "a.jpg->3.9",
        "image": "a.jpg",
        "gt_score": 3.9,
        "gt_score_norm": 4.2,
        "level_probs": [0.4, 0.5, 0.1, 0, 0],
        "std": 0.2,
        "std_norm": 0.22,
        "conversations": turns("How would you rate the quality of this image?\n<|image|>", "The quality is good."),
    } | changes


def test_a_peers_conversation_without_a_score_is_one_fault_that_says_what_to_do(folder):
    found = faults(jsonl(folder, *(peer(id=number) for number in range(5))))
    assert len(found) == 1
    assert found[0].startswith("1: the answers hold no [SCORE], so the score would not be learnt.")
    assert "roc data check FILE --drop conversations --write_good ratings.jsonl (the same in 4 more lines" in found[0]


def test_a_peers_score_is_read_and_its_other_scales_are_not(folder):
    (record,) = read(jsonl(folder, {name: value for name, value in peer().items() if name != "conversations"}))
    assert record.scores == {"overall": 3.9} and record.std == 0.2 and not record.histograms


def test_parquet_without_pyarrow_names_it(folder, monkeypatch):
    real_import = builtins.__import__

    def without_pyarrow(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    (fault,) = faults(write(folder, "data.parquet", "x"))
    assert "pip install 'roc-mllm[parquet]'" in fault


def test_several_scores_in_the_order_of_the_clauses(folder):
    conversations = turns(answer="The aesthetic rate is [SCORE], the light rate is [SCORE].")
    path = jsonl(folder, sample(gt_score=[5, 7], conversations=conversations))
    assert list(read(path)[0].scores.items()) == [("overall", 5.0), ("score_2", 7.0)]
    assert list(read(path, attributes=["overall", "light"])[0].scores) == ["overall", "light"]
    path = jsonl(folder, sample(gt_score=[5, 7], attributes=["overall", "colour"], target=[[0, 1], [1, 1]]))
    (record,) = read(path, attributes=["overall", "light"])
    assert list(record.scores) == ["overall", "colour"]
    assert record.histograms == {"overall": (0.0, 1.0), "colour": (0.5, 0.5)}


def test_images_without_a_place_go_in_front_of_the_first_question(folder):
    path = jsonl(folder, sample(image=["a.jpg", "b.jpg"], conversations=turns("Which?")))
    (record,) = read(path)
    assert record.conversations[0] == ("user", "<|image|><|image|>Which?")
    assert record.id == "a.jpg|b.jpg" and len(record.images) == 2


def test_plain_text_sample_has_no_score(folder):
    for empty in ({}, {"gt_score": None}):
        path = jsonl(folder, {"image": "a.jpg", "conversations": turns(answer="A red square.")} | empty)
        assert read(path)[0].scores == {}


def test_shares_are_made_to_add_up_exactly_and_counts_are_divided(folder):
    path = jsonl(folder, sample(target=[0.3334, 0.3334, 0.3337]), sample(image="b.jpg", target=[3, 1, 0]))
    first, second = read(path)
    assert sum(first.histograms["overall"]) == pytest.approx(1, abs=1e-15)
    assert second.histograms["overall"] == (0.75, 0.25, 0.0)


def test_without_space_only_the_range_is_left_unchecked(folder):
    path = jsonl(folder, sample(gt_score=1234))
    assert read(path, space=None)[0].scores == {"overall": 1234.0}
    assert faults(jsonl(folder, sample(gt_score=float("inf"))), space=None) == [
        "1: the score is inf; expected a finite number"
    ]


def test_rows_may_lack_every_score_where_that_is_said(folder):
    path = write(folder, "data.csv", "image,score\na.jpg,\nb.jpg,5\n")
    assert [one.scores for one in read(path, unrated=True)] == [{}, {"overall": 5.0}]
    assert [one.scores for one in read(write(folder, "bare.csv", "image\na.jpg\n"), unrated=True)] == [{}]
    assert "the score is 'good'" in faults(write(folder, "bad.csv", "image,score\na.jpg,good\n"), unrated=True)[0]


# --- what is refused, CSV --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("good", "the score is 'good'; expected a number"),
        ("5,5", "3 cells where the header has 2"),
        ('"5,5"', "the score is '5,5'; expected a number"),
        ("1_0", "the score is '1_0'; expected a number"),
        ("nan", "the score is empty; give a number"),
        ("N/A", "the score is empty; give a number"),
        ('"1,234.5"', "the score is '1,234.5'; expected a number, without marks between the thousands: 1234.5"),
        ("1.234.567", "the score is '1.234.567'; expected a number, without marks between the thousands: 1234567"),
        ('"1,234"', "the score is '1,234'; expected a number, without marks between the thousands: 1234, or with"),
        ("85 %", "the score is '85 %'; expected a number, without the percent sign"),
        ("-inf", "the score is -inf; expected a finite number"),
        ("11", "the score is 11, outside the range 1..10"),
        ("0.5", "the score is 0.5, outside the range 1..10"),
        ("", "the score is empty; give a number"),
        ('"5,3"', "the score is '5,3'; expected a number, with a point: 5.3"),
        ("excellent", "the score is 'excellent'; expected a number"),
    ],
)
def test_bad_score_cells(folder, cell, what):
    (fault,) = faults(write(folder, "data.csv", f"image,score\na.jpg,5\nb.jpg,{cell}\n"))
    assert fault.startswith(f"3: {what}")


@pytest.mark.parametrize(
    ("columns", "cells", "what"),
    [
        ("light", "11", "the score of 'light' is 11, outside the range"),
        ("std", "-1", "the std is -1; a standard deviation cannot be negative"),
        ("std", "wide", "the std is 'wide'; expected a number"),
        ("n_votes", "0", "n_votes is 0; expected a whole number"),
        ("n_votes", "2.5", "n_votes is 2.5; expected a whole number"),
        ("split", "dev", "the split is 'dev'; expected one of train, val, validation, test"),
        ("comment", "a [SCORE]", "the comment contains [SCORE]"),
        ("h_1,h_2", "0.5,", "the histogram's level 2 is missing"),
        ("h_1,h_2", "0.5,nan", "the histogram's level 2 is missing"),
        ("h_1,h_2", "0.5,0.6", "the histogram adds up to 1.1; expected shares that add up to 1"),
        ("h_1,h_2", "1.5,-0.5", "the histogram has a negative part, -0.5"),
        ("h_1,h_2", "0,0", "the histogram is all 0"),
        ("h_1,h_2,n_votes", "3,4,8", "the histogram holds 7 votes, but n_votes is 8"),
        ("h_1,h_3", "1,0", "the histogram's columns for 'overall' are numbered [1, 3]; expected 1, 2, 3"),
        ("h_light_1,h_light_2", "1,0", "there is a histogram for 'light', but no score of that name"),
        ("prediction", "4", "'prediction' is what a model predicted"),
        ("p_1", "0.4", "'p_1' is what a model predicted"),
        ("overall", "4", "the overall score has to be named one of score, mos, gt_score, mean"),
        ("mos", "4", "there is more than one overall score: score, mos"),
    ],
)
def test_bad_cells_in_other_columns(folder, columns, cells, what):
    (fault,) = faults(write(folder, "data.csv", f"image,score,{columns}\na.jpg,5,{cells}\n"))
    assert fault.startswith(f"2: {what}")


def test_two_columns_for_one_level_are_a_fault(folder):
    (fault,) = faults(write(folder, "data.csv", "image,score,h_01,h_1,h_2\na.jpg,4,1,2,3\nb.jpg,4,1,2,3\n"))
    assert fault == "2: there are two columns for the votes of level 1 of 'overall', 'h_01' and 'h_1'; drop one"


def test_votes_too_large_to_be_added_are_a_fault(folder):
    (fault,) = faults(write(folder, "data.csv", "image,score,h_1,h_2\na.jpg,4,1e308,1e308\n"))
    assert "2: the histogram adds up to inf; expected shares that add up to 1, or whole numbers of votes" in fault


def test_a_path_with_a_zero_byte_is_a_fault_of_its_line(folder):
    (fault,) = faults(jsonl(folder, {"image": "a\0b/c.jpg", "score": 4}))
    assert fault == "1: the image is 'a\\x00b/c.jpg'; expected a path or a list of paths"


def test_a_histogram_of_shares_needs_no_number_of_votes(folder):
    path = write(folder, "data.csv", "image,score,h_1,h_2,n_votes\na.jpg,5,0,1,30\nb.jpg,5,10,20,30\n")
    assert [record.histograms["overall"] for record in read(path)] == [(0, 1), (1 / 3, 2 / 3)]


def test_numbers_in_quotation_marks_are_no_numbers_in_json(folder):
    (fault,) = faults(jsonl(folder, sample(gt_score="5.3")))
    assert fault == "1: the score is '5.3'; expected a number, without quotation marks"


def test_two_samples_in_one_line_can_share_an_id(folder):
    """In a `.json` list the line alone does not tell samples apart."""
    path = write(folder, "data.json", json.dumps([sample(), sample()]))
    assert faults(path)[0].startswith("1: sample 2: the id 'a.jpg' was used before, in line 1")


def test_one_text_among_numbers_is_a_fault_of_its_cell(folder):
    path = write(folder, "data.csv", "image,score,light\na.jpg,5,5\nb.jpg,5,n/a\nc.jpg,5,5\n")
    assert [record.scores.get("light") for record in read(path)] == [5, None, 5]
    path = write(folder, "data.csv", "image,score,light\na.jpg,5,5\nb.jpg,5,bright\nc.jpg,5,5\n")
    assert faults(path) == ["3: the score of 'light' is 'bright'; expected a number"]


def test_all_faults_are_reported_together_in_the_order_of_the_lines(folder):
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-8])
    path = write(
        folder,
        "data.csv",
        'image,score,comment,split\na.jpg,5,"two\nlines",train\nb.jpg,good,"three\n\nlines",train\nmissing.jpg,12,,test\n'
        "a.jpg,5,,test\nbroken.jpg,5,,\nc.jpg,5\nd.jpg,5,,\nd.jpg,6,,\n",
    )
    assert [re.split("; | \\(", fault)[0].replace(f"{folder}/", "") for fault in faults(path)] == [
        "4: the score is 'good'",
        "7: the score is 12, outside the range 1..10",
        "7: there is no image missing.jpg",
        "8: the image a.jpg is in test here and in train in line 2",
        "9: broken.jpg: cut short or damaged: image file is truncated",
        "10: 2 cells where the header has 4",
        "12: the id 'd.jpg' was used before, in line 11",
    ]


def test_message_shows_fifty_faults_and_keeps_all(folder):
    rows = "a.jpg,5\n" + "".join(f"{n}.jpg,5\n" for n in range(61))
    path = write(folder, "data.csv", f"image,score\n{rows}")
    with pytest.raises(DataError) as error:
        read(path, check_images=False)
    assert len(error.value.faults) == 61 and error.value.faults[0].startswith(f"{path}:3: there is no image")
    lines = str(error.value).splitlines()
    assert len(lines) == 52 and lines[0] == "61 faults in the data:" and lines[-1] == "... and 11 more"


def test_any_number_of_images_in_one_folder_below_is_one_fault(tmp_path):
    """Also more than are looked for in all folders below, and where some are in another of them."""
    for number in range(250):
        folder = tmp_path / ("images" if number % 50 else "others")
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.jpg").touch()
    path = write(tmp_path, "data.csv", "image,score\n" + "".join(f"{n}.jpg,5\n" for n in range(250)))
    found = faults(path, check_images=False)
    assert len(found) == 2 and found[0].startswith(
        f"2: there is no image {tmp_path}/0.jpg, but 'others/0.jpg' is there"
    )
    assert f"give {tmp_path}/images as image_folder" in found[1] and "(the same in 244 more lines: 4, 5," in found[1]


def test_scores_on_another_scale_are_one_fault_that_proposes_it(folder):
    """Half of the scores, and three, are outside; fewer are taken for slips."""
    cells = [*(f"a.jpg,{n / 40}" for n in range(40)), "b.jpg,1.0"]
    text = "id,image,score\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells))
    remedy = "correct the score, or declare the range it was given on (min_score, max_score)"
    assert faults(write(folder, "data.csv", text)) == [
        f"2: the score is 0, outside the range 1..10; {remedy}. 40 of 41 scores are outside; all lie on 0..1, by guess "
        "on the scale 0..1: --min_score 0 --max_score 1 "
        "(the same in 39 more lines: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...)"
    ]
    odd = "id,image,score\n1,a.jpg,5\n2,a.jpg,6\n3,b.jpg,44\n4,b.jpg,7\n5,c.jpg,55\n"
    assert faults(write(folder, "odd.csv", odd)) == [
        f"4: the score is 44, outside the range 1..10; {remedy} (the same in 1 more line: 6)"
    ]


def test_cells_with_one_kind_of_fault_are_one_fault(folder):
    rows = [f'a.jpg,"5,{n}",0.{n},dev' for n in range(4)] + ["b.jpg,n.r.,7,test"]
    text = "id,image,score,std,split\n" + "".join(f"{n},{row}\n" for n, row in enumerate(rows))
    assert faults(write(folder, "data.csv", text)) == [
        "2: the score is '5,0'; expected a number, with a point: 5.0 (the same in 3 more lines: 3, 4, 5)",
        "2: the split is 'dev'; expected one of train, val, validation, test (the same in 3 more lines: 3, 4, 5)",
        "6: the score is 'n.r.'; expected a number",
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "there is no sample in this file"),
        ("\n\n", "there is no sample in this file"),
        ("image,score\n", "there is no sample in this file"),
        ("file,score\na.jpg,5\n", "there is no 'image', only 'file', 'score'"),
        ("image,rating\na.jpg,5\n", "there are no overall scores; name their column one of score, mos"),
        ("image,score,score\na.jpg,5,5\n", "1: the column 'score' occurs twice"),
        ("image,score,light,score.light\na.jpg,5,5,5\n", "2: there are two columns for 'light'"),
        (",image,score\n0,a.jpg,5\n", "1: column 1 has no name"),
        ('image,score\na.jpg,5\n"b.jpg,5\nc.jpg,6\n', "3: cannot be read from here on"),
        ("image,score\n,5\n", "2: the image is missing; expected a path"),
    ],
)
def test_bad_csv_files(folder, text, what):
    (fault,) = faults(write(folder, "data.csv", text))
    assert fault.startswith(what)


def test_text_that_is_not_utf_8(folder):
    path = folder / "data.csv"
    path.write_bytes("image,score\nä.jpg,5\n".encode("latin-1"))
    (fault,) = faults(path)
    assert "not UTF-8" in fault


# --- what is refused, JSON -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"gt_score": "5"}, "the score is '5'; expected a number"),
        ({"gt_score": True}, "the score is True; expected a number"),
        ({"gt_score": float("nan")}, "the score is empty; give a number"),
        ({"gt_score": float("inf")}, "the score is inf; expected a finite number"),
        ({"gt_score": [5, 11]}, "the score of 'score_2' is 11, outside the range"),
        ({"gt_score": [5, 6], "attributes": ["overall"]}, "there are 2 scores for 1 attributes (overall)"),
        ({"gt_score": [5, 6], "attributes": ["light", "overall"]}, "the attributes are light, overall; the first"),
        ({"gt_score": [5, 6], "attributes": ["overall", 2]}, "the attributes are ['overall', 2]; expected a list"),
        ({"gt_score": []}, "there is no score"),
        ({"image": 7.5}, "the image is 7.5; expected a path or a list of paths"),
        ({"image": []}, "the image is []; expected a path or a list of paths"),
        ({"image": ["a.jpg", ""]}, "the image is ['a.jpg', '']; expected a path or a list of paths"),
        ({"target": "0.5 0.5"}, "the histogram is '0.5 0.5'; expected a list"),
        ({"target": []}, "the histogram is []; expected a list"),
        ({"target": [0.2, 0.2]}, "the histogram adds up to 0.4"),
        ({"target": [0.2, "x"]}, "the histogram's level 2 is 'x'"),
        ({"target": [[1, 0], [0, 1]]}, "the target holds 2 histograms for 1 scores"),
        ({"target": [1, 0], "h_1": 1, "h_2": 0}, "there are two histograms"),
        ({"edit": "crop"}, "the edit is 'crop'; expected an object"),
        ({"id": 1.5}, "the id is 1.5; expected a text"),
        ({"conversations": "rate it"}, "a turn is 'rate it'; expected {"),
        ({"conversations": [{"from": "system", "value": "x"}]}, "a turn is {'from': 'system', 'value': 'x'}"),
        ({"conversations": [{"from": "human", "value": 3}]}, "a turn is {'from': 'human', 'value': 3}"),
        ({"conversations": []}, "the turns are from nobody; expected human and gpt by turns"),
        ({"conversations": turns()[:1]}, "the turns are from user; expected human and gpt by turns"),
        ({"conversations": turns()[::-1]}, "the turns are from assistant, user; expected human and gpt by turns"),
        (
            {"conversations": turns(answer="Fine.")},
            "the answers hold no [SCORE], so the score",
        ),
        ({"conversations": turns(answer="[SCORE] or [SCORE]")}, "the answers have 2 [SCORE] for 1 scores"),
        ({"conversations": turns("Is it [SCORE]?")}, "[SCORE] stands in a question"),
        ({"conversations": turns("<|image|><|image|>?")}, "the first question has 2 <|image|> for 1 images"),
        ({"conversations": turns("?", "<|image|> [SCORE]")}, "<|image|> stands after the first question"),
        (
            {"conversations": turns("Hi.", "Hi.") + turns("<|image|>How?")},
            "<|image|> stands after the first question",
        ),
    ],
)
def test_bad_samples(folder, changes, what):
    (fault,) = faults(jsonl(folder, sample(image="b.jpg"), sample(**changes)))
    assert fault.startswith(f"2: {what}")


def test_histograms_of_different_lengths(folder):
    path = jsonl(folder, sample(target=[1, 2, 3]), sample(image="b.jpg", target=[1, 2]))
    assert faults(path)[0].startswith("2: the histogram has 2 levels, expected 3")


def test_lines_of_a_json_list(folder):
    text = """
[
  {"image": "a.jpg",
   "gt_score": 5},

  {"image": "b.jpg",
   "gt_score": "x"}
, 3,
{"image": "c.jpg", "gt_score": 99}]
"""
    assert [fault.split(";")[0] for fault in faults(write(folder, "data.json", text))] == [
        "6: the score is 'x'",
        "8: a sample has to be an object {...}, got 3",
        "9: the score is 99, outside the range 1..10",
    ]


def test_samples_of_one_line_are_told_by_their_number(folder):
    samples = [sample(), sample(image="b.jpg", gt_score="x"), sample(image="c.jpeg"), sample(image="d.jpeg"), 3]
    assert faults(write(folder, "data.json", json.dumps(samples))) == [
        "1: sample 2: the score is 'x'; expected a number",
        f"1: sample 3: there is no image {folder}/c.jpeg, but 'c.jpg' is there: its name ends in '.jpg' "
        "(the same in 1 more sample: 4)",
        "1: sample 5: a sample has to be an object {...}, got 3",
    ]
    text = json.dumps(samples[:1])[:-1] + ",\n" + json.dumps(samples[1:3])[1:]
    assert [fault[:12] for fault in faults(write(folder, "data.json", text))] == ["2: sample 2:", "2: sample 3:"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "there is no sample in this file"),
        (" [ ] ", "there is no sample in this file"),
        ('{"image": "a.jpg", "gt_score": 5}\n', "1: a .json file has to be one list of samples"),
        ('[{"image": "a.jpg", "gt_score": 5}', "1: this is not JSON: ',' or ']' expected after a sample"),
        ('[{"image": "a.jpg", "gt_score": 5},\n{"image"', "2: this is not JSON: Expecting ':' delimiter"),
        ('[{"image": "a.jpg", "gt_score": 5},\n]', "2: this is not JSON: Expecting value"),
        ('[{"image": "a.jpg", "gt_score": 5}]\n[]', "1: this is not JSON: there is something after the end"),
    ],
)
def test_bad_json_files(folder, text, what):
    (fault,) = faults(write(folder, "data.json", text))
    assert fault.startswith(what)


def test_bad_lines_of_json_lines(folder):
    text = '{"image": "a.jpg", "score": 5}\n\n{"image": \n[1]\n{"image": "b.jpg", "score": 0}\n'
    assert [fault.split(";")[0] for fault in faults(write(folder, "data.jsonl", text))] == [
        "3: this is not JSON: Expecting value (column 10)",
        "4: a sample has to be an object {...}, got [1]",
        "5: the score is 0, outside the range 1..10",
    ]


# --- files and folders -----------------------------------------------------------------------------------------------


def test_missing_file_unknown_suffix_and_missing_folder(folder):
    kinds = ".json, .jsonl, .csv, .tsv, .xlsx, .parquet"
    assert f"no such file; expected a {kinds} file" in faults(folder / "no.csv")[0]
    path = write(folder, "data.xls", "x")
    assert f"the suffix '.xls' is not known; expected one of {kinds}" in faults(path)[0]
    path = write(folder, "data.csv", "image,score\na.jpg,5\n")
    with pytest.raises(DataError, match=r"nowhere: no such folder; image_folder has to be"):
        read(path, image_folder=folder / "nowhere")


def test_names_with_commas_quotes_and_letters_of_any_script(folder):
    names = ["a, b.jpg", "\u00c4pfel, \u00d6l.jpg", "\u5c71.jpg", 'say "it".jpg', "100% #1.jpg", "e\u0301.jpg"]
    for name in names:
        shutil.copy(folder / "a.jpg", folder / name)
    quoted = [name.replace('"', '""') for name in names]
    text = "\ufeffimage,score\r\n" + "".join(f'"{name}",5\r\n' for name in quoted)
    assert [record.id for record in read(write(folder, "data.csv", text))] == names


@pytest.mark.parametrize(
    ("there", "written", "differs"),
    [
        ("e\u0301.jpg", "\u00e9.jpg", "'e\\u0301.jpg' is there: it differs in the code points of its letters"),
        ("\u00e9.jpg", "e\u0301.jpg", "'\\xe9.jpg' is there: it differs in the code points of its letters"),
        ("F.JPG", "f.jpg", "'F.JPG' is there: it differs in capital letters"),
    ],
)
def test_a_missing_image_that_only_looks_different_is_named(folder, there, written, differs):
    assert unicodedata.normalize("NFC", there).casefold() == unicodedata.normalize("NFC", written).casefold()
    shutil.copy(folder / "a.jpg", folder / there)
    (fault,) = faults(write(folder, "data.csv", f"image,score\n{written},5\n"))
    assert fault == f"2: there is no image {folder}/{written}, but {differs}"


def test_what_is_there_but_no_file_is_named_as_such(folder):
    (folder / "dir.jpg").mkdir()
    (folder / "link.jpg").symlink_to("dir.jpg")
    os.mkfifo(folder / "pipe.jpg")
    found = faults(write(folder, "data.csv", "image,score\ndir.jpg,4\nlink.jpg,4\npipe.jpg,4\n"))
    assert [what.partition(f"{folder}/")[2] for what in found] == [
        "dir.jpg is a folder; give the path of one file",
        "link.jpg is a folder; give the path of one file",
        "pipe.jpg is no file that can be read twice; save it as one",
    ]


def test_links_are_followed_wherever_they_lead_and_a_broken_one_is_named(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    Image.new("RGB", (8, 8)).save(outside / "z.jpg")
    (folder / "in.jpg").symlink_to("a.jpg")
    (folder / "out.jpg").symlink_to(outside / "z.jpg")
    (folder / "set").symlink_to(outside)
    path = write(folder, "data.csv", "image,score\nin.jpg,5\nout.jpg,5\nset/z.jpg,5\n")
    assert [record.images[0] for record in read(path)] == [
        f"{folder}/{name}" for name in ("in.jpg", "out.jpg", "set/z.jpg")
    ]
    (folder / "broken.jpg").symlink_to("nowhere.jpg")
    (fault,) = faults(write(folder, "data.csv", "image,score\nbroken.jpg,5\n"))
    assert fault == f"2: the image {folder}/broken.jpg is a link to 'nowhere.jpg', which is not there"


def test_image_folder_is_a_border(folder):
    inner = folder / "inner"
    inner.mkdir()
    Image.new("RGB", (8, 8)).save(inner / "z.jpg")
    path = write(folder, "data.csv", f"image,score\nz.jpg,5\n./../inner/../inner/z.jpg,5\n{inner}/z.jpg,5\n")
    assert [record.images for record in read(path, image_folder=inner)] == [(f"{inner}/z.jpg",)] * 3
    path = write(folder, "data.csv", f"image,score\n../a.jpg,5\n{folder}/b.jpg,5\n")
    assert [fault.split(";")[0] for fault in faults(path, image_folder=inner)] == [
        f"2: the image '../a.jpg' lies outside of {inner}",
        f"3: the image '{folder}/b.jpg' lies outside of {inner}",
    ]
    path = write(inner, "data.csv", f"image,score\n{folder}/b.jpg,5\n")
    assert read(path)[0].images == (f"{folder}/b.jpg",)
    assert faults(write(inner, "data.csv", "image,score\n../a.jpg,5\n"))[0].startswith("2: the image '../a.jpg' lies")


def test_images_are_decoded_unless_told_not_to(folder):
    (folder / "text.jpg").write_text("no image")
    path = write(folder, "data.csv", "image,score\na.jpg,5\ntext.jpg,5\n")
    assert faults(path)[0].startswith(f"3: {folder}/text.jpg: not an image")
    assert len(read(path, check_images=False)) == 2


def test_require_histogram_wants_one_at_least(folder):
    path = jsonl(folder, sample(), sample(image="b.jpg"))
    assert faults(path, require_histogram=True)[0].startswith("no record has a histogram")
    path = jsonl(folder, sample(target=[1, 2]), sample(image="b.jpg"))
    assert len(read(path, require_histogram=True)) == 2


def test_one_split_of_a_file(folder):
    path = write(folder, "data.csv", "image,score,split\na.jpg,5,train\nb.jpg,5,validation\nc.jpg,5,\nd.jpg,5,test\n")
    assert [record.id for record in read(path, split="validation")] == ["b.jpg"]
    assert [record.split for record in read(path)] == ["train", "val", None, "test"]
    path = write(folder, "data.csv", "image,score\na.jpg,5\n")
    assert faults(path, split="test") == ["no record belongs to the split 'test'; give them a column 'split'"]
    with pytest.raises(ValueError, match="split is 'dev'; expected one of"):
        read(path, split="dev")


def test_an_attribute_on_another_range_is_checked_on_that(folder):
    options = {"space": ScoreSpace(1, 10, attribute_ranges={"light": (-1, 1)}), "attributes": ("overall", "light")}
    records = read(write(folder, "data.csv", "image,score,light\na.jpg,5,-1\nb.jpg,6,0.5\n"), **options)
    assert [record.scores["light"] for record in records] == [-1, 0.5]
    path = write(folder, "odd.csv", "id,image,score,light\n1,a.jpg,-1,0\n2,b.jpg,6,4\n3,c.jpg,6,5\n4,a.jpg,7,3\n")
    light, overall = sorted((text for text in faults(path, **options) if "outside" in text), reverse=True)
    assert "2: the score is -1, outside the range 1..10; correct" in overall and "(min_score, max_score)" in overall
    assert "3: the score of 'light' is 4, outside the range -1..1" in light and "(attribute_ranges)" in light
    assert light.count("--attribute_ranges light=0:5") == 1  # 3 of its 4 scores are outside
    common = " ".join(faults(path, attributes=("overall", "light")))
    assert "the score of 'light' is 0, outside the range 1..10" in common
    assert "(min_score, max_score; or attribute_ranges, for this one alone)" in common


def test_a_row_of_a_group_of_edits_may_have_no_score(folder):
    rows = [{"image": "a.jpg", "group": "s"}, {"image": "b.jpg", "group": "s", "edit": {"delta": 1.5}}]
    path = write(folder, "groups.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    first, second = read(path)
    assert (first.scores, first.edit, second.group, second.edit) == ({}, None, "s", {"delta": 1.5})
    alone = write(folder, "alone.jsonl", "".join(json.dumps(row) + "\n" for row in (*rows, {"image": "c.jpg"})))
    assert faults(alone) == ["3: there is no score; give one, or remove the sample"]
