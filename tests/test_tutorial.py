"""The tutorial works: every command of docs/tutorial.md is run in its order, on photos drawn for it."""

import csv
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from pages import ROOT, blocks, shell_lines
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
    monkeypatch.setitem(SIZES, "small", small_size(tmp_path / "cache" / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    options = StarterOptions(out=str(kept_folder("small")), size="small")
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


@pytest.mark.slow
def test_every_command_of_the_tutorial_works_in_order(photographer):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools = photographer / "bin"
    tools.mkdir()
    (tools / "roc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m roc.cli "$@"\n')
    (tools / "roc").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "ROC_PYTHON": sys.executable}
    done, server = [], None
    try:
        for info, text in blocks("docs/tutorial.md", "bash"):
            if info != "bash" or "source .venv" in text:
                continue
            text = text.replace("localhost:8000", f"localhost:{port}")
            if text.startswith("roc serve"):
                words = [*shlex.split(text), "--port", str(port)]
                server = subprocess.Popen(words, cwd=photographer, env=environment)
                wait_until_ready(f"http://127.0.0.1:{port}/readyz")
            else:
                subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=photographer, env=environment, check=True)
            done += list(shell_lines(text))
    finally:
        if server is not None:
            server.terminate()
            server.wait(60)
    assert [words[:2] for words in done][-3:] == [["roc", "score"], ["roc", "serve"], ["curl", "-F"]] and len(done) == 9
    assert (photographer / "evaluations" / "mine" / "report.html").exists() and (photographer / "best.html").exists()


def wait_until_ready(url, seconds=120):
    """Returns when the server has loaded its model."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.5)
