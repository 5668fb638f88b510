"""LoRA: the layers it adapts, the weights that are trained, and what is refused."""

import pytest
import torch
from heads import ATTRIBUTES, SPACE, build, mixed_batch, picture
from tiny_models import BUILDERS
from torch import nn

from roc.checkpoint.folder import is_adapter
from roc.model.adapters import add_lora, four_bit, lora_targets, merged
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.parts import parameter_parts


@pytest.mark.parametrize("family", BUILDERS)
def test_all_linear_layers_of_the_language_model(family):
    model, _, _ = build(family)
    found = lora_targets(model)
    kinds = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    kinds += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    layers = [f"model.language_model.layers.{layer}.{kind}" for layer in (0, 1) for kind in kinds]
    assert sorted(found) == sorted(layers)


@pytest.mark.parametrize("family", BUILDERS)
def test_parts_and_names_narrow_the_choice(family):
    model, _, _ = build(family)
    parts = parameter_parts(model)
    for part in ("vision", "projector"):
        found = lora_targets(model, (part,))
        assert found and {parts[f"{name}.weight"] for name in found} == {part}
    assert len(lora_targets(model, targets=("q_proj", "mlp.up_proj"))) == 4
    everything = lora_targets(model, ("language", "projector", "vision"))
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert linear - set(everything) == {"lm_head"}


@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        ("mlp", 3),
        ("self_attn", 4),
        ("self_attn.q_proj", 1),
        ("layers.1.mlp.up_proj", 0.5),
        ("language_model.layers.1.mlp.up_proj", 0.5),
    ],
)
def test_a_name_is_an_end_or_a_part_within_the_block(target, kinds):
    model, _, _ = build("llava")
    found = lora_targets(model, targets=(target,))
    assert len(found) == 2 * kinds and all(f".{target}" in name for name in found)


@pytest.mark.parametrize("target", ["layers", "proj", "1", "model", "q_proj.self_attn"])
def test_a_name_outside_the_block_half_a_name_and_a_number_match_nothing(target):
    model, _, _ = build("llava")
    with pytest.raises(ValueError, match=f"{target} match no linear layer of language"):
        lora_targets(model, targets=(target,))


def test_names_that_match_nothing_are_answered_with_those_there_are():
    model, _, _ = build("llava")
    with pytest.raises(ValueError, match="query_key_value match no linear layer of language.*down_proj.*q_proj"):
        lora_targets(model, targets=("query_key_value", "q_proj"))
    with pytest.raises(ValueError, match="LoRA goes into language, projector, vision; got head"):
        lora_targets(model, ("head",))
    with pytest.raises(ValueError, match="got no part"):
        lora_targets(model, ())


@pytest.mark.parametrize("tied", [False, True])
def test_lora_the_score_rows_and_the_head_are_trained_and_nothing_else_moves(tied):
    model, processor = BUILDERS["llava"](tied=tied)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    before = {name: p.clone() for name, p in model.named_parameters()}
    wrapped = add_lora(model, rank=4, dropout=0.0)
    parts = parameter_parts(wrapped)
    trained = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    assert {parts[name] for name in trained} == {"language", "embeddings", "head"}
    assert sum(parts[name] == "embeddings" for name in trained) == (1 if tied else 2)
    from roc.model.collator import RocCollator

    optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=1e-2)
    wrapped.train()(**mixed_batch(RocCollator(processor, wrapped.config.roc))).loss.backward()
    assert all(p.grad is not None for p in wrapped.parameters() if p.requires_grad)
    optimizer.step()
    plain = merged(wrapped)
    token = plain.config.roc["token_id"]
    for name, p in plain.named_parameters():
        adapted = any(name == f"{layer}.weight" for layer in lora_targets(plain))
        if name == "score_head.weight":
            assert not torch.equal(p, before[name])
        elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
            rows = (p != before[name]).any(dim=1).nonzero().flatten().tolist()
            assert rows == [token], name
        elif not adapted:
            assert torch.equal(p, before[name]), name


def test_what_cannot_be_wrapped_is_refused():
    model, processor = BUILDERS["llava"]()
    with pytest.raises(ValueError, match="carries no score head"):
        add_lora(model)
    attach(model, processor, SPACE)
    with pytest.raises(ValueError, match="match no linear layer"):
        add_lora(model, targets=("nothing",))
    wrapped = add_lora(model, rank=2)
    with pytest.raises(ValueError, match="already has an adapter; merge it first"):
        add_lora(wrapped)
    with pytest.raises(ValueError, match="already has PEFT adapters"):
        attach(wrapped, processor, SPACE)
    plain, _, _ = build("llava")
    with pytest.raises(ValueError, match="no adapter to merge"):
        merged(plain)


@pytest.mark.parametrize(
    ("family", "kept"),
    [("llava", ["model.vision_tower", "model.multi_modal_projector", "lm_head"]), ("qwen2_5_vl", None)],
)
def test_four_bit_leaves_all_but_the_language_model_alone(family, kept):
    model, _ = BUILDERS[family]()
    settings = four_bit(model.config)
    assert settings.bnb_4bit_quant_type == "nf4" and settings.bnb_4bit_use_double_quant
    assert settings.llm_int8_skip_modules == (kept or ["model.visual", "lm_head"])


def test_a_folder_without_adapter_is_none(tmp_path):
    assert not is_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert is_adapter(tmp_path)


def test_an_evaluation_leaves_the_gradients_of_four_bit_layers_as_they_are(tmp_path):
    """On CPUs with a fast 4-bit kernel, bitsandbytes would repack the weights for good."""
    pytest.importorskip("bitsandbytes")
    model, processor = BUILDERS["llava"](hidden_size=64)
    model.save_pretrained(tmp_path)
    settings = four_bit(model.config, torch.float32)
    model = type(model).from_pretrained(tmp_path, quantization_config=settings, dtype=torch.float32)
    attach(model, processor, SPACE)
    tuned = add_lora(model, rank=4, dropout=0.0)
    batch = RocCollator(processor, model.config.roc).prompt_batch([picture(0)])

    def gradient():
        tuned.zero_grad()
        tuned.train()(**batch).logits.square().mean().backward()
        return next(p.grad.clone() for name, p in tuned.named_parameters() if "layers.0" in name and "lora_B" in name)

    before = gradient()
    with torch.no_grad():
        tuned.eval()(**batch)
    assert torch.equal(gradient(), before)


def test_checkpointing_sends_no_gradient_through_a_frozen_tower():
    """Both kinds of checkpointing give the same gradients of trained weights as none."""
    found = []
    for settings in (None, {"use_reentrant": False}, {"use_reentrant": True}):
        model, _, collator = build("llava")
        torch.manual_seed(0)
        tuned = add_lora(model, rank=4, dropout=0.0).train()
        if settings is not None:
            # transformers' older name before 5.23.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable(settings)
            model.enable_input_require_grads()
        tower = []
        model.model.vision_tower.register_forward_hook(lambda module, args, output, tower=tower: tower.append(output))
        out = tuned(**mixed_batch(collator))
        out.loss.backward()
        assert not tower[0].last_hidden_state.requires_grad
        assert out.past_key_values is None
        found.append({name: p.grad for name, p in tuned.named_parameters() if p.requires_grad})
    plain, *others = found
    assert sum("lora_B" in name and gradient.abs().max() > 0 for name, gradient in plain.items()) > 8
    for other in others:
        for name, gradient in plain.items():
            assert torch.allclose(other[name], gradient, atol=1e-6), name
