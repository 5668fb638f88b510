"""Everything one training run is told, as four dataclasses that share one flat set of names.

A setting is one field with a help text, a default and its bounds: add the line and it is a YAML key, a command-line
flag, a row of `--help`, and part of what makes two runs "the same run". YAML files hold values only: no nesting, no
class names, no duplicate keys. YAML and flags go through the same reading of text, so `1e-4` is a number and
`eval_strategy: no` is the word in both.

The flags of the published training script are either fields here or rows of `PUBLISHED_FLAGS`, which says what becomes
of each. Anything else is refused, with the nearest known name.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from roc.data.images import DEFAULT_MAX_PIXELS
from roc.prompts import SCORE_TOKEN
from roc.score_space import ScoreSpace

TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")
NONE_WORDS = ("", "none", "null", "~", "auto")
YAML_SUFFIXES = (".yaml", ".yml")
OVERALL = "overall"


class ConfigError(ValueError):
    """One or more settings that cannot be used; the message has one line per fault.

    Attributes:
        faults: `(key, text)` pairs; the text says what came, what was expected and what to do.
    """

    def __init__(self, faults: Sequence[tuple[str, str]], origins: Mapping[str, str] | None = None):
        self.faults = list(faults)
        origins = origins or {}
        lines = [f"{origins[key]}: {text}" if key in origins else text for key, text in self.faults]
        super().__init__("\n".join(lines))


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    matters: bool = True,
) -> Any:
    """Declares one setting.

    Args:
        default: Value when neither YAML nor a flag gives one.
        help: One sentence for `--help`.
        low: Smallest allowed value.
        above: Value it must exceed.
        high: Largest allowed value.
        below: Value it must stay under.
        matters: Whether another value makes it another run. False for what only changes speed, logging or where the
            result goes.
    """
    bounds = {"low": low, "above": above, "high": high, "below": below}
    return field(default=default, metadata={"help": help, "matters": matters, **bounds})


@dataclass(frozen=True)
class ModelConfig:
    """Which model carries the head, and which of its parts are trained."""

    model_name_or_path: str | None = option(
        None, "model to start from: a hub name or a folder; none builds the small embedded stand-in"
    )
    tiny_model: str = option("demo", "which embedded stand-in is built where model_name_or_path is none")
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "number format of the trained weights; with bf16 on, float32 weights still compute in bfloat16"
    )
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = option(
        None, "attention kernel; none leaves the choice to transformers", matters=False
    )
    tuning: Literal["full", "lora", "qlora"] = option(
        "full",
        "full: all weights that are not frozen; lora: low-rank matrices, the row of [SCORE] and the score head; qlora: "
        "the same on a base held in 4 bits",
    )
    lora_rank: int = option(64, "with lora or qlora: width of the low-rank matrices", low=1)
    lora_alpha: float = option(16, "with lora or qlora: their product is scaled by lora_alpha / lora_rank", above=0)
    lora_dropout: float = option(0.05, "with lora or qlora: dropout of their input", low=0, below=1)
    lora_targets: tuple[str, ...] = option(
        (), "with lora or qlora: linear layers that get them, by (a part of) their names: q_proj, mlp; none takes all"
    )
    lora_parts: tuple[Literal["language", "projector", "vision"], ...] = option(
        ("language",), "with lora or qlora: parts of the model that get them; the others stay as they are"
    )
    freeze: tuple[Literal["vision", "projector", "language", "embeddings"], ...] = option(
        (), "with full: parts that are not trained; the score head always is"
    )
    gradient_checkpointing: bool | None = option(
        None,
        "compute layers anew in the backward pass, which takes time and saves memory; auto does so where a step would "
        "not fit into the GPU otherwise",
        matters=False,
    )

    def model_faults(self) -> list[tuple[str, str]]:
        """Settings of one way of tuning given with another."""
        if self.tuning == "full":
            return []
        found = []
        if self.freeze:
            found.append(
                (
                    "freeze",
                    f"freeze names {', '.join(self.freeze)}, but with tuning {self.tuning} the whole base is frozen; "
                    "lora_parts says which parts get low-rank matrices",
                )
            )
        if self.model_name_or_path is None:
            found.append(
                (
                    "tuning",
                    f"tuning {self.tuning} needs a base to stand on and model_name_or_path is not set; name one, or "
                    "train the small stand-in in full",
                )
            )
        if not self.lora_parts:
            found.append(("lora_parts", "lora_parts is empty; name at least one of language, projector, vision"))
        return found


@dataclass(frozen=True)
class ScoreConfig:
    """The scale of the scores, the attributes, the losses and the words around a score."""

    min_score: float = option(1.0, "lowest score of the scale the data is rated on")
    max_score: float = option(10.0, "highest score of that scale")
    num_tokens: int = option(
        10, "number of score levels; must equal the length of `target` (the histogram) where there is one", low=2
    )
    attributes: tuple[str, ...] = option((OVERALL,), "scores to learn, in the order of the answer; `overall` first")
    text_weight: float = option(1.0, "weight of the text loss", low=0)
    l1_weight: float = option(1.0, "weight of the smooth L1 loss on the score", low=0)
    ce_weight: float = option(0.0, "weight of the cross-entropy to the rating histogram", low=0)
    emd_weight: float = option(0.0, "weight of the earth mover's distance to the rating histogram", low=0)
    l1_scale: Literal["unit", "native"] = option(
        "unit", "unit: every scale trains like 1..10; native: smooth L1 on the scores as they are (the published form)"
    )
    published_losses: bool = option(False, "the published objective as it was, for comparison with recorded numbers")
    question: str | None = option(
        None, "question asked about an image; none asks what most of the data asks, or the built-in question"
    )
    answer: str | None = option(
        None, f"answer taught, with one {SCORE_TOKEN} per attribute; none builds it from the attributes"
    )

    @property
    def score_space(self) -> ScoreSpace:
        """Range and levels as the rest of the library takes them."""
        return ScoreSpace(min_score=self.min_score, max_score=self.max_score, num_levels=self.num_tokens)

    def score_faults(self) -> list[tuple[str, str]]:
        """Contradictions between the score settings."""
        found = []
        if not self.min_score < self.max_score:
            found.append(
                ("min_score", f"min_score {self.min_score:g} must be below max_score {self.max_score:g}; swap them?")
            )
        if self.l1_weight == self.ce_weight == self.emd_weight == 0:
            found.append(
                (
                    "l1_weight",
                    "l1_weight, ce_weight and emd_weight are all 0, so nothing would teach the score head; "
                    "give at least one a value above 0",
                )
            )
        if not self.attributes:
            found.append(("attributes", "attributes is empty; name at least `overall`"))
        elif self.attributes[0] != OVERALL:
            found.append(
                (
                    "attributes",
                    f"attributes starts with {self.attributes[0]!r}, expected {OVERALL!r}; the first score of an image "
                    f"is always called {OVERALL!r}, the other attributes follow it",
                )
            )
        odd = [name for name in self.attributes if set(name) & set("[]<>|")]
        if odd:
            found.append(("attributes", f"attributes has {odd[0]!r}; brackets and bars mark tokens, use plain words"))
        repeated = sorted({name for name in self.attributes if self.attributes.count(name) > 1})
        if repeated:
            found.append(("attributes", f"attributes names {', '.join(repeated)} more than once; name each once"))
        if self.answer is not None and self.answer.count(SCORE_TOKEN) != len(self.attributes):
            found.append(
                (
                    "answer",
                    f"answer has {self.answer.count(SCORE_TOKEN)} {SCORE_TOKEN}, expected {len(self.attributes)} "
                    f"for the attributes {', '.join(self.attributes)}; write one {SCORE_TOKEN} per attribute",
                )
            )
        return found


@dataclass(frozen=True)
class DataConfig:
    """Where the rated images are and how they are read."""

    data_path: str | None = option(
        None, "records to train on: .json, .jsonl, .csv or .parquet; none draws the embedded demo scenes"
    )
    image_folder: str | None = option(
        None, "folder the image paths of the records start from; none is their file's own"
    )
    eval_data_path: str | None = option(None, "records to validate on; none uses the split column or val_fraction")
    check_answers: int = option(500, "test rows for which the written answer is checked as well", low=0, matters=False)
    dataset: str | None = option(None, "name of the data set, written into the checkpoint")
    image_aspect_ratio: Literal["keep", "pad"] = option(
        "keep", "pad: pad every image to a square with the mean colour before the processor sees it"
    )
    val_fraction: float = option(
        0.1,
        "share of the training rows held out (by hash of the id) where no row is marked as validation",
        low=0,
        below=1,
    )
    train_comments: bool = option(True, "teach the comments of the records as text after the scores")
    model_max_length: int = option(
        2048, "longest sequence in tokens, image tokens included; longer ones are refused", low=8
    )
    max_pixels: int = option(DEFAULT_MAX_PIXELS, "images with more pixels than this are refused", low=1)
    image_cache: bool = option(False, "keep the opened images in memory", matters=False)
    augment_flip: float = option(0.0, "probability of mirroring a training image left to right", low=0, high=1)
    augment_shift: float = option(
        0.0, "largest displacement of a training image, as a share of its sides; mirrored at the edges", low=0, high=0.5
    )
    augment_crop: float = option(
        1.0, "smallest share of the area a random training crop keeps; 1 crops nothing", above=0, high=1
    )
    augment_rotate: float = option(0.0, "largest random tilt of a training image, in degrees", low=0, high=45)
    demo_train: int = option(3000, "demo scenes to train on", low=1)
    demo_val: int = option(300, "demo scenes to validate on", low=1)
    demo_test: int = option(500, "demo scenes, never seen in training, for the final table", low=1)
    demo_size: int = option(128, "side of a demo scene in pixels", low=16)

    def data_faults(self) -> list[tuple[str, str]]:
        """Paths that only make sense together with `data_path`."""
        found = []
        for key in ("image_folder", "eval_data_path"):
            if getattr(self, key) is not None and self.data_path is None:
                found.append(
                    (key, f"{key} is {getattr(self, key)!r} but data_path is not set; give --data_path FILE as well")
                )
        return found


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast and with what it is trained, and where the result goes."""

    output_dir: str = option("checkpoints/run", "folder the checkpoint, logs, metrics and plots go to", matters=False)
    overwrite: bool = option(False, "train anew where output_dir already holds a run", matters=False)
    num_train_epochs: float = option(2.0, "passes over the training rows", above=0)
    max_steps: int = option(-1, "optimiser steps; -1 leaves it to num_train_epochs", low=-1)
    per_device_train_batch_size: int = option(16, "images per device and forward pass", low=1)
    per_device_eval_batch_size: int = option(16, "images per device when evaluating", low=1, matters=False)
    gradient_accumulation_steps: int = option(1, "forward passes per optimiser step", low=1)
    learning_rate: float = option(2e-5, "learning rate", above=0)
    head_learning_rate: float | None = option(None, "learning rate of the score head; none is learning_rate", above=0)
    vision_learning_rate: float | None = option(
        None, "learning rate of the vision tower; none is learning_rate", above=0
    )
    projector_learning_rate: float | None = option(
        None, "learning rate between vision tower and language model; none is learning_rate", above=0
    )
    weight_decay: float = option(0.0, "weight decay of matrices; norms and biases have none", low=0)
    warmup_ratio: float = option(0.03, "share of the steps over which the learning rate rises", low=0, below=1)
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = option(
        "cosine", "course of the learning rate after the warm-up"
    )
    max_grad_norm: float = option(1.0, "largest norm of the gradient; 0 does not clip", low=0)
    ema_decay: float = option(
        0.0, "decay of a running mean of the weights, which is validated, kept and saved; 0 keeps none", low=0, below=1
    )
    bf16: bool | None = option(None, "compute in bfloat16; auto does so where the hardware has it")
    tf32: bool | None = option(None, "TF32 matrix products on NVIDIA GPUs; auto leaves torch's choice")
    seed: int = option(
        42, "seed of initialisation, data order and augmentation; of the demo's scenes and raters too", low=0
    )
    eval_strategy: Literal["epoch", "steps", "no"] = option("epoch", "when to validate; the best checkpoint is by SRCC")
    eval_steps: float | None = option(
        None,
        "with eval_strategy steps: steps between validations, below 1 a share of the run; none is save_steps",
        above=0,
    )
    save_strategy: Literal["epoch", "steps", "no"] = option(
        "epoch", "when to save a state that a killed run resumes from"
    )
    save_steps: float = option(
        500, "with save_strategy steps: steps between saves, below 1 a share of the run", above=0
    )
    save_total_limit: int = option(2, "saved states to keep beside the best one", low=1, matters=False)
    logging_steps: int = option(10, "steps between log lines", low=1, matters=False)
    report_to: Literal["tensorboard", "wandb", "none"] = option("tensorboard", "where the curves go", matters=False)
    dataloader_num_workers: int = option(0, "processes that prepare batches", low=0, matters=False)
    threads: int = option(0, "CPU threads of torch; 0 leaves torch's choice", low=0, matters=False)
    deepspeed: str | None = option(None, "DeepSpeed configuration file", matters=False)

    def train_faults(self) -> list[tuple[str, str]]:
        """Values that no bound can express."""
        found = []
        if self.max_steps == 0:
            found.append(("max_steps", "max_steps is 0, expected -1 (leave it to num_train_epochs) or at least 1"))
        for key in ("eval_steps", "save_steps"):
            steps = getattr(self, key)
            if steps is not None and steps >= 1 and steps != int(steps):
                found.append(
                    (key, f"{key} is {steps:g}, expected a whole number of steps, or a share of the run below 1")
                )
        if self.ema_decay and self.tuning != "full":
            found.append(
                (
                    "ema_decay",
                    f"ema_decay is {self.ema_decay:g} with tuning {self.tuning}; a mean of the weights is kept in full "
                    "tuning only, set it to 0",
                )
            )
        every = self.eval_steps or self.save_steps
        if self.eval_strategy == self.save_strategy == "steps" and self.save_steps % every:
            expected = f"expected a multiple of eval_steps {every:g}, so that the best state can be kept"
            found.append(("save_steps", f"save_steps is {self.save_steps:g}, {expected}"))
        return found


