"""A training run begins from a starter, which is built once and kept."""

import dataclasses
import json
import shutil
import threading
import time

import pytest
from training_runs import QUICK, finetune, ratings

from roc.files import write_folder
from roc.starter import build, kept
from roc.starter.kept import keep_starter, kept_folder
from roc.starter.options import StarterOptions
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
    told = capsys.readouterr().err.splitlines()[-1]
    assert "starter small cannot be loaded" in told and f"put it into {cache / 'wheels'}" in told
    assert "roc starter OUT --from FILE" in told and "--model_name_or_path OUT" in told
    assert not kept_folder("small").exists() and not (tmp_path / "out").exists()


def test_two_first_uses_at_the_same_time_build_it_once(cache, monkeypatch):
    built, found = [], []

    def slowly(options, wheels):
        def fill(folder):
            time.sleep(0.5)
            (folder / "config.json").write_text("{}")

        built.append(write_folder(options.out, fill))

    monkeypatch.setattr(build, "build_starter", slowly)
    threads = [threading.Thread(target=lambda: found.append(keep_starter("small"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [kept_folder("small")] * 2 and len(built) == 1
    assert (found[0] / "config.json").is_file()


def test_what_decides_the_content_is_in_the_name(cache, size, monkeypatch):
    names = {kept_folder("small"), kept_folder("full")}
    for owner, name, value in (
        (kept, "StarterOptions", lambda **given: StarterOptions(image_size=224, **given)),
        (kept, "StarterOptions", lambda **given: StarterOptions(seed=1, **given)),
        (kept, "BUILDER", kept.BUILDER + 1),
        (kept, "__version__", "9.0"),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(owner, name, value)
            names.add(kept_folder("small"))
    monkeypatch.setitem(SIZES, "small", dataclasses.replace(size, story="Other parts."))
    names.add(kept_folder("small"))
    assert len(names) == 7 and {name.parent for name in names} == {cache / "starters"}


def test_two_models_to_start_from_are_refused(capsys):
    assert finetune("--starter", "small", "--tiny_model", "demo") == 2
    assert "starter small and tiny_model demo are given, and a run starts from one model" in capsys.readouterr().err
