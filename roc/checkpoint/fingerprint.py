"""Fingerprints of weights: of the base of an adapter, and of a whole model.

An adapter holds differences. On another base it would give other scores without a word, so it keeps `base_fingerprint`
of the base it was trained on: a few numbers per block, the same for a base in float32, bfloat16, float16 or 4 bits.
`weights_fingerprint` is a plain hash over all bytes; with `config_fingerprint` and `processor_fingerprint` it says what
decides a score, and journals and workers use them to recognise the model they scored with.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

from roc.model.device import usable_cores
from roc.model.parts import parameter_parts
from roc.model.vocabulary import gathered

# Up to this many values are sampled from each tensor, a large prime apart, so that they spread over rows and columns.
_SAMPLED, _STEP = 256, 2654435761
# Tolerance of the numbers: the dtype alone does not change them, except where float16 rounded before bfloat16 did.
_EQUAL, _NEARLY = 1e-7, 5e-3
# Smallest normal number of float16; smaller values lose digits there and are left out.
_TINY = 2.0**-14
# Another dtype changes about 4 of 1000 4-bit digits. Tolerated: a share of each block, a share of all and a few more.
_CHANGED_OF_BLOCK, _CHANGED_OF_ALL, _CHANGED = 0.1, 0.01, 3
# Values that are hashed at a time.
_PIECE = 2**24
# bitsandbytes divides 64 values by the largest of them and rounds to these.
_NF4_BLOCK = 64
_NF4 = torch.tensor([
    -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
])  # fmt: skip


@torch.no_grad()
def base_fingerprint(model: PreTrainedModel) -> dict[str, Any]:
    """Computes the fingerprint of an adapter's base, independent of the dtype it is held in.

    Each number summarises sampled values of the tensors of a block, rounded to bfloat16. Linear layers that `four_bit`
    quantises are summarised apart, and by some of their 4-bit digits, which can be read with and without quantisation.

    Args:
        model: Carries the head; LoRA on it makes no difference.

    Returns:
        Plain JSON: `weights` and `linear`, a number per block, None where the weights are not in memory; `levels`,
        hexadecimal digits per block; `score`, a number per row of `[SCORE]` as it was before LoRA trained it;
        `float16`, whether float16 has rounded some of the weights. The head is left out, since an adapter has its own.
    """
    plain = model.get_base_model() if hasattr(model, "peft_config") else model
    part_of, token_id = parameter_parts(plain), plain.declaration.token_id
    linear = {id(module.weight) for module in plain.modules() if isinstance(module, nn.Linear)}
    numbers = {"weights": defaultdict(list), "linear": defaultdict(list)}
    levels, score, rounded = defaultdict(str), [], []
    for name, tensor in _tensors_of_base(plain):
        block, part = _block(_plain_name(name)), part_of.get(name)
        kind = "linear" if part == "language" and id(tensor) in linear else "weights"
        if tensor.is_meta:  # offloaded to a disk
            numbers[kind][block].append(None)
            score += [None] * (part == "embeddings")
            continue
        with gathered([tensor]):
            if kind == "linear":
                levels[block] += _nf4_digits(tensor)
            if not tensor.is_floating_point():
                continue
            if part == "embeddings" and tensor.ndim == 2:  # some normalise their rows
                score.append(round(_number(_sample(tensor[token_id])), 9))
                tensor = tensor[:token_id]
            values = _sample(tensor)
            rounded.append(_is_rounded_by_float16(values))
            numbers[kind][block].append(_number(values.masked_fill(values.abs() < _TINY, 0)))
    return {
        **{kind: {block: _mean(found) for block, found in blocks.items()} for kind, blocks in numbers.items()},
        "levels": {block: digits for block, digits in levels.items() if digits},
        "score": score,
        "float16": any(rounded),
    }


def differing_blocks(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Lists the blocks in which two base fingerprints differ; empty if both are of the same base.

    Args:
        found, expected: From `base_fingerprint`, of models in any dtype, quantised or not.
    """
    slack = _NEARLY if found["float16"] or expected["float16"] else _EQUAL
    blocks = dict.fromkeys([*found["weights"], *expected["weights"]])
    apart = [block for block in blocks if not _agree(found["weights"], expected["weights"], block, slack)]
    shared = [block for block in found["linear"] if block in expected["linear"]]  # 4-bit layers have no such number
    apart += [block for block in shared if not _agree(found["linear"], expected["linear"], block, slack)]

    sizes = {block: len(digits) for block, digits in expected["levels"].items()}
    changed = {
        block: sum(a != b for a, b in zip(found["levels"][block], digits, strict=True))
        for block, digits in expected["levels"].items()
        if len(found["levels"].get(block, "")) == sizes[block]
    }
    throughout = sum(changed.values()) > _CHANGED + _CHANGED_OF_ALL * sum(sizes[block] for block in changed)
    apart += [block for block, n in changed.items() if n > (0 if throughout else _CHANGED_OF_BLOCK * sizes[block])]

    # A base without a head gets the mean row, and the mean of rounded rows differs slightly from the rounded mean.
    scores = zip_longest(found["score"], expected["score"], fillvalue=math.inf)
    if not all(None in pair or abs(pair[0] - pair[1]) <= _NEARLY for pair in scores):
        apart.append("the row of [SCORE]")
    return list(dict.fromkeys(apart))


