"""The model card of a checkpoint: the README.md that says what its scores mean.

It names the base and its licence, the data, the range and direction of the score, the levels, what was trained, the
metrics with the command that made them, and how to use the folder. Model hubs read its YAML header.

A card is written anew with every save, unless it was changed by hand: its last line holds a checksum of the rest, and a
file that does not match its checksum is left alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from roc.model.declaration import Declaration
from roc.model.personal import METRICS
from roc.model.reasoned import told_answers
from roc.score_space import ScoreSpace, ranges_text

logger = logging.getLogger(__name__)

CARD_FILE = "README.md"

# Key of a metric -> its name, and its name on hubs.
_METRICS = {
    "srcc": ("SRCC", "spearmanr"),
    "plcc": ("PLCC", "pearsonr"),
    "krcc": ("KRCC", "kendalltau"),
    "mae": ("MAE", "mae"),
    "rmse": ("RMSE", "rmse"),
    "emd": ("EMD", "emd"),
}

_FEW_ROWS = 30
"""As in roc/evaluation/keys.py: numbers that rest on fewer rows are rounded to one digit, and hubs get none of them."""

_MARK = "<!-- Written by roc with every save; once it is changed by hand, roc leaves the file alone. sha256 {} -->\n"
_MARK_PATTERN = re.compile(re.escape(_MARK).replace(r"\{\}", "([0-9a-f]{64})") + r"\Z")

_USAGE = """```python
from roc import Assessment

assessment = Assessment("ORG/NAME")  # this folder, or its id on a hub
result = assessment.score("photo.jpg")[0].scores["{attribute}"]
print(result.value, result.std, result.range)
```"""


def write_card(
    folder: str | os.PathLike,
    declaration: Declaration,
    *,
    adapter: bool,
    metrics: Mapping[str, Any] | None = None,
    command: str | None = None,
    usage: str | None = None,
) -> None:
    """Writes README.md into the folder of a checkpoint, unless one is there that was changed by hand.

    Args:
        folder: Folder of the checkpoint; made if it is not there.
        declaration: `model.declaration`.
        adapter: Whether the folder holds an adapter instead of a full checkpoint.
        metrics: From `roc.evaluation.summary.evaluate_predictions`, if the checkpoint was evaluated.
        command: Command line that made the metrics; None = `metrics["command"]`.
        usage: Markdown for the section "Use"; None = the Python that scores a photo.
    """
    file = Path(folder) / CARD_FILE
    if is_edited(folder):
        logger.warning("%s was changed by hand and is left as it is; delete it to have it written anew.", file)
        return
    declaration = replace(declaration, base=_base(file.parent, adapter) or declaration.base)
    licence = base_licence(declaration.base)
    card = ModelCard(f"---\n{_header(file.parent, declaration, adapter, licence, metrics)}\n---\n")
    card.text = "\n" + _body(declaration, adapter, licence, metrics, command, usage)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = str(card)
    file.write_text(text + _MARK.format(_checksum(text)), encoding="utf-8")


def is_edited(folder: str | os.PathLike) -> bool:
    """Tells whether `folder` holds a README.md that roc did not write, or that was changed since."""
    file = Path(folder) / CARD_FILE
    if not file.exists():
        return False
    text = file.read_text(encoding="utf-8", errors="replace")
    mark = _MARK_PATTERN.search(text)
    return mark is None or mark[1] != _checksum(text[: mark.start()])


@contextlib.contextmanager
def card_kept(folder: str | os.PathLike) -> Iterator[None]:
    """Restores README.md in `folder` on leaving, because PEFT writes its own with every adapter."""
    file = Path(folder) / CARD_FILE
    before = file.read_bytes() if file.exists() else None
    yield
    if before is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(before)


@functools.cache
def base_licence(base: str | None) -> dict[str, str]:
    """Reads the licence of the base from the base's own card.

    Args:
        base: Folder or hub id; None = not known.

    Returns:
        `license` and, if given, `license_name` and `license_link`, as hubs call them; empty if there is no card, it
        cannot be reached, or it names no licence.
    """
    if base is None:
        return {}
    try:
        card = ModelCard.load(Path(base) / CARD_FILE if os.path.isdir(base) else base, ignore_metadata_errors=True)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {key: card.data[key] for key in ("license", "license_name", "license_link") if card.data.get(key)}


def _base(folder: Path, adapter: bool) -> str | None:
    """Names the base that an adapter was trained on, which need not be the model that the head was attached to."""
    if not adapter:
        return None
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    return None


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _header(
    folder: Path, declaration: Declaration, adapter: bool, licence: Mapping[str, str], metrics: Mapping[str, Any] | None
) -> str:
    """Makes the YAML header of the card, without its dashes."""
    results = [] if metrics is None or metrics["n"] < _FEW_ROWS else _results(declaration, metrics)
    base = declaration.base
    relation = {}
    if _is_hub_id(base):  # hubs refuse a card whose base is not one of their models
        relation = {"base_model": base, "base_model_relation": "adapter" if adapter else "finetune"}
    data = ModelCardData(
        library_name="peft" if adapter else "transformers",
        pipeline_tag="image-text-to-text",
        tags=["roc", "score-head", *declaration.attributes],
        model_name=folder.resolve().name if results else None,
        eval_results=results or None,
        **relation,
        **licence,
    )
    return data.to_yaml()


def _is_hub_id(base: str | None) -> bool:
    if base is None or os.path.exists(base):
        return False
    try:
        validate_repo_id(base)
    except HFValidationError:
        return False
    return True


def _results(declaration: Declaration, metrics: Mapping[str, Any]) -> list[EvalResult]:
    data = declaration.dataset or "not named"
    return [
        EvalResult(
            task_type="image-text-to-text",
            task_name="image scoring",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-") or "ratings",
            dataset_name=data,
            dataset_split=metrics.get("split"),
            metric_type=kind,
            metric_name=f"{name}, {attribute}",
            metric_value=metrics[prefix + key],
        )
        for attribute, prefix in _attributes(declaration, metrics)
        for key, (name, kind) in _METRICS.items()
        if metrics.get(prefix + key) is not None
    ]


def _attributes(declaration: Declaration, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists the evaluated attributes, each with the prefix of its metrics' keys."""
    first, *others = metrics.get("attributes", declaration.attributes)
    return [(first, ""), *((name, f"{name}/") for name in others)]


