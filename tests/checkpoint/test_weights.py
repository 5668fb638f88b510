"""Weights that do not fit the model are refused in one line, in every layout and by every command that loads."""

import json
import shutil

import pytest
import torch
from heads import build, picture, save_base, trained_adapter
from recording import FOLDER
from safetensors.torch import load_file, save_file
from tiny_models import BUILDERS, FAMILY_BUILDERS
from transformers import AutoModelForImageTextToText

import roc
from roc.checkpoint.folder import load, save
from roc.checkpoint.head_file import read_head
from roc.cli import main
from roc.model.families import family
from roc.model.processing import load_processor
from roc.score_space import ScoreSpace


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    save(*trained_adapter(save_base("llava", folder / "base"), steps=2), folder / "adapter")
    return folder / "adapter"


def without(*ends):
    return lambda tensors: {name: value for name, value in tensors.items() if not name.endswith(ends)}


def with_surplus(tensors):
    return tensors | {"model.language_model.layers.7.mlp.up_proj.weight": torch.zeros(3, 4)}


def misshapen(end):
    return lambda tensors: {n: v[:-1].clone() if n.endswith(end) else v for n, v in tensors.items()}


def cut(file):
    file.write_bytes(file.read_bytes()[:-1000])


def emptied(file):
    file.write_bytes(b"")


def foreign(file):
    save_file({"h.0.attn.weight": torch.zeros(4, 4)}, file)


def no_tensors(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 34\n")


def changed(source, folder, change, name="model.safetensors"):
    """Copies a checkpoint; `change` takes and returns its tensors."""
    shutil.copytree(source, folder)
    save_file(change(load_file(folder / name)), folder / name, metadata={"format": "pt"})
    return folder


FAULTS = {
    "head": (without("score_head.weight"), "1 missing: score_head.weight. The score head is not there"),
    "q_proj": (without("q_proj.weight"), "missing: .*q_proj.weight"),
    "surplus": (with_surplus, "1 that the model does not have: .*layers.7"),
    "misshapen": (misshapen("layers.0.mlp.up_proj.weight"), "1 of another shape .*up_proj.weight is .*, not "),
    "levels": (misshapen("score_head.weight"), r"score_head.weight is \(9, 32\), not \(10, 32\).*number of levels"),
}


@pytest.mark.parametrize("scoring", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_full_checkpoint_that_does_not_fit_is_refused(full, tmp_path, fault, scoring):
    change, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message) as caught:
        load(changed(full, tmp_path / "bad", change), scoring=scoring)
    assert "\n" not in str(caught.value)


def test_what_a_stock_model_saves_is_refused(full, tmp_path, capsys, caplog):
    AutoModelForImageTextToText.from_pretrained(full).save_pretrained(tmp_path)
    load_processor(full).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["roc"]
    picture(0).save(tmp_path / "a.png")
    caplog.clear()
    out = tmp_path / "scores.csv"
    assert main(["score", str(tmp_path / "a.png"), "--checkpoint", str(tmp_path), "--out", str(out)]) == 2
    assert "score_head.weight. The score head is not there" in capsys.readouterr().err
    assert not out.exists() and "LOAD REPORT" not in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("score_head.weight"), "score_head.weight"),
        (without("q_proj.lora_A.weight"), "2 missing: .*q_proj.lora_A"),
        (lambda tensors: tensors | {"base_model.model.odd": torch.zeros(2)}, "1 that the model does not have: .*odd"),
        (misshapen("score_head.weight"), "another shape .*score_head.weight is"),
        (misshapen("layers.0.mlp.up_proj.lora_B.weight"), "another shape .*up_proj.lora_B"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(adapter, tmp_path, change, message):
    folder = changed(adapter, tmp_path / "bad", change, "adapter_model.safetensors")
    with pytest.raises(ValueError, match=message) as caught:
        load(folder, base=adapter.parent / "base")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lacks", ["q_proj.weight", "lm_head.weight"])
def test_a_base_without_some_weights_is_refused(adapter, tmp_path, lacks, capsys):
    base = changed(adapter.parent / "base", tmp_path / "base", without(lacks))
    with pytest.raises(ValueError, match=f"missing: .*{lacks}"):
        load(adapter, base=base)
    assert main(["attach", str(base), str(tmp_path / "out")]) == 2
    assert lacks in capsys.readouterr().err


@pytest.mark.parametrize("change", [without("q_proj.weight"), with_surplus, misshapen("up_proj.weight")])
def test_a_published_checkpoint_that_does_not_fit_is_refused(tmp_path, change):
    shutil.copytree(FOLDER / "checkpoint", tmp_path / "bad")
    file = next((tmp_path / "bad").glob("pytorch_model*.bin"))
    torch.save(change(torch.load(file, weights_only=True)), file)
    with pytest.raises(ValueError) as caught:
        load(tmp_path / "bad")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [cut, emptied, foreign, no_tensors])
