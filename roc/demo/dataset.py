"""The demo's data set on disk: rated scenes as PNG files, their ratings as a table, and what they were made from."""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from roc.data.rows import write_rows
from roc.demo.attributes import ATTRIBUTES
from roc.demo.raters import RaterPanel, rater_ceiling
from roc.demo.scenes import KnownScene, known_scene, render_scene
from roc.files import write_json

logger = logging.getLogger(__name__)

RATINGS_FILE = "ratings.csv"
MANIFEST_FILE = "manifest.json"

VERSION = 1
"""Raised whenever a scene or a vote would come out differently, so that a data set of an older kind is not reused."""

# Scenes of a split are numbered from here, so that the test scenes do not change with the number of training scenes.
_FIRST_INDEX = {"train": 0, "val": 1_000_000, "test": 2_000_000}
# Below this many scenes a further process costs more than it saves.
_SCENES_A_WORKER = 200


class _Rated(NamedTuple):
    """One scene on disk: its row of the table, its votes and its noise-free scores by attribute."""

    row: dict[str, object]
    votes: dict[str, np.ndarray]
    true_scores: dict[str, float]


def write_dataset(
    folder: str | Path, n_train: int, n_val: int, n_test: int, *, size: int, seed: int, workers: int = 1
) -> Path:
    """Writes rated scenes as PNG files and one `ratings.csv` that `roc.data.reading.read_records` reads.

    The header is `image, score, composition, light, colour, focus, std, n_votes, h_1..h_10, comment, split`: mean
    votes on 1..10, standard deviation and shares of the overall votes. `manifest.json` holds the parameters and, for
    the test scenes (all scenes where there are fewer than 3), `rater_ceiling` of each attribute.

    The folder appears whole or not at all. One that already holds exactly this is left as it is; one that holds other
    scenes is replaced; anything else there is never touched.

    Args:
        folder: Where to write.
        n_train: Number of training scenes.
        n_val: Number of validation scenes.
        n_test: Number of test scenes.
        size: Side of the pictures in pixels.
        seed: Seed of the scenes and of the panel.
        workers: Processes to draw with; 1 draws in this one. The result is the same.

    Returns:
        Path of the CSV file.

    Raises:
        ValueError: For a negative count, fewer than 3 scenes in all, or a folder with other content.
    """
    folder = Path(folder)
    counts = {"train": n_train, "val": n_val, "test": n_test}
    if min(counts.values()) < 0 or sum(counts.values()) < 3:
        raise ValueError(f"need 3 scenes or more and no negative count, got {counts}")
    parameters = {"version": VERSION, "counts": counts, "size": size, "seed": seed}
    if folder.exists() and any(folder.iterdir()):
        held = _read_manifest(folder)
        if held is None:
            raise ValueError(f"{folder} holds files that are no demo scenes; name a new or an empty folder")
        if held["parameters"] == parameters:
            return folder / RATINGS_FILE

    logger.info("Drawing %d demo scenes into %s ...", sum(counts.values()), folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.chmod(building, 0o755)
        rated = _draw_all(building, counts, size=size, seed=seed, workers=workers)
        write_rows(building / RATINGS_FILE, [scene.row for scene in rated])
        judged = rated[-n_test:] if n_test >= 3 else rated
        manifest = {"parameters": parameters, "rater_ceiling": _ceiling(judged)}
        write_json(building / MANIFEST_FILE, manifest)
        _put_in_place(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder / RATINGS_FILE


def read_ceiling(folder: str | Path) -> dict[str, dict[str, float]]:
    """Reads `rater_ceiling` of each attribute for the data set in `folder`, as `write_dataset` recorded it.

    Raises:
        ValueError: If the folder holds no scenes written by `write_dataset`.
    """
    manifest = _read_manifest(Path(folder))
    if manifest is None:
        raise ValueError(f"{folder} holds no demo scenes ({MANIFEST_FILE} is missing); write them with write_dataset")
    return manifest["rater_ceiling"]


def scene_of(image: str | Path) -> KnownScene:
    """Tells what the generator knows of a picture that `write_dataset` wrote.

    Raises:
        ValueError: If the picture is no part of such a data set.
    """
    image = Path(image)
    split, _, number = image.stem.rpartition("_")
    held = _read_manifest(image.parent.parent)
    counts = held["parameters"]["counts"] if held else {}
    if image.suffix != ".png" or not number.isdecimal() or int(number) >= counts.get(split, 0):
        raise ValueError(f"{image} is no scene of the demo, so nothing is known of it")
    return known_scene(_FIRST_INDEX[split] + int(number), seed=held["parameters"]["seed"])


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """Reads the manifest of a finished data set; None where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    complete = isinstance(manifest, dict) and {"parameters", "rater_ceiling"} <= set(manifest)
    return manifest if complete and (folder / RATINGS_FILE).is_file() else None


def _draw_all(folder: Path, counts: dict[str, int], *, size: int, seed: int, workers: int) -> list[_Rated]:
    """Draws, rates and saves the scenes of all splits, in their order."""
    (folder / "images").mkdir()
    jobs = [(split, i) for split, count in counts.items() for i in range(count)]
    draw = functools.partial(_draw_one, folder, size, seed)
    workers = min(workers, len(jobs) // _SCENES_A_WORKER)
    if workers <= 1:
        return [draw(job) for job in jobs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(draw, jobs, chunksize=32))


def _draw_one(folder: Path, size: int, seed: int, job: tuple[str, int]) -> _Rated:
    split, i = job
    scene = render_scene(_FIRST_INDEX[split] + i, seed=seed, size=size)
    ratings = _panel(seed).rate(scene)
    image = f"images/{split}_{i}.png"
    scene.image.save(folder / image, compress_level=1)
    means = {name: round(mean, 6) for name, mean in ratings.means.items()}
    row: dict[str, object] = {"image": image, "score": means.pop("overall"), **means}
    row |= {"std": round(ratings.std, 6), "n_votes": ratings.n_votes}
    row |= {f"h_{level}": f"{share:.10g}" for level, share in enumerate(ratings.histogram, start=1)}
    row |= {"comment": scene.comment, "split": split}
    return _Rated(row, ratings.votes, scene.true_scores)


@functools.lru_cache(maxsize=2)
def _panel(seed: int) -> RaterPanel:
    """Makes the panel of a data set, once per process."""
    return RaterPanel(seed=seed)


def _ceiling(scenes: list[_Rated]) -> dict[str, dict[str, float]]:
    return {
        name: rater_ceiling([scene.votes[name] for scene in scenes], [scene.true_scores[name] for scene in scenes])
        for name in ATTRIBUTES
    }


def _put_in_place(building: Path, folder: Path) -> None:
    """Renames the finished folder; an old one is moved aside first, so that a kill in between loses nothing."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        folder.rename(aside / "old")
        building.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        building.rename(folder)
