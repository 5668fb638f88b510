"""The settings of `roc relative build`; they need neither numpy nor torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from roc.endpoints.options import EndpointOptions
from roc.scoring.options import EngineOptions
from roc.settings import REQUIRED, Fault, Settings, option

CATEGORIES = (
    *("exposure", "contrast", "white_balance", "saturation", "blur", "sharpening"),
    *("noise", "vignette", "tilt", "framing", "compression", "clutter"),
)
"""Kinds of edits of the embedded editor."""

EMBEDDED = "embedded"
"""The editor that needs no model."""

EDITORS = (EMBEDDED, "diffusers:PIPELINE", "images:MODEL[@URL]")
"""How an editor is named on a command line."""

JUDGES = ("embedded", "embedded:SPREAD", "roc:CHECKPOINT", "chat:MODEL[@URL]")
"""How a judge is named on a command line."""

VOTERS = ("roc:CHECKPOINT", "chat:MODEL[@URL]")
"""How a scorer of photos is named on a command line."""

LARGEST_GROUP = 8
"""A source and its edits."""

_VOTES = re.compile(r"(?P<file>.+?)(?:=(?P<low>-?[\d.]+):(?P<high>-?[\d.]+))?")


@dataclass(frozen=True, kw_only=True)
class VoteOptions(Settings):
    """How good the photos are: scorers' votes, and the photos whose score anchors the scale."""

    votes: tuple[str, ...] = option(
        (),
        "tables with votes on the photos: columns image and prediction or score; =LOW:HIGH behind a name is its range, "
        "else 0:10. A column split decides the split of its photos",
        metavar="FILE[=LOW:HIGH]",
        commas=False,
    )
    voters: tuple[str, ...] = option(
        (), f"models that vote on the photos, beside the tables: {', '.join(VOTERS)}", metavar="NAME"
    )
    vote_columns: tuple[str, ...] | None = option(
        None, "columns of these tables that hold a scorer's votes each", unset="prediction, else score"
    )
    consensus: Literal["mad", "biweight"] = option(
        "mad", "mad: the mean of the votes near the median; biweight: a mean in which far votes weigh less"
    )
    cutoff: float = option(
        3.5, "for mad: a vote farther from the median is left out; usual are 2.5, 3 and 3.5", above=0
    )
    fewest_votes: int = option(3, "votes that a photo needs after that", low=1)
    anchors: int = option(200, "photos whose score is taught, in equal numbers from ten parts of the scale", low=0)

    def faults(self) -> list[Fault]:
        """Finds voters that nobody knows, tables whose range is empty, and columns without a table."""
        found = []
        for name in self.voters:
            if not is_model(name):
                found.append(("voters", f"voters has {name!r}, expected some of {', '.join(VOTERS)}"))
        for name in self.votes:
            _, low, high = vote_table(name)
            if low >= high:
                found.append(("votes", f"votes has {name}, expected a range whose first number is the lower one"))
        if self.vote_columns is not None and not self.votes:
            found.append(("vote_columns", "vote_columns is given, but no table; give --votes FILE"))
        return found


def vote_table(name: str) -> tuple[str, float, float]:
    """Splits `FILE=LOW:HIGH` into its parts; the range is 0..10 where none is given."""
    match = _VOTES.fullmatch(name)
    if match is None or match["low"] is None:
        return name, 0.0, 10.0
    return match["file"], float(match["low"]), float(match["high"])


