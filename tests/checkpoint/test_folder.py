"""Saved checkpoints load again bit by bit: full ones, and adapters that find their base."""

import builtins
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from heads import (
    ATTRIBUTES,
    SPACE,
    build,
    fill_head,
    inputs_of,
    picture,
    sample,
    save_base,
    scores_of,
    trained_adapter,
)
from peft import PeftModel
from recording import FOLDER
from safetensors.torch import load_file
from tiny_models import BUILDERS
from transformers import AutoModelForImageTextToText

from roc.checkpoint.fingerprint import base_fingerprint, differing_blocks
from roc.checkpoint.folder import load, save
from roc.cli import main
from roc.model.adapters import merged
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.processing import load_processor, save_processor
from roc.score_space import ScoreSpace


@pytest.mark.parametrize("family", BUILDERS)
def test_save_and_load_are_bit_identical(family, tmp_path):
    model, processor, collator = build(family)
    batch = collator([sample(0), sample(1, scores={"overall": 8.0})])
    with torch.no_grad():
        expected = model(**batch)
    save(model, processor, tmp_path)
    again, processor_again = load(tmp_path)
    assert again.config.roc == model.config.roc
    same = RocCollator(processor_again, again.config.roc)([sample(0), sample(1, scores={"overall": 8.0})])
    for key, value in batch.items():
        assert torch.equal(value.nan_to_num(-1), same[key].nan_to_num(-1)), key
    with torch.no_grad():
        found = again(**same)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.logits, expected.logits)


@pytest.mark.parametrize("family", BUILDERS)
def test_a_stock_auto_model_loads_the_checkpoint(family, tmp_path):
    model, processor, _ = build(family)
    save(model, processor, tmp_path)
    stock = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(stock) is type(model).roc_base_class
    inputs = inputs_of(processor, "Is it any good?")
    with torch.no_grad():
        assert torch.equal(stock(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_head_stays_float32_on_a_half_precision_backbone(dtype, tmp_path):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path)
    half, _ = load(tmp_path, dtype=dtype)
    assert half.dtype == getattr(torch, dtype)
    assert half.score_head.weight.dtype == torch.float32
    assert torch.equal(half.score_head.weight, model.score_head.weight)
    half.save_pretrained(tmp_path / "half")
    again, _ = load_model_only(tmp_path / "half", processor)
    assert torch.equal(again.score_head.weight, model.score_head.weight)


def load_model_only(path, processor):
    processor.save_pretrained(path)
    return load(path)


@pytest.mark.parametrize(("family", "times"), [("llava", 3), ("qwen2_5_vl", 3), ("mplug_owl2", 4)])
def test_config_json_is_read_once(family, times, tmp_path, monkeypatch):
    """The check of its name reads it too, and the processor: transformers looks for timm, and more."""
    if family == "mplug_owl2":
        shutil.copytree(FOLDER / "checkpoint", tmp_path, dirs_exist_ok=True)
    else:
        model, processor, _ = build(family)
        save(model, processor, tmp_path)
    opened, real = [], io.open

    def counting(file, *rest, **more):
        opened.append(str(file))
        return real(file, *rest, **more)

    for module in (io, builtins):
        monkeypatch.setattr(module, "open", counting)
    load(tmp_path)
    assert opened.count(str(tmp_path / "config.json")) <= times


def test_trained_again_after_loading(tmp_path):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path)
    again, processor = load(tmp_path)
    loss = again(**RocCollator(processor, again.config.roc)([sample(0)])).loss
    loss.backward()
    assert again.score_head.weight.grad.abs().sum() > 0


def test_licences_stay_with_what_was_made_of_the_weights(tmp_path, monkeypatch):
    model, processor, _ = build("llava")
    monkeypatch.chdir(tmp_path)
    Path("LICENSE").write_text("of this folder")
    save(model, processor, tmp_path / "base")
    assert not (tmp_path / "base" / "LICENSE").exists()
    (tmp_path / "base" / "LICENSE.tower").write_text("Apache")
    model, processor = load(tmp_path / "base")
    save(model, processor, tmp_path / "trained")
    save(model, processor, tmp_path / "base")
    assert [(tmp_path / name / "LICENSE.tower").read_text() for name in ("base", "trained")] == ["Apache"] * 2


def test_a_checkpoint_without_a_head_is_refused(tmp_path):
    model, processor = BUILDERS["llava"]()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="carries no score head.*finetune"):
        load(tmp_path)


def test_everything_to_read_the_head_is_in_the_config(tmp_path):
    model, processor, _ = build("qwen2_5_vl", ce_weight=2.0)
    fill_head(model)
    save(model, processor, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())["roc"]
    assert {"min_score": 1.0, "max_score": 10.0, "num_levels": 10}.items() <= written.items()
    assert written["attributes"] == list(ATTRIBUTES)
    assert written["answer"].count("[SCORE]") == 2
    assert written["ce_weight"] == 2.0


