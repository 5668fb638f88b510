"""The good rows of a data file, written on request, and a list of the others.

So nobody has to cut out a damaged picture by hand, and nothing is left out unasked.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roc.data.check import DataReport
from roc.data.counts import counted
from roc.data.reading import dropped, scan_records
from roc.data.records import Repeats
from roc.data.rows import DataError, Faults, iter_rows_for, write_rows
from roc.files import write_text


@dataclass(frozen=True)
class GoodRows:
    """What `write_good` wrote.

    Attributes:
        file: the good rows.
        written: how many there are.
        left_out: how many rows are not among them.
        left_out_file: what is wrong with those; None where nothing is.
    """

    file: Path
    written: int
    left_out: int
    left_out_file: Path | None

    def summary(self) -> str:
        """Says where the rows are, and where the list of the others."""
        listed = f", {self.left_out} left out, listed in {self.left_out_file}" if self.left_out_file else ""
        return f"{self.file}: {counted(self.written, 'good row')}{listed}"


def write_good(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    report: DataReport,
    image_folder: str | os.PathLike[str] | None = None,
    *,
    drop: Collection[str] = (),
) -> GoodRows:
    """Writes the rows that have no fault, and lists what is wrong with the others in `OUT.left_out.txt`.

    Of rows that contradict each other, such as two with one id, the first is kept.

    Args:
        path: the data file.
        out: file to write, in any format that `write_rows` knows; an older one is replaced.
        report: what `check_data` found, with the same `drop`.
        image_folder: folder that the paths in the file are relative to; None for the folder of the file itself.
        drop: columns to leave out.

    Raises:
        ValueError: `out` is the data file, no row is good, or what is wrong is not a matter of single rows.
    """
    path, out = Path(path), Path(out)
    if out.exists() and path.exists() and out.samefile(path):
        raise ValueError(f"{out} is the data file itself; name another file for its good rows")
    if 0 in report.bad_rows:
        raise ValueError(f"{out} is not written: no choice of rows mends the first fault; mend that, or the columns")
    rows = 0

    def good() -> Iterator[dict[str, Any]]:
        nonlocal rows
        for line, row in dropped(iter_rows_for(path, out), drop):
            rows += 1
            if line.row not in report.bad_rows:
                yield row

    if next(good(), None) is None:
        raise ValueError(f"{out} is not written: no row is without a fault")
    rows = 0
    unchecked = out.with_name(f".{out.stem}.{os.getpid()}.unchecked{out.suffix}")
    try:
        written = write_rows(unchecked, good())
        _check_again(unchecked, out, path.parent if image_folder is None else image_folder)
        os.replace(unchecked, out)
    finally:
        unchecked.unlink(missing_ok=True)
    left_out_file = out.with_name(f"{out.name}.left_out.txt")
    if report.faults:
        write_text(left_out_file, "\n".join(report.every_line) + "\n", errors="backslashreplace")
    else:
        left_out_file.unlink(missing_ok=True)
    return GoodRows(out, written, rows - written, left_out_file if report.faults else None)


def _check_again(unchecked: Path, out: Path, image_folder: str | os.PathLike[str]) -> None:
    """Refuses rows that have faults all the same: those of whole columns are told by their first row."""
    faults = Faults(unchecked)
    repeats = Repeats(faults)
    for record in scan_records(unchecked, image_folder, faults, space=None):
        repeats.see(record)
    if faults:
        first = DataError(faults.texts()).faults[0].removeprefix(f"{unchecked}:")
        raise ValueError(f"{out} is not written: leaving out rows does not mend this: {first}")
