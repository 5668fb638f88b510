"""The settings: reading, typing, refusing, published names, and what makes two runs the same."""

from pathlib import Path

import pytest
import yaml

from roc.commands.finetune import main
from roc.settings import ConfigError, help_text, read_flags
from roc.training.config import SETTINGS, DataConfig, ModelConfig, RunConfig, ScoreConfig, TrainConfig, load_config
from roc.training.error_aware_config import ErrorAwareConfig
from roc.training.mixing_config import MixingConfig
from roc.training.pair_config import PairConfig
from roc.training.published_flags import PUBLISHED_FLAGS
from roc.training.reasoning_config import ReasoningConfig

GROUPS = (
    ModelConfig,
    ScoreConfig,
    DataConfig,
    MixingConfig,
    PairConfig,
    ReasoningConfig,
    TrainConfig,
    ErrorAwareConfig,
)

ROOT = Path(__file__).parents[2]
# Those of configs/distributed/ are accelerate's; reinforcement and the stages of learning from edits have settings of
# their own.
RUN_CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name != "distributed"
    and not path.stem.startswith(("reasoning_rapo", "relative_pairs", "relative_anchors", "relative_groups"))
)

# The command line of the published scripts/finetune.sh, with the score flags its notes name.
PUBLISHED_LINE = """
    --deepspeed ./scripts/zero3.json --model_name_or_path org/model --version v1 --data_path ava.json
    --image_folder images --image_aspect_ratio pad --group_by_modality_length True --bf16 True --output_dir out
    --min_score 1 --max_score 10 --num_tokens 10 --l1_weight 0 --ce_weight 10 --emd_weight 0
    --num_train_epochs 2 --per_device_train_batch_size 16 --per_device_eval_batch_size 4
    --gradient_accumulation_steps 1 --evaluation_strategy no --save_strategy steps --save_steps 500
    --save_total_limit 1 --learning_rate 2e-5 --weight_decay 0. --warmup_ratio 0.03 --lr_scheduler_type cosine
    --logging_steps 1 --tf32 True --model_max_length 2048 --gradient_checkpointing True
    --tune_visual_abstractor True --freeze_vision_model False --dataloader_num_workers 4 --lazy_preprocess True
    --report_to tensorboard
""".split()


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path=None, overrides=()):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", RUN_CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_repository_loads(path):
    config = load_config(path)
    for name, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        assert SETTINGS[name].read(str(value) if not isinstance(value, list) else value) == getattr(config, name)
    assert config.notes == ()


def test_defaults_are_the_published_recipe():
    config = RunConfig()
    assert (config.learning_rate, config.num_train_epochs, config.per_device_train_batch_size) == (2e-5, 2.0, 16)
    assert (config.weight_decay, config.warmup_ratio, config.lr_scheduler_type) == (0.0, 0.03, "cosine")
    assert (config.min_score, config.max_score, config.num_tokens, config.model_max_length) == (1.0, 10.0, 10, 2048)
    assert config.score_space.levels == tuple(float(level) for level in range(1, 11))


def test_groups_share_no_name():
    assert len(SETTINGS) == sum(len(group.__dataclass_fields__) for group in GROUPS)


def test_yaml_text_is_typed_by_the_setting(tmp_path):
    config = load_config(
        write(
            tmp_path,
            "learning_rate: 1e-4\neval_strategy: no\nmax_steps: 010\nbf16: auto\ntf32: off\nreport_to: none\n"
            "num_tokens: 5.0\nattributes: [overall, light]\nquestion:\nval_fraction: .25\n",
        )
    )
    assert config.learning_rate == 1e-4 and type(config.learning_rate) is float  # YAML itself reads 1e-4 as text
    assert config.eval_strategy == "no"  # YAML itself reads no as False
    assert config.max_steps == 10  # YAML itself reads 010 as 8
    assert (config.bf16, config.tf32, config.report_to, config.question) == (None, False, "none", None)
    assert config.num_tokens == 5 and type(config.num_tokens) is int
    assert config.attributes == ("overall", "light")
    assert config.val_fraction == 0.25


def test_flags_win_over_the_file(tmp_path):
    path = write(tmp_path, "seed: 1\nlearning_rate: 1e-3\n")
    config = load_config(None, [str(path), "--seed", "2"])
    assert (config.seed, config.learning_rate) == (2, 1e-3)
    assert load_config(path, {"seed": 3}).seed == 3


@pytest.mark.parametrize(
    "words",
    [
        ["--learning-rate", "1e-4"],
        ["--learning_rate=1e-4"],
        ["--learning_rate", "1", "--learning-rate=0.0001"],
    ],
)
def test_flag_spellings(words):
    assert load_config(None, words).learning_rate == 1e-4


