"""The objective with its two terms: TRL's own loss under our settings, the head's, and both against the vectors."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")

from accelerate import Accelerator  # noqa: E402
from policy_runs import settings  # noqa: E402

from roc.policy.job import policy_arguments  # noqa: E402
from roc.policy.joint import minus_reward, reward_loss  # noqa: E402
from roc.policy.trainer import PolicyTrainer  # noqa: E402
from roc.score_space import ScoreSpace  # noqa: E402


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return policy_arguments(settings("m", "d", tmp_path_factory.mktemp("out"), max_steps=-1))


def stub(arguments, head_loss=lambda *_: torch.zeros(()), head_weight=0.0, **changes):
    """Makes a trainer that has the settings of the published recipe and log-probabilities for a model."""
    trainer = object.__new__(PolicyTrainer)
    own = {
        "args": arguments, "beta": arguments.beta, "loss_type": "grpo", "epsilon_low": 0.2, "epsilon_high": 0.28,
        "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "importance_sampling_level": "token",
        "use_vllm": False, "_entropy_bonus_enabled": False, "aux_loss_enabled": False, "tools": None,
        "current_gradient_accumulation_steps": 1, "accelerator": Accelerator(cpu=True),
        "model": SimpleNamespace(training=True), "_metrics": {"train": defaultdict(list)},
        "config": SimpleNamespace(head_every=1, head_weight=head_weight, head_weight_end=None),
        "state": SimpleNamespace(global_step=0, max_steps=1), "_head_loss": head_loss, "critiques": None,
    }  # fmt: skip
    vars(trainer).update(own | changes)

    def logps(model, *args, **kwargs):
        output = model()
        return output.log_probs, torch.zeros_like(output.log_probs), None

    vars(trainer)["_get_per_token_logps_and_entropies"] = logps
    return trainer


def loss_of(trainer, log_probs, advantages, mask=None, score_logits=None, **inputs):
    log_probs = torch.as_tensor(log_probs)
    ids = torch.ones_like(log_probs, dtype=torch.long)
    logits = torch.zeros(len(log_probs), 2) if score_logits is None else score_logits
    batch = {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids,
        "completion_mask": ids if mask is None else mask, "advantages": torch.as_tensor(advantages),
        "num_items_in_batch": (ids if mask is None else mask).sum(), **inputs,
    }  # fmt: skip
    return trainer._compute_loss(lambda: SimpleNamespace(log_probs=log_probs, score_logits=logits), batch)


@pytest.mark.parametrize("name", ["aes.grpo.pos", "aes.grpo.neg"])
def test_the_policy_loss_of_the_paper(vectors, arguments, name):
    given, expected = vectors[name]["inputs"], vectors[name]["expected"]
    columns = {key: torch.tensor([given[key]], dtype=torch.float64) for key in ("lp", "lp_old", "lp_ref")}
    for token in range(3):
        mask = torch.zeros(1, 3, dtype=torch.long)
        mask[0, token] = 1
        trainer = stub(arguments)
        old = {"old_per_token_logps": columns["lp_old"], "ref_per_token_logps": columns["lp_ref"]}
        advantages = torch.tensor([given["A"]], dtype=torch.float64)
        loss = loss_of(trainer, columns["lp"], advantages, mask, **old)
        assert loss.item() == pytest.approx(expected["token_loss"][token], abs=1e-6)
        assert trainer._metrics["train"]["kl"] == pytest.approx([expected["kl"][token]], abs=1e-6)


@pytest.mark.parametrize("name", ["aes.reduce", "aes.reduce.equal"])
def test_losses_are_reduced_as_published(vectors, arguments, name):
    rows = vectors[name]["inputs"]["losses"]
    width = max(map(len, rows))
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    advantages = -torch.tensor([row + [0.0] * (width - len(row)) for row in rows])  # (B, T): at ratio 1, minus the loss
    for loss_type, key in (("grpo", "sequence_mean"), ("dapo", "token_mean")):
        trainer = stub(arguments, loss_type=loss_type, beta=0.0)
        found = loss_of(trainer, torch.zeros(mask.shape), advantages, mask)
        assert found.item() == pytest.approx(vectors[name]["expected"][key], abs=1e-6)


@pytest.mark.parametrize("name", ["aes.entropy.a", "aes.entropy.b"])
def test_the_entropy_that_is_logged(vectors, name):
    from trl.trainer.utils import _ChunkedLogProbFunction

    logits = torch.tensor(vectors[name]["inputs"]["logits"], dtype=torch.float64)
    labels, eye = torch.zeros(len(logits), dtype=torch.long), torch.eye(3, dtype=torch.float64)
    found = _ChunkedLogProbFunction.apply(logits, eye, None, labels, 1.0, 1024, None, 1.0, ("log_probs", "entropy"))[1]
    assert found.mean().item() == pytest.approx(vectors[name]["expected"], abs=1e-6)


@pytest.mark.parametrize("name", ["glue.joint_gradient.a", "glue.joint_gradient.b"])
def test_the_gradient_of_the_joint_objective(vectors, arguments, name):
    """Two critiques, each with its value: the expected gradient of our loss is minus that of J, in both parameters."""
    given, expected = vectors[name]["inputs"], vectors[name]["expected"]
    policy = torch.tensor(given["policy_logits"], dtype=torch.float64, requires_grad=True)
    head = torch.tensor(given["w"], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([given["s"]], dtype=torch.float64)
    gradients, objective = torch.zeros(2, dtype=torch.float64), 0.0
    for critique, x in enumerate(given["x"]):
        log_prob = policy.log_softmax(dim=0)[critique].view(1, 1)
        reward = -minus_reward(head * torch.tensor([x]), target, sigma=given["sigma"])

        def term(logits, inputs, x=x):
            return minus_reward(head * torch.tensor([x]), target, sigma=given["sigma"])

        trainer = stub(arguments, term, head_weight=1.0, beta=0.0)
        loss = loss_of(trainer, log_prob, reward.detach().view(1))
        found = torch.autograd.grad(loss, [policy, head], retain_graph=True)
        chance = log_prob.exp().item()
        gradients += chance * torch.stack([found[0][0], found[1]])
        objective += chance * reward.item()
    assert objective == pytest.approx(expected["J"], abs=1e-5)
    assert (-gradients).tolist() == pytest.approx([expected["d_policy"], expected["d_head"]], abs=1e-5)


def test_the_slope_of_the_error_reward(vectors):
    given = vectors["aes.abs.grad"]["inputs"]
    value = torch.tensor([given["o"]], dtype=torch.float64, requires_grad=True)
    minus_reward(value, torch.tensor([given["s"]], dtype=torch.float64), sigma=given["sigma"]).backward()
    assert -value.grad.item() == pytest.approx(vectors["aes.abs.grad"]["expected"], rel=1e-6)


def test_the_head_has_a_weight_of_its_own_and_shares_the_accumulation(arguments):
    trainer = stub(arguments, lambda *_: torch.tensor(3.0), head_weight=0.5, current_gradient_accumulation_steps=2)
    trainer.beta = 0.0
    found = loss_of(trainer, torch.zeros(1, 2), torch.tensor([1.0]))
    assert found.item() == pytest.approx((-1.0 + 0.5 * 3.0) / 2)
    assert trainer._metrics["train"]["head_loss"] == [3.0]


def test_the_weight_of_the_head_falls_evenly_and_pauses(arguments):
    trainer = stub(arguments)
    trainer.config = SimpleNamespace(head_every=2, head_weight=0.4, head_weight_end=0.0)
    trainer.state.max_steps = 5
    found = []
    for step in range(5):
        trainer.state.global_step = step
        found.append(trainer.head_weight)
    assert found == pytest.approx([0.4, 0.0, 0.2, 0.0, 0.0])


def test_minus_the_error_reward_can_be_the_heads_loss():
    """Half 4, half 5 on 1..10 is 3.5 / 9; the label lies 0.9 of 9 above. Unread and unrated rows count as nothing."""
    logits = torch.full((3, 10), -1e4)
    logits[:, 3:5] = 0.0
    logits[1] = float("nan")
    logits.requires_grad_()
    labels, space = torch.tensor([5.4, 5.4, float("nan")]), ScoreSpace(1, 10, 10)
    expected = -torch.tensor(-0.5).exp().item() / 3
    assert reward_loss(logits, labels, space).item() == pytest.approx(expected, abs=1e-6)

    trainer = object.__new__(PolicyTrainer)
    model = SimpleNamespace(score_space=space)
    accelerator = SimpleNamespace(unwrap_model=lambda model: model)
    vars(trainer).update(model=model, accelerator=accelerator, config=SimpleNamespace(head_loss="reward"))
    loss = trainer._head_loss(logits, {"score_labels": labels})
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    # Moving probability from 4 to 5 raises the value towards the label; rows that do not count have no slope.
    assert logits.grad[0, 4] < 0 < logits.grad[0, 3] and not logits.grad[1:].any()
