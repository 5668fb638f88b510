"""A checkpoint and a folder of photos for the tests of `roc mcp`."""

import pytest
from heads import build, picture

from roc.checkpoint.folder import save
from roc.mcp.assessor import Assessor
from roc.mcp.options import McpOptions


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return str(folder)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of three photos, a broken one in a subfolder, and beside it a photo that nobody may see."""
    top = tmp_path_factory.mktemp("photos").resolve()
    (top / "open" / "trip").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "c.jpg")):
        picture(i).save(top / "open" / name)
    picture(3).save(top / "secret.png")
    (top / "open" / "trip" / "broken.png").write_bytes(b"no picture")
    (top / "open" / "notes.txt").write_text("nothing to see")
    (top / "open" / "link.png").symlink_to(top / "secret.png")
    return top / "open"


@pytest.fixture(scope="session")
def assessor(checkpoint, photos):
    return Assessor(McpOptions(checkpoint=checkpoint, folders=(str(photos),), images=3, max_new_tokens=8))
