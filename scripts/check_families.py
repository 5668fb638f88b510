"""Checks every family with the head: the doctor's checks and training, in full, with LoRA and with QLoRA, as a table.

python scripts/check_families.py                            all families, a row each
python scripts/check_families.py --families llava gemma3
python scripts/check_families.py --all --results FOLDER     every type of transformers, into docs/families.md

The models are tiny and random, but of the real classes (tests/helpers/tiny_models.py), so this runs from a checkout and
without a network. The table is Markdown. Exit status: 0 if all checks pass, 1 if one fails; failures are listed below
the table.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import all_families
import numpy as np
import torch
import transformers
from PIL import Image

from roc.checkpoint.folder import load, save
from roc.data.records import Record
from roc.doctor.candidate import Candidate, Finding, admit
from roc.doctor.checks import adapter_findings, check_batch, check_reload, check_three_ways, examine, identical
from roc.evaluation.metrics import plcc
from roc.model.adapters import add_lora, four_bit, merged
from roc.model.attachment import attach, model_class
from roc.model.processing import load_processor, save_processor
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import one_forward

ENOUGH, PLENTY = 0.9, 0.95
"""Correlation of scores and labels that training must reach, and at which it stops."""

COLUMNS = {
    "old logits": "attaches",
    "scoring = training = generation": "scoring = training = generation",
    "batch": "batch = one by one",
    "padding": "padding",
    "reload": "save and reload",
    "stock": "stock AutoModel",
    "checkpointing": "gradient checkpointing",
    "gradients": "gradients",
    "adapter reloads": "adapter reloads",
    "adapter merges": "adapter merges",
    "full": "full tuning",
    "LoRA": "LoRA tuning",
    "nf4": "QLoRA tuning",
}
"""Heading of a column -> beginning of the names of its findings."""


@dataclass
class Family:
    """Findings about one family.

    Attributes:
        name: Key of `FAMILY_BUILDERS` in tests/helpers/tiny_models.py.
        parameters: Number of parameters of the tiny model; 0 if it cannot be built.
        findings: In the order in which they were made.
        seconds: Duration of the checks.
    """

    name: str
    parameters: int = 0
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def faults(self) -> list[Finding]:
        """Checks that failed."""
        return [finding for finding in self.findings if finding.passed is False]


def builders() -> dict:
    """Loads the builders of the tiny models from tests/helpers/tiny_models.py, by family."""
    file = Path(__file__).resolve().parents[1] / "tests" / "helpers" / "tiny_models.py"
    spec = importlib.util.spec_from_file_location("tiny_models", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FAMILY_BUILDERS


def check_family(name: str) -> Family:
    """Builds the family's tiny model and runs all checks on it; a step that raises is a failure."""
    start = time.perf_counter()
    build = builders()[name]
    family = Family(name)
    # On a CPU, bitsandbytes needs layers as wide as its blocks, 64.
    steps = {"doctor": (doctors_checks, 32), "full tuning": (full_tuning, 32), "LoRA tuning": (lora_tuning, 32)}
    if importlib.util.find_spec("bitsandbytes"):
        steps["QLoRA tuning"] = (qlora_tuning, 64)
    for step, (check, hidden_size) in steps.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                model, processor = build(hidden_size=hidden_size)
                family.parameters = family.parameters or model.num_parameters()
                model.save_pretrained(folder)
                save_processor(processor, folder)
                family.findings += check(folder)
            except Exception as error:
                family.findings.append(Finding(step, False, f"{type(error).__name__}: {error}".splitlines()[0]))
    family.seconds = time.perf_counter() - start
    return family


def doctors_checks(folder: str) -> list[Finding]:
    """Runs the checks of `roc doctor`."""
    return list(examine(admit(folder)))


def full_tuning(folder: str) -> list[Finding]:
    """Trains all weights, then checks scores and files of the trained model."""
    candidate = fresh(folder)
    findings = [trained("full tuning", candidate, candidate.model, learning_rate=1e-3)]
    for check in (check_three_ways, check_batch, check_reload):
        findings += check(candidate)
    return findings


def lora_tuning(folder: str) -> list[Finding]:
    """Trains LoRA, then saves the adapter, loads it on its base and merges it."""
    candidate = fresh(folder)
    before = candidate.scores()
    tuned = add_lora(candidate.model, rank=16, alpha=32, dropout=0.0)
    findings = [trained("LoRA tuning", candidate, tuned, learning_rate=3e-3)]
    return [*findings, *adapter_findings(candidate, tuned, before)]


def qlora_tuning(folder: str) -> list[Finding]:
    """Trains LoRA on nf4 weights, then loads the adapter on the 4-bit base and merges it into the unquantised one."""
    candidate = fresh(folder, quantized=True)
    tuned = add_lora(candidate.model, rank=16, alpha=32, dropout=0.0)
    findings = [trained("QLoRA tuning", candidate, tuned, learning_rate=3e-3)]
    with tempfile.TemporaryDirectory() as out:
        save(tuned, candidate.processor, out)
        again, whole = load(out)[0], load(out, quantized=False)[0]
    findings.append(identical("adapter reloads on 4 bits", candidate.scores(tuned), candidate.scores(again)))
    unmerged = candidate.scores(whole)
    return [*findings, candidate.same("adapter merges unquantised", unmerged, candidate.scores(merged(whole)), "")]


