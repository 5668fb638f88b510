"""The formula against the memory of a real training step of a small model, counted tensor by tensor on the CPU."""

import contextlib
import copy
import functools
import weakref

import pytest
import torch
from heads import SPACE, picture, sample
from tiny_models import BUILDERS
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForImageTextToText

from roc.model import memory
from roc.model.adapters import add_lora
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.declaration import Declaration
from roc.model.memory import estimate, estimate_scoring, meta_model
from roc.model.memory_table import format_memory, memory_table
from roc.score_space import ScoreSpace

ROWS, RANK = 4, 8
WAYS = [("full", "float32", False), ("full", "bfloat16", True), ("full", "float32", True), ("lora", "bfloat16", True)]
# What a format adds does not depend on the family.
EACH_WAY = pytest.mark.parametrize(
    ("family", "tuning", "dtype", "bf16"),
    [
        pytest.param(family, *way, marks=[pytest.mark.slow] * (family != "llava" and way in WAYS[1:3]))
        for family in BUILDERS
        for way in WAYS
    ],
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build(family, dtype="float32", tied=False):
    """Builds a model that consists mostly of blocks: six layers of width 128, four in the tower."""
    model, processor = BUILDERS[family](hidden_size=128, tied=tied)
    config = copy.deepcopy(model.config)
    config.text_config.num_hidden_layers = 6
    if hasattr(config.text_config, "layer_types"):
        config.text_config.layer_types = ["full_attention"] * 6
    setattr(config.vision_config, "depth" if family == "qwen2_5_vl" else "num_hidden_layers", 4)
    model = attach(AutoModelForImageTextToText.from_config(config), processor, SPACE)
    model.to(DTYPES[dtype]).score_head.float()
    collator = RocCollator(processor, model.config.roc)
    batch = collator([sample(i, scores={"overall": 5.0}) for i in range(ROWS)])
    return model, in_dtype(batch, dtype), collator


def in_dtype(batch, dtype):
    return {key: value.to(DTYPES[dtype]) if key == "pixel_values" else value for key, value in batch.items()}


def shape_of(family, batch):
    """Describes a batch to the formula: rows, and tokens, patches and supervised positions of each."""
    pixels = batch["pixel_values"]
    shape = {
        "batch_size": ROWS,
        "tokens": batch["input_ids"].shape[1],
        "patches": len(pixels) // ROWS if family == "qwen2_5_vl" else 17,
    }
    return shape, int((batch["labels"][:, 1:] != -100).sum()) // ROWS


class Living(TorchDispatchMode):
    """Counts the bytes of live tensors made by operations; `peak` is the maximum."""

    def __init__(self, *known):
        super().__init__()
        self.seen = weakref.WeakSet(tensor.untyped_storage() for tensor in known)
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self.seen:
                storage = tensor.untyped_storage()
                self.seen.add(storage)
                weakref.finalize(storage, self._gone, storage.nbytes())
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
        return out

    def _gone(self, size):
        self.now -= size


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_weights_gradients_and_moments_are_exact(tuning, dtype, tied):
    model, batch, _ = build("qwen2_5_vl", dtype, tied)
    told = estimate(model, tuning=tuning, dtype=dtype, bf16=False, lora_rank=RANK)
    if tuning == "lora":
        model = add_lora(model, rank=RANK)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    model(**batch).loss.backward()
    optimizer.step()
    rows = [buffer for name, buffer in model.named_buffers() if "trainable_tokens" in name]
    assert told.weights == sum(tensor.nbytes for tensor in [*model.parameters(), *rows])
    assert told.gradients == sum(parameter.grad.nbytes for parameter in trained)
    moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    assert told.optimizer == sum(moment.nbytes for moment in moments)


@EACH_WAY
def test_activations_without_checkpointing(family, tuning, dtype, bf16):
    """Compares with what autograd saves, weights aside; without dropout, which saves more on a CPU than on a GPU."""
    model, batch, _ = build(family, dtype)
    shape, supervised = shape_of(family, batch)
    told = estimate(
        model, tuning=tuning, dtype=dtype, bf16=bf16, lora_rank=RANK, gradient_checkpointing=False,
        supervised_tokens=supervised, **shape,
    )  # fmt: skip
    if tuning == "lora":
        model = add_lora(model, rank=RANK, dropout=0.0)
    known = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers(), *batch.values()]}
    saved = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocast(bf16):
        model.train()(**batch)
    measured = sum(storage.nbytes() for storage in saved.values())
    # Of the row of [SCORE] the matrix; its gradient is yet to come.
    assert told.activations + told.copies + told.score_row / 2 == pytest.approx(measured, rel=0.15)


@EACH_WAY
def test_the_peak_of_an_accumulated_step(family, tuning, dtype, bf16):
    """With checkpointing, during the second micro-batch, while the gradients of the first are held."""
    model, batch, _ = build(family, dtype)
    shape, supervised = shape_of(family, batch)
    told = estimate(model, tuning=tuning, dtype=dtype, bf16=bf16, lora_rank=RANK, supervised_tokens=supervised, **shape)
    if tuning == "lora":
        model = add_lora(model, rank=RANK, dropout=0.0)
    model.train().gradient_checkpointing_enable()
    model(**batch).loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    with Living(*model.parameters(), *model.buffers(), *batch.values(), *gradients) as living:
        with autocast(bf16):
            loss = model(**batch).loss
        loss.backward()
    told_peak = told.gradients + told.copies + told.activations + told.logits + told.score_row
    assert told_peak == pytest.approx(sum(gradient.nbytes for gradient in gradients) + living.peak, rel=0.25)


