"""Reinforcement from start to end: the steps of `roc.training.job`, on rated photos and a checkpoint with a head.

What a run leaves in `output_dir` is what every run leaves there. The same command again resumes an unfinished run and
returns the table of a finished one. A method calls `reinforce` with its own checks of the rows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roc.policy.checks import check_rows, check_settings
from roc.policy.config import PolicyConfig
from roc.training import run
from roc.training.job import Job

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin
    from trl import GRPOConfig

    from roc.data.records import Record
    from roc.model.collator import RocCollator
    from roc.model.declaration import Declaration
    from roc.policy.trainer import PolicyTrainer, Validation
    from roc.training.data import RunData

Question = Callable[["Declaration"], str]
"""Words the question for a critique, for a checkpoint that declares none."""

RowFaults = Callable[[Sequence["Record"], "Declaration"], list[str]]
"""Finds faults of the training rows that only a method knows."""


def reinforce(config: PolicyConfig, *, verb: str, question: Question | None = None) -> str | None:
    """Reinforces a checkpoint, evaluates it and saves it, or carries on with a run.

    Args:
        config: The settings.
        verb: Words after `roc`, for the command line that is noted.
        question: What a checkpoint is asked that does not declare that it reasons; None refuses such a one.

    Returns:
        The table of the evaluation and how to use the checkpoint in `output_dir`; None on all processes but the first.

    Raises:
        DataError: With every fault of the data, before the first step.
        RunError: If the settings cannot be trained with, `output_dir` holds another run, or a state cannot be saved.
    """
    return PolicyJob(config, verb, question).work()


class PolicyJob(Job):
    """A run of reinforcement.

    Args:
        config: The settings.
        verb: Words after `roc`, for the command line that is noted.
        question: What a checkpoint is asked that does not declare that it reasons; None refuses such a one.
        row_faults: Further checks of the training rows.
    """

    config: PolicyConfig

    def __init__(
        self,
        config: PolicyConfig,
        verb: str,
        question: Question | None = None,
        row_faults: RowFaults | None = None,
    ) -> None:
        super().__init__(config)
        self.verb, self.question, self.row_faults = verb, question, row_faults
        self.critiques: Sequence[Record] = ()

    def check(self) -> None:
        """Checks the settings, and keeps TRL from reporting the run to its makers."""
        check_settings(self.config)
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

    def arguments(self) -> GRPOConfig:
        """Turns the settings into TRL's."""
        return policy_arguments(self.config)

    def read_base(self) -> None:
        """Reads what the checkpoint declares; the data is read and evaluated by that."""
        from roc.policy.build import as_declared, read_declaration

        self.declaration = read_declaration(self.config, self.question)
        self.declared = as_declared(self.config, self.declaration)

    def read(self) -> RunData:
        """Reads the data; each training photo is there once."""
        from accelerate import PartialState

        from roc.data.rows import DataError
        from roc.policy.critiques import read_critiques
        from roc.policy.data import each_once
        from roc.training.data import read_data

        data = read_data(self.declared)
        data = replace(data, train=[*each_once(self.config.data_path, data.train), *self.more_rows()])
        check_rows(self.config, data.train, data.val, PartialState().num_processes)
        if self.config.critiques_path is not None:
            held_out = {image for record in [*data.val, *data.test] for image in record.images}
            self.critiques = read_critiques(self.declared, held_out=held_out)
        faults = [] if self.row_faults is None else self.row_faults(data.train, self.declaration)
        if faults:
            raise DataError(faults)
        return data

    def more_rows(self) -> Sequence[Record]:
        """Gives rows to learn from that do not stand in `data_path`; a method may have some."""
        return ()

    def check_images(self) -> None:
        """Decodes every image of the data files."""
        from roc.policy.critiques import read_critiques
        from roc.training.data import check_images

        check_images(self.declared)
        if self.config.critiques_path is not None:
            read_critiques(self.declared, decode=True)

    def build(self, data: RunData) -> tuple[PreTrainedModel, ProcessorMixin]:
        """Loads the checkpoint that is reinforced."""
        from roc.policy.build import load_policy

        return load_policy(self.declared, self.declaration)

    def trainer(
        self, data: RunData, arguments: GRPOConfig, model: PreTrainedModel, processor: ProcessorMixin
    ) -> tuple[PolicyTrainer, int]:
        """Builds the trainer; its rows are as long as what the model writes."""
        return build_trainer(self.config, data, arguments, model, processor, self.validation, self.critiques), 0

    def validation(self, data: RunData, collator: RocCollator) -> Validation:
        """Builds the validation, on what the model writes about rated photos."""
        from roc.training.arguments import written_validation

        return written_validation(self.config, data.val, collator)

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Evaluates what was reinforced."""
        from roc.training.finish import evaluate

        command = run.command(self.config, self.verb)
        told = {"trained_by": command, "unrated": self.unrated(data), "more": self.more_metrics()}
        return evaluate(self.declared, data, history, **told)

    def more_metrics(self) -> dict[str, Any]:
        """Gives what else is kept with the metrics of the evaluation."""
        return {}

    def unrated(self, data: RunData) -> str | None:
        """Says what stands in for held-out photos with a rating; None where such are expected."""
        return None


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
    validation: Callable[[RunData, RocCollator], Validation],
    critiques: Sequence[Record] = (),
) -> PolicyTrainer:
    """Builds the trainer, and makes sure that TRL asks the model what it is asked elsewhere.

    Args:
        config, data, arguments, model, processor: Of the run.
        validation: Builds the validation; not asked where nothing is validated.
        critiques: Records whose critiques have their text loss added.

    Raises:
        RunError: If the family cannot be reinforced, or the settings do not go with the model.
    """
    from roc.data.images import open_image
    from roc.model.collator import RocCollator
    from roc.policy.data import Rows, check_prompts, policy_processor
    from roc.policy.trainer import PolicyTrainer
    from roc.scoring.one_forward import to_model
    from roc.training.kept_features import keep_outputs

    collator = RocCollator(processor, model.declaration)
    tried = Rows(data.train, collator, kept=2, pixel_limit=config.pixel_limit)
    check_prompts(tried, *policy_processor(collator), model.config.model_type)
    try:
        with _without_load_report():
            trainer = PolicyTrainer(
                config=config,
                model=model,
                args=arguments,
                train=data.train,
                collator=collator,
                generated=validation(data, collator) if arguments.eval_strategy != "no" else None,
                critiques=critiques,
                learning_rates=config.part_learning_rates,
            )
    except ValueError as error:
        raise run.RunError(f"These settings cannot be trained with: {error}") from error

    def batch(places: list[int]) -> dict[str, torch.Tensor]:
        records = [data.train[place] for place in places]
        pictures = [[open_image(record.images[0], pixel_limit=config.pixel_limit)] for record in records]
        inputs = collator(list(zip(records, pictures, strict=True)))
        return to_model(trainer.accelerator.unwrap_model(trainer.model), inputs)

    # What is sampled may be computed in another number format than what is learnt.
    formats = 1 + bool(arguments.bf16)
    kept = keep_outputs(config, data, trainer, batch, passes=config.num_generations, formats=formats)
    if kept is not None and trainer.ref_model is not None:
        kept.share_with(trainer.ref_model)
    return trainer


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
