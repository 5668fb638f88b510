"""A look at a corpus: counts, lengths, rejections by reason, and an HTML page of samples."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from roc.data.counts import counted
from roc.data.faults import DataError, Faults
from roc.data.reading import scan_records
from roc.data.records import hash_fraction
from roc.data.rows import iter_rows
from roc.evaluation.page import page, table
from roc.evaluation.thumbnail import thumbnail
from roc.files import write_text
from roc.model.reasoned import take_apart
from roc.prompts import SCORE_TOKEN
from roc.reasoning.filters import REASONS
from roc.reasoning.outputs import Outputs
from roc.reasoning.tiers import TIERS, tier_of
from roc.score_space import ScoreSpace

_REASONS = {**REASONS, "failed": "the author could not be asked"}


@dataclass(frozen=True)
class Text:
    """One text to show.

    Attributes:
        id: Id of its photo.
        image: The photo's file.
        score: Its score on the native scale.
        tier: Its tier.
        critique: The words.
        note: Why it was rejected; None where it was not.
    """

    id: str
    image: str
    score: float
    tier: str
    critique: str
    note: str | None = None

    @property
    def words(self) -> int:
        """Its length."""
        return len(self.critique.split())


@dataclass(frozen=True)
class Look:
    """What a corpus holds.

    Attributes:
        path: The corpus.
        texts: Its texts.
        rejected: Those that are not used, where they are known.
        reasons: Reason -> how many were rejected for it, failed photos included.
        odd: Ids of records whose answer has another form than a critique and a score.
    """

    path: Path
    texts: Sequence[Text]
    rejected: Sequence[Text]
    reasons: Mapping[str, int]
    odd: Sequence[str]

    @property
    def tiers(self) -> dict[str, int]:
        """Tier -> number of texts."""
        return {tier: sum(text.tier == tier for text in self.texts) for tier in TIERS}

    def lengths(self, tier: str | None = None) -> tuple[int, float, int] | None:
        """Fewest, median and most words of the texts of a tier, or of all; None where there is no text."""
        words = [text.words for text in self.texts if tier in (None, text.tier)]
        return (min(words), statistics.median(words), max(words)) if words else None

    @property
    def different(self) -> int:
        """How many texts differ from all before them."""
        return len({text.critique for text in self.texts})


def look_at(path: str | os.PathLike[str], space: ScoreSpace, image_folder: str | None = None) -> Look:
    """Reads a corpus, and the file of rejected texts beside it if there is one.

    Args:
        path: The corpus.
        space: The native scale of its scores.
        image_folder: Folder that its image paths start from; None for its own.

    Raises:
        DataError: The file has faults.
        ValueError: None of its answers is a critique with a score.
    """
    path = Path(path)
    faults = Faults(path)
    texts, odd = [], []
    for record in scan_records(path, image_folder, faults, space=space):
        read = take_apart(record.conversations[-1][1]) if record.conversations else None
        if read is None or read[1] != SCORE_TOKEN or not record.images or "overall" not in record.scores:
            odd.append(record.id)
            continue
        score = record.scores["overall"]
        texts.append(Text(record.id, record.images[0], score, tier_of(space.to_unit(score)), read[0]))
    if faults:
        raise DataError(faults.texts())
    if not texts:
        raise ValueError(
            f"{path}: no answer is <think>critique</think><answer>{SCORE_TOKEN}</answer>, so this is no corpus; roc "
            "reasoning corpus writes one, roc reasoning convert reads those of others"
        )
    rejected, reasons = _rejected(Outputs(path).rejected)
    return Look(path, texts, rejected, reasons, odd)


def _rejected(path: Path) -> tuple[list[Text], dict[str, int]]:
    if not path.is_file():
        return [], {}
    faults = Faults(path)
    rows = [row for _, row in iter_rows(path, faults)]
    if faults:
        raise DataError(faults.texts())
    reasons = Counter(str(row.get("reason")) for row in rows)
    texts = [
        Text(row["id"], row["image"], row["score"], row["tier"], row["critique"], f"{row['reason']}: {row['detail']}")
        for row in rows
        if row.get("critique") and row.get("tier") in TIERS
    ]
    return texts, dict(reasons.most_common())


def write_page(path: str | os.PathLike[str], look: Look, count: int = 24) -> int:
    """Writes the page; the samples are the same every time.

    Args:
        path: The HTML file; its folder is created if needed.
        look: What to show.
        count: Samples: a third of each tier, and as many rejected texts at most.

    Returns:
        How many texts it shows.
    """
    samples = [text for tier in TIERS for text in _some([one for one in look.texts if one.tier == tier], count // 3)]
    rejected = _some(look.rejected, count)
    tiles = {"texts": len(look.texts), **look.tiers, "rejected": sum(look.reasons.values())}
    parts = [
        f"<h1>{escape(look.path.name)}</h1>",
        '<p class="quiet">Critiques written with the score known and not stated; a model learns to write one and to '
        "score after it.</p>",
        '<div class="tiles">',
        *(f'<div class="tile"><b>{number:,}</b><span>{name}</span></div>' for name, number in tiles.items()),
        "</div><h2>Lengths in words</h2>",
        _lengths(look),
        f'<p class="quiet">{look.different:,} of {len(look.texts):,} texts differ from all others before them.</p>',
        _reasons(look) if look.reasons else "",
        "<h2>Samples</h2>",
        _figures(samples),
        f"<h2>Rejected</h2>{_figures(rejected)}" if rejected else "",
    ]
    write_text(path, page(look.path.name, "\n".join(filter(None, parts))), errors="replace")
    return len(samples) + len(rejected)


def _some(texts: Sequence[Text], count: int) -> list[Text]:
    return sorted(texts, key=lambda text: (hash_fraction(text.id, "sample"), text.critique))[:count]


def _lengths(look: Look) -> str:
    rows = []
    for name, tier in (("all", None), *((tier, tier) for tier in TIERS)):
        lengths = look.lengths(tier)
        cells = "".join(f'<td class="number">{value:g}</td>' for value in lengths or ())
        if lengths:
            rows.append(f'<tr><td class="name">{name}</td>{cells}</tr>')
    return table(("tier", "fewest", "median", "most"), rows, numbers=range(1, 4))


def _reasons(look: Look) -> str:
    rows = [
        f'<tr><td class="name">{escape(name)}</td><td class="number">{count:,}</td>'
        f'<td class="text">{escape(_REASONS.get(name, ""))}</td></tr>'
        for name, count in look.reasons.items()
    ]
    return "<h2>Rejected by reason</h2>\n" + table(("reason", "texts", "meaning"), rows, numbers=(1,))


def _figures(texts: Sequence[Text]) -> str:
    figures = []
    for text in texts:
        note = "" if text.note is None else f'<br><b class="no">{escape(text.note)}</b>'
        figures.append(
            f"<figure>{thumbnail(text.image, text.id)}<figcaption><b>{text.tier}</b>, {text.score:g} "
            f"<code>{escape(text.id)}</code><br>{escape(text.critique)}{note}</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(figures)}</div>'


def printed(look: Look) -> list[str]:
    """The counts as lines of text."""
    tiers = ", ".join(f"{tier} {count}" for tier, count in look.tiers.items())
    low, middle, high = look.lengths()
    lines = [
        f"{look.path}: {len(look.texts)} texts ({tiers}), {low} to {high} words, median {middle:g}, "
        f"{look.different} different"
    ]
    lines += [f"  rejected, {name}: {count}" for name, count in look.reasons.items()]
    if look.odd:
        some = ", ".join(look.odd[:5])
        lines.append(f"  {counted(len(look.odd), 'record is', 'records are')} no critique with a score: {some}")
    return lines
