"""What a cell of a table stands for: one rule for every format and every command.

* An empty cell, `NA`, `N/A`, `NaN`, `null`, `none` (in any letters) and a NaN mean that there is no value, except in
  columns of words, where "NA" may be a name.
* A number is a number whatever its type: Parquet's decimals too. `1,234.5` is none.
* 7, 7.0 and "7" are one id and one name.
* Text that a spreadsheet would run as a formula is written with an apostrophe in front, which reading takes off again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_NO_VALUE = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"))
_FIRST_OF_NO_VALUE = frozenset(("", "n", "N", "#", "<"))
_WORD_COLUMNS = frozenset(("image", "id", "text", "comment", "group", "dataset", "subset", "reason", "error"))
_FORMULA = r"[\t\r\n]|\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]"
_RUNS_AS_FORMULA = re.compile(f"'*(?:{_FORMULA})")
_GUARDED = re.compile(f"'+(?:{_FORMULA})")
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?P<mark>[,.'\u2019 \u00a0\u202f])\d{3}((?P=mark)\d{3})*([.,]\d+)?")


def empty_cells(row: dict[str, Any]) -> bool:
    """Replaces cells that hold no value by None, in place; returns whether any value is left."""
    filled = False
    for name, value in row.items():
        if value is None:
            continue
        if isinstance(value, str):
            # The first letter decides nearly always, and a table has many cells.
            if value[:1] not in _FIRST_OF_NO_VALUE or value.lower() not in _NO_VALUE:
                filled = True
            elif value and name.lower() in _WORD_COLUMNS:
                filled = True
            else:
                row[name] = None
        elif isinstance(value, float) and math.isnan(value):
            row[name] = None
        else:
            filled = True
    return filled


def as_number(value: Any, *, from_text: bool = True) -> float | None:
    """Returns the number that a cell stands for, finite or not; None for anything else.

    Args:
        value: a cell of a row.
        from_text: whether the text "5" stands for a number, as it has to in a CSV file.
    """
    if isinstance(value, str):
        # float() takes "1_000" for a number, which no table means by it.
        if not from_text or "_" in value:
            return None
    elif isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def as_text(value: Any) -> str | None:
    """Returns the text that a cell stands for: a whole number's digits without a point; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    try:
        return str(int(value)) if value == int(value) else None
    except (ValueError, OverflowError):
        return None


def as_id(value: Any) -> str | None:
    """Returns the id that a cell stands for, as `as_text`; "7.0", as data frames write a 7, is "7" too."""
    text = as_text(value)
    return re.sub(r"\.0+", "", text) if text is not None and re.fullmatch(r"\d+\.0+", text) else text


def with_numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turns the texts of a row of CSV that are numbers into such, for formats that tell them apart; words stay."""
    return {
        name: _typed(value) if isinstance(value, str) and name.lower() not in _WORD_COLUMNS else value
        for name, value in row.items()
    }


def _typed(text: str) -> str | int | float:
    if not _PLAIN_NUMBER.fullmatch(text):
        return text
    return float(text) if any(mark in text for mark in ".eE") else int(text)


def number_hint(value: Any) -> str:
    """Says how a text that is no number was probably meant: ", with a point: 5.3"; empty where that is unknown."""
    if not isinstance(value, str):
        return ""
    if match := _THOUSANDS.fullmatch(value):
        mark, last = match["mark"], match[3] or ""
        whole = value[: len(value) - len(last)].replace(mark, "") + last.replace(",", ".")
        if last or mark not in ",.'" or value.count(mark) > 1:
            return f", without marks between the thousands: {whole}"
        return f", without marks between the thousands: {whole}, or with a point: {value.replace(mark, '.')}"
    if re.fullmatch(r"[+-]?\d+,\d+", value):
        return f", with a point: {value.replace(',', '.')}"
    if re.fullmatch(r"[+-]?\d+([.,]\d+)? ?%", value):
        return ", without the percent sign"
    return ""


def shown(value: Any) -> str:
    """Describes a value in a fault: its repr cut to 80 characters, "missing" for None; bytes are counted, not shown."""
    if value is None:
        return "missing"
    text = repr(_without_bytes(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Brief:
    """Stands for bytes."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __repr__(self) -> str:
        return f"<{self._count} bytes>"


def _without_bytes(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return _Brief(len(value))
    if isinstance(value, list):
        return [_without_bytes(part) for part in value[:100]]
    if isinstance(value, Mapping):
        return {name: _without_bytes(part) for name, part in value.items()}
    return value


def guarded(text: str) -> str:
    """Puts an apostrophe before text that a spreadsheet would run as a formula; plain numbers stay as they are."""
    if _RUNS_AS_FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def unguarded(text: str) -> str:
    """Takes off the apostrophe that `guarded` put there.

    An apostrophe before such a character is the usual guard, so it is taken off whichever program wrote it.
    """
    return text[1:] if text.startswith("'") and _GUARDED.match(text) else text
