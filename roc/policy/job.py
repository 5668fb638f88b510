"""Reinforcement from start to end: read the rated photos, load the checkpoint, reinforce it, evaluate, save.

What a run leaves in `output_dir` is what `roc.training.job` leaves there. The same command again resumes an unfinished
run and returns the table of a finished one. A method calls `reinforce` with its own checks of the rows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from roc.policy.checks import check_rows, check_settings
from roc.policy.config import PolicyConfig
from roc.training import run
from roc.training.job import finished_table
from roc.training.processes import first_process_first, join_processes, leave_processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin
    from trl import GRPOConfig

    from roc.data.records import Record
    from roc.model.collator import RocCollator
    from roc.model.declaration import Declaration
    from roc.policy.trainer import PolicyTrainer
    from roc.training.data import RunData
    from roc.training.reasoning import Generated

Question = Callable[["Declaration"], str]
"""Words the question for a critique, for a checkpoint that declares none."""

RowFaults = Callable[[Sequence["Record"], "Declaration"], list[str]]
"""Finds faults of the rows that only a method knows."""


def reinforce(
    config: PolicyConfig, *, verb: str, question: Question | None = None, row_faults: RowFaults | None = None
) -> str | None:
    """Reinforces a checkpoint, evaluates it and saves it, or carries on with a run.

    Args:
        config: The settings.
        verb: Words after `roc`, for the command line that is noted.
        question: What a checkpoint is asked that does not declare that it reasons; None refuses such a one.
        row_faults: Further checks of the training rows.

    Returns:
        The table of the evaluation and how to use the checkpoint in `output_dir`; None on all processes but the first.

    Raises:
        DataError: With every fault of the data, before the first step.
        RunError: If the settings cannot be trained with, `output_dir` holds another run, or a state cannot be saved.
    """
    check_settings(config)
    if run.is_finished(config):
        return finished_table(config) if run.is_first_process() else None
    with run.occupying(config):
        return _reinforce(config, verb, question, row_faults)


def _reinforce(config: PolicyConfig, verb: str, question: Question | None, row_faults: RowFaults | None) -> str | None:
    # TRL would report every run to its makers.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from roc.data.rows import DataError
    from roc.policy.build import as_declared, load_policy, read_declaration
    from roc.training.arguments import limit_validation
    from roc.training.data import check_images, read_data
    from roc.training.finish import evaluate, publish

    process = join_processes(config)
    first = process.is_main_process
    with run.preparing(config, process):
        declaration = read_declaration(config, question)
        declared = as_declared(config, declaration)
        with first_process_first(process):
            data = read_data(declared)
        data = replace(data, train=_each_once(data.train))
        check_rows(config, data.train, data.val, process.num_processes)
        if row_faults is not None and (faults := row_faults(data.train, declaration)):
            raise DataError(faults)
        arguments = policy_arguments(config)
        limit_validation(arguments, data)
        with first_process_first(process):
            if first:
                check_images(declared)
        model, processor = load_policy(config, declaration)
        trainer = build_trainer(config, data, arguments, model, processor)
        state = run.start(config, trainer, process, 0)
    run.train(trainer, state)
    history = trainer.state.log_history
    publish(trainer, processor, Path(config.output_dir))
    trainer.accelerator.free_memory()
    del trainer, model, arguments
    leave_processes(process)
    if not first:
        return None
    table = evaluate(declared, data, history, trained_by=run.command(config, verb))
    run.mark_finished(config)
    return table


def _each_once(records: Sequence[Record]) -> list[Record]:
    """Leaves out the short answers that `read_data` adds to rows with critiques: each photo is asked about once."""
    return list({record.id: record for record in reversed(records)}.values())[::-1]


def policy_arguments(config: PolicyConfig) -> GRPOConfig:
    """Turns the settings into TRL's `GRPOConfig`.

    Raises:
        RunError: If the settings do not go with each other or with this machine.
    """
    from trl import GRPOConfig

    from roc.training.arguments import training_arguments
    from roc.training.processes import trains_on_cpu
    from roc.training.reasoning import CHOSEN_BY

    checkpointing = not trains_on_cpu() if config.gradient_checkpointing is None else config.gradient_checkpointing
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)  # TRL's own name
        arguments = training_arguments(
            config,
            GRPOConfig,
            gradient_checkpointing=checkpointing,
            disable_dropout=True,
            num_generations=config.num_generations,
            num_generations_eval=1,  # validation is ours
            steps_per_generation=config.steps_per_generation,
            num_iterations=config.num_iterations,
            max_completion_length=config.reasoning_tokens,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            beta=config.beta,
            epsilon=config.epsilon,
            epsilon_high=config.epsilon_high,
            loss_type=config.loss_type,
            scale_rewards="none",  # advantages are ours
            use_bias_correction_kl=False,
            # Of the reference. TRL would ask all parts of it for one kernel, which some towers do not have.
            model_init_kwargs={"attn_implementation": config.attn_implementation},
            use_vllm=config.use_vllm,
            vllm_mode=config.vllm_mode,
            vllm_gpu_memory_utilization=config.vllm_gpu_memory_utilization,
            log_completions=False,
        )
    arguments.metric_for_best_model = CHOSEN_BY if arguments.metric_for_best_model else None
    return arguments


def build_trainer(
    config: PolicyConfig,
    data: RunData,
    arguments: GRPOConfig,
    model: PreTrainedModel,
    processor: ProcessorMixin,
) -> PolicyTrainer:
    """Builds the trainer, and makes sure that TRL asks the model what it is asked elsewhere.

    Raises:
        RunError: If the family cannot be reinforced, or the settings do not go with the model.
    """
    from roc.model.collator import RocCollator
    from roc.policy.data import Rows, check_prompts, policy_processor
    from roc.policy.trainer import PolicyTrainer

    collator = RocCollator(processor, model.declaration)
    tried = Rows(data.train, collator, kept=2, pixel_limit=config.pixel_limit)
    check_prompts(tried, *policy_processor(collator), model.config.model_type)
    try:
        with _without_load_report():
            return PolicyTrainer(
                config=config,
                model=model,
                args=arguments,
                train=data.train,
                collator=collator,
                generated=_generated(config, data, collator) if arguments.eval_strategy != "no" else None,
                learning_rates=config.part_learning_rates,
            )
    except ValueError as error:
        raise run.RunError(f"These settings cannot be trained with: {error}") from error


def _generated(config: PolicyConfig, data: RunData, collator: RocCollator) -> Generated:
    """Builds the validation, on what the model writes."""
    from roc.training.reasoning import Generated

    rated = [record for record in data.val if "overall" in record.scores]
    return Generated(
        rated[: config.reasoning_rows],
        collator,
        max_new_tokens=config.reasoning_tokens,
        batch_size=config.per_device_eval_batch_size,
        entropy_rows=config.entropy_rows,
        pixel_limit=config.pixel_limit,
    )


@contextlib.contextmanager
def _without_load_report() -> Iterator[None]:
    """Keeps back that the reference has no place for the score head and that the policy itself is not loaded anew."""
    library, trainer = logging.getLogger("transformers"), logging.getLogger("trl.trainer.grpo_trainer")
    level = library.level
    library.setLevel(logging.ERROR)
    trainer.addFilter(_not_of_the_policy)
    try:
        yield
    finally:
        library.setLevel(level)
        trainer.removeFilter(_not_of_the_policy)


def _not_of_the_policy(record: logging.LogRecord) -> bool:
    return "model_init_kwargs" not in record.getMessage()