def test_booleans_alone_or_with_a_value(tmp_path):
    path = str(write(tmp_path, "seed: 7\n"))
    for words in (["--bf16"], ["--bf16", "True"], ["--bf16=true"]):
        assert load_config(None, words).bf16 is True
    for words in (["--bf16", path], ["--bf16", "--seed", "7"]):  # what follows is not the value
        config = load_config(None, words)
        assert config.bf16 is True and config.seed == 7
    assert load_config(None, ["--bf16", "False"]).bf16 is False
    assert load_config(None, ["--bf16", "auto"]).bf16 is None


def test_lists_take_words_or_commas_and_leave_the_file_alone(tmp_path):
    path = str(write(tmp_path, "seed: 7\n"))
    for words in (["--freeze", "vision", "language"], ["--freeze", "vision,language"], ["--freeze=vision, language"]):
        config = load_config(None, [*words, path])
        assert config.freeze == ("vision", "language") and config.seed == 7
    assert load_config(None, ["--freeze"]).freeze == ()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("num_tokens", "1", "at least 2"),
        ("num_tokens", "ten", "a whole number"),
        ("num_tokens", "2.5", "a whole number"),
        ("num_tokens", True, "a whole number"),
        ("learning_rate", "0", "above 0"),
        ("learning_rate", "nan", "a number"),
        ("l1_weight", "-1", "at least 0"),
        ("val_fraction", "1", "below 1"),
        ("per_device_train_batch_size", "0", "at least 1"),
        ("bf16", "maybe", "True or False, or auto"),
        ("l1_scale", "Unit", "one of unit, native"),
        ("freeze", "vision,tower", "any of vision, projector, language, embeddings"),
        ("output_dir", "", "text"),
        ("max_steps", "0", "-1"),
        ("save_steps", "1.5", "a whole number of steps"),
        ("min_score", "10", "below max_score"),
    ],
)
def test_a_refused_value_names_key_value_and_expectation(key, value, expected):
    text = refusal(None, {key: value})
    assert key in text and expected in text
    assert repr(value) in text or str(value) in text


def test_cross_checks():
    assert "nothing would teach the score head" in refusal(None, {"l1_weight": 0})
    assert load_config(None, {"l1_weight": 0, "ce_weight": 10}).ce_weight == 10
    assert "starts with 'light'" in refusal(None, {"attributes": ["light"]})
    assert "light more than once" in refusal(None, {"attributes": "overall,light,light"})
    assert "attributes is empty" in refusal(None, {"attributes": []})
    assert "'[SCORE]'" in refusal(None, {"attributes": "overall,[SCORE]"})
    assert "has 1 [SCORE], expected 2" in refusal(None, {"attributes": "overall,light", "answer": "It is [SCORE]."})
    assert "give --data_path" in refusal(None, {"image_folder": "photos"})


def test_all_faults_come_together_with_file_and_line(tmp_path):
    path = write(tmp_path, "seed: 1\nlerning_rate: 1e-3\n\nbatch: 2\n")
    lines = refusal(path, ["--num-tokns", "5"]).splitlines()
    assert lines == [
        f"{path}:2: unknown setting 'lerning_rate'; did you mean 'learning_rate'?",
        f"{path}:4: unknown setting 'batch'; --help lists all of them",
        "--num_tokns: unknown setting 'num_tokns'; did you mean 'num_tokens'?",
    ]
    path = write(tmp_path, "seed: -1\nlearning_rate: fast\n")
    lines = refusal(path, ["--num_tokens", "1"]).splitlines()
    assert [line.split(" is ")[0] for line in sorted(lines)] == sorted(
        ["--num_tokens: num_tokens", f"{path}:1: seed", f"{path}:2: learning_rate"]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\nseed: 2\n", ":2: seed was already set in"),
        ("train:\n  seed: 1\n", ":1: train is nested"),
        ("seed: [[1]]\n", ":1: seed is nested"),
        ("", "this file has none"),
        ("# nothing\n", "this file has none"),
        ("- seed\n", "this file has none"),
        ("seed: [1\n", "not valid YAML"),
        ("seed: !!python/name:os.system 1\nx: 1\n", ":2: unknown setting 'x'"),
    ],
)
def test_refused_files(tmp_path, text, expected):
    assert expected in refusal(write(tmp_path, text))


def test_missing_and_second_file(tmp_path):
    assert "cannot read the configuration" in refusal(tmp_path / "none.yaml")
    assert "none.yaml" in refusal(None, [str(write(tmp_path, "seed: 1")), "none.yaml"])
    assert "unexpected argument 'train'" in refusal(None, ["train"])
    assert "learning_rate has no value, expected a number above 0" in refusal(None, ["--learning_rate", "--bf16"])


