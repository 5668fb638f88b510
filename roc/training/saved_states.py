"""What a trainer of roc saves, and what it goes on from: states that are whole or not there, under names that load.

`SavesStates` is mixed into the Trainer of transformers by `roc.training.trainer`, into another one by `roc.policy`. It
also notices training that diverges, since such a state is never saved. Private parts of the Trainer that it relies on,
and the test in tests/training/test_trainer.py that fails when they change:

- `_save_checkpoint` and the name of its folder; it removes no older ones where `save_total_limit` is None
  test_a_full_disk_loses_nothing_already_saved
- `_save` and `save_model` write the weights of saved states
  test_the_best_state_was_kept
- `_load_best_model` leaves the model in evaluation mode
  test_the_best_model_is_left_in_training_mode
- `_load_from_checkpoint` and `_load_best_model` read the weights of a saved state
  test_lora_interrupted_and_resumed_ends_with_the_same_adapter, in test_build.py
- `_issue_warnings_after_load` sees what does not fit; `all_tied_weights_keys` of the model
  test_a_saved_state_that_does_not_fit_is_an_error
- `_determine_best_metric` compares validations, and `on_train_begin` comes after the saved state was read
  test_predictions_that_are_all_equal_are_not_the_best, test_the_best_state_is_forgotten_where_it_is_damaged
- `model_wrapped` and `safe_get_full_fp32_param`: gathered weights
  test_the_best_state_is_the_checkpoint_and_loads_plainly, in test_distributed.py
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import ProcessorMixin, TrainerCallback
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from roc.checkpoint.folder import ADAPTER_WEIGHTS, save
from roc.model.adapters import fill_adapter
from roc.model.head import ScoreHead
from roc.training.states import begin, newest_whole, rotate, seal


class SavingError(RuntimeError):
    """A state that could not be saved; the message names the last complete one and what to do."""


class DivergedError(RuntimeError):
    """Loss, weights or scores that are no longer numbers; the message says at which step and what to try."""


class SavesStates:
    """Part of a Trainer: saves states, reads them, chooses the best, and stops where training diverges.

    `FindBest` has to be among the callbacks.
    """

    _first_bad_step: torch.Tensor | None = None
    _exact_heads: dict[str, torch.Tensor]

    @property
    def launcher(self) -> str:
        """Name in configs/distributed/ of what spreads the model over the processes; "ddp" where nothing does."""
        if self.is_fsdp_enabled:
            return "fsdp2"
        return f"zero{self.accelerator.state.deepspeed_plugin.zero_stage}" if self.is_deepspeed_enabled else "ddp"

    @property
    def processor_to_save(self) -> ProcessorMixin:
        """The processor that belongs into a checkpoint."""
        return self.processing_class

    def note_loss(self, loss: torch.Tensor) -> None:
        """Notes the first step with a loss that is no number.

        It is kept on the device and looked at with the log, so that no step waits for it.
        """
        bad = torch.where(loss.detach().isfinite(), 0, self.state.global_step + 1)
        seen = bad if self._first_bad_step is None else self._first_bad_step
        self._first_bad_step = torch.where(seen > 0, seen, bad)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Saves a state; one that cannot be finished is removed, older ones stay.

        Raises:
            SavingError: If the disk is full or the folder cannot be written.
            DivergedError: If the weights are no longer numbers; such a state is not saved.
        """
        self._check_weights()
        partial = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            # Without its folder the stock Trainer takes the best state for lost; FSDP2 would make it too late.
            if self.args.should_save:
                begin(partial)
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                # Older states are removed only when this one is whole.
                seal(partial)
                rotate(self.args.output_dir, limit, *self.chosen_states())
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            last, _ = newest_whole(self.args.output_dir)
            raise SavingError(
                f"The state at step {self.state.global_step} could not be saved to {partial}: {error}. "
                + (f"The one before it, {last}, is whole. " if last else "There is no earlier one. ")
                + "Free some space (or choose another --output_dir) and give the same command again."
            ) from error
        finally:
            self.args.save_total_limit = limit

    def chosen_states(self) -> list[Path]:
        """Lists the saved states that stay, however many there are: the best one so far."""
        return [Path(self.state.best_model_checkpoint)] if self.state.best_model_checkpoint else []

    def _check_loss(self) -> None:
        """Raises `DivergedError`, on every process, if a loss of any of them was no number."""
        if self._first_bad_step is not None:
            steps = self.accelerator.gather(self._first_bad_step.reshape(1))
            if bool((steps > 0).any()):
                raise self._diverged(int(steps[steps > 0].min()), "the loss is no number any more (NaN or infinite)")

    def _check_weights(self) -> None:
        """Raises `DivergedError`, on every process, if a loss or a trained weight is no number."""
        self._check_loss()
        trained = [p for p in self.model.parameters() if p.requires_grad and p.is_floating_point()]
        local = [(p.to_local() if hasattr(p, "to_local") else p).detach() for p in trained]
        bad = any(not bool(weights.isfinite().all()) for weights in local)
        if int(self.accelerator.gather(torch.tensor([int(bad)], device=self.args.device)).sum()):
            raise self._diverged(self.state.global_step, "weights are no numbers any more (NaN or infinite)")

    def _diverged(self, step: int, what: str) -> DivergedError:
        args = self.args
        tries = [f"a lower learning_rate (it is {args.learning_rate:g})", "a longer warm-up (warmup_ratio)"]
        if not args.max_grad_norm:
            tries.append("max_grad_norm 1 (it is 0, so gradients are not clipped)")
        if args.bf16:
            tries.append("bf16 false")
        last = newest_whole(args.output_dir, thorough=False)[0]
        return DivergedError(
            f"Training diverged: at step {step} of {self.state.max_steps} {what}. Try {', or '.join(tries)}; with "
            "other settings, --overwrite or another --output_dir starts anew. "
            + (f"The last state before it is {last}." if last else "No state was saved before it.")
        )

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Saves weights under the names that the modules have, not the hub's.

        The stock Trainer saves families such as LLaVA under the hub's older names, then reads them back without
        renaming: resuming and choosing the best model would quietly load nothing.
        """
        if not self.args.should_save:
            return
        if state_dict:
            state_dict = {**state_dict, **self._exact_heads}
        folder = output_dir or self.args.output_dir
        os.makedirs(folder, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        save(model, self.processor_to_save, folder, state_dict=state_dict, save_original_format=False)
        torch.save(self.args, os.path.join(folder, TRAINING_ARGS_NAME))

    def whole_weights(self) -> dict[str, torch.Tensor] | None:
        """Gathers the trained weights where an engine has spread them over the processes; all of them have to call it.

        Returns:
            The weights by name on the CPU of process 0 (the others' result is of no use); None where `model` itself
            holds them.
        """
        if self.is_fsdp_enabled:
            return self.accelerator.get_state_dict(self.model)
        if self.is_deepspeed_enabled:
            weights = self.accelerator.get_state_dict(self.model_wrapped)
            return {**(weights or {}), **self._gathered_heads()}
        return None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the model; with DeepSpeed, all processes gather the float32 head first."""
        self._exact_heads = self._gathered_heads() if self.is_deepspeed_enabled else {}
        super().save_model(output_dir, _internal_call)

    def _gathered_heads(self) -> dict[str, torch.Tensor]:
        """Gathers the float32 head that DeepSpeed trains, not what it computes with; every process has to call it."""
        from deepspeed.utils import safe_get_full_fp32_param

        return {
            f"{name}.weight": safe_get_full_fp32_param(module.weight).detach().cpu().clone()
            for name, module in self.model.named_modules()
            if isinstance(module, ScoreHead) and module.weight.requires_grad
        }

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains.

        Raises:
            DivergedError: If loss, weights or scores are no longer numbers.
        """
        self._first_bad_step = None
        result = super().train(*args, **kwargs)
        self._check_weights()
        return result

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Compares a validation with the best one; without SRCC, as of equal predictions, it is not the best."""
        if f"eval_{str(self.args.metric_for_best_model).removeprefix('eval_')}" not in metrics:
            return False
        return super()._determine_best_metric(metrics, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._fill_adapter(resume_from_checkpoint)

    def _fill_adapter(self, state: str) -> None:
        """Reads the tensors of a saved adapter that PEFT leaves out."""
        file = Path(state) / ADAPTER_WEIGHTS
        if hasattr(self.model, "peft_config") and not self.is_fsdp_enabled and file.exists():
            fill_adapter(self.model, file)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._fill_adapter(self.state.best_model_checkpoint)
        # In evaluation mode some towers (LeViT) keep tensors computed from the weights they had before.
        self.model.train()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raises where the stock Trainer warns that a saved state does not fit and goes on with untrained weights."""
        if not hasattr(self.model, "peft_config"):  # PEFT ties the rows it trains itself
            self.model.tie_weights()
        missing = set(load_result.missing_keys) - set(self.model.all_tied_weights_keys)
        if missing or load_result.unexpected_keys:
            raise RuntimeError(
                f"The saved state does not fit the model: missing {sorted(missing)[:5]}, unexpected "
                f"{sorted(load_result.unexpected_keys)[:5]}; it was written by another model or version."
            )


class FindBest(TrainerCallback):
    """Finds the best state again where the folder was moved; where that state is gone, the best is chosen anew."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.best_global_step:
            return
        best = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if best.is_dir():
            state.best_model_checkpoint = str(best)
        else:
            state.best_metric = state.best_model_checkpoint = state.best_global_step = None
