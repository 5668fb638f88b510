"""The part of a vision-language model that a parameter belongs to, for freezing and for separate learning rates.

The parts are read off the model, not its family: everything below `get_decoder()` is language, the embeddings are those
that `transformers` names, the projector is recognised by its name, and the rest is vision. Parameters that PEFT adds
belong to the part of the module that they adapt, extensions (roc/model/extensions.py) to the head. Links that are
learnt (roc/model/links.py) are a part of their own, `links`, which no finished model has.
"""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

PARTS = ("vision", "projector", "language", "embeddings", "head")

# Names of the projector from images to text in the families of transformers. A bare "projection" is not among them,
# since vision towers contain such modules.
_PROJECTOR_WORDS = (
    "projector", "connector", "merger", "aligner", "embed_vision", "abstractor", "image_to_text_projection"
)  # fmt: skip


def parameter_parts(model: PreTrainedModel) -> dict[str, str]:
    """Assigns every parameter to exactly one part.

    Args:
        model: With or without the head, plain or wrapped by PEFT.

    Returns:
        `{parameter name: one of PARTS, or "links"}`, in the order of `named_parameters()`.
    """
    head = _parameters(getattr(model, "score_head", None)) | _parameters(getattr(model, "extensions", None))
    links = _parameters(getattr(model, "scale_links", None))
    embeddings = _parameters(model.get_input_embeddings()) | _parameters(model.get_output_embeddings())
    decoder = _parameters(model.get_decoder())
    parts = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in head:
            part = "head"
        elif id(parameter) in links:
            part = "links"
        elif id(parameter) in embeddings:
            part = "embeddings"
        elif id(parameter) in decoder:
            part = "language"
        elif any(word in name for word in _PROJECTOR_WORDS):
            part = "projector"
        else:
            part = "vision"
        parts[name] = part
    return parts


def _parameters(module) -> set[int]:
    return set() if module is None else {id(parameter) for parameter in module.parameters()}


def experts_text(model: nn.Module) -> str:
    """Describes the experts that are held as one parameter of three dimensions; empty if there are none.

    They are no linear layers, so low-rank matrices and formats of linear layers (4 bits, float8, int8) leave them as
    they are.
    """
    decoder = model.get_decoder()
    held = [parameter for parameter in decoder.parameters() if parameter.ndim == 3 and len(parameter) > 1]
    convolutions = {id(module.weight) for module in decoder.modules() if isinstance(module, nn.Conv1d)}
    count = sum(parameter.numel() for parameter in held if id(parameter) not in convolutions)
    whole = sum(parameter.numel() for parameter in decoder.parameters())
    return f"the routed experts, {count / whole:.0%} of the language model, which are no linear layers" if count else ""


def part_modules(model: PreTrainedModel, part: str) -> dict[str, nn.Module]:
    """Finds the largest modules that hold parameters of one part and of no other, by name.

    Args:
        model: With or without the head, plain or wrapped by PEFT.
        part: One of `PARTS`.
    """
    parts = parameter_parts(model)
    belongs = {id(parameter): parts[name] == part for name, parameter in model.named_parameters()}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = [belongs[id(parameter)] for parameter in module.parameters()]
        if inside and all(inside) and not any(name.startswith(f"{one}.") for one in found):
            found[name] = module
    return found


def freeze(model: PreTrainedModel, parts: list[str]) -> None:
    """Freezes whole parts, such as `["vision", "projector"]`.

    Raises:
        ValueError: For an unknown part, or one that this model does not have.
    """
    part_of = parameter_parts(model)
    there = sorted(set(part_of.values()))
    missing = sorted(set(parts) - set(there))
    if missing:
        raise ValueError(f"Cannot freeze {', '.join(missing)}: this model has {', '.join(there)}.")
    for name, parameter in model.named_parameters():
        if part_of[name] in parts:
            parameter.requires_grad_(False)
