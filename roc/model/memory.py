"""What training and scoring take in GPU memory, computed from shapes alone: no weights are read and no GPU is needed.

    total = weights + gradients + optimizer + copies + communication + activations + logits + score_row + context

per GPU, at the moment of a step when most is alive: late in the forward pass of the last of several accumulated
micro-batches, when the gradients of the earlier ones are still held. Without accumulation the peak lies a little lower.

What one trained parameter takes, in bytes, on one GPU or on each of N that share:

                                                       weights   gradients   optimizer   copies
    dtype float32, autocast to bfloat16                   4          4           8          2
    dtype bfloat16                                        2          2           4          0
    FSDP2                                              weights, gradients and optimizer / N; no copies
    ZeRO-2, which keeps float32 beside bfloat16           2         2/N        12/N         0
    ZeRO-3                                               2/N        2/N        12/N         0

AdamW's two moments follow the dtype of the parameter. Autocast keeps a bfloat16 copy of every trained matrix for the
length of a forward pass. A frozen parameter has weights only; in QLoRA the language model's matrices take 4 bits and
their scales, and one of them at a time is spread out to bfloat16. LoRA's matrices, the trained row(s) of `[SCORE]` and
the score head are float32.

`communication`: DDP holds every gradient a second time, in its buckets. FSDP2 gathers two blocks, and what belongs to
no block (embeddings, language-model head, projector), and holds their gradients until they are spread. DeepSpeed's
buffers have fixed sizes (its defaults).

`activations`: what the backward pass needs. For every block (transformer layer) of the language model and, where its
tower is trained, of the vision tower, and for every token of a row (patch of a picture):

    norms     2 x (4 H + r H)       their input in float32, their normalised input; LayerNorm: r H
    inputs    c x (2 H + Q + I)     of linear layers: both norms' outputs, attention's output, the MLP's product
    between   c x (3 Q + 3 I)       q, k, v; gate, activated gate, up (without a gate: 1 I)
    LoRA      (c + 1) in + c rank   per adapted layer: its input, the mask of the dropout, the narrow row between

with H, I the widths of the hidden state and of the MLP, Q that of all query heads; c bytes a computed value (2 in
bfloat16), r bytes a hidden value (4 where the weights are float32, else 2). Where r is not c, autocast casts the norms'
outputs for each linear layer anew: 5 H in place of 2 H. Of frozen layers only what the gradient passes through is kept:
the norms' input, q, k, v, attention's output and the MLP's inner values. With gradient checkpointing a block keeps its
input alone, r H, and the one block that is being computed anew keeps all of the above.

The widths are read off the `nn.Linear` modules and the norms of each block, so that no family needs a branch. Attention
is taken to store no T x T matrix (sdpa, flash); experts that are no `nn.Linear` are not seen.

`logits`: the language-model head runs at supervised positions only, each costing (c + 12) V bytes for V tokens of
vocabulary: logits, their log-softmax in float32, and the gradients of both. `score_row`: with LoRA the row of `[SCORE]`
is put into a copy of the vocabulary matrix, which gets a gradient of its own.

`context`: what CUDA, its libraries and the allocator take for themselves. The one number that is assumed.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import typing
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import QuickGELUActivation

from roc.model import adapters
from roc.model.attachment import model_class
from roc.model.declaration import Declaration, declares_head
from roc.model.float8 import float8_layers
from roc.model.modeling import RocMixin, roc_class
from roc.model.parts import PARTS, parameter_parts
from roc.score_space import ScoreSpace

GIB = 2**30
CONTEXT = GIB

Tuning = Literal["full", "lora", "qlora"]
Sharding = Literal["ddp", "fsdp2", "zero2", "zero3"]

_SIZES = {"float32": 4, "bfloat16": 2}
# nf4 with doubly quantised scales: values per scale, scales per scale of theirs.
_CHUNK, _SCALES = 64, 256
# Elements; DeepSpeed's defaults of reduce_bucket_size and stage3_max_live_parameters.
_BUCKET, _LIVE = 5 * 10**8, 10**9


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one GPU, term by term; the head of this file says what each is."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    copies: int = 0
    communication: int = 0
    activations: int = 0
    logits: int = 0
    score_row: int = 0
    context: int = CONTEXT

    @property
    def total(self) -> int:
        """Sum of all terms."""
        return sum(dataclasses.astuple(self))


class _Block(NamedTuple):
    """One of the equal layers a tower is made of.

    Attributes:
        part: "language" or "vision".
        width: H, of the hidden state it passes on.
        module: the layer itself.
    """

    part: str
    width: int
    module: nn.Module


class _Held(NamedTuple):
    """Parameters held in the same way: how many, in how many bytes altogether, and whether they are trained."""

    count: int
    size: int
    trained: bool


def meta_model(config: PretrainedConfig, num_levels: int = 10) -> PreTrainedModel:
    """The model of a config with a score head, on the `meta` device: shapes and names, no storage.

    Args:
        config: of an image-text-to-text model; left as it is.
        num_levels: N of the head, where the config does not say.

    Raises:
        ValueError: where `transformers` has no such model.
    """
    config = copy.deepcopy(config)
    if not declares_head(config):
        config.roc = Declaration(space=ScoreSpace(num_levels=num_levels), token_id=0).to_dict()
    with torch.device("meta"):
        return roc_class(model_class(config))(config)


def estimate(
    model: PreTrainedModel,
    *,
    tuning: Tuning = "full",
    dtype: str = "float32",
    bf16: bool = True,
    batch_size: int = 1,
    tokens: int = 1024,
    supervised_tokens: int = 32,
    patches: int | None = None,
    gradient_checkpointing: bool = True,
    sharding: Sharding = "ddp",
    num_gpus: int = 1,
    freeze: Sequence[str] = (),
    lora_rank: int = 64,
    lora_targets: Sequence[str] = (),
    lora_parts: Sequence[str] = ("language",),
) -> MemoryEstimate:
    """What a training step takes on each GPU.

    Args:
        model: carries the head; on any device, `meta` will do. Not wrapped by PEFT, not quantised.
        tuning, dtype, bf16, gradient_checkpointing, freeze, lora_rank, lora_targets, lora_parts: the training's
            settings of these names.
        batch_size: rows per GPU and forward pass.
        tokens: of the longest row of a batch, image tokens included.
        supervised_tokens: of an answer.
        patches: of a row's pictures, as the vision tower sees them; None = those of `tokens` image tokens.
        sharding: the launcher's name.
        num_gpus: that work together.

    Raises:
        ValueError: for a model without the head, an unknown word or part, no GPU, or 4-bit weights to be spread.
    """
    for name, value, allowed in (("tuning", tuning, Tuning), ("sharding", sharding, Sharding)):
        if value not in typing.get_args(allowed):
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(typing.get_args(allowed))}.")
    unknown = sorted(set(freeze) - set(PARTS))
    if unknown:
        raise ValueError(f"freeze names {', '.join(unknown)}; expected some of {', '.join(PARTS)}.")
    if num_gpus < 1:
        raise ValueError(f"num_gpus is {num_gpus}; expected at least 1.")
    if tuning == "qlora" and sharding != "ddp":
        raise ValueError(f"QLoRA's 4-bit weights cannot be spread by {sharding}; use ddp.")
    _check(model, dtype)
    adapted = []
    if tuning != "full":
        modules = dict(model.named_modules())
        adapted = [modules[name] for name in adapters.lora_targets(model, lora_parts, lora_targets)]
    step = _Step(model, tuning, dtype, bf16, sharding, gradient_checkpointing, frozenset(freeze), adapted, lora_rank)
    shared = 1 if sharding == "ddp" else num_gpus
    held = list(step.held())
    gradients = sum(part.size for part in held if part.trained)
    # DeepSpeed's optimiser holds a float32 copy of what is trained beside the two moments.
    moments = 12 * sum(part.count for part in held if part.trained) if step.is_zero else 2 * gradients
    weights = sum(part.size for part in held)
    return MemoryEstimate(
        weights=weights if sharding == "zero2" else weights // shared,
        gradients=gradients // shared,
        optimizer=moments // shared,
        copies=step.copies(),
        communication=step.communication(gradients) if num_gpus > 1 else 0,
        activations=step.activations(batch_size, tokens, patches),
        logits=step.logits(batch_size * supervised_tokens),
        score_row=step.score_row(),
    )


def estimate_scoring(
    model: PreTrainedModel,
    *,
    dtype: str = "bfloat16",
    batch_size: int = 1,
    tokens: int = 1024,
    patches: int | None = None,
) -> MemoryEstimate:
    """What scoring takes: the weights, and what is alive inside one block. The language-model head does not run.

    Args:
        model, dtype, batch_size, tokens, patches: as for `estimate`; the head stays float32. "float8" = bfloat16 with
            the linear layers of the language model in 8 bits, a scale for each row, and their inputs rounded as they
            come, by way of float32.

    Raises:
        ValueError: for a model without the head, or an unknown dtype.
    """
    _check(model, dtype, [*_SIZES, "float8"])
    size = _SIZES.get(dtype, 2)
    head = model.score_head.weight.numel()
    rest = sum(parameter.numel() for parameter in model.parameters()) - head
    part_of = parameter_parts(model)
    blocks = _blocks(model, part_of)
    rows = _rows(model, part_of, blocks, batch_size, tokens, patches)
    inside = max((rows[block.part] * _alive_in(block) for block in blocks), default=0)
    weights, activations = size * rest + 4 * head, size * inside
    if dtype == "float8":
        layers = [layer for _, _, layer in float8_layers(model)]
        weights += sum(4 * layer.out_features - layer.weight.numel() for layer in layers)
        activations += 5 * batch_size * tokens * max((layer.in_features for layer in layers), default=0)
    return MemoryEstimate(weights=weights, activations=activations)


@dataclasses.dataclass(frozen=True)
class _Step:
    """The settings of a training step, and the terms that follow from them."""

    model: PreTrainedModel
    tuning: Tuning
    dtype: str
    bf16: bool
    sharding: Sharding
    gradient_checkpointing: bool
    freeze: frozenset[str]
    adapted: list[nn.Linear]
    rank: int

    @property
    def is_zero(self) -> bool:
        return self.sharding in ("zero2", "zero3")

    @property
    def held_size(self) -> int:
        """Bytes of a weight as it is held."""
        return 2 if self.is_zero and self.bf16 else _SIZES[self.dtype]

    @property
    def narrow_size(self) -> int:
        """Bytes of a weight of the head, or of what LoRA adds."""
        return 2 if self.is_zero and self.bf16 else 4

    @property
    def computed(self) -> int:
        """c: bytes of a value that a linear layer gives."""
        return 2 if self.bf16 else self.held_size

    @property
    def hidden(self) -> int:
        """r: bytes of a value of the hidden state. FSDP2 and DeepSpeed cast the weights, and so the hidden state."""
        return 2 if self.bf16 and self.sharding != "ddp" else self.held_size

    @functools.cached_property
    def part_of(self) -> dict[str, str]:
        return parameter_parts(self.model)

    @functools.cached_property
    def blocks(self) -> list[_Block]:
        return _blocks(self.model, self.part_of)

    def held(self) -> Iterator[_Held]:
        """Every parameter, grouped by how it is held."""
        head = self.model.score_head.weight.numel()
        base = {name: p.numel() for name, p in self.model.named_parameters() if self.part_of[name] != "head"}
        if self.tuning == "full":
            for name, count in base.items():
                yield _Held(count, count * self.held_size, self.part_of[name] not in self.freeze)
            yield _Held(head, head * self.narrow_size, True)
            return
        matrices = adapters.lora_targets(self.model) if self.tuning == "qlora" else ()
        four_bit = {f"{name}.weight" for name in matrices}
        for name, count in base.items():
            yield _Held(count, four_bit_bytes(count) if name in four_bit else count * self.held_size, False)
        embeddings = {self.model.get_input_embeddings().weight, self.model.get_output_embeddings().weight}
        rows = sum(weight.shape[1] for weight in embeddings)
        # PEFT keeps the untrained head and rows beside the trained ones.
        yield _Held(head + rows, (head + rows) * self.narrow_size, False)
        added = head + rows + self._lora_count()
        yield _Held(added, added * self.narrow_size, True)

    def copies(self) -> int:
        """bfloat16 copies of matrices: autocast's, and the one 4-bit matrix that is spread out at a time."""
        copies = 0
        if self.tuning == "qlora":
            copies += 2 * max(linear.weight.numel() for linear in self.adapted)
        if self.sharding != "ddp" or not self.bf16:
            return copies
        copies += 2 * self._lora_count()
        if self.dtype == "float32" and self.tuning != "qlora":
            for name, module in self.model.named_modules():
                if isinstance(module, nn.Linear):
                    # Those of frozen matrices serve one layer alone, but the graph holds on to them.
                    part = self.part_of.get(f"{name}.weight", "embeddings")  # where tied, under its other name
                    frozen = self.tuning != "full" or part in self.freeze
                    copies += 0 if frozen and self.gradient_checkpointing else 2 * module.weight.numel()
        return copies

    def communication(self, gradients: int) -> int:
        """Buffers of the exchange between GPUs, where the trained parameters have so many bytes of gradients."""
        if self.sharding == "ddp":
            return gradients
        count = sum(parameter.numel() for parameter in self.model.parameters())
        if self.sharding == "zero2":
            return self.computed * min(_BUCKET, count)
        if self.sharding == "zero3":
            return self.computed * (min(_LIVE, count) + min(_BUCKET, count))
        in_blocks = [sum(p.numel() for p in block.module.parameters()) for block in self.blocks]
        outside, largest = count - sum(in_blocks), max(in_blocks, default=0)
        return self.computed * (outside + 2 * largest + (outside + largest if self.tuning == "full" else 0))

    def activations(self, batch_size: int, tokens: int, patches: int | None) -> int:
        """What the blocks keep for the backward pass; only those it goes through."""
        rows = _rows(self.model, self.part_of, self.blocks, batch_size, tokens, patches)
        trained = {part for part in PARTS if part not in self.freeze}
        if self.tuning != "full":
            ids = {id(linear.weight) for linear in self.adapted}
            trained = {"embeddings", *(self.part_of[n] for n, p in self.model.named_parameters() if id(p) in ids)}
        kept, largest = 0, 0
        for block in self.blocks:
            if not trained - {"head"} or (block.part == "vision" and "vision" not in trained):
                continue
            whole = rows[block.part] * self._kept_in(block, trained=self.tuning == "full" and block.part in trained)
            kept += rows[block.part] * block.width * self.hidden if self.gradient_checkpointing else whole
            largest = max(largest, whole)
        return kept + (largest if self.gradient_checkpointing else 0)

    def logits(self, supervised: int) -> int:
        """Of so many supervised positions."""
        return supervised * self.model.get_output_embeddings().weight.shape[0] * (self.computed + 12)

    def score_row(self) -> int:
        """With LoRA: the vocabulary matrix with the trained row put into it, and the gradient of that matrix."""
        vocabulary = self.model.get_output_embeddings().weight
        return 0 if self.tuning == "full" else 2 * vocabulary.numel() * self.held_size

    def _kept_in(self, block: _Block, trained: bool) -> int:
        """Bytes per token; `trained` says whether the block's own weights are, or the gradient only passes through."""
        carrying = {id(linear) for linear in self.adapted}
        kept = 0
        for group in _groups(block):
            for norm, width in group.norms:
                is_plain = isinstance(norm, nn.LayerNorm)
                kept += (self.hidden if is_plain else 4 + self.hidden * trained) * width
            kept += self.computed * block.width * group.scales * trained
            # Where rows are padded, keys and values are repeated for every query head; hence the widest.
            kept += self.computed * len(group.inner) * max((linear.out_features for linear in group.inner), default=0)
            kept += self.computed * group.end * (group.activated + (trained or group.is_attention))
            if trained and group.inner:
                casts = 1 if self.computed == self.hidden else len(group.inner)
                kept += self.computed * group.inner[0].in_features * casts
            for linear in (*group.inner, *group.last):
                if id(linear) in carrying:
                    value = 2 if self.bf16 else 4
                    kept += (value + 1) * linear.in_features + value * self.rank
        return kept

    def _lora_count(self) -> int:
        return sum(self.rank * (linear.in_features + linear.out_features) for linear in self.adapted)


