"""What comes before a cold start: scenes with their ratings, a corpus of critiques, and a tiny model that sees them.

Each part is left out where it is finished, and goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from stages import run_roc, timed

from roc.data.rows import Faults, iter_rows, write_rows
from roc.demo.dataset import write_dataset
from roc.files import write_folder
from roc.model.device import usable_cores

ROOT = Path(__file__).parents[2]
CONFIGS = {
    "base": ROOT / "configs" / "reasoning_base.yaml",
    "cold_start": ROOT / "configs" / "reasoning_cold_start.yaml",
    "rapo": ROOT / "configs" / "reasoning_rapo_demo.yaml",
}
SCENES, PHOTOS = "scenes", "photos"
"""Folders of the files that list the pictures; a comparison has one of them."""
SIDE = 64
"""Side of a scene in pixels."""
SEED = 42
VOCABULARY = 1024
"""Most tokens: so many that each word of the embedded author's sentences is one."""
_TEXTS = 2000


@dataclass(frozen=True)
class Sizes:
    """How much there is of everything, and words for the training runs that make them shorter.

    Attributes:
        train, val, test: Scenes or photos of each split, at most.
        corpus: Critiques of scenes; each training photo gets one.
        pretrained: Whether photos are seen by a pretrained tower.
        base, cold_start, rapo: Words of the command lines.
    """

    train: int = 8000
    val: int = 300
    test: int = 500
    corpus: int = 3000
    pretrained: bool = True
    base: tuple[str, ...] = ()
    cold_start: tuple[str, ...] = ()
    rapo: tuple[str, ...] = ()


WHOLE = Sizes()
QUICK = Sizes(
    train=48,
    val=12,
    test=12,
    corpus=12,
    pretrained=False,
    base=("--max_steps", "2"),
    cold_start=("--max_steps", "2", "--reasoning_rows", "4", "--entropy_rows", "2", "--reasoning_tokens", "16"),
    rapo=(
        *("--max_steps", "2", "--eval_steps", "2", "--save_steps", "2", "--reasoning_tokens", "16"),
        *("--per_device_train_batch_size", "8", "--critiques_batch_size", "2", "--reasoning_rows", "4"),
        *("--entropy_rows", "2", "--logging_steps", "1"),
    ),
)


@dataclass(frozen=True)
class Parts:
    """Where the parts lie below a folder.

    Attributes:
        out: The folder.
        pictures: `SCENES` or `PHOTOS`, the folder of the files that list them.
        words: Stage, "cold_start" or "rapo" -> words of its command line that these pictures need.
        ratings: All of them with their ratings.
        validation: Those for validation alone.
        corpus: Critiques of training pictures.
        base: Checkpoint that scores the pictures and has read no critique.
    """

    out: Path
    pictures: str = SCENES
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def ratings(self) -> Path:
        return self.out / self.pictures / "ratings.csv"

    @property
    def validation(self) -> Path:
        return self.out / self.pictures / "validation.csv"

    @property
    def corpus(self) -> Path:
        return self.out / "corpus.jsonl"

    @property
    def base(self) -> Path:
        return self.out / "base"


def check_pictures(out: Path, pictures: str) -> None:
    """Refuses a folder whose parts are made of the other pictures.

    Args:
        out: The folder.
        pictures: `SCENES` or `PHOTOS`, what is asked for.

    Raises:
        ValueError: If it holds those of the others.
    """
    other = PHOTOS if pictures == SCENES else SCENES
    if (out / other).is_dir():
        raise ValueError(f"{out} holds parts made of {other}; name another --output_dir")


def make_parts(out: Path, sizes: Sizes, threads: int) -> Parts:
    """Makes what is not there yet.

    Args:
        out: Folder for everything.
        sizes: How much.
        threads: CPU threads of PyTorch; 0 leaves its choice.

    Raises:
        StageFailed: If a run ended with an error.
        OSError, ValueError: If the scenes cannot be drawn.
    """
    parts = Parts(out)
    if not parts.validation.is_file():
        with timed(out, "scenes"):
            _draw(parts, sizes)
    with timed(out, "corpus"):
        if not parts.corpus.is_file():
            words = ["--data_path", parts.ratings, "--out", parts.corpus, "--count", str(sizes.corpus)]
            run_roc("reasoning", "corpus", *words)
        build_start(parts, out / "start")
    with timed(out, "base"):
        run_roc(
            *("finetune", CONFIGS["base"], "--model_name_or_path", out / "start", "--data_path", parts.ratings),
            *("--output_dir", parts.base, "--threads", str(threads), *sizes.base),
        )
    return parts


