"""`PolicyTrainer`: the GRPOTrainer of TRL, with the head in the objective and the states of roc.

What it changes: values are read while answers are written, rewards see a whole generation, advantages have a floor,
the head's loss stands beside the policy's, pictures are dealt in groups, states are saved as `roc.training` saves them,
and validation is on texts that the model writes. TRL is not forked. It has no public way to any of this, so methods are
overridden that may change with its next minor version; `HOOKS` holds their parameters, and
tests/policy/test_hooks.py names the one that changed. Beside these it relies on:

- `_metrics["train"]`, the lists that TRL's log averages
- `_step`, `current_gradient_accumulation_steps`, `eos_token_ids`, and that `_compute_loss` calls its `model` once
- `FusedCausalLMOutput` and the forward that `add_fused_lm_head` puts on the model (`roc.policy.fused`)
- the adapter "ref" that it keeps as a reference
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from accelerate.utils import gather_object
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback
from trl import GRPOConfig, GRPOTrainer

from roc.data.records import Record
from roc.model.collator import RocCollator
from roc.model.head import read_levels
from roc.model.reasoned import GOOD, WRONG, read_answer
from roc.policy.advantages import Advantages, advantages, total_rewards
from roc.policy.answers import Answer, Answers, rewards_of
from roc.policy.config import PolicyConfig
from roc.policy.critiques import Critiques, text_loss
from roc.policy.data import Rows, delta_of, make_dataset, policy_processor, target_of
from roc.policy.fused import read_scores_too
from roc.policy.joint import declared_loss, reward_loss
from roc.policy.progress import PolicyLines, Sample, Texts
from roc.policy.sampler import GroupSampler
from roc.scoring.one_forward import to_model
from roc.training.progress import Bar
from roc.training.saved_states import FindBest, SavesStates
from roc.training.stages import make_optimizer

HOOKS: dict[str, tuple[str, ...]] = {
    "_generate_single_turn": ("prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"),
    "_calculate_rewards": ("inputs", "prompts", "completions", "completion_ids_list"),
    "_generate_and_score_completions": ("inputs",),
    "_compute_loss": ("model", "inputs"),
    "_get_train_sampler": ("dataset",),
    "create_model_card": ("model_name", "dataset_name", "tags"),
}
"""Methods of TRL's trainer that are overridden, with their parameters in the release that the extra `rl` pins."""


