"""The last two stages compared: test groups and rated test scenes, in one forward pass and with a critique first."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import pstdev
from typing import TYPE_CHECKING, Any

from roc.evaluation.evaluated_rows import is_number
from roc.files import write_json

from .parts import ALONE, LONGEST_ANSWER, Parts

if TYPE_CHECKING:
    from roc.evaluation.folder import Evaluation

WAYS = ("short", "critique")
METRICS = ("srcc", "plcc", "mae")
_BATCH = 50
_WORDS_FILE = "groups_in_words.json"


def models(*, alone: bool = False) -> tuple[str, ...]:
    """Names the stages that score a photo by itself; the last one, without anchors, only where it was trained too."""
    return ("anchors", "groups", *([ALONE] if alone else []))


def evaluate_stage(parts: Parts, name: str, pictures: int) -> None:
    """Evaluates a checkpoint, unless that is done.

    Args:
        parts: What it learnt from.
        name: Of the stage.
        pictures: How many it thinks about, of the test groups and of the test scenes.
    """
    from roc.evaluation.evaluate import evaluate
    from roc.evaluation.folder import PREDICTIONS_FILE
    from roc.evaluation.options import EvaluateOptions
    from roc.evaluation.pairs import SCORES_FILE, evaluate_pairs

    checkpoint = str(parts.stage(name))
    own = {"checkpoint": checkpoint, "batch_size": _BATCH, "workers": 0, "report": False, "device": "cpu"}
    if not (folder(parts, name, "pairs") / SCORES_FILE).is_file():
        print(f"evaluating stage {name}, test groups ...", flush=True)
        out = str(folder(parts, name, "pairs"))
        evaluate_pairs(EvaluateOptions(pairs=str(parts.edits.groups), split="test", out=out, **own))
    for way, more in {"short": {}, "critique": {"reason": True, "max_new_tokens": LONGEST_ANSWER}}.items():
        out = folder(parts, name, way)
        if not (out / PREDICTIONS_FILE).is_file():  # the last one that is written
            print(f"evaluating stage {name}, test scenes, {way} ...", flush=True)
            evaluate(EvaluateOptions(data_path=str(parts.rated), out=str(out), **own, **more))
    file = folder(parts, name, "pairs") / _WORDS_FILE
    if not file.is_file():
        print(f"evaluating stage {name}, test groups, critique ...", flush=True)
        write_json(file, _in_words(parts, checkpoint, pictures))


def _in_words(parts: Parts, checkpoint: str, pictures: int) -> dict[str, Any]:
    """Has a checkpoint think about pictures of whole test groups, and counts the comparisons that come out right."""
    from roc.data.reading import read_records
    from roc.relative.group_validation import GroupValidation, group_metrics, some_groups
    from roc.scoring.assessment import Assessment

    assessment = Assessment(checkpoint, device="cpu", batch_size=_BATCH)
    groups = read_records(parts.edits.groups, space=assessment.model.score_space, check_images=False)
    chosen = some_groups([record for record in groups if record.split == "test"], pictures)
    limits = {"max_new_tokens": LONGEST_ANSWER, "batch_size": _BATCH, "pixel_limit": 10**8}
    written = GroupValidation(chosen, assessment.collator, **limits).written(assessment.model, chosen)
    return group_metrics(chosen, written, assessment.model.score_space)


def compare_stages(parts: Parts, names: tuple[str, ...]) -> dict[str, Any]:
    """Reads the evaluations.

    Args:
        parts: Where they lie.
        names: What `models` gives.

    Returns:
        `build`: what `roc relative build` counted; `pairs`: the first stage's own evaluation, `accuracy` with its
        interval, and `words`, that of its answers with reasons; `groups`: stage -> metrics of `pair_metrics`, with
        `words` of `group_metrics`; `scenes`: way -> stage -> metrics, and `spread` of the scores; `differences`: way ->
        stage -> metric -> stage 3 minus this one, scene by scene; `calibration`: of the third stage, see
        `roc.relative.calibration`, and `calibration_alone`, of that without anchors, or None.
    """
    from roc.evaluation.compare import compare_evaluations
    from roc.evaluation.folder import read_evaluation
    from roc.evaluation.pairs import PAIR_METRICS_FILE

    scenes: dict[str, dict[str, Any]] = {}
    differences = {}
    for way in WAYS:
        found = {name: read_evaluation(folder(parts, name, way)) for name in names}
        scenes[way] = {
            name: {key: one.metrics[key] for key in ("n", *METRICS)} | {"spread": _spread(one)}
            for name, one in found.items()
        }
        differences[way] = {
            name: {key: metrics[key]._asdict() for key in METRICS}
            for name in names
            if name != "groups"
            for metrics in [compare_evaluations(found["groups"], found[name])["metrics"]]
        }
    first = parts.stage("pairs") / "pairs"
    groups = {
        name: _read(folder(parts, name, "pairs") / PAIR_METRICS_FILE)
        | {"words": _read(folder(parts, name, "pairs") / _WORDS_FILE)}
        for name in names
    }
    words = first / "words.json"
    return {
        "build": _read(parts.edits.summary),
        "pairs": _read(first / PAIR_METRICS_FILE) | {"words": _read(words) if words.is_file() else None},
        "groups": groups,
        "scenes": scenes,
        "differences": differences,
        "calibration": _read(parts.stage("groups") / "calibration.json"),
        "calibration_alone": _read(parts.stage(ALONE) / "calibration.json") if ALONE in names else None,
    }


def _spread(one: Evaluation) -> float | None:
    """Computes the standard deviation of the scores, in points; None where no row has one."""
    first = one.metrics["attributes"][0]
    scores = [value for row in one.rows if is_number(value := row.predictions.get(first))]
    return pstdev(scores) if scores else None


def folder(parts: Parts, name: str, what: str) -> Path:
    """Names the folder of an evaluation."""
    return parts.out / "evaluation" / f"{name}_{what}"


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))