@pytest.mark.parametrize("layout", ["full", "adapter"])
def test_a_file_that_is_no_checkpoints_is_one_line(layout, damage, request, tmp_path):
    source = request.getfixturevalue(layout)
    shutil.copytree(source, tmp_path / "bad")
    damage(next((tmp_path / "bad").glob("*.safetensors")))
    arguments = {"base": source.parent / "base"} if layout == "adapter" else {}
    for read in (lambda path: load(path, **arguments), read_head):
        with pytest.raises(ValueError) as caught:
            read(tmp_path / "bad")
        assert "\n" not in str(caught.value) and str(tmp_path / "bad") in str(caught.value)


def test_a_pickle_that_holds_more_than_tensors_is_one_line(full, tmp_path):
    shutil.copytree(full, tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").unlink()
    torch.save({"weight": ScoreSpace(1, 5)}, tmp_path / "bad" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be loaded") as caught:
        load(tmp_path / "bad")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "section",
    [
        "text",
        [1],
        {},
        {"num_levels": "ten"},
        {"min_score": None},
        {"max_score": [1]},
        {"attributes": 5},
        {"attributes": [["a"]]},
        {"token": ""},
        {"format": 99},
        {"mode": []},
        {"l1_scale": {}},
        {"num_levels": 11},
        {"token_id": 10**6},
        {"token_id": 5},
        {"token_id": "5"},
    ],
    ids=str,
)
def test_a_broken_declaration_is_one_line(full, tmp_path, section):
    shutil.copytree(full, tmp_path / "bad")
    config = json.loads((full / "config.json").read_text())
    broken = config["roc"] | section if section and isinstance(section, dict) else section
    (tmp_path / "bad" / "config.json").write_text(json.dumps(config | {"roc": broken}))
    for read in (load, read_head) if "token_id" not in section else (load,):
        with pytest.raises(ValueError) as caught:
            read(tmp_path / "bad")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("roc", [None, 5, {}, {"token_id": []}])
@pytest.mark.parametrize("base", [None, {}, {"name_or_path": 1, "model_type": "llava", "dtype": "float32"}])
def test_a_broken_file_beside_an_adapter_is_one_line(adapter, tmp_path, roc, base):
    shutil.copytree(adapter, tmp_path / "bad")
    (tmp_path / "bad" / "roc_config.json").write_text(json.dumps({"roc": roc, "tuning": "lora", "base": base}))
    with pytest.raises(ValueError, match="roc_config.json cannot be used") as caught:
        load(tmp_path / "bad", base=adapter.parent / "base")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_code_of_a_checkpoint_is_neither_run_nor_asked_about(full, tmp_path, monkeypatch, file):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    shutil.copytree(full, tmp_path / "bad")
    content = json.loads((tmp_path / "bad" / file).read_text())
    classes = {name: "code.Made" for name in ("AutoConfig", "AutoProcessor", "AutoModelForImageTextToText")}
    more = {"model_type": "of_its_own"} if file == "config.json" else {}
    named = {"AutoTokenizer": ["code.Made", None]}
    (tmp_path / "bad" / file).write_text(json.dumps(content | more | {"auto_map": classes | named}))
    (tmp_path / "bad" / "code.py").write_text("raise SystemExit('code was run')\n")
    try:
        load(tmp_path / "bad")
    except ValueError as error:
        assert "\n" not in str(error) and "code" in str(error)


@pytest.mark.parametrize("words", [["score", "a.png", "--checkpoint"], ["evaluate", "--checkpoint"], ["export"]])
def test_every_command_says_it_in_one_line_and_exits_2(full, tmp_path, words, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "rows.csv").write_text("image,score\na.png,5\n")
    shutil.copytree(full, tmp_path / "bad")
    cut(tmp_path / "bad" / "model.safetensors")
    rest = {"score": ["--out", "o.csv"], "evaluate": ["--data_path", "rows.csv", "--out", "o"]}
    assert main([*words, "bad", *rest.get(words[0], ["--vllm_generate", "o"])]) == 2
    error = capsys.readouterr().err
    assert "model.safetensors is no whole safetensors file" in error and "Traceback" not in error


@pytest.mark.parametrize("name", FAMILY_BUILDERS)
def test_every_family_still_loads(name, tmp_path, caplog):
    model, processor = FAMILY_BUILDERS[name]()
    if processor.chat_template is None:
        processor.chat_template = family(name).chat_template
    roc.attach(model, processor, ScoreSpace(1, 5))
    save(model, processor, tmp_path)
    load(tmp_path)
    load(tmp_path, dtype="bfloat16", scoring=True)
    assert "no model of its kind" not in caplog.text


def test_a_surplus_tensor_of_a_base_is_a_note(tmp_path, caplog, capsys):
    model, processor = BUILDERS["llava"]()
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    changed(tmp_path / "base", tmp_path / "more", with_surplus)
    assert main(["attach", str(tmp_path / "more"), str(tmp_path / "out")]) == 0
    assert "1 tensors that no model of its kind has" in caplog.text
