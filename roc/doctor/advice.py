"""What to set for a model: facts that no check can fail on but a training run has to know."""

from __future__ import annotations

import contextlib
from collections import Counter

import torch
from PIL import Image

from roc.doctor.candidate import Candidate, count_text
from roc.model.adapters import LORA_PARTS, layer_kind, lora_targets
from roc.model.collator import RocCollator
from roc.model.lengths import picture_tokens
from roc.model.mirror import check_mirrors
from roc.model.parts import PARTS, experts_text, parameter_parts

_ASPECT_ADVICE = {
    "keeps": "keep: the processor keeps the shape of an image",
    "pads": "keep: the processor pads every image to one shape",
    "squeezes": "the processor squeezes every image to one shape; pad keeps proportions, keep keeps resolution",
    "crops": "pad: the processor crops what does not fit its shape, so the borders would not be seen",
}

ADVICE = {
    "chat template": "Give a chat template that only appends turns (--chat_template FILE).",
    "gradient checkpointing": "Leave gradient_checkpointing off for this model.",
    "gradients": "Full tuning would leave these parameters as they are; LoRA (--tuning lora) does not need them.",
    "adapter": "Use --tuning full on this model.",
}
"""What to do if a check raises an error."""


def what_to_set(candidate: Candidate) -> dict[str, str]:
    """Collects what a run has to know about the model, as `{name: text}`, to be printed line by line."""
    model, collator = candidate.model, candidate.collator
    sizes = {size: picture_tokens(collator, size) for size in ((640, 480), (1920, 1440))}
    large = max(sizes)
    prompt = collator.scoring_batch([Image.new("RGB", large, "grey")])["input_ids"].shape[1]
    parts = parameter_parts(model)
    counts: Counter = Counter()
    for name, parameter in model.named_parameters():
        counts[parts[name]] += parameter.numel()
    layers = []
    for part in LORA_PARTS if model.can_generate() else ():
        with contextlib.suppress(ValueError):  # the model has no such layers
            found = lora_targets(model, (part,))
            kinds = Counter(map(layer_kind, found))
            shown = ", ".join(kind for kind, _ in kinds.most_common(8)) + (", ..." if len(kinds) > 8 else "")
            layers.append(f"{part} {len(found)} ({shown})")
    experts = experts_text(model)
    return (
        {"experts": f"LoRA, QLoRA, float8 and int8 leave out {experts}; --tuning full trains them"} if experts else {}
    ) | {
        "image tokens": ", ".join(f"{width} x {height} takes {n}" for (width, height), n in sizes.items()),
        "image_aspect_ratio": _ASPECT_ADVICE[picture_fit(collator)],
        "model_max_length": f"at least {-(-(prompt + 32) // 64) * 64}, more with comments: question, image of "
        f"{large[0]} x {large[1]} and answer take {prompt}",
        "parts": ", ".join(f"{part} {count_text(counts[part])}" for part in PARTS if counts[part]),
        "lora_parts": "; ".join(layers) or "none: the model has no words, and PEFT adapts models that generate",
        "score_flip": _mirrors(collator),
        "attention": str(model.config._attn_implementation),
    }


def _mirrors(collator: RocCollator) -> str:
    """Says whether scores can be means over a picture and its mirror image."""
    try:
        check_mirrors(collator)
    except ValueError as error:
        return f"not with this model: {error}"
    return "possible: scores as means over a photo and its mirror image, at twice the time"


def picture_fit(collator: RocCollator) -> str:
    """Finds out what the processor does with an image whose shape is not its own, by showing it images.

    Returns:
        "keeps", "pads", "squeezes" or "crops".
    """

    def shown(size: tuple[int, int], edge: bool = False) -> dict[str, torch.Tensor]:
        image = Image.new("RGB", size, "white")
        if edge:
            image.paste("black", (0, 0, size[0] // 32, size[1]))
        batch = collator.prompt_batch([image])
        return {key: value for key, value in batch.items() if torch.is_tensor(value)}

    wide, tall = shown((640, 320)), shown((320, 640))
    pixels = {key for key, value in wide.items() if value.is_floating_point()}
    if any(wide[key].shape != tall[key].shape for key in wide) or any(
        not torch.equal(wide[key], tall[key]) for key in wide.keys() - pixels
    ):
        return "keeps"
    edged = shown((640, 320), edge=True)
    if all(torch.equal(wide[key], edged[key]) for key in pixels):
        return "crops"
    # Plain white becomes one value per channel, unless something was added around it.
    values = {len(wide[key].unique()) for key in pixels}
    return "pads" if max(values) > 3 else "squeezes"
