"""What the stages learn from: scenes, edits of some of them, anchors in words, and a tiny model that sees.

Each part is left out where it is finished, and goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from stages import run_roc, timed

from roc.data.rows import Faults, iter_rows, write_rows
from roc.demo.dataset import RATINGS_FILE, write_dataset
from roc.files import write_folder
from roc.model.device import usable_cores
from roc.relative.outputs import Outputs

ROOT = Path(__file__).parents[2]
CONFIGS = {name: ROOT / "configs" / f"relative_{name}.yaml" for name in ("base", "pairs", "anchors", "groups")}
SIDE = 64
"""Side of a scene in pixels."""
SEED = 42
VOCABULARY = 1024
"""Most tokens: so many that each word of the reasons and of the critiques is one."""
LOW, HIGH = 1.0, 10.0
"""Range that the scenes are rated on; scores of the stages lie on 0..10."""
JUDGES = ("embedded:0.5", "embedded:1", "embedded:1.5")
"""Judges that know the edit and err by so many points, each time anew."""
LONGEST_ANSWER = 128
"""Tokens after which an answer is stopped; the longest taught critique has 105."""
_TEXTS = 4000


@dataclass(frozen=True)
class Sizes:
    """How much there is of everything, and words for the runs that make them fit a tiny model.

    Attributes:
        train, val, test: Scenes.
        sources: Scenes of each of these that are edited.
        edits: Edits of each of them.
        anchors: Scenes whose score is taught.
        base, pairs, stage_anchors, groups: Words for the run of the base and for those of the stages.
        pictures: Pictures of test groups, and test scenes, that the model thinks about in the evaluation.
    """

    train: int = 6000
    val: int = 200
    test: int = 500
    sources: tuple[int, int, int] = (600, 40, 120)
    edits: int = 5
    anchors: int = 200
    base: tuple[str, ...] = ()
    pairs: tuple[str, ...] = (
        *("--num_train_epochs", "1", "--per_device_train_batch_size", "32", "--gradient_accumulation_steps", "1"),
        *("--learning_rate", "1e-3", "--vision_learning_rate", "5e-4", "--warmup_ratio", "0.05"),
    )
    stage_anchors: tuple[str, ...] = (
        *("--num_train_epochs", "8", "--per_device_train_batch_size", "16", "--learning_rate", "5e-4"),
        *("--vision_learning_rate", "1e-4", "--warmup_ratio", "0.05"),
    )
    # 32 completions of 8 pictures in a step: a group of up to six, and at least two anchors.
    groups: tuple[str, ...] = (
        *("--max_steps", "40", "--per_device_train_batch_size", "32", "--learning_rate", "1e-4"),
        *("--warmup_ratio", "0.05", "--eval_strategy", "steps", "--eval_steps", "20", "--save_strategy", "steps"),
        *("--save_steps", "20", "--logging_steps", "5", "--reasoning_rows", "60"),
    )
    pictures: int = 200


WHOLE = Sizes()
_TWO_STEPS = ("--max_steps", "2", "--reasoning_tokens", "16", "--check_answers", "4")
QUICK = Sizes(
    train=40,
    val=8,
    test=12,
    sources=(16, 4, 6),
    edits=3,
    anchors=12,
    base=("--max_steps", "2"),
    pairs=(*_TWO_STEPS, "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1"),
    stage_anchors=("--max_steps", "2", "--per_device_train_batch_size", "8", "--reasoning_tokens", "16"),
    groups=(
        *(*_TWO_STEPS, "--per_device_train_batch_size", "20", "--eval_strategy", "steps", "--eval_steps", "2"),
        *("--save_strategy", "steps", "--save_steps", "2", "--reasoning_rows", "4"),
    ),
    pictures=12,
)


@dataclass(frozen=True)
class Parts:
    """Where the parts lie below a folder.

    Attributes:
        out: The folder.
        ratings: All scenes with their ratings, on 1..10.
        seen: The same for the base, without the overall score.
        rated: The test scenes with their overall score on 0..10.
        sources: Scenes to edit, with score and split.
        edits: What `roc relative build` wrote.
        anchors: Anchors with a critique each.
        base: Checkpoint that sees the scenes.
    """

    out: Path

    @property
    def ratings(self) -> Path:
        return self.out / "scenes" / RATINGS_FILE

    @property
    def seen(self) -> Path:
        return self.ratings.with_name("seen.csv")

    @property
    def rated(self) -> Path:
        return self.ratings.with_name("rated.csv")

    @property
    def sources(self) -> Path:
        return self.ratings.with_name("sources.csv")

    @property
    def edits(self) -> Outputs:
        return Outputs(self.out / "pairs")

    @property
    def anchors(self) -> Path:
        return self.edits.out / "anchors_in_words.jsonl"

    @property
    def base(self) -> Path:
        return self.out / "base"

    def stage(self, name: str) -> Path:
        """Names the checkpoint of a stage."""
        return self.out / f"stage_{name}"


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
    if not parts.sources.is_file():  # the last of its files
        with timed(out, "scenes"):
            _draw(parts, sizes)
    with timed(out, "edits"):
        if not parts.edits.anchors.is_file():  # the last of the records
            _build(parts, sizes)
        if not parts.anchors.is_file():
            _write_anchors(parts)
        _build_start(parts, out / "start")
    with timed(out, "base"):
        run_roc(
            *("finetune", CONFIGS["base"], "--model_name_or_path", out / "start", "--data_path", parts.seen),
            *("--output_dir", parts.base, "--threads", str(threads), *sizes.base),
        )
    return parts


ALONE = "groups_alone"
"""The third stage without anchors, which begins where the third stage does."""


def train_stages(parts: Parts, sizes: Sizes, threads: int, *, alone: bool = False) -> None:
    """Trains the three stages, each from the one before.

    Args:
        parts: What they learn from.
        sizes: Words for their runs.
        threads: CPU threads of PyTorch; 0 leaves its choice.
        alone: Whether the third one is trained once more, without anchors.

    Raises:
        StageFailed: If a run ended with an error.
    """
    edits = parts.edits
    words: dict[str, tuple[str | Path, ...]] = {
        "pairs": ("--data_path", edits.pairs, "--edits_path", edits.edits, "--new_head", "true", *sizes.pairs),
        "anchors": ("--data_path", parts.anchors, *sizes.stage_anchors),
        "groups": ("--data_path", edits.groups, "--anchors_path", parts.anchors, *sizes.groups),
    }
    if alone:
        words[ALONE] = (*words["groups"], "--with_anchors", "false")
    start = parts.base
    shared = ("--per_device_eval_batch_size", "50", "--bf16", "false", "--save_total_limit", "1")
    for name, own in words.items():
        length = () if "--reasoning_tokens" in own else ("--reasoning_tokens", str(LONGEST_ANSWER))
        config = CONFIGS[name.removesuffix("_alone")]
        with timed(parts.out, f"stage {name}"):
            run_roc(
                *("relative", "train", config, "--model_name_or_path", start, "--output_dir", parts.stage(name)),
                *("--threads", str(threads), *shared, *length, *own),
            )
        if name != "groups":
            start = parts.stage(name)


def _draw(parts: Parts, sizes: Sizes) -> None:
    """Draws the scenes, and writes the tables of those that are seen, rated and edited."""
    folder = parts.ratings.parent
    write_dataset(folder, sizes.train, sizes.val, sizes.test, size=SIDE, seed=SEED, workers=usable_cores())
    rows = [dict(row) for _, row in iter_rows(parts.ratings, Faults(parts.ratings))]
    seen = ("image", "light", "colour", "focus", "split")
    write_rows(parts.seen, ({"score": row["composition"]} | {name: row[name] for name in seen} for row in rows))
    write_rows(parts.rated, (row for row in map(_rescaled, rows) if row["split"] == "test"))
    write_rows(parts.sources, map(_rescaled, _first(rows, sizes.sources)))


def _first(rows: Iterable[dict[str, Any]], counts: tuple[int, int, int]) -> Iterator[dict[str, Any]]:
    """Gives the first rows of the splits."""
    left = dict(zip(("train", "val", "test"), counts, strict=True))
    for row in rows:
        if left[row["split"]]:
            left[row["split"]] -= 1
            yield row


def _rescaled(row: dict[str, Any]) -> dict[str, Any]:
    score = 10 * (float(row["score"]) - LOW) / (HIGH - LOW)
    return {"image": row["image"], "score": round(score, 6), "split": row["split"]}


def _build(parts: Parts, sizes: Sizes) -> None:
    run_roc(
        *("relative", "build", parts.sources, "--out", parts.edits.out, "--votes", f"{parts.sources}=0:10"),
        *("--vote_columns", "score", "--fewest_votes", "1", "--anchors", str(sizes.anchors)),
        *("--edits", str(sizes.edits), "--judges", *JUDGES, "--seed", str(SEED)),
    )


def _write_anchors(parts: Parts) -> None:
    """Has the embedded author write about the anchors; it knows the scenes by their own files, not by copies."""
    anchors = {row["id"]: row for row in read_lines(parts.edits.anchors)}
    known = parts.ratings.with_name("anchors.csv")
    write_rows(known, ({"id": name, "image": name, "score": row["score"]} for name, row in anchors.items()))
    corpus = parts.out / "anchors" / "corpus.jsonl"
    corpus.parent.mkdir(exist_ok=True)
    run_roc(
        *("reasoning", "corpus", "--data_path", known, "--out", corpus, "--min_score", "0", "--max_score", "10"),
        *("--balance", "none"),
    )
    told = {row["id"]: row["conversations"] for row in read_lines(corpus)}
    write_rows(parts.anchors, ({**anchors[name], "conversations": turns} for name, turns in told.items()))


def _build_start(parts: Parts, folder: Path) -> None:
    """Builds the untrained model, with a tokenizer that knows the words of all stages, unless it is there."""
    if folder.is_dir():
        return
    from roc.demo.tiny_model import PRESETS, build_tiny_llava

    files = parts.edits.pairs, parts.edits.edits, parts.anchors
    rows = [row for file in files for row in list(read_lines(file))[:_TEXTS]]
    texts = [turn["value"] for row in rows for turn in row["conversations"]]
    asked: dict[str, Any] = yaml.safe_load(CONFIGS["base"].read_text(encoding="utf-8"))
    texts += [asked["question"], asked["answer"]]
    built = build_tiny_llava(texts, replace(PRESETS["demo"], vocab_size=VOCABULARY), seed=SEED)

    def fill(partial: Path) -> None:
        for part in built:
            part.save_pretrained(partial)

    write_folder(folder, fill)


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Reads the rows of a JSON Lines file that roc wrote."""
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