def _body(
    declaration: Declaration,
    adapter: bool,
    licence: Mapping[str, str],
    metrics: Mapping[str, Any] | None,
    command: str | None,
    usage: str | None,
) -> str:
    space = declaration.space
    low, high = space.range
    base = declaration.base or "not named"
    names = ", ".join(declaration.attributes)
    levels = ", ".join(f"{level:g}" for level in space.levels) if space.num_levels <= 20 else "evenly spaced"
    supervised = (
        "trained on votes: the distribution and its standard deviation are meaningful"
        if declaration.distribution_supervised
        else "not trained: only the score itself is meaningful; distribution and standard deviation are uncalibrated"
    )
    lines = [
        f"# Image scores from {low:g} to {high:g}: {names}"
        if not space.attribute_ranges
        else f"# Image scores: {ranges_text(space.ranges, declaration.attributes)}",
        "",
        "A multimodal language model with a score head, made with the package `roc-mllm`. It looks at an image and "
        f"gives a score from {low:g} to {high:g}; **higher is better**."
        + (" This folder is an adapter; it needs its base model, which is found by its name." if adapter else ""),
        "",
        f"- Base model: {base}",
        f"- Licence of the base: {_licence_text(licence)}",
        f"- Data: {declaration.dataset or 'not named'}",
        f"- Scores: {names}",
        *_personal_lines(declaration),
        *(["- It reasons: `.describe` writes a critique before the score, `.score` does not."] * declaration.reasons),
        *_mirrored(declaration),
        f"- Range: {low:g} to {high:g}, higher is better",
        *_own_ranges(space),
        *_data_sets(declaration),
        f"- Levels: {space.num_levels} ({levels})",
        f"- Distribution over the levels: {supervised}",
        *_calibration(declaration),
        f"- Question: {declaration.question}",
        f"- Answer: {declaration.answer}",
        f"- Made with roc {declaration.version}",
        "",
        "## Use",
        "",
        _USAGE.format(attribute=declaration.attributes[0]) if usage is None else usage.strip(),
        "",
        "## Metrics",
        "",
    ]
    lines += ["None are recorded."] if metrics is None else _metrics_lines(declaration, metrics, command)
    return "\n".join(lines) + "\n\n"


def _mirrored(declaration: Declaration) -> list[str]:
    """Says that mirror images are read too; nothing where they are not."""
    line = "- Scores are means over the photo and its mirror image (`score_flip`); those in generated answers are not."
    return [line] * declaration.score_flip


def _personal_lines(declaration: Declaration) -> list[str]:
    """Says on what a personal head was fitted, and what it gained; nothing of any other checkpoint."""
    personal = declaration.personal
    if personal is None:
        return []
    what = f"{personal.pairs} pairs" if personal.pairs else "ratings"
    return [
        f"- Personal: moved towards the taste of one person by {what} of {personal.photos} photos "
        f"(`roc personalize`). On held-out ones, {METRICS[personal.metric]} {personal.general:.3f} before and "
        f"{personal.personal:.3f} after, difference [{personal.low:+.3f}, {personal.high:+.3f}]"
    ]


