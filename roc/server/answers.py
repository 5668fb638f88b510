"""The bodies of answers: what was found for the images of a request, in the form of each route."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from roc.model.declaration import Declaration
from roc.model.scales import DataScale
from roc.score_space import REWARD_SCALES, ScoreSpace, range_in, ranges_text
from roc.scoring.ranking import rank
from roc.scoring.results import COMPARISONS, Score, combined, variances
from roc.scoring.scales import score_on_scale
from roc.server.errors import Refusal
from roc.server.options import Limits
from roc.server.uploads import Order, Upload

Found = list[dict[str, Any]]
"""For each image `{"scores": ..., "text": ..., "answers": ...}` or `{"error": {"code", "message"}}`."""


def check_attributes(order: Order, facts: dict[str, Any]) -> None:
    """Refuses attributes that the model does not score.

    Raises:
        Refusal: 422.
    """
    unknown = [name for name in order.attributes or () if name not in facts["attributes"]]
    if unknown:
        asked = ", ".join(repr(name[:80].encode("utf-8", "replace").decode()) for name in unknown[:5])
        known = ", ".join(facts["attributes"])
        raise Refusal(422, "unknown_attribute", f"asked for {asked}; this model scores {known}")


def check_scale(order: Order, facts: dict[str, Any]) -> None:
    """Refuses scales of data sets, and rewards by a reference, that the model has not.

    Raises:
        Refusal: 422.
    """
    if order.data_set is not None:
        _data_scale(facts, order)
    attribute = order.attributes[0] if order.attributes else facts["attributes"][0]
    known = facts.get("reference", {}).get("attributes", [])
    if order.scale in ("percentile", "reference") and attribute not in known:
        raise Refusal(
            422,
            "no_reference",
            f"scale is {order.scale!r}, but this model has no reference for {attribute}; ask for unit or native, or "
            "make one with `roc reference` and start the server again",
        )


def _data_scale(facts: dict[str, Any], order: Order) -> DataScale:
    try:
        return Declaration.from_dict(facts["declaration"]).scale(order.data_set, f"the model {facts['id']}")
    except ValueError as error:
        # Only rewards are asked for on the native scale by name.
        others = f"; other scales of rewards are {', '.join(REWARD_SCALES)}" if order.scale == "native" else ""
        raise Refusal(422, "unknown_scale", f"{error}{others}") from None


def _on_scale(facts: dict[str, Any], order: Order, found: Found) -> tuple[dict[str, Any], Found]:
    """Moves scores onto the scale of the data set that is asked for; gives the facts of a model on that scale."""
    if order.data_set is None:
        return facts, found
    scale, count = _data_scale(facts, order), len(facts["levels"])
    low, high = scale.range
    levels = list(ScoreSpace(low, high, count).levels)
    moved = {"min_score": low, "max_score": high, "levels": levels, "attribute_ranges": {}, "scale": scale.name}
    kept = {name: value for name, value in facts.items() if name not in ("coverage", "unit")}
    shared = {name: ScoreSpace(*range_in(facts, name), count) for name in facts["attributes"]}

    def move(name: str, score: dict[str, Any] | None) -> dict[str, Any] | None:
        if score is None:
            return None
        space = shared[name]
        own = Score(**score, levels=space.levels, range=space.range, calibrated=facts["calibrated"])
        read = score_on_scale(own, scale, name)
        return {"value": read.value, "std": read.std, "distribution": list(read.distribution)} | read.comparisons()

    return kept | moved, [
        one if "error" in one else one | {"scores": {name: move(name, score) for name, score in one["scores"].items()}}
        for one in found
    ]


def check_samples(order: Order, facts: dict[str, Any]) -> None:
    """Refuses several answers of a model that does not reason.

    Raises:
        Refusal: 422.
    """
    if order.samples > 1 and not facts["reasons"]:
        raise Refusal(
            422,
            "invalid_request",
            f"samples is {order.samples}, but this model does not reason: it writes the same sentence each time; leave "
            "samples out",
        )


def check_comparison(order: Order, facts: dict[str, Any]) -> None:
    """Refuses comparisons of a model that was not taught to compare.

    Raises:
        Refusal: 422.
    """
    if order.compare and facts["comparison"] is None:
        raise Refusal(
            422,
            "no_comparison",
            "compare is true, but this model was not taught to compare two pictures in one question; leave compare out "
            "(describe says why in words about each picture), or serve a checkpoint that `roc relative train` has "
            "taught on pairs",
        )


def combine(facts: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Combines several answers about one image into one, as `Assessment.describe(samples=K)` does.

    Args:
        facts: Of the model, which has one attribute.
        rows: What the model's process gave for each answer, none with an error.
    """
    (name,) = facts["attributes"]
    scale = (facts["min_score"], facts["max_score"])
    good = [
        (row, Score(**row["scores"][name], levels=facts["levels"], range=scale, calibrated=facts["calibrated"]))
        for row in rows
        if row["scores"][name] is not None
    ]
    both = combined([score for _, score in good])
    within, between = variances([score for _, score in good]) if good else (None, None)
    return {
        "scores": {
            name: None
            if both is None
            else {"value": both.value, "std": both.std, "distribution": list(both.distribution)}
        },
        "text": (good[0][0] if good else rows[0])["text"],
        "answers": [answer for row in rows for answer in row["answers"]],
        "variance": None if both is None else {"within": within, "between": between},
    }


