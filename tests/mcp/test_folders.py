"""Which paths a request may name: what is inside the folders is opened, of all else nothing is told."""

import os

import pytest

from roc.mcp.folders import Folders


@pytest.fixture
def folders(photos):
    return Folders([str(photos)])


def test_pictures_by_path_by_name_and_by_folder(folders, photos):
    assert folders.pictures(str(photos / "a.png")) == folders.pictures("a.png") == [photos / "a.png"]
    assert folders.pictures("trip/../a.png") == [photos / "a.png"]
    # Neither the link that leads out nor the text is listed.
    assert folders.pictures(".") == folders.pictures(str(photos)) == [photos / n for n in ("a.png", "b.png", "c.jpg")]


def test_the_second_folder_is_looked_into_too(photos):
    both = Folders([str(photos / "trip"), str(photos)])
    assert both.pictures("a.png") == [photos / "a.png"]
    assert both.pictures("broken.png") == [photos / "trip" / "broken.png"]


@pytest.mark.parametrize(
    "path", ["../secret.png", "../no-such.png", "link.png", "/etc/passwd", "trip/../../secret.png"]
)
def test_paths_that_lead_out_are_all_refused_alike(folders, path):
    with pytest.raises(ValueError) as error:
        folders.pictures(path)
    assert str(error.value) == f"{path}: outside the folders that this server may open, which are {folders}"


def test_a_folder_whose_name_begins_alike_is_outside(folders, photos):
    (photos.parent / "open2").mkdir(exist_ok=True)
    with pytest.raises(ValueError, match="outside the folders"):
        folders.pictures(str(photos.parent / "open2"))


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("https://photos.example/a.png", "URLs are not opened; expected a picture in /"),
        ("file:///etc/passwd", "URLs are not opened"),
        ("a\0.png", "no path; expected"),
        ("no-such.png", "no-such.png: no such picture or folder in /"),
        ("a.png/b", "no such picture or folder in /"),
        ("trip/pipe", "neither a picture nor a folder of pictures"),
        ("trip/empty", "there is no picture directly in this folder; name one of its subfolders"),
    ],
)
def test_what_is_no_picture(folders, photos, path, error):
    if path == "trip/pipe" and not (photos / path).exists():
        os.mkfifo(photos / path)
    (photos / "trip" / "empty").mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=error):
        folders.pictures(path)


def test_only_folders_can_be_opened_up(photos):
    with pytest.raises(ValueError, match="a.png is no folder"):
        Folders([str(photos / "a.png")])
