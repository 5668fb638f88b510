"""Authors: whoever writes critiques and judges them, behind one small interface.

    class Author(Protocol):
        name: str
        at_once: int
        def ask(self, request: Request) -> Reply: ...

`chat`, `local_model`, `embedded` and `measured` are four; anything else with these members will do.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from roc.endpoints.chat import Reply
from roc.endpoints.options import host_of
from roc.reasoning.config import AuthorOptions, CorpusConfig
from roc.reasoning.tiers import Photo
from roc.reasoning.wording import facts_prompt, tone_prompt, writing_prompt

logger = logging.getLogger(__name__)

Kind = Literal["write", "tone", "facts"]


@dataclass(frozen=True)
class Request:
    """One question to an author.

    Attributes:
        kind: "write" asks for a critique; "tone" and "facts" ask for a verdict on one.
        text: The question in words.
        photo: The photo that is shown; None for "tone", which has to be told from the words.
        critique: The text to judge; None for "write".
        attempt: Number of the try, from 0; another try may give another answer.
    """

    kind: Kind
    text: str
    photo: Photo | None = None
    critique: str | None = None
    attempt: int = 0

    @classmethod
    def write(cls, photo: Photo, scale: tuple[float, float], attempt: int) -> Request:
        """Asks for a critique of a photo."""
        return cls("write", writing_prompt(photo.score, scale, photo.tier), photo, attempt=attempt)

    @classmethod
    def tone(cls, critique: str, attempt: int) -> Request:
        """Asks how good the photo of a critique is."""
        return cls("tone", tone_prompt(critique), critique=critique, attempt=attempt)

    @classmethod
    def facts(cls, photo: Photo, critique: str, attempt: int) -> Request:
        """Asks what a critique claims beyond what the photo shows."""
        return cls("facts", facts_prompt(critique), photo, critique, attempt)


class AuthorError(RuntimeError):
    """One request that got no usable answer; others may still get one.

    Attributes:
        tokens_in, tokens_out: What the answer cost all the same; 0 where nothing did.
    """

    def __init__(self, message: str, tokens_in: int = 0, tokens_out: int = 0) -> None:
        super().__init__(message)
        self.tokens_in, self.tokens_out = tokens_in, tokens_out


class AuthorDown(AuthorError):
    """A request that nobody answered; later somebody may."""


def temperature_of(request: Request, options: AuthorOptions) -> float | None:
    """Chooses the randomness of an answer: judges are firm at first, and vary where they have to be asked again."""
    if options.temperature is None or request.kind == "write" or request.attempt > 0:
        return options.temperature
    return 0.0


class Author(Protocol):
    """Whoever answers requests.

    Attributes:
        name: What it is, in the journal and in messages.
        at_once: Requests that it takes at the same time, each from a thread of its own.
    """

    name: str
    at_once: int

    def ask(self, request: Request) -> Reply:
        """Answers a request.

        Raises:
            AuthorError: This request got no usable answer.
            AuthorDown: Nobody answered it.
            ValueError: No request will get one: a wrong key, an unknown model.
        """


def authors_of(options: CorpusConfig) -> Mapping[str, Author]:
    """Makes the writer and the judge that the options name; they are one where both are the same.

    Returns:
        {"writer": ..., "judge": ...}.

    Raises:
        ValueError: A model that cannot be loaded, a missing key, or data without demo scenes for the embedded author.
        ImportError: With the command that installs the client library of chat endpoints.
    """
    writer = _author(options.writer, options.base_url, options.key_variable, options)
    judge = options.judge or options.writer
    judge_url, variable = options.judge_url or options.base_url, options.judge_key_variable or options.key_variable
    if (judge, judge_url, variable) == (options.writer, options.base_url, options.key_variable):
        return {"writer": writer, "judge": writer}
    alone = not options.writer.startswith("chat:")
    known = options.judge_key_variable is not None or alone or host_of(judge_url) == host_of(options.base_url)
    if not known and os.environ.get(variable):
        logger.warning(
            "the key in %s is that of the writer's endpoint and is not sent to the judge's at %s; where that asks for "
            "one, give --judge_key_variable",
            *(variable, host_of(judge_url)),
        )
    return {"writer": writer, "judge": _author(judge, judge_url, variable, options, with_key=known)}


def _author(name: str, url: str | None, variable: str, options: CorpusConfig, *, with_key: bool = True) -> Author:
    kind, _, model = name.partition(":")
    if kind == "chat":
        from roc.reasoning.chat import Chat

        key = os.environ.get(variable) if with_key else None
        return Chat(model, url, key=key, options=replace(options, key_variable=variable))
    if kind == "transformers":
        from roc.reasoning.local_model import LocalModel

        return LocalModel.load(model, options)
    if kind == "measured":
        from roc.reasoning.measured import MeasuringAuthor

        return MeasuringAuthor()
    from roc.reasoning.embedded import SceneAuthor

    return SceneAuthor()
