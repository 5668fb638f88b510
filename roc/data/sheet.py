"""A contact sheet: the best, the middle and the worst pictures of a data file, with their scores.

On it a person sees at once a scale that runs the wrong way, a column that holds something else, or scores that slipped
by one row. Pictures are chosen by score alone, ties in the order of the file, so the sheet of a file is always the
same. In place of a picture that cannot be opened there is a frame with the reason.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from roc.data.images import ImageError, open_image
from roc.data.pictures import shown_path
from roc.data.reading import scan_records
from roc.data.records import Record
from roc.data.rows import DataError, Faults
from roc.files import write_whole

_CELL, _GAP, _MARGIN = 240, 16, 24
_TITLE_WIDTH = 480
_TITLE, _HEADING, _SCORE, _NAME = 24, 18, 16, 13
_INK, _GREY, _PAPER, _EMPTY = "#1a1a1a", "#666666", "#ffffff", "#f0f0f0"
_MOST_COLUMNS = 6

# Pillow finds these by name where the system has them; its own font has Latin letters only.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "msyh.ttc",
    "arial.ttf",
)


_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclass
class Sheet:
    """A drawn contact sheet.

    Attributes:
        picture: the sheet.
        parts: "best", "middle", "worst" -> their records in the order in which they are drawn.
        unreadable: what is wrong with the images that could not be drawn.
    """

    picture: Image.Image
    parts: dict[str, list[Record]]
    unreadable: list[str] = field(default_factory=list)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes the picture; its folder is created if needed.

        Raises:
            ValueError: a suffix other than .png, .jpg, .jpeg or .webp.
            OSError: the file cannot be written.
        """
        kind = _FORMATS.get(Path(path).suffix.lower())
        if kind is None:
            raise ValueError(f"{path}: expected a name that ends in one of {', '.join(_FORMATS)}")
        return write_whole(path, lambda temporary: self.picture.save(temporary, kind))


def contact_sheet(
    path: str | os.PathLike[str],
    image_folder: str | os.PathLike[str] | None = None,
    *,
    count: int = 12,
    attribute: str = "overall",
) -> Sheet:
    """Draws the best, middle and worst pictures of a data file.

    Args:
        path: the data file.
        image_folder: folder that the paths in the file are relative to; None for the folder of the file itself.
        count: number of pictures, at least 3, a third for each part; fewer where the file has fewer.
        attribute: attribute whose scores order the pictures.

    Returns:
        The sheet.

    Raises:
        DataError: the file has faults; missing or damaged images are none here.
        ValueError: `count` is below 3, or nobody rated the attribute.
    """
    if count < 3:
        raise ValueError(f"n is {count}; expected at least 3, for the best, the middle and the worst")
    faults = Faults(Path(path))
    records = list(scan_records(path, image_folder, faults, space=None))
    if faults:
        raise DataError(faults.texts())
    names = list(dict.fromkeys(name for record in records for name in record.scores))
    rated = sorted(
        (record for record in records if attribute in record.scores and record.images),
        key=lambda record: -record.scores[attribute],
    )
    if not rated:
        raise ValueError(
            f"no record has a score for {attribute!r}; there are scores for {', '.join(names) or 'nothing'}"
        )
    each = max(1, min(count, len(rated)) // 3)
    middle = (len(rated) - each) // 2
    parts = {
        "best": rated[:each],
        "middle": rated[middle : middle + each],
        "worst": rated[max(each, len(rated) - each) :],
    }
    if len(rated) < 3:
        parts["middle"] = []
    title = f"{Path(path).name}: {attribute}, {len(rated)} rated images"
    picture, unreadable = _draw(title, parts, attribute)
    return Sheet(picture, parts, unreadable)


def _draw(title: str, parts: dict[str, list[Record]], attribute: str) -> tuple[Image.Image, list[str]]:
    most = max(map(len, parts.values()))
    columns = -(-most // -(-most // _MOST_COLUMNS))  # makes the lines as even as possible
    lines = {name: -(-len(records) // columns) for name, records in parts.items() if records}
    cell_height = _CELL + _SCORE + _NAME + 22
    width = max(2 * _MARGIN + columns * _CELL + (columns - 1) * _GAP, _TITLE_WIDTH)
    height = 2 * _MARGIN + _TITLE + sum(_HEADING + 32 + count * cell_height for count in lines.values())
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, _MARGIN), title, _TITLE, _INK, width - 2 * _MARGIN)
    top = _MARGIN + _TITLE
    unreadable = []
    for name in lines:
        top += 24
        _write(draw, (_MARGIN, top), name, _HEADING, _GREY, width)
        top += _HEADING + 8
        for place, record in enumerate(parts[name]):
            left = _MARGIN + place % columns * (_CELL + _GAP)
            upper = top + place // columns * cell_height
            fault = _draw_image(sheet, draw, (left, upper), record)
            if fault is not None:
                unreadable.append(fault)
            below = upper + _CELL + 6
            _write(draw, (left, below), f"{record.scores[attribute]:.4g}", _SCORE, _INK, _CELL // 2)
            note = "" if record.line is None else f"line {record.line}"
            _write(draw, (left + _CELL - round(_fonts(_NAME)[0].getlength(note)), below + 3), note, _NAME, _GREY, _CELL)
            _write(draw, (left, below + _SCORE + 4), os.path.basename(record.images[0]), _NAME, _GREY, _CELL)
        top += lines[name] * cell_height
    return sheet, unreadable


def _draw_image(sheet: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[int, int], record: Record) -> str | None:
    """Draws the first image of a record in its square, or a frame with what is wrong, which it returns."""
    left, top = place
    try:
        picture = open_image(record.images[0])
    except ImageError as error:
        draw.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), fill=_EMPTY, outline=_GREY)
        reason = str(error).removeprefix(f"{shown_path(record.images[0])}: ")
        for number, line in enumerate(_wrapped(reason, _NAME, _CELL - 24)[:8]):
            _write(draw, (left + 12, top + 12 + number * (_NAME + 6)), line, _NAME, _INK, _CELL - 24)
        return str(error)
    picture.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
    if max(picture.size) < _CELL:
        scale = _CELL / max(picture.size)
        size = [max(1, round(side * scale)) for side in picture.size]
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + _CELL - picture.height))
    return None


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str, width: int) -> None:
    """Writes one line of text; the middle of a long one is left out, because names differ at their ends."""
    text, font = _drawable(" ".join(text.splitlines()), size)
    shown, keep = text, len(text)
    while font.getlength(shown) > width and keep > 2:
        keep -= 1
        shown = f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"
    draw.text(place, shown, font=font, fill=colour)


def _wrapped(text: str, size: int, width: int) -> list[str]:
    text, font = _drawable(text, size)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _drawable(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Finds a font that has all letters of a text; if there is none, letters become codes such as \\u5c71."""
    fonts = _fonts(size)
    for font in fonts:
        if all(_has_letter(font, letter) for letter in text):
            return text, font
    return "".join(letter if _has_letter(fonts[0], letter) else ascii(letter)[1:-1] for letter in text), fonts[0]


@functools.cache
def _fonts(size: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, ...]:
    fonts = []
    for name in _FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return (*fonts, ImageFont.load_default(size))


@functools.cache
def _has_letter(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, letter: str) -> bool:
    """Tells whether a font has a letter: it draws it differently from one that does not exist."""
    if letter.isspace():
        return True
    missing = font.getmask("\uffff")
    drawn = font.getmask(letter)
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)
