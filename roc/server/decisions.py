"""The answers to decision clients: the model's distribution over the levels that were asked for.

The levels of a question are spread evenly over the native range, the first at its lower end. Each level of the model
gives its probability to the two levels beside it, in proportion to how near they are, so the expectation stays what it
was: `score` is the native score on 0..n-1. With as many levels as the model has, probabilities are the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roc.score_space import range_in
from roc.server.answers import Found, unusable
from roc.server.errors import Refusal
from roc.server.questions import DecisionOrder, Question

ROUTES = ("/v1/systemone", "/v1/decisions")


def spread_over(distribution: Sequence[float], count: int) -> list[float]:
    """Moves a distribution onto another number of levels over the same range; its expectation stays.

    Args:
        distribution: (N,) probabilities of evenly spread levels.
        count: n, at least 2.

    Returns:
        (n,) probabilities, which add up to 1.
    """
    shares = [0.0] * count
    step = (count - 1) / (len(distribution) - 1)
    for place, probability in enumerate(distribution):
        below = min(int(place * step), count - 2)
        upper = min(1.0, max(0.0, place * step - below))
        shares[below] += probability * (1 - upper)
        shares[below + 1] += probability * upper
    total = sum(shares)
    return [share / total for share in shares]


def confidence(probabilities: Sequence[float]) -> float:
    """Computes how sure a score is, as TypeSafe documents it: 1 minus the mean distance to the likeliest level.

    Args:
        probabilities: (n,) of ordered levels, n at least 2.

    Returns:
        0..1; the distance is divided by that of a uniform distribution to the middle.
    """
    count = len(probabilities)
    mode = max(range(count), key=probabilities.__getitem__)
    uniform = sum(abs(i - (count - 1) / 2) for i in range(count)) / count
    return max(0.0, 1 - sum(p * abs(i - mode) for i, p in enumerate(probabilities)) / uniform)


def attribute_of(question: Question, facts: dict[str, Any]) -> str:
    """Chooses the score that a question asks for: `x_attribute`, else what the instructions name, else the first."""
    if question.attribute is not None:
        return question.attribute
    words = (question.words or "").strip().lower()
    return next((name for name in facts["attributes"] if name.lower() == words), facts["attributes"][0])


def put_decisions(facts: dict[str, Any], order: DecisionOrder, found: Found) -> dict[str, Any]:
    """Builds the answer of `/v1/systemone` and `/v1/decisions`.

    Raises:
        Refusal: An image cannot be used, or got no score.
    """
    if any("error" in one for one in found):
        raise unusable(order.images, found)
    answers = [_answer(facts, order, one, found[one.image]) for one in order.questions]
    tokens = sum(one["tokens"] for one in found)
    usage: dict[str, Any] = {"input_tokens": tokens, "output_tokens": 0}
    if order.named:
        listed: Any = {question.name: answer for question, answer in zip(order.questions, answers, strict=True)}
    else:
        listed = answers
        usage |= {
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens,
        }
    about = {f"x_{name}": facts[name] for name in ("scorer", "calibrated", "coverage", "unit") if name in facts}
    return {"model": facts["id"], "answers": listed, "usage": usage, **about}


def _answer(facts: dict[str, Any], order: DecisionOrder, question: Question, found: dict[str, Any]) -> dict[str, Any]:
    name = attribute_of(question, facts)
    score = found["scores"][name]
    if score is None:
        raise Refusal(422, "unscored", f"{order.images[question.image].name}: the model gave no score for {name}")
    shares = spread_over(score["distribution"], len(question.levels))
    value = sum(i * share for i, share in enumerate(shares))
    answer: dict[str, Any] = {"type": "score", "score": value, "confidence": confidence(shares)}
    if order.named:
        answer["legend"] = {str(i): level for i, level in enumerate(question.levels)}
        answer["probabilities"] = {str(i): share for i, share in enumerate(shares)}
    else:
        pairs = zip(question.levels, shares, strict=True)
        answer["name"] = question.name
        answer["probabilities"] = [
            {"label": level["label"], "value": i, "probability": share} for i, (level, share) in enumerate(pairs)
        ]
    low, high = range_in(facts, name)
    answer |= {"x_attribute": name, "x_score": score["value"], "x_std": score["std"], "x_range": [low, high]}
    if score.get("low") is not None:
        answer["x_interval"] = [score["low"], score["high"]]
    if score.get("percentile") is not None:
        answer["x_percentile"] = score["percentile"]
    return answer


def detail(refusal: Refusal) -> list[dict[str, Any]] | dict[str, str]:
    """Gives what decision clients expect in an error: a list of what is invalid, or a type and a message."""
    if refusal.status == 422:
        faults = refusal.details or [{"where": "body", "message": refusal.message}]
        return [
            {
                "loc": ["body", *(part for part in str(fault.get("where", "")).split(".") if part not in ("", "body"))],
                "msg": fault["message"],
                "type": refusal.code,
            }
            for fault in faults
        ]
    kind = {401: "authentication_error"}.get(refusal.status, refusal.code)
    return {"error_type": kind, "message": refusal.message}
