"""One process of several: what tests/training/test_distributed.py starts through `accelerate launch`, with a folder of
its own.

    accelerate launch --config_file configs/distributed/zero3.yaml ... tests/helpers/many_processes.py MODEL RATINGS
    FOLDER

Goes through the steps of `roc.training.job.finetune` and leaves their results in FOLDER: `found.pt`, and checkpoints
in folders `whole`. The same functions give the single process to compare with.
"""

import dataclasses
import os
import sys
from pathlib import Path

import torch
import transformers
from transformers import TrainerCallback

from roc.model.head import ScoreHead
from roc.training import arguments as training_settings
from roc.training.arguments import build_trainer, limit_validation, training_arguments
from roc.training.build import build_model
from roc.training.config import load_config
from roc.training.data import read_data
from roc.training.finish import publish
from roc.training.processes import join_processes, launched_engine
from roc.training.run import train as train_through

# Four rows a step, over 8 rows: two steps an epoch. The gradient is clipped, and every part has a rate of its own.
SETTINGS = {
    "attributes": "overall,light", "gradient_accumulation_steps": 2, "num_train_epochs": 2, "learning_rate": 1e-3,
    "head_learning_rate": 1e-2, "vision_learning_rate": 5e-4, "weight_decay": 0.1, "warmup_ratio": 0, "bf16": False,
    "max_grad_norm": 1, "report_to": "none", "logging_steps": 1, "seed": 3,
}  # fmt: skip


def settings(model, ratings, folder, processes, **more):
    """Makes the settings of a run whose steps hold the same rows whatever the number of processes."""
    own = {"model_name_or_path": model, "data_path": ratings, "output_dir": folder}
    return load_config(None, {**SETTINGS, **own, "per_device_train_batch_size": 2 // processes, **more})


def build(config):
    """Builds trainer and processor as the command does."""
    arguments = training_arguments(config)
    data = read_data(config)
    limit_validation(arguments, data)
    model, processor = build_model(config, data)
    trainer, _ = build_trainer(config, data, arguments, model, processor)
    trainer.compute_metrics = lambda _: {
        "srcc": -trainer.state.global_step
    }  # so that the first saved state is the best
    return trainer, processor


class FirstGradient(TrainerCallback):
    """Keeps the head's gradient of the first step, gathered and clipped: 10 times the first moment of Adam."""

    found = None

    def __init__(self, trainer):
        self.trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        if self.found is not None:
            return
        weight = next(m for m in self.trainer.model.modules() if isinstance(m, ScoreHead) and trains(m)).weight
        if self.trainer.is_deepspeed_enabled:
            from deepspeed.utils import safe_get_full_optimizer_state

            if self.trainer.launcher == "zero2":  # it looked for Adam's moments once, before there were any
                zero = self.trainer.model_wrapped.optimizer
                zero._hp_optimizer_states_linked = False
                zero._lazy_init_hp_params_optimizer_state()
            mean = safe_get_full_optimizer_state(weight, "exp_avg")
        else:
            mean = self.trainer.optimizer.state[weight]["exp_avg"]
        self.found = 10 * getattr(mean, "full_tensor", lambda: mean)().clone()


def trains(module):
    return module.weight.requires_grad


def weights(trainer):
    """Gathers all weights in float32; only process 0 can use the result."""
    whole = trainer.whole_weights() or trainer.model.state_dict()
    return {name: tensor.detach().float().clone() for name, tensor in whole.items()}


def train(config):
    """Trains one run from start to end, then again from its first saved state to the end."""
    trainer, processor = build(config)
    gradient = FirstGradient(trainer)
    trainer.add_callback(gradient)
    train_through(trainer, None)
    found = {"gradient": gradient.found, "log": trainer.state.log_history, "best": weights(trainer)}
    publish(trainer, processor, Path(config.output_dir) / "whole")

    trainer, _ = build(dataclasses.replace(config, seed=4))  # nothing but the saved state may matter
    trainer.args.load_best_model_at_end = False
    state = Path(config.output_dir) / "training" / "checkpoint-2"
    train_through(trainer, state)
    return {**found, "resumed": weights(trainer), "launcher": trainer.launcher}


def train_lora(config):
    trainer, processor = build(config)
    train_through(trainer, None)
    publish(trainer, processor, Path(config.output_dir) / "whole")


def train_in_bfloat16(config):
    """Trains and notes the number formats of the head, of its targets and of what is saved."""
    seen = {}
    forward = ScoreHead.forward

    def note(head, hidden_states):
        seen["weight"] = head.weight.dtype
        return forward(head, hidden_states)

    ScoreHead.forward = note
    trainer, _ = build(config)
    compute_loss = trainer.compute_loss

    def note_labels(model, inputs, *args, **kwargs):
        seen["labels"] = inputs["score_labels"].dtype
        return compute_loss(model, inputs, *args, **kwargs)

    trainer.compute_loss = note_labels
    train_through(trainer, None)
    ScoreHead.forward = forward
    saved = trainer.whole_weights()
    others = {tensor.dtype for name, tensor in saved.items() if name != "score_head.weight"} if saved else None
    seen |= {"saved": saved["score_head.weight"] if saved else None, "others": others}
    return {**seen, "log": trainer.state.log_history}


def main(model, ratings, folder):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if launched_engine() == "deepspeed":
        import deepspeed

        # Its shared-memory operations would first be compiled, for minutes; gloo does the same.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    process = join_processes(load_config(None, {"threads": 1}))
    # With gradient checkpointing, DDP has to find parameters without gradient by itself.
    checkpointing = launched_engine() is None
    found = train(settings(model, ratings, f"{folder}/full", 2, gradient_checkpointing=checkpointing))
    more = {"num_train_epochs": 1, "save_strategy": "no"}
    if found["launcher"] == "ddp":
        train_lora(settings(model, ratings, f"{folder}/lora", 2, tuning="lora", lora_dropout=0, lora_rank=4, **more))
    else:
        if found["launcher"] != "fsdp2":
            # On a CPU DeepSpeed computes bfloat16 as on a GPU, but transformers does not allow it.
            transformers.training_args.is_torch_bf16_gpu_available = lambda: True
            training_settings.computes_in_bfloat16 = lambda config: config.bf16
        found["bfloat16"] = train_in_bfloat16(settings(model, ratings, f"{folder}/bf16", 2, bf16=True, **more))
        if found["launcher"] == "fsdp2":
            more |= {"bf16": None, "dtype": "bfloat16"}
            found["throughout"] = train_in_bfloat16(settings(model, ratings, f"{folder}/throughout", 2, **more))
    if process.is_main_process:
        torch.save(found, f"{folder}/found.pt")
    torch.distributed.barrier()
    os._exit(0)  # together and at once: threads of the process group may abort while the interpreter shuts down


if __name__ == "__main__":
    main(*sys.argv[1:])
