"""GPU memory that training and scoring take, computed from shapes alone: no weights are read and no GPU is needed.

    total = weights + gradients + optimizer + copies + communication + activations + logits + score_row + context

per GPU, at the peak of a training step: late in the forward pass of the last of several accumulated micro-batches, when
the gradients of the earlier ones are still held. Without accumulation the peak is a little lower.

Bytes per trained parameter, on one GPU or on each of N that share it:

                                                       weights   gradients   optimizer   copies
    dtype float32, autocast to bfloat16                   4          4           8          2
    dtype bfloat16                                        2          2           4          0
    FSDP2                                              weights, gradients and optimizer / N; no copies
    ZeRO-2, which keeps float32 beside bfloat16           2         2/N        12/N         0
    ZeRO-3                                               2/N        2/N        12/N         0

AdamW's two moments have the dtype of the parameter. Autocast keeps a bfloat16 copy of every trained matrix during a
forward pass. A frozen parameter has weights only; in QLoRA the matrices of the language model take 4 bits and their
scales, and one matrix at a time is dequantised to bfloat16. LoRA's matrices, the trained row(s) of `[SCORE]` and the
score head are float32.

`communication`: DDP holds every gradient a second time, in its buckets. FSDP2 gathers two blocks, and whatever is in no
block (embeddings, language-model head, projector), and holds their gradients until they are scattered. DeepSpeed's
buffers have fixed sizes (its defaults).

`activations`: what the backward pass needs. For every block (transformer layer) of the language model and, if its
tower is trained, of the vision tower, and for every token of a row (patch of an image):

    norms     2 x (4 H + r H)       their input in float32, their normalised input; LayerNorm: r H
    inputs    c x (2 H + Q + I)     of linear layers: both norms' outputs, attention's output, the MLP's product
    between   c x (3 Q + 3 I)       q, k, v; gate, activated gate, up (without a gate: 1 I)
    LoRA      (c + 1) in + c rank   per adapted layer: its input, the dropout mask, the low-rank hidden state

with H, I the widths of the hidden state and of the MLP, Q that of all query heads; c bytes per computed value (2 in
bfloat16), r bytes per value of the hidden state (4 if the weights are float32, else 2). If r and c differ, autocast
casts the norms' outputs anew for each linear layer: 5 H instead of 2 H. Frozen layers keep only what the gradient
passes through: the norms' input, q, k, v, attention's output and the MLP's inner values. With gradient checkpointing a
block keeps only its input, r H, and the one block that is being recomputed keeps all of the above.

The widths are those of the `nn.Linear` modules and norms in each block (`roc.model.blocks`). Attention is assumed to
store no T x T matrix (sdpa, flash).

`logits`: the language-model head runs at supervised positions only, each costing (c + 12) V bytes for a vocabulary of V
tokens: logits, their log-softmax in float32, and the gradients of both. `score_row`: with LoRA the row of `[SCORE]` is
put into a copy of the vocabulary matrix, which has a gradient of its own.

`context`: what CUDA, its libraries and the allocator take for themselves; the one number that is assumed.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from roc.model import adapters
from roc.model.attachment import model_class
from roc.model.blocks import Block, find_blocks, layer_groups, live_values
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
# nf4 with doubly quantised scales: weights per scale, scales per scale of scales.
_CHUNK, _SCALES = 64, 256
# Elements: DeepSpeed's defaults of reduce_bucket_size and stage3_max_live_parameters.
_BUCKET, _LIVE = 5 * 10**8, 10**9


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one GPU, term by term, as this file's docstring explains them."""

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


class _Held(NamedTuple):
    """Parameters held in the same way: their number, their bytes altogether, and whether they are trained."""

    count: int
    size: int
    trained: bool


