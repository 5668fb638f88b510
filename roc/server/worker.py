"""The process that holds the model: batches in, results out.

It runs `roc.scoring.batches.Scorer`, the fast path of `roc score`, with rows that hold the spread and distribution of
every attribute. While a GPU computes one batch, the next one is put together. A batch that fails is tried again image
by image, so that one odd image does not spoil the answers of its neighbours.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.server.children import receive, send

if TYPE_CHECKING:
    from roc.model.declaration import Declaration
    from roc.scoring.assessment import Assessment
    from roc.scoring.batches import Scorer
    from roc.scoring.prepare import Prepared

COMPARE = "compare"
MODES = ("score", "describe", "sample", "features", COMPARE)
"""What is done with an image: it is scored in one forward pass, or described; a model that reasons also samples one of
several descriptions. Of one's own taste (roc/server/personal.py), the features are told that a score is read from. A
model that was taught to also compares two images, which count as one here."""


def run(connection: Connection, settings: dict[str, Any]) -> None:
    """Runs in the worker: loads the model and answers batches until the pipe is closed or a message says stop.

    Args:
        connection: The worker's end of the pipe.
        settings: checkpoint, device, dtype, batch_size, max_new_tokens, threads.
    """
    import torch

    from roc.scoring.assessment import Assessment

    with connection:
        if settings.get("threads"):
            torch.set_num_threads(settings["threads"])
        try:
            assessment = Assessment(settings["checkpoint"], device=settings["device"], dtype=settings["dtype"])
            scorers = make_scorers(assessment, settings["batch_size"], settings["max_new_tokens"])
        except Exception as error:
            send(connection, {"fault": f"{error}" or type(error).__name__})
            return
        send(connection, {"facts": facts(assessment, settings["checkpoint"], scorers)})
        waiting: list[_Batch] = []
        while True:
            try:
                batch = waiting.pop() if waiting else _received(connection)
                if batch is None:
                    return
                _serve(connection, scorers, batch, waiting)
            except (EOFError, BrokenPipeError):
                return


def make_scorers(assessment: Assessment, batch_size: int | None, max_new_tokens: int) -> dict[str, Scorer]:
    """Builds a scorer per mode, with all attributes and distributions, so that any requests of a mode share a batch."""
    from roc.scoring.batches import Scorer, Wanted
    from roc.scoring.features import FeatureScorer
    from roc.scoring.pair_batches import PairScorer
    from roc.scoring.reasoning import Sampling

    class PackedFeatures(FeatureScorer):
        """A scorer whose rows hold the features as text."""

        def row(self, feature: Any) -> dict[str, Any]:
            row = super().row(feature)
            return row if "error" in row else {"feature": feature.packed()}

    class AllScores(Scorer):
        """A scorer whose rows hold everything about every attribute."""

        def row(self, assessed: Any) -> dict[str, Any]:
            scores: dict[str, Any] = {}
            for name, score in assessed.scores.items():
                odd = [] if score is None else _not_finite([score.value, score.std, *score.distribution])
                if odd:
                    return {"error": f"the model gave no number for {name}: {odd[0]}"}
                scores[name] = None
                if score is not None:
                    shares = list(score.distribution)
                    scores[name] = {"value": score.value, "std": score.std, "distribution": shares}
                    scores[name] |= score.comparisons()
            return {"scores": scores, "text": assessed.text, "answers": [one.to_dict() for one in assessed.answers]}

    likeliest = Sampling(max_new_tokens=max_new_tokens)
    # Without a seed: answers about one image may lie in several batches, and are not to be the same.
    sampled = Sampling(max_new_tokens=max_new_tokens, greedy=False, seed=None)
    wanted = {
        "score": Wanted(assessment.attributes, True),
        "describe": Wanted(assessment.attributes, True, True, likeliest),
        "sample": Wanted(assessment.attributes, True, True, sampled),
    }
    scorers: dict[str, Scorer] = {mode: AllScores(assessment, wanted[mode], batch_size) for mode in wanted}
    if assessment.model.declaration.comparison is not None:
        scorers[COMPARE] = PairScorer(assessment, batch_size, max_new_tokens)
    return scorers | {"features": PackedFeatures(assessment, batch_size)}


def _not_finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isfinite(value)]


def facts(assessment: Assessment, checkpoint: str, scorers: dict[str, Scorer]) -> dict[str, Any]:
    """Collects what the other processes have to know about the model, as JSON can hold it."""
    from roc.checkpoint.lookups import notes_of
    from roc.model.float32_tower import picture_dtype
    from roc.scoring.results import about_columns

    declaration = assessment.model.declaration
    path = Path(checkpoint)
    return {
        "id": path.resolve().name if path.exists() else checkpoint,
        **saved_on(checkpoint),
        "scorer": assessment.scorer,
        **about_columns(declaration, assessment.attributes),
        **_reference(declaration),
        **declaration.space.ranges,
        "levels": assessment.model.score_levels().float().tolist(),
        "readings": 2 if declaration.score_flip else 1,  # of a photo: its mirror image too
        "attributes": list(assessment.attributes),
        "reasons": declaration.reasons,
        "calibrated": declaration.distribution_supervised,
        "declaration": declaration.to_dict(),
        "scales": _scales(declaration),
        "device": assessment.model.device.type,
        "dtype": assessment.dtype,
        "picture_dtype": str(picture_dtype(assessment.model)).removeprefix("torch."),
        "personal": _of_personal_heads(assessment),
        "notes": list(notes_of(checkpoint)),
        "comparison": _comparison(declaration),
        "places": {mode: scorer.places for mode, scorer in scorers.items() if mode != COMPARE},
    }


def saved_on(checkpoint: str, cache: str | None = None) -> dict[str, str]:
    """Says on which day the files of a checkpoint were written on this machine.

    Args:
        checkpoint: Folder, file of a personal head, or hub id.
        cache: Where files of the hub are kept; None = where `huggingface_hub` keeps them.

    Returns:
        `saved`, a date in ISO form; nothing where no file is found.
    """
    from huggingface_hub import try_to_load_from_cache

    path, names = Path(checkpoint), ("config.json", "adapter_config.json")
    if path.exists():
        files = [path] if path.is_file() else [path / name for name in names]
    else:
        kept = [try_to_load_from_cache(checkpoint, name, cache_dir=cache) for name in names]
        files = [Path(one) for one in kept if isinstance(one, str)]
    file = next((one for one in files if one.is_file()), None)
    return {} if file is None else {"saved": datetime.date.fromtimestamp(file.stat().st_mtime).isoformat()}


def _of_personal_heads(assessment: Assessment) -> dict[str, Any] | None:
    """Collects what the file of a personal head says of its checkpoint; None where this model can have none."""
    from roc.checkpoint.personal_head import FORMAT, base_facts, personal_declaration

    declaration = assessment.model.declaration
    if declaration.personal is not None or assessment.dtype in ("float8", "int8"):
        return None
    plain = personal_declaration(declaration, None).to_dict()
    return {"format": FORMAT, "facts": base_facts(assessment.model), "declaration": plain}


def _comparison(declaration: Declaration) -> dict[str, Any] | None:
    """Says how two images are compared: with reasons or without, and on which range; None where they are not."""
    comparison = declaration.comparison
    if comparison is None:
        return None
    return {"words": comparison.reasoning is not None, "range": [comparison.low, comparison.high]}


def _scales(declaration: Declaration) -> list[dict[str, Any]]:
    """Names the data sets on whose scales scores can be read; a temperature has taken that away."""
    readable = declaration.scales if declaration.temperature == 1 else ()
    return [{"name": scale.name, "range": list(scale.range)} for scale in readable]


def _reference(declaration: Declaration) -> dict[str, Any]:
    """Says with which photos scores are compared; nothing where there is no reference."""
    reference = declaration.reference
    if reference is None:
        return {}
    return {"reference": {"name": reference.name, "photos": reference.photos, "attributes": list(reference.quantiles)}}


class _Batch:
    """A received batch.

    Args:
        header: `batch` (its number), `mode` and `indices`.
        parts: Inputs of each image as safetensors.
    """

    def __init__(self, header: dict[str, Any], parts: Sequence[bytes]) -> None:
        import safetensors.torch

        from roc.scoring.prepare import Prepared

        self.number = header["batch"]
        self.mode = header["mode"]
        self.images = [
            Prepared(index, safetensors.torch.load(part)) for index, part in zip(header["indices"], parts, strict=True)
        ]
        self.rows: dict[int, dict[str, Any]] = {}


def _received(connection: Connection) -> _Batch | None:
    header, parts = receive(connection)
    return None if header.get("stop") else _Batch(header, parts)


def _serve(connection: Connection, scorers: dict[str, Scorer], first: _Batch, waiting: list[_Batch]) -> None:
    """Scores a batch, and further batches of its mode as long as the pipe holds some."""
    scorer = scorers[first.mode]
    taken: dict[int, _Batch] = {}

    def coming() -> Iterator[list[Prepared]]:
        batch: _Batch | None = first
        while batch is not None:
            taken.update(dict.fromkeys((image.index for image in batch.images), batch))
            yield batch.images
            if not connection.poll():
                return
            batch = _received(connection)
            if batch is None or batch.mode != first.mode:
                waiting.extend([batch] if batch else [])
                return

    def done(index: int, row: dict[str, Any]) -> None:
        batch = taken.pop(index)
        batch.rows[index] = row
        if len(batch.rows) == len(batch.images):
            rows = list(batch.rows.items())
            send(connection, {"batch": batch.number, "rows": rows, "mode": first.mode, "size": scorer.batch.size})

    try:
        for index, row in scorer.score(coming()):
            done(index, row)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        _give_up_if_broken(error)
    for index, batch in list(taken.items()):
        image = next(image for image in batch.images if image.index == index)
        try:
            rows = dict(scorer.score([[image]]))
        except Exception as error:
            _give_up_if_broken(error)
            rows = {index: {"error": f"the model could not take it: {error}".splitlines()[0]}}
        done(index, rows[index])


def _give_up_if_broken(error: Exception) -> None:
    """Raises errors after which the GPU is unusable in this process; only a new process helps."""
    if "CUDA error" in str(error):
        raise error
