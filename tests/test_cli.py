"""The command `roc`: choosing a command, and help without torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import roc
from roc.cli import COMMANDS, METHODS, main


def test_help_lists_every_command_and_an_example(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text and summary in text for name, summary in COMMANDS.items())
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


def test_the_room_of_a_method_may_be_deleted(tmp_path):
    """Its command goes with it; every other one is there."""
    ignored = shutil.ignore_patterns("__pycache__", *METHODS)
    shutil.copytree(Path(roc.__file__).parent, tmp_path / "roc", ignore=ignored)
    code = """
import roc.cli, sys
assert not set(roc.cli.METHODS) & set(roc.cli.COMMANDS)
sys.exit(roc.cli.main(["agree"]) * 10 + roc.cli.main(["--help"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 20 and "roc: unknown command 'agree'" in done.stderr
    there = {verb for verb in METHODS if Path(roc.__file__).with_name(verb).is_dir()}
    assert there == set(METHODS) & set(COMMANDS)
    assert all((f"  {verb} " in done.stdout) == (verb not in METHODS) for verb in COMMANDS)


def test_a_name_that_is_no_checkpoint_is_told_before_torch_is_loaded(tmp_path):
    (tmp_path / "r.csv").write_text("image,score\na.jpg,1\n")
    code = """
import sys
from roc.cli import main
for words in (
    ["serve", "--checkpoint", "nope"], ["export", "nope", "--merge", "out"], ["attach", "nope", "out"],
    ["evaluate", "--checkpoint", "nope", "--data_path", "r.csv", "--out", "out"], ["doctor", "nope"],
    ["score", "r.csv", "--checkpoint", "nope"],
):
    assert main(words) == 2, words
    assert not {"torch", "scipy.stats", "matplotlib"} & set(sys.modules), words
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("There is no folder nope") == 6
