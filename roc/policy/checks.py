"""Checks before the first step: what the settings name, how a generation divides into pictures, what the rows hold.

`check_settings` needs no torch. A fault names the number that would do.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from roc.checkpoint.names import check_exists
from roc.data.counts import counted
from roc.data.records import Record
from roc.data.rows import DataError
from roc.policy.config import PolicyConfig
from roc.training.checks import file_faults, package_faults
from roc.training.config import OVERALL
from roc.training.processes import sharding
from roc.training.run import Refused, folder_faults

TRL = "1.16"
"""The minor version of TRL that the extra `rl` of setup.py pins."""

RANKING = ("rank", "relative", "relative_soft")
"""Rewards that compare pictures."""

NEEDS_SCORES = ("rank", "error", "binary")
NEEDS_GROUPS = ("relative", "relative_soft")

_MOST_NAMED = 5


@dataclass(frozen=True)
class Generation:
    """How a generation divides.

    Attributes:
        rows: Completions of all processes.
        pictures: N, pictures of all processes.
    """

    rows: int
    pictures: int


def processes_started() -> int:
    """Counts the processes that the launcher started, before they are joined."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def generation_of(config: PolicyConfig, processes: int) -> Generation:
    """Works out the generation of these settings."""
    rows = config.per_device_train_batch_size * processes * config.steps_per_generation
    return Generation(rows, rows // config.num_generations)


def check_settings(config: PolicyConfig) -> None:
    """Checks what costs nothing: packages, files, the checkpoint's name, and the numbers of a generation.

    Raises:
        Refused: With every fault, one a line.
    """
    faults = [*package_faults(config), *_trl_faults(), *file_faults(config), *folder_faults(config)]
    if config.data_path is None:
        faults.append("data_path is missing; name the rated photos to learn from: --data_path FILE")
    if config.model_name_or_path is None:
        faults.append("model_name_or_path is missing; name the checkpoint to reinforce: --model_name_or_path FOLDER")
    else:
        try:
            check_exists(config.model_name_or_path)
        except (FileNotFoundError, ValueError) as error:
            faults.append(f"model_name_or_path {config.model_name_or_path!r}: {error}")
    spread = sharding(config)
    if spread != "ddp":
        faults.append(
            f"the launcher spreads the model ({spread}); reinforcement is built for whole models on every process: use "
            "--launcher ddp, with --tuning lora or qlora where a whole model does not fit"
        )
    if config.use_vllm and importlib.util.find_spec("vllm") is None:
        faults.append(
            "use_vllm is on, and vLLM is not installed; install it as its documentation says, or leave it off"
        )
    faults += batch_faults(config, processes_started())
    if faults:
        raise Refused("\n".join(faults))


def _trl_faults() -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("trl")
    except PackageNotFoundError:
        return ["Reinforcement needs the package trl: pip install 'roc-mllm[rl]'"]
    if found.split(".")[:2] != TRL.split("."):
        return [
            f"trl {found} is installed, and roc is built on the inside of trl {TRL}; install that: pip install "
            "'roc-mllm[rl]'"
        ]
    return []


def batch_faults(config: PolicyConfig, processes: int) -> list[str]:
    """Finds generations that K does not divide, or that hold a single picture where pictures are compared."""
    generation, own = generation_of(config, processes), config.per_device_train_batch_size
    wanted, least = config.num_generations, _fewest_pictures(config)
    divided = generation.rows % wanted == 0
    if divided and generation.pictures >= least:
        return []
    product = " x ".join(
        [
            f"per_device_train_batch_size {own}",
            *([f"{processes} processes"] if processes > 1 else []),
            *([f"steps_per_generation {config.steps_per_generation}"] if config.steps_per_generation > 1 else []),
        ]
    )
    sizes = [_fitting(config, processes, range(own, 0, -1), least), _fitting(config, processes, count(own), least)]
    others = [k for k in range(2, generation.rows // least + 1) if generation.rows % k == 0]
    advice = f"set per_device_train_batch_size {' or '.join(str(size) for size in sizes if size)}"
    if others:
        advice += f", or num_generations {min(others, key=lambda k: abs(k - wanted))}"
    told = f"a generation has {generation.rows} completions ({product})"
    if not divided:
        return [f"num_generations is {wanted}, but {told}, which it does not divide; {advice}"]
    compared = ", ".join(name for name in config.rewards if name in RANKING)
    return [
        f"{told}, all of one picture (num_generations {wanted}), so {compared} has nothing to compare it with; {advice}"
    ]


def _fewest_pictures(config: PolicyConfig) -> int:
    """Tells how many pictures a generation has to have: two where some are compared."""
    return 2 if set(config.rewards) & set(RANKING) else 1


def _fitting(config: PolicyConfig, processes: int, sizes: Iterable[int], least: int) -> int | None:
    """Finds the first `per_device_train_batch_size` that makes `least` pictures or more, each with K completions."""
    for size in sizes:
        pictures, rest = divmod(size * processes * config.steps_per_generation, config.num_generations)
        if not rest and pictures >= least:
            return size
    return None


def check_rows(config: PolicyConfig, train: Sequence[Record], val: Sequence[Record], processes: int) -> None:
    """Checks that rows hold what the rewards need, and that they fill a generation.

    Raises:
        DataError: With every fault.
    """
    path = config.data_path
    faults = [
        f"{path}:{record.line}: {len(record.images)} pictures; reinforcement asks about one"
        for record in [*train, *val]
        if len(record.images) != 1
    ]
    faults += _column_faults(config, train)
    faults += _group_faults(config, train, processes)
    pictures = generation_of(config, processes).pictures
    if len(train) < pictures:
        most = len(train) * config.num_generations // (processes * config.steps_per_generation)
        least = max([_fewest_pictures(config), *_group_sizes(train).values()])
        size = _fitting(config, processes, range(most, 0, -1), least)
        advice = f"set per_device_train_batch_size {size}" if size else f"give {pictures} rows at least"
        faults.append(
            f"{path}: {counted(len(train), 'row')} to learn from, but a generation takes "
            f"{counted(pictures, 'picture')}; {advice}"
        )
    if faults:
        raise DataError(faults)


def _column_faults(config: PolicyConfig, train: Sequence[Record]) -> list[str]:
    """Finds rewards that no row, or not every row, gives what they need."""
    named = [name for name in config.rewards if name in NEEDS_SCORES]
    grouped = [name for name in config.rewards if name in NEEDS_GROUPS]
    faults = []
    if grouped and not any(record.group for record in train):
        faults.append(
            f"{config.data_path}: no row has a group, which {', '.join(grouped)} needs; add the column group and each "
            "edit's delta, or leave the reward out"
        )
    if named and not any(OVERALL in record.scores for record in train):
        faults.append(f"{config.data_path}: no row has a score, which {', '.join(named)} needs; add the column score")
        return faults
    bare = [record for record in train if OVERALL not in record.scores and not (grouped and record.group)]
    if bare and (named or config.head_weight):
        lines = ", ".join(str(record.line) for record in bare[:_MOST_NAMED])
        more = f" and {len(bare) - _MOST_NAMED} more" if len(bare) > _MOST_NAMED else ""
        faults.append(
            f"{config.data_path}: {len(bare)} rows have no score (lines {lines}{more}), so nothing could be learnt "
            "from them; remove them, or rate them"
        )
    return faults


def _group_faults(config: PolicyConfig, train: Sequence[Record], processes: int) -> list[str]:
    """Finds groups that do not fit into a generation, and edits without a number."""
    from roc.policy.data import delta_of

    faults = []
    for record in train:
        try:
            delta_of(record)
        except ValueError as error:
            faults.append(f"{config.data_path}:{record.line}: {error}")
    sizes, pictures = _group_sizes(train), generation_of(config, processes).pictures
    group = max(sizes, key=sizes.__getitem__, default=None)
    if group is not None and sizes[group] > pictures:
        size = _fitting(config, processes, count(config.per_device_train_batch_size), sizes[group])
        taken = generation_of(replace(config, per_device_train_batch_size=size), processes).pictures
        advice = f"set per_device_train_batch_size {size}"
        faults.append(
            f"{config.data_path}: the group {group!r} has {sizes[group]} pictures, but a generation takes {pictures}, "
            f"and a group has to be in one as a whole; {advice}"
            + (f", and give {taken} rows at least" if taken > len(train) else "")
        )
    return faults


def _group_sizes(train: Sequence[Record]) -> Counter[str]:
    return Counter(record.group for record in train if record.group is not None)
