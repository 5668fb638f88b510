"""`RocTrainer`: the Hugging Face Trainer with its own way to count, log, validate and save scores.

Loops, distribution, precision and resuming stay the Trainer's. Where it offers no public way, private parts of
transformers, accelerate, DeepSpeed and PyTorch are used. These are all such places of this room; below each stands the
test in tests/training that fails when they change. Those of FSDP2 and DeepSpeed run two processes on the CPU, the
latter where it is installed.

`RocTrainer`, methods that override private ones or rely on what the stock ones do inside:

- `get_batch_samples` draws all micro-batches of one optimiser step
  test_accumulation_gives_the_gradient_and_losses_of_one_big_batch
- `_prepare_inputs` casts inputs, with DeepSpeed and FSDP2 the targets too
  test_the_head_in_bfloat16
- `_load_from_checkpoint` reads the weights of a saved state to resume
  test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one
- `_save_optimizer_and_scheduler` and `_load_optimizer_and_scheduler` write and read what a saved state holds beside the
  weights (`error_weights`, `learnt_links`)
  test_a_resumed_run_goes_on_with_the_errors_of_an_uninterrupted_one
- `create_optimizer` keeps an optimiser that is there
  test_learning_rates_by_part_cover_every_parameter
- `ProgressCallback` and `PrinterCallback` are the ones that print
  test_logs_are_lines_of_the_room

`RocTrainer`, parts of the engines:

- `fsdp_plugin`: its policy is replaced and its units are chosen, by the model's `_no_split_modules`
  test_losses_and_gradient_are_those_of_one_process, test_the_head_in_bfloat16
- `deepspeed_plugin.hf_ds_config`, `ds_id` of a parameter, `safe_get_full_fp32_param`, `model_wrapped`
  test_the_best_state_is_the_checkpoint_and_loads_plainly, test_the_head_in_bfloat16
- `torch.nn.modules.batchnorm._BatchNorm`
  test_losses_and_gradient_are_those_of_one_process

Other files:

- `states.launcher_of`: names of the files that FSDP2 and DeepSpeed write
  test_a_saved_state_tells_who_wrote_it
- `arguments`: `_n_gpu` of `TrainingArguments`
  test_one_gpu_of_several_is_used
- `arguments`: `distributed_state.distributed_type`, so that FSDP2 runs on CPUs
  test_losses_and_gradient_are_those_of_one_process
- `kept_features`: `torch.utils._pytree`, and that `transformers` registers its outputs there
  test_every_epoch_after_the_first_is_read_and_the_losses_are_the_same
- `processes.whole_on_every_process`: `_hf_deepspeed_config_weak_ref` of transformers
  test_a_model_is_built_whole_under_zero3
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from roc.model.head import ScoreHead
from roc.model.mirror import mirrored
from roc.training.error_weights import ErrorWeights, UpdateErrors, WeighsByError
from roc.training.learnt_links import LearnsLinks
from roc.training.progress import LOSSES, Bar, LogLines
from roc.training.reasoning import Generated, most_open
from roc.training.saved_states import FindBest, SavesStates
from roc.training.stages import JoinLater, delay, make_optimizer
from roc.training.weight_average import WeightAverage

# With a mean of the weights, model.safetensors is the mean; these are the weights that training goes on from.
_OWN_WEIGHTS_FILE = "training_weights.safetensors"

# Numbers of a batch that are learnt from and stay float32.
_TARGETS = ("score_labels", "score_distributions", "score_weights", "pair_deltas", "pair_wins")


class RocTrainer(WeighsByError, LearnsLinks, SavesStates, Trainer):
    """Trains a model that carries the score head.

    The stock Trainer normalises the text loss over the whole accumulated, gathered batch, but knows nothing of other
    terms: a per-batch mean of the score loss would come out accumulation x processes too large. So scores and
    histograms are counted beside the tokens, and every term is divided by its own count.

    Args:
        learning_rates: Learning rate of a part (`roc.model.parts.PARTS`) where it differs from `args.learning_rate`.
        joins: Share of the steps after which a part is trained (`roc.training.stages`), for those that join later.
        scores_per_row: Most scores a row of any data set holds; validation results are padded to it.
        ema_decay: Above 0, a running mean of the weights (`roc.training.weight_average`) is validated, compared, saved
            as the model and left in it after training; the weights themselves are saved beside it, to resume from.
        error_weights: Errors of the training rows and the weights that follow from them; None weighs all rows alike.
        generated: Of a model that is taught to reason, the validation on what it writes (`roc.training.reasoning`).
        stable_format: The state with the most open choices is kept too, among those with this share of readable ones.
        train_collator: Makes the training batches where rows are drawn otherwise than in validation; None: as there.
        **kwargs: For `transformers.Trainer`; `processing_class` is the processor, `data_collator` a `RocCollator`.
    """

    def __init__(
        self,
        *args: Any,
        learning_rates: Mapping[str, float] | None = None,
        joins: Mapping[str, float] | None = None,
        scores_per_row: int = 1,
        ema_decay: float = 0.0,
        error_weights: ErrorWeights | None = None,
        generated: Generated | None = None,
        stable_format: float = 1.0,
        train_collator: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.train_collator = train_collator
        for stock in (ProgressCallback, PrinterCallback):
            self.remove_callback(stock)
        self.add_callback(LogLines)
        self.add_callback(FindBest)
        if not self.args.disable_tqdm:
            self.add_callback(Bar)
        self.learning_rates = {part: rate for part, rate in (learning_rates or {}).items() if rate is not None}
        self.joins = dict(joins or {})
        if self.joins:
            if self.is_deepspeed_enabled or self.is_fsdp_enabled:
                raise ValueError(
                    f"{min(self.joins)}_from is given; where the model is spread over the processes, all parts are "
                    "trained from the first step. Leave it out, or use --launcher ddp."
                )
            self.add_callback(JoinLater(self.model, self.joins))
        self.generated, self.stable_format = generated, stable_format
        if generated is not None and (self.is_fsdp_enabled or self.launcher == "zero3"):
            raise ValueError(
                "rows hold critiques, and where the model is spread over the processes it does not write any while it "
                "is trained, so nothing could be validated; use --launcher ddp or zero2, or --eval_strategy no."
            )
        self.scores_per_row = scores_per_row
        self.average = WeightAverage(self.model, ema_decay) if ema_decay else None
        if self.average is not None:
            if self.is_deepspeed_enabled or self.is_fsdp_enabled:
                raise ValueError(f"ema_decay is {ema_decay}; a mean of sharded weights is not kept, set it to 0.")
            self.add_callback(_UpdateAverage(self))
        if self.is_deepspeed_enabled and self.accelerator.mixed_precision == "bf16":
            if any(isinstance(module, _BatchNorm) for module in self.model.modules()):
                raise ValueError(
                    "bf16 is on and the model has batch normalisation, whose statistics DeepSpeed keeps in float32 "
                    "beside weights in bfloat16; switch bf16 off, or use --launcher fsdp2."
                )
        self.error_weights = error_weights
        if error_weights is not None:
            self.add_callback(UpdateErrors(self))
        self._exact_heads: dict[str, torch.Tensor] = {}
        self._counts: dict[str, torch.Tensor] = {}
        self._loss_sums: dict[str, torch.Tensor] = {}
        self._steps_summed = 0

    def create_accelerator_and_postprocess(self) -> None:
        """Creates the accelerator; with FSDP2 in bfloat16, the model computes like one that was loaded in bfloat16.

        accelerate's policy would also round the scores and histograms to learn from, and loss and scores that come
        out; `_prepare_inputs` rounds the pixels alone. Gradients are averaged in float32, as with the other engines.

        Raises:
            ValueError: If FSDP is set up in a way that the score head does not survive.
        """
        super().create_accelerator_and_postprocess()
        plugin = self.accelerator.state.fsdp_plugin if self.is_fsdp_enabled else None
        if plugin is None:
            return
        if plugin.fsdp_version != 2 or plugin.cpu_ram_efficient_loading:
            raise ValueError(
                f"FSDP version {plugin.fsdp_version}, cpu_ram_efficient_loading {plugin.cpu_ram_efficient_loading}; "
                "the score head needs version 2 and False, as configs/distributed/fsdp2.yaml has them."
            )
        if plugin.mixed_precision_policy is not None:
            plugin.mixed_precision_policy = dataclasses.replace(
                plugin.mixed_precision_policy, reduce_dtype=torch.float32, output_dtype=None, cast_forward_inputs=False
            )

    def _prepare_inputs(self, inputs: dict) -> dict:
        """Moves a batch to its device; for an engine in bfloat16, pixels are cast and targets stay float32."""
        prepared = super()._prepare_inputs(inputs)
        policy = self.accelerator.state.fsdp_plugin.mixed_precision_policy if self.is_fsdp_enabled else None
        computed_in = policy.param_dtype if policy is not None else self.model.dtype
        for name, tensor in inputs.items():
            if name in _TARGETS:  # DeepSpeed has rounded them
                prepared[name] = tensor.to(prepared[name].device)
            elif self.is_fsdp_enabled and tensor.is_floating_point():
                prepared[name] = prepared[name].to(computed_in)
        return prepared

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple:
        """Draws the micro-batches of one optimiser step and counts their scores and histograms on all processes."""
        if hasattr(self.train_dataset, "set_epoch"):
            # The data loader forgets to where its sampler is wrapped: after resuming, and with several processes.
            self.train_dataset.set_epoch(int(self.state.epoch or 0))
        self._steps_summed += 1
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.stack([_count_targets(batch) for batch in batches]).sum(dim=0) if batches else torch.zeros(4)
        counts = counts.to(device)
        if self.args.world_size > 1:
            counts = self.accelerator.gather(counts.unsqueeze(0)).sum(dim=0)
        # A step without any score has a score loss of 0 whatever it is divided by.
        names = ("scores", "distributions", "pairs", "deltas")
        counted = zip(names, counts.clamp(min=1), strict=True)
        self._counts = {f"num_{name}_in_batch": count for name, count in counted}
        return batches, num_items

    def get_train_dataloader(self) -> DataLoader:
        """Makes the loader of the training rows."""
        collator = self.data_collator
        self.data_collator = self.train_collator or collator
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collator

    def compute_loss(
        self, model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Computes the model's loss, normalised by the counts of the whole step, and sums up its terms for the log."""
        inputs = {**inputs, **self._counts}
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        self.note_loss(loss)
        for name in [name for name in LOSSES if name in outputs]:
            term = outputs[name].detach()
            self._loss_sums[name] = self._loss_sums.get(name, torch.zeros_like(term)) + term
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds each loss term, per optimiser step, to the Trainer's own training log line."""
        if "loss" in logs and self._loss_sums:
            self._check_loss()
            for name, total in self._loss_sums.items():
                # Every process divided by the global count, so the sum over processes is the term.
                logs[name] = float(self.accelerator.gather(total.reshape(1)).sum()) / self._steps_summed
            self._loss_sums, self._steps_summed = {}, 0
        super().log(logs, start_time)

    def prediction_step(
        self, model: Any, inputs: dict, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Scores a validation batch, teacher-forced.

        With `score_flip` the scores are means over the pictures and their mirror images; the loss is that of training.

        Returns:
            Loss, scores (B, K) and score labels (B, K), NaN where absent; K is `scores_per_row`. With several data
            sets, scores are on the scale of each row's, whose number is one more column of the labels.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
            scores = outputs.scores
            flips = self.model.declaration.score_flip and not prediction_loss_only
            if flips and (other := mirrored(inputs)) is not None:
                scores = (scores + model(**other).scores) / 2
        loss = outputs.loss.detach().mean()
        if prediction_loss_only:
            return loss, None, None
        scores, labels = self._padded(scores.detach()), self._padded(inputs["score_labels"])
        if (sets := inputs.get("score_sets")) is not None:
            scores, labels = self.on_their_scales(scores, sets), torch.cat([labels, sets.unsqueeze(1)], dim=1)
        return loss, scores, labels

    def _padded(self, scores: torch.Tensor) -> torch.Tensor:
        missing = self.scores_per_row - scores.shape[1]
        return torch.nn.functional.pad(scores.float(), (0, missing), value=float("nan"))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Creates the optimiser with one group per learning rate and weight decay.

        Raises:
            ValueError: If a learning rate is given for a part without trainable parameters.
        """
        if self.optimizer is None and self.is_fsdp_enabled:
            self._prepare_units()
        if self.optimizer is None and self.is_deepspeed_enabled:
            self._match_formats()
        if self.optimizer is not None or not (self.learning_rates or self.joins):
            return super().create_optimizer(model)
        self.optimizer = make_optimizer(self, self.model if model is None else model, self.learning_rates, self.joins)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Creates the schedule of the learning rates; that of a part that joins later begins when it does."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self.joins:
            delay(scheduler, self.args, num_training_steps)
        return scheduler

    def _prepare_units(self) -> None:
        """Decides what FSDP2 gathers together.

        Modules that stay float32 become units of their own here, before accelerate makes the others, which bfloat16
        rounds. Those are the layers that the model names as not to be split, as far as it has them: CLIP names its text
        tower's too, and accelerate stops at a name it cannot find.
        """
        from torch.distributed.fsdp import FSDPModule, fully_shard

        plugin = self.accelerator.state.fsdp_plugin
        if plugin.transformer_cls_names_to_wrap is None:
            present = {type(module).__name__ for module in self.model.modules()}
            plugin.transformer_cls_names_to_wrap = sorted(present.intersection(self.model._no_split_modules or ()))
        for module in self.model.modules():
            stays_exact = isinstance(module, (ScoreHead, _BatchNorm)) and module.weight is not None
            if stays_exact and not isinstance(module, FSDPModule):
                fully_shard(module, offload_policy=plugin.cpu_offload)

    def _match_formats(self) -> None:
        """Gives all weights the one number format in which ZeRO-3 holds them, over the float32 ones that it trains.

        Weights that it spread while the model was read have it already; the head and others came later.
        """
        plugin = self.accelerator.state.deepspeed_plugin
        if plugin.zero_stage != 3:
            return
        for parameter in self.model.parameters():
            if parameter.is_floating_point() and not hasattr(parameter, "ds_id"):
                parameter.data = parameter.data.to(plugin.hf_ds_config.dtype())

    def chosen_states(self) -> list[Path]:
        """Lists the best state so far and, of a model that is taught to reason, the one with the most open choices."""
        found = most_open(self.state.log_history, self.args.output_dir, self.stable_format)
        return super().chosen_states() + ([] if found is None else [found.state])

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Saves the weights; with `ema_decay` their mean as the model, and themselves beside it."""
        if not self.args.should_save:
            return
        if self.average is not None:
            folder = output_dir or self.args.output_dir
            os.makedirs(folder, exist_ok=True)
            state = self.accelerator.unwrap_model(self.model).state_dict()
            own = {name: tensor.contiguous().clone() for name, tensor in state.items()}
            save_file(own, os.path.join(folder, _OWN_WEIGHTS_FILE))
        with self._averaged():
            super()._save(output_dir, state_dict)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains; with `ema_decay` and no best state to load, the model ends with the mean as its weights.

        Raises:
            DivergedError: If loss, weights or scores are no longer numbers.
        """
        result = super().train(*args, **kwargs)
        if self.average is not None and not self.args.load_best_model_at_end:
            self.average.give_to(self.model)
        return result

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validates; with `ema_decay`, the mean of the weights.

        Raises:
            DivergedError: If weights or scores are no longer numbers.
        """
        self._check_weights()
        try:
            with self._averaged():
                return super().evaluate(*args, **kwargs)
        except FloatingPointError as error:
            raise self._diverged(self.state.global_step, str(error)) from error

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """Validates a data set; of a model that is taught to reason, by what it writes itself.

        The loss alone is of the critiques as they stand in the data: scores read behind those would come out too good.
        """
        if self.generated is None:
            return super().evaluation_loop(dataloader, *args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        output = super().evaluation_loop(dataloader, *args, **{**kwargs, "prediction_loss_only": True})
        with self.compute_loss_context_manager():
            found = self.generated.measure(self.accelerator.unwrap_model(self.model))
        output.metrics.update({f"{prefix}_{name}": value for name, value in found.items()})
        return output

    def _averaged(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext() if self.average is None else self.average.in_place_of(self.model)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.average is not None:
            self.average.reset(self.model)
            self.model.load_state_dict(load_file(os.path.join(resume_from_checkpoint, _OWN_WEIGHTS_FILE)))


class _UpdateAverage(TrainerCallback):
    """Updates the mean of the weights after every optimiser step."""

    def __init__(self, trainer: RocTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.average.update(self.trainer.model, state.global_step)


def _count_targets(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Counts the scores, the histograms, the pairs and the pairs with a known difference of a batch; (4,)."""
    scores = (~batch["score_labels"].isnan()).sum()
    votes, deltas = batch.get("score_distributions"), batch.get("pair_deltas")
    nothing = scores.new_zeros(())
    voted = nothing if votes is None else (~votes.isnan().any(dim=-1)).sum()
    pairs, known = (nothing, nothing) if deltas is None else (scores.new_tensor(len(deltas)), (~deltas.isnan()).sum())
    return torch.stack([scores, voted, pairs, known])
