"""A page of thumbnails sorted by score: one HTML file that needs no other, for a look at what a model likes.

The thumbnails are in the file, so that it can be sent around; each links to its image where that has a file of its own.
The page follows the light or dark setting of the browser, fits a phone, and can be reversed, filtered and searched.
"""

from __future__ import annotations

import base64
import html
import io
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from roc.data.images import ImageError
from roc.files import write_text
from roc.model.device import usable_cores
from roc.scoring.sources import Source
from roc.scoring.urls import is_url

MOST = 1000
"""Most thumbnails on one page, about 12 MB; of more images, the best and the worst are shown."""

_SIDE = 320


class Shown(NamedTuple):
    """One image of the page.

    Attributes:
        source: The image.
        score: On the native scale.
        text: The answer that the model generated, or None.
        compared: What a calibration and a reference say of the score; "" without both.
    """

    source: Source
    score: float
    text: str | None = None
    compared: str = ""


def write_gallery(
    path: str | os.PathLike[str],
    images: Sequence[Shown],
    *,
    scale: tuple[float, float],
    attribute: str,
    caption: str,
) -> int:
    """Writes the page; a file that is there stays whole until the new one is complete.

    Args:
        path: The HTML file; its folder is created if needed.
        images: What to show, best first.
        scale: Lowest and highest score of the native scale.
        attribute: Name of the score.
        caption: One line that says where the scores come from.

    Returns:
        How many images it shows.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    chosen = list(images)
    note = f"{len(chosen):,} image{'s' * (len(chosen) != 1)}"
    if len(chosen) > MOST:
        note = f"the best {MOST // 2} and the worst {MOST // 2} of {len(chosen):,} images"
        chosen = [*chosen[: MOST // 2], *chosen[-(MOST // 2) :]]
    folder = path.parent.resolve()
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        cards = list(pool.map(lambda shown: _card(shown, scale, folder), chosen))
    low, high = scale
    page = _PAGE.format(
        title=html.escape(f"{attribute}, {low:g} to {high:g}"),
        attribute=html.escape(attribute),
        low=f"{low:g}",
        high=f"{high:g}",
        step=f"{10 ** math.floor(math.log10((high - low) / 50)):g}",
        note=html.escape(note),
        caption=html.escape(caption),
        cards="\n".join(cards),
    )
    write_text(path, page)
    return len(cards)


def _card(shown: Shown, scale: tuple[float, float], folder: Path) -> str:
    low, high = scale
    name = html.escape(shown.source.name, quote=True)
    last = html.escape(shown.source.name.replace("\\", "/").rpartition("/")[2])
    share = (shown.score - low) / (high - low)
    picture = _thumbnail(shown.source)
    if picture is None:
        picture = '<div class="none">no longer readable</div>'
    else:
        data, (width, height) = picture
        picture = (
            f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{name}" decoding="sync">'
        )
    link = _link(shown.source, folder)
    if link is not None:
        picture = f'<a href="{html.escape(link, quote=True)}">{picture}</a>'
    text = "".join(f"<p>{html.escape(words)}</p>" for words in (shown.compared, shown.text) if words)
    return (
        f'<figure data-score="{shown.score:.4f}" data-name="{name.lower()}">{picture}'
        f'<figcaption><b>{shown.score:.2f}</b><span class="bar"><i style="width:{100 * share:.1f}%"></i></span>'
        f'<span class="name" title="{name}">{last}</span>{text}</figcaption></figure>'
    )


def _link(source: Source, folder: Path) -> str | None:
    """Gives the link by which a browser finds the image; None in a tar file or a storage that no browser knows."""
    if source.offset is not None:
        return None
    if is_url(source.path):
        return source.path if source.path.startswith(("https://", "http://")) else None
    return quote(os.path.relpath(os.path.abspath(source.path), folder))


def _thumbnail(source: Source) -> tuple[str, tuple[int, int]] | None:
    try:
        picture = source.open()
    except ImageError:
        return None
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=78, optimize=True)
    return base64.b64encode(file.getvalue()).decode(), picture.size


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --page: #f6f6f4; --card: #fff; --text: #1c1c1a; --quiet: #63635e; --line: #dcdcd6;
  --bar: #3867b8; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: #161618; --card: #212124; --text: #ececea; --quiet: #a2a29c; --line: #38383c; --bar: #82a9ea; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--page); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }}
header {{ position: sticky; top: 0; z-index: 1; background: var(--page); border-bottom: 1px solid var(--line);
  padding: 12px 20px; display: flex; flex-wrap: wrap; gap: 6px 20px; align-items: center; }}
h1 {{ font-size: 18px; margin: 0; }}
header p {{ margin: 0; color: var(--quiet); font-size: 13px; flex: 1 1 260px; min-width: 0; overflow-wrap: anywhere; }}
form {{ display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; font-size: 14px; }}
label {{ display: flex; gap: 6px; align-items: center; }}
input[type=search], button {{ font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: 5px 9px; }}
input[type=search] {{ width: 150px; }}
input[type=range] {{ width: 110px; accent-color: var(--bar); }}
output {{ min-width: 2.6em; font-variant-numeric: tabular-nums; }}
main {{ display: grid; gap: 14px; padding: 16px 20px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); }}
figure {{ margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }}
figure[hidden] {{ display: none; }}
figure img {{ display: block; width: 100%; height: 190px; object-fit: contain; background: var(--page); }}
.none {{ height: 190px; display: grid; place-items: center; color: var(--quiet); }}
figcaption {{ padding: 8px 10px 10px; display: grid; grid-template-columns: auto 1fr; gap: 3px 10px;
  align-items: center; }}
b {{ font-size: 17px; font-variant-numeric: tabular-nums; }}
.bar {{ height: 5px; border-radius: 3px; background: var(--line); overflow: hidden; }}
.bar i {{ display: block; height: 100%; background: var(--bar); }}
.name {{ grid-column: 1 / -1; font-size: 12px; color: var(--quiet); white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }}
figcaption p {{ grid-column: 1 / -1; margin: 2px 0 0; font-size: 13px; }}
@media (max-width: 520px) {{
  header {{ position: static; padding: 10px 12px; }}
  form {{ flex: 1 1 100%; }}
  input[type=search] {{ flex: 1 1 90px; width: 90px; }}
  main {{ grid-template-columns: repeat(2, 1fr); gap: 8px; padding: 10px; }}
  figure img, .none {{ height: 150px; }}
}}
</style>
</head>
<body>
<header>
<h1>{attribute}</h1>
<p>{note}, on {low} to {high} &middot; {caption}</p>
<form onsubmit="return false">
<label>at least <input type="range" id="least" min="{low}" max="{high}" step="{step}" value="{low}">
<output id="shown">{low}</output></label>
<input type="search" id="words" placeholder="find a name" aria-label="find a name">
<button type="button" id="turn">worst first</button>
</form>
</header>
<main id="cards">
{cards}
</main>
<script>
const cards = document.getElementById("cards"), least = document.getElementById("least");
const words = document.getElementById("words"), turn = document.getElementById("turn");
function choose() {{
  const found = words.value.toLowerCase();
  document.getElementById("shown").textContent = (+least.value).toFixed(2).replace(/\\.?0+$/, "");
  for (const card of cards.children)
    card.hidden = +card.dataset.score < +least.value || !card.dataset.name.includes(found);
}}
least.oninput = words.oninput = choose;
turn.onclick = () => {{
  cards.append(...[...cards.children].reverse());
  turn.textContent = turn.textContent === "worst first" ? "best first" : "worst first";
}};
choose();
</script>
</body>
</html>
"""
