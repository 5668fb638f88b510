"""The main job: read rated images, teach a model the score head, evaluate on images it never saw, save.

    roc finetune configs/demo.yaml
    roc finetune configs/finetune.yaml --model_name_or_path MODEL --data_path ratings.csv --image_folder photos

What a run leaves in `output_dir`:

    config.json, model.safetensors, ...   the checkpoint, for `Assessment`, `roc.load` and a stock `AutoModel`
    metrics.json predictions.csv plots/   the evaluation on the test rows
    report.html                           all of that on one page, the training curves included
    run.json                              the settings, and whether the run is finished
    training/                             states to resume from, TensorBoard logs

The same command again resumes an unfinished run and returns the table of a finished one. Test rows are never used to
choose anything.

`Job` is the steps in their order; another method overrides those that it does in its own way.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.training import run
from roc.training.checks import check_settings
from roc.training.processes import first_process_first, join_processes, leave_processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin, Trainer, TrainingArguments

    from roc.training.config import RunConfig
    from roc.training.data import RunData


def finetune(config: RunConfig) -> str | None:
    """Trains, evaluates and saves one run, or carries on with it.

    Args:
        config: The settings.

    Returns:
        The table of the evaluation and how to use the checkpoint in `output_dir`; None on all processes but the first.

    Raises:
        DataError: With every fault of the data, before any training.
        RunError: If the settings cannot be trained with, `output_dir` holds another run, or a state cannot be saved.
    """
    return Job(config).work()


class Job:
    """One run in its steps. Another method overrides the steps that it does in its own way.

    Args:
        config: The settings.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def check(self) -> None:
        """Checks what costs nothing; PyTorch is not loaded yet.

        Raises:
            RunError: With all faults of the settings.
        """
        check_settings(self.config)

    def arguments(self) -> TrainingArguments:
        """Turns the settings into those of the trainer.

        Raises:
            RunError: If they do not go with each other or with this machine.
        """
        from roc.training.arguments import training_arguments

        return training_arguments(self.config)

    def read_base(self) -> None:
        """Reads what the model to start from says of itself, before the data and its weights.

        Raises:
            RunError: If it cannot be read, or the settings do not go with it.
        """
        from roc.training.build import base_config

        base_config(self.config)

    def read(self) -> RunData:
        """Reads the data.

        Raises:
            DataError: With every fault of the data.
        """
        from roc.training.data import check_learnable, read_data

        data = read_data(self.config)
        check_learnable(self.config, data)
        return data

    def check_images(self) -> None:
        """Decodes every image of the data files.

        Raises:
            DataError: With every image that cannot be read.
        """
        from roc.training.data import check_images

        check_images(self.config)

    def build(self, data: RunData) -> tuple[PreTrainedModel, ProcessorMixin]:
        """Builds the model that is trained, and its processor."""
        from roc.training.build import build_model

        return build_model(self.config, data)

    def trainer(
        self, data: RunData, arguments: TrainingArguments, model: PreTrainedModel, processor: ProcessorMixin
    ) -> tuple[Trainer, int]:
        """Builds the trainer; returns it with the tokens of the longest row, 0 where it writes its rows itself."""
        from roc.training.arguments import build_trainer

        trainer, lengths = build_trainer(self.config, data, arguments, model, processor)
        return trainer, lengths.longest

    def limit_validation(self, arguments: TrainingArguments, data: RunData) -> None:
        """Switches validation off where there is too little to validate on."""
        from roc.training.arguments import limit_validation

        limit_validation(arguments, data)

    def complete(self, trainer: Trainer) -> None:
        """Does what is left to do with the trained model before it is saved; every process calls it."""
        from roc.training.learnt_links import settle_links

        settle_links(trainer.model)

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Evaluates what was trained; returns the table."""
        if self.config.mixes:
            from roc.training.mixed_evaluation import evaluate
        else:
            from roc.training.finish import evaluate

        return evaluate(self.config, data, history)

    def work(self) -> str | None:
        """Carries the run out, or carries on with it; see `finetune`."""
        self.check()
        if run.is_finished(self.config):
            return finished_table(self.config) if run.is_first_process() else None
        with run.occupying(self.config):
            return self._train()

    def _train(self) -> str | None:
        from roc.training.finish import publish
        from roc.training.kept_features import remove_features

        config = self.config
        process = join_processes(config)
        first = process.is_main_process
        with run.preparing(config, process):
            arguments = self.arguments()
            self.read_base()
            with first_process_first(process):
                data = self.read()
            self.limit_validation(arguments, data)
            with first_process_first(process):
                if first:
                    self.check_images()
            model, processor = self.build(data)
            trainer, longest = self.trainer(data, arguments, model, processor)
            state = run.start(config, trainer, process, longest)
        run.train(trainer, state)
        self.complete(trainer)
        history = trainer.state.log_history
        publish(trainer, processor, Path(config.output_dir))
        trainer.accelerator.free_memory()
        del trainer, model, arguments
        leave_processes(process)
        if not first:
            return None
        remove_features(config)
        table = self.evaluate(data, history)
        run.mark_finished(config)
        return table


def finished_table(config: RunConfig) -> str:
    """Reads the table of a finished run, and says how to train it anew."""
    from roc.training.finish import TABLE_FILE

    out = Path(config.output_dir)
    table = (out / TABLE_FILE).read_text(encoding="utf-8")
    return f"{table}\n{out} is finished; --overwrite trains it anew."
