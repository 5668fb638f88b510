"""A frozen tower sees each picture once, and nothing that is learnt depends on it."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch
from heads import build, mixed_batch, picture
from many_processes import build as build_trainer
from many_processes import settings
from tiny_models import BUILDERS, FAMILY_BUILDERS
from training_runs import finetune

from roc.model.parts import freeze, part_modules
from roc.model.processing import save_processor
from roc.training import kept_features
from roc.training.config import load_config
from roc.training.kept_features import CannotKeep, KeptFeatures, reads_of
from roc.training.run import RunError, train

FAMILIES = {
    "llava": True, "internvl": True, "gemma3": True, "idefics3": True, "paligemma": True, "llava_next": True,
    "qwen2_5_vl": False, "mistral3": False,
}  # fmt: skip
"""Families, and whether the tower takes pictures (or tiles) one by one."""


def frozen(family, monkeypatch):
    monkeypatch.setitem(BUILDERS, family, FAMILY_BUILDERS[family])
    model, _, collator = build(family)
    freeze(model, ["vision"])
    return model.eval(), mixed_batch(collator), list(part_modules(model, "vision").values())


@pytest.mark.parametrize("family", [family for family, alone in FAMILIES.items() if alone])
def test_a_model_computes_the_same_from_kept_outputs(family, monkeypatch, tmp_path):
    model, batch, (tower,) = frozen(family, monkeypatch)
    with torch.no_grad():
        expected = model(**batch)
        kept = KeptFeatures(tower, reads_of(model, tower, batch), tmp_path)
        first, second = model(**batch), model(**batch)
    assert kept.computed > 0 and kept.found == kept.computed
    for found in (first, second):
        assert torch.equal(found.loss, expected.loss)
        assert torch.equal(found.score_logits.nan_to_num(-1), expected.score_logits.nan_to_num(-1))


def test_only_what_the_model_reads_is_kept(monkeypatch):
    """LLaVA takes all hidden states of its tower and reads one."""
    model, batch, (tower,) = frozen("llava", monkeypatch)
    reads = reads_of(model, tower, batch)
    assert len(reads.leaves) == 1 < reads.spec.num_leaves
    assert reads.bytes_per_row == 17 * 32 * 4  # 16 patches and the class token


@pytest.mark.parametrize("family", [family for family, alone in FAMILIES.items() if not alone])
def test_towers_of_another_kind_are_refused(family, monkeypatch):
    model, batch, towers = frozen(family, monkeypatch)
    if len(towers) == 1:
        with pytest.raises(CannotKeep, match="not divided by|in one piece"):
            reads_of(model, towers[0], batch)


def test_a_picture_that_changes_is_another_picture(monkeypatch, tmp_path):
    model, batch, (tower,) = frozen("llava", monkeypatch)
    kept = KeptFeatures(tower, reads_of(model, tower, batch), tmp_path)
    model(**batch)
    computed = kept.computed
    pixels = batch["pixel_values"].clone()
    pixels[0] = pixels[0].flip(-1)
    model(**{**batch, "pixel_values": pixels})
    assert kept.computed == computed + 1


def test_other_weights_have_a_folder_of_their_own_and_trained_ones_none(monkeypatch, tmp_path):
    model, batch, (tower,) = frozen("llava", monkeypatch)
    compute, reads = tower.forward, reads_of(model, tower, batch)
    folders = []
    for change in (0, 0, 1):
        with torch.no_grad():
            next(tower.parameters()).add_(change)
        tower.forward = compute
        kept = KeptFeatures(tower, reads, tmp_path)
        folders.append(kept.folder)
    assert folders[0] == folders[1] != folders[2]
    next(tower.parameters()).requires_grad_(True)
    model(**batch)
    assert kept.computed == kept.found == 0


def test_dropout_in_the_tower_is_refused(monkeypatch):
    model, batch, (tower,) = frozen("llava", monkeypatch)
    tower.config.attention_dropout = 0.5
    for module in tower.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.5
    with pytest.raises(CannotKeep, match="in training is random"):
        reads_of(model, tower, batch)
    assert not model.training and tower.forward.__self__ is tower


def test_a_damaged_file_is_computed_again_and_a_full_disk_stops_nothing(monkeypatch, tmp_path, caplog):
    model, batch, (tower,) = frozen("llava", monkeypatch)
    kept = KeptFeatures(tower, reads_of(model, tower, batch), tmp_path)
    expected = model(**batch).loss
    file = next(tmp_path.rglob("*.safetensors"))
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    assert torch.equal(model(**batch).loss, expected) and "cannot be read" in caplog.text
    assert file.read_bytes() == whole

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_features, "write_whole", full)
    kept.root = tmp_path / "elsewhere"
    del kept.folder
    assert torch.equal(model(**batch).loss, expected)
    assert caplog.text.count("no more features are kept") == 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Saves a tiny LLaVA and a file of ratings; returns `(model, ratings)`."""
    folder = tmp_path_factory.mktemp("base")
    model, processor = BUILDERS["llava"]()
    model.save_pretrained(folder / "model")
    save_processor(processor, folder / "model")
    rows = ["image,score,light,split"]
    for i in range(12):
        picture(i).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{1 + (7 * i) % 10},{1 + (3 * i) % 10},{'train' if i < 8 else 'val'}")
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")
    return str(folder / "model"), str(folder / "ratings.csv")


