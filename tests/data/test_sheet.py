"""The right pictures stand in the right places, and a frame takes the place of one that cannot be opened."""

import pytest
from PIL import Image, ImageFont

from roc.data import sheet as module
from roc.data.rows import DataError
from roc.data.sheet import contact_sheet

COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00", "#ff00ff", "#00ffff", "#800000", "#008000", "#000080"]


@pytest.fixture
def nine(tmp_path):
    """Scores 8, 7, .. 0, one colour each."""
    for i, colour in enumerate(COLOURS):
        Image.new("RGB", (300, 300), colour).save(tmp_path / f"{i}.png")
    path = tmp_path / "data.csv"
    path.write_text("image,score,light\n" + "".join(f"{i}.png,{8 - i},{i if i > 1 else ''}\n" for i in range(9)))
    return path


def names(sheet):
    return {part: [record.id.removesuffix(".png") for record in records] for part, records in sheet.parts.items()}


def centre_colours(sheet, columns):
    """Returns the colours of the pictures, line by line."""
    step = module._CELL + module._GAP
    found = []
    previous = None
    for y in range(sheet.picture.height):
        line = [
            sheet.picture.getpixel((module._MARGIN + column * step + module._CELL // 2, y)) for column in range(columns)
        ]
        if line != previous and not any(min(pixel) == max(pixel) for pixel in line):
            found += [f"#{bytes(pixel).hex()}" for pixel in line]
        previous = line
    return found


def test_best_middle_and_worst(nine):
    sheet = contact_sheet(nine, count=6)
    assert names(sheet) == {"best": ["0", "1"], "middle": ["3", "4"], "worst": ["7", "8"]}
    assert sheet.unreadable == []
    assert centre_colours(sheet, 2) == [COLOURS[i] for i in (0, 1, 3, 4, 7, 8)]


def test_another_attribute_counts_only_those_that_have_it(nine):
    assert names(contact_sheet(nine, count=3, attribute="light")) == {"best": ["8"], "middle": ["5"], "worst": ["2"]}
    with pytest.raises(ValueError, match="no record has a score for 'colour'; there are scores for overall, light"):
        contact_sheet(nine, attribute="colour")


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        (1, {"best": ["0"], "middle": [], "worst": []}),
        (2, {"best": ["0"], "middle": [], "worst": ["1"]}),
        (3, {"best": ["0"], "middle": ["1"], "worst": ["2"]}),
        (5, {"best": ["0"], "middle": ["2"], "worst": ["4"]}),
        (9, {"best": ["0", "1", "2"], "middle": ["3", "4", "5"], "worst": ["6", "7", "8"]}),
    ],
)
def test_few_records(nine, rows, parts):
    nine.write_text("".join(f"{line}\n" for line in nine.read_text().splitlines()[: rows + 1]))
    assert names(contact_sheet(nine, count=30)) == parts


def test_what_cannot_be_opened_keeps_its_place_and_is_told(nine):
    (nine.parent / "1.png").write_bytes((nine.parent / "1.png").read_bytes()[:60])
    (nine.parent / "3.png").unlink()
    sheet = contact_sheet(nine, count=6)
    assert names(sheet)["best"] == ["0", "1"]
    assert ["1.png" in sheet.unreadable[0], "3.png" in sheet.unreadable[1]] == [True, True]
    left = module._MARGIN + module._CELL + module._GAP
    top = next(y for y in range(300) if sheet.picture.getpixel((module._MARGIN + 5, y)) == (255, 0, 0))
    assert sheet.picture.getpixel((left + 4, top + 4)) == (0xF0, 0xF0, 0xF0)


@pytest.mark.parametrize("name", ["\u00c4pfel, \u00d6l.png", "\u5c71.png", "x" * 200 + ".png", "e\u0301.png"])
def test_any_name_can_be_written(tmp_path, name):
    Image.new("RGB", (40, 400), "red").save(tmp_path / name)
    (tmp_path / "d.csv").write_text(f'image,score\n"{name}",1\n', encoding="utf-8")
    sheet = contact_sheet(tmp_path / "d.csv", count=3)
    assert sheet.unreadable == [] and sheet.picture.width == 480


def test_letters_that_no_font_has_become_codes(monkeypatch):
    monkeypatch.setattr(module, "_fonts", lambda size: (ImageFont.load_default(size),))
    assert module._drawable("a\u5c71b", 13)[0] == "a\\u5c71b"
    assert module._drawable("plain", 13)[0] == "plain"


def test_bad_input(nine):
    with pytest.raises(ValueError, match="n is 2; expected at least 3"):
        contact_sheet(nine, count=2)
    nine.write_text("image,score\n0.png,x\n")
    with pytest.raises(DataError, match="2: the score is 'x'"):
        contact_sheet(nine)


def test_a_name_of_two_lines(nine):
    folder = nine.parent
    for name in ("two\nlines.png", "two\rlines.png"):
        (folder / "0.png").rename(folder / name)
        (folder / "data.csv").write_text(f'image,score\n"{name}",1\n', newline="")
        assert contact_sheet(nine).unreadable == []
        (folder / name).rename(folder / "0.png")
