"""What decides a score: the model's weights, config, declaration and processor, each as a value that can be compared.

A run keeps it in its journal and goes on only under the same; an actor on another machine compares it before it scores.
Versions of packages are noted beside it: they may move scores by a rounding, so another one is said, not refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import roc
from roc.checkpoint.fingerprint import (
    config_fingerprint,
    processor_fingerprint,
    weights_sample_fingerprint,
)

if TYPE_CHECKING:
    from roc.scoring.assessment import Assessment

_PACKAGES = ("torch", "transformers", "pillow")

_DECLARED = ("token", "image_aspect_ratio", "prefix_lm", "distribution_supervised")
"""Of the declaration, what changes a row beside the values that are named one by one."""


def identity(assessment: Assessment) -> dict[str, Any]:
    """Gives what decides the scores of a model, JSON values by name."""
    declared = assessment.model.declaration
    others = {name: getattr(declared, name) for name in _DECLARED} | {"attributes": declared.attributes}
    for name in ("max_pixels", "reasoning", "score_flip"):
        if getattr(declared, name) not in (None, False):  # left out otherwise, so that earlier journals stay valid
            others[name] = getattr(declared, name)
    for name in ("calibration", "reference"):
        if getattr(declared, name) is not None:
            others[name] = getattr(declared, name).to_dict()
    if declared.space.attribute_ranges:
        others["attribute_ranges"] = declared.space.to_dict()["attribute_ranges"]
    if assessment.lookups:
        others["lookups"] = [one.fingerprint for one in assessment.lookups]
    return {
        "weights": assessment.weights_fingerprint,
        "config": config_fingerprint(assessment.model.config),
        "processor": processor_fingerprint(assessment.processor),
        "range": [declared.space.min_score, declared.space.max_score],
        "num_levels": declared.num_levels,
        "question": declared.question,
        "answer": declared.answer,
        "declared": hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:16],
    }


def short_identity(assessment: Assessment) -> str:
    """Gives `identity` in 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity(assessment), sort_keys=True).encode()).hexdigest()[:16]


def scorer_text(assessment: Assessment, pretrained: str | os.PathLike[str]) -> str:
    """Names a scorer with its version: `NAME@FINGERPRINT roc/VERSION`.

    NAME is the folder, file or hub id of the checkpoint, FINGERPRINT the 16 digits of `short_identity`: weights in the
    number format in which they are held, config, processor, declaration with calibration and reference.
    """
    name = Path(pretrained).resolve().name if os.path.exists(pretrained) else os.fspath(pretrained)
    return f"{name}@{short_identity(assessment)} roc/{roc.__version__}"


def earlier_settings(assessment: Assessment, settings: dict[str, Any]) -> dict[str, Any]:
    """Gives settings as roc noted them before it noted all that decides a score: a sample of the weights alone."""
    kept = {name: value for name, value in settings.items() if name not in identity_names()}
    return {"weights": weights_sample_fingerprint(assessment.model), **kept}


def identity_names() -> frozenset[str]:
    """Names that `identity` gives."""
    return frozenset(("weights", "config", "processor", "range", "num_levels", "question", "answer", "declared"))


def versions() -> dict[str, str]:
    """Gives the versions of what computes scores."""
    found = {"roc": roc.__version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _PACKAGES}