def trained(data, folder, caplog, **more):
    """Trains for 3 epochs; returns losses, weights, and how many pictures were computed."""
    caplog.set_level(logging.INFO, "roc")
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_features.KeptFeatures, "__init__", _noting(made))
        trainer, _ = build_trainer(
            settings(*data, str(folder), 1, num_train_epochs=3, **{"freeze": ["vision"], **more})
        )
        trainer.args.load_best_model_at_end = False
        train(trainer, None)
    log = [{key: entry[key] for key in entry if "loss" in key} for entry in trainer.state.log_history]
    return log, trainer.model.state_dict(), made[0].computed if made else None


def _noting(made):
    initialise = kept_features.KeptFeatures.__init__

    def noted(self, *args):
        made.append(self)
        initialise(self, *args)

    return noted


def test_every_epoch_after_the_first_is_read_and_the_losses_are_the_same(data, tmp_path, caplog):
    log, weights, computed = trained(data, tmp_path / "kept", caplog, augment_flip=0.5, head_dropout=0.3)
    expected, expected_weights, none = trained(
        data, tmp_path / "anew", caplog, augment_flip=0.5, head_dropout=0.3, keep_features=False
    )
    assert none is None and 12 <= computed <= 8 * 2 + 4
    assert log == expected
    assert [name for name in weights if not torch.equal(weights[name], expected_weights[name])] == []


def test_runs_share_a_folder(data, tmp_path, caplog):
    shared = {"features_folder": str(tmp_path / "features")}
    assert trained(data, tmp_path / "one", caplog, **shared)[2] == 12
    assert trained(data, tmp_path / "two", caplog, **shared, learning_rate=1e-4)[2] == 0


def test_a_tower_that_joins_later_is_kept_until_then(data, tmp_path, caplog):
    stages = {"freeze": [], "vision_from": 0.67, "vision_learning_rate": 1e-2}
    log, weights, computed = trained(data, tmp_path / "kept", caplog, **stages)
    expected, expected_weights, _ = trained(data, tmp_path / "anew", caplog, **stages, keep_features=False)
    assert computed == 12 and log == expected
    assert [name for name in weights if not torch.equal(weights[name], expected_weights[name])] == []
    start = BUILDERS["llava"]()[0].model.vision_tower.state_dict()
    assert any(not torch.equal(weights[f"model.vision_tower.{name}"], start[name]) for name in start)


@pytest.mark.parametrize(("device", "steps", "kept"), [("cpu", 3, True), ("cuda", 3, False), ("cpu", 2, False)])
def test_features_are_kept_by_themselves_where_that_saves_time(monkeypatch, device, steps, kept):
    """On a CPU, and where a picture is seen more than once: here 8 rows in steps of 4."""
    monkeypatch.setattr(kept_features, "_installed", lambda *_: "installed")
    size = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "world_size": 1, "max_steps": steps}
    trainer = SimpleNamespace(args=SimpleNamespace(device=torch.device(device), **size), train_dataset=range(8))
    for asked, expected in ((None, kept), (True, True), (False, False)):
        config = load_config(None, {"freeze": ["vision"], "keep_features": asked})
        assert (kept_features.keep_features(config, None, trainer) == "installed") == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({}, "the vision tower is trained; name it in freeze"),
        ({"freeze": ["vision"], "augment_shift": 0.1}, "augment_shift makes another picture every time"),
    ],
)
def test_what_cannot_be_kept_is_refused_or_left(data, tmp_path, caplog, words, says):
    given = {"num_train_epochs": 2, **words}
    with pytest.raises(RunError, match=f"keep_features is on, but {says}"):
        build_trainer(settings(*data, str(tmp_path), 1, **given, keep_features=True))
    build_trainer(settings(*data, str(tmp_path), 1, **given))
    assert (says in caplog.text) == ("freeze" in words)


def test_the_command_keeps_features_and_clears_them_away(data, tmp_path, capsys):
    words = ["--model_name_or_path", data[0], "--data_path", data[1], "--attributes", "overall,light"]
    words += ["--freeze", "vision", "--report_to", "none", "--threads", "1", "--check_answers", "0"]
    assert finetune(*words, "--output_dir", str(tmp_path / "out")) == 0
    assert "features of the frozen vision tower are kept in" in capsys.readouterr().err
    assert not (tmp_path / "out" / "training" / "features").exists()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["finished"] is True
