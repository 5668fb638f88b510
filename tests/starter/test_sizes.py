"""What each size is made of fits together; the real ones are built where their wheels are in the cache."""

import re

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from roc.cli import main
from roc.starter.options import StarterOptions
from roc.starter.sizes import SIZES
from roc.starter.wheels import locate


@pytest.mark.parametrize("name", SIZES)
def test_every_package_is_pinned_and_described(name):
    size = SIZES[name]
    assert StarterOptions(out="out", size=name).size == name
    assert list(size.changes) == [package.name for package in size.packages]
    for package in size.packages:
        assert re.fullmatch(r"[0-9a-f]{64}", package.sha256) and package.source.startswith("https://")
        assert package.file.startswith(f"{package.name.replace('-', '_')}-{package.version}-")
        assert package.licence == "Apache-2.0" and package.licence in package.title


@pytest.fixture(params=SIZES)
def built(request, tmp_path):
    """The real starter of a size, built by the command from the wheels in the cache."""
    missing = [wheel.package.file for wheel in locate(SIZES[request.param].packages) if wheel.path is None]
    if missing:
        pytest.skip(f"not in roc's cache of wheels: {', '.join(missing)}")
    if request.param == "full":
        pytest.importorskip("gguf", reason="the extra [starter] is not installed")
    out = tmp_path / request.param
    assert main(["starter", str(out), "--size", request.param]) == 0
    return out


@pytest.mark.slow
def test_the_real_ones_carry_the_head(built, capsys):
    processor = AutoProcessor.from_pretrained(built)
    if built.name == "full":
        model = AutoModelForImageTextToText.from_pretrained(built)
        question = [{"role": "user", "content": "What is the capital of France?"}]
        prompt = processor.tokenizer(processor.apply_chat_template(question, add_generation_prompt=True))
        written = model.generate(torch.tensor([prompt["input_ids"]]), max_new_tokens=12, do_sample=False)
        assert "Paris" in processor.tokenizer.decode(written[0])
        del model
    assert main(["doctor", str(built)]) == 0
    assert "The head fits." in capsys.readouterr().out
