"""Fixtures of the server's tests."""

import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    from serving import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def assessment(checkpoint):
    from roc.scoring.assessment import Assessment

    return Assessment(checkpoint, device="cpu")