def model_data(facts: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Builds the entry of `/v1/models`."""
    kept = ("id", "min_score", "max_score", "levels", "attributes", "calibrated", "reasons")
    model = (
        {name: facts[name] for name in kept} | _about(facts) | {"attribute_ranges": facts.get("attribute_ranges", {})}
    )
    names = ("images", "bytes_per_image", "bytes_per_request", "pixels", "pixels_per_request")
    allowed = {name: getattr(limits, name) for name in names}
    return {**model, "num_levels": len(facts["levels"]), "limits": allowed, "describe": True} | {
        "reasons": facts["reasons"],
        "compares": facts["comparison"] is not None,
        "personal": facts.get("personal") is not None,
        "scales": facts.get("scales", []),
    }


def model_entry(facts: dict[str, Any]) -> dict[str, Any]:
    """Builds the entry of `/v1/models` in the form that decision clients read; undated where no file says when."""
    scales = ranges_text(facts, facts["attributes"])
    dated = {"release_date": facts["saved"]} if "saved" in facts else {}
    return {"name": facts["id"], "description": f"scores images: {scales}", **dated}


def put_scores(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """Builds the answer of `/v1/score`.

    Raises:
        Refusal: If no image could be used.
    """
    if all("error" in one for one in found):
        raise unusable(order.images, found)
    wanted = list(dict.fromkeys(order.attributes or facts["attributes"]))
    facts, found = _on_scale(facts, order, found)
    return {
        **_scale(facts, wanted),
        "attributes": wanted,
        "results": [_result(*both, wanted, order.distribution) for both in zip(order.images, found, strict=True)],
    }


def put_features(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """Builds the answer of `/v1/features`.

    Raises:
        Refusal: If no image could be used.
    """
    if all("error" in one for one in found):
        raise unusable(order.images, found)
    results = [{"image": image.name, **one} for image, one in zip(order.images, found, strict=True)]
    return {"scorer": facts["scorer"], "attribute": facts["attributes"][0], "results": results}


def put_scores_and_texts(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """Builds the answer of `/v1/describe`.

    Raises:
        Refusal: If no image could be used.
    """
    answer = put_scores(facts, order, found)
    for result, one in zip(answer["results"], found, strict=True):
        result |= {
            "text": one.get("text"),
            "answers": one.get("answers") or None,
            "variance": one.get("variance"),
        }
    return answer


def put_ranks(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """Builds the answer of `/v1/rank`.

    Raises:
        Refusal: If an image has no score.
    """
    attribute = order.attributes[0] if order.attributes else facts["attributes"][0]
    if any("error" in one for one in found):
        raise unusable(order.images, found)
    scores = [one["scores"][attribute] for one in found]
    missing = [image.name for image, score in zip(order.images, scores, strict=True) if score is None]
    if missing:
        raise Refusal(422, "unscored", f"{missing[0]}: the model gave no score for {attribute}; leave this image out")
    best, wins = rank([score["value"] for score in scores], [score["std"] for score in scores])
    facts, found = _on_scale(facts, order, found)
    results = [_result(*both, [attribute], False) for both in zip(order.images, found, strict=True)]
    if order.describe:
        results = [result | {"text": one.get("text")} for result, one in zip(results, found, strict=True)]
    return {
        **_scale(_of_attribute(facts, attribute), [attribute]),
        "attribute": attribute,
        "order": best,
        "win_probability": wins,
        "results": results,
    }


def neighbours(order: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs each image of a ranking with the one behind it.

    Args:
        order: Indices of the images, best first.

    Returns:
        (worse, better) of each two, the best two first.
    """
    return [(worse, better) for better, worse in itertools.pairwise(order)]


def put_comparisons(facts: dict[str, Any], order: Sequence[int], found: Found) -> dict[str, Any]:
    """Builds the part of the answer of `/v1/rank` that says what the model finds of neighbours.

    Args:
        facts: Of the model.
        order: Indices of the images, best first.
        found: For each of `neighbours` what `Service.compare` gives.
    """
    none = dict.fromkeys(("change", "std", "distribution", "why", "kind", "error"))
    return {
        "change_range": facts["comparison"]["range"],
        "comparisons": [
            {"better": better, "worse": worse, **none, **one}
            for (worse, better), one in zip(neighbours(order), found, strict=True)
        ],
    }


def put_rewards(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """Builds the answer of `/v1/reward`."""
    attribute = order.attributes[0] if order.attributes else facts["attributes"][0]
    facts, found = _on_scale(facts, order, found)
    lowest, highest = range_in(facts, attribute)
    span = highest - lowest
    scores = [one["scores"][attribute] if "error" not in one else None for one in found]
    key = {"percentile": "percentile", "reference": "reward"}.get(order.scale, "value")
    values = [None if score is None else score.get(key) for score in scores]
    if order.scale == "unit":
        values = [None if value is None else min(1.0, max(0.0, (value - lowest) / span)) for value in values]
    return {
        "model": facts["id"],
        **_about(facts),
        "attribute": attribute,
        "scale": order.data_set or order.scale,
        "range": {"native": [lowest, highest], "percentile": [0.0, 100.0]}.get(order.scale, [0.0, 1.0]),
        "rewards": values,
        "errors": [one.get("error") for one in found],
    }


def _scale(facts: dict[str, Any], attributes: Sequence[str]) -> dict[str, Any]:
    scale = {name: facts[name] for name in ("min_score", "max_score", "levels", "calibrated")}
    own = {name: ends for name, ends in facts.get("attribute_ranges", {}).items() if name in attributes}
    asked = {"scale": facts["scale"]} if "scale" in facts else {}
    return {"model": facts["id"], **_about(facts), **scale, "attribute_ranges": own, **asked}


def _about(facts: dict[str, Any]) -> dict[str, Any]:
    """Gives the version of the scorer, what its intervals hold, its unit and its reference, as far as it has them."""
    return {name: facts[name] for name in ("scorer", "coverage", "unit", "reference") if name in facts}


def _of_attribute(facts: dict[str, Any], attribute: str) -> dict[str, Any]:
    """Gives the facts of a model that has this attribute alone, with its range as the only one."""
    low, high = range_in(facts, attribute)
    space = ScoreSpace(low, high, len(facts["levels"]))
    common = (facts["min_score"], facts["max_score"]) == space.range
    levels = facts["levels"] if common else list(space.levels)
    return facts | {"min_score": low, "max_score": high, "levels": levels, "attribute_ranges": {}}


def _result(image: Upload, one: dict[str, Any], wanted: Sequence[str], distribution: bool) -> dict[str, Any]:
    if "error" in one:
        return {"name": image.name, "scores": None, "error": one["error"]}
    scores: dict[str, Any] = {}
    for name in wanted:
        score = one["scores"][name]
        kept = ("value", "std", *(["distribution"] if distribution else []), *COMPARISONS)
        scores[name] = None if score is None else {key: score[key] for key in kept if key in score}
    return {"name": image.name, "scores": scores, "error": None}


def unusable(images: Sequence[Upload], found: Found) -> Refusal:
    """Builds the refusal that names the images which cannot be used."""
    details = [
        {"index": i, "name": image.name, **one["error"]}
        for i, (image, one) in enumerate(zip(images, found, strict=True))
        if "error" in one
    ]
    first = details[0]
    codes = {detail["code"] for detail in details}
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    status = 413 if codes == {"too_large"} else 422
    return Refusal(status, first["code"], f"{first['name']}: {first['message']}{more}", details)
