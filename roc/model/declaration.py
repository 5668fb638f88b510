"""The declaration of a score head: the section `roc` of a checkpoint's config.json, typed and checked.

`config.roc` itself stays plain JSON, because that is what `transformers` saves; this file alone knows its keys. Code
reads `model.declaration`, or `declaration_of(config)` where there is no model yet, and changes it in one way:

    declare(model, dataclasses.replace(model.declaration, dataset="KonIQ-10k"))

Older sections lack keys that were added later; these get the values that the older code implied. A later release may
add keys that change no score; they are kept and written again. A change in how a head is read raises `FORMAT`, and a
section of a higher format is refused. A section is written in the lowest format that can say it, so that older releases
read what they can.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roc import __version__
from roc.data.limits import FEWEST_PIXELS
from roc.model.calibration import Calibration
from roc.model.comparison import Comparison
from roc.model.personal import Personal
from roc.model.reference import Reference
from roc.model.scales import DataScale, find_scale
from roc.prompts import SCORE_TOKEN
from roc.prompts import answer as house_answer
from roc.prompts import question as house_question
from roc.score_space import ScoreSpace

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

FORMAT = 5
"""Highest version of the section's layout. 1: as at first, when it had no number. 2: with `max_pixels`. 3: with
`attribute_ranges`. 4: with a calibration that moves scores. 5: with `score_flip`."""

WEIGHTS = ("text_weight", "l1_weight", "ce_weight", "emd_weight")
PAIR_WEIGHTS = ("delta_weight", "rank_weight")
L1_SCALES = ("unit", "native")
ASPECT_RATIOS = ("keep", "pad")

PARTS = {"comparison": Comparison, "calibration": Calibration, "reference": Reference, "personal": Personal}
"""Keys of the section that hold a mapping of their own, written only where there is one."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Everything that is needed to read a score head, and how it was trained.

    Attributes:
        space: Range and levels of the scores. The common range is that of the first attribute; `attribute_ranges` holds
            those of the others that differ (`space.of(attribute)`).
        token_id: Vocabulary row of `token`.
        token: Word that stands in an answer where a score is.
        attributes: Names of the scores of an answer, in order, at least one.
        question: What is asked; given as None, the house wording for the attributes.
        answer: How the answer reads, one `token` per attribute; given as None, the house wording.
        reasoning: What is asked for a critique before the score (roc/model/reasoned.py), other words than `question`;
            None = the model does not reason.
        comparison: How it is asked about two pictures, with the range of its answer; None = it compares none.
        text_weight, l1_weight, ce_weight, emd_weight: Weights of the losses, >= 0.
        delta_weight, rank_weight: Weights of the losses on pairs, >= 0; 0 where it was not trained on pairs.
        l1_scale: Scale of the L1 loss: "unit" brings every range to the width 9, "native" leaves it, as published.
        published_losses: Whether the losses are those of the published code in every detail.
        image_aspect_ratio: "keep", or "pad" to a square with the mean colour first.
        max_pixels: Images of more pixels, padding included, are scaled down to this many first; None = they are not.
        score_flip: Whether scores are means over a picture and its mirror image (roc/model/mirror.py).
        prefix_lm: Whether the model reads the prompt in both directions (see `roc.model.families`).
        distribution_supervised: Whether distributions were trained; otherwise std and distribution are uncalibrated.
        dataset: Name of the training data; None = not named.
        base: Model that the head was attached to, as it was named; None = not known.
        tiny_model: Preset of `roc.demo.tiny_model` that the model was built from, "demo" or "photos", so that nothing
            pretrained is behind it; None for any other model.
        version: Release of roc that attached the head.
        calibration: What was fitted on held-out ratings after the training, by `roc calibrate`; None = nothing.
        reference: The scores of a set of photos to compare with, from `roc reference`; None = there is none.
        scales: Scales of the data sets that it was trained on together, that of the shared score first; empty where it
            was trained on one.
        personal: What the personal head was fitted on; None = the scores are those of the training.
        others: Keys of a later release, kept as they are.

    Raises:
        ValueError: If a value has the wrong type, lies outside its bounds, or contradicts another.
    """

    space: ScoreSpace
    token_id: int
    token: str = SCORE_TOKEN
    attributes: tuple[str, ...] = ("overall",)
    question: str | None = None
    answer: str | None = None
    reasoning: str | None = None
    comparison: Comparison | None = None
    text_weight: float = 1.0
    l1_weight: float = 1.0
    ce_weight: float = 0.0
    emd_weight: float = 0.0
    delta_weight: float = 0.0
    rank_weight: float = 0.0
    l1_scale: str = "unit"
    published_losses: bool = False
    image_aspect_ratio: str = "keep"
    max_pixels: int | None = None
    score_flip: bool = False
    prefix_lm: bool = False
    distribution_supervised: bool = False
    dataset: str | None = None
    base: str | None = None
    tiny_model: str | None = None
    version: str = __version__
    calibration: Calibration | None = None
    reference: Reference | None = None
    scales: tuple[DataScale, ...] = ()
    personal: Personal | None = None
    others: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.attributes, str):
            raise ValueError(f"attributes is the text {self.attributes!r}; expected a list of names")
        if not isinstance(self.attributes, list | tuple) or not all(isinstance(n, str) for n in self.attributes):
            raise ValueError(f"attributes is {self.attributes!r}; expected a list of names")
        object.__setattr__(self, "attributes", tuple(self.attributes))
        if not self.attributes or len(set(self.attributes)) != len(self.attributes):
            raise ValueError(f"attributes must be distinct names, at least one; got {list(self.attributes)}.")
        if self.question is None:
            object.__setattr__(self, "question", house_question(self.attributes))
        if self.answer is None:
            object.__setattr__(self, "answer", house_answer(self.attributes))
        object.__setattr__(self, "space", self.space.led_by(self.attributes))
        self._check_values()
        if not self.token:
            raise ValueError("token is empty; expected the word that stands where a score is")
        if self.answer.count(self.token) != len(self.attributes):
            raise ValueError(
                f"The answer holds {self.answer.count(self.token)} {self.token} for {len(self.attributes)} attributes "
                f"({', '.join(self.attributes)}); write one {self.token} for each, in that order. "
                f"Answer: {self.answer!r}."
            )
        self._check_reasoning()

    @property
    def reasons(self) -> bool:
        """Whether the model writes a critique before its score where it generates."""
        return self.reasoning is not None

    @property
    def answers_apart(self) -> bool:
        """Whether scores in generated answers are others than those of one forward pass by more than rounding.

        They are where words stand before them, and where only the fast path reads the mirror image too. Calibration and
        reference hold for the fast path alone.
        """
        return self.reasons or self.score_flip

    @property
    def stand_in(self) -> bool:
        """Whether the checkpoint is there to try the software with: the demo's small model, trained on anything."""
        return self.tiny_model == "demo" or "stand-in" in (self.dataset or "")

    def _check_calibration(self) -> None:
        affine = None if self.calibration is None else self.calibration.affine
        if affine is not None and set(affine.before) != set(self.attributes):
            raise ValueError(
                f"the affine calibration is of {', '.join(affine.before)}, but the attributes are "
                f"{', '.join(self.attributes)}"
            )

    def _check_scales(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        names = [scale.name for scale in self.scales]
        if len(set(names)) != len(names):
            raise ValueError(f"the scales are called {', '.join(names)}; expected distinct names")
        unknown = {name for scale in self.scales for name in scale.links} - set(self.attributes)
        if unknown:
            raise ValueError(
                f"there are links of {', '.join(sorted(unknown))}, but the attributes are {', '.join(self.attributes)}"
            )

    def _check_reasoning(self) -> None:
        if self.reasoning is None:
            return
        if not isinstance(self.reasoning, str) or not self.reasoning.strip():
            raise ValueError(
                f"reasoning is {self.reasoning!r}; expected the question that asks for a critique, or null"
            )
        if self.reasoning.strip() == self.question.strip():
            raise ValueError(
                f"question and reasoning are both {self.reasoning!r}; the words decide whether the model answers at "
                "once or thinks first, so they have to differ: give another question"
            )
        if len(self.attributes) > 1:
            raise ValueError(
                f"reasoning is given for {len(self.attributes)} attributes ({', '.join(self.attributes)}); an answer "
                "with a critique holds one score, so give one attribute"
            )

    def _check_values(self) -> None:
        if not isinstance(self.token_id, int) or isinstance(self.token_id, bool) or self.token_id < 0:
            raise ValueError(f"token_id is {self.token_id!r}; expected the row of {self.token}, 0 or above")
        for name in (*WEIGHTS, *PAIR_WEIGHTS):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} is {value!r}; expected a number of at least 0")
        for name, choices in (("l1_scale", L1_SCALES), ("image_aspect_ratio", ASPECT_RATIOS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        limit = self.max_pixels
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < FEWEST_PIXELS):
            raise ValueError(f"max_pixels is {limit!r}; expected a whole number of at least {FEWEST_PIXELS}, or null")
        for name in ("published_losses", "score_flip", "prefix_lm", "distribution_supervised"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected true or false")
        for name in ("token", "question", "answer", "version"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected text")
        self._check_calibration()
        self._check_scales()
        for name in ("dataset", "base", "tiny_model"):
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected text or null")

    @property
    def spaces(self) -> tuple[ScoreSpace, ...]:
        """Range and levels of each attribute, in their order."""
        return tuple(map(self.space.of, self.attributes))

    @property
    def rating_space(self) -> ScoreSpace:
        """The ranges that people rate on: those of `space` unless scores were moved onto the scale of other raters."""
        affine = None if self.calibration is None else self.calibration.affine
        if affine is None:
            return self.space
        first, *others = self.attributes
        ranges = {name: affine.ratings.get(name, self.space.of(name).range) for name in self.attributes}
        low, high = ranges[first]
        own = {name: ranges[name] for name in others}
        return dataclasses.replace(self.space, min_score=low, max_score=high, attribute_ranges=own)

    def scale(self, name: str, where: str) -> DataScale:
        """Finds the scale of one of the data sets that the model was trained on together.

        Args:
            name: Of the data set.
            where: Name of the model, for messages.

        Raises:
            ValueError: If there is none of this name, or a temperature has moved the scores that it was learnt for.
        """
        found = find_scale(self.scales, name, where)
        if self.temperature != 1:
            raise ValueError(
                f"the scale {name!r} of {where} was learnt for its scores as trained, which a temperature of "
                f"{self.temperature:g} has moved since; roc calibrate --remove takes that back"
            )
        return found

    @property
    def temperature(self) -> float:
        """What the logits of the levels are divided by; 1 = they are as trained."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    def uncalibrated(self) -> Declaration:
        """Gives the declaration as it was before `roc calibrate` and `roc reference`, on the range of the training."""
        if self.calibration is None and self.reference is None:
            return self
        affine = None if self.calibration is None else self.calibration.affine
        space = self.space
        if affine is not None:
            first, *others = self.attributes
            low, high = affine.before[first]
            own = {name: affine.before[name] for name in others}
            space = dataclasses.replace(space, min_score=low, max_score=high, attribute_ranges=own)
        return dataclasses.replace(self, space=space, calibration=None, reference=None)

    @property
    def num_levels(self) -> int:
        """Number N of levels, the rows of the head."""
        return self.space.num_levels

    def to_dict(self) -> dict[str, Any]:
        """The section `roc` of config.json: flat, and JSON can hold it."""
        own = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        del own["space"], own["others"]
        for name in ("tiny_model", "reasoning"):
            if getattr(self, name) is None:
                del own[name]
        for name in (*PAIR_WEIGHTS, "score_flip"):
            if not getattr(self, name):
                del own[name]
        for name in PARTS:
            part = own.pop(name)
            if part is not None:
                own[name] = part.to_dict()
        del own["scales"]
        if self.scales:
            own["scales"] = [scale.to_dict() for scale in self.scales]
        own["attributes"] = list(self.attributes)
        written = 3 if self.space.attribute_ranges else 2 if self.max_pixels is not None else 1
        if self.calibration is not None and self.calibration.moves_scores:
            written = 4
        if self.score_flip:
            written = 5
        if self.max_pixels is None:
            del own["max_pixels"]
        return {"format": written, **own, **self.space.to_dict(), **self.others}

    @classmethod
    def from_dict(cls, section: Mapping[str, Any]) -> Declaration:
        """Reads a section `roc`, of this release or an older one.

        Args:
            section: What `to_dict` wrote, or `config.roc` of a checkpoint.

        Raises:
            ValueError: If it is no mapping, its format is newer than this release, the range or the token's id is
                missing, or a value cannot be.
        """
        if not isinstance(section, Mapping):
            raise ValueError(f"config.roc is {section!r}; expected what `roc attach` writes, a mapping")
        values = dict(section)
        written = values.pop("format", 1)
        if not isinstance(written, int) or written > FORMAT:
            raise ValueError(
                f"config.roc has format {written}, written by roc {values.get('version', 'of another version')}; roc "
                f"{__version__} reads formats up to {FORMAT}. Update it: pip install --upgrade roc-mllm"
            )
        if "token_id" not in values:
            raise ValueError(f"config.roc names no token_id, the row of {values.get('token', SCORE_TOKEN)}")
        space = ScoreSpace.from_dict(values)
        for entry in dataclasses.fields(ScoreSpace):
            values.pop(entry.name, None)
        own = {entry.name for entry in dataclasses.fields(cls)} - {"space", "others"}
        others = {name: value for name, value in values.items() if name not in own}
        for name, kind in PARTS.items():
            if values.get(name) is not None:
                values[name] = kind.from_dict(values[name])
        values["scales"] = tuple(map(DataScale.from_dict, values.get("scales") or ()))
        return cls(space=space, others=others, **{name: values[name] for name in own if name in values})


def declares_head(config: PreTrainedConfig) -> bool:
    """Tells whether the model of this configuration carries a score head."""
    return getattr(config, "roc", None) is not None


def declaration_of(config: PreTrainedConfig) -> Declaration:
    """Reads what a configuration declares.

    Raises:
        ValueError: If it declares no head, or as `Declaration.from_dict`.
    """
    if not declares_head(config):
        raise ValueError(f"this {config.model_type} model carries no score head: its config.json has no 'roc' section")
    # A model's declaration is read several times in every forward pass; a section that did not change is parsed once.
    section = config.roc
    if not isinstance(section, Mapping):
        return Declaration.from_dict(section)
    if any(section.get(name) is not None for name in (*PARTS, "scales")):
        try:
            return _parsed_text(json.dumps(dict(section)))
        except TypeError:  # no JSON
            return Declaration.from_dict(section)
    items = tuple((name, _hashable(name, value)) for name, value in section.items())
    try:
        hash(items)
    except TypeError:  # nested
        return Declaration.from_dict(section)
    return _parsed(items)


def _hashable(name: str, value: Any) -> Any:
    """Turns a list into a tuple, and ranges by attribute into a tuple of their entries; `dict` turns it back."""
    if name == "attribute_ranges" and isinstance(value, Mapping):
        return tuple((attribute, tuple(ends) if isinstance(ends, list) else ends) for attribute, ends in value.items())
    return tuple(value) if isinstance(value, list) else value


@functools.lru_cache(maxsize=64)
def _parsed(items: tuple[tuple[str, Any], ...]) -> Declaration:
    return Declaration.from_dict(dict(items))


@functools.lru_cache(maxsize=16)
def _parsed_text(section: str) -> Declaration:
    return Declaration.from_dict(json.loads(section))


def declare(model: PreTrainedModel, declaration: Declaration) -> None:
    """Makes a model declare this from now on; it is saved with its configuration.

    Args:
        model: Carries the head, or is about to; PEFT may wrap it.
        declaration: Mostly `dataclasses.replace(model.declaration, ...)`.
    """
    from roc.model.head import ScoreHead

    model.config.roc = declaration.to_dict()
    for module in model.modules():
        if isinstance(module, ScoreHead):
            module.temperature = declaration.temperature
