"""What is refused before the first step, with the number to set."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from roc.data.records import Record
from roc.data.rows import DataError
from roc.policy.checks import TRL, batch_faults, check_rows, check_settings
from roc.policy.config import PolicyConfig
from roc.settings import ConfigError
from roc.training.config import load_config
from roc.training.run import Refused


def config(**settings):
    return load_config(None, {"data_path": "r.csv", "model_name_or_path": "m", **settings}, group=PolicyConfig)


def refused(**settings):
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    return str(caught.value)


def test_one_completion_has_nothing_to_be_better_than():
    assert "num_generations is 1, expected a whole number at least 2" in refused(num_generations=1)


def test_what_reinforcement_does_not_have_is_refused():
    told = refused(starter="small", augment_flip=0.5, ema_decay=0.9, model_name_or_path=None)
    assert all(f"{name} is" in told for name in ("starter", "augment_flip", "ema_decay"))
    assert "lora_dropout is 0.1, expected 0" in refused(tuning="lora", lora_dropout=0.1)
    assert "rewards is format alone" in refused(rewards=["format"], head_weight=0)
    assert "name each of" in refused(rewards=["rank", "rank"])


def test_generations_and_steps_keep_time():
    assert "set it to 6" in refused(gradient_accumulation_steps=4, steps_per_generation=3, num_iterations=1)
    told = refused(gradient_accumulation_steps=2, num_iterations=4, save_strategy="steps", save_steps=3)
    assert "save_steps is 3" in told and "set it to 4" in told
    assert (
        config(gradient_accumulation_steps=2, num_iterations=4, save_strategy="steps", save_steps=4).num_iterations == 4
    )


def test_a_share_of_the_run_is_no_end_of_a_generation():
    """A tenth of a run of 30 steps is 3; where a generation is one step, any number of them will do."""
    told = refused(gradient_accumulation_steps=2, num_iterations=4, save_strategy="steps", save_steps=0.1)
    assert "save_steps is 0.1, a share of the run" in told and "a number of steps that 2 divides" in told
    assert config(save_strategy="steps", save_steps=0.1).save_steps == 0.1


@pytest.mark.parametrize(
    ("settings", "processes", "expected"),
    [
        ({"per_device_train_batch_size": 9}, 1, "set per_device_train_batch_size 8 or 12, or num_generations 3"),
        ({"per_device_train_batch_size": 6}, 1, "set per_device_train_batch_size 8, or num_generations 3"),
        ({"per_device_train_batch_size": 3}, 1, "set per_device_train_batch_size 8"),
        ({"per_device_train_batch_size": 3, "steps_per_generation": 2}, 1, "6 completions"),
        ({"per_device_train_batch_size": 5}, 1, "5 completions"),
        ({"per_device_train_batch_size": 5}, 2, "(per_device_train_batch_size 5 x 2 processes)"),
        ({"per_device_train_batch_size": 4}, 1, "all of one picture (num_generations 4), so rank has nothing"),
        ({"per_device_train_batch_size": 1}, 4, "set per_device_train_batch_size 2, or num_generations 2"),
        ({"per_device_train_batch_size": 2, "num_generations": 6}, 3, "set per_device_train_batch_size 4"),
        ({"per_device_train_batch_size": 3, "rewards": ["error"]}, 1, "size 4, or num_generations 3"),
    ],
)
def test_a_generation_has_to_divide_into_several_pictures(settings, processes, expected):
    faults = batch_faults(config(**settings), processes)
    assert len(faults) == 1 and expected in faults[0]
    advice = advised(faults[0])
    assert advice
    for name, value in advice:
        assert batch_faults(config(**settings | {name: value}), processes) == []


def advised(told):
    """Lists the settings that a refusal says to change, with each value that it names."""
    found = re.findall(r"(per_device_train_batch_size|num_generations) (\d+)(?: or (\d+))?", told.split("; set ")[1])
    return [(name, int(value)) for name, *values in found for value in values if value]


def test_a_generation_of_one_picture_is_fine_where_none_are_compared():
    assert batch_faults(config(per_device_train_batch_size=4, rewards=["error", "format"]), 1) == []
    assert batch_faults(config(per_device_train_batch_size=4), 2) == []


def row(i, **fields):
    return Record(str(i), (f"{i}.png",), **{"scores": {"overall": 5.0}, "line": i + 2, **fields})


def faults_of(rows, **settings):
    with pytest.raises(DataError) as caught:
        check_rows(config(per_device_train_batch_size=8, **settings), rows, [], 1)
    return "\n".join(caught.value.faults)


def test_rows_have_to_hold_what_is_rewarded():
    check_rows(config(per_device_train_batch_size=8), [row(i) for i in range(4)], [], 1)
    assert "no row has a score, which rank, error needs" in faults_of([row(i, scores={}) for i in range(4)])
    assert "2 rows have no score (lines 2, 3)" in faults_of(
        [row(i, scores={} if i < 2 else {"overall": 2}) for i in range(4)]
    )
    told = faults_of([row(i) for i in range(4)], rewards=["relative", "format"])
    assert "no row has a group, which relative needs" in told
    assert "2 pictures; reinforcement asks about one" in faults_of(
        [replace(row(0), images=("a", "b")), *map(row, range(1, 4))]
    )


def test_groups_have_to_fit_and_edits_to_tell_a_number():
    group = [row(i, group="g", scores={}, edit={"delta": 0.5 * i}) for i in range(3)]
    told = faults_of([*group, row(5)], rewards=["relative", "error", "format"])
    assert "the group 'g' has 3 pictures, but a generation takes 2" in told and told.endswith(
        "set per_device_train_batch_size 12"
    )
    bad = [row(0, group="g", scores={}), row(1, group="g", scores={}, edit={"strength": 3}), row(2)]
    assert "r.csv:3: the edit has the delta None" in faults_of(bad, rewards=["relative", "error", "format"])


def test_a_group_is_given_a_size_that_divides_and_the_rows_to_fill_it():
    """A device holds one completion more, and a generation four pictures more."""
    rows = [row(i, group="g", scores={}, edit={"delta": 0.5 * i}) for i in range(5)]
    settings = {"num_generations": 2, "steps_per_generation": 4, "rewards": ["relative", "format"]}
    with pytest.raises(DataError) as caught:
        check_rows(config(per_device_train_batch_size=1, **settings), rows, [], 2)
    (told,) = caught.value.faults
    assert told.endswith("set per_device_train_batch_size 2, and give 8 rows at least")
    rows += [row(i, group="h", scores={}, edit={"delta": 0.5 * i}) for i in range(5, 8)]
    check_rows(config(per_device_train_batch_size=2, **settings), rows, [], 2)


@pytest.mark.parametrize(
    ("rows", "settings", "processes", "advice"),
    [
        (3, {"per_device_train_batch_size": 16}, 1, "set per_device_train_batch_size 12"),
        (
            2,
            {"per_device_train_batch_size": 12, "steps_per_generation": 3, "gradient_accumulation_steps": 3},
            2,
            "give 18 rows at least",
        ),
        (1, {"per_device_train_batch_size": 8}, 1, "give 2 rows at least"),
        (1, {"per_device_train_batch_size": 8, "rewards": ["error"]}, 1, "set per_device_train_batch_size 4"),
        (
            5,
            {"per_device_train_batch_size": 3, "steps_per_generation": 4, "num_generations": 2},
            2,
            "set per_device_train_batch_size 1",
        ),
    ],
)
def test_rows_have_to_fill_a_generation(rows, settings, processes, advice):
    with pytest.raises(DataError) as caught:
        check_rows(config(**settings), [row(i) for i in range(rows)], [], processes)
    (told,) = caught.value.faults
    assert f"{rows} row" in told and advice in told
    if "; set " in told:
        for name, value in advised(told):
            changed = config(**settings | {name: value})
            assert batch_faults(changed, processes) == []
            check_rows(changed, [row(i) for i in range(rows)], [], processes)


def test_a_smaller_generation_still_takes_the_largest_group():
    """Four rows of which three are a group: two pictures would do for a rank, but not for the group."""
    group = [row(i, group="g", scores={}, edit={"delta": 0.5 * i}) for i in range(3)]
    settings = {"rewards": ["relative", "error", "format"]}
    with pytest.raises(DataError) as caught:
        check_rows(config(per_device_train_batch_size=24, **settings), [*group, row(3)], [], 1)
    assert advised(caught.value.faults[0]) == [("per_device_train_batch_size", 16)]


def test_settings_name_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(Refused) as caught:
        check_settings(
            load_config(None, {"output_dir": str(tmp_path), "use_vllm": True, "report_to": "none"}, group=PolicyConfig)
        )
    told = str(caught.value)
    assert "data_path is missing" in told and "model_name_or_path is missing" in told
    assert "the launcher spreads the model (fsdp2)" in told and "use_vllm is on, and vLLM is not installed" in told


def test_without_trl_the_extra_is_named(monkeypatch, tmp_path):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(Refused, match=r"needs the package trl: pip install 'roc-mllm\[rl\]'"):
        check_settings(config(output_dir=str(tmp_path)))
    monkeypatch.setattr(metadata, "version", lambda name: "1.17.2")
    with pytest.raises(Refused, match="trl 1.17.2 is installed, and roc is built on the inside of trl 1.16"):
        check_settings(config(output_dir=str(tmp_path)))


def test_the_release_of_trl_is_the_one_that_the_extra_pins():
    setup = (Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8")
    major, minor = TRL.split(".")
    assert f'"trl>={TRL},<{major}.{int(minor) + 1}"' in setup


def test_checking_needs_no_torch():
    code = "import sys, roc.policy.checks; assert not {'torch', 'trl', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