def four_bit_bytes(count: int) -> int:
    """Bytes of `count` weights of one matrix in nf4 with doubly quantised scales."""
    scales = math.ceil(count / _CHUNK)
    # Half a byte a weight, one a scale, four a scale of scales; two tables of code values and an offset.
    return math.ceil(count / 2) + scales + 4 * (math.ceil(scales / _SCALES) + 16 + 256 + 1)


def memory_table(
    config: PretrainedConfig, *, batch_size: int = 2, tokens: int = 1024, supervised_tokens: int = 32
) -> str:
    """The ways to train and score a model of this config, on 1 and on 8 GPUs, as a table in GiB per GPU.

    Args:
        config: of an image-text-to-text model.
        batch_size: rows per GPU and forward pass.
        tokens, supervised_tokens: per row.

    Raises:
        ValueError: where `transformers` has no such model.
    """
    model = meta_model(config)
    shape = {"batch_size": batch_size, "tokens": tokens}
    settings: list[tuple[str, Tuning, str, Sharding, int]] = [
        ("full, float32 + autocast", "full", "float32", "ddp", 1),
        *(("full, float32 + autocast", "full", "float32", sharding, 8) for sharding in ("zero2", "zero3", "fsdp2")),
        ("full, bfloat16", "full", "bfloat16", "ddp", 1),
        ("full, bfloat16", "full", "bfloat16", "fsdp2", 8),
        *(("lora, bfloat16 base", "lora", "bfloat16", "ddp", count) for count in (1, 8)),
        *(("qlora, 4-bit base", "qlora", "bfloat16", "ddp", count) for count in (1, 8)),
    ]
    rows = {}
    for what, tuning, dtype, sharding, count in settings:
        rows[what, str(count) if count == 1 else f"{count}, {sharding}"] = estimate(
            model,
            tuning=tuning,
            dtype=dtype,
            sharding=sharding,
            num_gpus=count,
            supervised_tokens=supervised_tokens,
            **shape,
        )
    for dtype in ("bfloat16", "float8"):
        rows[f"score, {dtype}", "1 or 8"] = estimate_scoring(model, dtype=dtype, **shape)
    counts = Counter[str]()
    for name, part in parameter_parts(model).items():
        counts[part] += model.get_parameter(name).numel()
    parts = ", ".join(f"{part} {counts[part]:,}" for part in PARTS if counts[part])
    return "\n".join(
        [
            f"{config.model_type}: {sum(counts.values()):,} parameters ({parts}).",
            f"GiB per GPU; {batch_size} rows of {tokens} tokens on each, {supervised_tokens} of them supervised; "
            "gradient checkpointing; LoRA of rank 64.",
            "",
            format_memory(rows),
            "",
            "Computed from shapes; roc/model/memory.py says how. context is assumed, the rest is counted.",
        ]
    )


