"""The head of a checkpoint under other settings: carried over, replaced, or refused with the flags that lead on."""

import json
import shlex
from dataclasses import replace

import pytest
import torch
from heads import SPACE, build, fill_head, picture, record, save_base, scores_of, talk
from recording import FOLDER
from training_runs import QUICK, finetune, ratings

from roc import Assessment
from roc.checkpoint.folder import load, save
from roc.commands.finetune import main
from roc.model.adapters import add_lora
from roc.model.attachment import renew_head
from roc.score_space import ScoreSpace
from roc.training.build import base_config, build_model
from roc.training.config import load_config
from roc.training.data import RunData, read_data
from roc.training.run import RunError

ROWS = ["0.5,4", "0.25,3", "1,2", "0,1"]
"""Overall scores on 0..1, and light."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A trained head for `overall` and `light` on 1..10."""
    folder = tmp_path_factory.mktemp("head") / "checkpoint"
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return str(folder)


def built(checkpoint, **settings):
    config = load_config(None, {"model_name_or_path": checkpoint, **settings})
    return build_model(config, RunData([], [], []))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 1.5), (2, 100)])
def test_a_head_carried_over_gives_the_old_scores_moved_to_the_new_range(checkpoint, low, high):
    before = scores_of(*load(checkpoint))
    words = {"attributes": "overall,light", "min_score": low, "max_score": high, "new_head": False}
    model, processor = built(checkpoint, **words)
    expected = low + (before - SPACE.min_score) * (high - low) / SPACE.width
    torch.testing.assert_close(scores_of(model, processor), expected, rtol=1e-6, atol=1e-5)
    assert (model.declaration.space.range, model.declaration.num_levels) == ((low, high), 10)


def test_a_head_carried_over_to_a_range_of_one_attribute_moves_that_attribute(checkpoint, tmp_path, caplog):
    before = scores_of(*load(checkpoint))
    words = {"attributes": "overall,light", "attribute_ranges": "light=-1:1"}
    with pytest.raises(
        RunError, match="attribute_ranges: the checkpoint has none, the settings say light=-1:1"
    ) as said:
        base_config(load_config(None, {"model_name_or_path": checkpoint, **words}))
    assert "carries its head over; light: 1..10 becomes -1..1 in proportion, 7.75 as 0.5" in str(said.value)
    model, processor = built(checkpoint, new_head=False, **words)
    scores = scores_of(model, processor)
    assert torch.equal(scores[:, 0], before[:, 0])
    torch.testing.assert_close(scores[:, 1], -1 + (before[:, 1] - 1) * 2 / 9, rtol=1e-6, atol=1e-6)
    save(model, processor, tmp_path / "moved")
    assert torch.equal(scores_of(*load(tmp_path / "moved")), scores)
    with pytest.raises(RunError, match="--attribute_ranges light=-1:1 "):
        base_config(load_config(None, {"model_name_or_path": str(tmp_path / "moved"), "attributes": "overall,light"}))


@pytest.mark.parametrize("attributes", ["overall", "overall,mood,light", "overall,mood"])
def test_a_head_carried_over_to_other_attributes_answers_those(checkpoint, attributes):
    before, _ = load(checkpoint)
    model, processor = built(checkpoint, attributes=attributes, new_head=False)
    names = tuple(attributes.split(","))
    assert (model.declaration.attributes, model.declaration.answer.count("[SCORE]")) == (names, len(names))
    assert torch.equal(model.score_head.weight, before.score_head.weight)
    scores = scores_of(model, processor)
    assert scores.shape == (2, len(names)) and not scores.isnan().any()


def test_a_head_carried_over_takes_the_wording_of_the_data(checkpoint):
    config = load_config(None, {"model_name_or_path": checkpoint, "new_head": False})
    row = record(scores={"overall": 5.0}, conversations=talk("Is it any good?", "I say [SCORE]."))
    model, _ = build_model(config, RunData([row], [], []))
    assert (model.declaration.question, model.declaration.answer) == ("Is it any good?", "I say [SCORE]")


