"""Folds: photos divided so that each is scored by a model that never saw it.

A model has learnt its training photos by heart, so their scores move less than those of new ones. So the photos are
divided, by `source_names`, which keeps the edits of a photo and its groups together; a hash of the source's name alone
decides its fold. `write_folds` writes a training file for each fold, with nothing of that fold in it, whatever its
split, no test row and no photo that nobody rated. `seen_photos` reads what a checkpoint was trained on from the folder
of its run.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import roc
from roc.agree.config import FoldsOptions
from roc.data.digest import content_digest
from roc.data.leaks import entry_of
from roc.data.reading import read_records, scan_records
from roc.data.records import Record, hash_fraction
from roc.data.rows import TABLES, DataError, Faults, iter_rows_for, write_rows
from roc.data.split import source_names
from roc.data.usual_ranges import guess_range
from roc.files import write_json
from roc.training.run import RUN_FILE, SCENES

FOLDS_FILE = "folds.json"


@dataclass(frozen=True)
class Folds:
    """What `write_folds` wrote.

    Attributes:
        files: The training file of each fold: all but that fold.
        photos: How many photos, of any split, are in each fold.
        trained: How many rows each file holds.
        image_folder: Where the paths in the files start from.
        range: Native range of the scores, by guess; None where it is not one of the usual ones.
    """

    files: tuple[Path, ...]
    photos: tuple[int, ...]
    trained: tuple[int, ...]
    image_folder: str
    range: tuple[float, float] | None

    def commands(self, data_path: str, seed: int) -> list[str]:
        """Gives the commands that train a model for each fold and then measure the sensitivities."""
        low, high = ("LOW", "HIGH") if self.range is None else (f"{end:g}" for end in self.range)
        folders = [f"checkpoints/fold_{number}" for number in range(1, len(self.files) + 1)]
        photos = ["--image_folder", self.image_folder]
        train = [
            "roc finetune --model_name_or_path MODEL "
            + shlex.join(["--data_path", str(file), *photos, "--min_score", low, "--max_score", high])
            + f" --output_dir {folder}"
            for file, folder in zip(self.files, folders, strict=True)
        ]
        words = ["roc", "agree", "sensitivity", "--checkpoint", *folders, "--folds", str(len(folders))]
        words += ["--data_path", data_path, *photos, *(["--seed", str(seed)] if seed else []), "--out", "sens.parquet"]
        return [*train, shlex.join(words)]


def fold_numbers(records: Sequence[Record], folds: int, seed: int = 0) -> list[int]:
    """Gives each record the number of its fold, from 1.

    Args:
        records: All of a data file.
        folds: How many; 1 puts all into one.
        seed: Another one gives another division.

    Raises:
        ValueError: A fold is empty.
    """
    if folds == 1:
        return [1] * len(records)
    sources = source_names([entry_of(record) for record in records])
    numbers = [1 + int(hash_fraction(source, f"agree-folds-{seed}") * folds) for source in sources]
    if empty := sorted({*range(1, folds + 1)} - set(numbers)):
        raise ValueError(
            f"fold {empty[0]} of {folds} is empty: the file holds {len(set(sources))} photos, edits of one counted as "
            "one; give fewer folds, or another seed"
        )
    return numbers


def write_folds(options: FoldsOptions) -> Folds:
    """Writes the training file of each fold, in the format of the data file, and `folds.json`, which says how.

    Raises:
        DataError: The data file has faults.
        ValueError: A fold is empty or leaves nothing to train on, or files are in the way.
        OSError: The files cannot be written.
    """
    path, out = Path(options.data_path), Path(options.out)
    records = read_records(path, options.image_folder, space=None, check_images=False, unrated=True)
    numbers = fold_numbers(records, options.folds, options.seed)
    suffix = path.suffix.lower() if path.suffix.lower() in TABLES else ".parquet"
    files = tuple(out / f"train_{number}{suffix}" for number in range(1, options.folds + 1))
    _check_free(files, out / FOLDS_FILE, path, overwrite=options.overwrite)
    kept = [
        [
            number != fold and record.split != "test" and bool(record.scores or record.conversations)
            for number, record in zip(numbers, records, strict=True)
        ]
        for fold in range(1, options.folds + 1)
    ]
    for fold, chosen in enumerate(kept, start=1):
        if not any(keep and record.split != "val" for keep, record in zip(chosen, records, strict=True)):
            raise ValueError(f"without fold {fold} there is no row left to train on; mark fewer rows as val or test")
    for file, chosen in zip(files, kept, strict=True):
        rows = zip(chosen, iter_rows_for(path, file), strict=True)
        write_rows(file, (row for keep, (_, row) in rows if keep))
    photos = Counter(numbers)
    write_json(
        out / FOLDS_FILE,
        {
            "roc": roc.__version__,
            "data_path": os.path.abspath(path) if path.exists() else options.data_path,
            "data": content_digest(path),
            "folds": options.folds,
            "seed": options.seed,
            "files": {file.name: content_digest(file) for file in files},
            "fold": {record.id: number for record, number in zip(records, numbers, strict=True)},
        },
    )
    scores = [record.scores["overall"] for record in records if "overall" in record.scores]
    return Folds(
        files,
        tuple(photos[fold] for fold in range(1, options.folds + 1)),
        tuple(map(sum, kept)),
        options.image_folder or os.path.dirname(options.data_path) or ".",
        guess_range(min(scores), max(scores)) if scores else None,
    )


def _check_free(files: Sequence[Path], facts: Path, path: Path, *, overwrite: bool) -> None:
    """Refuses to replace the data file, or anything without being asked."""
    for file in (*files, facts):
        if not file.exists():
            continue
        if path.exists() and file.samefile(path):
            raise ValueError(f"{file} is the data file itself; name another folder")
        if not overwrite:
            raise ValueError(f"{file} is there already; name another folder, or replace it with --overwrite")


def seen_photos(checkpoint: str) -> set[str] | None:
    """Lists the photos that a checkpoint was trained on, or chosen by, from the folder of its run.

    Where that run began from another run's checkpoint, the photos of that one count too.

    Args:
        checkpoint: The folder that `roc finetune` wrote, or another name.

    Returns:
        Their paths, with all links followed; None where that is not known: no such run, or its data file is gone or
        was edited since.
    """
    folder = Path(checkpoint)
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        settings, hashes = run["settings"], run.get("data") or []
        begun_from = settings.get("model_name_or_path")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    image_folder, paths = settings.get("image_folder"), [settings.get("data_path"), settings.get("eval_data_path")]
    if paths[0] is None:
        from roc.demo.dataset import RATINGS_FILE

        paths, hashes, image_folder = [str(folder / SCENES / RATINGS_FILE), None], [], None
    found: set[str] = set()
    for place, file in enumerate(Path(path) for path in paths if path is not None):
        now = content_digest(file)
        edited = place < len(hashes) and hashes[place] not in (None, now)
        images = None if now is None or edited else _images_of(file, image_folder, tested=place > 0)
        if images is None:
            return None
        found |= images
    if begun_from is not None and (Path(begun_from) / RUN_FILE).exists():
        before = seen_photos(begun_from)
        return None if before is None else found | before
    return found


def _images_of(file: Path, image_folder: str | None, *, tested: bool) -> set[str] | None:
    """Lists the images of a data file, those of its test rows only where asked; None where it cannot be read."""
    faults = Faults(file)
    found: set[str] = set()
    try:
        for record in scan_records(file, image_folder, faults, space=None):
            if tested or record.split != "test":
                found.update(map(os.path.realpath, record.images))
    except DataError:
        return None
    return None if faults else found
