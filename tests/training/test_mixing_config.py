"""Settings of several data sets: how they are written, and what does not go with them."""

import pytest

from roc.settings import ConfigError
from roc.training.config import load_config
from roc.training.mixing_config import DataSet

TWO = ["AVA=1:10:ava.csv", "KonIQ=0:100:data/koniq=1.csv"]


def refused(values, told):
    with pytest.raises(ConfigError, match=told):
        load_config(None, values)


def test_data_sets_are_read_from_words():
    config = load_config(None, {"mix": TWO, "mix_folders": ["KonIQ=photos"], "image_folder": "root"})
    assert config.data_sets == (
        DataSet("AVA", (1, 10), "ava.csv", "root"),
        DataSet("KonIQ", (0, 100), "data/koniq=1.csv", "photos"),
    )
    assert config.mixes and config.data_files == ("ava.csv", "data/koniq=1.csv")
    assert config.part_learning_rates == {"links": 0.01}


def test_the_shared_score_is_on_the_scale_of_the_first():
    config = load_config(None, {"mix": TWO[::-1], "num_tokens": 5})
    assert config.score_space.range == (0, 100) and config.score_space.num_levels == 5
    load_config(None, {"mix": TWO[::-1], "min_score": 0, "max_score": 100})
    refused(
        {"mix": TWO[::-1], "max_score": 5}, "max_score is 5, but the shared score is on the scale of .* KonIQ: 0..100"
    )


def test_one_data_set_learns_no_links():
    config = load_config(None, {"mix": TWO[1:], "error_aware": True})
    assert not config.mixes and config.part_learning_rates == {} and config.score_space.range == (0, 100)
    other = load_config(None, {"mix": TWO[1:], "error_aware": True, "link_pieces": 3})
    assert other.differences(config.to_dict()) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"mix": ["AVA=ava.csv"]}, "mix has 'AVA=ava.csv', expected NAME=LOWEST:HIGHEST:FILE"),
        ({"mix": ["AVA=10:1:ava.csv"]}, "mix gives AVA the range 10:1, expected the lowest rating first"),
        ({"mix": [TWO[0], "ava=0:5:b.csv"]}, "mix names AVA, ava more than once"),
        ({"mix": ["native=0:5:b.csv"]}, "mix has the name native, which /v1/reward takes for a kind of reward"),
        ({"mix": ["a/b=0:5:b.csv"]}, "mix has the name 'a/b'; it becomes the name of a folder"),
        ({"mix": TWO, "mix_folders": ["PARA=x"]}, "mix_folders names PARA, which is no data set of mix; it names AVA"),
        ({"mix_folders": ["PARA=x"]}, "mix_folders names PARA, which is no data set of mix, which is not set"),
        ({"mix": TWO, "mix_folders": ["KonIQ"]}, "mix_folders has 'KonIQ', expected NAME=FOLDER"),
        ({"mix": TWO, "data_path": "a.csv"}, "data_path is given, and so is mix"),
        ({"mix": TWO, "pairs_path": "a.csv"}, "pairs_path is given, and so is mix"),
        ({"mix": TWO, "error_aware": True}, "error_aware is on and mix names 2 data sets"),
        ({"mix": TWO, "l1_weight": 0, "ce_weight": 1}, "l1_weight is 0 and mix names 2 data sets; the links learn by"),
        ({"mix": TWO, "l1_scale": "native"}, "l1_scale is native and mix names 2 data sets"),
    ],
)
def test_what_does_not_go_together_is_refused(values, told):
    refused(values, told)


def test_other_methods_learn_from_one_data_set():
    from roc.agree.train_config import AgreeConfig
    from roc.policy.config import PolicyConfig

    for group in (AgreeConfig, PolicyConfig):
        with pytest.raises(ConfigError, match="mix is"):
            load_config(None, {"mix": TWO, "data_path": None, "model_name_or_path": "m"}, group=group)


def test_what_is_given_by_flag_and_has_no_effect():
    """The default of a setting lets a range pass that nobody gave, but not one that was given."""
    words = ["--mix", *TWO[::-1]]
    assert load_config(None, words).notes == ()
    with pytest.raises(ConfigError, match="--min_score: min_score is 1, but the shared score is on the scale of"):
        load_config(None, [*words, "--min_score", "1"])
    assert load_config(None, [*words, "--min_score", "0", "--max_score", "100"]).notes == ()
    idle = load_config(None, [*words, "--demo_size", "32", "--lora_rank", "8", "--save_strategy", "no"])
    assert idle.notes == tuple(f"{name} has no effect beside the other settings" for name in ("lora_rank", "demo_size"))


def test_no_data_set_at_all(tmp_path):
    """No demo is trained in place of data sets that were forgotten."""
    for words in (["--mix"], ["--mix="], ["--mix", "--demo_size", "32"]):
        with pytest.raises(ConfigError, match="--mix: mix names no data set; give NAME=LOWEST:HIGHEST:FILE for each"):
            load_config(None, words)
    assert load_config(None, ["--mix=", "--data_path", "a.csv"]).mix == ()