def test_a_new_head_of_any_size_starts_at_the_midpoint_on_the_trained_model(checkpoint):
    before, _ = load(checkpoint)
    model, processor = built(checkpoint, num_tokens=4, min_score=0, max_score=1, new_head=True)
    assert model.score_head.weight.shape[0] == 4
    torch.testing.assert_close(scores_of(model, processor), torch.full((2, 1), 0.5))
    kept = {name: weight for name, weight in before.named_parameters() if "score_head" not in name}
    for name, weight in model.named_parameters():
        assert "score_head" in name or torch.equal(weight, kept[name]), name
    assert model.declaration.base == checkpoint


def test_a_new_head_of_the_same_settings_forgets_the_old_one(checkpoint):
    model, _ = built(checkpoint, attributes="overall,light", new_head=True)
    assert not model.score_head.weight.any()


def test_a_refused_head_comes_with_flags_that_each_lead_on(checkpoint, tmp_path, capsys):
    data = ratings(tmp_path, ROWS, header="image,score,mood")
    words = ["--model_name_or_path", checkpoint, "--data_path", data, "--output_dir", str(tmp_path / "out"), *QUICK]
    words += ["--min_score", "0", "--max_score", "1"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "carries another score head than asked for. min_score: the checkpoint has 1, the settings say 0" in error
    choices = [line.strip().partition("   ") for line in error.splitlines() if line.startswith("  --")]
    flags, meanings = [flags for flags, _, _ in choices], [meaning for _, _, meaning in choices]
    assert flags == [
        "--new_head false",
        "--new_head true",
        "--min_score 1 --max_score 10 --attributes overall,light",
    ]
    assert meanings[0] == "carries its head over; 1..10 becomes 0..1 in proportion, 7.75 as 0.75; light dropped"
    for line in flags:
        base_config(load_config(None, [*words, *shlex.split(line)]))


def test_a_head_with_other_levels_can_be_carried_over_with_its_own_number(checkpoint):
    words = ["--model_name_or_path", checkpoint, "--num_tokens", "5"]
    with pytest.raises(RunError) as refused:
        base_config(load_config(None, words))
    assert "  --num_tokens 10 --new_head false   " in str(refused.value)
    base_config(load_config(None, [*words, "--num_tokens", "10", "--new_head", "false"]))
    with pytest.raises(RunError, match="has 10 levels and num_tokens is 5.*Give --num_tokens 10, or --new_head true"):
        base_config(load_config(None, [*words, "--new_head", "false"]))


def test_without_a_head_there_is_none_to_carry_over(tmp_path, capsys):
    base = save_base("llava", tmp_path / "base")
    with pytest.raises(RunError, match="carries no score head that could be carried over; leave new_head out"):
        base_config(load_config(None, {"model_name_or_path": str(base), "new_head": False}))
    assert main(["--new_head", "false"]) == 2
    assert "there is no head to carry over; name a checkpoint" in capsys.readouterr().err


def test_attributes_that_the_file_lacks_lead_to_the_head_carried_over(checkpoint, tmp_path, capsys):
    data = ratings(tmp_path, ["5", "6", "7"], header="image,score")
    words = ["--model_name_or_path", checkpoint, "--data_path", data, "--output_dir", str(tmp_path / "out"), *QUICK]
    assert main([*words, "--attributes", "overall,light"]) == 2
    says = "the file has overall. Name those that it has: --attributes overall (with --new_head false where"
    assert says in capsys.readouterr().err
    config = load_config(None, [*words, "--attributes", "overall", "--new_head", "false"])
    base_config(config)
    read_data(config)


def test_losses_that_are_not_those_of_the_checkpoint_are_told(checkpoint, caplog):
    words = {"attributes": "overall,light", "min_score": SPACE.min_score, "max_score": SPACE.max_score}
    earlier = load(checkpoint)[0].declaration
    built(checkpoint, **words, **{name: getattr(earlier, name) for name in ("ce_weight", "emd_weight")})
    assert "losses" not in caplog.text
    built(checkpoint, **words, l1_scale="native", ce_weight=0.25)
    assert (
        f"the losses are not those of the checkpoint: ce_weight 0.25 (it declares {earlier.ce_weight}), "
        f"l1_scale native (it declares unit); set them to go on as before"
    ) in caplog.text


def test_an_asked_wording_counts_for_the_same_head_too(checkpoint):
    settings = {"attributes": "overall,light", "question": "Well?", "answer": "A [SCORE], b [SCORE]."}
    model, _ = built(checkpoint, **settings)
    assert (model.declaration.question, model.declaration.answer) == ("Well?", "A [SCORE], b [SCORE].")


def trained(tmp_path, *words):
    """Trains a step on `ROWS` and returns the checkpoint."""
    out = tmp_path / "out"
    data = ["--data_path", ratings(tmp_path, ROWS), "--min_score", "0", "--max_score", "1"]
    quick = [*QUICK, "--eval_strategy", "no", "--save_strategy", "no", "--check_answers", "0", "--bf16", "False"]
    assert finetune(*data, *quick, "--output_dir", str(out), *words) == 0
    return out


def test_one_goes_on_from_a_checkpoint_with_ones_own_ratings(checkpoint, tmp_path, capsys):
    words = ["--model_name_or_path", checkpoint, "--new_head", "false", "--learning_rate", "1e-12"]
    out = trained(tmp_path, *words)
    error = capsys.readouterr().err
    assert error.count("note: the head of") == 1
    assert "is carried over: 1..10 becomes 0..1 in proportion, 7.75 as 0.75; light dropped" in error
    roc = json.loads((out / "config.json").read_text())["roc"]
    assert (roc["min_score"], roc["max_score"], roc["num_levels"], roc["attributes"]) == (0, 1, 10, ["overall"])
    model, processor = built(checkpoint, new_head=False, min_score=0, max_score=1)
    expected = scores_of(model, processor)[0, 0].item()
    assert Assessment(out).score(picture(0))[0].scores["overall"].value == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("new_head", "levels"), [("false", 10), ("true", 4)])
