"""Every answer of an author, kept in a journal as soon as it is there: a killed run pays for none of them twice.

A reply is found again by what was asked: author, limits, question, picture. Where one of these is another, the
question is asked anew. An answer that was paid for and holds no text is kept too, and stays the error that it was.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from roc.data.digest import picture_digest
from roc.data.images import ImageError
from roc.endpoints.chat import Reply
from roc.reasoning.authors import Author, AuthorDown, AuthorError, Request, temperature_of
from roc.reasoning.config import AuthorOptions
from roc.scoring.journal import Journal

logger = logging.getLogger(__name__)

Role = Literal["writer", "judge"]
ROLES: tuple[Role, ...] = ("writer", "judge")

MOST_FAILURES = 8
"""Requests in a row that nobody answers after which nobody is asked any more."""
MOST_REFUSALS = 50
"""Refused requests without any answer of that role after which it is not their photos but the settings."""


class NotAsked(LookupError):
    """The question was not answered yet, and nobody may be asked now."""


class NoText(AuthorError):
    """An answer that was paid for and holds no text; the same question has no other, another attempt may have one."""


@dataclass
class Usage:
    """What one role has cost so far, earlier runs included.

    Attributes:
        requests: Answers that came.
        tokens_in: Tokens read.
        tokens_out: Tokens written.
        cost: In the currency of the prices; 0 without any.
    """

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def add(self, tokens_in: int, tokens_out: int, prices: tuple[float, float]) -> None:
        """Counts one answer; prices are for a million tokens."""
        self.requests += 1
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.cost += (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6


class Replies:
    """Asks the authors, and remembers what they answered; it may be used from several threads.

    Args:
        journal: An open journal whose key is "reply".
        authors: {"writer": ..., "judge": ...}.
        options: Temperature and limits, which belong to a question, and the prices.

    Attributes:
        usage: Cost by role, of all rows of the journal.
        asked: Answers that came since this was made.
    """

    def __init__(self, journal: Journal, authors: Mapping[str, Author], options: AuthorOptions) -> None:
        self._journal, self._authors, self._options = journal, authors, options
        self._lock = threading.Lock()
        self._turns = {id(author): threading.Semaphore(author.at_once) for author in authors.values()}
        self._failures = 0
        self._refusals: Counter[Role] = Counter()
        self._answered: set[Role] = set()
        self._photos: set[str] = set()
        self._warned = False
        judge_in = options.price_in if options.judge_price_in is None else options.judge_price_in
        judge_out = options.price_out if options.judge_price_out is None else options.judge_price_out
        self._prices = {"writer": (options.price_in, options.price_out), "judge": (judge_in, judge_out)}
        self.usage = {role: Usage() for role in ROLES}
        self.asked = 0
        for row in journal.rows(list(journal.images)):
            self._count(row)

    def ask(self, role: Role, request: Request, *, remembered: bool = False) -> Reply:
        """Answers a request, from the journal where it was answered before.

        Args:
            role: Whom to ask.
            request: What to ask.
            remembered: Ask nobody.

        Raises:
            NotAsked: With `remembered`, if it was not answered before.
            NoText: The answer holds no text.
            AuthorError, ImageError: This request cannot be answered now.
            ValueError: Nobody answers any more.
        """
        author = self._authors[role]
        if remembered and request.photo is not None and request.photo.id not in self._photos:
            raise NotAsked(request.photo.id)  # its key would take the whole picture
        key = self._key(role, author, request)
        with self._lock:
            if key in self._journal:
                return _answer(next(self._journal.rows([key])))
        if remembered:
            raise NotAsked(key)
        try:
            with self._turns[id(author)]:
                reply, error = author.ask(request), None
        except AuthorError as refusal:
            if not refusal.tokens_in and not refusal.tokens_out:
                self._failed(role, refusal)
                raise
            reply, error = Reply("", refusal.tokens_in, refusal.tokens_out), refusal
        row = {
            "reply": key,
            "role": role,
            "kind": request.kind,
            "photo": None if request.photo is None else request.photo.id,
            "text": _utf_8(reply.text),
            "tokens_in": reply.tokens_in,
            "tokens_out": reply.tokens_out,
            "cut": reply.cut,
            "error": error and _utf_8(str(error)),
        }
        with self._lock:
            self._failures = 0
            self.asked += 1
            self._journal.write([row])
            self._count(row)
        if error is not None:
            self._failed(role, error)
        return _answer(row)

    def _failed(self, role: Role, error: AuthorError) -> None:
        with self._lock:
            if isinstance(error, AuthorDown):
                self._failures += 1
            else:  # a refusal shows that somebody is there
                self._failures = 0
                self._refusals[role] += 1
                if not self._warned:
                    self._warned = True
                    logger.warning("a request got no usable answer: %s; others like it are counted at the end", error)
            if self._failures >= MOST_FAILURES:
                raise ValueError(
                    f"{self._failures} requests in a row got no answer, the last one: {error}. What was answered is "
                    "kept; the same command goes on from here"
                ) from error
            if role not in self._answered and self._refusals[role] >= MOST_REFUSALS:
                raise ValueError(
                    f"{self._refusals[role]} requests to the {role} were refused and none was answered, the last one: "
                    f"{error}. Look at the settings of the {role}; what was answered is kept"
                ) from error

    def _count(self, row: Mapping[str, Any]) -> None:
        role = row["role"]
        self.usage[role].add(row["tokens_in"], row["tokens_out"], self._prices[role])
        if row.get("error") is None:  # one answer shows that the settings are right
            self._answered.add(role)
        if row["photo"] is not None:
            self._photos.add(row["photo"])

    def _key(self, role: Role, author: Author, request: Request) -> str:
        options, photo = self._options, request.photo
        parts = [role, author.name, request.kind, request.text, request.attempt, options.max_tokens]
        parts += [temperature_of(request, options)]
        if photo is not None:
            try:
                digest = picture_digest(photo.path)
            except OSError as error:
                raise ImageError(f"{photo.path}: cannot be opened: {error}") from error
            parts += [photo.id, digest, options.image_side]
        return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


def _answer(row: Mapping[str, Any]) -> Reply:
    if row.get("error") is not None:
        raise NoText(row["error"], row["tokens_in"], row["tokens_out"])
    return Reply(row["text"], row["tokens_in"], row["tokens_out"], row["cut"])


def _utf_8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be written
