"""A page of pairs: source and edit side by side with what was done, the delta, what each judge says, and the words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from roc.data.records import hash_fraction
from roc.evaluation.page import page, table
from roc.evaluation.thumbnail import thumbnail
from roc.files import write_text
from roc.relative.agreement import Agreement, direction
from roc.relative.changes import Change
from roc.relative.outputs import Outputs, summary_counts, unanimity

if TYPE_CHECKING:
    from roc.relative.build import Built

_SIDE_BY_SIDE = "display:grid;grid-template-columns:1fr 1fr;gap:.4rem"


def write_page(files: Outputs, built: Built, count: int) -> None:
    """Writes the page of a build.

    Args:
        files: Where the pictures are, and where the page goes.
        built: What was made.
        count: Pairs to show, of as many kinds as there are.
    """
    counts = summary_counts(built)
    tiles = "".join(f'<div class="tile"><b>{value:,}</b><span>{escape(name)}</span></div>' for name, value in counts)
    parts = [
        "<h1>Pairs of photos and edits</h1>",
        f'<p class="quiet">{escape(str(files.out))}</p>',
        f'<div class="tiles">{tiles}</div>',
        "<h2>How far the judges agree, before any edit is left out</h2>",
        _agreement(built.agreement),
        "<h2>Kinds of edits</h2>",
        _kinds(built.changes),
        "<h2>Pairs</h2>",
        f'<div class="pictures">{"".join(_pair(files, one) for one in chosen_pairs(built.changes, count))}</div>',
    ]
    if built.rejected:
        parts += ["<h2>Not used</h2>", _rejected(built)]
    write_text(files.page, page("Pairs of photos and edits", "\n".join(parts)))


def chosen_pairs(changes: Sequence[Change], count: int) -> list[Change]:
    """Chooses pairs for the page: of each kind of edit in turn, better and worse ones as well."""
    kinds: dict[tuple[str, int], list[Change]] = {}
    for change in sorted(changes, key=lambda change: hash_fraction(change.id, "page")):
        kinds.setdefault((change.edit["category"], direction(change.delta)), []).append(change)
    ranked = [(rank, kind, change) for kind, found in kinds.items() for rank, change in enumerate(found)]
    return [change for _, _, change in sorted(ranked, key=lambda one: one[:2])[:count]]


def _agreement(found: Agreement) -> str:
    if not found.pairs:
        return "<p>No pair was judged by all judges.</p>"
    text = f"<p>{escape(unanimity(found), quote=False)}.</p>"
    rows = [
        f'<tr><td class="name">{escape(one)}</td><td class="name">{escape(other)}</td>'
        f'<td class="number">{share:.1%}</td></tr>'
        for (one, other), share in found.pairwise.items()
    ]
    return text + (table(["judge", "judge", "same direction"], rows, [2]) if rows else "")


def _kinds(changes: Sequence[Change]) -> str:
    rows = []
    for kind in sorted({change.edit["category"] for change in changes}):
        deltas = sorted(change.delta for change in changes if change.edit["category"] == kind)
        better, middle = sum(delta > 0 for delta in deltas), deltas[len(deltas) // 2]
        numbers = "".join(
            f'<td class="number">{value}</td>'
            for value in (len(deltas), better, len(deltas) - better, f"{middle:+.2f}")
        )
        rows.append(f'<tr><td class="name">{escape(kind)}</td>{numbers}</tr>')
    return table(["kind of edit", "pairs", "better", "worse", "median delta"], rows, range(1, 5))


def _pair(files: Outputs, change: Change) -> str:
    pictures = "".join(
        f"<div>{thumbnail(files.out / path, name)}</div>"
        for name, path in (("source", change.before), ("edit", change.after))
    )
    mark = "yes" if change.delta > 0 else "no"
    said = ", ".join(f"{judge} {difference:+.2f}" for judge, difference in change.edit["verdicts"].items())
    spread = "" if change.edit["std"] is None else f" ± {change.edit['std']:.2f}"
    words = "" if change.words is None else f'<p class="quiet">{escape(change.words)}</p>'
    return (
        f'<figure><div style="{_SIDE_BY_SIDE}">{pictures}</div><figcaption>'
        f'<b class="{mark}">{change.delta:+.2f}{spread}</b> {escape(change.edit["instruction"])} '
        f"<code>{escape(change.id)}</code> ({escape(change.edit['editor'])}, {escape(change.edit['category'])}, "
        f"{change.split})<br>{escape(said)}{words}</figcaption></figure>"
    )


def _rejected(built: Built) -> str:
    reasons: dict[str, list[str]] = {}
    for row in built.rejected:
        reasons.setdefault(row["reason"], []).append(f"{row['id']}: {row['detail']}")
    rows = [
        f'<tr><td class="name">{escape(reason)}</td><td class="number">{len(found)}</td>'
        f'<td class="text">{escape(found[0])}</td></tr>'
        for reason, found in sorted(reasons.items())
    ]
    return table(["reason", "how many", "for example"], rows, [1])