@pytest.fixture(scope="module", params=[("llava", False), ("qwen2_5_vl", True)], ids=["untied", "tied"])
def adapter(request, tmp_path_factory):
    """`(folder of the adapter, folder of its base, scores before saving)`."""
    family, tied = request.param
    folder = tmp_path_factory.mktemp("adapter")
    base = save_base(family, folder / "base", tied=tied)
    model, processor = trained_adapter(base)
    save(model, processor, folder / "adapter")
    return folder / "adapter", base, scores_of(model, processor)


def test_an_adapter_finds_its_base_and_scores_to_the_bit(adapter):
    folder, _, expected = adapter
    model, processor = load(folder)
    assert torch.equal(scores_of(model, processor), expected)
    assert model.config.roc["attributes"] == list(ATTRIBUTES)


def test_tensors_that_peft_would_leave_out_are_put_where_they_belong(adapter, monkeypatch):
    """It renames what it reads where transformers once named a part otherwise (shared experts of DeepSeek)."""
    folder, _, expected = adapter
    read = PeftModel.from_pretrained

    def forgetful(*args, **settings):
        model = read(*args, **settings)
        for name, parameter in model.named_parameters():
            if "mlp" in name and "lora_" in name:
                torch.nn.init.normal_(parameter.data)
        return model

    monkeypatch.setattr(PeftModel, "from_pretrained", forgetful)
    assert torch.equal(scores_of(*load(folder)), expected)


def test_an_adapter_holds_lora_the_score_rows_and_the_head_only(adapter):
    folder, base, _ = adapter
    tensors = load_file(folder / "adapter_model.safetensors")
    rows = [name for name in tensors if "trainable_tokens_delta" in name]
    tied = json.loads((base / "config.json").read_text())["tie_word_embeddings"]
    assert len(rows) == (1 if tied else 2) and all(tensors[name].shape == (1, 64) for name in rows)
    heads = [name for name in tensors if "score_head" in name]
    assert [tensors[name].shape for name in heads] == [(10, 64)]
    assert all("lora_A" in name or "lora_B" in name for name in set(tensors) - {*rows, *heads})
    assert not (folder / "model.safetensors").exists() and not (folder / "config.json").exists()


def test_a_merged_adapter_scores_the_same_and_is_a_plain_checkpoint(adapter, tmp_path):
    folder, _, expected = adapter
    model, processor = load(folder)
    plain = merged(model)
    save(plain, processor, tmp_path)
    again, processor = load(tmp_path)
    assert (scores_of(again, processor) - expected).abs().max() <= 1e-5
    assert type(again) is type(plain)
    AutoModelForImageTextToText.from_pretrained(tmp_path)


def test_a_base_that_has_moved_is_named_and_can_be_told(adapter, tmp_path):
    folder, base, expected = adapter
    about = json.loads((folder / "roc_config.json").read_text())
    about["base"]["name_or_path"] = str(tmp_path / "gone")
    moved = tmp_path / "adapter"
    shutil.copytree(folder, moved)
    (moved / "roc_config.json").write_text(json.dumps(about))
    with pytest.raises(FileNotFoundError, match="gone.*base=.*"):
        load(moved)
    assert torch.equal(scores_of(*load(moved, base=base)), expected)


def test_an_adapter_on_another_base_is_refused(adapter, tmp_path):
    folder, base, _ = adapter
    family = json.loads((base / "config.json").read_text())["model_type"]
    with pytest.raises(ValueError, match="has other weights than the base"):
        load(folder, base=save_base(family, tmp_path / "seed", seed=5))
    other = "llava" if family != "llava" else "qwen2_5_vl"
    with pytest.raises(ValueError, match=f"trained on a {family} model.*is a {other} model"):
        load(folder, base=save_base(other, tmp_path / "family"))


def test_an_adapter_brings_its_own_head_to_a_base_with_another(adapter, tmp_path):
    folder, base, expected = adapter
    model, processor = AutoModelForImageTextToText.from_pretrained(base), load_processor(base)
    attach(model, processor, ScoreSpace(0, 1, 5), attributes=("overall",))
    save(model, processor, tmp_path / "head")
    assert torch.equal(scores_of(*load(folder, base=tmp_path / "head")), expected)
    settings = json.loads((tmp_path / "head" / "config.json").read_text())
    settings["roc"]["token_id"] -= 1
    (tmp_path / "head" / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"reads its scores at token \d+, but \[SCORE\] of its base .* is token"):
        load(folder, base=tmp_path / "head")


