"""`roc export` writes one form per call, and refuses in one line."""

import os
import subprocess
import sys

import pytest
import transformers
from exports import attached_checkpoint

from roc.cli import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return attached_checkpoint("llava", tmp_path_factory.mktemp("llava"))


def test_it_names_what_it_wrote(checkpoint, tmp_path, capsys):
    assert main(["export", str(checkpoint[0]), "--head-only", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: README.md, roc.json, score_head.safetensors\n"


def test_no_progress_bar_of_other_libraries_is_shown(checkpoint, tmp_path, capfd):
    transformers.utils.logging.enable_progress_bar()
    assert main(["export", str(checkpoint[0]), "--vllm-classify", str(tmp_path / "out")]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_nor_where_the_command_itself_imports_them(checkpoint, tmp_path):
    words = [sys.executable, "-m", "roc.cli", "export", str(checkpoint[0]), "--vllm_classify", str(tmp_path / "out")]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
    assert subprocess.run(words, capture_output=True, text=True, env=environment).stderr == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{roc}"], "say what to make: --merge"),
        (["{roc}", "--merge", "{out}"], "is neither an adapter nor a personal head, so there is nothing to merge"),
        (["{roc}", "--vllm-classify", "{full}"], "not empty; name a new folder"),
        (["{roc}", "--vllm_generate", "{out}", "--base", "org/base"], "full checkpoint, not an adapter"),
        (["{stock}", "--vllm-classify", "{out}"], "carries no score head"),
        (["{stock}", "--head-only", "{out}"], "carries no score head"),
        (["{none}", "--head-only", "{out}"], "nowhere"),
        (["org/name", "--push_to_hub", "org/name"], "only a folder can be uploaded"),
        (["{stock}", "--push_to_hub", "org/name"], "carries no score head"),
        (["{roc}", "--push_to_hub", "org/name", "--base", "org/base"], "--base says nothing"),
        (["{roc}", "--head-only", "{out}", "--private"], "--private says nothing"),
        (["{roc}", "--head-only", "{out}", "--base", "org/base"], "--base says nothing with --head_only"),
        (["{roc}", "--head-only", "{out}", "--merge", "{out}"], "one form at a time; got --merge and --head_only"),
    ],
)
def test_refused(words, expected, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    places = {
        "roc": checkpoint[0],
        "stock": checkpoint[0].parent / "stock",
        "full": tmp_path / "full",
        "out": tmp_path / "out",
        "none": tmp_path / "nowhere",
    }
    assert main(["export", *(word.format(**places) for word in words)]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and os.listdir(tmp_path / "full") == ["mine.txt"]
