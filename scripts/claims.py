"""Scripts that test the claim of a method: photos of one's own, learning rates, runs, and what a folder holds."""

from __future__ import annotations

import functools
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import check_settings, held_settings, note_settings, side_by_side

from roc import __version__
from roc.settings import Fault, Settings, option

if TYPE_CHECKING:
    from roc.data.records import Record
    from roc.score_space import ScoreSpace
    from roc.training.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class RatedPhotos(Settings):
    """Rated photos of the user's own, and their scale."""

    photos: str | None = option(None, "file of rated photos", metavar="FILE", unset="none: scenes of the demo")
    image_folder: str | None = option(None, "folder that its image paths start from", metavar="DIR")
    min_score: float | None = option(None, "lowest score of that file's scale")
    max_score: float | None = option(None, "highest score of that file's scale")

    def faults(self) -> list[Fault]:
        """Finds settings of photos without photos, and photos without their scale."""
        if self.photos is None:
            names = [name for name in self.of_photos if name != "photos"]
            alone = [f"--{name}" for name in names if getattr(self, name) is not None]
            text = f"{', '.join(alone)}: these belong to --photos; give it, or leave them out"
            return [("", text)] if alone else []
        if self.min_score is None or self.max_score is None:
            return [("", f"the scale of {self.photos} is not guessed; give --min_score and --max_score")]
        if not self.min_score < self.max_score:
            return [("min_score", f"min_score {self.min_score:g} must be below max_score {self.max_score:g}")]
        return []

    @property
    def of_photos(self) -> tuple[str, ...]:
        """Names of the settings that belong to the photos."""
        return ("photos", "image_folder", "min_score", "max_score")

    @property
    def photos_settings(self) -> list[Any]:
        """Lists what the runs of a folder share of the photos; None first where there are no photos."""
        return [getattr(self, name) for name in self.of_photos]


@dataclass(frozen=True, kw_only=True)
class PhotosOptions(RatedPhotos):
    """Rated photos that a claim is tested on beside the demo's scenes."""

    photos: str | None = option(
        None, "file of rated photos, compared on beside the scenes", metavar="FILE", unset="none: the scenes alone"
    )
    photos_model: str | None = option(
        None,
        "encoder for the photos, trained whole: any model that --host backbone takes",
        metavar="MODEL",
        unset="the starter's tower, frozen (docs/starter.md); with --quick a small untrained one",
    )

    @property
    def of_photos(self) -> tuple[str, ...]:
        """Names of the settings that belong to the photos."""
        return (*super().of_photos, "photos_model")


def choose_photos(
    path: str | Path,
    image_folder: str | None,
    space: ScoreSpace,
    counts: Mapping[str, int],
    fewest: Mapping[str, int],
    *,
    salt: str,
) -> dict[str, list[Record]]:
    """Reads rated photos and takes some of each split, chosen by a hash of their ids.

    Args:
        path: File of rated photos. Without test rows, a fifth of the training rows is the test.
        image_folder: Folder that its image paths start from; None takes that of the file.
        space: Range of the scores.
        counts: Split -> how many at most.
        fewest: Split -> how many at least.
        salt: Another one chooses others.

    Returns:
        Split -> records with one picture and an overall score.

    Raises:
        DataError: With all faults of the file.
        ValueError: If a split is too small.
    """
    from roc.data.reading import read_records
    from roc.data.records import hash_fraction, resolve_splits, split_by_id

    records = read_records(path, image_folder, space=space, check_images=False)
    usable = [record for record in records if len(record.images) == 1 and "overall" in record.scores]
    splits = resolve_splits(usable, val_fraction=0.1)
    if not splits["test"]:
        splits["train"], splits["test"] = split_by_id(splits["train"], 0.2, salt=salt)
    chosen = {
        split: sorted(splits[split], key=lambda record: hash_fraction(record.id, salt))[:count]
        for split, count in counts.items()
    }
    for split, least in fewest.items():
        if len(chosen[split]) < least:
            raise ValueError(
                f"{path}: {len(chosen[split])} usable {split} rows, at least {least} are needed; usable is a row with "
                "one picture and an overall score"
            )
    return chosen


def check_same(out: Path, settings: dict[str, Any]) -> None:
    """Refuses a folder whose runs had other settings, and notes those of a new one.

    Args:
        out: Folder of the comparison.
        settings: What its runs share; `photos` (`PhotosOptions.photos_settings`) may be given later.

    Raises:
        ValueError: With the settings that differ.
    """
    without_photos = held_settings(out).get("photos", [None])[0] is None
    check_settings(out, {name: one for name, one in settings.items() if name != "photos" or not without_photos})
    note_settings(out, settings)


def best_rate(tried: Sequence[dict[str, Any]], rates: Sequence[float], by: str) -> float:
    """Chooses the rate whose run has the best validation, the lower one of two that are equal.

    Args:
        tried: Results of the runs of one arm.
        rates: All that could be tried; the first one where none was.
        by: Name of the result that is compared; None in a run that has none.
    """
    if not tried:
        return rates[0]
    ordered = sorted(tried, key=lambda one: one["rate"])
    return max(ordered, key=lambda one: -2 if one[by] is None else one[by])["rate"]


def results_of(work: Callable[..., Any], runs: Sequence[Any], shared: Any, jobs: int) -> Iterator[dict[str, Any]]:
    """Executes runs, `jobs` of them at a time.

    Args:
        work: Function of a module, of a run and `shared`.
        runs: What is left to do.
        shared: What all of them need.
        jobs: Processes at a time; 1 works in this one.

    Returns:
        The results, in the order in which they come.
    """
    if jobs == 1:
        return map(functools.partial(work, shared=shared), runs)
    return side_by_side(work, runs, shared, jobs)


def remove_unread(config: RunConfig) -> None:
    """Removes a run that is finished and whose result was not written any more: its job would score nothing again.

    Args:
        config: Settings of a run that is removed as soon as its result is written.

    Raises:
        RunError: If its folder holds anything else.
    """
    from roc.training.run import is_finished

    if is_finished(config):
        shutil.rmtree(config.output_dir)


def versions() -> dict[str, str]:
    """Names the versions that a result was made with."""
    packages = {name: version(name) for name in ("torch", "transformers")}
    return {"roc": __version__, **packages, "Python": platform.python_version()}