def changed(base, folder, change, dtype=None):
    """Saves a copy of a base with the weights that `change(name, weight)` returns, in `dtype`."""
    model = AutoModelForImageTextToText.from_pretrained(base)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(change(name, weight))
    (model if dtype is None else model.to(getattr(torch, dtype))).save_pretrained(folder)
    save_processor(load_processor(base), folder)
    return folder


def noise(share, where=lambda name: True):
    torch.manual_seed(1)
    return lambda name, weight: weight * (1 + share * torch.randn_like(weight)) if where(name) else weight


CHANGES = {
    "all but embeddings": (noise(1e-3, lambda name: "embed" not in name and "lm_head" not in name), r"model.vis"),
    "one layer": (noise(1e-2, lambda name: "layers.1.mlp.up_proj" in name), r"\(1\): .*layers.1\. "),
    "one norm": (
        noise(1e-2, lambda name: "layers.0.input_layernorm" in name),
        r"\(1\): .*layers.0\. ",
    ),
    "vision": (noise(1e-2, lambda name: "vis" in name), "model.vis"),
    "embeddings": (noise(1e-2, lambda name: "embed_tokens" in name), "embed_tokens"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_base_that_differs_anywhere_is_refused_in_any_dtype(adapter, tmp_path, name):
    folder, base, _ = adapter
    change, part = CHANGES[name]
    other = changed(base, tmp_path / "other", change)
    for dtype in (None, "bfloat16"):
        with pytest.raises(ValueError, match=f"other weights than the base.*parts that differ .*{part}"):
            load(folder, base=other, dtype=dtype)


def test_an_adapter_on_its_own_merge_is_refused(adapter, tmp_path):
    folder, _, _ = adapter
    model, processor = load(folder)
    before = base_fingerprint(model)
    plain = merged(model)
    apart = differing_blocks(base_fingerprint(plain), before)
    assert {"model.language_model.layers.0", "model.language_model.layers.1"} <= set(apart)
    assert apart[-1] == "the row of [SCORE]" and not any("vis" in block for block in apart)
    save(plain, processor, tmp_path)
    with pytest.raises(ValueError, match="other weights than the base"):
        load(folder, base=tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_base_in_another_dtype_is_the_same_base(adapter, tmp_path, dtype):
    folder, base, expected = adapter
    half = changed(base, tmp_path / "half", lambda name, weight: weight, dtype)
    assert (scores_of(*load(folder, base=half)) - expected).abs().max() < 0.1
    load(folder, dtype=dtype)
    model, processor = load(folder, base=half, dtype=dtype)
    save(model, processor, tmp_path / "adapter")  # as trained in half precision
    for given in (base, half):
        for wanted in ("float32", "bfloat16", "float16"):
            load(tmp_path / "adapter", base=given, dtype=wanted)
    with pytest.raises(ValueError, match="other weights"):
        load(tmp_path / "adapter", base=changed(base, tmp_path / "other", noise(0.05)), dtype="float32")


def test_four_bits_of_the_same_base_are_the_same_base(adapter, tmp_path):
    pytest.importorskip("bitsandbytes")
    folder, base, _ = adapter
    half = changed(base, tmp_path / "half", lambda name, weight: weight, "bfloat16")
    other = changed(base, tmp_path / "other", noise(0.05, lambda name: "_proj.weight" in name))
    model, processor = load(folder, quantized=True)
    save(model, processor, tmp_path / "qlora")
    about = json.loads((tmp_path / "qlora" / "roc_config.json").read_text())
    assert about["tuning"] == "qlora" and not about["base"]["fingerprint"]["linear"]
    for path in (folder, tmp_path / "qlora"):
        for quantized in (False, True):
            load(path, base=half, quantized=quantized)
            with pytest.raises(ValueError, match="other weights.*model.language_model.layers.0"):
                load(path, base=other, quantized=quantized)


def test_a_head_on_one_side_only_is_refused(adapter, tmp_path):
    folder, base, _ = adapter
    model, processor = AutoModelForImageTextToText.from_pretrained(base), load_processor(base)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    save(model, processor, tmp_path / "untrained")
    load(folder, base=tmp_path / "untrained")  # the very head that training began with
    fill_head(model)
    with torch.no_grad():  # as training does
        model.get_input_embeddings().weight[model.config.roc["token_id"]].normal_(std=0.02)
    save(model, processor, tmp_path / "carries")
    with pytest.raises(ValueError, match=r"differ \(1\): the row of \[SCORE\]"):
        load(folder, base=tmp_path / "carries")
    tuned, processor = trained_adapter(tmp_path / "carries")
    save(tuned, processor, tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"differ \(1\): the row of \[SCORE\]"):
        load(tmp_path / "adapter", base=base)


def test_an_older_fingerprint_is_checked_as_it_was(adapter, tmp_path):
    folder, base, expected = adapter
    old = tmp_path / "adapter"
    shutil.copytree(folder, old)
    about = json.loads((old / "roc_config.json").read_text())
    model = AutoModelForImageTextToText.from_pretrained(base)
    rows = model.get_input_embeddings().weight[: about["roc"]["token_id"], :16]
    about["base"]["fingerprint"] = rows.mean(dim=0).tolist()
    (old / "roc_config.json").write_text(json.dumps(about))
    assert torch.equal(scores_of(*load(old)), expected)
    family = json.loads((base / "config.json").read_text())["model_type"]
    with pytest.raises(ValueError, match="other weights than the base.*the mean embedding"):
        load(old, base=save_base(family, tmp_path / "seed", seed=5))


def test_a_relative_base_is_found_from_anywhere_and_after_a_move_of_both(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    save_base("llava", "models/base")
    model, processor = trained_adapter("models/base", steps=2)
    save(model, processor, "runs/adapter")
    expected = scores_of(model, processor)
    monkeypatch.chdir(tmp_path)
    assert torch.equal(scores_of(*load("here/runs/adapter")), expected)
    (tmp_path / "here").rename(tmp_path / "there")
    again, processor = load("there/runs/adapter")
    assert torch.equal(scores_of(again, processor), expected)
    save(again, processor, tmp_path / "copy")
    about = json.loads((tmp_path / "copy" / "roc_config.json").read_text())
    assert about["base"]["name_or_path"] == str(tmp_path / "there" / "models" / "base")


@pytest.mark.parametrize("stored", ["/nowhere/models/base", "models/base", "base"])
@pytest.mark.parametrize("command", ["score", "export"])
def test_a_base_that_is_not_there_is_one_line(adapter, tmp_path, capsys, stored, command):
    shutil.copytree(adapter[0], tmp_path / "adapter")
    about = json.loads((tmp_path / "adapter" / "roc_config.json").read_text())
    about["base"]["name_or_path"] = stored
    (tmp_path / "adapter" / "roc_config.json").write_text(json.dumps(about))
    picture(0).save(tmp_path / "0.png")
    moved = str(tmp_path / "adapter")
    words = {
        "score": [str(tmp_path / "0.png"), "--checkpoint", moved, "--out", str(tmp_path / "o.csv")],
        "export": [moved, "--merge", str(tmp_path / "out")],
    }
    assert main([command, *words[command]]) == 2
    lines = capsys.readouterr().err.splitlines()
    found = [line for line in lines if line.startswith("roc ")]
    assert len(found) == 1 and lines[-1] == found[0], lines
    assert f"The base {stored} of adapter {moved} is not there" in found[0] and "base=" in found[0]


def test_an_adapter_on_a_checkpoint_that_carries_the_head(tmp_path):
    model, processor = BUILDERS["llava"](hidden_size=64)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model)
    save(model, processor, tmp_path / "base")
    model, processor = trained_adapter(tmp_path / "base", parts=("language", "projector", "vision"))
    save(model, processor, tmp_path / "adapter")
    expected = scores_of(model, processor)
    assert torch.equal(scores_of(*load(tmp_path / "adapter")), expected)


def test_a_four_bit_adapter_reloads_as_trained_and_merges_into_full_weights(tmp_path):
    pytest.importorskip("bitsandbytes")
    base = save_base("llava", tmp_path / "base")
    model, processor = trained_adapter(base, quantized=True)
    weight = model.get_base_model().model.language_model.layers[0].mlp.up_proj.base_layer.weight
    assert (type(weight).__name__, weight.quant_type) == ("Params4bit", "nf4")
    assert model.score_head.weight.dtype == torch.float32
    expected = scores_of(model, processor)
    save(model, processor, tmp_path / "adapter")
    with pytest.raises(ValueError, match="base of this adapter is quantised.*quantized=False"):
        merged(model)
    again, processor = load(tmp_path / "adapter")
    assert torch.equal(scores_of(again, processor), expected)
    whole, processor = load(tmp_path / "adapter", quantized=False)
    on_full_base = scores_of(whole, processor)
    assert not torch.equal(on_full_base, expected)  # nf4 does round
    save(merged(whole), processor, tmp_path / "merged")
    assert (scores_of(*load(tmp_path / "merged")) - on_full_base).abs().max() <= 1e-5


def test_what_only_an_adapter_has_is_refused_for_a_full_checkpoint(tmp_path):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path)
    with pytest.raises(ValueError, match="full checkpoint, not an adapter"):
        load(tmp_path, base="org/model")
    with pytest.raises(ValueError, match="full checkpoint, not an adapter"):
        load(tmp_path, quantized=True)


def test_an_adapter_of_another_program_is_refused(adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path / "a")
    (tmp_path / "a" / "roc_config.json").unlink()
    with pytest.raises(ValueError, match="adapter that roc did not write"):
        load(tmp_path / "a")
