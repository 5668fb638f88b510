"""The files of a corpus: the records, what was rejected and why, the counts, a page of samples, the journal.

`corpus.jsonl` is a file of records as any other: `roc finetune --data_path corpus.jsonl` trains on it, `roc data check`
reads it. It holds the picture, the score and the conversation, and nothing that would be taken for an attribute.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc import __version__
from roc.data.pictures import cache_folder
from roc.data.records import Record
from roc.data.rows import write_rows
from roc.files import write_json, write_whole
from roc.model.reasoned import reasoned_answer
from roc.reasoning.config import CorpusConfig
from roc.reasoning.tiers import TIERS
from roc.reasoning.wording import VERSION, question

if TYPE_CHECKING:
    from roc.reasoning.corpus import Corpus, Outcome


class Outputs:
    """The names of the files, for a corpus `out`.

    Attributes:
        corpus: The records.
        rejected: Every text that is not used, with its reason, and photos about which nobody could be asked.
        summary: Counts, cost and settings.
        page: Samples to look at.
        pictures: Copies of pictures that came out of a table; other pictures stay where they are.
        journal: Every answer of an author; a run goes on from it.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.corpus = Path(out)
        self.rejected = self.corpus.with_suffix(".rejected.jsonl")
        self.summary = self.corpus.with_suffix(".summary.json")
        self.page = self.corpus.with_suffix(".html")
        self.pictures = self.corpus.with_suffix(".pictures")
        self.journal = self.corpus.with_suffix(".journal.jsonl")

    def check(self, *, overwrite: bool) -> None:
        """Makes sure that nothing of anybody else is replaced, and creates the folder.

        Raises:
            ValueError: If there is a corpus that no journal belongs to.
        """
        self.corpus.parent.mkdir(parents=True, exist_ok=True)
        if self.corpus.exists() and not self.journal.exists() and not overwrite:
            raise ValueError(
                f"{self.corpus} is there, and {self.journal.name} is not, so it cannot be gone on with; name another "
                "--out, or give --overwrite"
            )

    def image_name(self, path: str) -> str:
        """Names a picture for the corpus: from its folder where it lies below it, else by its whole path.

        A picture out of a table lies in a cache that anybody may empty, so it is copied first.
        """
        path = os.path.abspath(path)
        if Path(path).is_relative_to(os.path.abspath(cache_folder())):
            kept = self.pictures / os.path.basename(path)
            if not kept.is_file():
                write_whole(kept, lambda temporary: shutil.copyfile(path, temporary))
            path = os.path.abspath(kept)
        folder = Path(os.path.abspath(self.corpus.parent))
        return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path

    def write(self, corpus: Corpus, options: CorpusConfig) -> None:
        """Writes all but the journal; each file appears once it is whole.

        Without a usable text only the rejected ones are written, and an earlier corpus stays as it is.
        """
        from roc.reasoning.look import look_at, write_page

        scale = options.space.range
        write_rows(self.rejected, rejected_rows(corpus))
        if not corpus.kept:
            return
        write_json(self.summary, summary(corpus, options))
        rows = (
            corpus_row(outcome.photo.record, outcome.photo.score, outcome.critique, scale, self)
            for outcome in corpus.kept
        )
        write_rows(self.corpus, rows)
        write_page(self.page, look_at(self.corpus, options.space))


def corpus_row(
    record: Record, score: float, critique: str, scale: tuple[float, float], files: Outputs
) -> dict[str, Any]:
    """Makes the row of one text.

    Args:
        record: The photo's record.
        score: Its overall score on the native scale.
        critique: The text.
        scale: Lowest and highest score.
        files: Where the corpus lies, and how pictures are named there.
    """
    return {
        "id": record.id,
        "image": files.image_name(record.images[0]),
        "score": score,
        "conversations": [
            {"from": "human", "value": question(scale)},
            {"from": "gpt", "value": reasoned_answer(critique)},
        ],
        "group": record.group,
        "split": record.split,
        "dataset": record.dataset,
    }


def rejected_rows(corpus: Corpus) -> list[dict[str, Any]]:
    """Lists what is not used: one row for each text, with `reason` and `detail`, and for each photo that failed."""
    rows = []
    for outcome in _all(corpus):
        for number, attempt in enumerate(outcome.attempts, start=1):
            if attempt.rejection is not None:
                rejection = attempt.rejection
                rows.append(_rejected(outcome, number, attempt.critique, rejection.reason, rejection.detail))
        if outcome.error is not None:
            rows.append(_rejected(outcome, len(outcome.attempts) + 1, None, "failed", outcome.error))
    for outcome in corpus.surplus:
        tier = outcome.photo.tier
        detail = f"more texts of {tier} photos than of the others"
        rows.append(_rejected(outcome, len(outcome.attempts), outcome.critique, "surplus", detail))
    return rows


def _all(corpus: Corpus) -> Iterable[Outcome]:
    return [*corpus.kept, *corpus.surplus, *corpus.others]


def _rejected(outcome: Outcome, number: int, critique: str | None, reason: str, detail: str) -> dict[str, Any]:
    photo = outcome.photo
    return {
        "id": photo.id,
        "image": photo.path,
        "score": photo.score,
        "tier": photo.tier,
        "attempt": number,
        "reason": reason,
        "detail": detail,
        "critique": critique,
    }


def summary(corpus: Corpus, options: CorpusConfig) -> Mapping[str, Any]:
    """Counts texts, rejections and cost; JSON can hold it."""
    tiers = Counter(outcome.photo.tier for outcome in corpus.kept)
    photos = Counter(outcome.photo.tier for outcome in _all(corpus))
    return {
        "texts": len(corpus.kept),
        "tiers": {tier: tiers[tier] for tier in TIERS},
        "photos_tried": {tier: photos[tier] for tier in TIERS},
        "rejected": dict(sorted(Counter(row["reason"] for row in rejected_rows(corpus)).items())),
        "usage": {role: asdict(usage) for role, usage in corpus.usage.items()},
        "cost": sum(usage.cost for usage in corpus.usage.values()),
        "prompts": VERSION,
        "roc": __version__,
        "settings": options.to_dict(),
    }
