"""`roc mcp`: what it refuses before a model is loaded."""

import sys

import pytest

from roc.commands.mcp import main


@pytest.fixture(autouse=True)
def checkpoint(tmp_path, monkeypatch):
    """A folder `x` that looks like a checkpoint, and one for photos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text('{"model_type": "llava"}')
    (tmp_path / "photos").mkdir()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--checkpoint", "x"], "folders"),
        (["--checkpoint", "x", "--folders", "gone"], "gone is no folder; name folders that hold the pictures"),
        (["--checkpoint", "gone", "--folders", "photos"], "There is no folder gone"),
        (["--checkpoint", "x", "--folders", "photos", "--images", "1"], "images is '1', expected a whole number"),
        (["--checkpoint", "x", "--folders", "photos"], "this command needs: pip install 'roc-mllm[mcp]'"),
    ],
)
def test_bad_input(words, error, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)  # as where the package is not installed
    assert main(words) == 2
    said = capsys.readouterr()
    assert error in said.err and said.out == "" and "Traceback" not in said.err