def cold_start(parts: Parts, folder: Path, threads: int, *more: str | Path, corpus: Path | None = None) -> None:
    """Teaches the base to write critiques.

    Args:
        parts: The base, the corpus and the validation scenes.
        folder: Folder of the run.
        threads: CPU threads of PyTorch.
        *more: Further words of the command line.
        corpus: Critiques to learn from; None takes those of `parts`.

    Raises:
        StageFailed: If the run ended with an error.
    """
    run_roc(
        *("finetune", CONFIGS["cold_start"], "--model_name_or_path", parts.base, "--data_path", corpus or parts.corpus),
        *("--eval_data_path", parts.validation, "--output_dir", folder, "--threads", str(threads)),
        *(*parts.words.get("cold_start", ()), *more),
    )


def corpus_and_tests(parts: Parts) -> Path:
    """Writes the corpus with the test scenes, which a cold start is then measured on, unless it is there.

    Returns:
        The file.
    """
    file = parts.out / "corpus_and_tests.jsonl"
    if not file.is_file():
        folder = parts.ratings.parent
        lines = parts.corpus.read_text(encoding="utf-8").splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) | {"split": "train"} for line in lines]
        rows += [
            {"image": Path(folder.name, row["image"]).as_posix(), "score": float(row["score"]), "split": "test"}
            for _, row in iter_rows(parts.ratings, Faults(parts.ratings))
            if row["split"] == "test"
        ]
        write_rows(file, rows)
    return file


def reinforce(parts: Parts, start: Path, folder: Path, threads: int, *more: str | Path, critiques: bool = True) -> None:
    """Reinforces a checkpoint that reasons.

    Args:
        parts: The scenes and the corpus.
        start: The checkpoint.
        folder: Folder of the run.
        threads: CPU threads of PyTorch.
        *more: Further words of the command line.
        critiques: Whether the text loss of critiques of the corpus is added.

    Raises:
        StageFailed: If the run ended with an error.
    """
    run_roc(
        *("reasoning", "train", CONFIGS["rapo"], "--model_name_or_path", start, "--data_path", parts.ratings),
        *("--critiques_path", parts.corpus if critiques else "none"),
        *("--output_dir", folder, "--threads", str(threads), *parts.words.get("rapo", ()), *more),
    )


def untaught(parts: Parts, folder: Path) -> None:
    """Writes the base as it is, with the scores, words and losses of a cold start, so that it can be reinforced."""
    if folder.is_dir():
        return
    from roc.checkpoint.folder import load, save
    from roc.model.declaration import declare
    from roc.training.config import load_config

    model, processor = load(str(parts.base))
    config = load_config(CONFIGS["cold_start"])
    names = ("attributes", "question", "answer", "text_weight", "l1_weight", "ce_weight", "emd_weight", "l1_scale")
    declare(model, replace(model.declaration, **{name: getattr(config, name) for name in names}))
    write_folder(folder, lambda partial: save(model, processor, partial))


def _draw(parts: Parts, sizes: Sizes) -> None:
    """Draws the scenes, and lists those for validation a second time, alone: the corpus holds only training rows."""
    folder = parts.ratings.parent
    write_dataset(folder, sizes.train, sizes.val, sizes.test, size=SIDE, seed=SEED, workers=usable_cores())
    rows = [row for _, row in iter_rows(parts.ratings, Faults(parts.ratings)) if row["split"] == "val"]
    write_rows(parts.validation, rows)


def build_start(parts: Parts, folder: Path) -> None:
    """Builds the untrained model, with a tokenizer that knows the words of the corpus, unless it is there."""
    if folder.is_dir():
        return
    from roc.demo.tiny_model import PRESETS, build_tiny_llava

    built = build_tiny_llava(texts_of(parts), replace(PRESETS["demo"], vocab_size=VOCABULARY), seed=SEED)

    def fill(partial: Path) -> None:
        for part in built:
            part.save_pretrained(partial)

    write_folder(folder, fill)


def texts_of(parts: Parts) -> list[str]:
    """Collects the sentences whose words the tokenizer of a base has to know."""
    lines = parts.corpus.read_text(encoding="utf-8").splitlines()[:_TEXTS]
    texts = [turn["value"] for line in lines for turn in json.loads(line)["conversations"]]
    for config in ("base", "cold_start"):
        asked: dict[str, Any] = yaml.safe_load(CONFIGS[config].read_text(encoding="utf-8"))
        texts += [asked["question"], asked["answer"]]
    return texts
