"""What comes before a cold start on rated photos: their critiques, and a pretrained tower that has learnt to score.

The author measures the photos' pixels, as no model is at hand that could look at them. The `small` starter, whose
tokenizer gets the words of the critiques, learns to score by the recipe of `configs/photos.yaml`; from then on its
tower stays frozen. That recipe is made for scores on 0..1, so all scores are brought there. Each part is left out where
it is finished, and goes on where it was stopped.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from claims import RatedPhotos, choose_photos
from stages import run_roc, timed

from roc.data.records import Record
from roc.data.rows import write_rows
from roc.score_space import ScoreSpace
from roc.starter.options import StarterOptions
from roc.starter.plan import plan

from .parts import CONFIGS, PHOTOS, ROOT, Parts, Sizes, build_start, texts_of

RECIPE = ROOT / "configs" / "photos.yaml"
FEATURES = "features"
"""Folder of the outputs of the tower."""
_FEWEST = {"train": 12, "val": 3, "test": 3}


def make_photo_parts(out: Path, options: RatedPhotos, sizes: Sizes, threads: int) -> Parts:
    """Makes what is not there yet.

    Args:
        out: Folder for everything.
        options: The photos and their scale.
        sizes: How many of them at most, and for how long the base is taught.
        threads: CPU threads of PyTorch; 0 leaves its choice.

    Raises:
        DataError: With all faults of the file of photos.
        StageFailed: If a run ended with an error.
        OSError, ValueError: If there are too few photos, or the starter cannot be built.
    """
    scale = ("--min_score", "0", "--max_score", "1")
    # All runs read the outputs of the same tower.
    shared = ("--freeze", "vision", "--features_folder", str(out / FEATURES), "--dataset", "photos")
    words = {"cold_start": (*scale, *shared, "--vision_learning_rate", "none"), "rapo": shared}
    parts = Parts(out, PHOTOS, words)
    if not parts.validation.is_file():
        _list_photos(parts, options, sizes)
    with timed(out, "corpus"):
        if not parts.corpus.is_file():
            # Few photos are bad, and as many texts of each tier would be too few to learn the sentences from.
            asked = ["--data_path", parts.ratings, "--out", parts.corpus, "--writer", "measured", "--balance", "none"]
            run_roc("reasoning", "corpus", *asked, *scale)
        if sizes.pretrained:
            _build_starter(parts, out / "start")
        else:
            build_start(parts, out / "start")
    with timed(out, "base"):
        run_roc(
            *("finetune", RECIPE, "--starter", "none", "--model_name_or_path", out / "start"),
            *("--data_path", parts.ratings, "--output_dir", parts.base, "--threads", str(threads)),
            *(*scale, *_base_words(), *sizes.base),
        )
    return parts


def _base_words() -> list[str]:
    """Lists what the base does otherwise than the recipe says.

    It has question and answer of the cold start, which goes on with them, and does not see the test photos.
    """
    asked: dict[str, Any] = yaml.safe_load(CONFIGS["cold_start"].read_text(encoding="utf-8"))
    words = [word for name in ("question", "answer") for word in (f"--{name}", asked[name])]
    return [*words, "--score_flip", "false", "--no_test_table", "true", "--check_answers", "0"]


def _list_photos(parts: Parts, options: RatedPhotos, sizes: Sizes) -> None:
    """Writes the ratings, on 0..1, with their splits, and those of the validation photos a second time, alone."""
    space = ScoreSpace(options.min_score, options.max_score)
    counts = {"train": sizes.train, "val": sizes.val, "test": sizes.test}
    chosen = choose_photos(options.photos, options.image_folder, space, counts, _FEWEST, salt="reasoning")
    rows = {split: [_row(one, split, space) for one in some] for split, some in chosen.items()}
    parts.ratings.parent.mkdir(parents=True, exist_ok=True)
    write_rows(parts.ratings, [row for some in rows.values() for row in some])
    write_rows(parts.validation, rows["val"])


def _row(record: Record, split: str, space: ScoreSpace) -> dict[str, Any]:
    return {
        "id": record.id,
        "image": os.path.abspath(record.images[0]),
        "score": space.to_unit(record.scores["overall"]),
        "split": split,
    }


def _build_starter(parts: Parts, folder: Path) -> None:
    """Builds the starter with the words of the corpus, unless it is there."""
    if not folder.is_dir():
        from roc.starter.build import build_starter

        options = StarterOptions(out=str(folder), size="small")
        build_starter(options, plan(options), texts_of(parts))