@pytest.mark.parametrize("family", BUILDERS)
def test_scoring_is_roughly_one_block(family):
    model, batch, collator = build(family)
    scoring = collator.scoring_batch([picture(i) for i in range(ROWS)])
    shape, _ = shape_of(family, batch)
    shape["tokens"] = scoring["input_ids"].shape[1]
    told = estimate_scoring(model, dtype="float32", **shape)
    with torch.inference_mode(), Living(*model.parameters(), *model.buffers(), *scoring.values()) as living:
        model.eval()(**scoring, use_cache=False)
    assert told.activations == pytest.approx(living.peak, rel=0.4)
    assert told.weights == sum(parameter.nbytes for parameter in model.parameters())


def autocast(on):
    return torch.autocast("cpu", torch.bfloat16) if on else contextlib.nullcontext()


def test_four_bit_weights_are_counted_as_bitsandbytes_holds_them():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    for rows, columns in ((64, 64), (688, 256), (1024, 4096)):
        layer = bitsandbytes.nn.Linear4bit(columns, rows, bias=False, quant_type="nf4", compress_statistics=True)
        weight = layer.to("cpu").weight
        scales = weight.quant_state
        held = [weight, scales.absmax, scales.code, scales.offset, scales.state2.absmax, scales.state2.code]
        assert memory.four_bit_bytes(rows * columns) == sum(tensor.nbytes for tensor in held)


@functools.cache
def on_meta():
    return meta_model(BUILDERS["llava"]()[0].config)


def test_a_config_is_enough_and_stays_as_it_is():
    config = BUILDERS["llava"]()[0].config
    before = config.to_dict()
    model = meta_model(config, num_levels=7)
    assert config.to_dict() == before
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model.score_head.weight.shape == (7, 32)
    config.roc = Declaration(space=ScoreSpace(num_levels=5), token_id=0).to_dict()
    assert meta_model(config).score_head.weight.shape[0] == 5


def test_sharding_divides_what_it_says_it_divides():
    model = on_meta()
    count = sum(parameter.numel() for parameter in model.parameters())
    one = estimate(model)
    assert one.weights + one.gradients + one.optimizer == 16 * count
    assert one.communication == 0
    copied = estimate(model, num_gpus=4)
    assert copied.communication == copied.gradients == one.gradients
    spread = {name: estimate(model, num_gpus=4, sharding=name) for name in ("fsdp2", "zero2", "zero3")}
    assert (spread["fsdp2"].weights, spread["fsdp2"].optimizer) == (count, 2 * count)
    assert (spread["zero2"].weights, spread["zero2"].gradients) == (2 * count, count // 2)
    assert (spread["zero3"].weights, spread["zero3"].optimizer) == (count // 2, 3 * count)
    assert all(one.activations > other.activations > 0 for other in spread.values())


def test_frozen_parts_have_weights_only():
    model = on_meta()
    whole, partly = estimate(model), estimate(model, freeze=["vision"])
    assert partly.weights == whole.weights
    assert partly.gradients < whole.gradients and partly.optimizer == 2 * partly.gradients
    assert partly.activations < whole.activations
    nothing = estimate(model, freeze=["vision", "projector", "language", "embeddings"])
    assert nothing.gradients == model.score_head.weight.numel() * 4
    assert nothing.activations == 0


def test_more_rows_tokens_and_ranks_take_more():
    model = on_meta()
    base = estimate(model, batch_size=2, tokens=100)
    assert estimate(model, batch_size=4, tokens=100).activations == 2 * base.activations
    assert estimate(model, batch_size=2, tokens=100, gradient_checkpointing=False).activations > base.activations
    assert estimate(model, batch_size=4, tokens=100).logits == 2 * base.logits
    small, large = (estimate(model, tuning="lora", dtype="bfloat16", lora_rank=rank) for rank in (8, 16))
    assert large.gradients > small.gradients
    wide = estimate(model, tuning="lora", dtype="bfloat16", lora_rank=8, lora_parts=["language", "vision"])
    assert wide.gradients > small.gradients and wide.activations > small.activations
    narrow = estimate(model, tuning="lora", dtype="bfloat16", lora_rank=8, lora_targets=["q_proj"])
    assert narrow.gradients < small.gradients


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", BUILDERS)
def test_the_table_names_every_way(family, tied):
    table = memory_table(BUILDERS[family](tied=tied)[0].config)
    for what in ("full, float32 + autocast", "full, bfloat16", "lora, bfloat16 base", "qlora, 4-bit base", "score,"):
        assert what in table


def test_the_total_adds_up():
    one = memory.MemoryEstimate(weights=3 * memory.GIB, activations=memory.GIB // 2)
    assert one.total == 4.5 * memory.GIB
    heading, line = format_memory({("tune", "1"): one}).splitlines()
    assert heading.split()[0] == "GPUs" and heading.split()[-1] == "total"
    assert line.split() == ["tune", "1", "3.0", *["0.0"] * 4, "0.5", "0.0", "0.0", "1.0", "4.5"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuning": "prompt"}, "tuning is 'prompt'; expected one of full, lora, qlora"),
        ({"dtype": "float16"}, "dtype is 'float16'; expected one of float32, bfloat16"),
        ({"sharding": "zero1"}, "sharding is 'zero1'; expected one of ddp, fsdp2, zero2, zero3"),
        ({"freeze": ["audio"]}, "freeze names audio; expected some of vision, projector"),
        ({"num_gpus": 0}, "num_gpus is 0; expected at least 1"),
        ({"tuning": "qlora", "sharding": "zero3", "num_gpus": 8}, "4-bit weights cannot be spread by zero3; use ddp"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        estimate(on_meta(), **settings)


def test_a_model_without_the_head_is_refused():
    with pytest.raises(ValueError, match="carries no score head; give what meta_model"):
        estimate(BUILDERS["llava"]()[0])