@dataclass(frozen=True)
class RunConfig(ModelConfig, ScoreConfig, DataConfig, TrainConfig):
    """All settings of a run under one flat set of names.

    Attributes:
        notes: What became of published flags that mean something else, or nothing, here. Not a setting.

    Raises:
        ConfigError: Naming every field whose value has the wrong type, lies outside its bounds, or contradicts another.
    """

    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        faults = []
        for name, setting in SETTINGS.items():
            try:
                object.__setattr__(self, name, setting.read(getattr(self, name)))
            except ValueError as error:
                faults.append((name, str(error)))
        if not faults:
            faults = self.model_faults() + self.score_faults() + self.data_faults() + self.train_faults()
        if faults:
            raise ConfigError(faults)

    def trains(self, part: str) -> bool:
        """Whether anything of a part of the model (`roc.model.parts.PARTS`) is trained."""
        if self.tuning == "full":
            return part not in self.freeze
        return part in ("head", "embeddings", *self.lora_parts)

    def to_dict(self) -> dict[str, Any]:
        """Every setting by its name; JSON can hold it, and `load_config(None, config.to_dict())` gives it back."""
        values = {name: getattr(self, name) for name in SETTINGS}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def differences(self, earlier: Mapping[str, Any]) -> list[str]:
        """Compares with the `to_dict()` of an earlier run, on the settings that make it the same run.

        Args:
            earlier: Settings of the other run. Names it lacks count as their defaults.

        Returns:
            One line `name: earlier value -> value now` per difference; empty when it is the same run.
        """
        now = self.to_dict()
        lines = []
        for name, setting in SETTINGS.items():
            before = earlier.get(name, list(setting.default) if isinstance(setting.default, tuple) else setting.default)
            if setting.matters and before != now[name]:
                lines.append(f"{name}: {before} -> {now[name]}")
        return lines


