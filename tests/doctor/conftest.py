"""Models for the doctor's tests."""

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny LLaVA without the head."""
    from plain_models import save_plain
    from tiny_models import tiny_llava

    return save_plain(tmp_path_factory.mktemp("llava"), tiny_llava)


@pytest.fixture
def candidate(folder):
    from roc.doctor.candidate import admit

    return admit(folder)
