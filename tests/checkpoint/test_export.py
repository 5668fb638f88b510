"""What is handed on gives the same scores: merged, for vLLM, as the head alone, and by way of a hub."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from heads import ATTRIBUTES, SPACE, build, fill_head, picture, save_base, scores_of, trained_adapter
from hub_stand_in import HubStandIn
from safetensors import safe_open
from safetensors.numpy import load_file
from tiny_models import FAMILY_BUILDERS
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

import roc
from roc.checkpoint.export import head_only, vllm_classify, vllm_generate
from roc.checkpoint.folder import load, save
from roc.cli import main
from roc.model.families import family
from roc.model.processing import load_processor

PICTURES = [picture(0), picture(1)]


def tensor_names(folder):
    return {name for file in folder.glob("*.safetensors") for name in safe_open(file, "np").keys()}


def expectation(logits, levels):
    """Scores of (..., N) logits, with numpy alone."""
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    return probabilities / probabilities.sum(-1, keepdims=True) @ np.array(levels)


def attached_checkpoint(name, folder, **settings):
    """A checkpoint of a family, saved, with the names its stock model has on disk."""
    model, processor = FAMILY_BUILDERS[name]()
    model.save_pretrained(folder / "stock")
    if processor.chat_template is None:
        processor.chat_template = family(name).chat_template
    roc.attach(model, processor, SPACE, attributes=ATTRIBUTES, **settings)
    fill_head(model)
    save(model, processor, folder / "roc")
    return folder / "roc", tensor_names(folder / "stock"), scores_of(model, processor).numpy()


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def checkpoint(request, tmp_path_factory):
    """`(folder, tensor names of the stock model, scores (2, 2) of PICTURES)`."""
    return attached_checkpoint(request.param, tmp_path_factory.mktemp(request.param))


# --- vLLM ------------------------------------------------------------------------------------------------------------


def test_a_classifier_has_the_stock_names_and_one_more(checkpoint, tmp_path):
    folder, stock, _ = checkpoint
    vllm_classify(folder, tmp_path / "out")
    assert tensor_names(tmp_path / "out") == stock | {"language_model.score.weight"}
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert not hasattr(config, "roc")
    for part in (config, config.get_text_config()):
        assert part.num_labels == 10 and part.problem_type == "single_label_classification"
        assert part.id2label[0] == "1" and part.id2label[9] == "10"
    _, loading = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["unexpected_keys"] and not loading["missing_keys"]


def test_a_classifier_in_shards_is_whole(checkpoint, tmp_path, monkeypatch):
    folder, stock, _ = checkpoint
    write = PreTrainedModel.save_pretrained
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", lambda *a, **k: write(*a, **k, max_shard_size="100KB"))
    vllm_classify(folder, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(index) == tensor_names(tmp_path / "out") == stock | {"language_model.score.weight"}
    assert len(set(index.values())) > 2 and all((tmp_path / "out" / file).exists() for file in index.values())


def test_what_a_classifying_server_computes_is_the_score(checkpoint, tmp_path):
    """The folder's chat template with a picture, its tokens, the hidden states before the vocabulary, softmax, mean."""
    folder, _, expected = checkpoint
    vllm_classify(folder, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "roc.json").read_text())
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    processor = load_processor(tmp_path / "out")
    prompt = processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}], tokenize=False)
    assert prompt == about["prompt"]
    assert processor.tokenizer(prompt, add_special_tokens=False)["input_ids"] == about["prompt_token_ids"]
    weight = load_file(tmp_path / "out" / "score.safetensors")["language_model.score.weight"]
    for image, scores in zip(PICTURES, expected, strict=True):
        inputs = processor(text=[prompt], images=[[image]], add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            hidden_states = model(**inputs, output_hidden_states=True).hidden_states[-1][0].numpy()  # (T, H)
        found = expectation(hidden_states @ weight.T, about["levels"])
        assert list(about["positions"]) == list(ATTRIBUTES)
        read = [found[position] for position in about["positions"].values()]
        np.testing.assert_allclose(read, scores, atol=1e-5)


def test_the_prompt_is_found_where_the_tokenizer_wants_a_space_before_the_answer(tmp_path):
    folder, _, _ = attached_checkpoint("llava_next", tmp_path)
    vllm_classify(folder, tmp_path / "out")
    prompt = json.loads((tmp_path / "out" / "roc.json").read_text())["prompt"]
    assert "<|assistant|> The aesthetic rate" in prompt and prompt.endswith("is ")


def test_where_no_text_gives_the_tokens_they_are_sent_themselves(tmp_path):
    """The template ends within a word that the answer goes on with, and the tokenizer would join the two."""
    model, processor, _ = build("llava", answer="age rate is [SCORE] and [SCORE].")
    processor.chat_template = (
        "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}"
        "{{ part.text }}{% endif %}{% endfor %}{{ ' im' if m.role == 'user' else '</s>' }}{% endfor %}"
    )
    save(model, processor, tmp_path / "roc")
    vllm_classify(tmp_path / "roc", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "roc.json").read_text())
    assert about["prompt"] is None and about["prompt_token_ids"]
    assert load_processor(tmp_path / "out").chat_template == processor.chat_template
    card = (tmp_path / "out" / "README.md").read_text()
    assert "vllm serve" not in card and "prompt_token_ids" in card


