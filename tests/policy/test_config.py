"""The settings of reinforcement: the published recipe, its file, and what makes two runs the same."""

from pathlib import Path

import yaml

from roc.model.declaration import Declaration
from roc.policy.answers import Answers, rewards_of
from roc.policy.build import as_declared
from roc.policy.config import NOT_HERE, OF_THE_CHECKPOINT, REWARDS, PolicyConfig
from roc.score_space import ScoreSpace
from roc.settings import help_text, settings_of
from roc.training.config import load_config

FILE = Path(__file__).parents[2] / "configs" / "reasoning_rapo.yaml"


def test_the_file_is_the_defaults():
    default, loaded = PolicyConfig(), load_config(FILE, group=PolicyConfig)
    assert loaded == default and loaded.notes == ()
    assert set(yaml.safe_load(FILE.read_text(encoding="utf-8"))) <= set(settings_of(PolicyConfig))


def test_the_defaults_are_the_published_recipe():
    config = PolicyConfig()
    assert (config.num_generations, config.per_device_train_batch_size, config.gradient_accumulation_steps) == (
        4,
        32,
        2,
    )
    assert (config.learning_rate, config.lr_scheduler_type, config.num_train_epochs) == (1e-6, "linear", 10)
    assert (config.beta, config.epsilon, config.epsilon_high, config.loss_type) == (0.01, 0.2, 0.28, "grpo")
    assert (config.temperature, config.top_k, config.reasoning_tokens) == (1, 50, 512)


def test_every_reward_has_its_function():
    assert rewards_of(Answers([]), REWARDS) == {name: [] for name in settings_of(PolicyConfig)["rewards"].choices}


def test_settings_that_have_no_place_here_are_known_and_left_out_of_the_help():
    hidden = {*NOT_HERE, *OF_THE_CHECKPOINT}
    assert hidden <= set(settings_of(PolicyConfig))
    shown = help_text(PolicyConfig, without=hidden).splitlines()
    named = {line.strip().removeprefix("--") for line in shown if line.startswith("  --")}
    assert named == set(settings_of(PolicyConfig)) - hidden
    headings = [line for line in shown if line and not line.startswith(" ")]
    assert [line.split(":")[0] for line in headings] == ["model", "data", "rows with critiques", "training", "policy"]


def test_mirror_images_are_the_checkpoints():
    declaration = Declaration(space=ScoreSpace(1, 10, 10), token_id=0, score_flip=True)
    assert as_declared(PolicyConfig(), declaration).score_flip is True


def test_what_only_matters_with_the_heads_loss_makes_no_other_run_without_it():
    off, other = (PolicyConfig(head_weight=0, head_every=n) for n in (1, 3))
    assert off.differences(other.to_dict()) == []
    assert PolicyConfig(beta=0.0).differences(PolicyConfig().to_dict()) == ["beta: 0.01 -> 0.0"]
