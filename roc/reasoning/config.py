"""The settings of `roc reasoning corpus`, `convert` and `show`; they need neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from roc.endpoints.options import EndpointOptions
from roc.score_space import ScoreSpace
from roc.settings import REQUIRED, Fault, Settings, option

WITHOUT_MODEL = ("embedded", "measured")
"""Authors that need no model."""
AUTHORS = (*WITHOUT_MODEL, "chat:MODEL", "transformers:PATH")
"""How an author is named on a command line."""


@dataclass(frozen=True, kw_only=True)
class ScaleOptions(Settings):
    """The scale that the photos were rated on; it decides which scores are bad, fair and good."""

    min_score: float = option(1.0, "lowest score of the scale the data is rated on")
    max_score: float = option(10.0, "highest score of that scale")
    image_folder: str | None = option(
        None, "folder that the image paths start from", metavar="DIR", unset="that of the data file"
    )

    @property
    def space(self) -> ScoreSpace:
        """The scale as one value."""
        return ScoreSpace(self.min_score, self.max_score)

    def faults(self) -> list[Fault]:
        """Finds an empty range."""
        if self.min_score < self.max_score:
            return []
        return [("max_score", f"max_score is {self.max_score:g}, expected more than min_score, {self.min_score:g}")]


@dataclass(frozen=True, kw_only=True)
class AuthorOptions(EndpointOptions):
    """Who writes and who judges, how they are asked, and what it costs."""

    writer: str = option(
        "embedded",
        f"who writes: {', '.join(AUTHORS)}; embedded knows the demo's scenes alone, measured says what can be measured "
        "of the pixels of any photo",
    )
    judge: str | None = option(None, "who judges, named in the same way", unset="the writer")
    judge_url: str | None = option(None, "address of the judge's chat endpoint", unset="base_url")
    judge_key_variable: str | None = option(
        None,
        "environment variable that holds the key of the judge's endpoint",
        unset="key_variable where the judge is on the writer's host; on another host no key is sent",
    )
    temperature: float | None = option(
        1.0, "randomness of the writer; judges are asked with 0 first; none leaves it to the model", low=0
    )
    device: str | None = option(
        None, "device of a local model, such as cuda:0 or cpu", unset="the best there is", matters=False
    )
    price_in: float = option(0.0, "price of a million tokens read by the writer", low=0, matters=False)
    price_out: float = option(0.0, "price of a million tokens written by the writer", low=0, matters=False)
    judge_price_in: float | None = option(None, "the same for the judge", low=0, unset="price_in", matters=False)
    judge_price_out: float | None = option(None, "the same for the judge", low=0, unset="price_out", matters=False)

    def faults(self) -> list[Fault]:
        """Finds authors that nobody knows, and endpoints where none is asked."""
        found = []
        for name, value in (("writer", self.writer), ("judge", self.judge)):
            kind, _, model = (value or "embedded").partition(":")
            if kind not in (*WITHOUT_MODEL, "chat", "transformers") or (kind in WITHOUT_MODEL) == bool(model):
                found.append((name, f"{name} is {value!r}, expected one of {', '.join(AUTHORS)}"))
        kinds = {value.partition(":")[0] for value in (self.writer, self.judge) if value}
        for name in ("base_url", "judge_url"):
            if getattr(self, name) is not None and "chat" not in kinds:
                found.append((name, f"{name} is given, but nobody is asked there; give --writer chat:MODEL"))
        if self.judge_key_variable is not None and not (self.judge or self.writer).startswith("chat:"):
            found.append(("judge_key_variable", "judge_key_variable is given, but the judge is no chat:MODEL"))
        return found


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(ScaleOptions, AuthorOptions):
    """The photos that are written about, and the texts that are kept."""

    data_path: str = option(REQUIRED, "file of rated photos, see roc data check --help", metavar="FILE")
    out: str = option(REQUIRED, "corpus to write; its other files lie beside it", metavar="FILE.jsonl")
    split: tuple[Literal["train", "val"], ...] = option(
        ("train",), "splits of the file to write about; never test, as the score is known to the writer"
    )
    count: int | None = option(
        None, "texts in all; a larger one later goes on from there", low=1, unset="as many as the photos give"
    )
    balance: Literal["equal", "none"] = option("equal", "equal: as many texts of bad as of fair and good photos")
    attempts: int = option(2, "texts written about a photo until one is kept", low=1)
    seed: int = option(0, "chooses and orders the photos", low=0)
    overwrite: bool = option(False, "start anew: forget what was written before")

    def faults(self) -> list[Fault]:
        """Finds an unusable name of the output, no split, and a count that cannot be balanced."""
        found = []
        if not self.out.lower().endswith(".jsonl"):
            found.append(("out", f"out is {self.out!r}, expected a name that ends in .jsonl"))
        if not self.split:
            found.append(("split", "split is empty, expected train, val or both"))
        if self.balance == "equal" and self.count is not None and self.count % 3:
            near = max(3, round(self.count / 3) * 3)
            found.append(
                ("count", f"count is {self.count}, expected a multiple of 3 for balance equal, such as {near}")
            )
        return found


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(ScaleOptions):
    """A file of critiques that others wrote, and the corpus it becomes."""

    file: str = option(REQUIRED, "file of critiques: .jsonl, .json, .csv or .parquet", positional=True, metavar="FILE")
    out: str = option(REQUIRED, "corpus to write", metavar="FILE.jsonl")
    min_score: float = option(0.0, "lowest score of the scale that its answers are on")
    max_score: float = option(1.0, "highest score of that scale")
    overwrite: bool = option(False, "replace the corpus that is there")

    def faults(self) -> list[Fault]:
        """Finds an unusable name of the output."""
        if self.out.lower().endswith(".jsonl"):
            return []
        return [("out", f"out is {self.out!r}, expected a name that ends in .jsonl")]


@dataclass(frozen=True, kw_only=True)
class ShowOptions(ScaleOptions):
    """The corpus to look at."""

    file: str = option(REQUIRED, "a corpus", positional=True, metavar="CORPUS.jsonl")
    html: str | None = option(None, "page of samples to write", metavar="FILE.html")
    n: int = option(24, "samples on the page: kept texts, a third of each tier; as many rejected ones at most", low=3)