def meta_model(config: PretrainedConfig, num_levels: int = 10) -> PreTrainedModel:
    """Builds a model with a score head on the `meta` device: shapes and names, no storage.

    Args:
        config: Configuration of an image-text-to-text model; left as it is.
        num_levels: N of the head, if the configuration declares none.

    Raises:
        ValueError: If `transformers` has no such model.
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
    """Estimates what a training step takes on each GPU.

    Args:
        model: Carries the head; on any device, `meta` will do. Not wrapped by PEFT, not quantised.
        tuning, dtype, bf16, gradient_checkpointing, freeze, lora_rank, lora_targets, lora_parts: The training settings
            of these names.
        batch_size: Rows per GPU and forward pass.
        tokens: Length of the longest row of a batch, image tokens included.
        supervised_tokens: Length of an answer.
        patches: Patches of a row's images, as the vision tower sees them; None = those of `tokens` image tokens.
        sharding: How the launcher spreads the model.
        num_gpus: Number of GPUs that work together.

    Raises:
        ValueError: If the model has no head, a word or part is unknown, there is no GPU, or 4-bit weights are sharded.
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
    """Estimates what scoring takes: the weights, and the values alive inside one block; the LM head does not run.

    Args:
        model, dtype, batch_size, tokens, patches: As for `estimate`; the head stays float32. "float8" is bfloat16 with
            the linear layers of the language model in 8 bits, a scale per row, and their inputs rounded on the way in,
            through float32.

    Raises:
        ValueError: If the model has no head or the dtype is unknown.
    """
    _check(model, dtype, [*_SIZES, "float8"])
    size = _SIZES.get(dtype, 2)
    head = model.score_head.weight.numel()
    rest = sum(parameter.numel() for parameter in model.parameters()) - head
    part_of = parameter_parts(model)
    blocks = find_blocks(model, part_of)
    rows = _rows(model, part_of, blocks, batch_size, tokens, patches)
    inside = max((rows[block.part] * live_values(block) for block in blocks), default=0)
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
        """Bytes of a weight in memory."""
        return 2 if self.is_zero and self.bf16 else _SIZES[self.dtype]

    @property
    def narrow_size(self) -> int:
        """Bytes of a weight of the head, or of one that LoRA adds."""
        return 2 if self.is_zero and self.bf16 else 4

    @property
    def computed(self) -> int:
        """c: bytes of a value that a linear layer computes."""
        return 2 if self.bf16 else self.held_size

    @property
    def hidden(self) -> int:
        """r: bytes of a value of the hidden state; FSDP2 and DeepSpeed cast the weights and so the hidden state."""
        return 2 if self.bf16 and self.sharding != "ddp" else self.held_size

    @functools.cached_property
    def part_of(self) -> dict[str, str]:
        return parameter_parts(self.model)

    @functools.cached_property
    def blocks(self) -> list[Block]:
        return find_blocks(self.model, self.part_of)

    def held(self) -> Iterator[_Held]:
        """Groups all parameters by how they are held."""
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
        """Counts the bytes of bfloat16 copies: autocast's, and the one 4-bit matrix that is dequantised at a time."""
        copies = 0
        if self.tuning == "qlora":
            copies += 2 * max(linear.weight.numel() for linear in self.adapted)
        if self.sharding != "ddp" or not self.bf16:
            return copies
        copies += 2 * self._lora_count()
        if self.dtype == "float32" and self.tuning != "qlora":
            for name, module in self.model.named_modules():
                if isinstance(module, nn.Linear):
                    # A copy of a frozen matrix serves one layer only, but the autograd graph keeps it.
                    part = self.part_of.get(f"{name}.weight", "embeddings")  # where tied, under its other name
                    frozen = self.tuning != "full" or part in self.freeze
                    copies += 0 if frozen and self.gradient_checkpointing else 2 * module.weight.numel()
        return copies

    def communication(self, gradients: int) -> int:
        """Counts the bytes of the buffers for communication; `gradients` are the bytes of all gradients."""
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
        """Counts the bytes that blocks keep for the backward pass, as far as it runs through them."""
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
        """Counts the bytes of the logits of so many supervised positions."""
        return supervised * self.model.get_output_embeddings().weight.shape[0] * (self.computed + 12)

    def score_row(self) -> int:
        """Counts the bytes of LoRA's copy of the vocabulary matrix with the trained row, and of its gradient."""
        vocabulary = self.model.get_output_embeddings().weight
        return 0 if self.tuning == "full" else 2 * vocabulary.numel() * self.held_size

    def _kept_in(self, block: Block, trained: bool) -> int:
        """Counts the bytes that a block keeps per token; if it is not trained, the gradient only passes through."""
        carrying = {id(linear) for linear in self.adapted}
        kept = 0
        for group in layer_groups(block):
            for norm, width in group.norms:
                is_plain = isinstance(norm, nn.LayerNorm)
                kept += (self.hidden if is_plain else 4 + self.hidden * trained) * width
            kept += self.computed * block.width * group.scales * trained
            # In padded batches keys and values are repeated for every query head; hence the widest.
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
    """Counts the bytes of a matrix of `count` weights in nf4 with doubly quantised scales."""
    scales = math.ceil(count / _CHUNK)
    # Half a byte per weight, one per scale, four per scale of scales; two tables of code values and an offset.
    return math.ceil(count / 2) + scales + 4 * (math.ceil(scales / _SCALES) + 16 + 256 + 1)


def _rows(
    model: PreTrainedModel,
    part_of: Mapping[str, str],
    blocks: Sequence[Block],
    batch_size: int,
    tokens: int,
    patches: int | None,
) -> dict[str, int]:
    """Counts the tokens and patches that a batch sends through each tower."""
    if patches is None:
        # A projector whose input is wider than the tower joins several patches into one token.
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
