"""What differs between model families and cannot be asked of the model, its processor or its chat template.

One row a family, keyed by `config.model_type`. A family without a row gets the default row, which is right wherever the
answer is read causally and the processor ships a chat template. Most rows say nothing: they stand here because
`scripts/check_families.py` checks them, and to show that nothing had to be said.
"""

from __future__ import annotations

import dataclasses

# The prompt goes to the processor as it stands: it puts <bos> between image and question and a line feed behind them.
_PALIGEMMA_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


# Where vLLM builds the language model as a part of the whole, not as a registered model.
_SCORE_AT_TOP = "score.weight"


@dataclasses.dataclass(frozen=True)
class Family:
    """Facts about one family.

    Attributes:
        prefix_lm: whether the model reads the prompt in both directions and only the answer causally, told apart by
            `token_type_ids` (0 and 1). Such a model takes one question and one answer, no conversation.
        chat_template: Jinja template for a processor that ships none; None = the processor has its own.
        vllm_score: name under which vLLM (0.32 and 0.33) looks for a classifier's weight: at the language model where
            that is a registered model of its own, else at the top.
        reason: why the row says so; empty where it says nothing.
    """

    prefix_lm: bool = False
    chat_template: str | None = None
    vllm_score: str = "language_model.score.weight"
    reason: str = ""


FAMILIES: dict[str, Family] = {
    "gemma3": Family(),
    "idefics3": Family(vllm_score=_SCORE_AT_TOP),
    "internvl": Family(),
    "llava": Family(),
    "llava_next": Family(),
    "llava_onevision": Family(),
    "mistral3": Family(),
    "paligemma": Family(
        prefix_lm=True,
        chat_template=_PALIGEMMA_TEMPLATE,
        reason="a prefix-LM: answer tokens left at token type 0 would be read in both directions when scoring, but "
        "causally when generating, and the scores would differ; and a captioning model, shipped without a template",
    ),
    "qwen2_5_vl": Family(),
    "qwen2_vl": Family(),
    "qwen3_5": Family(vllm_score=_SCORE_AT_TOP),
    "qwen3_vl": Family(vllm_score=_SCORE_AT_TOP),
    "smolvlm": Family(vllm_score=_SCORE_AT_TOP),
}


def family(model_type: str) -> Family:
    """The row of a model type, or the default row where nothing is known to differ."""
    return FAMILIES.get(model_type, Family())
