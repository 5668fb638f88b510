"""The README tells the truth: its code runs, its commands name files that exist, its file map is the tree.

How it is read: blocks that open with ```python run in order, in one namespace, in a folder with a small checkpoint at
`checkpoints/demo` and a picture for every file name that ends in .jpg or .png; a block that opens with
```python no-run only has to compile. The file map is the block whose lines include one that starts with `roc/`: one
entry per line, folders end in `/`, indented lines lie in the folder above them; names that share a line have one space
between them, the description follows after two.
"""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import tiny_llava

import roc
from roc.checkpoint.folder import save

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEMO_ATTRIBUTES = ("overall", "composition", "light", "colour", "focus")


@pytest.fixture(scope="module")
def text():
    return README.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def blocks(text):
    return BLOCK.findall(text)


@pytest.fixture
def checkout(tmp_path, monkeypatch, blocks):
    """A folder that looks like a checkout after `bash scripts/finetune.sh`."""
    model, processor = tiny_llava()
    roc.attach(model, processor, roc.ScoreSpace(1, 10), attributes=DEMO_ATTRIBUTES)
    save(model, processor, tmp_path / "checkpoints" / "demo")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for name in {name for _, code in blocks for name in re.findall(r"[\w./-]+\.(?:jpg|jpeg|png)", code)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_python_block_compiles(blocks):
    codes = [code for info, code in blocks if info.split()[:1] == ["python"]]
    assert codes, "the README shows no Python"
    for code in codes:
        compile(code, "README.md", "exec")


def test_python_blocks_run(blocks, checkout):
    namespace = {"__name__": "readme"}
    codes = [code for info, code in blocks if info.strip() == "python"]
    assert codes, "no Python block of the README is run"
    for code in codes:
        exec(compile(code, "README.md", "exec"), namespace)


def test_named_files_exist(text):
    named = set(re.findall(r"\b(?:scripts|configs)/[\w./-]+\.(?:sh|py|yaml|json)\b", text))
    assert "scripts/finetune.sh" in named and "scripts/test.sh" in named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def mapped_names(block):
    """Paths named by a file map, folders with a final `/`."""
    names, folders = [], [(-1, "")]
    for line in block.splitlines():
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        while folders[-1][0] >= indent:
            folders.pop()
        parent = folders[-1][1]
        for word in re.split(r"\s{2,}", line.strip())[0].split(" "):
            names.append(parent + word)
            if word.endswith("/"):
                folders.append((indent, parent + word))
    return names


def test_the_map_reader():
    block = "LICENSE  text\nroc/\n  a.py   does a.py. And more\n  b.py c.py   two\n  demo/  more\n    d.py  d\nx/  y\n"
    named = ["LICENSE", "roc/", "roc/a.py", "roc/b.py", "roc/c.py", "roc/demo/", "roc/demo/d.py", "x/"]
    assert mapped_names(block) == named


def test_the_file_map_is_the_tree(blocks):
    maps = [code for _, code in blocks if re.search(r"^roc/", code, re.MULTILINE)]
    assert len(maps) == 1, "expected one file map, the block with a line that starts with roc/"
    named = set(mapped_names(maps[0]))
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [Path(name) for name in listing.stdout.splitlines() if (ROOT / name).exists()]
    needed = {
        path.parts[0] + ("/" if len(path.parts) > 1 else "") for path in files if not path.name.startswith(".git")
    }
    needed |= {
        str(path) for path in files if path.parts[0] == "roc" and path.suffix == ".py" and path.name != "__init__.py"
    }
    needed |= {f"{path.parent}/" for path in files if path.parts[0] == "roc" and path.suffix == ".py"}
    assert sorted(needed - named) == [], "missing in the README's file map"
    assert sorted(name for name in named if not list(ROOT.glob(name))) == [], (
        "in the README's file map, but not in the tree"
    )
