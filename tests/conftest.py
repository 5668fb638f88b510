"""Fixtures shared by all tests."""

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def vectors():
    """The recorded reference values: name -> {name, status, tol, inputs, expected, note}."""
    entries = json.loads((Path(__file__).parent / "reference" / "vectors.json").read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in entries}
