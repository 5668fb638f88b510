"""The other half of `check_families.py --all`: every image-text-to-text type of `transformers`, each in a process.

A type is built tiny from its configuration (tests/helpers/any_type.py), saved, examined as `roc doctor` does, and
trained in full, once with torchvision and once without. What came out lies in a folder, one file per type and setting,
so that a run that was stopped goes on where it was. Started by `check_families.py`, once per setting, because a
process that has imported torchvision cannot forget it.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

SETTINGS = ("torchvision", "without")
ROOT = Path(__file__).resolve().parents[1]
HELPERS = ROOT / "tests" / "helpers"
PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- types: begin -->", "<!-- types: end -->"

STATES = ("works", "breaks", "refused", "not tried")
NOTES = ("unused", "experts", "codes", "sizes")
"""Notes of the doctor that the table repeats."""


@dataclass
class Outcome:
    """What became of one type in one setting.

    Attributes:
        name: `config.model_type`.
        state: One of `STATES`.
        reason: Why it does not work; empty if it does.
        figure: How training went.
        notes: What holds for a type that works all the same.
        seconds: Duration.
        code: What `code_state` gave when it was made.
    """

    name: str
    state: str
    reason: str = ""
    figure: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    code: str = field(default_factory=lambda: code_state())


@functools.cache
def code_state() -> str:
    """Hashes the code that decides an outcome, so that one of an earlier state can be told from one of today's."""
    files = sorted(file for room in ("checkpoint", "doctor", "model") for file in (ROOT / "roc" / room).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def check_all(
    results: Path, *, types: list[str] | None = None, packages: Path | None = None, time_limit: int = 300
) -> dict[str, dict[str, Outcome]]:
    """Checks all types in both settings, as far as there is no result yet.

    Args:
        results: Folder of the results, one file per setting and type; delete one to have it made again.
        types: Only these; None = all.
        packages: Folder that torchvision and timm were installed into (`pip install --no-deps --target`); None = those
            installed here, if any.
        time_limit: Seconds after which a type is given up.

    Returns:
        `{type: {setting: outcome}}` of all that have a result.
    """
    paths = (str(ROOT), str(HELPERS), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    for setting in SETTINGS:
        command = [sys.executable, __file__, "--setting", setting, "--results", str(results)]
        command += ["--time_limit", str(time_limit), *(["--packages", str(packages)] if packages else [])]
        subprocess.run([*command, *(types or [])], env=environment, check=True)
    return outcomes(results)


def outcomes(results: Path) -> dict[str, dict[str, Outcome]]:
    """Reads all results of a folder, as `{type: {setting: outcome}}`."""
    found: dict[str, dict[str, Outcome]] = {}
    for setting in SETTINGS:
        for file in sorted((results / setting).glob("*.json")):
            outcome = Outcome(**{"code": "", **json.loads(file.read_text())})
            found.setdefault(outcome.name, {})[setting] = outcome
    return dict(sorted(found.items()))


def verdict(both: dict[str, Outcome]) -> Outcome:
    """Sums up a type: it works if it does in one setting and breaks in neither."""
    made = list(both.values())
    return next(outcome for state in ("breaks", "works", *STATES) for outcome in made if outcome.state == state)


def table(found: dict[str, dict[str, Outcome]]) -> str:
    """Formats the results as Markdown, with a count in front; those of an earlier state of the code have a star."""
    verdicts = {name: verdict(both) for name, both in found.items()}
    counts = {state: [name for name, one in verdicts.items() if one.state == state] for state in STATES}
    earlier = sum(one.code != code_state() for both in found.values() for one in both.values())
    old = f" {earlier} of {sum(map(len, found.values()))} results are of an earlier state of the code (\\*)."
    lines = [
        f"Of {len(found)} types, **{len(counts['works'])} work**, {len(counts['breaks'])} break, "
        f"{len(counts['refused'])} are refused with a reason and {len(counts['not tried'])} cannot be built tiny here."
        + (old if earlier else ""),
        "",
        "| type | with torchvision | without | training | remarks |",
        "|---|---|---|---|---|",
    ]
    for name, both in found.items():
        cells = [cell(both[setting]) if setting in both else "-" for setting in SETTINGS]
        figure = next((one.figure for one in both.values() if one.figure), "-")
        remarks = dict.fromkeys(text for one in both.values() for text in (one.reason, *one.notes) if text)
        shown = "; ".join(remarks).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {name} | {' | '.join(cells)} | {figure} | {shown} |")
    return "\n".join(lines)


def cell(outcome: Outcome) -> str:
    """Formats a state for the table, with a star where the code has changed since."""
    state = f"**{outcome.state}**" if outcome.state == "breaks" else outcome.state
    return state if outcome.code == code_state() else f"{state} \\*"


def write_page(found: dict[str, dict[str, Outcome]], page: Path = PAGE) -> None:
    """Replaces the table of all types in `docs/families.md`."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{after}")


def prepare(setting: str, packages: Path | None) -> bool:
    """Makes torchvision importable or not; returns False where it is wanted and missing."""
    if setting == "without":
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        return True
    if packages:
        sys.path.insert(0, str(packages))
    import torch

    try:
        import torchvision  # noqa: F401
    except ImportError:
        return False
    except RuntimeError:  # a wheel for GPUs beside PyTorch for CPUs: its operators are missing, and not needed here
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        prepare.library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            prepare.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
    return True


def check_setting(setting: str, types: list[str], results: Path, time_limit: int) -> None:
    """Checks types one after the other, each in a process of its own, and writes what came out."""
    from check_families import builders

    builders()  # imports everything heavy once, before the processes part
    (results / setting).mkdir(parents=True, exist_ok=True)
    fork = multiprocessing.get_context("fork")
    for name in types or known_types():
        file = results / setting / f"{name}.json"
        if file.exists():
            continue
        process = fork.Process(target=_write_outcome, args=(name, results, file))
        process.start()
        process.join(time_limit)
        if process.is_alive():
            process.kill()
            process.join()
            _write(file, Outcome(name, "breaks", f"took more than {time_limit} s", seconds=time_limit))
        elif not file.exists():
            _write(file, Outcome(name, "breaks", f"its process ended with exit status {process.exitcode}"))
        outcome = Outcome(**json.loads(file.read_text()))
        print(
            f"{setting}: {name}: {outcome.state} {outcome.reason} ({outcome.seconds:.0f} s)",
            file=sys.stderr,
            flush=True,
        )


def known_types() -> list[str]:
    """Lists the image-text-to-text types of the installed `transformers`."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return sorted(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def check_type(name: str, results: Path) -> Outcome:
    """Builds, examines and trains one type in this process; nothing is raised."""
    from check_families import full_tuning

    from roc.doctor.candidate import Unsupported, admit
    from roc.doctor.checks import examine

    folder = results / "models" / name
    try:
        if not (folder / "config.json").exists():
            _build(name, folder)
    except Exception as error:
        return _unbuilt(name, error)
    try:
        candidate = admit(folder)
        findings = list(examine(candidate))
        findings += full_tuning(str(folder))
    except Unsupported as error:
        return Outcome(name, "refused", str(error))
    except ImportError as error:
        return Outcome(name, "refused", " ".join(f"{error}".split())[:300])
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        return Outcome(name, "breaks", f"{type(error).__name__}: {error} ({where})".replace("\n", " ")[:300])
    faults = [f"{finding.name}: {finding.figure}" for finding in findings if finding.passed is False]
    figure = next((finding.figure for finding in findings if finding.name == "full tuning"), "")
    notes = [f"{key}: {text}" for key, text in candidate.notes.items() if key in NOTES]
    return Outcome(name, "breaks" if faults else "works", "; ".join(faults), figure, notes)


def _build(name: str, folder: Path) -> None:
    """Saves the tiny model of a type and its processor."""
    from any_type import build
    from check_families import builders
    from type_recipes import RECIPES

    from roc.model.processing import save_processor

    if name in builders():
        model, processor = builders()[name]()
    elif name in RECIPES:
        model, processor = build(name, RECIPES[name])
    else:
        raise LookupError("no recipe for a tiny processor of it")
    model.save_pretrained(folder)
    save_processor(processor, folder)
    processor.tokenizer.save_pretrained(folder)


def _unbuilt(name: str, error: Exception) -> Outcome:
    """Tells whether a type without a tiny model would be refused anyway, from its default configuration."""
    import torch
    from transformers import CONFIG_MAPPING

    from roc.model.attachment import check_can_carry, model_class

    try:
        config = CONFIG_MAPPING[name]()
        with torch.device("meta"):
            model = model_class(config)(config)
    except Exception as fault:
        return Outcome(name, "not tried", f"its default configuration builds no model: {fault}".split("\n")[0][:200])
    try:
        check_can_carry(model)
    except ValueError as refusal:
        return Outcome(name, "refused", str(refusal))
    return Outcome(name, "not tried", f"{error}".split("\n")[0][:200])


def _write_outcome(name: str, results: Path, file: Path) -> None:
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start = time.perf_counter()
    outcome = check_type(name, results)
    outcome.reason = outcome.reason.replace(f"{results / 'models'}/", "")
    outcome.seconds = time.perf_counter() - start
    _write(file, outcome)


def _write(file: Path, outcome: Outcome) -> None:
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps(asdict(outcome), indent=1))
    partial.replace(file)


def main() -> int:
    """Checks types in one setting; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--time_limit", type=int, default=300)
    parser.add_argument("types", nargs="*")
    options = parser.parse_args()
    if not prepare(options.setting, options.packages):
        print("torchvision is not installed, so types are tried without it alone.", file=sys.stderr)
        return 0
    check_setting(options.setting, options.types, options.results, options.time_limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
