"""Settings of the stages: which stage a command line means, what is missing, and the files of configs/."""

from pathlib import Path

import pytest

from roc.commands.relative import main
from roc.relative.train_config import AnchorsStage, GroupsStage, PairsStage, stage_of
from roc.settings import ConfigError
from roc.training.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = {"pairs": PairsStage, "anchors": AnchorsStage, "groups": GroupsStage}


@pytest.mark.parametrize("stage", FILES)
def test_the_files_are_settings_of_their_stage(stage):
    file = str(CONFIGS / f"relative_{stage}.yaml")
    assert stage_of([file]) == stage
    more = {"model_name_or_path": "base"} if stage == "pairs" else {}
    config = load_config(file, more, group=FILES[stage])
    assert config.stage == stage and config.data_path in config.data_files


def refused(group, **settings):
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"model_name_or_path": "base", "data_path": "d.jsonl", **settings}, group=group)
    return str(caught.value)


def test_what_is_missing_or_has_no_place_is_told():
    told = refused(PairsStage, data_path=None, model_name_or_path=None)
    assert "data_path is missing" in told and "model_name_or_path is missing" in told
    assert "pairs_path is 'p.csv'" in refused(AnchorsStage, pairs_path="p.csv")
    assert "eval_data_path is given" in refused(PairsStage, eval_data_path="e.csv")
    told = refused(GroupsStage)
    assert "with_anchors is on and calibrate is critique, and anchors_path is missing" in told
    assert "--with_anchors false --calibrate never" in told
    unused = {"anchors_path": "a.jsonl", "with_anchors": False, "calibrate": "never"}
    assert "nothing would use it" in refused(GroupsStage, **unused)
    without = {"with_anchors": False, "calibrate": "never"}
    assert "critiques_path is given, but the stages" in refused(GroupsStage, critiques_path="c.jsonl", **without)
    assert "without relative" in refused(GroupsStage, rewards=["format"], **without)
    assert "names error and with_anchors is false" in refused(GroupsStage, rewards=["relative", "error"], **without)


def test_the_command_finds_the_stage_or_says_which_there_are(capsys):
    assert main(["train", "--data_path", "x"]) == 2
    assert "stage is missing, expected one of pairs, anchors, groups" in capsys.readouterr().err
    assert main(["train", "--stage", "group"]) == 2
    assert "--stage: stage is 'group'" in capsys.readouterr().err
    assert main(["train", "--stage", "groups", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--anchors_path" in shown and "--min_score" not in shown