@dataclass(frozen=True)
class Setting:
    """One field of a group as the readers and `--help` need it.

    Attributes:
        name: Key in YAML, flag on the command line.
        kind: bool, int, float or str; of the items where `many`.
        many: Whether it is a list.
        optional: Whether it may be none.
        choices: Allowed words; empty when any value of the kind will do.
    """

    name: str
    group: type
    kind: type
    many: bool
    optional: bool
    choices: tuple[str, ...]
    default: Any
    help: str
    matters: bool
    bounds: Mapping[str, float | None]

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if self.choices:
            what = ("any of " if self.many else "one of ") + ", ".join(self.choices)
        else:
            what = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}[self.kind]
            what = "a list of names" if self.many else what
        words = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
        limits = [f"{words[side]} {value:g}" for side, value in self.bounds.items() if value is not None]
        what = " ".join([what, " and ".join(limits)]).strip()
        return f"{what}, or {'auto' if self.kind is bool else 'none'}" if self.optional else what

    def read(self, value: Any) -> Any:
        """Turns text, or a Python value, into this setting's type.

        Args:
            value: A string from YAML or the command line, a list of such, or a value of the right type.

        Returns:
            The typed value; a tuple where the setting is a list.

        Raises:
            ValueError: Naming the key, the value and what was expected.
        """
        if self.many:
            items = value.split(",") if isinstance(value, str) else value
            if not isinstance(items, (list, tuple)):
                raise self._fault(value)
            items = [part.strip() for item in items for part in (item.split(",") if isinstance(item, str) else [item])]
            return tuple(self._read_one(item, value) for item in items if item != "")
        return self._read_one(value, value)

    def _read_one(self, value: Any, given: Any) -> Any:
        if self.choices and value in self.choices:  # first, because `none` may be one of the choices
            return value
        if self.optional and _is_none(value):
            return None
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str) and self.kind is not str:
            value = self._from_text(value.strip(), given)
        if self.kind is float and type(value) is int:
            value = float(value)
        if self.choices or type(value) is not self.kind or not self._inside(value):
            raise self._fault(given)
        return value

    def _from_text(self, text: str, given: Any) -> Any:
        if self.kind is bool:
            if text.lower() not in TRUE_WORDS + FALSE_WORDS:
                raise self._fault(given)
            return text.lower() in TRUE_WORDS
        for kind in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            return int(number) if self.kind is int and math.isfinite(number) and number == int(number) else number
        raise self._fault(given)

    def _inside(self, value: Any) -> bool:
        if self.kind not in (int, float):
            return value != ""
        if not math.isfinite(value):
            return False
        low, above, high, below = (self.bounds[side] for side in ("low", "above", "high", "below"))
        return (
            (low is None or value >= low)
            and (above is None or value > above)
            and (high is None or value <= high)
            and (below is None or value < below)
        )

    def _fault(self, value: Any) -> ValueError:
        return ValueError(f"{self.name} is {value!r}, expected {self.expected}")


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in NONE_WORDS)


