"""Settings of a run that learns from several data sets together, each rated on a scale of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from roc.score_space import REWARD_SCALES, Range
from roc.settings import Fault, Settings, option

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_DATA_SET = re.compile(rf"([^=]+)=({_NUMBER}):({_NUMBER}):(.+)")
_BRACKETS = set("/\\[]<>|,")


class DataSet(NamedTuple):
    """One of the data sets that a run learns from.

    Attributes:
        name: By which it is called everywhere.
        range: Its lowest and highest rating.
        path: Its records.
        image_folder: Folder that its images start from; None = that of `path`.
    """

    name: str
    range: Range
    path: str
    image_folder: str | None = None


@dataclass(frozen=True)
class MixingConfig(Settings):
    """Data sets that are rated on different scales, learnt together."""

    TITLE = "several data sets"

    mix: tuple[str, ...] = option(
        (),
        "data sets to train on together, in place of data_path: NAME=LOWEST:HIGHEST:FILE each, with the ends of the "
        "scale it is rated on. The shared score is on the scale of the first (docs/mixing.md)",
        commas=False,
    )
    mix_folders: tuple[str, ...] = option(
        (), "folders of their images, NAME=FOLDER each, for those that are not image_folder", commas=False
    )
    link_pieces: int = option(
        8, "straight pieces of the rising line from the shared score to a data set's scale", low=1
    )
    link_learning_rate: float = option(0.01, "learning rate of these lines", above=0)

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """The data sets by `mix` and `mix_folders`; empty where the run reads one file."""
        folders = dict(word.split("=", 1) for word in self.mix_folders)
        found = []
        for word in self.mix:
            name, low, high, path = _DATA_SET.fullmatch(word.strip()).groups()
            found.append(DataSet(name, (float(low), float(high)), path, folders.get(name, self.image_folder)))
        return tuple(found)

    @property
    def mixes(self) -> bool:
        """Whether there are several data sets, so that links are learnt."""
        return len(self.mix) > 1

    def faults(self) -> list[Fault]:
        """Finds data sets that cannot be read as such, and names that are given twice or not at all."""
        found: list[Fault] = []
        names = []
        for word in self.mix:
            match = _DATA_SET.fullmatch(word.strip())
            if match is None:
                found.append(
                    ("mix", f"mix has {word!r}, expected NAME=LOWEST:HIGHEST:FILE, as in KonIQ=0:100:koniq.csv")
                )
                continue
            name, low, high, _ = match.groups()
            names.append(name)
            if not float(low) < float(high):
                found.append(("mix", f"mix gives {name} the range {low}:{high}, expected the lowest rating first"))
            if set(name) & _BRACKETS or name != name.strip() or name.startswith("."):
                found.append(("mix", f"mix has the name {name!r}; it becomes the name of a folder, so use plain words"))
        taken = [name for name in names if name in REWARD_SCALES]
        if taken:
            found.append(
                (
                    "mix",
                    f"mix has the name {', '.join(taken)}, which /v1/reward takes for a kind of reward; use another",
                )
            )
        folded = [name.casefold() for name in names]
        twice = sorted({name for name in names if folded.count(name.casefold()) > 1})
        if twice:
            found.append(("mix", f"mix names {', '.join(twice)} more than once; give each data set a name of its own"))
        return found + self._folder_faults(names)

    def _folder_faults(self, names: Sequence[str]) -> list[Fault]:
        found: list[Fault] = []
        given = []
        for word in self.mix_folders:
            name, equals, folder = word.partition("=")
            if not equals or not folder:
                found.append(("mix_folders", f"mix_folders has {word!r}, expected NAME=FOLDER"))
            elif name not in names:
                known = f"; it names {', '.join(names)}" if names else ", which is not set"
                found.append(("mix_folders", f"mix_folders names {name}, which is no data set of mix{known}"))
            elif name in given:
                found.append(("mix_folders", f"mix_folders names {name} more than once; keep one folder"))
            given.append(name)
        return found


def mixing_faults(config: MixingConfig) -> list[Fault]:
    """Finds settings of a run that do not go with `mix`; `config` is a whole `RunConfig`."""
    if not config.mix or MixingConfig.faults(config):
        return []
    found: list[Fault] = []
    for name, instead in (
        ("data_path", "name its file in mix as well"),
        ("eval_data_path", "each data set is validated by its split column or val_fraction"),
        ("pairs_path", "train on pairs alone, from the checkpoint that this run makes"),
        ("attribute_ranges", "a data set has one range for all its attributes"),
    ):
        if getattr(config, name):
            found.append((name, f"{name} is given, and so is mix; leave {name} out: {instead}"))
    found += shared_range_faults(config)
    if not config.mixes:
        return found
    for name, wrong, why in (
        ("published_losses", config.published_losses, "the published objective knows one scale"),
        ("error_aware", config.error_aware, "errors on different scales are not compared"),
        ("l1_scale", config.l1_scale == "native", "a data set would count by the width of its scale"),
        ("l1_weight", config.l1_weight == 0, "the links learn by this loss"),
    ):
        if wrong:
            value = getattr(config, name)
            shown = "on" if value is True else f"{value:g}" if isinstance(value, float) else value
            found.append((name, f"{name} is {shown} and mix names {len(config.mix)} data sets; {why}, so change it"))
    return found


def shared_range_faults(config: MixingConfig, *, usual: bool = True) -> list[Fault]:
    """Finds ends of a range that are not those of the first data set of `mix`.

    Args:
        config: A whole `RunConfig`.
        usual: Whether the default of a setting, which may be there because nobody gave it, is let pass.
    """
    if not config.mix:
        return []
    own, settings = config.data_sets[0].range, type(config).__dataclass_fields__
    return [
        (
            name,
            f"{name} is {value:g}, but the shared score is on the scale of the first data set, "
            f"{config.data_sets[0].name}: {own[0]:g}..{own[1]:g}; leave {name} out, or put another one first",
        )
        for name, end in zip(("min_score", "max_score"), own, strict=True)
        if (value := getattr(config, name)) != end and not (usual and value == settings[name].default)
    ]
