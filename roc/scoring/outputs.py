"""The files of a scoring run, all beside its output `scores.csv`, and the checks that none takes another's place.

    scores.csv              one row per scored image, in the order of the input
    scores.csv.part.jsonl   the journal of a run that is not finished
    scores.run.json         what was run, on which scale; by it the same command knows that it is finished
    scores.errors.csv       the images that could not be scored, and why
    scores.selected.csv     the rows that were chosen, best first

Outputs of one stem (`scores.csv`, `scores.jsonl`) share `scores.run.json` and `scores.errors.csv`, so they have to be
of the same run; `outs` in that file lists them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from roc.data.rows import DataError, Faults, iter_rows, write_rows
from roc.files import write_json
from roc.scoring.options import ScoreOptions

_TABLES = (".csv", ".tsv")

Facts = dict[str, Any]
"""What stands in `scores.run.json`: `settings`, `images`, `names`, `outs`, `failed`, the scale, the checkpoint."""


class Outputs:
    """The files of one run by name.

    Args:
        out: The file of scores.

    Attributes:
        out: As given.
        journal, facts, errors, selected: The files beside it.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out)
        self.journal = self.out.with_name(f"{self.out.name}.part.jsonl")
        self.facts = self._beside(".run.json")
        self.errors = self._beside(".errors.csv")
        self.selected = self._beside(f".selected{self.out.suffix}")

    def _beside(self, ending: str) -> Path:
        return self.out.with_name(self.out.stem + ending)

    def name_fault(self, name: str) -> str | None:
        """Says why the output could not give back the name of an image; None where it can."""
        if self.out.suffix.lower() not in _TABLES or name == name.strip():
            return None
        fault = f"its name begins or ends with a blank, which {self.out.suffix} cannot give back"
        return f"{fault}; rename it, or write .jsonl"

    def read_facts(self) -> Facts:
        """Reads `scores.run.json`; empty where it cannot be read."""
        try:
            facts = json.loads(self.facts.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def write_facts(self, facts: Facts) -> None:
        """Writes `scores.run.json`."""
        write_json(self.facts, facts)

    def sharing(self, facts: Facts) -> list[str]:
        """Names of the outputs that share `scores.run.json` with this run, its own last.

        Raises:
            ValueError: They are of other images or settings.
        """
        before = self.read_facts()
        others = [
            name for name in before.get("outs", []) if name != self.out.name and self.out.with_name(name).exists()
        ]
        if others and any(before.get(key) != facts[key] for key in ("settings", "names")):
            raise ValueError(
                f"{self.facts} belongs to {others[0]}, of other images or settings; name another --out, that is not "
                f"called {self.out.stem} too"
            )
        return [*others, self.out.name]

    def check_same(self, facts: Facts) -> None:
        """Makes sure that a finished output is of this run.

        Raises:
            ValueError: It is of other settings or images.
        """
        before = self.read_facts()
        for what, key in (("settings", "settings"), ("images", "names")):
            if before.get(key) != facts[key] or self.out.name not in before.get("outs", []):
                raise ValueError(
                    f"{self.out} is there already, from a run with other {what} or from something else; "
                    "name another --out, or replace it with --overwrite"
                )

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """Reads the rows of a finished output, with typed numbers from every kind of file."""
        faults = Faults(self.out)
        for _, row in iter_rows(self.out, faults):
            yield _typed(row)
        if faults:
            raise DataError(faults.texts())

    def write_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the scored rows among those given."""
        write_rows(self.out, (row for row in rows if "error" not in row))

    def write_errors(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Writes image and reason of the rows that have an error, or removes the file where none has.

        Returns:
            How many there are.
        """
        # A line break would end the row for many a reader.
        failed = [
            {"image": row["image"].strip(), "reason": " ".join(row["error"].split())} for row in rows if "error" in row
        ]
        if failed:
            write_rows(self.errors, failed)
        else:
            self.errors.unlink(missing_ok=True)
        return len(failed)


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Restores the numbers in a row read from a table of text."""
    typed = {
        name: value if value is None or name in ("image", "text") else float(value)
        for name, value in row.items()
        if name != "calibrated"
    }
    return typed | {"calibrated": str(row["calibrated"]) == "True"}


def check_outputs(options: ScoreOptions) -> None:
    """Makes sure, before hours of work, that no file is written over an input or over another output.

    Raises:
        ValueError: Naming the two files, or the folder in the place of a file.
        ImportError: Parquet is asked for and pyarrow is missing.
    """
    if options.out is None:
        return
    for name in ("out", "gallery"):
        path = getattr(options, name)
        if path is not None and os.path.isdir(path):
            raise ValueError(f"--{name} is {path}, which is a folder; name a file")
    if options.copy_to is not None and Path(options.copy_to).exists() and not Path(options.copy_to).is_dir():
        raise ValueError(f"--copy_to is {options.copy_to}, which is a file; name a folder")
    if Path(options.out).suffix.lower() == ".parquet":
        import pyarrow  # noqa: F401
    files = Outputs(options.out)
    written = [files.out, files.journal, files.facts, files.errors, *([files.selected] if options.chooses else [])]
    for file in written if options.gallery is not None else ():
        if _is_same_file(options.gallery, file):
            raise ValueError(f"--gallery is {options.gallery}, where {file} goes; name another")
    for path in options.paths:
        for file in written:
            if _is_same_file(file, path):
                raise ValueError(
                    f"--out {options.out} writes {file}, which is one of the files to be scored; name another"
                )
        if options.gallery is not None and _is_same_file(options.gallery, path):
            raise ValueError(f"--gallery is {options.gallery}, which is one of the files to be scored; name another")


def make_folders(options: ScoreOptions) -> None:
    """Creates the output folders and checks that they are writable.

    Raises:
        ValueError: One cannot be written to.
    """
    for folder in (Path(options.out).parent, options.gallery and Path(options.gallery).parent, options.copy_to):
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise ValueError(f"{folder} cannot be written to; name another folder")


def _is_same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Tells whether two paths name one file, existing or not."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)
