"""Facts about model families that cannot be read off the model, its processor or its chat template.

There is one row per family, keyed by `config.model_type`. A family without a row gets the default row, which is right
if answers are read causally and the processor has a chat template. Most rows are empty; they are here because
`scripts/check_families.py` checks these families.
"""

from __future__ import annotations

import dataclasses

# The processor itself puts <bos> between image and question and a line feed after the question.
_PALIGEMMA_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


# For families whose language model vLLM builds as a part of the whole, not as a registered model.
_SCORE_AT_TOP = "score.weight"


@dataclasses.dataclass(frozen=True)
class Family:
    """Facts about one family.

    Attributes:
        prefix_lm: Whether attention is bidirectional in the prompt and causal only in the answer, distinguished by
            `token_type_ids` (0 and 1). Such a model takes one question and one answer, no conversation.
        chat_template: Jinja template for a processor without one; None = the processor has its own.
        vllm_score: Name under which vLLM (0.32 and 0.33) looks for a classifier's weight: at the language model if that
            is a registered model of its own, else at the top.
        one_size: Whether a picture's score changes with pictures of other sizes in its batch, because the processor
            pads all to the largest and the vision tower sees the padding. They are scored in batches of their own.
        reason: Why the row differs from the default.
    """

    prefix_lm: bool = False
    chat_template: str | None = None
    vllm_score: str = "language_model.score.weight"
    one_size: bool = False
    reason: str = ""


FAMILIES: dict[str, Family] = {
    "emu3": Family(
        one_size=True,
        reason="its encoder convolves and normalises over the whole padded picture, and cuts the padding off behind it",
    ),
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
        reason="a prefix-LM: answer tokens of token type 0 would be attended to in both directions when scoring, but "
        "causally when generating, and the scores would differ; also a captioning model without a chat template",
    ),
    "qwen2_5_vl": Family(),
    "qwen2_vl": Family(),
    "qwen3_5": Family(vllm_score=_SCORE_AT_TOP),
    "qwen3_vl": Family(vllm_score=_SCORE_AT_TOP),
    "smolvlm": Family(vllm_score=_SCORE_AT_TOP),
}


def family(model_type: str) -> Family:
    """Returns the row of a model type, or the default row."""
    return FAMILIES.get(model_type, Family())
