"""The flags of the published training script and what they mean here, so that its command line can be used as it is."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, NamedTuple

from roc.prompts import SCORE_TOKEN
from roc.settings import FALSE_WORDS, TRUE_WORDS, Fault, Setting, Source, unknown_name


class PublishedFlag(NamedTuple):
    """A flag of the published training script that is no setting here.

    Attributes:
        note: Why it has no effect, or what it turns into.
        becomes: The setting that means the same under another name.
        freezes: `(part, value)`: the part of the model that is frozen when the flag has that value.
        only: Values that are accepted; any other asks for something that is not done here. Empty accepts all.
        words: The flag's values and what they are called here, None where the value is dropped; any other is refused.
            Empty keeps all.
    """

    note: str
    becomes: str | None = None
    freezes: tuple[str, bool] | None = None
    only: tuple[str, ...] = ()
    words: Mapping[str, str | None] = types.MappingProxyType({})


_ALWAYS = "accepted without effect: "
PUBLISHED_FLAGS: dict[str, PublishedFlag] = {
    "evaluation_strategy": PublishedFlag("is called eval_strategy here", becomes="eval_strategy"),
    "torch_dtype": PublishedFlag("is called dtype here", becomes="dtype"),
    "visual_abstractor_lr": PublishedFlag("is called projector_learning_rate here", becomes="projector_learning_rate"),
    "mm_projector_lr": PublishedFlag("is called projector_learning_rate here", becomes="projector_learning_rate"),
    "tune_visual_abstractor": PublishedFlag("False is freeze: projector here", freezes=("projector", False)),
    "freeze_vision_model": PublishedFlag("True is freeze: vision here", freezes=("vision", True)),
    "freeze_mm_mlp_adapter": PublishedFlag("True is freeze: projector here", freezes=("projector", True)),
    "freeze_backbone": PublishedFlag("True is freeze: language here", freezes=("language", True)),
    "version": PublishedFlag(_ALWAYS + "the conversation format is the model's own chat template", only=("v1",)),
    "add_tokens": PublishedFlag(_ALWAYS + f"{SCORE_TOKEN} is added where the model lacks it and kept where it has it"),
    "lazy_preprocess": PublishedFlag(_ALWAYS + "images are always opened when their batch is built"),
    "group_by_modality_length": PublishedFlag(_ALWAYS + "each sample has an image, so there is one modality"),
    "is_multimodal": PublishedFlag(_ALWAYS + "every record has images", only=("true",)),
    "mm_use_im_start_end": PublishedFlag(_ALWAYS + "the model's processor places the image tokens"),
    "remove_unused_columns": PublishedFlag(_ALWAYS + "the collator picks what the model takes"),
    "local_rank": PublishedFlag(_ALWAYS + "the launcher's environment variables say it"),
    "optim": PublishedFlag(_ALWAYS + "AdamW is the optimiser", only=("adamw_torch", "adamw_hf", "adamw_torch_fused")),
    "fp16": PublishedFlag(_ALWAYS + "half precision is bf16 here", only=("false",)),
    "lora_enable": PublishedFlag("is tuning here", becomes="tuning", words={"true": "lora", "false": "full"}),
    "bits": PublishedFlag("4 is tuning: qlora here", becomes="tuning", words={"4": "qlora", "16": None}),
    "quant_type": PublishedFlag(_ALWAYS + "4-bit weights are nf4", only=("nf4",)),
    "double_quant": PublishedFlag(_ALWAYS + "the scales of 4-bit weights are quantised too", only=("true",)),
    "lora_r": PublishedFlag("is called lora_rank here", becomes="lora_rank"),
    "lora_bias": PublishedFlag(_ALWAYS + "biases of the base stay as they are", only=("none",)),
}


def rename(
    source: Source, settings: Mapping[str, Setting]
) -> tuple[dict[str, Any], dict[str, str], list[str], list[Fault]]:
    """Replaces the published names of one source; flags that freeze a part stay, for `freeze_parts`.

    Args:
        source: The values of a YAML file or of the command line.
        settings: The known settings by name.

    Returns:
        The values, where each comes from, a note on each replaced name, and the faults: unknown names, and published
        values that ask for something that is not done here.
    """
    values, origins, notes, faults = {}, dict(source.origins), [], []
    for name, value in source.values.items():
        if name in settings:
            values[name] = value
            continue
        flag = PUBLISHED_FLAGS.get(name)
        fault = _flag_fault(name, value, flag, source, settings)
        if fault:
            faults.append((name, fault))
            continue
        target = flag.becomes or name
        if flag.words:
            # Where lora_enable and bits are both given, the one that asks for more counts.
            asked = [word for word in (values.get(target), flag.words[_word(value)]) if word is not None]
            if asked:
                values[target] = max(asked, key=settings[target].choices.index)
        else:
            values[target] = value
        if flag.becomes and name in origins:
            origins[flag.becomes] = origins[name]
        notes.append(f"{name} {value}: {flag.note}")
    return values, origins, notes, faults


def _flag_fault(
    name: str, value: Any, flag: PublishedFlag | None, source: Source, settings: Mapping[str, Setting]
) -> str | None:
    """Says why a published flag cannot be used with this value; None where it can."""
    if flag is None:
        return unknown_name(name, [*settings, *PUBLISHED_FLAGS])
    if flag.only and _word(value) not in flag.only:
        return f"{name} is {value!r}, expected {' or '.join(flag.only)}; {flag.note}"
    if flag.words and _word(value) not in flag.words:
        return f"{name} is {value!r}, expected {' or '.join(flag.words)}; {flag.note}"
    if flag.freezes and _word(value) not in TRUE_WORDS + FALSE_WORDS:
        return f"{name} is {value!r}, expected True or False"
    if flag.becomes in source.values:
        return f"{name} {flag.note}, and {flag.becomes} is given too; keep one of them"
    return None


def freeze_parts(values: Mapping[str, Any], settings: Mapping[str, Setting]) -> tuple[dict[str, Any], list[Fault]]:
    """Turns the published flags that freeze a part into `freeze`, and drops the ones that have no effect.

    Args:
        values: The values that `rename` returns, all sources together.
        settings: The known settings by name.

    Returns:
        Values of known settings only, and the faults: flags that contradict `freeze`.
    """
    kept = {name: value for name, value in values.items() if name in settings}
    asked = kept.get("freeze", ())
    try:
        parts = list(settings["freeze"].read(asked)) if asked else []
    except ValueError as error:
        return kept, [("freeze", str(error))]
    faults = []
    for name, value in values.items():
        flag = PUBLISHED_FLAGS.get(name)
        if name in settings or flag.freezes is None:
            continue
        part, when = flag.freezes
        frozen = (_word(value) in TRUE_WORDS) == when
        if frozen and part not in parts:
            parts.append(part)
        elif not frozen and part in parts:
            faults.append((name, f"{name} is {value} but {part} is frozen by another setting; drop one of the two"))
    return {**kept, "freeze": parts} if parts else kept, faults


def _word(value: Any) -> str:
    return str(value).strip().lower()
