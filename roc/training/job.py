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

`finetune` is the steps in their order; another method calls the ones it shares and puts its own in place of the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from roc.training import run
from roc.training.checks import check_settings
from roc.training.processes import first_process_first, join_processes, leave_processes

if TYPE_CHECKING:
    from roc.training.config import RunConfig


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
    # What costs nothing comes first: PyTorch is not loaded yet.
    check_settings(config)
    if run.is_finished(config):
        return finished_table(config) if run.is_first_process() else None
    with run.occupying(config):
        return _train(config)


def _train(config: RunConfig) -> str | None:
    from roc.training.arguments import build_trainer, limit_validation, training_arguments
    from roc.training.build import base_config, build_model
    from roc.training.data import check_images, check_learnable, read_data
    from roc.training.finish import evaluate, publish
    from roc.training.kept_features import remove_features

    process = join_processes(config)
    first = process.is_main_process
    with run.preparing(config, process):
        arguments = training_arguments(config)
        base_config(config)
        with first_process_first(process):
            data = read_data(config)
        check_learnable(config, data)
        limit_validation(arguments, data)
        with first_process_first(process):
            if first:
                check_images(config)
        model, processor = build_model(config, data)
        trainer, lengths = build_trainer(config, data, arguments, model, processor)
        state = run.start(config, trainer, process, lengths.longest)
    run.train(trainer, state)
    history = trainer.state.log_history
    publish(trainer, processor, Path(config.output_dir))
    trainer.accelerator.free_memory()
    del trainer, model, arguments
    leave_processes(process)
    if not first:
        return None
    remove_features(config)
    table = evaluate(config, data, history)
    run.mark_finished(config)
    return table


def finished_table(config: RunConfig) -> str:
    """Reads the table of a finished run, and says how to train it anew."""
    from roc.training.finish import TABLE_FILE

    out = Path(config.output_dir)
    table = (out / TABLE_FILE).read_text(encoding="utf-8")
    return f"{table}\n{out} is finished; --overwrite trains it anew."
