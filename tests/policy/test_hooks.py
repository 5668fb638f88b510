"""What the room leans on inside of TRL: a new release that changes it is named here."""

import inspect

import pytest

trl = pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")

from roc.policy.fused import ScoredOutput, read_scores_too  # noqa: E402
from roc.policy.trainer import HOOKS, PolicyTrainer  # noqa: E402


@pytest.fixture(scope="module")
def source():
    return inspect.getsource(trl.GRPOTrainer)


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_an_overridden_method_has_the_parameters_it_had(hook):
    stock = getattr(trl.GRPOTrainer, hook, None)
    assert stock is not None, f"trl {trl.__version__}: GRPOTrainer.{hook} is gone"
    found = tuple(inspect.signature(stock).parameters)[1:]
    assert found == HOOKS[hook], f"trl {trl.__version__}: GRPOTrainer.{hook} has the parameters {found} now"


def test_every_override_of_trl_is_watched():
    own = {name for name, value in vars(PolicyTrainer).items() if callable(value) and not name.startswith("__")}
    of_trl = {
        name for name in own if any(name in vars(cls) for cls in trl.GRPOTrainer.__mro__ if "trl" in cls.__module__)
    }
    assert of_trl == set(HOOKS)


@pytest.mark.parametrize(
    "name",
    [
        'self._metrics[mode]["',
        "self._step %",
        "self.current_gradient_accumulation_steps",
        "self.eos_token_ids",
        "suppress_tokens",
        'model.add_adapter("ref"',
        "outputs = model(**model_inputs, labels=labels, fused_lm_head=True)",
    ],
)
def test_what_else_is_relied_on_stands_in_the_source(name, source):
    assert name in source, f"trl {trl.__version__}: {name!r} is no longer in GRPOTrainer"


def test_the_fused_forward_is_where_it_was():
    from trl.trainer import utils

    assert tuple(inspect.signature(utils.add_fused_lm_head).parameters)[0] == "model"
    assert issubclass(ScoredOutput, utils.FusedCausalLMOutput) and callable(read_scores_too)
    assert "getattr(self, backbone_attr)(*args, **kwargs)" in inspect.getsource(utils.add_fused_lm_head)
