"""Error-aware weights in a training run: rows that have been wrong for long count more in every loss on scores.

`ErrorTracker` has the arithmetic. `WeighsByError` is mixed into the Trainer. For each optimiser step, over all of its
micro-batches and processes together, so that the result does not depend on how a step is divided, it

1. reads the weights from the errors before the step, gives them mean 1, and puts them into the batches;
2. notes the errors of the step while its losses are computed;
3. updates the running errors, alike on all processes.

The error of a row is the mean over its attributes of |score - human score| on the scale 0..1; a histogram without a
score stands for its mean. Rows without either have weight 1 and no error.

The weights of a step are divided by their mean over all of it, so they are needed before its first pass. Rows seen for
the first time count by the error they are about to have. Where a step that is weighed has such rows, which takes
`error_aware_epochs: 0` or a resume with another number of processes, a pass without gradients finds these errors, with
the random numbers of the real one; the model stays as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback

from roc.score_space import ScoreSpace
from roc.training.error_aware_config import never_weighed, tracking_epochs
from roc.training.error_tracker import ErrorTracker
from roc.training.run import RunError

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from roc.training.config import RunConfig

logger = logging.getLogger(__name__)

ERRORS_FILE = "errors.safetensors"
"""File in a saved state with the running errors."""

_NUMBERS = "row_numbers"
_WEIGHTS = "score_weights"


class ErrorWeights(ErrorTracker):
    """An `ErrorTracker` that knows from when on its weights count.

    Args:
        num_rows: Rows of the training data set.
        epochs: Epochs that only track.
        **rule: For `ErrorTracker`.

    Attributes:
        heaviest: Largest weight since the last log, with mean 1 in its step; None where nothing was weighed.
    """

    def __init__(self, num_rows: int, *, epochs: int, **rule: float) -> None:
        super().__init__(num_rows, **rule)
        self.epochs = epochs
        self.heaviest: float | None = None

    def logged(self) -> dict[str, float]:
        """Returns the values of a log line and begins the next."""
        values = {"errors_tracked": self.share_tracked}
        if self.heaviest is not None:
            values["largest_error_weight"] = self.heaviest
        self.heaviest = None
        return values


def error_weights(config: RunConfig, arguments: TrainingArguments, num_rows: int) -> ErrorWeights | None:
    """Builds the weights that the settings ask for; None where they are off.

    Says once where a step holds one image, which always has weight 1.

    Raises:
        RunError: If the run ends before anything is weighed.
    """
    if not config.error_aware:
        return None
    step = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    passes = arguments.num_train_epochs if arguments.max_steps <= 0 else arguments.max_steps * step / num_rows
    epochs = tracking_epochs(config, passes)
    if epochs >= passes:
        raise RunError(never_weighed(epochs, passes))
    if step == 1:
        logger.warning(
            "error_aware is on, but a step holds one image, whose weight is always 1; raise "
            "per_device_train_batch_size or gradient_accumulation_steps"
        )
    return ErrorWeights(
        num_rows,
        epochs=epochs,
        gamma=config.error_aware_gamma,
        gamma_global=config.error_aware_gamma_global,
        beta=config.error_aware_beta,
        tau=config.error_aware_tau,
    )


def row_errors(scores: torch.Tensor, batch: dict[str, torch.Tensor], spaces: Sequence[ScoreSpace]) -> torch.Tensor:
    """Computes how wrong the score of each row is.

    Args:
        scores: (B, K) on the native scale, NaN where absent.
        batch: Holds `score_labels` (B, K) and possibly `score_distributions` (B, K, N), both NaN where absent.
        spaces: The native scale of each attribute, at least K.

    Returns:
        (B,) in 0..1, the mean over the rated scores of a row; NaN where nothing of it is rated.
    """
    widths = torch.tensor([space.width for space in spaces[: scores.shape[1]]], device=scores.device)  # (K,)
    return ((scores - human_scores(batch, spaces)).abs() / widths).nanmean(dim=1)


def human_scores(batch: dict[str, torch.Tensor], spaces: Sequence[ScoreSpace]) -> torch.Tensor:
    """Returns (B, K) human scores of a batch: the rated ones, else the mean of the histogram, else NaN."""
    labels, votes = batch["score_labels"], batch.get("score_distributions")
    if votes is None:
        return labels
    levels = torch.tensor([space.levels for space in spaces[: votes.shape[1]]], dtype=votes.dtype, device=votes.device)
    return torch.where(labels.isnan(), (votes * levels).sum(dim=-1), labels)


class WeighsByError:
    """Part of a Trainer: weighs the rows of each optimiser step by their earlier errors, where `error_weights` is set.

    `UpdateErrors` has to be among the callbacks.
    """

    error_weights: ErrorWeights | None = None
    _passed: list[tuple[torch.Tensor, torch.Tensor]]

    def get_train_dataloader(self) -> DataLoader:
        """Makes the loader of the training rows; batches hold the numbers of their rows where errors are tracked."""
        if self.error_weights is None:
            return super().get_train_dataloader()
        rows, collator = self.train_dataset, self.data_collator
        self.train_dataset, self.data_collator = _NumberedRows(rows), _NumberedBatches(collator)
        try:
            return super().get_train_dataloader()
        finally:
            self.train_dataset, self.data_collator = rows, collator

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple:
        """Draws the micro-batches of one optimiser step and weighs their rows."""
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.error_weights is not None:
            self._passed = []
            # The share of an epoch may come out a little short of a whole one.
            begun = int((self.state.epoch or 0) + 1e-6)
            if batches and begun >= self.error_weights.epochs and self.error_weights.started:
                self._weigh(batches)
        return batches, num_items

    def compute_loss(
        self, model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Computes the loss and notes the errors of the rows."""
        if self.error_weights is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        numbers, inputs = inputs[_NUMBERS], {key: value for key, value in inputs.items() if key != _NUMBERS}
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        self._passed.append((numbers, row_errors(outputs.scores.detach(), inputs, self.model.declaration.spaces)))
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the share of tracked rows and the largest weight to a log line of training."""
        if self.error_weights is not None and "loss" in logs:
            logs |= self.error_weights.logged()
        super().log(logs, start_time)

    def update_errors(self) -> None:
        """Takes in the errors of the step that has ended, of all processes."""
        numbers, errors = (torch.cat(parts).cpu().double() for parts in zip(*self._passed, strict=True))
        rated = ~errors.isnan()
        numbers, errors = self._together(numbers[rated], errors[rated])
        self.error_weights.update(numbers, errors)

    def _weigh(self, batches: Sequence[dict[str, torch.Tensor]]) -> None:
        """Puts `score_weights` (B,) into the batches of a step; their mean over its rated rows is 1."""
        tracker, spaces = self.error_weights, self.model.declaration.spaces
        numbers = torch.cat([batch[_NUMBERS] for batch in batches]).cpu()
        rated = torch.cat([(~human_scores(batch, spaces).isnan()).any(dim=1) for batch in batches]).cpu()
        errors = torch.full((len(numbers),), float("nan"), dtype=torch.float64)
        everyone, their_errors = self._together(numbers[rated], errors[rated])
        if not len(everyone):
            return
        if not tracker.knows(everyone):
            errors = self._errors_ahead(batches)
            everyone, their_errors = self._together(numbers[rated], errors[rated])
        raw = tracker.raw_weights(everyone, their_errors)
        weights = torch.ones(len(numbers), dtype=torch.float64)
        weights[rated] = tracker.raw_weights(numbers[rated], errors[rated]) / raw.mean()
        tracker.heaviest = max(tracker.heaviest or 0.0, float(raw.max() / raw.mean()))
        for batch, part in zip(batches, weights.split([len(batch[_NUMBERS]) for batch in batches]), strict=True):
            batch[_WEIGHTS] = part.float().to(batch["score_labels"].device)

    def _errors_ahead(self, batches: Sequence[dict[str, torch.Tensor]]) -> torch.Tensor:
        """Computes the errors that the passes of a step are about to have; nothing of the model or its dice changes."""
        model, found = self.model, []
        model.train()
        kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices), self.compute_loss_context_manager():
            for batch in batches:
                inputs = self._prepare_inputs({key: value for key, value in batch.items() if key != _NUMBERS})
                found.append(row_errors(model(**inputs).scores, inputs, model.declaration.spaces))
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])  # statistics of batch normalisation
        return torch.cat(found).cpu().double()

    def _together(self, numbers: torch.Tensor, errors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gathers numbers and errors of rows, of which each process may have another count, from all processes."""
        if self.args.world_size == 1:
            return numbers.long(), errors
        pairs = torch.stack([numbers.double(), errors], dim=1).to(self.args.device)  # (n, 2)
        padded = self.accelerator.pad_across_processes(pairs, dim=0, pad_index=float("nan"))
        pairs = self.accelerator.gather(padded).cpu()
        pairs = pairs[~pairs[:, 0].isnan()]
        return pairs[:, 0].long(), pairs[:, 1]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.error_weights is not None and self.args.should_save:
            save_file(self.error_weights.state(), os.path.join(output_dir, ERRORS_FILE))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.error_weights is not None and checkpoint is not None:
            self.error_weights.load(load_file(os.path.join(checkpoint, ERRORS_FILE)))


class UpdateErrors(TrainerCallback):
    """Updates the running errors after every optimiser step, before a state is saved."""

    def __init__(self, trainer: WeighsByError) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.update_errors()


class _NumberedRows(Dataset):
    """A data set whose samples come with their numbers."""

    def __init__(self, rows: Dataset) -> None:
        self.rows = rows

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.rows, "set_epoch"):
            self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.rows[index]


class _NumberedBatches:
    """A collator of such samples; the numbers (B,) stand beside what the other one makes."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator

    def __call__(self, samples: Sequence[tuple[int, Any]]) -> dict[str, torch.Tensor]:
        numbers, plain = zip(*samples, strict=True)
        return {**self.collator(list(plain)), _NUMBERS: torch.tensor(numbers)}