def _settings(group: type) -> dict[str, Setting]:
    """Reads the fields of one group; `X | None`, `tuple[X, ...]` and `Literal` are the forms it knows."""
    hints = typing.get_type_hints(group)
    found = {}
    for entry in dataclasses.fields(group):
        kind, optional, many = hints[entry.name], False, False
        if typing.get_origin(kind) in (types.UnionType, typing.Union):  # Literal[...] | None is the second
            optional = True
            kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
        if typing.get_origin(kind) is tuple:
            many, kind = True, typing.get_args(kind)[0]
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        found[entry.name] = Setting(
            name=entry.name,
            group=group,
            kind=str if choices else kind,
            many=many,
            optional=optional,
            choices=choices,
            default=entry.default,
            help=entry.metadata["help"],
            matters=entry.metadata["matters"],
            bounds={side: entry.metadata[side] for side in ("low", "above", "high", "below")},
        )
    return found


GROUPS = {"model": ModelConfig, "scores": ScoreConfig, "data": DataConfig, "training": TrainConfig}
SETTINGS: dict[str, Setting] = {
    name: setting for group in GROUPS.values() for name, setting in _settings(group).items()
}


class PublishedFlag(NamedTuple):
    """What becomes of a flag of the published training script that is no setting here.

    Attributes:
        note: Why it has no effect, or what it turns into.
        becomes: The setting of the same meaning under another name.
        freezes: `(part, value)`: the part of the model that is frozen when the flag has that value.
        only: Values it may have; any other would ask for something that is not done here. Empty allows all.
        words: What a value of the flag is called here, None where it is dropped; any other is refused. Empty keeps all.
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


def _rename(
    given: Mapping[str, Any], origins: dict[str, str]
) -> tuple[dict[str, Any], list[str], list[tuple[str, str]]]:
    """Replaces the published names of one source; flags that freeze a part stay, for `_freeze`.

    Returns:
        The values, the notes on what was replaced, and the faults: unknown names, and published values that ask for
        what is not done here.
    """
    values, notes, faults = {}, [], []
    for name, value in given.items():
        if name in SETTINGS:
            values[name] = value
            continue
        flag = PUBLISHED_FLAGS.get(name)
        if flag is None:
            faults.append((name, unknown_name(name)))
        elif flag.only and str(value).strip().lower() not in flag.only:
            faults.append((name, f"{name} is {value!r}, expected {' or '.join(flag.only)}; {flag.note}"))
        elif flag.words and str(value).strip().lower() not in flag.words:
            faults.append((name, f"{name} is {value!r}, expected {' or '.join(flag.words)}; {flag.note}"))
        elif flag.freezes and str(value).strip().lower() not in TRUE_WORDS + FALSE_WORDS:
            faults.append((name, f"{name} is {value!r}, expected True or False"))
        elif flag.becomes in given:
            faults.append((name, f"{name} {flag.note}, and {flag.becomes} is given too; keep one of them"))
        else:
            target = flag.becomes or name
            if flag.words:
                word = flag.words[str(value).strip().lower()]
                said = [entry for entry in (values.get(target), word) if entry is not None]
                if said:  # of lora_enable and bits together the one that asks for more
                    values[target] = max(said, key=SETTINGS[target].choices.index)
            else:
                values[target] = value
            if flag.becomes and name in origins:
                origins[flag.becomes] = origins[name]
            notes.append(f"{name} {value}: {flag.note}")
    return values, notes, faults


def _freeze(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Turns the published flags that freeze a part into `freeze`, and drops the ones that have no effect."""
    settings = {name: value for name, value in values.items() if name in SETTINGS}
    asked = settings.get("freeze", ())
    parts = list(SETTINGS["freeze"].read(asked)) if asked else []
    faults = []
    for name, value in values.items():
        flag = PUBLISHED_FLAGS.get(name)
        if name in SETTINGS or flag.freezes is None:
            continue
        part, when = flag.freezes
        frozen = (str(value).strip().lower() in TRUE_WORDS) == when
        if frozen and part not in parts:
            parts.append(part)
        elif not frozen and part in parts:
            faults.append((name, f"{name} is {value} but {part} is frozen by another setting; drop one of the two"))
    return {**settings, "freeze": parts} if parts else settings, faults


