"""Exports give the same scores: merged, the head alone, and after a hub."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exports import PICTURES, tensor_names
from heads import save_base, scores_of, trained_adapter
from hub_stand_in import HubStandIn
from safetensors.numpy import load_file

from roc.checkpoint.export import head_only, merge
from roc.checkpoint.folder import load, save
from roc.checkpoint.vllm import vllm_generate


def test_the_head_alone_is_enough_to_recompute_scores(checkpoint, tmp_path, monkeypatch):
    """Runs the code on its card on hidden states of the plain model."""
    folder, _, expected = checkpoint
    head_only(folder, tmp_path / "out")
    model, processor = load(folder)
    seen = []
    model.score_head.register_forward_pre_hook(lambda head, args: seen.append(args[0].numpy()))
    scores_of(model, processor)
    names = {"hidden_states": seen[0]}
    monkeypatch.chdir(tmp_path / "out")
    exec(re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)[1], names)
    np.testing.assert_allclose(names["scores"].reshape(2, 2), expected, atol=1e-5)
    assert names["about"]["roc"] == model.config.roc


def test_the_card_of_the_head_names_the_levels_that_count_and_extensions_are_refused(checkpoint, tmp_path):
    folder = tmp_path / "ranges"
    shutil.copytree(checkpoint[0], folder)
    config = json.loads((folder / "config.json").read_text())
    last = config["roc"]["attributes"][-1]
    config["roc"] |= {"format": 3, "attribute_ranges": {last: [-1, 1]}}
    (folder / "config.json").write_text(json.dumps(config))
    head_only(folder, tmp_path / "out")
    assert 'np.array(about["attribute_levels"][NAME])' in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "roc.json").read_text())["attribute_levels"][last][0] == -1
    config["roc_extensions"] = {"agree": {}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="the extension agree, which only roc computes"):
        head_only(folder, tmp_path / "other")


@pytest.fixture(scope="module", params=[False, True], ids=["lora", "qlora"])
def adapter(request, tmp_path_factory):
    """`(folder of the adapter, its scores on the base in full weights)`."""
    if request.param:
        pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("adapter")
    model, processor = trained_adapter(save_base("llava", folder / "base"), quantized=request.param)
    save(model, processor, folder / "adapter")
    return folder / "adapter", scores_of(*load(folder / "adapter", quantized=False))


def test_a_merged_adapter_is_a_full_checkpoint_on_the_unquantised_base(adapter, tmp_path):
    folder, expected = adapter
    (folder / "metrics.json").write_text('{"n": 300, "srcc": 0.5, "command": "roc finetune"}')
    merge(folder, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()
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
