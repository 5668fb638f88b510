"""scripts/check_families.py on single families: one by default, all with -m slow."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from roc.doctor.candidate import Finding

FILE = Path(__file__).parents[2] / "scripts" / "check_families.py"
# A prefix-LM: it has most of what can go wrong.
ALWAYS = "paligemma"


def script():
    sys.path[:0] = [str(FILE.parent)]
    spec = importlib.util.spec_from_file_location("check_families", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


check_families = script()
FAMILIES = sorted(check_families.builders())


def test_there_are_thirteen():
    assert len(FAMILIES) == 13


def row_of(name):
    """The row of a family in the table, whose checks all pass."""
    family = check_families.check_family(name)
    assert [finding for finding in family.findings if finding.passed is False] == []
    row = check_families.table([family]).splitlines()[-1]
    assert row.startswith(f"| {name} |") and "**no**" not in row
    return row


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_family(name):
    row = row_of(name)
    assert row.count("| r 0.9") == 3 - row.count("| - ")


def test_a_family_that_has_begun_to_learn(monkeypatch):
    """Every step of `test_family`, cut short: four bits are left out and training stops at the first sign."""
    monkeypatch.setattr(check_families, "ENOUGH", 0.01)
    monkeypatch.setattr(check_families, "PLENTY", 0.01)
    monkeypatch.setattr(check_families, "qlora_tuning", lambda folder: [])
    assert row_of(ALWAYS).count("| r 0.") == 2


def test_a_type_that_cannot_carry_the_head_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "check_families", check_families)
    outcome = check_families.all_families.check_type("florence2", tmp_path)
    assert outcome.state == "refused" and "encoder-decoder" in outcome.reason


@pytest.mark.slow
def test_a_type_of_transformers_is_built_tiny_checked_and_not_made_again(tmp_path, monkeypatch):
    all_families = check_families.all_families
    assert {"llava", "vipllava"} <= set(all_families.known_types())
    monkeypatch.setattr(check_families, "full_tuning", lambda folder: [Finding("full tuning", True, "r 0.95 in 7")])
    monkeypatch.setitem(sys.modules, "check_families", check_families)
    outcome = all_families.check_type("vipllava", tmp_path)
    assert (outcome.state, outcome.reason, outcome.figure) == ("works", "", "r 0.95 in 7")
    assert all_families.check_type("evolla", tmp_path).state == "not tried"
    (tmp_path / "without").mkdir()
    all_families._write(tmp_path / "without" / "vipllava.json", outcome)
    all_families.check_setting("without", ["vipllava"], tmp_path, 1)  # has a result, so nothing is started
    assert all_families.outcomes(tmp_path) == {"vipllava": {"without": outcome}}


def test_the_page_says_what_became_of_each_type(tmp_path):
    all_families = check_families.all_families
    works, breaks = all_families.Outcome("a", "works", figure="r 0.9"), all_families.Outcome("a", "breaks", "gradients")
    refused = all_families.Outcome("b", "refused", "needs torchvision")
    found = {"a": {"torchvision": works, "without": breaks}, "b": {"torchvision": works, "without": refused}}
    assert [all_families.verdict(both).state for both in found.values()] == ["breaks", "works"]
    page = tmp_path / "families.md"
    page.write_text(f"above\n{all_families.BEGIN}\nold\n{all_families.END}\nbelow\n")
    all_families.write_page(found, page)
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("below\n") and "old" not in text
    assert "Of 2 types, **1 work**, 1 break" in text
    assert "| a | works | **breaks** | r 0.9 | gradients |" in text and "earlier" not in text


def test_results_of_an_earlier_state_of_the_code_have_a_star(tmp_path):
    all_families = check_families.all_families
    (tmp_path / "without").mkdir()
    for name, older in (("a", {"code": "0"}), ("b", {}), ("c", None)):
        entry = dataclasses.asdict(all_families.Outcome(name, "works"))
        entry = entry if older is None else {**{k: v for k, v in entry.items() if k != "code"}, **older}
        (tmp_path / "without" / f"{name}.json").write_text(json.dumps(entry))
    text = all_families.table(all_families.outcomes(tmp_path))
    assert "2 of 3 results are of an earlier" in text
    assert "| a | - | works \\* |" in text and "| b | - | works \\* |" in text and "| c | - | works |" in text


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
