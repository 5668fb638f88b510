"""A personal head on disk: one small JSON file that moves the scores of a checkpoint towards one person's taste.

It holds a direction v of the hidden states that the score head reads. The logits of level n become
`h . w_n + c_n (h . v)`, where c_n runs evenly from -1 for the lowest level to 1 for the highest: a head whose rows are
`w_n + c_n v`, which everything that reads a score head reads like any other. v = 0 is the general score. The file names
the checkpoint and a fingerprint of its weights; `roc.load` finds the checkpoint by the name in it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from roc.checkpoint.fingerprint import base_fingerprint, differing_blocks
from roc.files import write_json
from roc.model.declaration import Declaration, declare
from roc.model.personal import KIND, Personal, base_of, read_personal_file

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class PersonalHead:
    """What the file holds.

    Attributes:
        declaration: With its `personal`.
        direction: (H,) the vector v.
        base: Folder or hub id of the checkpoint.
        facts: What the checkpoint's weights are recognised by, from `base_facts`.
    """

    declaration: Declaration
    direction: tuple[float, ...]
    base: str
    facts: dict[str, Any]

    def content(self) -> dict[str, Any]:
        """Gives the content of the file, ready for JSON."""
        return {
            "kind": KIND,
            "format": FORMAT,
            "base": {"name_or_path": self.base, **self.facts},
            "roc": self.declaration.to_dict(),
            "direction": list(self.direction),
        }

    def write(self, path: str | os.PathLike) -> None:
        """Writes the file whole, or not at all."""
        write_json(path, self.content())


def read_personal_head(path: str | os.PathLike) -> PersonalHead:
    """Reads the file of a personal head.

    Raises:
        ValueError: If it is another file, of a later release, or a value cannot be.
    """
    content = read_personal_file(path)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {content.get('format')!r}; this release of roc reads format {FORMAT}. Update it: pip "
            "install --upgrade roc-mllm"
        )
    try:
        facts = {name: content["base"][name] for name in ("fingerprint", "head")}
        direction = tuple(map(float, content["direction"]))
        if not direction or not np.isfinite(direction).all() or not isinstance(facts["fingerprint"], dict):
            raise ValueError("direction or fingerprint are not what roc writes")
        declaration = Declaration.from_dict(content["roc"])
        if declaration.personal is None:
            raise ValueError("it does not say what it was fitted on")
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it has no {error.args[0]!r}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} cannot be used: {reason}. Make it anew with roc personalize.") from error
    return PersonalHead(declaration=declaration, direction=direction, base=base_of(path), facts=facts)


def personal_declaration(declaration: Declaration, personal: Personal | None) -> Declaration:
    """Declares the scores of a personal head: the first attribute alone, answered at once.

    The other attributes are not what was rated, and the head that reads them is the same. A calibration holds for the
    general score alone. The spread is that of many raters, so it is marked as uncalibrated.

    Args:
        declaration: Of the checkpoint.
        personal: What the head was fitted on; None = not known yet.
    """
    plain = declaration.uncalibrated()
    first = plain.attributes[0]
    end = plain.answer.index(plain.token) + len(plain.token)
    return replace(
        plain,
        space=plain.space.of(first),
        attributes=(first,),
        answer=plain.answer if len(plain.attributes) == 1 else plain.answer[:end],
        reasoning=None,
        comparison=None,
        scales=(),
        distribution_supervised=False,
        personal=personal,
    )


def steps_of(num_levels: int) -> np.ndarray:
    """Gives c, (N,): evenly from -1 for the lowest level to 1 for the highest."""
    return np.linspace(-1.0, 1.0, num_levels)


def base_facts(model: PreTrainedModel) -> dict[str, Any]:
    """Gives what a checkpoint is recognised by: the fingerprint of its base, and a hash of its head."""
    return {"fingerprint": base_fingerprint(model), "head": _digest(_heads(model)[-1].weight)}


def put_on(model: PreTrainedModel, head: PersonalHead, path: str | os.PathLike) -> None:
    """Gives a model the rows and the declaration of a personal head, in place.

    Args:
        model: The checkpoint that the head belongs to, as loaded; PEFT may wrap it.
        head: From `read_personal_head`.
        path: Its file, for messages.

    Raises:
        ValueError: If the model is not the one that the head was fitted on.
    """
    import torch

    heads = _heads(model)
    rows, width = heads[-1].weight.shape
    found = base_facts(model)
    apart = [] if found["head"] == head.facts["head"] else ["the score head"]
    apart += differing_blocks(found["fingerprint"], head.facts["fingerprint"]) if not apart else []
    if apart or (rows, width) != (head.declaration.num_levels, len(head.direction)):
        raise ValueError(
            f"{path} was fitted on another checkpoint than {head.base} is now ({', '.join(apart[:3]) or 'its size'} "
            "differs). Give the checkpoint as it was (base=... in Python), or personalize this one anew"
        )
    with torch.no_grad():
        for one in heads:
            one.weight.copy_(moved_rows(one.weight, head))
    declare(model, head.declaration)


def moved_rows(weight: torch.Tensor, head: PersonalHead) -> torch.Tensor:
    """Gives the (N, H) rows of the personal head, from those of the checkpoint."""
    import torch

    steps, direction = (torch.tensor(part, dtype=torch.float64) for part in (steps_of(len(weight)), head.direction))
    return (weight.detach().cpu().double() + torch.outer(steps, direction)).to(weight)


def _heads(model: PreTrainedModel) -> list[Any]:
    """Lists the score heads of a model; where an adapter has one of its own, that is the last."""
    from roc.model.head import ScoreHead

    return [module for module in model.modules() if isinstance(module, ScoreHead)]


def _digest(weight: torch.Tensor) -> str:
    values = weight.detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]
