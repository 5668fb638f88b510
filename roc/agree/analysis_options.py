"""The options of `roc agree analyse`; light, so that `--help` needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from roc.settings import REQUIRED, Fault, Settings, option


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions(Settings):
    """Runs, the table of sensitivities, and what is computed."""

    runs: tuple[str, ...] = option(
        REQUIRED,
        "baselines: folders of `roc finetune` or `roc evaluate`, or files of predictions, of the same photos",
        positional=True,
        metavar="RUN",
        commas=False,
    )
    out: str = option(REQUIRED, "folder for analysis.json, photos.csv, plots and report.html", metavar="DIR")
    improved: tuple[str, ...] = option(
        (),
        "runs with AGREE, one for each baseline and in their order",
        metavar="RUN",
        commas=False,
        unset="none",
    )
    hard_from: tuple[str, ...] = option(
        (),
        "runs whose common errors define the hard photos; other seeds than those compared",
        metavar="RUN",
        commas=False,
        unset="the baselines",
    )
    share: float = option(0.25, "share of photos that count as the largest errors of a run", above=0, high=1)
    table: str | None = option(
        None, "table of `roc agree sensitivity`; without it errors alone are compared", metavar="FILE"
    )
    published: bool = option(False, "take the weights of Eq. 6 as published, not divided by the medians first")
    data_path: str | None = option(
        None, "data file whose training rows give gradients and frequencies", metavar="FILE", unset="the first run's"
    )
    image_folder: str | None = option(
        None, "folder that its image paths start from", metavar="DIR", unset="that of data_path"
    )
    gradients: bool = option(True, "compute no gradients; needs no checkpoint")
    over_training: bool = option(True, "leave out the saved states of the runs, one more pass over the photos each")
    part: Literal["language", "vision"] | None = option(
        None, "tower whose last block the gradients are of", unset="the language model"
    )
    photos: int = option(64, "most photos for each attribute", low=2)
    fewest: int = option(32, "attributes that fewer training photos lean on have no gradient", low=2)
    tolerance: float = option(0.0, "a pair conflicts if its cosine is below minus this", low=0, high=1)
    n_resamples: int = option(1000, "bootstrap resamples; 0 for no intervals", low=0)
    seed: int = option(0, "seed of the bootstrap and of the choice of photos", low=0)
    device: str | None = option(None, "cuda, mps or cpu", unset="the first there is")

    def faults(self) -> list[Fault]:
        """Finds improved runs that are not one for each baseline, and options that need another."""
        found: list[Fault] = []
        if self.improved and len(self.improved) != len(self.runs):
            found.append(
                (
                    "improved",
                    f"there are {len(self.improved)} improved runs for {len(self.runs)} baselines; give one for "
                    "each, in their order",
                )
            )
        if both := {os.path.realpath(run) for run in self.runs} & {os.path.realpath(run) for run in self.improved}:
            found.append(("improved", f"{sorted(both)[0]} is a baseline too; name another run"))
        if self.photos < self.fewest:
            found.append(("photos", f"photos is {self.photos}, fewer than fewest {self.fewest}; give at least as many"))
        if self.table is None and self.published:
            found.append(("published", "published says how the table is read; give --table too"))
        return found
