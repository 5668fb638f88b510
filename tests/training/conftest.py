"""Fixtures of the tests of training."""

import pytest
from training_runs import demo


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Folder of a finished small run of the demo."""
    out = tmp_path_factory.mktemp("run") / "demo"
    assert demo(out, "--check_answers", "2", plots=True) == 0
    return out
