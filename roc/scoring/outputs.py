"""The files of a scoring run, all beside its output `scores.csv`, and the checks that none takes another's place.

    scores.csv                 one row per scored image, in the order of the input
    scores.csv.part.jsonl      the journal of a run that is not finished
    scores.csv.journal.jsonl   the journal of a finished run, from which the others can be written again
    scores.run.json            what was run, on which scale, and the hashes of what was written
    scores.errors.csv          the images that could not be scored, and why
    scores.selected.csv        the rows that were chosen, best first

Outputs of one stem (`scores.csv`, `scores.jsonl`) share `scores.run.json`, so they have to be of the same run; `outs`
in that file lists them. The errors of the second one are in `scores.jsonl.errors.csv`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from roc.data.rows import DataError, Faults, iter_rows, write_rows
from roc.files import write_json
from roc.scoring.options import ScoreOptions
from roc.scoring.stamps import STAMP

_WORDS = ("image", "text", "answers", "retried", "samples", "unit", "scale", "scorer")
"""Columns that hold no numbers."""

_TABLES = (".csv", ".tsv", ".xlsx")

Facts = dict[str, Any]
"""What stands in `scores.run.json`: `settings`, `images`, `names`, `outs`, `outputs`, `failed`, the scale, the
checkpoint, versions. `outputs` holds the `Written` of each of `outs`."""

Written = dict[str, Any]
"""What a finished run wrote: `rows`, `failed`, the name of the file of `errors`, and the SHA-256 of each file by name,
`files`."""


class Outputs:
    """The files of one run by name.

    Args:
        out: The file of scores.

    Attributes:
        out: As given.
        journal, kept, facts, errors, selected, moves: The files beside it; `kept` is the journal of a finished run,
            `moves` is there while pictures are being moved.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out)
        self.journal = self.out.with_name(f"{self.out.name}.part.jsonl")
        self.kept = self.out.with_name(f"{self.out.name}.journal.jsonl")
        self.moves = self.out.with_name(f"{self.out.name}.moves.json")
        self.facts = self._beside(".run.json")
        self.selected = self._beside(f".selected{self.out.suffix}")

    def _beside(self, ending: str) -> Path:
        return self.out.with_name(self.out.stem + ending)

    @property
    def errors(self) -> Path:
        """The file of errors; of the second output of a stem, it has the whole name of that."""
        first = next((name for name in self._others(self.read_facts())), self.out.name)
        before = self._written(self.read_facts()).get("errors")
        if before is not None:
            return self.out.with_name(before)
        return self._beside(".errors.csv") if first == self.out.name else self._long_errors

    @property
    def _long_errors(self) -> Path:
        return self.out.with_name(f"{self.out.name}.errors.csv")

    def all(self) -> list[Path]:
        """Lists all files that a run may write, without the chosen rows."""
        short = self._beside(".errors.csv")
        return [self.out, self.journal, self.kept, self.facts, self.moves, short, self._long_errors]

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

    def write_facts(self, facts: Facts, rows: int) -> None:
        """Writes `scores.run.json` with the hashes of the files of this run, once they are all there."""
        errors = self.errors
        files = [self.out, *([errors] if errors.exists() else [])]
        written = {
            "rows": rows,
            "failed": facts["failed"],
            "errors": errors.name,
            "files": {file.name: digest_of(file) for file in files},
            "journal": digest_of(self.journal if self.journal.exists() else self.kept),
        }
        before = self.read_facts()
        others = {name: before["outputs"][name] for name in self._others(before) if name in before.get("outputs", {})}
        facts["outs"] = [*self._others(before), self.out.name]
        facts["outputs"] = others | {self.out.name: written}
        write_json(self.facts, facts)

    def _others(self, facts: Facts) -> list[str]:
        """Names of the other outputs of this stem that are there."""
        return [name for name in facts.get("outs", []) if name != self.out.name and self.out.with_name(name).exists()]

    def _written(self, facts: Facts) -> Written:
        return facts.get("outputs", {}).get(self.out.name, {})

    def check_sharing(self, facts: Facts, earlier: Mapping[str, Any]) -> None:
        """Makes sure that the outputs which share `scores.run.json` with this run are of the same run.

        Raises:
            ValueError: They are of other images or settings.
        """
        before = self.read_facts()
        others = self._others(before)
        if others and not _is_same(before, facts, earlier):
            raise ValueError(
                f"{self.facts} belongs to {others[0]}, of other images or settings; name another --out, that is not "
                f"called {self.out.stem} too"
            )

    def finished(self, facts: Facts, earlier: Mapping[str, Any]) -> Facts | None:
        """Finds out whether this run is finished, from what was written when it was.

        Args:
            facts: Of the run now.
            earlier: Its settings as an earlier version noted them.

        Returns:
            The facts of then; None where the run is not finished.

        Raises:
            ValueError: The output is of other settings or images.
        """
        if self.journal.exists() or not (self.out.exists() or self.kept.exists()):
            return None
        before = self.read_facts()
        if _is_same(before, facts, earlier) and self.out.name in before.get("outs", []):
            return before
        if not self.out.exists():
            return None
        from roc.scoring.journal import differences

        what, how = "images", ""
        if before.get("settings") != facts["settings"]:
            what = "settings"
            how = f" ({differences(before['settings'], facts['settings'])})" if "settings" in before else ""
        raise ValueError(
            f"{self.out} is there already, from a run with other {what}{how} or from something else; "
            "name another --out, or replace it with --overwrite"
        )

    def has_sound_journal(self, facts: Facts) -> bool:
        """Tells whether the journal of a finished run is there, as it was then."""
        return self.kept.exists() and self._written(facts).get("journal") == digest_of(self.kept)

    def wrong(self, facts: Facts) -> list[str]:
        """Says which files of a finished run are not what it wrote; of an earlier version's, only rows are counted."""
        written = self._written(facts)
        if not written:
            expected = facts["images"] - facts["failed"]
            found = self._count()
            return [] if found == expected else [f"{self.out} holds {found} rows instead of {expected}"]
        found = []
        for name, digest in written["files"].items():
            path = self.out.with_name(name)
            if not path.exists():
                found.append(f"{path} is gone")
            elif digest_of(path) != digest:
                counted = f": it holds {self._count()} rows of {written['rows']}" if path == self.out else ""
                found.append(f"{path} was changed since it was written{counted}")
        return found

    def _count(self) -> int | str:
        try:
            return sum(1 for _ in iter_rows(self.out, Faults(self.out)))
        except (DataError, ImportError):
            return "unreadable"

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """Reads the rows of a finished output, with typed numbers from every kind of file."""
        faults = Faults(self.out)
        for _, row in iter_rows(self.out, faults):
            yield _typed(row)
        if faults:
            raise DataError(faults.texts())

    def write_rows(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Writes the scored rows among those given; returns how many."""
        scored = ({name: value for name, value in row.items() if name != STAMP} for row in rows if "error" not in row)
        return write_rows(self.out, scored)

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

    def read_errors(self) -> list[dict[str, Any]]:
        """Reads the rows that `write_errors` wrote."""
        if not self.errors.exists():
            return []
        return [{"image": row["image"], "error": row["reason"]} for _, row in iter_rows(self.errors, Faults(self.out))]

    def clean(self, *others: str | os.PathLike[str] | None) -> None:
        """Removes the half-written files of runs that were killed: of this output, of other files and in folders."""
        for path in (*self.all(), self.selected, *(Path(other) for other in others if other is not None)):
            pattern = ".*.[0-9]*.tmp" if path.is_dir() else f".{_plain(path.name)}.[0-9]*.tmp"
            for left in (path if path.is_dir() else path.parent).glob(pattern):
                if not _is_running(left.name.split(".")[-2]):
                    left.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """Gives the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(name: str) -> str:
    """Escapes what a pattern would read as more than a letter."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _is_running(process: str) -> bool:
    """Tells whether a process is there and is another one."""
    if not process.isdigit() or os.name == "nt":  # where asking would end it
        return True
    if int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _is_same(before: Facts, facts: Facts, earlier: Mapping[str, Any]) -> bool:
    return before.get("settings") in (facts["settings"], earlier) and before.get("names") == facts["names"]


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Restores the numbers in a row read from a table of text."""
    typed = {
        name: value if value is None or name in _WORDS else float(value)
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
    for name in ("copy_to", "move_to"):
        path = getattr(options, name)
        if path is not None and os.path.exists(path) and not os.path.isdir(path):
            raise ValueError(f"--{name} is {path}, which is a file; name a folder")
    if Path(options.out).suffix.lower() == ".parquet":
        import pyarrow  # noqa: F401
    if Path(options.out).suffix.lower() == ".xlsx":
        import openpyxl  # noqa: F401
    files = Outputs(options.out)
    written = [*files.all(), *([files.selected] if options.chooses else [])]
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
    gallery = options.gallery and Path(options.gallery).parent
    for folder in (Path(options.out).parent, gallery, options.copy_to, options.move_to):
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise ValueError(f"{folder} cannot be written to; name another folder")


def _is_same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Tells whether two paths name one file, existing or not."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)
