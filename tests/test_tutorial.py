"""The tutorial works: every cell of its notebook, which holds all commands of the page, is run on drawn photos."""

import csv
import importlib.util
import json
import os
import socket
import subprocess
import sys

import pytest
from pages import PAGES, ROOT, blocks, shell_lines
from PIL import Image
from starter_parts import small_size

from roc.demo.dataset import write_dataset
from roc.starter.build import build_starter
from roc.starter.kept import kept_folder
from roc.starter.options import StarterOptions
from roc.starter.plan import plan
from roc.starter.sizes import SIZES


@pytest.fixture
def photographer(tmp_path, monkeypatch):
    """A folder as the tutorial finds it: 60 photos with ratings, the scripts and configs of the checkout, a starter."""
    monkeypatch.setenv("ROC_CACHE", str(tmp_path / "cache"))
    wheels = tmp_path / "cache" / "wheels"
    wheels.mkdir(parents=True)
    kept = kept_folder("small")  # where the commands look, which know nothing of the miniature
    monkeypatch.setitem(SIZES, "small", small_size(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    options = StarterOptions(out=str(kept), size="small")
    build_starter(options, plan(options))
    table = write_dataset(tmp_path / "drawn", 54, 3, 3, size=96, seed=7)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    (tmp_path / "photos").mkdir()
    lines = ["image,score"]
    for name, row in zip(
        ["a.jpg", "b.jpg", *(f"{place:03d}.png" for place in range(len(rows) - 2))], rows, strict=True
    ):
        Image.open(tmp_path / "drawn" / row["image"]).save(tmp_path / "photos" / name)
        lines.append(f"{name},{row['score']}")
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("scripts", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def notebook_of():
    """The notebook, and what `scripts/write_notebook.py` makes of the page."""
    spec = importlib.util.spec_from_file_location("write_notebook", ROOT / "scripts" / "write_notebook.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
    return written, script.notebook(PAGES["docs/tutorial.md"])


def test_the_notebook_is_that_of_the_page():
    written, made = notebook_of()
    assert written == made, "run scripts/write_notebook.py"
    codes = ["".join(cell["source"]) for cell in written["cells"] if cell["cell_type"] == "code"]
    commands = [
        words for code in codes if code.startswith("%%bash -e\n") for words in shell_lines(code.partition("\n")[2])
    ]
    expected = [
        words
        for info, text in blocks("docs/tutorial.md", "bash")
        if info == "bash" and "source .venv" not in text
        for words in shell_lines(text)
    ]
    assert [words for words in expected if words[:2] != ["roc", "serve"]] == commands and len(expected) == 9
    for code in codes:
        if not code.startswith("%%bash -e\n"):
            compile(code, "tutorial.ipynb", "exec")
    assert len({cell["id"] for cell in written["cells"]}) == len(written["cells"])


@pytest.mark.slow
def test_every_cell_of_the_notebook_works_in_order(photographer, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools = photographer / "bin"
    tools.mkdir()
    (tools / "roc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m roc.cli "$@"\n')
    (tools / "roc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ROC_PYTHON", sys.executable)
    (photographer / "docs").mkdir()
    monkeypatch.chdir(photographer / "docs")
    names = {"__name__": "__main__"}
    try:
        for cell in notebook_of()[0]["cells"]:
            code = (
                "".join(cell["source"]).replace(":8000", f":{port}").replace("roc serve ", f"roc serve --port {port} ")
            )
            if cell["cell_type"] == "code" and code.startswith("%%bash -e\n"):
                subprocess.run(["bash", "-euo", "pipefail", "-c", code.partition("\n")[2]], check=True)
            elif cell["cell_type"] == "code":
                exec(compile(code, "tutorial.ipynb", "exec"), names)
    finally:
        if "server" in names:
            names["server"].terminate()
    assert names["server"].wait(60) == 0
    assert (photographer / "evaluations" / "mine" / "report.html").exists() and (photographer / "best.html").exists()
