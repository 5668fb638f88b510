"""`roc serve`: its flags, and what it refuses before a model is loaded."""

import logging
import sys

import pytest
from serving import listen

from roc.commands import serve
from roc.commands.line import show_notes
from roc.commands.serve import main


@pytest.fixture(autouse=True)
def checkpoint(tmp_path, monkeypatch):
    """A folder `x` that looks like a checkpoint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text('{"model_type": "llava"}')


@pytest.mark.parametrize(
    "words",
    [
        ["--port", "99999"],
        ["--images", "0"],
        ["--queue", "3"],
        ["--batch-size", "0"],
        ["--cors_origin", "photos.example"],
        ["--api_key_file", "/no/such/file"],
        ["--host", "192.0.2.1"],
        ["--idle_seconds", "nan"],
        ["--timeout", "inf"],
        ["--batch_wait_ms", "nan"],
        ["--batch_wait_ms", "inf"],
        ["--max_connections", "0"],
    ],
    ids=" ".join,
)
def test_bad_input(words, capsys):
    assert main(["--checkpoint", "x", *words]) == 2
    assert capsys.readouterr().err.startswith("roc serve: ")


def test_a_port_that_is_taken(capsys):
    with listen("127.0.0.1", 0) as listener:
        assert main(["--checkpoint", "x", "--port", str(listener.getsockname()[1])]) == 2
    assert "cannot listen at 127.0.0.1:" in capsys.readouterr().err


def test_keys_that_can_be_guessed(monkeypatch, capsys):
    monkeypatch.setenv("ROC_API_KEYS", "secret")
    assert main(["--checkpoint", "x", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "expected 16 or more" in said and "secret" not in said
    monkeypatch.setenv("ROC_API_KEYS", "")
    assert main(["--checkpoint", "x", "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith("roc serve: ROC_API_KEYS is set and holds no API key")


@pytest.fixture
def served(monkeypatch):
    """Records the options and keys of each call of `serve`, which does nothing."""
    calls = []
    monkeypatch.setattr("roc.server.listen.serve", lambda options, listener, keys: calls.append((options, keys)))
    monkeypatch.setattr(serve, "_log_with_times", lambda: None)
    return calls


def test_flags_become_options(served):
    words = ["--checkpoint", "x", "--port", "0", "--images", "5", "--timeout", "1.5", "--log-requests"]
    words += ["--cors_origin", "https://a.example", "--cors-origin", "https://b.example"]
    assert main(words) == 0
    [(options, keys)] = served
    assert (options.checkpoint, options.images, options.timeout, options.batch_wait_ms) == ("x", 5, 1.5, 5.0)
    assert options.cors_origin == ("https://a.example", "https://b.example") and options.log_requests and not keys


def test_a_missing_package_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "roc.server.listen", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["--checkpoint", "x"]) == 2
    assert "pip install 'roc-mllm[server]'" in capsys.readouterr().err


def test_each_line_is_logged_once(monkeypatch):
    """Lines have a time, and the notes of other commands are off."""
    for name in ("", "roc"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "level", logger.level)
        monkeypatch.setattr(logger, "handlers", [])
    show_notes()
    serve._log_with_times()
    assert logging.getLogger("roc").handlers == [] and len(logging.getLogger().handlers) == 1