@dataclass(frozen=True, kw_only=True)
class EditOptions(Settings):
    """What is done to the photos."""

    editors: tuple[str, ...] = option(
        ("embedded",),
        f"who edits, one of them at random for each edit: {', '.join(EDITORS)}; embedded needs no model, a PIPELINE is "
        "a folder, a hub id, flux_kontext, qwen_image_edit, longcat_image_edit or instruct_pix2pix",
        metavar="NAME",
    )
    edits: int = option(7, "edits of each photo; with the photo itself they are a group", low=1, high=LARGEST_GROUP - 1)
    categories: tuple[str, ...] = option(CATEGORIES, "kinds of edits of the embedded editor", metavar="NAME")
    weakest: float = option(0.2, "smallest strength of an embedded edit", above=0, high=1)
    strongest: float = option(1.0, "largest strength of an embedded edit", above=0, high=1)
    damaged: float = option(
        0.5,
        "share of the photos that the embedded editor damages first and repairs by one of their edits, so that there "
        "are edits for the better; none where any other editor is named",
        low=0,
        high=1,
    )
    instructions: str = option(
        "list", "what editors other than embedded are told: list, or chat:MODEL[@URL], which looks at the photo"
    )
    checker: str | None = option(
        None, "chat:MODEL[@URL] that checks their edits before they are judged", unset="no edit is checked"
    )
    quality: float = option(5.0, "smallest quality that such an edit needs", low=0, high=10)
    steps: int | None = option(None, "denoising steps of a pipeline", low=1, unset="the pipeline's own number")
    send_seed: bool = option(False, "send the seed to image-edit endpoints too, for those that take one")
    side: int = option(768, "longest side of the pictures that are written, in pixels; smaller ones stay", low=32)

    def faults(self) -> list[Fault]:
        """Finds editors and kinds of edits that nobody knows, and an empty range of strengths."""
        found = []
        for name in self.editors:
            kind, _, rest = name.partition(":")
            if name != EMBEDDED and not (kind in ("diffusers", "images") and rest):
                found.append(("editors", f"editors has {name!r}, expected some of {', '.join(EDITORS)}"))
        if len(set(self.editors)) < len(self.editors):
            found.append(("editors", f"editors is {', '.join(self.editors)}, expected each of them once"))
        if self.instructions != "list" and not is_chat(self.instructions):
            expected = "expected list or chat:MODEL[@URL]"
            found.append(("instructions", f"instructions is {self.instructions!r}, {expected}"))
        if self.checker is not None and not is_chat(self.checker):
            found.append(("checker", f"checker is {self.checker!r}, expected chat:MODEL[@URL]"))
        if set(self.editors) == {EMBEDDED}:
            given = {"instructions": self.instructions != "list", "checker": self.checker is not None}
            found += [
                (name, f"{name} is for editors that follow words; name one by --editors, or leave it out")
                for name, there in given.items()
                if there
            ]
        if not self.editors:
            found.append(("editors", f"editors is empty, expected some of {', '.join(EDITORS)}"))
        if unknown := [name for name in self.categories if name not in CATEGORIES]:
            found.append(("categories", f"categories has {unknown[0]!r}, expected some of {', '.join(CATEGORIES)}"))
        if not self.categories:
            found.append(("categories", f"categories is empty, expected some of {', '.join(CATEGORIES)}"))
        if self.weakest > self.strongest:
            found.append(("strongest", f"strongest is {self.strongest:g}, expected {self.weakest:g} (weakest) or more"))
        return found


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(Settings):
    """Who judges the edits."""

    judges: tuple[str, ...] = option(
        ("embedded",),
        f"who judges, each of them each pair in both orders: {', '.join(JUDGES)}; embedded knows what the embedded "
        "editor did, with SPREAD it errs by so many points",
    )
    patience: float = option(
        120.0, "minutes for which an endpoint may answer nobody until the run ends", low=0, matters=False
    )
    device: str | None = option(
        None, "device of checkpoints and pipelines: cuda, mps or cpu", unset="the first there is", matters=False
    )
    dtype: Literal["float32", "bfloat16", "float16", "float8", "int8"] | None = option(
        None,
        "number format of checkpoints and pipelines; float8 and int8 are for checkpoints alone",
        unset="bfloat16 where hardware multiplies it, else float32",
    )
    batch_size: int | None = option(
        None, "pictures per forward pass of a checkpoint", low=1, unset="found while scoring", matters=False
    )

    def faults(self) -> list[Fault]:
        """Finds judges that nobody knows, and one that is named twice."""
        found = []
        for name in self.judges:
            if not is_judge(name):
                found.append(("judges", f"judges has {name!r}, expected some of {', '.join(JUDGES)}"))
        if not self.judges:
            found.append(("judges", f"judges is empty, expected some of {', '.join(JUDGES)}"))
        if len(set(self.judges)) < len(self.judges):
            found.append(("judges", f"judges is {', '.join(self.judges)}, expected each of them once"))
        return found


