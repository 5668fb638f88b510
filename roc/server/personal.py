"""One's own taste over HTTP: the page sends features and opinions, and gets a ranking, questions and the head.

Nothing is kept here between requests: `/v1/features` gives what the model reads of photos as text, and the client sends
it back with its ratings or pairs to `/v1/personalize`. One fit runs at a time, in a thread.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from roc.data.counts import counted
from roc.server.embedded import Image
from roc.server.errors import Refusal, unavailable
from roc.server.options import Limits

if TYPE_CHECKING:
    from roc.personal.features import Features
    from roc.personal.opinions import Opinions

MOST_PHOTOS, MOST_PAIRS, MOST_QUESTIONS, MOST_WAITING = 256, 512, 16, 4


class PersonalRequest(BaseModel):
    """Body of `/v1/personalize`."""

    features: list[str] = Field(min_length=2, max_length=MOST_PHOTOS, description="as /v1/features gave them")
    ratings: list[Annotated[float, Field(allow_inf_nan=False)] | None] | None = Field(
        default=None, description="one's own rating of each photo, on any scale, higher is better; null = not rated"
    )
    pairs: list[tuple[int, int, float]] = Field(
        default=[],
        max_length=MOST_PAIRS,
        description="in place of ratings: places of two photos, then 1 where the second is better, 0 where the first "
        "is, 0.5 for a tie",
    )
    questions: int = Field(default=1, ge=0, le=MOST_QUESTIONS, description="how many pairs to ask about next")
    check: bool = Field(default=False, description="whether to compare with the general score on held-out photos")

    model_config = ConfigDict(extra="forbid")


class PersonalAnswer(BaseModel):
    """Answer of `/v1/personalize`."""

    scorer: str = Field(description="name and version of what gives the general score")
    general: list[float] = Field(description="the general score of each photo")
    personal: list[float] = Field(description="the score moved towards these opinions")
    questions: list[tuple[int, int, float]] = Field(
        description="pairs that it is least sure of, and the probability that the second is better"
    )
    verdict: dict[str, Any] | None = Field(
        description="personal against general on held-out photos; null = not asked for"
    )
    head: dict[str, Any] | None = Field(
        description="the content of the head's file, a checkpoint for roc on the server's machine; null where it does "
        "not help"
    )


def personal_limits(limits: Limits) -> Limits:
    """Gives the limits of a body: features of a wide model are as long as images, and there may be more of them."""
    count = max(limits.images, MOST_PHOTOS)
    return replace(limits, images=count, queue=max(limits.queue, count))


class Personal:
    """Answers the requests, one at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def answer(
        self, facts: dict[str, Any], checkpoint: str, asked: PersonalRequest, long: Mapping[str, Image]
    ) -> dict[str, Any]:
        """Fits a head.

        Args:
            facts: Of the model.
            checkpoint: Its name, which the head will carry.
            asked: The request.
            long: Long texts of its body by their placeholders, decoded already.

        Raises:
            Refusal: 422 for what cannot be used, 503 if too many wait.
        """
        if facts.get("personal") is None:
            raise _invalid(
                "this model can have no personal head: it is one, or is held in 8 bits; serve its checkpoint "
                "in another --dtype"
            )
        features = _features(facts, asked.features, long)
        rows, opinions = _opinions(asked, len(asked.features))
        if self._waiting >= MOST_WAITING:
            raise unavailable("other heads are being fitted", code="busy", retry_after=5)
        self._waiting += 1
        try:
            async with self._lock:
                return await asyncio.to_thread(_answer, facts, checkpoint, asked, features, rows, opinions)
        finally:
            self._waiting -= 1


