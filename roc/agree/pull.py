"""How the photos of different attributes pull at the weights of a run: cosines, conflicts, and both over training."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from roc.agree.analysis_options import AnalysisOptions
from roc.agree.attributes import ATTRIBUTES
from roc.agree.common_errors import ends_of, numbers
from roc.agree.conflicts import conflict_ratio, cosines_of_products, running_mean
from roc.agree.gradients import (
    SubsetGradients,
    branch_parameters,
    score_loss,
    shared_block,
    subset_gradients,
    with_all,
)
from roc.agree.runs import Run, anchors_of
from roc.data.records import Record
from roc.model.device import checked_device

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]
Subsets = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class Ratio:
    """A share of conflicting pairs.

    Attributes:
        value: 0..1.
        drawn: (R,) the same on photos that were drawn again, the same photos for all runs; None without intervals.
    """

    value: float
    drawn: Array | None = None

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The ends of its 95% interval."""
        return ends_of(self.drawn)


@dataclass(frozen=True)
class Pull:
    """What was measured of one run.

    Attributes:
        facts: Its part of analysis.json: `readings` (shared block, and branches where the model has them), `left_out`
            and `over_training`.
        with_all: (5,) cosine of each attribute's gradient with that of all photos, of the shared block; NaN where
            there is none.
        mean_ratio: Mean conflict ratio over the saved states; None where there is none.
        end_ratio: Conflict ratio of the checkpoint; None where there is none.
    """

    facts: dict[str, Any]
    with_all: Array
    mean_ratio: Ratio | None
    end_ratio: Ratio | None


def measure_pulls(
    options: AnalysisOptions,
    runs: Sequence[Run],
    by_attribute: Subsets,
    frequency: Array,
    routing: Mapping[str, Sequence[float]],
    watch: Callable[[Iterator[Any], int], Iterable[Any]],
) -> dict[str, Pull]:
    """Measures every run on the same photos.

    Args:
        options: How many photos, which part, and whether over training.
        runs: Those without a checkpoint are left out, with a note.
        by_attribute: Attribute -> training photos that lean on it.
        frequency: (5,) share of the training photos that lean on each attribute.
        routing: Id of a training photo -> its five weights, for models with branches.
        watch: Sees every photo that is done.

    Returns:
        Name of the run -> what was found.

    Raises:
        ValueError: Fewer than two attributes have enough photos, or a checkpoint cannot be used.
    """
    subsets = chosen_photos(by_attribute, options)
    left_out = {name: len(records) for name, records in by_attribute.items() if name not in subsets}
    if len(subsets) < 2:
        counts = ", ".join(f"{name} {len(records)}" for name, records in by_attribute.items())
        raise ValueError(
            f"fewer than two attributes have {options.fewest} training photos that lean on them ({counts}), so no "
            "gradients can be compared; give --fewest a smaller number, or --no_gradients"
        )
    found = {}
    for run in runs:
        if run.checkpoint is None:
            logger.warning("%s holds no checkpoint, so no gradient of it is taken", run.path)
            continue
        found[run.name] = _measure(options, run, subsets, left_out, frequency, routing, watch)
    return found


def chosen_photos(by_attribute: Subsets, options: AnalysisOptions) -> dict[str, list[Record]]:
    """Chooses at most `photos` of each attribute by the seed; attributes with fewer than `fewest` are left out."""
    return {
        name: random.Random(f"{options.seed}-{name}").sample(list(records), min(options.photos, len(records)))
        for name, records in by_attribute.items()
        if len(records) >= options.fewest
    }


