"""The settings of the stages of `roc relative train`; they need neither torch nor numpy.

The first two stages are training runs as those of `roc finetune`, the third one is reinforcement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from roc.policy.config import NOT_HERE, OF_THE_CHECKPOINT, PolicyConfig
from roc.settings import ConfigError, Fault, option, read_sources, settings_of
from roc.training.config import RunConfig
from roc.training.error_aware_config import ErrorAwareConfig
from roc.training.mixing_config import MixingConfig
from roc.training.pair_config import PairConfig

UNUSED = (
    *("host", "tiny_model", "attributes", "attribute_ranges", "published_losses", "ce_weight", "emd_weight"),
    *("demo_train", "demo_val", "demo_test", "demo_size", "keep_features", "features_folder"),
    *settings_of(ErrorAwareConfig),
    *settings_of(MixingConfig),
    *settings_of(PairConfig),
)
"""Settings of `roc finetune` that the first two stages do not have."""


@dataclass(frozen=True)
class StageConfig(RunConfig):
    """Settings that differ from those of `roc finetune`: scores lie on 0..10, as a build writes them."""

    TITLE = "stage"

    min_score: float = option(0.0, "lowest score of the scale of the anchors")
    max_score: float = option(10.0, "highest score of that scale")

    def faults(self) -> list[Fault]:
        """Finds what is missing, and settings of `roc finetune` that have no place here."""
        settings = settings_of(RunConfig)
        found = [
            (name, f"{name} is {getattr(self, name)!r}, but the stages of `roc relative train` have no such setting; "
            "leave it out")
            for name in UNUSED
            if getattr(self, name) != settings[name].default
        ]  # fmt: skip
        if self.data_path is None:
            found.append(("data_path", "data_path is missing; name the file of `roc relative build`: --data_path FILE"))
        if self.model_name_or_path is None and self.starter is None:
            told = "model_name_or_path is missing; name the model or the checkpoint of the stage before"
            found.append(("model_name_or_path", told))
        return found

    def without_effect(self) -> set[str]:
        """Names the settings that change nothing beside the others."""
        return {*super().without_effect(), *UNUSED}


@dataclass(frozen=True)
class PairsStage(StageConfig):
    """Edits: two pictures, or one and an instruction, and how much better the second is or will be."""

    TITLE = "stage 1"

    stage: Literal["pairs"] = option("pairs", "which stage: pairs, anchors or groups; the others have --help of theirs")
    edits_path: str | None = option(
        None, "edits that are only told, learnt beside the pairs of data_path: edits.jsonl of a build"
    )

    @property
    def data_files(self) -> tuple[str, ...]:
        """The files that the run learns from."""
        return tuple(path for path in (self.data_path, self.edits_path) if path is not None)

    def faults(self) -> list[Fault]:
        """Finds a file to validate on, which pairs bring along."""
        if self.eval_data_path is None:
            return []
        told = "eval_data_path is given, and this stage is validated on the pairs marked val; leave it out"
        return [("eval_data_path", told)]


@dataclass(frozen=True)
class AnchorsStage(StageConfig):
    """Anchors: some photos with their score."""

    TITLE = "stage 2"

    stage: Literal["anchors"] = option("anchors", "which stage")


@dataclass(frozen=True)
class GroupsStage(PolicyConfig):
    """Groups: photos with their edits, reinforced by whether the scores stand as the deltas say."""

    TITLE = "stage 3"

    stage: Literal["groups"] = option("groups", "which stage")
    anchors_path: str | None = option(None, "photos with a score: anchors.jsonl of a build, or the same with words")
    with_anchors: bool = option(
        True,
        "the photos of anchors_path go along in every step, as groups of one; without them mean and width of the "
        "scores are lost",
    )
    calibrate: Literal["critique", "short", "never"] = option(
        "critique",
        "fit a line on anchors_path in the end and have every score corrected by it: on scores read behind critiques, "
        "or on those of one forward pass",
    )
    rewards: tuple[Literal["rank", "error", "binary", "format", "relative", "relative_soft"], ...] = option(
        ("relative", "format"),
        "what an answer is rewarded for, each with weight 1: relative (consistent in its group) or relative_soft (the "
        "same by its spread), format (can be read); of anchors also rank, error and binary",
    )
    reasoning_tokens: int = option(1024, "longest answer in tokens, in sampling, validation and tests", low=8)

    @property
    def data_files(self) -> tuple[str, ...]:
        """The files that the run learns from and is validated on."""
        return (*super().data_files, *([] if self.anchors_path is None else [self.anchors_path]))

    def faults(self) -> list[Fault]:
        """Finds anchors that are wanted and not named, named and not wanted, and rewards that need them."""
        found: list[Fault] = []
        wanted = [name for name, on in (("with_anchors", self.with_anchors), ("calibrate", self.calibrates)) if on]
        if wanted and self.anchors_path is None:
            told = " and ".join(f"{name} is {_word(getattr(self, name))}" for name in wanted)
            off = " ".join(f"--{name} {'false' if name == 'with_anchors' else 'never'}" for name in wanted)
            found.append(("anchors_path", f"{told}, and anchors_path is missing; give --anchors_path FILE, or {off}"))
        if not wanted and self.anchors_path is not None:
            told = "anchors_path is given, with_anchors is false and calibrate is never, so nothing would use it"
            found.append(("anchors_path", f"{told}; leave it out"))
        if not {"relative", "relative_soft"} & set(self.rewards):
            told = f"rewards is {', '.join(self.rewards)}, without relative or relative_soft, which groups are for"
            found.append(("rewards", f"{told}; name one of them"))
        if self.critiques_path is not None:
            told = "critiques_path is given, but the stages of `roc relative train` have no such setting; leave it out"
            found.append(("critiques_path", told))
        need = [name for name in ("rank", "error", "binary") if name in self.rewards]
        if need and not self.with_anchors:
            told = f"rewards names {', '.join(need)} and with_anchors is false, so no photo has a score"
            found.append(("rewards", f"{told}; leave it out"))
        return found

    @property
    def calibrates(self) -> bool:
        """Whether a line is fitted in the end."""
        return self.calibrate != "never"


def _word(value: Any) -> str:
    return "on" if value is True else str(value)


STAGES: Mapping[str, type[RunConfig]] = {"pairs": PairsStage, "anchors": AnchorsStage, "groups": GroupsStage}

HIDDEN: Mapping[str, frozenset[str]] = {
    "pairs": frozenset({*UNUSED, "eval_data_path"}),
    "anchors": frozenset(UNUSED),
    "groups": frozenset({*NOT_HERE, *OF_THE_CHECKPOINT}),
}
"""Stage -> settings that its help leaves out."""

KNOWN = {**settings_of(PairsStage), **settings_of(AnchorsStage), **settings_of(GroupsStage)}
"""All settings of all stages, to read `stage` out of files and flags."""


def stage_of(words: Sequence[str]) -> str | None:
    """Finds which stage a command line is about, in its files and flags; None where it names none.

    Raises:
        ConfigError: For a file or a word that cannot be read, or a stage that there is not.
    """
    found, origin = None, ""
    for source in read_sources(None, words, KNOWN):
        if "stage" in source.values:
            found, origin = source.values["stage"], source.origins.get("stage", "")
    if found is None or found in STAGES:
        return found
    told = f"stage is {found!r}, expected one of {', '.join(STAGES)}"
    raise ConfigError([("stage", told)], {"stage": origin} if origin else {})