def test_the_published_command_line_is_accepted():
    config = load_config(None, PUBLISHED_LINE)
    assert (config.model_name_or_path, config.data_path, config.image_folder) == ("org/model", "ava.json", "images")
    assert (config.l1_weight, config.ce_weight, config.emd_weight) == (0.0, 10.0, 0.0)
    assert (config.eval_strategy, config.save_strategy, config.save_steps) == ("no", "steps", 500.0)
    assert config.freeze == () and config.bf16 is True and config.deepspeed == "./scripts/zero3.json"
    noted = {note.split()[0] for note in config.notes}
    assert noted == {name[2:] for name in PUBLISHED_LINE if name.startswith("--") and name[2:] not in SETTINGS}
    assert "version v1: accepted without effect" in "\n".join(config.notes)


def test_published_flags_with_a_meaning():
    config = load_config(None, ["--freeze_vision_model", "True", "--tune_visual_abstractor", "False"])
    assert config.freeze == ("vision", "projector")
    assert load_config(None, ["--visual_abstractor_lr", "1e-5"]).projector_learning_rate == 1e-5
    assert load_config(None, ["--freeze", "language", "--freeze_vision_model"]).freeze == ("language", "vision")


@pytest.mark.parametrize(
    ("words", "tuning", "rank"),
    [
        ("--lora_enable True --lora_r 128 --lora_alpha 256", "lora", 128),
        ("--bits 4 --lora_enable True --quant_type nf4", "qlora", 64),
        ("--lora_enable True --bits 4 --double_quant True", "qlora", 64),
        ("--lora_enable False --bits 16 --lora_bias none", "full", 64),
    ],
)
def test_published_flags_of_lora(words, tuning, rank):
    config = load_config(None, ["--model_name_or_path", "org/model", *words.split()])
    assert (config.tuning, config.lora_rank) == (tuning, rank)


def test_a_way_of_tuning_refuses_the_settings_of_another():
    assert "adapts a pretrained model" in refusal(None, ["--tuning", "lora"])
    lora = ["--tuning", "lora", "--model_name_or_path", "org/model"]
    assert "the whole base is frozen; lora_parts" in refusal(None, [*lora, "--freeze", "vision"])
    assert "lora_parts is empty" in refusal(None, [*lora, "--lora_parts="])
    assert "ema_decay is 0.9 with tuning lora" in refusal(None, [*lora, "--ema_decay", "0.9"])
    assert load_config(None, [*lora, "--lora_parts", "language", "vision"]).lora_parts == ("language", "vision")


def test_a_part_that_is_not_trained_cannot_join_later():
    frozen = ["--freeze", "vision", "--vision_from", "0.2"]
    assert "vision_from is 0.2, but nothing of the part vision" in refusal(None, frozen)
    lora = ["--tuning", "lora", "--model_name_or_path", "org/model", "--projector_from", "0.5"]
    assert "add it to lora_parts" in refusal(None, lora)
    assert load_config(None, [*lora, "--lora_parts", "projector"]).joins == {"projector": 0.5}


def test_of_several_files_a_later_one_wins_and_flags_win_over_all(tmp_path):
    first, second = tmp_path / "model.yaml", tmp_path / "data.yaml"
    first.write_text("seed: 1\nlearning_rate: 1e-4\nnum_tokens: 5\n")
    second.write_text("seed: 2\nnum_tokens: 7\n")
    for config in (
        load_config([first, second], {"num_tokens": 9}),
        load_config(None, [str(first), "--num_tokens", "9", str(second)]),
    ):
        assert (config.seed, config.learning_rate, config.num_tokens) == (2, 1e-4, 9)
    second.write_text("seed: x\n")
    assert f"{second}:1: seed is 'x'" in refusal([first, second])


def test_published_flags_that_ask_for_what_is_not_done():
    assert "bits is '8', expected 4 or 16" in refusal(None, ["--bits", "8"])
    assert "version is 'v0', expected v1" in refusal(None, ["--version", "v0"])
    assert "keep one of them" in refusal(None, ["--evaluation_strategy", "no", "--eval_strategy", "epoch"])
    assert "drop one of the two" in refusal(None, ["--freeze", "vision", "--freeze_vision_model", "False"])
    assert "expected True or False" in refusal(None, ["--freeze_vision_model", "perhaps"])
    assert "--visual_abstractor_lr: projector_learning_rate is '0'" in refusal(None, ["--visual_abstractor_lr", "0"])


def test_a_flag_overrides_the_file_under_either_name(tmp_path):
    path = write(tmp_path, "eval_strategy: epoch\nfreeze: [language]\n")
    config = load_config(path, ["--evaluation_strategy", "no", "--freeze_vision_model", "True"])
    assert config.eval_strategy == "no" and config.freeze == ("language", "vision")


