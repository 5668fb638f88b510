"""Linear layers in 8 bits: the rounding, the layers it applies to, and how little it moves scores."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from heads import ATTRIBUTES, SPACE, build, fill_head, picture
from tiny_models import BUILDERS, FAMILY_BUILDERS
from torch import nn

from roc.checkpoint.folder import save
from roc.cli import main
from roc.model import float8
from roc.model.adapters import add_lora
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.float8 import Float8Linear, float8_layers, rounded, use_float8
from roc.model.memory import estimate_scoring
from roc.scoring.assessment import Assessment
from roc.scoring.one_forward import compile_layers, one_forward

PICTURES = [picture(i) for i in range(6)]
TABLE = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).double()
"""Every 8-bit number; two of them are no numbers."""


def nearest(rows):
    """Rounds (R, C) by looking up the nearest number, scaled back; float64."""
    scale = rows.double().abs().amax(1, keepdim=True) / 448
    apart = (rows.double().unsqueeze(-1) / scale.unsqueeze(-1) - TABLE).abs().nan_to_num(float("inf"))
    return TABLE[apart.argmin(-1)] * scale


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_row_is_rounded_by_its_own_scale():
    # 2 is held as 448, so that 0.3 becomes 67.2; its neighbours there are 64 and 72.
    values, scale = rounded(torch.tensor([[1.0, -2.0, 0.3], [0.0, 0.0, 0.0], [1e-3, 1e3, 2e3]]))
    assert values.dtype == torch.float8_e4m3fn and scale.dtype == torch.float32 and scale.shape == (3, 1)
    assert values.float()[0].tolist() == [224.0, -448.0, 64.0] and scale[0].item() == pytest.approx(2 / 448)
    assert values.float()[1].tolist() == [0.0, 0.0, 0.0]
    assert values.float()[2].tolist() == [0.0, 224.0, 448.0]


def test_scales_are_the_same_wherever_they_are_computed():
    # A GPU divides by a number by multiplying; were the CPU to divide, a Ray actor's weights would look like others.
    values = random(64, 32)
    _, scale = rounded(values)
    assert torch.equal(scale, values.abs().amax(1, keepdim=True) * torch.tensor(1 / 448, dtype=torch.float32))
    assert rounded(values.t())[0].shape == (32, 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_multiplies_rounded_numbers(dtype):
    linear = nn.Linear(32, 48).to(dtype)
    hidden_states = random(2, 3, 32).to(dtype)
    found = Float8Linear(linear, torch.device("cpu"))(hidden_states)
    expected = nearest(hidden_states.flatten(0, 1)) @ nearest(linear.weight.detach()).t() + linear.bias.detach()
    assert found.shape == (2, 3, 48) and found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.double(), expected.view(2, 3, 48), atol=tolerance, rtol=tolerance)
    layer = Float8Linear(linear, torch.device("cpu"))
    assert torch.equal(layer(hidden_states[1, 2]), found[1, 2]) and layer(hidden_states[:0]).shape == (0, 3, 48)


def kernel_runs_here():
    one = rounded(torch.ones(16, 16))
    try:
        float8._on_tensor_cores(*one, *one, torch.float32)
    except NotImplementedError:
        return False
    return True


kernel = pytest.mark.skipif(not kernel_runs_here(), reason=f"torch {torch.__version__} has the kernel for GPUs alone")


@kernel
def test_the_kernel_of_gpus_gives_what_is_computed_elsewhere():
    rows, weight = rounded(random(5, 64)), rounded(random(32, 64, seed=1))
    found = float8._on_tensor_cores(*rows, *weight, torch.float32)
    torch.testing.assert_close(found, float8._in_float32(*rows, *weight, torch.float32))


@pytest.mark.parametrize("family", FAMILY_BUILDERS)
def test_layers_of_the_language_model_alone_and_scores_stay_close(family):
    model, processor = FAMILY_BUILDERS[family]()
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model)
    batch = RocCollator(processor, model.config.roc).scoring_batch(PICTURES)
    plain = one_forward(model.eval(), batch).scores
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    inside = {id(layer) for layer in model.get_decoder().modules()}
    found = use_float8(model, "cpu")
    replaced = {name for name, layer in model.named_modules() if isinstance(layer, Float8Linear)}
    assert found == len(replaced) > 0
    for name, layer in model.named_modules():
        if type(layer) is nn.Linear and id(layer) in inside:
            assert layer.in_features % 16 or layer.out_features % 16, name  # which the kernel does not take
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
    gone = set(before) - {name for name, _ in model.named_parameters()}
    assert gone == {f"{name}.weight" for name in replaced}
    apart = (one_forward(model, batch).scores - plain).abs()
    # An untrained model with a steep head makes much of little.
    assert 0 < apart.max() < 0.1 * SPACE.width and apart.mean() < 0.03 * SPACE.width


def test_the_matrices_of_an_adapter_stay():
    model, _, collator = build("llava")
    wrapped = add_lora(model, rank=4, dropout=0.0)
    lora = [layer for name, layer in wrapped.named_modules() if "lora_" in name and type(layer) is nn.Linear]
    for seed, layer in enumerate(lora):
        nn.init.normal_(layer.weight, std=0.3, generator=torch.Generator().manual_seed(seed))
    batch = collator.scoring_batch(PICTURES)
    wrapped.eval()
    plain = one_forward(wrapped, batch).scores
    with wrapped.disable_adapter():
        without = one_forward(wrapped, batch).scores
    assert use_float8(wrapped, "cpu") > 0
    assert lora and all(layer in set(wrapped.modules()) for layer in lora)
    found = one_forward(wrapped, batch).scores
    assert (found - plain).abs().max() < 0.05 * SPACE.width < (without - plain).abs().max()


def test_what_cannot_be_rounded_is_refused(monkeypatch):
    model, _, _ = build("llava")
    use_float8(model, "cpu")
    with pytest.raises(ValueError, match="has no linear layers that float8 could hold"):
        use_float8(model, "cpu")
    with pytest.raises(ValueError, match="mps does not multiply float8; expected an NVIDIA GPU"):
        use_float8(model, "mps")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100")
    with pytest.raises(ValueError, match="NVIDIA A100 does not multiply float8"):
        use_float8(model, "cuda")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save(*build("llava")[:2], folder)
    return folder


def test_an_assessment_scores_and_speaks_in_it(checkpoint):
    plain, assessment = (Assessment(checkpoint, device="cpu", dtype=dtype) for dtype in ("float32", "float8"))
    assert (plain.dtype, assessment.dtype) == ("float32", "float8")
    assert assessment.model.dtype == torch.bfloat16 and len(float8_layers(assessment.model)) == 0
    for one, other in zip(plain.score(PICTURES), assessment.score(PICTURES), strict=True):
        for name in ATTRIBUTES:
            assert one.scores[name].value == pytest.approx(other.scores[name].value, abs=0.05 * SPACE.width)
    assert assessment.describe(PICTURES[0], max_new_tokens=3)[0].text is not None


def test_it_may_be_named_as_torch_names_its_own(checkpoint):
    assert Assessment(checkpoint, device="cpu", dtype="torch.float8").dtype == "float8"


@pytest.mark.parametrize("dtype", ["float9", torch.float8_e4m3fn, torch.int16])
def test_another_format_is_refused(checkpoint, dtype):
    with pytest.raises(ValueError, match="expected one of float32, bfloat16, float16, float8, int8, or None"):
        Assessment(checkpoint, device="cpu", dtype=dtype)


@pytest.mark.parametrize(("dtype", "other"), [("float8", "bfloat16"), ("int8", "float32")])
def test_a_run_remembers_it(checkpoint, tmp_path, monkeypatch, capsys, dtype, other):
    monkeypatch.chdir(tmp_path)
    PICTURES[0].save("a.png")
    words = ["score", "a.png", "--checkpoint", str(checkpoint), "--device", "cpu", "--out", "scores.csv", "--dtype"]
    assert main([*words, dtype]) == 0
    assert json.loads(Path("scores.run.json").read_text())["settings"]["dtype"] == dtype
    assert main([*words, other]) == 2
    assert "from a run with other settings" in capsys.readouterr().err


@pytest.mark.parametrize("family", BUILDERS)
def test_its_memory_is_told(family):
    model, _, _ = build(family)
    told = estimate_scoring(model, dtype="float8")
    model.to(torch.bfloat16).score_head.float()
    use_float8(model, "cpu")
    held = list(model.parameters())
    for layer in model.modules():
        if isinstance(layer, Float8Linear):
            held += [layer.weight, layer.scale]
    assert told.weights == sum(tensor.nbytes for tensor in held)
    assert told.activations > estimate_scoring(model, dtype="bfloat16").activations


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("multiply", ["_in_float32", pytest.param("_on_tensor_cores", marks=kernel)])
def test_compiled_layers_hold_them_too(monkeypatch, multiply):
    monkeypatch.setattr(float8, "_in_float32", getattr(float8, multiply))
    model, _, collator = build("llava")
    model.to(torch.bfloat16).score_head.float()
    model.eval()
    use_float8(model, "cpu")
    batches = [collator.scoring_batch(PICTURES[:count]) for count in (2, 3, 5)]
    plain = [one_forward(model, batch).scores for batch in batches]
    torch.compiler.reset()
    compile_layers(model)
    for batch, expected in zip(batches, plain, strict=True):
        torch.testing.assert_close(one_forward(model, batch).scores, expected, atol=0.02 * SPACE.width, rtol=0)