def with_pipeline(editors: Sequence[str]) -> list[str]:
    """Picks the editors that are pipelines of `diffusers`."""
    return [name for name in editors if name.startswith("diffusers:")]


def is_judge(name: str) -> bool:
    """Tells whether a name is that of a judge."""
    kind, colon, spread = name.partition(":")
    if kind != "embedded":
        return is_model(name)
    try:
        return not colon or 0 <= float(spread) <= 10
    except ValueError:
        return False


def is_model(name: str) -> bool:
    """Tells whether a name is that of a checkpoint or of a model behind an endpoint."""
    kind, _, rest = name.partition(":")
    return kind in ("roc", "chat") and bool(rest)


def is_chat(name: str) -> bool:
    """Tells whether a name is that of a model behind a chat endpoint."""
    return name.startswith("chat:") and is_model(name)


def chat_name(name: str) -> tuple[str, str | None]:
    """Splits `chat:MODEL@URL` or `images:MODEL@URL` into model and address; None where the name has no address."""
    rest = name.partition(":")[2]
    model, at, url = rest.rpartition("@")
    return (model, url) if at and url.startswith(("http://", "https://")) else (rest, None)


@dataclass(frozen=True, kw_only=True)
class BuildOptions(VoteOptions, EditOptions, JudgeOptions, EngineOptions, EndpointOptions):
    """The photos, and where the records go."""

    sources: tuple[str, ...] = option(
        REQUIRED, "photos to edit: folders, files, patterns, lists, tables", positional=True, metavar="SOURCE"
    )
    out: str = option(REQUIRED, "folder of the records; the same command goes on in it", metavar="DIR")
    column: str = option("image", "in a table of photos, the column that holds the paths", metavar="NAME")
    image_folder: str | None = option(
        None, "where relative paths in lists and tables start from", metavar="DIR", unset="the folder of the list"
    )
    count: int | None = option(
        None, "photos to edit, with votes in equal numbers from ten parts of the scale", low=1, unset="all"
    )
    val: float = option(0.1, "share of the photos to validate on", low=0, below=1)
    test: float = option(0.1, "share of the photos to test on", low=0, below=1)
    seed: int = option(0, "chooses photos, edits and strengths", low=0)
    workers: int | None = option(
        None, "pictures that are worked on at the same time", low=1, unset="as many as there are cores", matters=False
    )
    samples: int = option(24, "pairs on the page", low=1, matters=False)
    retry_failed: bool = option(False, "try again what failed before")
    overwrite: bool = option(False, "start anew: forget what was done before")

    def faults(self) -> list[Fault]:
        """Finds shares that leave nothing to train on, a judge that knows nothing of an editor, a format that pipelines
        do not have, and a cluster without work."""
        found = []
        if self.val + self.test >= 1:
            told = f"val and test are {self.val:g} and {self.test:g}, expected less than 1 together"
            found.append(("test", told))
        if self.dtype in ("float8", "int8") and (pipelines := with_pipeline(self.editors)):
            told = f"dtype is {self.dtype}, which {pipelines[0]} cannot use; expected float32, bfloat16 or float16"
            found.append(("dtype", told))
        blind = [name for name in self.judges if name.partition(":")[0] == EMBEDDED]
        if blind and set(self.editors) != {EMBEDDED}:
            told = f"judges has {blind[0]}, which knows only what the embedded editor did; name others by --judges"
            found.append(("judges", told))
        models = [
            name for name in (*self.editors, *self.judges, *self.voters) if name.startswith(("diffusers:", "roc:"))
        ]
        if self.engine == "ray" and not models:
            told = "engine is ray, but neither a pipeline nor a checkpoint is named, so nothing would run there"
            found.append(("engine", f"{told}; leave it out"))
        return found
