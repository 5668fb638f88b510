"""Records that belong together are found under any name and after any edit; others are not."""

import shutil

import pytest
from PIL import Image, ImageEnhance, ImageOps

from roc.data.leaks import (
    Entry,
    find_leaks,
    read_entries,
    stems,
)
from roc.demo.scenes import render_scene


@pytest.fixture(scope="module")
def scenes():
    return [render_scene(index, seed=5, size=128).image for index in range(12)]


def entry(id, line=1, images=(), dataset=None, group=None, source=None):
    return Entry(id, line, tuple(images), dataset, group, source)


def named(train, test):
    """Finds leaks by names alone: {(id of train, id of test): reasons}."""
    report = find_leaks(train, test, open_images=False)
    return {(leak.train.id, leak.test.id): leak.reasons for leak in report.leaks}


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        ("7.jpg", "7.jpg", "same id"),
        ("7.jpg", "7.png", "same id"),
        ("7.jpg", "7", "same id"),
        ("a/7.JPG", "A/7.jpg", "same id"),
        ("\u00e9.jpg", "e\u0301.jpg", "same id"),
        ("12.jpg", "12_blur2.jpg", "same source"),
        ("12_crop.jpg", "12.jpg", "same source"),
        ("12_crop.jpg", "12-blur_3.png", "same source"),
        ("12.jpg", "12_whatever.jpg", "same source"),
        ("12 copy.jpg", "12.jpg", "same source"),
        ("7.jpg", "8.jpg", None),
        ("a/7.jpg", "b/7.jpg", None),
        ("IMG_0001.jpg", "IMG_0002.jpg", None),
        ("120.jpg", "12.jpg", None),
        ("1.5", "1.6", None),
        ("_edit.jpg", "_crop.jpg", None),
    ],
)
def test_ids(train, test, reason):
    expected = {} if reason is None else {(train, test): (reason,)}
    assert named([entry(train), entry("other1.jpg")], [entry(test), entry("other2.jpg")]) == expected


def test_groups_and_the_source_that_an_edit_names():
    train = [entry("a", group="g"), entry("b"), entry("c", source="d")]
    test = [entry("x", group="g"), entry("y", source="b"), entry("z", source="d"), entry("d"), entry("w", group="h")]
    pairs = {("a", "x"), ("b", "y"), ("c", "z"), ("c", "d")}
    assert named(train, test) == dict.fromkeys(pairs, ("same source",))


def test_names_of_two_data_sets_are_not_compared():
    assert named([entry("7", dataset="ava", group="1")], [entry("7", dataset="spaq", group="1")]) == {}
    assert named([entry("7", dataset="ava")], [entry("7")]) == {("7", "7"): ("same id",)}


def test_of_a_large_group_ten_are_told_and_all_are_counted():
    train = [entry(f"a{i}", line=i, group="g") for i in range(50)]
    report = find_leaks(train, [entry("x", group="g")], open_images=False)
    assert len(report.leaks) == 10 and report.train_leaked == 50
    assert "1 of 1 test record (100.00%) and 50 of 50 training records" in report.summary()


def test_stems():
    assert stems("a_b/12_b-c") == ["a_b/12", "a_b/12_b"] and stems("_x") == [] and stems("12") == []


def save(picture, path, **options):
    picture.save(path, **options)
    return entry(path.name, images=[str(path)])


def jpeg(folder, picture, quality):
    picture.save(folder / "again.jpg", quality=quality)
    return Image.open(folder / "again.jpg").convert("RGB")


EDITS = {
    "png": lambda one, folder: one,
    "quality 30": lambda one, folder: jpeg(folder, one, 30),
    "half": lambda one, folder: one.resize((64, 64)),
    "squeezed": lambda one, folder: one.resize((200, 96)),
    "brighter": lambda one, folder: ImageEnhance.Brightness(one).enhance(1.15),
    "grey": lambda one, folder: ImageOps.grayscale(one),
    "mirrored": lambda one, folder: ImageOps.mirror(one),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_pictures_look_the_same_and_others_do_not(scenes, tmp_path, edit):
    train = [save(one, tmp_path / f"{i}.bmp") for i, one in enumerate(scenes)]
    test = [save(EDITS[edit](one, tmp_path), tmp_path / f"x{i}.png") for i, one in enumerate(scenes)]
    report = find_leaks(train, test, workers=2)
    reason = "looks the same, mirrored" if edit == "mirrored" else "looks the same"
    assert {(leak.train.id, leak.test.id): leak.reasons for leak in report.leaks} == {
        (f"{i}.bmp", f"x{i}.png"): (reason,) for i in range(len(scenes))
    }


def test_identical_files_links_and_what_cannot_be_compared(scenes, tmp_path):
    train = [save(scenes[i], tmp_path / f"{i}.png") for i in range(3)]
    shutil.copy(tmp_path / "0.png", tmp_path / "x.png")
    (tmp_path / "y.png").symlink_to("1.png")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "plain.png")
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "fog.png")
    (tmp_path / "text.png").write_text("no image")
    names = ["x", "y", "plain", "text", "none"]
    test = [entry(f"{name}.png", line, [str(tmp_path / f"{name}.png")]) for line, name in enumerate(names, 2)]
    train.append(entry("fog.png", 9, [str(tmp_path / "fog.png")]))
    report = find_leaks(train, test)
    assert [(leak.train.id, leak.test.id, leak.reasons) for leak in report.leaks] == [
        ("0.png", "x.png", ("identical file",)),
        ("1.png", "y.png", ("identical file",)),
    ]
    assert len(report.plain) == 2 and len(report.unreadable) == 2
    assert "2 images are too plain" in report.summary() and "2 images could not be compared" in report.summary()
    # without opening images, a link to the same file is still seen
    assert [leak.test.id for leak in find_leaks(train, test, open_images=False).leaks] == ["y.png"]


def test_entries_of_a_file(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"image": "a.jpg", "score": 1, "group": "g", "edit": {"source_id": 7}}\n')
    assert read_entries(tmp_path / "d.jsonl") == [Entry("a.jpg", 1, (str(tmp_path / "a.jpg"),), None, "g", "7")]


def test_of_many_identical_files_the_first_ten_are_told(tmp_path, scenes):
    train = [tmp_path / f"train{i}.png" for i in range(15)]
    for path in (*train, tmp_path / "x.png"):
        scenes[0].save(path)
    report = find_leaks(
        [entry(f"a{i}", images=[str(path)]) for i, path in enumerate(train)],
        [entry("x", images=[str(tmp_path / "x.png")])],
    )
    assert [leak.reasons for leak in report.leaks] == [("identical file",)] * 10
    assert report.train_leaked == 15