@pytest.mark.parametrize(("attributes", "call"), [(("overall",), "/classify"), (ATTRIBUTES, "token_classify")])
def test_the_card_says_how_to_ask(attributes, call, tmp_path):
    model, processor, _ = build("llava", image_aspect_ratio="pad")
    model.config.roc["attributes"] = list(attributes)
    model.config.roc["answer"] = ", ".join(["[SCORE]"] * len(attributes))
    save(model, processor, tmp_path / "roc")
    vllm_classify(tmp_path / "roc", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "--runner pooling --convert classify" in card and call in card and "Pad pictures" in card
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2
    for code in blocks:
        compile(code, "README.md", "exec")


def test_a_prefix_lm_is_refused_as_a_classifier(tmp_path):
    folder, _, _ = attached_checkpoint("paligemma", tmp_path)
    with pytest.raises(ValueError, match="prefix-LM.*roc.Assessment"):
        vllm_classify(folder, tmp_path / "out")


def test_a_generator_is_the_plain_model_and_keeps_its_head_apart(checkpoint, tmp_path):
    folder, stock, _ = checkpoint
    vllm_generate(folder, tmp_path / "out")
    assert tensor_names(tmp_path / "out") == stock
    assert not hasattr(AutoConfig.from_pretrained(tmp_path / "out"), "roc")
    ours, _ = load(folder)
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert type(plain) is type(ours).roc_base_class
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in plain.state_dict().items())
    weight = load_file(tmp_path / "out" / "score_head" / "score_head.safetensors")["score_head.weight"]
    assert np.array_equal(weight, ours.score_head.weight.detach().numpy())


# --- the head alone, and merging -------------------------------------------------------------------------------------


def test_the_head_alone_is_enough_to_recompute_scores(checkpoint, tmp_path, monkeypatch):
    """The code on its card, run on hidden states of the plain model."""
    folder, _, expected = checkpoint
    assert main(["export", str(folder), "--head-only", str(tmp_path / "out")]) == 0
    model, processor = load(folder)
    seen = []
    model.score_head.register_forward_pre_hook(lambda head, args: seen.append(args[0].numpy()))
    scores_of(model, processor)
    names = {"hidden_states": seen[0]}
    monkeypatch.chdir(tmp_path / "out")
    exec(re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)[1], names)
    np.testing.assert_allclose(names["scores"].reshape(2, 2), expected, atol=1e-5)
    assert names["about"]["roc"] == model.config.roc


@pytest.fixture(scope="module", params=[False, True], ids=["lora", "qlora"])
def adapter(request, tmp_path_factory):
    """`(folder of the adapter, what it scores on its base in full weights)`."""
    if request.param:
        pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("adapter")
    model, processor = trained_adapter(save_base("llava", folder / "base"), quantized=request.param)
    save(model, processor, folder / "adapter")
    return folder / "adapter", scores_of(*load(folder / "adapter", quantized=False))