def test_an_adapter_keeps_a_head_that_its_base_does_not_have(checkpoint, tmp_path, new_head, levels):
    lora = ["--tuning", "lora", "--lora_rank", "2", "--head_learning_rate", "1e-2"]
    words = ["--model_name_or_path", checkpoint, "--new_head", new_head, "--num_tokens", str(levels), *lora]
    out = trained(tmp_path, *words)
    model, processor = load(out)
    assert model.declaration.space.range == (0, 1) and model.declaration.num_levels == levels
    scores = scores_of(model, processor)
    save(model.merge_and_unload(), processor, tmp_path / "merged")
    torch.testing.assert_close(scores_of(*load(tmp_path / "merged")), scores, atol=1e-5, rtol=0)


def test_an_adapter_with_other_levels_than_its_base_loads(checkpoint, tmp_path):
    model, processor = load(checkpoint)
    renew_head(model, replace(model.declaration, space=ScoreSpace(0, 1, 4)))
    fill_head(model)
    model = add_lora(model, rank=2)
    expected = scores_of(model, processor)
    save(model, processor, tmp_path / "adapter")
    assert torch.equal(scores_of(*load(tmp_path / "adapter")), expected)


PUBLISHED = str(FOLDER / "checkpoint")


def test_a_published_head_is_carried_over_or_replaced(caplog):
    model, processor = built(PUBLISHED, new_head=False, min_score=0, max_score=1, image_aspect_ratio="pad")
    expected = (scores_of(*load(PUBLISHED)) - 1) / 9
    torch.testing.assert_close(scores_of(model, processor), expected, atol=1e-6, rtol=1e-6)
    assert "image_aspect_ratio" not in caplog.text
    model, processor = built(PUBLISHED, new_head=True, num_tokens=5, max_score=5)
    torch.testing.assert_close(scores_of(model, processor), torch.full((2, 1), 3.0))
    assert "was trained with image_aspect_ratio pad and goes on with keep" in caplog.text


@pytest.mark.slow
def test_one_goes_on_from_a_published_checkpoint(tmp_path):
    words = ["--model_name_or_path", PUBLISHED, "--new_head", "false", "--image_aspect_ratio", "pad"]
    out = trained(tmp_path, *words, "--learning_rate", "1e-12")
    expected = (scores_of(*load(PUBLISHED)) - 1) / 9
    torch.testing.assert_close(scores_of(*load(out)), expected, atol=1e-5, rtol=0)