def fresh(folder: str, quantized: bool = False) -> Candidate:
    """Loads the model of a folder and attaches an untrained head."""
    config = transformers.AutoConfig.from_pretrained(folder)
    settings = {"quantization_config": four_bit(config, torch.float32)} if quantized else {}
    model = model_class(config).from_pretrained(folder, dtype=torch.float32, **settings)
    processor = load_processor(folder)
    attach(model, processor, ScoreSpace(1, 10, 10))
    return Candidate(folder, model.eval(), processor)


def rated_pictures() -> list[tuple[Record, list[Image.Image]]]:
    """Draws 32 images of noise in all hues; the score is their brightness."""
    rows = []
    for i in range(32):
        rng = np.random.default_rng(i)
        share = (i + 0.5) / 32
        pixels = 20 + 215 * share + rng.uniform(-10, 10, 3) + rng.normal(0, 10, (56, 56, 3))
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        rows.append((Record(id=str(i), images=(str(i),), scores={"overall": 1 + 9 * share}), [picture]))
    return rows


def trained(name: str, candidate: Candidate, model: torch.nn.Module, *, learning_rate: float) -> Finding:
    """Trains `model` in batches of 8 until its scores follow the labels, for at most 60 epochs."""
    rows, collator = rated_pictures(), candidate.collator
    batches = [collator(rows[start::4]) for start in range(4)]
    scoring = collator.scoring_batch([picture for _, (picture,) in rows])
    labels = [record.scores["overall"] for record, _ in rows]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
    torch.manual_seed(0)
    epoch, correlation = 0, 0.0
    while correlation < PLENTY and epoch < 60:
        epoch += 1
        model.train()
        for i in torch.randperm(len(batches)).tolist():
            optimizer.zero_grad()
            model(**batches[i]).loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        model.eval()
        correlation = plcc(one_forward(model, scoring).scores[:, 0].numpy(), labels) or 0.0
    return Finding(name, correlation >= ENOUGH, f"r {correlation:.2f} in {epoch}")


def table(families: list[Family]) -> str:
    """Formats families by checks, as Markdown."""
    lines = ["| family | parameters | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for family in families:
        cells = [cell([f for f in family.findings if f.name.startswith(start)]) for start in COLUMNS.values()]
        lines.append(f"| {family.name} | {family.parameters / 1e3:.0f} k | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(findings: list[Finding]) -> str:
    """Formats the worst of some findings: the largest difference, how training ended, or just "ok"."""
    made = [finding for finding in findings if finding.passed is not None]
    if not made:
        return "-"
    if not all(finding.passed for finding in made):
        return "**no**"
    apart = [finding.apart for finding in made if finding.apart is not None]
    if apart:
        return f"{max(apart):.0e}" if max(apart) else "0"
    return made[-1].figure if made[-1].figure.startswith("r ") else "ok"


def check_all_types(options: argparse.Namespace) -> int:
    """Checks every type, writes docs/families.md and returns the exit status."""
    found = all_families.check_all(
        options.results, types=options.families, packages=options.packages, time_limit=options.time_limit
    )
    print(all_families.table(found))
    if not options.families:
        all_families.write_page(found)
    return 1 if any(all_families.verdict(both).state == "breaks" for both in found.values()) else 0


def main() -> int:
    """Checks the families asked for, prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--families",
        nargs="+",
        metavar="NAME",
        help=f"only these: {', '.join(sorted(builders()))}; with --all any type",
    )
    parser.add_argument("--all", action="store_true", help="every type of transformers, each in a process of its own")
    parser.add_argument("--results", type=Path, help="with --all: folder of the results, from which a run goes on")
    parser.add_argument(
        "--packages", type=Path, help="with --all: folder that torchvision and timm were installed into, if not here"
    )
    parser.add_argument("--time_limit", type=int, default=300, help="with --all: most seconds for a type; default 300")
    options = parser.parse_args()
    known = all_families.known_types() if options.all else sorted(builders())
    unknown = sorted(set(options.families or ()) - set(known))
    if unknown:
        parser.error(f"unknown families: {', '.join(unknown)}; known are {', '.join(known)}")
    if options.all:
        if options.results is None:
            parser.error("--all needs --results, a folder for the result of each type")
        return check_all_types(options)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # with several threads such small models are slower
    families = []
    for name in options.families or known:
        families.append(check_family(name))
        print(f"{name}: {len(families[-1].faults)} faults, {families[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    print(table(families))
    print(
        "\nLargest differences found; scores are on 1..10, gradients relative to the largest. full, LoRA, nf4: "
        "correlation of scores and labels on the 32 training images, and the number of epochs."
    )
    faults = [f"{family.name}: {fault.name}: {fault.figure}" for family in families for fault in family.faults]
    print("\n".join(faults) or "All checks pass.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