def unknown_name(name: str) -> str:
    """The sentence that refuses `name`, with the nearest known one."""
    near = difflib.get_close_matches(name, [*SETTINGS, *PUBLISHED_FLAGS], n=1, cutoff=0.6)
    return f"unknown setting {name!r}; " + (f"did you mean {near[0]!r}?" if near else "--help lists all of them")


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads a flat YAML file as text; nothing is typed yet.

    Returns:
        The values (a string, or a list of strings) by key, and `FILE:LINE` by key.

    Raises:
        ConfigError: If the file cannot be read, is empty, is no flat mapping, or has a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([("", f"{path}: cannot read the configuration: {error}")]) from None
    try:
        # BaseLoader leaves every scalar as it was written. YAML's own typing would turn `no` into False and leave
        # `1e-4` a string.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ConfigError([("", f"{path}: not valid YAML: {error}")]) from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError([("", f"{path}: expected lines `name: value`, one per setting; this file has none")])
    values, origins, faults = {}, {}, []
    for key_node, node in root.value:
        key, where = str(key_node.value), f"{path}:{key_node.start_mark.line + 1}"
        if key in values:
            faults.append(("", f"{where}: {key} was already set in {origins[key]}; keep one of them"))
            continue
        origins[key] = where
        if isinstance(node, yaml.ScalarNode):
            values[key] = node.value
        elif isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            values[key] = [item.value for item in node.value]
        else:
            values[key] = ""
            faults.append(("", f"{where}: {key} is nested, expected one value or a plain list; settings are flat"))
    if faults:
        raise ConfigError(faults)
    return values, origins


