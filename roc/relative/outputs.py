"""The files of a build: records of pairs, edits, anchors and groups, what was rejected and why, counts, the page.

All records are files as any other: `roc data check` reads them. A delta is the score of an attribute of that name, on
-10..10; only anchors have an overall score, on 0..10.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc import __version__
from roc.data.rows import write_rows
from roc.files import write_json
from roc.relative.agreement import Agreement
from roc.relative.changes import Anchor, Change
from roc.relative.config import BuildOptions
from roc.relative.wording import VERSION, answer, edit_question, pair_question

if TYPE_CHECKING:
    from roc.relative.build import Built

DELTA = "delta"
"""Name of the attribute that a change is a score of."""

JOURNAL = "build.journal.jsonl"

Row = dict[str, Any]


class Outputs:
    """The names of the files, below a folder `out`.

    Attributes:
        out: The folder.
        pairs: Two pictures and how much better the second is, in both orders (PT-O1).
        edits: One picture, the instruction, and how much better it will be (PT-O2).
        anchors: Photos with their score.
        groups: Photos with their edits, a row a picture, rows of a group together.
        rejected: Everything that is not used, with its reason.
        summary: Counts, agreement and settings.
        page: Pairs to look at.
        journal: Every step that was done; a run goes on from it.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out)
        self.pairs = self.out / "pairs.jsonl"
        self.edits = self.out / "edits.jsonl"
        self.anchors = self.out / "anchors.jsonl"
        self.groups = self.out / "groups.jsonl"
        self.rejected = self.out / "rejected.jsonl"
        self.summary = self.out / "summary.json"
        self.page = self.out / "pairs.html"
        self.journal = self.out / JOURNAL

    def check(self, *, overwrite: bool) -> None:
        """Makes sure that nothing of anybody else is replaced, and creates the folder.

        Raises:
            ValueError: If there is something that no journal belongs to.
        """
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"{self.out} is a file; --out names the folder of the records")
        self.out.mkdir(parents=True, exist_ok=True)
        there = sorted(os.listdir(self.out))
        if there and not self.journal.exists() and not overwrite:
            raise ValueError(
                f"{self.out} holds {there[0]} and no {JOURNAL}, so it cannot be gone on with; name another --out, or "
                "give --overwrite"
            )

    def write(self, built: Built, options: BuildOptions) -> None:
        """Writes all but the journal; each file appears once it is whole, or goes where nothing is left for it.

        Without a pair only what was rejected and the counts are written, and earlier records stay as they are.
        """
        write_rows(self.rejected, built.rejected)
        write_json(self.summary, summary(built, options))
        if not built.changes:
            return
        changes = built.changes
        write_rows(self.pairs, (row for change in changes for row in pair_rows(change)))
        write_rows(self.edits, map(edit_row, changes))
        write_rows(self.groups, group_rows(built))
        if built.anchors:
            write_rows(self.anchors, map(anchor_row, built.anchors))
        else:
            self.anchors.unlink(missing_ok=True)


def pair_rows(change: Change) -> Iterator[Row]:
    """Makes the rows of a pair: source first, and edit first where a judge put that into words of its own too."""
    thoughtful = change.words is not None
    yield _change_row(
        change.id, [change.before, change.after], change.delta, pair_question(words=thoughtful), change.words, change
    )
    if change.swapped_words is not None or not thoughtful:
        yield _change_row(
            f"{change.id}~",
            [change.after, change.before],
            -change.delta,
            pair_question(words=thoughtful),
            change.swapped_words,
            change,
        )


def edit_row(change: Change) -> Row:
    """Makes the row of an edit that is only told."""
    question = edit_question(change.edit["instruction"], words=change.words is not None)
    return _change_row(f"{change.id}?", change.before, change.delta, question, change.words, change)


def _change_row(name: str, image: Any, delta: float, question: str, words: str | None, change: Change) -> Row:
    return {
        "id": name,
        "image": image,
        DELTA: round(delta, 2) + 0.0,  # no -0.0
        "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer(words)}],
        "group": change.photo,
        "edit": change.edit,
        "split": change.split,
    }


def group_rows(built: Built) -> Iterator[Row]:
    """Makes the rows of the groups: the source, then its edits."""
    groups: dict[str, list[Change]] = {}
    for change in built.changes:
        groups.setdefault(change.photo, []).append(change)
    for photo, changes in groups.items():
        first = changes[0]
        yield {"id": f"{photo}#0!", "image": first.before, "group": photo, "edit": None, "split": first.split}
        for change in changes:
            shown = {"image": change.after, "group": photo, "edit": change.edit, "split": change.split}
            yield {"id": f"{change.id}!", **shown}


def anchor_row(anchor: Anchor) -> Row:
    """Makes the row of a photo whose score is taught."""
    return {
        "id": anchor.photo,
        "image": anchor.picture,
        "score": round(anchor.consensus.value, 4),
        "std": anchor.consensus.spread,
        "n_votes": sum(anchor.consensus.keep),
        "group": anchor.photo,
        "split": anchor.split,
    }


def summary_counts(built: Built) -> list[tuple[str, int]]:
    """Counts what there is, a name and a number each."""
    better = sum(change.delta > 0 for change in built.changes)
    return [
        ("photos", built.photos),
        ("pairs", len(built.changes)),
        ("better", better),
        ("worse", len(built.changes) - better),
        ("groups", len({change.photo for change in built.changes})),
        ("anchors", len(built.anchors)),
        ("resized", built.resized),
        ("not used", len(built.rejected)),
    ]


def summary(built: Built, options: BuildOptions) -> Mapping[str, Any]:
    """Counts what there is, with the settings; JSON can hold it."""
    counts = {name.replace(" ", "_"): value for name, value in summary_counts(built)}
    return counts | {
        "splits": dict(Counter(change.split for change in built.changes)),
        "categories": dict(Counter(change.edit["category"] for change in built.changes)),
        "editors": dict(Counter(change.edit["editor"] for change in built.changes)),
        "rejected": dict(sorted(Counter(row["reason"] for row in built.rejected).items())),
        "agreement": agreement_facts(built.agreement),
        "wording": VERSION,
        "roc": __version__,
        "settings": options.to_dict(),
    }


def agreement_facts(found: Agreement) -> Mapping[str, Any]:
    """Turns an agreement into values that JSON can hold."""
    pairwise = {f"{one}, {other}": share for (one, other), share in found.pairwise.items()}
    return {"pairs": found.pairs, "pairwise": pairwise, "kappa": found.kappa, "unanimous": found.unanimous}


def agreement_lines(found: Agreement) -> list[str]:
    """Words the agreement of judges before any pair is left out."""
    if not found.pairs:
        return ["no pair was judged by all judges"]
    lines = [f"{one} and {other} agree on {share:.1%}" for (one, other), share in found.pairwise.items()]
    return [unanimity(found), *lines]


def unanimity(found: Agreement) -> str:
    """Words how many pairs all judges see in one direction, and Fleiss' kappa where there is one."""
    kappa = "" if found.kappa is None or math.isnan(found.kappa) else f", Fleiss' kappa {found.kappa:.3f}"
    return f"{found.unanimous:.1%} of {found.pairs:,} pairs unanimous{kappa}"
