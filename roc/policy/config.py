"""The settings of reinforcement: those of a training run that make sense here, and its own, with the published recipe.

Range, levels, losses and wording come from the checkpoint that a run starts from. A setting of `roc finetune` that says
otherwise, or that has no effect here, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from roc.settings import Fault, option, settings_of
from roc.training.config import RunConfig
from roc.training.error_aware_config import ErrorAwareConfig
from roc.training.mixing_config import MixingConfig
from roc.training.pair_config import PairConfig

Reward = Literal["rank", "error", "binary", "format", "relative", "relative_soft"]

REWARDS: tuple[Reward, ...] = get_args(Reward)

OF_THE_CHECKPOINT = (
    *(
        "min_score",
        "max_score",
        "attribute_ranges",
        "num_tokens",
        "attributes",
        "question",
        "answer",
        "image_aspect_ratio",
        "score_flip",
    ),
    *("text_weight", "l1_weight", "ce_weight", "emd_weight", "l1_scale", "published_losses"),
)
"""Settings of `roc finetune` that a checkpoint declares; given here, they have to say the same."""

NOT_HERE = (
    *(
        "host",
        "starter",
        "tiny_model",
        "new_head",
        "model_max_length",
        "chat_template",
        "image_cache",
    ),
    *("augment_flip", "augment_shift", "demo_train", "demo_val", "demo_test", "demo_size", "head_dropout"),
    *("vision_from", "projector_from", "language_from", "embeddings_from", "batch_norm_momentum", "ema_decay"),
    *("dataloader_num_workers", "deepspeed", "short_answers", "stable_format"),
    *settings_of(ErrorAwareConfig),
    *settings_of(MixingConfig),
    *settings_of(PairConfig),
)
"""Settings of `roc finetune` that reinforcement does not have."""


@dataclass(frozen=True)
class PolicyConfig(RunConfig):
    """How the policy learns: what is rewarded, how answers are sampled, and the loss.

    The defaults are the recipe of Aes-R1 with two additions of ours, `head_weight` and `spread_floor`; 0 switches each
    off. `configs/reasoning_rapo.yaml` tells where paper and code differ.
    """

    TITLE = "policy"

    rewards: tuple[Reward, ...] = option(
        ("rank", "error", "format"),
        "what an answer is rewarded for, each with weight 1: rank (right against the other photos), error (near the "
        "human score), binary (near enough), format (can be read), relative, relative_soft (consistent in its group)",
    )
    reward_form: Literal["ours", "published"] = option(
        "ours", "published: ties, smoothing and rounding of the rewards as in the code of Aes-R1"
    )
    num_generations: int = option(4, "completions of each photo in a generation (K)", low=2)
    steps_per_generation: int = option(
        1, "forward passes that the completions of one generation are divided among; it is ranked as a whole", low=1
    )
    num_iterations: int = option(1, "times that the completions of a generation are learnt from", low=1)
    reasoning_tokens: int = option(
        512, "longest answer in tokens, in sampling, validation and tests; the paper has 1024", low=8
    )
    temperature: float = option(1.0, "temperature of sampling", above=0)
    top_k: int = option(50, "sample among this many of the likeliest tokens; 0 among all", low=0)
    top_p: float = option(1.0, "sample among the likeliest tokens that together have this probability", above=0, high=1)
    beta: float = option(0.01, "weight of the divergence from the model that the run starts from", low=0)
    epsilon: float = option(0.2, "lower bound of the clipped ratio is 1 - epsilon", above=0, below=1)
    epsilon_high: float = option(0.28, "upper bound of the clipped ratio is 1 + epsilon_high", above=0)
    loss_type: Literal["grpo", "dapo", "bnpo", "dr_grpo"] = option(
        "grpo", "grpo: mean over the tokens of an answer, then over answers; dapo: mean over all tokens"
    )
    spread_floor: float = option(
        0.05,
        "smallest deviation of a photo's rewards that they are divided by, so that noise is not magnified; 0: none",
        low=0,
    )
    head_weight: float = option(
        0.1, "weight of the score head's own loss beside the policy's; 0, as published, teaches the head nothing", low=0
    )
    head_weight_end: float | None = option(
        None, "weight at the end of the run, reached evenly; none keeps head_weight", low=0
    )
    head_every: int = option(1, "the head's own loss counts in every n-th optimiser step", low=1)
    head_loss: Literal["declared", "reward"] = option(
        "declared",
        "declared: the losses that the checkpoint was trained with; reward: minus the error reward, which is the exact "
        "gradient of the objective and vanishes far from the human score",
    )
    critiques_path: str | None = option(
        None,
        "file of critiques, such as the corpus of the cold start, whose text loss is added to the policy's, so that "
        "sampled answers keep their form",
        metavar="FILE",
    )
    critiques_weight: float = option(1.0, "weight of that text loss", above=0)
    critiques_batch_size: int = option(16, "critiques per device and forward pass", low=1)
    use_vllm: bool = option(False, "generate through vLLM, by TRL's own switch", matters=False)
    vllm_mode: Literal["colocate", "server"] = option(
        "colocate", "where vLLM runs: in the training process or as a server (trl vllm-serve)", matters=False
    )
    vllm_gpu_memory_utilization: float = option(
        0.3, "share of the GPU's memory for vLLM in the training process", above=0, high=1, matters=False
    )
    learning_rate: float = option(1e-6, "learning rate", above=0)
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = option(
        "linear", "schedule of the learning rate after the warm-up"
    )
    warmup_ratio: float = option(0.0, "share of the steps over which the learning rate rises", low=0, below=1)
    num_train_epochs: float = option(10.0, "passes over the training rows", above=0)
    per_device_train_batch_size: int = option(32, "completions per device and forward pass", low=1)
    gradient_accumulation_steps: int = option(2, "forward passes per optimiser step", low=1)
    lora_dropout: float = option(
        0.0, "with lora or qlora: has to be 0, as answers are sampled while the model trains", low=0, below=1
    )
    logging_steps: int = option(1, "steps between log lines", low=1, matters=False)

    @property
    def data_files(self) -> tuple[str, ...]:
        """The files that the run learns from and is validated on; other contents make another run."""
        return (*super().data_files, *filter(None, (self.critiques_path,)))

    @property
    def generation_passes(self) -> int:
        """Forward passes between two generations."""
        return self.steps_per_generation * self.num_iterations

    def faults(self) -> list[Fault]:
        """Finds settings of `roc finetune` that have no place here, and values that no bound can express."""
        settings = settings_of(type(self))
        found = [
            (
                name,
                f"{name} is {_shown(getattr(self, name))}, but reinforcement goes on from a checkpoint as it is and "
                "has no such setting; leave it out",
            )
            for name in NOT_HERE
            if getattr(self, name) != settings[name].default
        ]
        if self.lora_dropout:
            found.append(
                (
                    "lora_dropout",
                    f"lora_dropout is {self.lora_dropout:g}, expected 0: answers are sampled with the model in "
                    "training mode, and dropout would change them",
                )
            )
        if not self.rewards or len(set(self.rewards)) != len(self.rewards):
            found.append(
                ("rewards", f"rewards is {', '.join(self.rewards) or 'empty'}; name each of {', '.join(REWARDS)} once")
            )
        if set(self.rewards) == {"format"} and not self.head_weight:
            found.append(("rewards", "rewards is format alone, so no score would be learnt; add rank or error"))
        return [*found, *self._rhythm_faults()]

    def _rhythm_faults(self) -> list[Fault]:
        """Finds steps and saves in the middle of a generation, from which a resumed run would generate anew."""
        passes, found = self.generation_passes, []
        if passes > self.gradient_accumulation_steps and passes % self.gradient_accumulation_steps:
            near = -(-passes // self.gradient_accumulation_steps) * self.gradient_accumulation_steps
            found.append(
                (
                    "gradient_accumulation_steps",
                    f"gradient_accumulation_steps is {self.gradient_accumulation_steps}, but a generation serves "
                    f"{passes} forward passes (steps_per_generation x num_iterations); set it to {passes}, or make "
                    f"these {near}",
                )
            )
        elif passes <= self.gradient_accumulation_steps and self.gradient_accumulation_steps % passes:
            near = -(-self.gradient_accumulation_steps // passes) * passes
            found.append(
                (
                    "gradient_accumulation_steps",
                    f"gradient_accumulation_steps is {self.gradient_accumulation_steps}, but a generation serves "
                    f"{passes} forward passes (steps_per_generation x num_iterations); set it to {near}",
                )
            )
        steps = max(1, passes // self.gradient_accumulation_steps)
        if self.save_strategy == "steps" and steps > 1 and (self.save_steps < 1 or self.save_steps % steps):
            given, wanted = f"{self.save_steps:g}", str(-(-int(self.save_steps) // steps) * steps)
            if self.save_steps < 1:
                given, wanted = f"{given}, a share of the run", f"a number of steps that {steps} divides"
            found.append(
                (
                    "save_steps",
                    f"save_steps is {given}, but a generation is learnt from in {steps} steps, and a run goes on "
                    f"exactly from the end of one only; set it to {wanted}",
                )
            )
        return found

    def without_effect(self) -> set[str]:
        """Names the settings that change nothing beside the others."""
        names = {*super().without_effect(), *NOT_HERE, *OF_THE_CHECKPOINT}
        if not self.head_weight:
            names |= {"head_weight_end", "head_every", "head_loss"}
        if self.critiques_path is None:
            names |= {"critiques_weight", "critiques_batch_size"}
        return names


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