def _tensors_of_base(plain: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Lists by name what training an adapter does not change: parameters and statistics of batch normalisation."""
    added = ("lora_", "score_head", "extensions.", "trainable_tokens")
    tensors = [(name, tensor) for name, tensor in plain.named_parameters() if not any(word in name for word in added)]
    for name, module in plain.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            kept = {"running_mean": module.running_mean, "running_var": module.running_var}
            tensors += [(f"{name}.{key}", tensor) for key, tensor in kept.items() if tensor is not None]
    return tensors


def _plain_name(name: str) -> str:
    """Undoes how PEFT renames the parameters of a module that it wraps."""
    return ".".join(word for word in name.split(".") if word not in ("base_layer", "original_module", "token_adapter"))


def _block(name: str) -> str:
    """Cuts a parameter's name after its first number, the number of the block; without one, names its module."""
    words = name.split(".")
    return ".".join(words[: next((i + 1 for i, word in enumerate(words) if word.isdigit()), -1)])


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    """Samples (n,) values of a tensor, always from the same places; float32 on the CPU."""
    values = tensor.detach().flatten()
    places = torch.arange(min(_SAMPLED, values.numel()), device=values.device) * _STEP % max(1, values.numel())
    return values[places].float().cpu()


def _number(values: torch.Tensor) -> float:
    """Summarises values in one number between -1 and 1 that depends on each of them."""
    values = values.bfloat16().double()
    weights = torch.arange(len(values), dtype=torch.float64).cos()
    return float((values * weights).sum() / values.abs().sum().clamp(min=1e-30))


def _is_rounded_by_float16(values: torch.Tensor) -> bool:
    """Tells whether float16 can hold the values and bfloat16 cannot."""
    return torch.equal(values.half().float(), values) and not torch.equal(values.bfloat16().float(), values)


def _nf4_digits(weight: torch.Tensor) -> str:
    """Reads 8 of a weight's nf4 digits, quantising it if it is not; "" for another kind of 4 bits."""
    state = getattr(weight, "quant_state", None)
    if state is not None and (state.quant_type, state.blocksize) != ("nf4", _NF4_BLOCK):
        return ""
    count = weight.numel() if state is None else state.shape.numel()
    start = count // _NF4_BLOCK // 2 * _NF4_BLOCK
    if state is None:
        values = weight.detach().flatten()[start : start + _NF4_BLOCK].float().cpu()
        scaled = values / values.abs().max().clamp(min=1e-30)
        levels = torch.bucketize(scaled, (_NF4[1:] + _NF4[:-1]) / 2)
    else:
        pairs = weight.detach().flatten()[start // 2 : (start + _NF4_BLOCK) // 2].cpu()
        levels = torch.stack([pairs >> 4, pairs & 15], dim=1).flatten()
    return "".join(f"{level:x}" for level in levels[::8].tolist())


def _mean(numbers: Sequence[float | None]) -> float | None:
    return None if None in numbers else round(sum(numbers) / len(numbers), 9)


def _agree(found: Mapping[str, Any], expected: Mapping[str, Any], key: str, slack: float) -> bool:
    """Tells whether both have that number and it is the same, or could not be read in one of them."""
    if key not in found or key not in expected:
        return False
    return None in (found[key], expected[key]) or abs(found[key] - expected[key]) <= slack


def weights_fingerprint(model: nn.Module) -> str:
    """Hashes every byte of every tensor: the same weights in the same dtype give the same 16 hexadecimal digits.

    Weights that are not in memory (offloaded to a disk) count by their names and shapes only.
    """
    tensors = list(model.state_dict().items())
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:  # hashing and copying leave Python to other threads
        digests = list(pool.map(_tensor_digest, [tensor for _, tensor in tensors]))
    return _joint_digest(zip((name for name, _ in tensors), digests, strict=True))


def weights_sample_fingerprint(model: nn.Module) -> str:
    """Hashes the first 16 values of every tensor: the form in journals of roc 0.1.0."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(tensor.detach().flatten()[:16]))
    return digest.hexdigest()[:16]


def config_fingerprint(config: PreTrainedConfig) -> str:
    """Hashes what config.json says of the architecture, without paths, versions and the section `roc`."""
    aside = {"roc", "_name_or_path", "name_or_path", "transformers_version", "architectures", "use_cache", "dtype"}
    return _joint_digest([("config", _canonical(config.to_dict(), aside))])


def processor_fingerprint(processor: ProcessorMixin) -> str:
    """Hashes how images and texts become the model's inputs: all files that the processor would be saved as."""
    # Paths and states of use, which change no input.
    aside = {"is_local", "local_files_only", "name_or_path", "_name_or_path", "transformers_version"}
    aside |= {"truncation", "padding"}
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        processor.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                content = _canonical(json.loads(data), aside) if path.suffix == ".json" else data
                parts.append((path.relative_to(folder).as_posix(), content))
    return _joint_digest(parts)


def _canonical(content: Any, aside: set[str]) -> bytes:
    """Writes JSON in one way only, without some keys of objects at any depth."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): kept(part) for key, part in value.items() if key not in aside}
        return [kept(part) for part in value] if isinstance(value, list | tuple) else value

    return json.dumps(kept(content), sort_keys=True, default=str).encode()


def _joint_digest(parts: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _tensor_digest(tensor: torch.Tensor) -> bytes:
    """Hashes dtype, shape and all bytes; from a GPU they are fetched in pieces."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    if not tensor.is_meta:
        for piece in tensor.detach().flatten().split(_PIECE):
            digest.update(_bytes(piece))
    return digest.digest()


def _bytes(values: torch.Tensor) -> memoryview:
    return memoryview(values.contiguous().cpu().view(torch.uint8).numpy())
