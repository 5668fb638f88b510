"""The ways to train and score a model, and what each takes of a GPU's memory, as a table."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

from transformers import PretrainedConfig

from roc.model.memory import GIB, MemoryEstimate, Sharding, Tuning, estimate, estimate_scoring, meta_model
from roc.model.parts import PARTS, parameter_parts


def memory_table(
    config: PretrainedConfig, *, batch_size: int = 2, tokens: int = 1024, supervised_tokens: int = 32
) -> str:
    """Makes a table of the ways to train and score a model, on 1 and on 8 GPUs, in GiB per GPU.

    Args:
        config: Configuration of an image-text-to-text model.
        batch_size: Rows per GPU and forward pass.
        tokens, supervised_tokens: Tokens per row.

    Raises:
        ValueError: If `transformers` has no such model.
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
    """Makes a table in GiB, one line per estimate.

    Args:
        rows: Estimates by `(what is done, on which GPUs)`.
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
