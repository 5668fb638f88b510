"""The command `roc`: choosing a command, help without torch, and `roc attach`."""

import subprocess
import sys

import pytest
from tiny_models import tiny_llava

import roc
from roc.cli import COMMANDS, main


def test_help_lists_every_command_and_an_example(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text and command.summary in text for name, command in COMMANDS.items())
    assert "example: roc finetune" in text


def test_no_command_is_an_error_with_help(capsys):
    assert main([]) == 2
    assert "usage: roc COMMAND" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"roc {roc.__version__}\n"


def test_unknown_command_names_the_known_ones(capsys):
    assert main(["finetun"]) == 2
    error = capsys.readouterr().err
    assert "'finetun'" in error and all(name in error for name in COMMANDS)


@pytest.mark.parametrize("words", ["--help", "--version"])
def test_needs_no_torch(words):
    code = f"import sys; from roc.cli import main; main([{words!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    try:
        status = main([name, "--help"])
    except SystemExit as stop:
        status = stop.code
    assert status == 0
    assert f"example: roc {name}" in capsys.readouterr().out


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    model, processor = tiny_llava()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def test_attach_writes_a_checkpoint_that_loads(saved_model, tmp_path, capsys):
    out = tmp_path / "start"
    words = ["--min_score", "1", "--max-score", "5", "--num_tokens", "5", "--attributes", "overall", "light"]
    assert main(["attach", saved_model, str(out), *words]) == 0
    assert "5 levels on 1..5 for overall, light" in capsys.readouterr().out
    model, processor = roc.load(out)
    assert (model.config.roc["min_score"], model.config.roc["max_score"]) == (1.0, 5.0)
    assert model.config.roc["attributes"] == ["overall", "light"]
    assert model.score_head.weight.shape[0] == 5
    assert processor.tokenizer.convert_tokens_to_ids("[SCORE]") == model.config.roc["token_id"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["only-one"], "expected MODEL OUT"),
        (["a", "b", "--learning_rate", "1"], "--learning_rate says nothing about the head"),
        (["a", "b", "--min_score", "9", "--max_score", "1"], "must be below max_score"),
        (["/nowhere/model", "b"], "/nowhere/model"),
    ],
)
def test_attach_refuses(words, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["attach", *words]) == 2
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_attach_overwrites_nothing(saved_model, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("kept")
    assert main(["attach", saved_model, str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