def read_flags(argv: Sequence[str]) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """Splits a command line into the YAML files, the flags' values as text, and `--flag` by name.

    Written out because argparse would take the file in `--overwrite configs/demo.yaml` for the value of the flag.

    Args:
        argv: Words such as `["configs/demo.yaml", "--learning-rate", "1e-4", "--overwrite", "--seed=1"]`. `-` and `_`
            are the same in names; a list takes several words or commas; of a flag given twice the last one counts.

    Raises:
        ConfigError: For every unknown flag, flag without its value, and stray word.
    """
    paths, values, origins, faults, strays = [], {}, {}, [], []
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            if word.endswith(YAML_SUFFIXES):
                paths.append(word)
            else:
                strays.append(("", f"unexpected argument {word!r}; expected CONFIG.yaml files, then --name value"))
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        origins[name] = f"--{name}"
        setting = SETTINGS.get(name)
        may_stand_alone = setting is None or setting.kind is bool
        nothing_follows = not words or words[0].startswith("--")
        if equals:
            values[name] = value
        elif setting is not None and setting.many:
            values[name] = []
            while words and not words[0].startswith("--") and not words[0].endswith(YAML_SUFFIXES):
                values[name].append(words.pop(0))
        elif may_stand_alone and (nothing_follows or words[0].endswith(YAML_SUFFIXES)):
            values[name] = "True"
        elif nothing_follows:
            faults.append((name, f"{name} has no value, expected {setting.expected}"))
        else:
            values[name] = words.pop(0)
    faults += strays
    if faults:
        raise ConfigError(faults, origins)
    return paths, values, origins


