"""Fixtures shared by all tests."""

import gc
import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def float32_unless_asked():
    """Hides from this process that the CPU multiplies bfloat16: tests compare the same numbers on every machine.

    In bfloat16 a score depends a little on its batch. Commands that tests start keep the machine's choice.
    """
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
        yield


def pytest_collection_finish(session):
    """Takes all that was imported out of the garbage collector: every trainer collects twice, 0.4 s each with it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def vectors():
    """The recorded reference values: name -> {name, status, tol, inputs, expected, note}."""
    entries = json.loads((Path(__file__).parent / "reference" / "vectors.json").read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in entries}


@pytest.fixture(scope="session")
def reasoning_checkpoint(tmp_path_factory):
    """Folder of a tiny LLaVA that has learnt to write critiques with a score."""
    from policy_runs import cold_started

    return cold_started(tmp_path_factory.mktemp("reasoning") / "llava")


@pytest.fixture(scope="session")
def reasoning_photos(tmp_path_factory):
    """File of eight photos to reinforce it on and four to validate on."""
    from policy_runs import photos

    return photos(tmp_path_factory.mktemp("reasoning") / "photos")
