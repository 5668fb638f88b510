"""The settings of a run as transformers takes them: `TrainingArguments`, and the trainer with collator and samples."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.model.device import keep_freed_memory, lay_out_convolutions, usable_cores
from roc.training.processes import (
    computes_in_bfloat16,
    free_gpu_memory,
    launched_engine,
    sharding,
    trains_on_cpu,
)
from roc.training.run import STATES, RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin, TrainingArguments

    from roc.data.records import Record
    from roc.model.collator import RocCollator
    from roc.training.config import RunConfig
    from roc.training.data import RunData
    from roc.training.reasoning import Generated
    from roc.training.row_lengths import LengthReport
    from roc.training.trainer import RocTrainer

logger = logging.getLogger(__name__)

PAIR_ACCURACY = "pair_accuracy"
"""Metric that chooses the best state of a run that learns from pairs alone."""

FEWEST_VALIDATED = 3
"""Rated validation rows below which a correlation says nothing."""

# What a step takes is computed from the shapes of the longest rows; the rest of a GPU is left to what a formula cannot
# know.
_USABLE = 0.9


def training_arguments(
    config: RunConfig, kind: type[TrainingArguments] | None = None, **more: Any
) -> TrainingArguments:
    """Turns the settings into the Trainer's own.

    From then on transformers and accelerate know how the model is spread over processes; with ZeRO-3 it already is
    while its weights are read, so this comes before the model.

    Args:
        config: The settings.
        kind: The class of the arguments, for another trainer; None is `TrainingArguments`.
        **more: Arguments that class has beside those of `TrainingArguments`.

    Raises:
        RunError: If the settings do not go with each other or with this machine.
    """
    import torch
    from accelerate import DistributedType
    from transformers import TrainingArguments

    from roc.model.device import check_attention

    validates = config.eval_strategy != "no"
    gloo = launched_engine() == "deepspeed" and trains_on_cpu()
    bf16 = computes_in_bfloat16(config)
    try:
        check_attention(config.attn_implementation, half=bf16 or config.dtype == "bfloat16")
        arguments = (kind or TrainingArguments)(
            output_dir=str(Path(config.output_dir) / STATES),
            num_train_epochs=config.num_train_epochs,
            max_steps=config.max_steps,
            per_device_train_batch_size=config.per_device_train_batch_size,
            per_device_eval_batch_size=config.per_device_eval_batch_size,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            warmup_steps=config.warmup_ratio,  # below 1: a share of the steps
            lr_scheduler_type=config.lr_scheduler_type,
            max_grad_norm=config.max_grad_norm,
            bf16=bf16,
            use_cpu=trains_on_cpu() and not gloo,
            ddp_backend="gloo" if gloo else None,
            # Some towers end in a layer that nothing reads (LLaVA's); with gradient checkpointing the Trainer would not
            # look for such, and DDP would wait for their gradients.
            ddp_find_unused_parameters=True,
            tf32=config.tf32 if torch.cuda.is_available() else None,
            seed=config.seed,
            eval_strategy=config.eval_strategy,
            eval_steps=config.eval_steps or config.save_steps,
            save_strategy=config.save_strategy,
            save_steps=config.save_steps,
            save_total_limit=config.save_total_limit,
            load_best_model_at_end=validates and config.save_strategy == config.eval_strategy,
            metric_for_best_model="srcc" if validates else None,
            greater_is_better=True if validates else None,
            logging_steps=config.logging_steps,
            report_to=config.report_to,
            dataloader_num_workers=config.dataloader_num_workers,
            dataloader_pin_memory=torch.cuda.is_available(),
            deepspeed=config.deepspeed,
            remove_unused_columns=False,
            label_names=["labels"],
            disable_tqdm=not sys.stderr.isatty(),
            **more,
        )
    except (ValueError, ImportError) as error:
        raise RunError(f"These settings cannot be trained with here: {error}") from error
    _use_one_gpu(arguments)
    _note_many_workers(arguments)
    if launched_engine() == "fsdp" and trains_on_cpu():
        # accelerate spreads a model over GPUs only; told that these processes have some, it does so here as well.
        arguments.distributed_state.distributed_type = DistributedType.MULTI_GPU
    return arguments


def _use_one_gpu(arguments: TrainingArguments) -> None:
    """Keeps the Trainer from splitting batches, counts included, among threads for all GPUs of this process."""
    if arguments.n_gpu > 1:
        logger.warning("one of %d GPUs is used; `bash scripts/finetune.sh --launcher ddp` uses all", arguments.n_gpu)
        arguments._n_gpu = 1


def _note_many_workers(arguments: TrainingArguments) -> None:
    """Says in one line that more processes prepare batches than there are cores."""
    processes, cores = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), usable_cores()
    workers = arguments.dataloader_num_workers * processes
    if workers > cores:
        logger.warning("dataloader_num_workers makes %d processes on %d cores; fewer may be faster", workers, cores)


def limit_validation(arguments: TrainingArguments, data: RunData) -> None:
    """Switches validation off where too few validation rows are rated; says which state will be kept.

    A run that learns from pairs alone is validated on those that are marked as validation.
    """
    if arguments.eval_strategy == "no":
        return
    if data.val_pairs:
        arguments.metric_for_best_model = PAIR_ACCURACY
        _note_last_state(arguments)
        return
    rated = [record.scores["overall"] for record in data.val if "overall" in record.scores]
    if len(rated) < FEWEST_VALIDATED or len(set(rated)) < 2:
        reason = f"{len(rated)} validation rows are too few for a correlation"
        if len(rated) >= FEWEST_VALIDATED:
            reason = f"all {len(rated)} validation rows are rated {rated[0]:g}, so there is nothing to rank"
        elif data.pairs and not data.rated:
            reason = "no pair is marked val and no rated row is there to validate on"
        logger.warning("%s; there is no validation, the last state is kept", reason)
        arguments.eval_strategy = type(arguments.eval_strategy)("no")
        arguments.do_eval = arguments.load_best_model_at_end = False
        arguments.metric_for_best_model = arguments.greater_is_better = None
    else:
        _note_last_state(arguments)


def _note_last_state(arguments: TrainingArguments) -> None:
    if not arguments.load_best_model_at_end:
        logger.warning("save_strategy differs from eval_strategy, so the last state is kept, not the best")


def build_trainer(
    config: RunConfig,
    data: RunData,
    arguments: TrainingArguments,
    model: PreTrainedModel,
    processor: ProcessorMixin,
) -> tuple[RocTrainer, LengthReport]:
    """Builds the trainer with its collator and samples, and decides on gradient checkpointing.

    Returns:
        The trainer, and what is known of the lengths of its rows.

    Raises:
        DataError: With every row whose text holds marks of the model where they cannot be read as text, or with every
            row that does not fit into `model_max_length`.
        RunError: If the settings do not go with the model.
    """
    from roc.data.augment import Augmentation
    from roc.data.rows import DataError
    from roc.model.collator import RocCollator
    from roc.training.error_weights import error_weights
    from roc.training.finish import UNTAUGHT
    from roc.training.kept_features import keep_features
    from roc.training.learnt_links import MixedCollator
    from roc.training.row_lengths import check_lengths
    from roc.training.samples import PairCollator, Paired, Samples
    from roc.training.trainer import RocTrainer
    from roc.training.validation import pair_validation_metrics, validation_metrics

    if trains_on_cpu():
        keep_freed_memory()
        if launched_engine() is None:
            lay_out_convolutions(model)
    collator = RocCollator(processor, model.declaration, max_length=config.model_max_length)
    shared = {"cache": config.image_cache, "pixel_limit": config.pixel_limit}
    augmentation = Augmentation(flip=config.augment_flip, shift=config.augment_shift)
    rows = [*data.train, *data.validated]
    if not config.text_weight:
        logger.warning("no answers are taught: with text_weight 0 %s", UNTAUGHT)
    faults = collator.unreadable(rows)
    if faults:
        raise DataError(faults)
    batches: Any = MixedCollator(collator, [one.name for one in config.data_sets]) if config.mixes else collator
    samples = Samples(data.train, augmentation=augmentation, seed=config.seed, **shared)
    lengths = check_lengths(config, data, collator, validates=arguments.eval_strategy != "no")
    longest = [data.train[place] for place in lengths.longest_rows]
    weights = error_weights(config, arguments, len(data.train))
    try:
        # transformers' older name before 5.23.
        newer = hasattr(arguments, "activation_checkpointing")
        name = "activation_checkpointing" if newer else "gradient_checkpointing"
        setattr(
            arguments,
            name,
            wants_gradient_checkpointing(config, longest, arguments, model, collator, pairs=bool(data.pairs)),
        )
        trainer = RocTrainer(
            model=model,
            args=arguments,
            data_collator=batches,
            processing_class=processor,
            train_dataset=Paired(samples, data.pairs, config.pair_width) if data.pairs else samples,
            train_collator=PairCollator(collator) if data.pairs else None,
            eval_dataset=Samples(data.validated, **shared) if arguments.eval_strategy != "no" else None,
            compute_metrics=(
                pair_validation_metrics(data.val_pairs)
                if data.val_pairs
                else validation_metrics(
                    list(config.attributes), [one.name for one in config.data_sets] if config.mixes else ()
                )
            ),
            learning_rates=config.part_learning_rates,
            joins=config.joins,
            ema_decay=config.ema_decay,
            error_weights=weights,
            generated=_generated(config, data, arguments, collator),
            stable_format=config.stable_format,
            scores_per_row=max(len(config.attributes), *(len(record.scores) for record in rows)),
        )
    except ValueError as error:
        raise RunError(f"These settings cannot be trained with: {error}") from error
    keep_features(config, data, trainer)
    return trainer, lengths


def _generated(
    config: RunConfig, data: RunData, arguments: TrainingArguments, collator: RocCollator
) -> Generated | None:
    """Builds the validation on what the model writes; None where rows hold no critiques or nothing is validated."""
    from roc.training.reasoning import CHOSEN_BY

    if data.reasoning is None or arguments.eval_strategy == "no":
        return None
    if arguments.metric_for_best_model is not None:
        arguments.metric_for_best_model = CHOSEN_BY
    # With a limit of 1, transformers removes every state but the best in the end; the most open one has to stay.
    arguments.save_total_limit = max(2, config.save_total_limit)
    return written_validation(config, data.val, collator)


def written_validation(config: RunConfig, val: Sequence[Record], collator: RocCollator) -> Generated:
    """Builds the validation on answers that the model writes, about `reasoning_rows` of the rated validation rows."""
    from roc.training.reasoning import Generated, some_rated

    return Generated(
        some_rated(val, config.reasoning_rows),
        collator,
        max_new_tokens=config.reasoning_tokens,
        batch_size=config.per_device_eval_batch_size,
        entropy_rows=config.entropy_rows,
        pixel_limit=config.pixel_limit,
    )


def wants_gradient_checkpointing(
    config: RunConfig,
    longest: Sequence[Record],
    arguments: TrainingArguments,
    model: PreTrainedModel,
    collator: RocCollator,
    *,
    pairs: bool = False,
) -> bool:
    """Decides whether layers are computed again in the backward pass: as set, else where a step would not fit.

    Args:
        longest: The longest training rows, whose shapes tell what a step takes.
        pairs: Whether the run learns from pairs, each of which is two rows.
    """
    from accelerate.utils import gather_object

    from roc.model.losses import IGNORE_INDEX
    from roc.model.memory import GIB, estimate, meta_model
    from roc.training.samples import Samples

    if config.gradient_checkpointing is not None:
        return config.gradient_checkpointing
    available = free_gpu_memory()
    if available is None:
        return False
    samples = Samples(longest, pixel_limit=config.pixel_limit)
    batches = [collator([samples[i]]) for i in range(len(longest))]
    without, with_ = (
        estimate(
            meta_model(model.config),
            tuning=config.tuning,
            dtype=config.dtype,
            bf16=arguments.bf16,
            batch_size=config.per_device_train_batch_size * (2 if pairs else 1),
            tokens=max(batch["input_ids"].shape[1] for batch in batches),
            supervised_tokens=max(int((batch["labels"] != IGNORE_INDEX).sum()) for batch in batches),
            gradient_checkpointing=checkpointing,
            sharding="ddp" if config.tuning == "qlora" else sharding(config),  # DeepSpeed spreads no 4-bit weights
            num_gpus=arguments.world_size,
            freeze=config.freeze,
            lora_rank=config.lora_rank,
            lora_targets=config.lora_targets,
            lora_parts=config.lora_parts,
        ).total
        for checkpointing in (False, True)
    )
    # Every process does the same: the one with the least memory decides.
    needed = any(gather_object([without > _USABLE * available]))
    if needed:
        logger.warning(
            "a step would take about %.1f of the %.1f GiB of the GPU, so layers are computed again in the backward "
            "pass (about %.1f GiB); set gradient_checkpointing to decide yourself",
            *(size / GIB for size in (without, available, with_)),
        )
    return needed