def test_a_merged_adapter_is_a_full_checkpoint_on_the_unquantised_base(adapter, tmp_path, capsys):
    folder, expected = adapter
    (folder / "metrics.json").write_text('{"n": 3, "srcc": 0.5, "command": "roc finetune"}')
    assert main(["export", str(folder), "--merge", str(tmp_path / "out")]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["roc"] == json.loads((folder / "roc_config.json").read_text())["roc"]
    assert (scores_of(*load(tmp_path / "out")) - expected).abs().max() <= 1e-5
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| overall | 0.500 |" in card and "This folder is an adapter" not in card


def test_an_adapter_is_exported_merged_and_its_head_needs_no_base(adapter, tmp_path):
    folder, _ = adapter
    vllm_generate(folder, tmp_path / "plain")
    assert tensor_names(tmp_path / "plain") == tensor_names(folder.parent / "base")
    head_only(folder, tmp_path / "head")
    weights = [
        load_file(part / "score_head.safetensors")["score_head.weight"]
        for part in (tmp_path / "plain" / "score_head", tmp_path / "head")
    ]
    assert np.array_equal(*weights) and weights[0].any()


def test_every_saved_folder_has_a_card_of_roc(adapter, checkpoint, tmp_path):
    assert "This folder is an adapter" in (adapter[0] / "README.md").read_text()
    card = (checkpoint[0] / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    PICTURES[0].save(tmp_path / "photo.png")
    names = {}
    exec(code.replace("ORG/NAME", str(checkpoint[0])).replace("photo.jpg", str(tmp_path / "photo.png")), names)
    assert names["result"].value == pytest.approx(checkpoint[2][0, 0], abs=1e-5)


@pytest.mark.parametrize("checkpoint", ["llava"], indirect=True)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{roc}"], "say what to make: --merge"),
        (["{roc}", "--merge", "{out}"], "is no adapter, so there is nothing to merge"),
        (["{roc}", "--vllm-classify", "{full}"], "not empty; name a new folder"),
        (["{roc}", "--vllm_generate", "{out}", "--base", "org/base"], "full checkpoint, not an adapter"),
        (["{stock}", "--vllm-classify", "{out}"], "carries no score head"),
        (["{stock}", "--head-only", "{out}"], "carries no score head"),
        (["{none}", "--head-only", "{out}"], "nowhere"),
        (["org/name", "--push_to_hub", "org/name"], "only a folder can be uploaded"),
        (["{stock}", "--push_to_hub", "org/name"], "carries no score head"),
        (["{roc}", "--push_to_hub", "org/name", "--base", "org/base"], "--base says nothing"),
        (["{roc}", "--head-only", "{out}", "--private"], "--private says nothing"),
    ],
)
def test_refused(words, expected, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    places = {
        "roc": checkpoint[0],
        "stock": checkpoint[0].parent / "stock",
        "full": tmp_path / "full",
        "out": tmp_path / "out",
        "none": tmp_path / "nowhere",
    }
    assert main(["export", *(word.format(**places) for word in words)]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and os.listdir(tmp_path / "full") == ["mine.txt"]


# --- a hub -----------------------------------------------------------------------------------------------------------

BY_WAY_OF_A_HUB = """
import sys
from pathlib import Path
import torch
from heads import save_base, scores_of, trained_adapter
from huggingface_hub import HfApi
from roc.checkpoint.folder import load, save
from roc.cli import main

checkpoint, folder = sys.argv[1:]
assert main(["export", checkpoint, "--push_to_hub", "org/full"]) == 0
assert torch.equal(scores_of(*load("org/full")), scores_of(*load(checkpoint)))

base = save_base("llava", f"{folder}/base")
Path(base, "README.md").write_text("---\\nlicense: mit\\n---\\nA base.\\n")
HfApi().create_repo("org/base")
HfApi().upload_folder(repo_id="org/base", folder_path=base)
model, processor = trained_adapter("org/base")
save(model, processor, f"{folder}/adapter")
assert main(["export", f"{folder}/adapter", "--push-to-hub", "org/adapter", "--private"]) == 0
assert torch.equal(scores_of(*load("org/adapter")), scores_of(model, processor))
assert main(["export", "org/adapter", "--merge", f"{folder}/merged", "--push_to_hub", "org/merged"]) == 0
assert main(["export", "org/adapter", "--head-only", f"{folder}/head"]) == 0
"""


@pytest.mark.parametrize("checkpoint", ["llava"], indirect=True)
def test_by_way_of_a_hub_scores_are_the_same_to_the_bit(checkpoint, tmp_path):
    folder, _, _ = checkpoint
    (folder / "training").mkdir(exist_ok=True)
    (folder / "training" / "state.bin").write_text("not for a hub")
    with HubStandIn() as hub:
        environment = hub.environment(tmp_path / "home")
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        command = [sys.executable, "-c", BY_WAY_OF_A_HUB, str(folder), str(tmp_path)]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {"README.md", "config.json", "model.safetensors"} <= set(hub.repos["org/full"])
    assert not any(name.startswith("training") for name in hub.repos["org/full"])
    assert {"adapter_model.safetensors", "roc_config.json", "README.md"} <= set(hub.repos["org/adapter"])
    for name in ("org/adapter", "org/merged"):
        card = hub.repos[name]["README.md"].decode()
        assert "base_model: org/base\n" in card and "license: mit\n" in card
    assert hub.private == {"org/adapter"}
