"""Scorers: whoever says how good a single picture is, on 0..10: checkpoints of roc, models behind chat endpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roc.relative.agreement import HIGHEST
from roc.relative.judges import Judgement, Pair
from roc.relative.wording import VERSION, VOTE_QUESTION, read_number
from roc.scoring.sources import Source
from roc.scoring.urls import is_url

if TYPE_CHECKING:
    from roc.endpoints.chat import Chat
    from roc.endpoints.patience import Patience
    from roc.relative.config import BuildOptions
    from roc.scoring.assessment import Assessment
    from roc.scoring.cluster import Cluster

Row = dict[str, Any]

ATTEMPTS = 3
"""How often a model is asked until its answer can be read."""


class Checkpoint:
    """A checkpoint of roc; its score and spread are brought to 0..10. It is loaded when it is first needed.

    Args:
        path: Folder or hub id.
        options: Device, number format, batch size and workers.
        cluster: Started, where pictures are scored on a cluster; None scores them in this process.

    Attributes:
        name: What records and messages call it.

    Raises:
        FileNotFoundError: There is no such checkpoint.
    """

    def __init__(self, path: str, options: BuildOptions, cluster: Cluster | None = None) -> None:
        from roc.checkpoint.names import check_exists

        check_exists(path)
        self.name = f"roc:{path}"
        self._path, self._options, self._cluster = path, options, cluster
        self._loaded: Assessment | None = None
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        """Tells it from a checkpoint with other weights; steps are kept under it."""
        from roc.scoring.identity import short_identity

        if self._identity is None:
            self._identity = short_identity(self._assessment())
        return self._identity

    def rows(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, Row]]:
        """Scores pictures.

        Args:
            sources: Key -> picture.

        Yields:
            Key and row of each picture as it is done: `score` and `spread`, or `error`.

        Raises:
            ValueError: A single picture does not fit into memory, or a cluster fails.
        """
        from roc.scoring.batches import OutOfMemory

        assessment = self._assessment()
        low, high = assessment.model.declaration.space.of(assessment.attributes[0]).range
        unit = HIGHEST / (high - low)
        named = {key: source._replace(name=key) for key, source in sources.items()}
        expected = OutOfMemory if self._cluster is None else RuntimeError
        try:
            for row in self._scored(assessment, list(named.values())):
                if "error" in row or row["prediction"] is None:
                    yield row["image"], {"error": row.get("error", "the model gave no score")}
                else:
                    spread = None if row["std"] is None else row["std"] * unit
                    yield row["image"], {"score": (row["prediction"] - low) * unit, "spread": spread}
        except expected as error:
            told = f"{error}; free some" if isinstance(error, OutOfMemory) else str(error)
            raise ValueError(f"{told}, and the same command goes on from here") from error

    def _scored(self, assessment: Assessment, sources: Sequence[Source]) -> Iterator[dict[str, Any]]:
        from roc.scoring.batches import Scorer, Wanted
        from roc.scoring.local import score_images

        options = self._options
        scorer = Scorer(assessment, Wanted((assessment.attributes[0],)), options.batch_size)
        if self._cluster is None:
            return score_images(scorer, sources, self._path, workers=options.workers)
        return self._cluster.score_images(scorer, sources, self._path, batch_size=options.batch_size)

    def free(self) -> None:
        """Gives its memory back."""
        self._loaded = None

    def _assessment(self) -> Assessment:
        if self._loaded is None:
            from roc.scoring.assessment import Assessment

            device, dtype = self._options.device, self._options.dtype
            if self._cluster is not None:
                # What is loaded here says what the weights are; the actors load it again.
                device, dtype = "cpu", dtype or self._cluster.dtype
            self._loaded = Assessment(self._path, device=device, dtype=dtype)
        return self._loaded


class Differences:
    """A `Judge` that knows the scores of both pictures, by a checkpoint: their difference, with its own spread.

    The two scores are taken as independent, so the spread is the root of the sum of squares.

    Args:
        checkpoint: Whose scores they are.

    Attributes:
        scores: Picture -> its row, filled before anything is judged.
    """

    at_once = 1

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.name = checkpoint.name
        self.checkpoint = checkpoint
        self.scores: dict[str, Mapping[str, Any]] = {}

    @property
    def identity(self) -> str:
        """Tells its checkpoint from one with other weights."""
        return self.checkpoint.identity

    def judge(self, pair: Pair, *, swapped: bool) -> Judgement:
        """Judges a pair; see `Judge.judge`."""
        from roc.relative.judges import JudgeError

        before, after = self.scores[pair.before], self.scores[pair.after]
        for row in (before, after):
            if "error" in row:
                raise JudgeError(row["error"])
        change = after["score"] - before["score"]
        spreads = [row["spread"] for row in (before, after)]
        spread = None if None in spreads else (spreads[0] ** 2 + spreads[1] ** 2) ** 0.5
        return Judgement(round(-change if swapped else change, 4), None, None if spread is None else round(spread, 4))


@dataclass(frozen=True)
class ChatVoter:
    """Scores one picture at a time, by a model behind a chat endpoint; `at_once` pictures at the same time."""

    chat: Chat
    patience: Patience
    at_once: int

    @property
    def name(self) -> str:
        """What it is."""
        return self.chat.name

    @property
    def identity(self) -> str:
        """What else its votes depend on."""
        return f"wording {VERSION}, {self.chat.shown_as}"

    def vote(self, source: Source) -> Row:
        """Scores a picture: `score` on 0..10, or `error` where it got none."""
        from roc.data.images import ImageError
        from roc.endpoints.chat import EndpointDown, EndpointError, Question

        try:
            in_archive = source.offset is not None or is_url(source.path)
            shown = source.read() if in_archive else os.fspath(source.path)
            heard = ""
            for attempt in range(ATTEMPTS):
                asked = Question(VOTE_QUESTION, (shown,), 0.0 if attempt == 0 else 1.0)
                heard = self.patience(lambda asked=asked: self.chat.ask(asked)).text
                score = read_number(heard)
                if score is not None and 0 <= score <= HIGHEST:
                    return {"score": score, "spread": None}
        except EndpointDown:
            raise
        except (EndpointError, ImageError) as error:
            return {"error": str(error)}
        return {"error": f"{ATTEMPTS} answers hold no number in 0..{HIGHEST:g}, the last one: {heard[:80]!r}"}