def _calibration(declaration: Declaration) -> list[str]:
    """Says what `roc calibrate` and `roc reference` have added; nothing where they have not."""
    calibration, reference, lines = declaration.calibration, declaration.reference, []
    if calibration is not None and calibration.temperature != 1:
        lines.append(f"- Temperature of the distribution: {calibration.temperature:.4g}")
    if calibration is not None and calibration.affine is not None:
        unit = f", in {calibration.affine.unit}" if calibration.affine.unit else ""
        names = ", ".join(calibration.affine.lines)
        fitted = calibration.earlier or f"{calibration.data}, {calibration.rows} photos"
        lines.append(f"- Moved onto the scale of other raters{unit}, by the ratings {fitted}: {names}")
    if calibration is not None and calibration.intervals is not None:
        intervals = calibration.intervals
        what = " standard deviations" if intervals.scaled else ""
        widths = ", ".join(
            f"{name} ± {' | '.join(f'{width:.3g}' for width in intervals.thirds.get(name, ((), (half,)))[1])}{what} "
            f"({intervals.rows[name]} ratings)"
            for name, half in intervals.half_widths.items()
        )
        by = ", by thirds of the score from low to high" if intervals.thirds else ""
        lines.append(f"- Intervals that hold {intervals.level:.3g} of ratings of photos like these{by}: {widths}")
    if reference is not None:
        lines.append(f"- Percentiles and rewards: by the scores of {reference.photos} photos, {reference.name}")
    return lines


def _own_ranges(space: ScoreSpace) -> list[str]:
    """Names the attributes on other ranges, a line; none where all are on one."""
    others = [f"{name} {low:g} to {high:g}" for name, (low, high) in space.attribute_ranges.items()]
    return [f"- Attributes on other ranges, with as many levels: {', '.join(others)}"] if others else []


def _data_sets(declaration: Declaration) -> list[str]:
    """Names the data sets on whose scales the score can be read, a line; none where it was trained on one."""
    scales = [f"{one.name} ({one.range[0]:g} to {one.range[1]:g})" for one in declaration.scales]
    return [f"- Trained on several data sets, on whose scales `scale=` reads it: {', '.join(scales)}"] * bool(scales)


def _licence_text(licence: Mapping[str, str]) -> str:
    if not licence:
        return "not stated; check the base"
    name = licence.get("license_name")
    link = licence.get("license_link")
    return licence.get("license", "other") + (f" ({name})" if name else "") + (f", {link}" if link else "")


def _metrics_lines(declaration: Declaration, metrics: Mapping[str, Any], command: str | None) -> list[str]:
    keys = [key for key in _METRICS if any(prefix + key in metrics for _, prefix in _attributes(declaration, metrics))]
    split = {"test": "test rows", "val": "validation rows"}.get(metrics.get("split"), "rows")
    lines = [
        f"On {metrics['n']} {split} of {declaration.dataset or 'the data'}, errors on the native scale, 95% bootstrap "
        "intervals in brackets:",
        "",
        "| score | " + " | ".join(_METRICS[key][0] for key in keys) + " |",
        "|---" * (len(keys) + 1) + "|",
    ]
    for attribute, prefix in _attributes(declaration, metrics):
        low, high = declaration.space.of(attribute).range
        shown = f"{attribute} ({low:g} to {high:g})" if declaration.space.attribute_ranges else attribute
        lines.append(f"| {shown} | " + " | ".join(_cell(metrics, prefix, key) for key in keys) + " |")
    if "reasoned/n" in metrics:
        lines += ["", _critiques(metrics)]
    reservations = _reservations(declaration, metrics)
    lines += ["", *reservations] if reservations else []
    command = command or metrics.get("command", "# the command was not recorded")
    lines += ["", "Made by:", "", "```bash", command, "```"]
    return lines


def _critiques(metrics: Mapping[str, Any]) -> str:
    """Says how well scores with a critique first agree, and what was wrong with answers that could not be read."""
    cells = ", ".join(f"{_METRICS[key][0]} {_cell(metrics, 'reasoned/', key)}" for key in ("srcc", "plcc", "mae"))
    attribute, count = metrics["attributes"][0], metrics["reasoned/n"] + metrics["reasoned/unscored"]
    told = told_answers(metrics, "reasoned/").replace("<", "\\<")
    return f"- With a critique first, `{attribute}` on {count} of them: {cells}; {told}."


def _reservations(declaration: Declaration, metrics: Mapping[str, Any]) -> list[str]:
    """Says whether scores depend on the image, and what must be known before a number is quoted."""
    lines = [f"- **Caution**: {caveat}." for caveat in metrics.get("caveats", ())]
    if metrics.get("image_n"):
        width = declaration.space.width
        ways = {"another picture": metrics["image_swapped"], "a black picture": metrics["image_black"]}
        shown = {what: by for what, by in ways.items() if by is not None}
        moved = [f"by {by / width:.1%} of the range when {what} is shown" for what, by in shown.items()]
        lines.append(
            f"- Does it look at the picture? Scores move {', '.join(moved)} (mean over {metrics['image_n']} pictures)."
        )
    return lines


def _cell(metrics: Mapping[str, Any], prefix: str, key: str) -> str:
    value, low, high = (metrics.get(prefix + key + end) for end in ("", "_low", "_high"))
    if value is None:
        return "-"
    few = metrics.get(f"{prefix}n", _FEW_ROWS) < _FEW_ROWS
    texts = [None if one is None else f"{float(f'{one:.1g}'):g}" if few else f"{one:.3f}" for one in (value, low, high)]
    return ("~" if few else "") + texts[0] + ("" if None in texts else f" [{texts[1]}, {texts[2]}]")
