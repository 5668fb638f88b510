"""`check_data` finds everything at once; what training refuses is a fault, what a person should see a warning."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from roc.data.check import check_data
from roc.data.rows import DataError, write_rows
from roc.data.usual_ranges import guess_range
from roc.score_space import ScoreSpace


@pytest.fixture
def folder(tmp_path):
    for name in "abcde":
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.jpg")
    return tmp_path


def check(folder, rows, **options):
    """Writes a table and the images that its rows name, and returns the report on it."""
    for row in rows:
        if isinstance(row.get("image"), str) and not row["image"].startswith(".."):
            (folder / row["image"]).touch()
    write_rows(folder / "data.csv", rows)
    return check_data(folder / "data.csv", **{"open_images": False} | options)


def texts(report, kind="faults"):
    found = [text.removeprefix(f"{report.path}:").strip() for text in getattr(report, kind)]
    return [text for text in found if "below 100 expect" not in text]


def rated(scores, **columns):
    return [{"image": f"{i}.jpg", "score": float(score), **columns} for i, score in enumerate(scores)]


def test_image_and_score_are_enough(folder):
    report = check(folder, rated([2, 4.5, 7.5]))
    assert (report.records, report.images, report.opened) == (3, 3, None)
    assert report.faults == texts(report, "warnings") == []
    assert report.guess == (1, 10) and report.scores.tolist() == [2, 4.5, 7.5]
    assert "--min_score 1 --max_score 10" in report.summary()


def test_everything_that_is_there_is_counted(folder):
    rows = rated([2, 3, 4])
    rows[0] |= {"light": 3, "std": 0.5, "n_votes": 4, "h_1": 1, "h_2": 2, "h_3": 1, "comment": "x", "split": "test"}
    rows[1] |= {"light": 5, "dataset": "mine", "group": "g"}
    report = check(folder, rows)
    assert report.faults == []
    assert report.splits == {"test": 1, "": 2} and report.datasets == {"mine": 1, "": 2}
    assert report.histograms == {3: 1, 0: 2}
    assert report.filled == {"std": 1, "n_votes": 1, "comment": 1, "group": 1}
    light = report.attributes["light"]
    assert (light.count, light.low, light.high) == (2, 3, 5)
    summary = report.summary()
    assert "test 1" in summary and "mine 1" in summary and "1 of 3 levels · 2 without" in summary
    assert "light 2 (3 .. 5)" in summary


def test_all_faults_come_at_once_with_their_lines(folder):
    (folder / "text.jpg").write_text("no image")
    path = folder / "data.csv"
    path.write_bytes(
        '\ufeffimage,score,light\r\na.jpg,5,1\r\ntext.jpg,good,2\r\nb.jpg,"5,5",x\r\n../z.jpg,3,3\r\n'
        "none.jpg,4,4\r\na.jpg,4,4\r\n".encode()
    )
    report = check_data(path, space=ScoreSpace(1, 10))
    assert [re.split("[;,(] ", text.replace(f"{folder}/", ""))[0] for text in texts(report)] == [
        "3: the score is 'good'",
        "3: text.jpg: not an image",
        "4: the score is '5,5'",
        "4: the score of 'light' is 'x'",
        "5: the image '../z.jpg' lies outside of " + str(folder),
        "6: there is no image none.jpg",
        "7: the id 'a.jpg' was used before",
    ]
    assert report.records == 6 and report.opened == 3


def test_a_folder_without_any_of_the_images_is_one_fault(folder):
    (folder / "empty").mkdir()
    path = folder / "data.csv"
    path.write_text("image,score\n" + "".join(f"{name}.jpg,5\n" for name in "abcde"))
    (fault,) = check_data(path, folder / "empty").faults
    assert "none of the 5 images is there" in fault and "check image_folder" in fault


def test_scores_outside_a_given_range(folder):
    report = check(folder, rated([1, 5, 11]), space=ScoreSpace(1, 10))
    (fault,) = texts(report)
    assert fault.startswith("4: the score is 11, outside the range 1..10")
    assert "native range, as given: 1..10" in report.summary()


def test_a_range_of_an_attribute_that_nobody_rated_is_a_fault(folder):
    report = check(folder, rated([1, 5]), space=ScoreSpace(1, 10, attribute_ranges={"ligth": (-1, 1)}))
    assert texts(report) == [
        "attribute_ranges names ligth, and the scores are overall; correct the name, or leave it out"
    ]


@pytest.mark.parametrize(
    ("low", "high", "levels", "guess"),
    [
        (0.1, 0.95, None, (0, 1)),
        (1.2, 4.8, None, (1, 5)),
        (0.3, 4.9, None, (0, 5)),
        (1.8, 8.6, None, (1, 10)),
        (0.2, 9.9, None, (0, 10)),
        (3.9, 88.4, None, (0, 100)),
        (1.5, 4.4, 10, (1, 10)),
        (3.9, 88.4, 5, (0, 100)),
        (0.1, 0.95, 10, (0, 1)),
        (-3, 3, None, None),
        (200, 900, None, None),
    ],
)
def test_guess_of_the_native_range(low, high, levels, guess):
    assert guess_range(low, high, levels) == guess


RNG = np.random.default_rng(0)
UNIT, FIVE, TEN, HUNDRED = (
    np.round(low + (high - low) * RNG.beta(4, 4, 200), 3) for low, high in ((0, 1), (1, 5), (1, 10), (0, 100))
)


@pytest.mark.parametrize("parts", [(UNIT, TEN), (UNIT, HUNDRED), (FIVE, HUNDRED), (TEN[:20], HUNDRED), (UNIT, FIVE)])
def test_two_scales_in_one_file_are_a_fault(folder, parts):
    report = check(folder, rated(np.concatenate(parts)))
    (fault,) = texts(report)
    assert fault.startswith("the scores are on two scales: ") and ": 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 ..." in fault


@pytest.mark.parametrize(
    "scores",
    [
        *(UNIT, FIVE, TEN, HUNDRED),
        RNG.uniform(0, 100, 500).round(2),
        RNG.uniform(0, 10, 500).round(2),
        RNG.integers(1, 6, 200),
        RNG.choice([1, 3, 5], 200),
        RNG.choice([0, 100], 200),
        np.concatenate([RNG.uniform(0, 20, 100), RNG.uniform(70, 100, 100)]),
    ],
)
def test_one_scale_is_not_taken_for_two(folder, scores):
    assert check(folder, rated(scores)).faults == []


def test_data_sets_on_two_scales(folder):
    rows = rated(TEN, dataset="ava") + rated(HUNDRED, dataset="koniq")
    rows = [{**row, "image": f"{i}.jpg"} for i, row in enumerate(rows)]
    (fault,) = texts(check(folder, rows))
    assert fault == "the data sets are on different scales, by guess ava on 1..10, koniq on 0..100; bring all to one"
    rows = [
        {**row, "score": row["score"] / 25 + 1, "dataset": row["dataset"]} if i >= 200 else row
        for i, row in enumerate(rows)
    ]
    report = check(folder, rows)
    assert report.faults == []
    assert texts(report, "warnings")[0].startswith("the data sets may be on different scales, by guess ava on 1..10, ")


def test_ids_that_differ_only_by_extension_case_or_unicode_form(folder):
    names = ["x.jpg", "y.jpg", "x.png", "X.JPG", "\u00e9.jpg", "e\u0301.jpg", "v1.5", "v1.6"]
    report = check(folder, [{"image": name, "score": 5} for name in names])
    warnings = texts(report, "warnings")
    assert report.faults == []
    assert [warning.partition(" differ ")[0] for warning in warnings[1:]] == [
        "4: the id 'x.png' and that of line 2, 'x.jpg',",
        "5: the id 'X.JPG' and that of line 2, 'x.jpg',",
        "7: the id 'e\u0301.jpg' and that of line 6, '\u00e9.jpg',",
    ]
    assert warnings[0].startswith("all scores are 5")
    splits = [{"image": "x.jpg", "score": 5, "split": "train"}, {"image": "x.png", "score": 4, "split": "test"}]
    (fault,) = texts(check(folder, splits))
    assert "here it is test and there train; keep both in one split" in fault


def test_a_score_far_from_the_mean_of_its_votes(folder):
    votes = RNG.multinomial(50, [0.1, 0.2, 0.4, 0.2, 0.1], 40)
    rows = [
        {"image": f"{i}.jpg", "score": float(v @ np.arange(1, 6)) / 50} | {f"h_{k}": int(n) for k, n in enumerate(v, 1)}
        for i, v in enumerate(votes)
    ]
    assert texts(check(folder, rows), "warnings") == []
    rows[7]["score"] = 4.8
    (warning,) = texts(check(folder, rows), "warnings")
    assert warning.startswith("9: the score is 4.8, but its histogram's mean ")


def test_links_out_of_the_folder_are_followed_and_told(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    for name in "xyz":
        Image.new("RGB", (8, 8)).save(outside / f"{name}.jpg")
    (folder / "in.jpg").symlink_to("a.jpg")
    (folder / "x.jpg").symlink_to(outside / "x.jpg")
    (folder / "set").symlink_to(outside)
    rows = [{"image": name, "score": score} for score, name in enumerate(("in.jpg", "x.jpg", "set/y.jpg", "set/z.jpg"))]
    report = check(folder, rows, open_images=True)
    assert report.faults == [] and report.opened == 4
    assert texts(report, "warnings") == [
        f"3: the image {folder}/x.jpg and 2 more is linked from {outside}, out of {folder}"
    ]


def test_good_images_are_remembered_and_bad_ones_looked_at_again(folder):
    (folder / "f.jpg").write_text("no image")
    path = folder / "data.csv"
    path.write_text("image,score\n" + "".join(f"{name}.jpg,{n}\n" for n, name in enumerate("abcdef")))
    for _ in range(2):
        report = check_data(path, memory=folder / "memory")
        assert len(report.faults) == 1 and report.opened == 6
    assert len((folder / "memory").read_text().split()) > 5
    Image.new("RGB", (8, 8)).save(folder / "f.jpg")
    assert check_data(path, memory=folder / "memory").faults == []
    # pixel_limit is part of what was found out
    assert len(check_data(path, memory=folder / "memory", pixel_limit=10).faults) == 6


def test_a_file_that_cannot_be_read_at_all(folder):
    with pytest.raises(DataError, match="no such file"):
        check_data(folder / "none.csv")


def write_many(path, count):
    votes = np.random.default_rng(0).multinomial(210, np.full(10, 0.1), 1000)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "score", "dataset", *(f"h_{level}" for level in range(1, 11))])
        for i in range(count):
            row = votes[i % 1000]
            table.writerow([f"{i}.jpg", float(row @ np.arange(1, 11)) / 210, "ava", *row])


@pytest.mark.parametrize("count", [10_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_rows(tmp_path, count):
    write_many(tmp_path / "data.csv", count)
    report = check_data(tmp_path / "data.csv", open_images=False)
    assert report.records == count and report.histograms == {10: count} and report.guess == (1, 10)
    (fault,) = report.faults
    assert f"none of the {count} images is there" in fault


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scores", [(1e308, -1e308), (1e17, 1e17)])
def test_scores_that_no_bars_can_show(folder, scores):
    report = check(folder, rated(scores))
    assert report.faults == [] and "none of the usual ones" in report.summary()


@pytest.mark.filterwarnings("error")
def test_one_level_is_no_range(folder):
    report = check(folder, [{"image": "a.jpg", "score": 1, "h_1": 3}])
    assert report.guess == (0, 1)


@pytest.mark.parametrize(
    ("count", "what"),
    [
        (1, "only 1 rated photo: below 100 expect a rough order at best"),
        (99, "only 99 rated photos: .*a tenth to validate on is 10, whose SRCC is uncertain by up to 0.8"),
        (100, None),
    ],
)
def test_few_rated_photos_are_a_warning_with_what_to_expect(folder, count, what):
    warnings = [
        text for text in check(folder, rated(n % 7 + 1 for n in range(count))).warnings if "rated photo" in text
    ]
    assert len(warnings) == (what is not None) and all(re.search(what, text) for text in warnings)
