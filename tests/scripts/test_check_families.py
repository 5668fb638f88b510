"""scripts/check_families.py on single families: one by default, all with -m slow."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from roc.doctor.candidate import Finding

FILE = Path(__file__).parents[2] / "scripts" / "check_families.py"
# A prefix-LM: it has most of what can go wrong.
ALWAYS = ("paligemma",)


def script():
    spec = importlib.util.spec_from_file_location("check_families", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


check_families = script()
FAMILIES = [
    pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in sorted(check_families.builders())
]


def test_there_are_thirteen():
    assert len(FAMILIES) == 13


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name):
    family = check_families.check_family(name)
    assert [finding for finding in family.findings if finding.passed is False] == []
    row = check_families.table([family]).splitlines()[-1]
    assert row.startswith(f"| {name} |") and "**no**" not in row and row.count("| r 0.9") == 3 - row.count("| - ")


def test_a_step_that_breaks_is_a_fault(monkeypatch, capsys):
    def broken(folder):
        raise RuntimeError("no such thing\nat all")

    for step in ("doctors_checks", "lora_tuning", "qlora_tuning"):
        monkeypatch.setattr(check_families, step, lambda folder: [])
    monkeypatch.setattr(check_families, "full_tuning", broken)
    monkeypatch.setattr(sys, "argv", ["check_families.py", "--families", "llava"])
    threads = torch.get_num_threads()
    try:
        assert check_families.main() == 1
    finally:
        torch.set_num_threads(threads)
    assert "llava: full tuning: RuntimeError: no such thing\n" in capsys.readouterr().out


def test_the_table_shows_the_worst():
    family = check_families.Family("x", 70_000)
    family.findings = [
        Finding("batch = one by one", True, "", apart=1e-7),
        Finding("batch = one by one", True, "", apart=3e-7),
        Finding("padding on the left", False, "", apart=1.0),
        Finding("full tuning", True, "r 0.95 in 7"),
        Finding("gradients", None, ""),
    ]
    heading, _, row = (line.split(" | ") for line in check_families.table([family]).splitlines())
    shown = dict(zip(heading, row, strict=True))
    assert (shown["batch"], shown["padding"], shown["full"], shown["gradients"]) == (
        "3e-07",
        "**no**",
        "r 0.95 in 7",
        "-",
    )