def load_config(
    path: str | Path | Sequence[str | Path] | None = None, overrides: Mapping[str, Any] | Sequence[str] = ()
) -> RunConfig:
    """Builds the settings of a run: defaults, then the YAML files in their order, then the overrides.

    Args:
        path: YAML file, several of them (a model's and a data set's, say; the later one wins), or None.
        overrides: Values by name, or command-line words, which may name further YAML files.

    Returns:
        The checked settings. `notes` tells what became of published flags.

    Raises:
        ConfigError: Naming the file and line, or the flag, of every fault.
        SystemExit: With status 0 after printing `help_text`, where the words ask for it.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path or ())
    if isinstance(overrides, Mapping):
        flags, flag_origins = dict(overrides), {}
    else:
        if "-h" in overrides or "--help" in overrides:
            print(help_text(), end="")
            raise SystemExit(0)
        named, flags, flag_origins = read_flags(overrides)
        paths += named

    # Renamed source by source: a flag overrides a key of a file under either name, but both names at once in one
    # source are a contradiction.
    values, origins, notes, faults = {}, {}, [], []
    for given, where in [*map(read_yaml, paths), (flags, flag_origins)]:
        renamed, said, wrong = _rename(given, where)
        values, origins = {**values, **renamed}, {**origins, **where}
        notes, faults = notes + said, faults + wrong
    if not faults:
        try:
            settings, faults = _freeze(values)
        except ValueError as error:
            faults = [("freeze", str(error))]
    if faults:
        raise ConfigError(faults, origins)
    try:
        return RunConfig(**settings, notes=tuple(notes))
    except ConfigError as error:
        raise ConfigError(error.faults, origins) from None


def help_text(prog: str = "roc finetune") -> str:
    """The reference of the command line: usage, an example, and every setting with its meaning and default."""
    lines = [
        f"usage: {prog} [CONFIG.yaml ...] [--name value ...]",
        "",
        "Trains a multimodal model with the score head on rated images, evaluates it and saves it.",
        "",
        f"example: {prog} configs/finetune.yaml --data_path ratings.csv --image_folder photos \\",
        "             --min_score 1 --max_score 5 --output_dir checkpoints/mine",
        "",
        "Of several files a later one wins, and flags win over all. - and _ are the same in names; lists take several",
        "words, or commas.",
        "The same command again resumes an unfinished run. Exit status: 0 done, 2 bad input.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"{title}: {group.__doc__}"]
        for setting in (entry for entry in SETTINGS.values() if entry.group is group):
            default = ", ".join(setting.default) if setting.many else setting.default
            if default is None:
                default = "auto" if setting.kind is bool else "none"
            lines.append(f"  --{setting.name}")
            choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
            text = f"{setting.help}{choices} [{default if default != '' else 'none'}]"
            lines += textwrap.wrap(text, width=100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines) + "\n"
