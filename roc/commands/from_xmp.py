"""`roc data from-xmp`: stars that people gave to their photos, as a data file."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from roc.commands.line import DONE, FAILED
from roc.data.counts import counted
from roc.settings import REQUIRED, Fault, Settings, option

TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx")
"""Data files that are written; a copy of that of roc/data/rows.py, which `--help` must not import."""

DESCRIPTION = """Reads the star ratings of photos, as Lightroom, darktable, digiKam and others write them, into a data
file with the columns image and score. They are read from sidecars (a.jpg.xmp or a.xmp beside a.jpg), else from the XMP
inside JPEG, TIFF, PNG and WebP files. Photos without a rating are left out; so are rejected ones (rating -1), unless
--rejected says how much they are worth, and those whose stars `roc score --xmp stars` wrote into a sidecar of its own.
Subfolders are searched too. Nothing but the file is written.

Exit status 1 if some photos could not be read; they are named."""

EXAMPLE = "roc data from-xmp photos --out ratings.csv"


@dataclass(frozen=True, kw_only=True)
class FromXmpOptions(Settings):
    """Whose stars are read, and into which file."""

    photos: str = option(REQUIRED, "folder of the photos", positional=True)
    out: str = option(REQUIRED, f"file to write: {', '.join(TABLES)}", metavar="FILE")
    rejected: float | None = option(
        None, "score of rejected photos, such as 0 or 1", low=0, high=5, metavar="S", unset="leave them out"
    )

    def faults(self) -> list[Fault]:
        """Finds a file of another kind."""
        if Path(self.out).suffix.lower() in TABLES:
            return []
        return [("out", f"{self.out}: expected a file that ends in {', '.join(TABLES)}")]


def from_xmp(options: FromXmpOptions, shown: int) -> int:
    """Writes the file and says what it holds.

    Args:
        options: What was asked.
        shown: Faults that are printed.

    Returns:
        Exit status.
    """
    from roc.data.stars import stars_to_file

    found = stars_to_file(options.photos, options.out, rejected=options.rejected)
    print(found.summary())
    low = min(1, *found.stars)
    flags = ["--data_path", options.out, "--image_folder", options.photos, "--min_score", f"{low:g}"]
    print("train on it:", shlex.join([*flags, "--max_score", "5", "--num_tokens", "5"]))
    if found.faults:
        print(f"{counted(len(found.faults), 'photo')} could not be read, left out:", file=sys.stderr)
        print("\n".join(found.faults[:shown]), file=sys.stderr)
        if len(found.faults) > shown:
            print(f"... and {len(found.faults) - shown} more", file=sys.stderr)
    return FAILED if found.faults else DONE
