"""What a run with the module tells of its validation and test photos: what its predictor and its anchors are worth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from roc.agree import known
from roc.agree.attributes import ATTRIBUTES
from roc.agree.extension import ANCHORS, NAME, WEIGHTS
from roc.agree.train_config import AgreeConfig
from roc.data.counts import counted
from roc.data.images import open_image
from roc.evaluation.metrics import srcc
from roc.scoring.assessment import Assessment
from roc.scoring.one_forward import one_forward

if TYPE_CHECKING:
    from roc.agree.anchor_features import AnchorFeatures
    from roc.agree.table import Routing, SensitivityTable
    from roc.data.records import Record
    from roc.training.data import RunData


logger = logging.getLogger(__name__)


def keep_anchors(config: AgreeConfig, data: RunData, anchors: AnchorFeatures | None) -> None:
    """Puts the anchors of validation and test photos into the finished checkpoint, and removes what an earlier knew.

    Args:
        config: The settings.
        data: What was trained on, and what is held out.
        anchors: Of single photos; None where there are none.
    """
    known.clear(config.output_dir)
    held_out = [record.id for record in (*data.val, *data.test)]
    if anchors is None or not config.fusion:
        return
    found = {one for one, digest in zip(anchors.ids, anchors.digests, strict=True) if digest is not None}
    kept = [identity for identity in held_out if identity in found]
    if len(kept) < len(held_out):
        logger.warning(
            "%d of %d held-out photos have no digest of a file and are scored by the mean anchors",
            len(held_out) - len(kept),
            len(held_out),
        )
    if kept:
        known.write_anchors(config.output_dir, anchors.path, kept)


def told_of(
    config: AgreeConfig, data: RunData, table: SensitivityTable | None, anchors: AnchorFeatures | None
) -> list[str]:
    """Tells what predictor and anchors are worth on the validation and test photos.

    Args:
        config: The settings.
        data: What was trained on, and what is held out.
        table: Of sensitivities; None where there is no routing.
        anchors: Of single photos; None where there are none.

    Returns:
        Paragraphs for the user: none where no photo is held out, or none of them can be compared.
    """
    held_out = _held_out(data)
    in_table = set() if table is None else set(table.ids)
    routed = [record for record in held_out if record.id in in_table]
    anchored = held_out if anchors is not None and config.fusion else []
    if not routed and not anchored:
        return []
    assessment = Assessment(config.output_dir, batch_size=config.per_device_eval_batch_size)
    told = []
    if routed and (found := _routed(table, routed, config)) is not None:
        expected = torch.stack([found.weights[name] for name in ATTRIBUTES], dim=1).float()
        told.append(_of_predictor(assessment, routed, expected, _rows(anchors, routed) if anchored else {}))
    if anchored:
        told.append(_of_anchors(assessment, anchored, _rows(anchors, anchored)))
    return told


def _routed(table: SensitivityTable, records: Sequence[Record], config: AgreeConfig) -> Routing | None:
    """Looks the weights of held-out photos up; None, with a warning, where the table is of other files."""
    try:
        return table.route(records, calibrated=config.calibrated)
    except ValueError as error:
        logger.warning("The predictor is not compared with the table: %s", error)
        return None


def _of_predictor(
    assessment: Assessment, records: Sequence[Record], expected: torch.Tensor, own: Mapping[str, torch.Tensor]
) -> str:
    """Compares the predictor's weights with the table's (n, 5), and the scores by both."""
    predicted: list[torch.Tensor] = []
    handle = assessment.model.extensions[NAME].predictor.register_forward_hook(
        lambda _, args, logits: predicted.append(logits.float().cpu())
    )
    try:
        by_predictor = _scores(assessment, records, own)
    finally:
        handle.remove()
    by_table = _scores(assessment, records, {**own, WEIGHTS: expected})
    weights = torch.cat(predicted).softmax(dim=-1)
    apart, uniform = ((one - expected).abs().mean() for one in (weights, torch.tensor(1 / len(ATTRIBUTES))))
    shown = [_correlation(scores, records) for scores in (by_predictor, by_table)]
    photos = counted(len(records), "held-out photo")
    return (
        f"Routing weights of new photos come from the predictor in the checkpoint. On {photos} of the table:\n"
        f"  weights {apart:.3f} from the table's on average (equal weights {uniform:.3f})\n"
        f"  scores {(by_predictor - by_table).abs().mean():.3f} from those by the table's weights on average; SRCC "
        f"{shown[0]} by the predictor, {shown[1]} by the table"
    )


def _of_anchors(assessment: Assessment, records: Sequence[Record], own: Mapping[str, torch.Tensor]) -> str:
    """Compares the scores by a photo's own anchors with those by the mean ones, which a new photo gets without."""
    by_own, by_mean = (_scores(assessment, records, given) for given in (own, {}))
    shown = [_correlation(scores, records) for scores in (by_own, by_mean)]
    photos = counted(len(records), "held-out photo")
    return (
        "A new photo gets the mean anchors of the training photos, or its own by `roc agree weights --anchors`. On "
        f"{photos}:\n  scores {(by_own - by_mean).abs().mean():.3f} apart on average; SRCC "
        f"{shown[0]} by their own anchors, {shown[1]} by the mean ones"
    )


def _held_out(data: RunData) -> list[Record]:
    return [record for record in (*data.val, *data.test) if "overall" in record.scores and len(record.images) == 1]


def _rows(anchors: AnchorFeatures, records: Sequence[Record]) -> dict[str, torch.Tensor]:
    """Gives the anchors (n, 6, D) of photos as an entry of a batch."""
    return {ANCHORS: anchors.rows([record.id for record in records])}


def _scores(assessment: Assessment, records: Sequence[Record], given: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Scores photos of one picture each, with entries (n, ...) of their own beside those of the batch; (n,)."""
    found, size = [], assessment.batch_size
    for start in range(0, len(records), size):
        pictures = [open_image(record.images[0]) for record in records[start : start + size]]
        batch = assessment.collator.scoring_batch(pictures, 1)
        own = {name: rows[start : start + size] for name, rows in given.items()}
        found.append(one_forward(assessment.model, {**batch, **own}).scores[:, 0])
    return torch.cat(found)


def _correlation(scores: torch.Tensor, records: Sequence[Record]) -> str:
    value = srcc(scores.tolist(), [record.scores["overall"] for record in records])
    return "no number" if value is None else f"{value:.3f}"
