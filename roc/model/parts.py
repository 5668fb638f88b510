"""Which part of a vision-language model a parameter belongs to: for freezing, and for learning rates of their own.

The parts are asked of the model, not of its family: what lies below `get_decoder()` is language, the embeddings are
those `transformers` names, the projector is what calls itself one, and the rest looks at the picture. Parameters that
PEFT adds belong to the part of the module they adapt.
"""

from __future__ import annotations

from transformers import PreTrainedModel

PARTS = ("vision", "projector", "language", "embeddings", "head")

# What the bridge from picture to text is called in the families of transformers. A bare "projection" is not among them:
# towers have those inside.
_PROJECTOR_WORDS = (
    "projector", "connector", "merger", "aligner", "embed_vision", "abstractor", "image_to_text_projection"
)  # fmt: skip


def parameter_parts(model: PreTrainedModel) -> dict[str, str]:
    """Part of every parameter, by name; each parameter has exactly one.

    Args:
        model: with or without the head, plain or wrapped by PEFT.

    Returns:
        `{parameter name: one of PARTS}`, in the order of `named_parameters()`.
    """
    head = _parameters(getattr(model, "score_head", None))
    embeddings = _parameters(model.get_input_embeddings()) | _parameters(model.get_output_embeddings())
    decoder = _parameters(model.get_decoder())
    parts = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in head:
            part = "head"
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


def freeze(model: PreTrainedModel, parts: list[str]) -> None:
    """Stops the gradient of whole parts, e.g. `["vision", "projector"]`.

    Raises:
        ValueError: for an unknown part, or one this model does not have.
    """
    of = parameter_parts(model)
    missing = sorted(set(parts) - set(of.values()))
    if missing:
        raise ValueError(f"Cannot freeze {', '.join(missing)}: this model has {', '.join(sorted(set(of.values())))}.")
    for name, parameter in model.named_parameters():
        if of[name] in parts:
            parameter.requires_grad_(False)
