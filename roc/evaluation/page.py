"""The HTML page around a report or a comparison: colours, layout, tables.

A page is complete in itself: images and colours are inside, nothing is loaded from anywhere, and no script runs. It
follows the reader's choice of light or dark and fits a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --panel: #f6f8fa; --ink: #1f2328; --quiet: #59636e; --line: #d1d9e0;
  --yes: #1a7f37; --no: #b42318; --unknown: #7d5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --panel: #161b22; --ink: #e6edf3; --quiet: #9198a1;
  --line: #30363d; --yes: #56d364; --no: #ff8a80; --unknown: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { margin: .4rem 0; max-width: 75ch; }
.quiet, figcaption, td small { color: var(--quiet); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.4rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tile, figure, .card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; }
.tile { padding: .75rem .8rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: .8rem; display: block; white-space: nowrap; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .4rem .7rem; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; background: var(--panel); white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small { display: block; }
td.name { overflow-wrap: anywhere; min-width: 9rem; }
td.text { min-width: 14rem; }
tr.ours td { font-weight: 600; }
.yes { color: var(--yes); } .no { color: var(--no); } .unknown { color: var(--unknown); }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; }
figure.training { grid-column: 1 / -1; }
figure img { width: 100%; height: auto; display: block; border-radius: 4px; }
figcaption { font-size: .88rem; margin-top: .5rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(45%, 12rem), 1fr)); gap: .75rem; }
.card { overflow: hidden; font-size: .85rem; }
.card img, .card .nothing { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: var(--paper); }
.card .nothing { padding: 1rem; color: var(--quiet); overflow-wrap: anywhere; }
.card div { padding: .5rem .7rem; }
.card code { overflow-wrap: anywhere; }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; color: var(--quiet);
  font-size: .88rem; }
"""

# The page may show what is inside it and nothing else, whatever a name in a user's file contains.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, body: str) -> str:
    """Builds a whole HTML page.

    Args:
        title: Plain text; it is escaped here.
        body: HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


def table(header: Sequence[str], rows: Sequence[str], numbers: range | Sequence[int] = ()) -> str:
    """Builds an HTML table that scrolls sideways where it does not fit.

    Args:
        header: Headings, as HTML.
        rows: One `<tr>...</tr>` each.
        numbers: Indices of the columns that hold numbers.
    """
    cells = "".join(
        f'<th class="number">{name}</th>' if number in numbers else f"<th>{name}</th>"
        for number, name in enumerate(header)
    )
    return (
        f'<div class="wide"><table><thead><tr>{cells}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )
