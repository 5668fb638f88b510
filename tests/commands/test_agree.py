"""`roc agree maps` draws a sheet; what it cannot use is one line and exit status 2."""

import pytest
from PIL import Image

from roc.cli import main


@pytest.fixture(autouse=True)
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((64, 48)).save("photo.jpg")


def test_maps(capsys):
    assert main(["agree", "maps", "photo.jpg", "--out", "sheet.png", "--delta", "0.1"]) == 0
    assert capsys.readouterr().out == "sheet.png: five attributes of photo.jpg at 64 x 48 pixels\n"
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 4 * 128


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["map"], "roc agree: unknown command 'map'; the commands are maps"),
        (["maps", "photo.jpg"], "required: --out"),
        (["maps", "gone.jpg", "--out", "sheet.png"], "gone.jpg: no such file"),
        (["maps", "photo.jpg", "--out", "sheet.pdf"], "--out: sheet.pdf: expected a name that ends in one of .png"),
        (["maps", "photo.jpg", "--out", "./photo.jpg"], "./photo.jpg is the photo itself; name another file"),
        (["maps", "photo.jpg", "--out", "sheet.png", "--delta", "0.3"], "--delta"),
        (["maps", "photo.jpg", "--out", "sheet.png", "--side", "4"], "--side"),
    ],
)
def test_words_that_cannot_be_used(words, expected, capsys, tmp_path):
    assert main(["agree", *words]) == 2
    err = capsys.readouterr().err
    assert expected in err and len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_no_word_shows_what_there_is(capsys):
    assert main(["agree"]) == 2
    assert "  maps  draw the attribute maps" in capsys.readouterr().out
