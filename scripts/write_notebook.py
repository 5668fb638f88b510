"""Writes docs/tutorial.ipynb from docs/tutorial.md, so that the notebook says and does what the page does.

python scripts/write_notebook.py

Commands become `%%bash` cells, and Python becomes cells of its own. What the page marks as `bash no-run` stays text,
and so does the setup, which has to be done before a notebook can be opened. The server is started in the background and
stopped in the last cell. A test compares the notebook with what this writes.
"""

import json
import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^(```[^\n]*\n.*?^```\n)", re.MULTILINE | re.DOTALL)

OPENED = """
To run the cells of this page, install Jupyter in the same environment (`pip install jupyterlab`), open the notebook
with `jupyter lab docs/tutorial.ipynb`, and put `photos` and `ratings.csv` into the folder that holds `scripts`. The
first cell goes there.
"""
FOLDER = """\
import os
from pathlib import Path

here = Path.cwd()
os.chdir(next(folder for folder in (here, *here.parents) if (folder / "scripts" / "finetune.sh").exists()))
"""
SERVE = """\
import shlex
import subprocess
import time
import urllib.request

server = subprocess.Popen(shlex.split("{command}"))
while server.poll() is None:
    try:
        urllib.request.urlopen("http://127.0.0.1:8000/readyz")
        break
    except OSError:
        time.sleep(0.5)
else:
    raise SystemExit("the server has ended; its message stands above or in the terminal of Jupyter")
"""
STOP = "server.terminate()\nserver.wait()\n"


def cells_of(page):
    """Splits a page into ("markdown" or "code", source) pairs.

    Args:
        page: Text of the page.
    """
    found, words = [], ""
    for piece in BLOCK.split(page):
        info, _, rest = piece.partition("\n")
        body = rest.removesuffix("```\n")
        if info not in ("```bash", "```python no-run"):
            words += piece
            continue
        if "source .venv" in body:
            words += piece + OPENED
            body = FOLDER
        elif body.startswith("roc serve "):
            body = SERVE.format(command=body.strip())
        elif info == "```bash":
            body = f"%%bash -e\n{body}"
        found += [("markdown", words.strip()), ("code", body.strip())]
        words = ""
    found += [("markdown", words.strip()), ("code", STOP.strip())]
    return [cell for cell in found if cell[1]]


def notebook(page):
    """Builds the notebook of a page in the format of Jupyter, 4.5.

    Args:
        page: Text of the page.
    """
    page = page.replace("From another terminal:", "Or ask it from a program:").replace(
        "The same as a notebook: [tutorial.ipynb](tutorial.ipynb).", "The same as a page: [tutorial.md](tutorial.md)."
    )
    cells = []
    for place, (kind, source) in enumerate(cells_of(page)):
        cell = {"cell_type": kind, "id": f"cell-{place}", "metadata": {}, "source": source.splitlines(keepends=True)}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def main():
    """Writes the notebook."""
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    text = json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"
    (DOCS / "tutorial.ipynb").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