def _measure(
    options: AnalysisOptions,
    run: Run,
    subsets: Subsets,
    left_out: Mapping[str, int],
    frequency: Array,
    routing: Mapping[str, Sequence[float]],
    watch: Any,
) -> Pull:
    anchors = anchors_of(run)
    readings = _readings(options, run.checkpoint, subsets, routing, anchors, watch)
    shared = readings["shared"][1]
    facts: dict[str, Any] = {
        "left_out": dict(left_out),
        "photos": dict(zip(shared.names, shared.counts, strict=True)),
        "readings": {
            name: {"of": place, "parameters": found.parameters, **_cosine_facts(found, options)}
            for name, (place, found) in readings.items()
        },
    }
    places = [ATTRIBUTES.index(name) for name in shared.names]
    shares = frequency[places] / frequency[places].sum()
    toward = np.full(len(ATTRIBUTES), np.nan)
    toward[places] = with_all(shared.products, shares)
    drawn = shared.resampled(options.n_resamples, options.seed) if options.n_resamples else None
    drawn = None if drawn is None else with_all(drawn, shares)
    facts["with_all"] = {
        name: numbers(toward[place], *(ends_of(None if drawn is None else drawn[:, column])))
        for column, (name, place) in enumerate(zip(shared.names, places, strict=True))
    }
    known: dict[int, Ratio] = {}
    for step, state in run.states if options.over_training else []:
        _, found = _readings(options, state, subsets, routing, anchors, watch, branches=False)["shared"]
        if (ratio := _ratio(found, options)) is not None:
            known[step] = ratio
    facts["over_training"] = _curve(known)
    return Pull(facts, toward, _mean(list(known.values())), _ratio(shared, options))


def _readings(
    options: AnalysisOptions,
    checkpoint: Path,
    subsets: Subsets,
    routing: Mapping[str, Sequence[float]],
    anchors: Path | None,
    watch: Any,
    *,
    branches: bool = True,
) -> dict[str, tuple[str, SubsetGradients]]:
    """Takes the gradients of the shared block, and of the branches where the model has them."""
    device = checked_device(options.device)
    model, loss = score_loss(str(checkpoint), device, routing, anchors)
    place = shared_block(model, options.part)
    found = {
        "shared": (place.name, subset_gradients(model, loss, subsets, dict.fromkeys(subsets, place.parameters), watch))
    }
    own = branch_parameters(model) if branches else None
    if own is not None:
        parameters = {name: own[name].parameters for name in subsets}
        name = own[ATTRIBUTES[0]].name.rpartition(".")[0]
        found["branches"] = (name, subset_gradients(model, loss, subsets, parameters, watch))
    del model
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return found


def _ratio(found: SubsetGradients, options: AnalysisOptions) -> Ratio | None:
    """Computes the conflict ratio of some gradients; None where no pair has a cosine."""
    value = float(conflict_ratio(found.cosines(), options.tolerance))
    if np.isnan(value):
        return None
    if not options.n_resamples:
        return Ratio(value)
    drawn = cosines_of_products(found.resampled(options.n_resamples, options.seed))
    return Ratio(value, conflict_ratio(drawn, options.tolerance))


def _mean(ratios: Sequence[Ratio]) -> Ratio | None:
    """Computes the mean of the ratios of the saved states; None where there are none."""
    if not ratios:
        return None
    drawn = [ratio.drawn for ratio in ratios if ratio.drawn is not None]
    value = float(np.mean([ratio.value for ratio in ratios]))
    return Ratio(value, np.mean(drawn, axis=0) if drawn else None)


def _cosine_facts(found: SubsetGradients, options: AnalysisOptions) -> dict[str, Any]:
    """The cosine of each pair and the conflict ratio, with intervals over photos."""
    exact = found.cosines()
    drawn, ratio = None, _ratio(found, options)
    if options.n_resamples:
        drawn = cosines_of_products(found.resampled(options.n_resamples, options.seed))
    pairs = [(i, j) for i in range(len(exact)) for j in range(i + 1, len(exact))]
    return {
        "attributes": list(found.names),
        "cosines": {
            f"{found.names[i]}/{found.names[j]}": numbers(
                exact[i, j], *ends_of(None if drawn is None else drawn[:, i, j])
            )
            for i, j in pairs
        },
        "conflict_ratio": numbers(None) if ratio is None else numbers(ratio.value, *ratio.ends),
    }


def _curve(known: Mapping[int, Ratio]) -> list[dict[str, float | None]]:
    """Conflict ratio of the saved states by step, with the ends of its interval and its running mean."""
    smooth = running_mean(np.array([ratio.value for ratio in known.values()])) if known else ()
    return [
        {
            "step": step,
            "conflict_ratio": ratio.value,
            **dict(zip(("low", "high"), ratio.ends, strict=True)),
            "running_mean": float(mean),
        }
        for (step, ratio), mean in zip(known.items(), smooth, strict=True)
    ]
