"""One miniature wheel and the size that is built from it, for the whole room."""

import pytest
from starter_parts import small_size


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory):
    """The folder of the miniature wheel."""
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="session")
def size(wheel_folder):
    """A `small` of miniature parts."""
    return small_size(wheel_folder)
