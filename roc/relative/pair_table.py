"""The evaluation of the first stage: held-out pairs asked about at once, and some of them in words."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from roc.data.pairs import Pair, read_pairs
from roc.data.records import hash_fraction
from roc.evaluation.pair_page import write_pair_page
from roc.evaluation.pairs import evaluate_pairs, format_pairs, opened_pairs
from roc.files import write_json

if TYPE_CHECKING:
    from roc.relative.train_config import PairsStage

logger = logging.getLogger(__name__)

FOLDER = "pairs"
WORDS_FILE = "words.json"


def pair_table(config: PairsStage) -> str:
    """Evaluates the checkpoint in `output_dir` on pairs that it did not learn from, and words what came out.

    Args:
        config: The settings; their test pairs count, the validation pairs where there are none, or with
            `no_test_table`.

    Returns:
        The table, and how to go on; numbers and a page are in `output_dir`/pairs.
    """
    from roc.evaluation.options import EvaluateOptions

    out = Path(config.output_dir)
    pairs = read_pairs(config.data_path, config.image_folder, check_images=False)
    split = "test" if any(pair.split == "test" for pair in pairs) and not config.no_test_table else "val"
    held_out = [pair for pair in pairs if pair.split == split]
    if not held_out:
        return "There is no held-out pair to evaluate on; a build marks some as test." + next_stage(config)
    options = EvaluateOptions(
        checkpoint=str(out),
        pairs=config.data_path,
        image_folder=config.image_folder,
        together=True,
        split=split,
        out=str(out / FOLDER),
        batch_size=config.per_device_eval_batch_size,
    )
    found = evaluate_pairs(options)
    write_pair_page(out / FOLDER, found.rows, found.metrics)
    table = format_pairs(found.metrics)
    lines = [f"{len(held_out)} {split} pairs, both pictures in one question, answered at once", "", table]
    lines += _word_lines(config, held_out)
    return "\n".join(lines) + next_stage(config)


def _word_lines(config: PairsStage, pairs: list[Pair]) -> list[str]:
    """Has the model give its reasons for some pairs; tells how many can be read, and lead to the right sign."""
    from roc.model.reasoned import count_kinds, told_kinds
    from roc.scoring.assessment import Assessment
    from roc.scoring.comparing import compare

    chosen = sorted(pairs, key=lambda pair: hash_fraction(pair.id, "words"))[: config.check_answers]
    assessment = Assessment(config.output_dir, batch_size=config.per_device_eval_batch_size)
    if assessment.model.declaration.comparison.reasoning is None or not chosen:
        return []
    found = []
    for start in range(0, len(chosen), assessment.batch_size):
        few = chosen[start : start + assessment.batch_size]
        found += compare(
            assessment, opened_pairs(few, config.data_path), words=True, max_new_tokens=config.reasoning_tokens
        )
    decided = [(pair, one) for pair, one in zip(chosen, found, strict=True) if pair.wins != 0.5]
    right = sum(one.change is not None and (one.change.value > 0) == (pair.wins > 0.5) for pair, one in decided)
    kinds = count_kinds(one.kind for one in found)
    rows = [
        {"id": pair.id, "delta": pair.delta, "change": None if one.change is None else one.change.value}
        | {"kind": one.kind, "words": one.words}
        for pair, one in zip(chosen, found, strict=True)
    ]
    share = right / len(decided) if decided else None
    write_json(
        Path(config.output_dir) / FOLDER / WORDS_FILE,
        {"n": len(found), "decided": len(decided), "accuracy": share, "kinds": kinds, "rows": rows},
    )
    told = "" if share is None else f", {share:.1%} of {len(decided)} have the right sign"
    return ["", f"  with reasons first: {told_kinds(kinds)}{told}"]


def next_stage(config: PairsStage) -> str:
    """Words the command of the next stage; an adapter is put into its base before."""
    start, lines = config.output_dir, ["", ""]
    if config.tuning != "full":
        start = f"{start}_merged"
        merge = f"roc export {config.output_dir} --merge {start}"
        lines.append(f"This is an adapter; put it into its base before the next stage: {merge}")
    lines.append(f"The next stage: roc relative train configs/relative_anchors.yaml --model_name_or_path {start}")
    return "\n".join(lines)
