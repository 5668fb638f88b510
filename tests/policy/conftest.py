"""Short names of the fixtures that reinforcement is tested with."""

import pytest


@pytest.fixture(scope="session")
def llava(reasoning_checkpoint):
    """Folder of a tiny LLaVA that writes critiques with a score."""
    return reasoning_checkpoint


@pytest.fixture(scope="session")
def data(reasoning_photos):
    """File of eight photos to learn from and four to validate on."""
    return reasoning_photos