def test_published_flags_are_no_settings():
    assert not set(PUBLISHED_FLAGS) & set(SETTINGS)
    for flag in PUBLISHED_FLAGS.values():
        assert flag.becomes is None or flag.becomes in SETTINGS
        assert flag.freezes is None or flag.freezes[0] in SETTINGS["freeze"].choices


def test_to_dict_round_trip():
    config = load_config(None, ["--attributes", "overall", "light", "--bf16", "--head_learning_rate", "1e-3"])
    assert load_config(None, config.to_dict()) == config
    assert "notes" not in config.to_dict()


def test_differences():
    base = RunConfig()
    same = load_config(None, {"output_dir": "elsewhere", "overwrite": True, "logging_steps": 3, "threads": 2})
    other = load_config(None, {"learning_rate": 1e-4, "attributes": ["overall", "light"]})
    assert same.differences(base.to_dict()) == []
    assert sorted(other.differences(base.to_dict())) == [
        "attributes: ['overall'] -> ['overall', 'light']",
        "learning_rate: 2e-05 -> 0.0001",
    ]
    assert RunConfig().differences({}) == []


@pytest.mark.parametrize(
    ("shared", "changed", "counts"),
    [
        ({"data_path": "r.csv", "tiny_model": "demo"}, {"demo_train": 5, "demo_size": 64}, False),
        ({}, {"demo_train": 5}, True),
        ({"model_name_or_path": "org/model"}, {"tiny_model": "photos"}, False),
        ({}, {"lora_rank": 8, "lora_targets": "mlp"}, False),
        ({"tuning": "lora", "model_name_or_path": "org/model"}, {"lora_rank": 8}, True),
        ({"eval_strategy": "no", "save_strategy": "steps"}, {"save_steps": 7}, False),
        ({"eval_strategy": "no", "save_strategy": "steps"}, {"save_strategy": "epoch"}, False),
        ({"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 5}, {"save_steps": 50}, True),
        ({"eval_strategy": "steps", "save_strategy": "epoch"}, {"save_steps": 7}, True),  # also says when to validate
        ({"eval_strategy": "epoch", "save_strategy": "steps"}, {"save_steps": 7}, False),
        ({"eval_strategy": "epoch", "save_strategy": "epoch"}, {"save_strategy": "no"}, True),
        ({}, {"pixel_limit": 10**9, "dataloader_num_workers": 2}, False),
        ({}, {"max_pixels": 10**5}, True),
    ],
)
def test_settings_without_effect_make_no_other_run(shared, changed, counts):
    before, now = load_config(None, shared), load_config(None, {**shared, **changed})
    assert bool(now.differences(before.to_dict())) == counts


def test_help_lists_every_setting(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in SETTINGS:
        assert f"--{name}\n" in text
    assert "example: roc finetune" in text and text.endswith(help_text(RunConfig))


def test_read_flags_does_not_take_a_negative_number_for_a_flag():
    assert read_flags(["--max_steps", "-1"], SETTINGS)[1].values == {"max_steps": "-1"}
    assert load_config(None, ["--min_score", "-5"]).min_score == -5.0


def test_a_config_cannot_be_changed():
    with pytest.raises(AttributeError):
        RunConfig().seed = 1


def test_an_attribute_may_be_on_a_range_of_its_own():
    words = ["--attributes", "overall", "delta", "--attribute_ranges", "delta=-10:10 overall=0:10"]
    space = load_config(None, words).score_space
    assert space.range == (0, 10) and space.attribute_ranges == {"delta": (-10, 10)}
    assert load_config(None, ["--attribute_ranges", ""]).score_space.attribute_ranges == {}
    assert "names light, but attributes is overall" in refusal(None, {"attribute_ranges": "light=0:1"})
    both = {"attributes": "overall,delta", "attribute_ranges": "delta=-10:10", "published_losses": True}
    assert "the published objective knows one range" in refusal(None, both)


def test_pairs_go_with_some_settings_only():
    pairs = {"pairs_path": "pairs.csv"}
    assert load_config(None, pairs).pair_weights == {"delta_weight": 1.0, "rank_weight": 1.0}
    assert load_config(None, {}).pair_weights == {"delta_weight": 0.0, "rank_weight": 0.0}
    assert load_config(None, pairs).pair_width == 9 and load_config(None, {**pairs, "delta_width": 10}).pair_width == 10
    assert load_config(None, {**pairs, "image_folder": "photos"}).image_folder == "photos"
    assert "train on one of them at a time" in refusal(None, {**pairs, "error_aware": True})
    assert "nothing would be learnt of the pairs" in refusal(None, {**pairs, "delta_weight": 0, "rank_weight": 0})
    assert "which no published script reads" in refusal(None, {**pairs, "published_losses": True})