def format_memory(rows: Mapping[tuple[str, str], MemoryEstimate]) -> str:
    """A table in GiB, one line per estimate.

    Args:
        rows: estimates by what is done and on which GPUs.
    """
    terms = [field.name for field in dataclasses.fields(MemoryEstimate)]
    table = [["", "GPUs", *terms, "total"]]
    for (what, gpus), one in rows.items():
        table.append([what, gpus, *(f"{value / GIB:.1f}" for value in (*dataclasses.astuple(one), one.total))])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for line in table:
        left = [cell.ljust(width) for cell, width in zip(line[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        lines.append("  ".join(left + right))
    return "\n".join(lines)


def _blocks(model: PreTrainedModel, part_of: Mapping[str, str]) -> list[_Block]:
    """The layers of the towers: modules in a list of several that hold linear layers."""
    blocks: list[_Block] = []
    lists: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) < 2 or name.startswith(tuple(lists)):
            continue
        linears = [inner for inner, child in module.named_modules() if isinstance(child, nn.Linear)]
        part = part_of[f"{name}.{linears[0]}.weight"] if linears else None
        if part in ("language", "vision"):
            lists.append(f"{name}.")
            firsts = [next(layer for layer in child.modules() if isinstance(layer, nn.Linear)) for child in module]
            blocks += [_Block(part, first.in_features, child) for first, child in zip(firsts, module, strict=True)]
    return blocks


class _Group(NamedTuple):
    """What stands side by side in one module of a block: attention, an MLP, or the block itself with its norms.

    Attributes:
        inner: linear layers that widen or project: q, k, v; gate, up; the first of an MLP.
        last: the linear layer that leads back to the hidden state; none in the block itself.
        norms: each with the width it works on; beside linear layers, those of queries and keys.
        activated: how often the activation function keeps a value of the inner width beside its input.
        scales: vectors the hidden state is multiplied by.
    """

    inner: list[nn.Linear]
    last: list[nn.Linear]
    norms: list[tuple[nn.Module, int]]
    activated: int
    scales: int

    @property
    def end(self) -> int:
        """Width that the last layer takes."""
        return self.last[0].in_features if self.last else 0

    @property
    def is_attention(self) -> bool:
        """Three projections, or one for all three; an MLP has two, or one as wide as what the last layer takes."""
        return len(self.inner) > 2 or (len(self.inner) == 1 and self.inner[0].out_features != self.end)


def _groups(block: _Block) -> Iterator[_Group]:
    chosen_from = [next(module.children()) for module in block.module.modules() if _standing_for(module) is not module]
    for module in block.module.modules():
        if any(module is one for one in chosen_from):
            continue
        children = [_standing_for(child) for child in module.children()]
        linears = [child for child in children if isinstance(child, nn.Linear)]
        norms = [child for child in children if getattr(getattr(child, "weight", None), "ndim", 0) == 1]
        scales = [p for p in module.parameters(recurse=False) if p.ndim == 1] if children else []
        inner, last = linears[:-1], linears[-1:]
        widths = [linear.out_features for linear in inner] if linears else [block.width] * len(norms)
        activated = len(inner) == 2 or any(isinstance(child, QuickGELUActivation) for child in children)
        if linears or norms:
            yield _Group(inner, last, list(zip(norms, widths, strict=False)), int(activated), len(scales))


def _standing_for(module: nn.Module) -> nn.Module:
    """Of a module that only chooses among equal ones for each token, one of these; else the module itself."""
    children = list(module.children())
    if len(children) == 1 and isinstance(children[0], nn.ModuleList) and len(children[0]):
        first, *others = children[0]
        shapes = [[parameter.shape for parameter in child.parameters()] for child in (first, *others)]
        if not list(first.children()) and shapes.count(shapes[0]) == len(shapes):
            return first
    return module


def _alive_in(block: _Block) -> int:
    """Values per token that are alive at once inside a block without a backward pass."""
    widest = max(sum(linear.out_features for linear in group.inner) + group.end for group in _groups(block))
    # The embeddings of the row, the hidden state, the residual beside it, and a norm of it that is taken in float32.
    return 6 * block.width + widest


def _rows(
    model: PreTrainedModel,
    part_of: Mapping[str, str],
    blocks: Sequence[_Block],
    batch_size: int,
    tokens: int,
    patches: int | None,
) -> dict[str, int]:
    """How many tokens and patches a batch sends through each tower."""
    if patches is None:
        # The projector joins patches into one token where its input is wider than the tower.
        width = next((block.width for block in blocks if block.part == "vision"), 0)
        inputs = [
            module.in_features
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and part_of.get(f"{name}.weight") == "projector"
        ]
        patches = tokens * (max(1, inputs[0] // width) if width and inputs else 1)
    return {"language": batch_size * tokens, "vision": batch_size * patches}


def _check(model: PreTrainedModel, dtype: str, known: Collection[str] = _SIZES) -> None:
    if not isinstance(model, RocMixin):
        raise ValueError(
            f"This {type(model).__name__} carries no score head; give what meta_model(config) or roc.attach made."
        )
    if dtype not in known:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(known)}.")