class Validation(Protocol):
    """What a model is validated by: `roc.training.reasoning.Generated`, or another one."""

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Measures the model; every process has to call it."""


class PolicyTrainer(SavesStates, GRPOTrainer):
    """Reinforces a model that reasons.

    Args:
        config: The settings.
        model: Carries the head and declares that it reasons; PEFT may wrap it.
        args: The same settings as TRL takes them.
        train: Records to learn from, one image each.
        collator: The model's.
        generated: Validation on what the model writes; None where nothing is validated.
        critiques: Records whose critiques have their text loss added to the policy's; empty for none.
        learning_rates: Learning rate of a part (`roc.model.parts.PARTS`) where it differs from `args.learning_rate`.
    """

    def __init__(
        self,
        *,
        config: PolicyConfig,
        model: PreTrainedModel,
        args: GRPOConfig,
        train: Sequence[Record],
        collator: RocCollator,
        generated: Validation | None = None,
        critiques: Sequence[Record] = (),
        learning_rates: Mapping[str, float] | None = None,
    ) -> None:
        processor, settings = policy_processor(collator)
        args.chat_template_kwargs = settings
        self.config, self.collator, self.generated = config, collator, generated
        own = args.per_device_train_batch_size * args.steps_per_generation
        kept = own // args.num_generations + 2  # the answers about two of them may lie partly on other processes
        self.rows = Rows(train, collator, kept=kept, pixel_limit=config.pixel_limit)
        self.learning_rates = dict(learning_rates or {})
        self.critiques = None
        if critiques:
            sizes = {"size": config.critiques_batch_size, "seed": config.seed, "pixel_limit": config.pixel_limit}
            self.critiques = Critiques(critiques, collator, **sizes)
        exact = {name: weight.data for name, weight in model.named_parameters() if weight.requires_grad}
        rewards = [_named(name) for name in config.rewards]
        dataset = make_dataset(self.rows)
        super().__init__(
            model=model,
            reward_funcs=rewards,
            args=args,
            train_dataset=dataset,
            eval_dataset=None if generated is None else dataset,  # it asks for one; `evaluate` has its own rows
            processing_class=processor,
        )
        # TRL rounds what it trains on a 4-bit base to bfloat16, the score head too.
        for name, weight in model.named_parameters():
            if name in exact:
                weight.data = exact[name]
        _complete_reference(model)
        plain = _plain(model)
        head = plain.get_output_embeddings()
        if not hasattr(head, "bias"):
            head.bias = None  # PEFT's wrapper of a head with one trained row has no such attribute, and TRL asks for it
        read_scores_too(plain, self._keep_logits)
        for stock in (ProgressCallback, PrinterCallback):
            self.remove_callback(stock)
        for callback in (PolicyLines, FindBest):
            self.add_callback(callback)
        self.add_callback(Texts(lambda: self.sample, lambda: self.callback_handler.callbacks))
        if not self.args.disable_tqdm:
            self.add_callback(Bar)
        self.sample: Sample | None = None
        self._wanted_logits = 0
        self._logits: list[torch.Tensor] = []
        self._advantages: Advantages | None = None
        self._score_labels: list[float | None] = []
        self._passes = (-1, 0)
        """The step under way, and how many forward passes of it have drawn critiques."""

    @property
    def processor_to_save(self) -> Any:
        """The processor with the padding and the template that it came with."""
        return self.collator.processor

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: Any = None
    ) -> None:
        """Writes none: TRL's would stand among the states, and `roc.checkpoint` writes that of the checkpoint."""

    def _get_train_sampler(self, dataset: Any = None) -> Sampler:
        """Deals whole groups; TRL's own sampler would deal the first epoch again after a resume."""
        records = self.rows.records
        return GroupSampler(
            [record.group for record in records],
            [record.dataset for record in records],
            pictures=self.args.generation_batch_size // self.num_generations,
            generations=self.num_generations,
            repeats=self.args.steps_per_generation * self.num_iterations,
            seed=self.args.seed,
            epoch=lambda: int((self.state.epoch or 0) + 1e-6),
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Creates the optimiser with one group per learning rate and weight decay."""
        if self.optimizer is not None or not self.learning_rates:
            return super().create_optimizer(model)
        self.optimizer = make_optimizer(self, self.model if model is None else model, self.learning_rates, {})
        return self.optimizer

    def _keep_logits(self, logits: torch.Tensor) -> None:
        """Takes the level logits of a pass without gradients, as many rows as are still wanted."""
        if self._wanted_logits > 0:
            self._wanted_logits -= len(logits)
            self._logits.append(logits)

    def _generate_single_turn(
        self,
        prompt_ids: list,
        images: list | None,
        multimodal_fields: dict,
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple:
        """Generates, and reads the head at every token while it does.

        vLLM does not run our head. There the values come from the pass that TRL makes anyway before it asks for
        rewards, to correct for the differences between the two engines.
        """
        model = self.accelerator.unwrap_model(self.model)
        with model._logging_scores() as log:
            ids, logprobs = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        self._logits, self._wanted_logits = [], 0
        if not log:
            self._wanted_logits = len(ids)
            return ids, logprobs
        token = model.declaration.token_id
        steps = torch.stack(log[-max(map(len, ids)) :], dim=1)  # (B, S, N); a long prompt may run in several chunks
        rows = torch.full((len(ids), steps.shape[2]), float("nan"), device=steps.device)
        for row, written in enumerate(ids):
            if written.count(token) == 1:
                rows[row] = steps[row, written.index(token)]
        self._logits = [rows]
        return ids, logprobs

    def _calculate_rewards(
        self, inputs: list[dict], prompts: list, completions: list, completion_ids_list: list[list[int]]
    ) -> torch.Tensor:
        """Rewards the answers of all processes together; (all rows, rewards), NaN where one does not apply."""
        answers = Answers(gather_object(self._read(inputs, completion_ids_list)))
        rewards = rewards_of(answers, self.config.rewards, published=self.config.reward_form == "published")
        columns = [[float("nan") if one is None else one for one in column] for column in rewards.values()]
        table = torch.tensor(columns, dtype=torch.float32, device=self.accelerator.device).T
        self._advantages = advantages(total_rewards(table), self.num_generations, self.config.spread_floor)
        self._score_labels = list(answers.targets_of_the_head())
        self._note(answers, rewards)
        return table

    def _read(self, inputs: list[dict], completion_ids: list[list[int]]) -> list[Answer]:
        """Reads the answers of this process: their form, and the score of those that have it."""
        model, tokenizer = self.accelerator.unwrap_model(self.model), self.collator.tokenizer
        space = model.score_space
        logits = torch.cat(self._logits)[: len(inputs)].float()
        values = space.to_unit(read_levels(logits, model.score_levels()).scores).tolist()
        answers = []
        for row, ids, value in zip(inputs, completion_ids, values, strict=True):
            record = self.rows.records[row["row"]]
            text = tokenizer.decode(ids, skip_special_tokens=True).strip()
            kind = read_answer(text, cut=ids[-1] not in self.eos_token_ids, token=model.declaration.token).kind
            if kind == GOOD and value != value:  # the mark was spelt in letters, where the head reads nothing
                kind = "no_score"
            answers.append(
                Answer(
                    value=value if kind == GOOD else None,
                    text=text,
                    kind=kind,
                    picture=record.id,
                    target=target_of(record, space),
                    dataset=record.dataset,
                    group=record.group,
                    delta=delta_of(record),
                )
            )
        return answers

    def _note(self, answers: Answers, rewards: Mapping[str, Sequence[float | None]]) -> None:
        """Adds what TRL does not log: the form of the answers, the head's error, and how flat the rewards are."""
        metrics = self._metrics["train"]
        kinds = [row.kind for row in answers.rows]
        for kind in (GOOD, *WRONG):
            name = "answers/readable" if kind == GOOD else f"answers/{kind}"
            metrics[name].append(kinds.count(kind) / len(kinds))
        if answers.errors:
            width = self.accelerator.unwrap_model(self.model).score_space.unit_width
            metrics["head_error"].append(width * sum(answers.errors) / len(answers.errors))
        if self.config.spread_floor:
            below = self._advantages.spreads < self.config.spread_floor
            metrics["frac_below_floor"].append(below.float().mean().item())
        first = answers.rows[0]
        self.sample = Sample(
            first.picture, first.text, first.value, first.target, {k: v[0] for k, v in rewards.items()}
        )

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict[str, Any]:
        """Adds what the head is to learn to a generation, and the advantages with a floor."""
        output = super()._generate_and_score_completions(inputs)
        start = self.accelerator.process_index * len(inputs)
        mine = slice(start, start + len(inputs))
        device, space = self.accelerator.device, self.accelerator.unwrap_model(self.model).score_space
        labels = [float("nan") if one is None else space.from_unit(one) for one in self._score_labels[mine]]
        # TRL shuffles and cuts these with the rest.
        output["advantages"] = self._advantages.values[mine].to(output["advantages"])
        output["score_labels"] = torch.tensor(labels, dtype=torch.float32, device=device)
        targets = self.collator.targets([self.rows.records[row["row"]] for row in inputs])
        if "score_distributions" in targets:
            output["score_distributions"] = targets["score_distributions"][:, 0].to(device)
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Computes the policy's loss, and the head's out of the same forward pass."""
        outputs: list[Any] = []

        def tapped(*args: Any, **kwargs: Any) -> Any:
            outputs.append(model(*args, **kwargs))
            return outputs[-1]

        loss = super()._compute_loss(tapped, inputs)
        head = self._head_loss(torch.cat([output.score_logits for output in outputs]), inputs)
        # With weight 0 too, since DDP waits for the gradient of what a pass has computed.
        total = loss + self.head_weight * head / self.current_gradient_accumulation_steps
        self._metrics["train"]["head_loss"].append(self.accelerator.gather(head.detach()).mean().item())
        if self.critiques is not None:
            words = self._critiques_loss(model)
            total = total + self.config.critiques_weight * words / self.current_gradient_accumulation_steps
            self._metrics["train"]["critiques_loss"].append(self.accelerator.gather(words.detach()).mean().item())
        self.note_loss(total)
        return total

    def _critiques_loss(self, model: Any) -> torch.Tensor:
        """Computes the text loss of the critiques that are drawn for this forward pass of this process."""
        step = self.state.global_step
        done = self._passes[1] if self._passes[0] == step else 0
        self._passes = (step, done + 1)
        number = step * self.args.gradient_accumulation_steps + done
        batch = self.critiques.batch(number * self.accelerator.num_processes + self.accelerator.process_index)
        return text_loss(model, to_model(self.accelerator.unwrap_model(self.model), batch))

    def _head_loss(self, logits: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        model = self.accelerator.unwrap_model(self.model)
        if self.config.head_loss == "reward":
            return reward_loss(logits, inputs["score_labels"], model.score_space)
        return declared_loss(model, logits, inputs["score_labels"], inputs.get("score_distributions"))

    @property
    def head_weight(self) -> float:
        """Weight of the head's loss in the step under way."""
        config, step = self.config, self.state.global_step
        if step % config.head_every:
            return 0.0
        if config.head_weight_end is None:
            return config.head_weight
        share = step / max(1, self.state.max_steps - 1)
        return config.head_weight + share * (config.head_weight_end - config.head_weight)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Has the model write answers to the validation rows, the likeliest token each time, and measures its scores.

        Raises:
            DivergedError: If weights or scores are no longer numbers.
        """
        self._check_weights()
        found = self.generated.measure(self.accelerator.unwrap_model(self.model))
        if any(value != value for value in found.values()):
            raise self._diverged(self.state.global_step, "validation scores are no numbers any more")
        metrics = {f"eval_{name}": value for name, value in found.items()}
        training = self.model.training
        self.model.eval()  # or TRL takes the log for one of training, and forgets what it has counted
        self.log(metrics)
        self.model.train(training)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _named(name: str) -> Any:
    """Makes what stands for a reward in TRL, which takes its name; `_calculate_rewards` computes it."""

    def reward(**columns: Any) -> list[float]:
        raise RuntimeError("rewards are computed for all processes together")

    reward.__name__ = name
    return reward


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """Gives the model inside of PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _complete_reference(model: PreTrainedModel) -> None:
    """Copies into the reference adapter what TRL leaves out: parameters whose names end with the adapter's."""
    if "ref" not in getattr(model, "peft_config", {}):
        return
    for name, weight in list(model.named_parameters()):
        if name.endswith(".default"):
            model.get_parameter(f"{name.removesuffix('.default')}.ref").data.copy_(weight.data)