def _answer(
    facts: dict[str, Any],
    checkpoint: str,
    asked: PersonalRequest,
    features: Features,
    rows: Sequence[int],
    opinions: Opinions | None,
) -> dict[str, Any]:
    from roc.personal.asking import least_sure
    from roc.personal.fit import Flat, fit
    from roc.personal.options import FEWEST
    from roc.personal.validation import validate

    mine = features.of(list(rows))
    known = {frozenset(pair[:2]) for pair in asked.pairs}
    try:
        head = None if opinions is None else fit(mine, opinions)
        personal = features.scores() if head is None else head.scores(features)
        # Of ratings, the questions are about all photos, and what is known of them about the rated ones.
        whole = opinions if len(rows) == len(features) else None
        questions = least_sure(features, whole, head, known, asked.questions) if asked.questions else []
        verdict = None
        if asked.check:
            if _decided(asked) < FEWEST:
                raise _invalid(f"{_decided(asked)} ratings or decided pairs came; a check needs at least {FEWEST}")
            if opinions is None:
                raise _invalid("all ratings are the same, so they say nothing about which photo is better")
            verdict = validate(mine, opinions)
    except Flat as error:
        raise _invalid(f"{error}; send photos that differ") from error
    helps = verdict is not None and verdict.helps
    return {
        "scorer": facts["scorer"],
        "general": features.scores().tolist(),
        "personal": personal.tolist(),
        "questions": [list(one) for one in questions],
        "verdict": None if verdict is None else {**verdict._asdict(), "helps": helps},
        "head": _head(facts, checkpoint, asked, head, verdict, len(rows)) if helps else None,
    }


def _head(
    facts: dict[str, Any], checkpoint: str, asked: PersonalRequest, head: Any, verdict: Any, photos: int
) -> dict[str, Any]:
    from roc.model.personal import KIND

    opinions = asked.model_dump_json(include={"ratings", "pairs"})
    entry = verdict.entry(hashlib.sha256(opinions.encode()).hexdigest(), photos, len(asked.pairs))
    base = facts["personal"]
    return {
        "kind": KIND,
        "format": base["format"],
        "base": {"name_or_path": checkpoint, **base["facts"]},
        "roc": {**base["declaration"], "personal": entry.to_dict()},
        "direction": [float(value) for value in head.direction.astype("<f4")],
    }


def _features(facts: dict[str, Any], texts: Sequence[str], long: Mapping[str, Image]) -> Features:
    import numpy as np

    from roc.personal.features import Features

    if set(long) - set(texts):
        raise _invalid("a long text came where no features are expected")
    readings, levels, rows = facts["readings"], len(facts["levels"]), []
    count = readings * levels
    for place, text in enumerate(texts):
        data = long[text].data if text in long else _bytes(text)
        row = np.frombuffer(data or b"", dtype="<f4") if len(data or b"") % 4 == 0 else np.empty(0)
        whole = len(row) > count and len(row) % readings == 0 and np.isfinite(row).all()
        if not whole or (rows and len(row) != len(rows[0])):
            raise _invalid(f"features.{place} is not what /v1/features gave; send its text as it came")
        rows.append(row.astype(np.float64))
    found = np.array(rows)
    logits, hidden = found[:, :count], found[:, count:]
    if readings > 1:
        logits, hidden = (part.reshape(len(found), readings, -1) for part in (logits, hidden))
    return Features(logits, hidden, np.array(facts["levels"]))


def _bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _opinions(asked: PersonalRequest, count: int) -> tuple[list[int], Opinions | None]:
    """Gives the photos that the opinions are about, and the opinions; None where there are too few to fit to."""
    import numpy as np

    from roc.personal.opinions import Pairs, Ratings

    if asked.ratings is not None and asked.pairs:
        raise _invalid("both ratings and pairs came; send one of them")
    if asked.ratings is not None:
        if len(asked.ratings) != count:
            came = f"{counted(len(asked.ratings), 'rating')} came for {counted(count, 'photo')}"
            raise _invalid(f"{came}; send null for those not rated")
        rows = [place for place, rating in enumerate(asked.ratings) if rating is not None]
        values = np.array([asked.ratings[place] for place in rows], dtype=np.float64)
        if len(set(values.tolist())) < 2:
            return list(range(count)), None
        return rows, Ratings(values)
    for first, second, wins in asked.pairs:
        if not (0 <= first < count and 0 <= second < count and first != second and wins in (0, 0.5, 1)):
            raise _invalid(
                f"the pair {first}, {second}, {wins:g} came; expected two photos of 0..{count - 1}, and 0, 0.5 or 1"
            )
    if not asked.pairs:
        return list(range(count)), None
    ends = np.array([pair[:2] for pair in asked.pairs])
    return list(range(count)), Pairs(ends, np.array([pair[2] for pair in asked.pairs]))


def _decided(asked: PersonalRequest) -> int:
    if asked.ratings is not None:
        return sum(rating is not None for rating in asked.ratings)
    return sum(wins != 0.5 for _, _, wins in asked.pairs)


def _invalid(message: str) -> Refusal:
    return Refusal(422, "invalid_request", message)
