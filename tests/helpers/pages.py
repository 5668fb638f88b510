"""The README and the pages of docs/, taken apart: prose, blocks, and the commands in them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        ROOT / "checkpoints/README.md",
        *DOCS,
    )
}
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def blocks(page, language):
    """`(info, text)` of every block of a page in this language."""
    return [(info.strip(), text) for info, text in BLOCK.findall(PAGES[page]) if info.split()[:1] == [language]]


def prose(page):
    """A page without its blocks."""
    return BLOCK.sub("", PAGES[page])


def shell_lines(text):
    """The words of each command of a block, without comments, assignments before it and what follows `&` or `|`."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        ends = [place for place, word in enumerate(words) if word in ("&", "|", ">", "&&")]
        words = [word for word in words[: ends[0] if ends else None] if word != "..."]
        if words:
            yield words


def commands(page):
    """The words of every command in the ```bash blocks of a page."""
    return [words for _, text in blocks(page, "bash") for words in shell_lines(text)]
