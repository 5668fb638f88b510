"""The README and the pages of docs/ tell the truth: code runs, commands, flags, files, links and tables are checked.

Blocks that open with ```python run in order, in one namespace per page, in a folder with a small checkpoint at
`checkpoints/demo` and a picture for every file name that ends in .jpg or .png. A block that opens with
```python no-run only has to compile, and what it imports from roc has to be there. Every line of a ```bash block is
read as a shell reads it: `roc ...` and `scripts/finetune.sh` must take its words, other scripts must know its flags.
"""

import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pages import DOCS, INLINE, PAGES, ROOT, blocks, commands, prose
from PIL import Image
from tiny_models import FAMILY_BUILDERS, tiny_llava

import roc
from roc.checkpoint.folder import save
from roc.cli import COMMANDS
from roc.cli import main as roc_command
from roc.commands import line as command_line
from roc.data.datasets.convert import DATASETS
from roc.training.config import load_config

PICTURE = re.compile(r"[\w./-]+\.(?:jpg|jpeg|png)")
DEMO_ATTRIBUTES = ("overall", "composition", "light", "colour", "focus")

RUN_ELSEWHERE = {"docs/server.md": "tests/server/test_client.py"}
"""Pages whose Python needs more than a checkpoint, and the test that runs it."""

SUBCOMMANDS = {
    "agree": ("maps", "folds", "sensitivity", "anchors", "train", "weights", "analyse"),
    "data": ("check", "split", "leaks", "show", "convert", "from-xmp"),
    "reasoning": ("corpus", "convert", "show", "train"),
    "relative": ("build", "train"),
}
"""Verbs whose next word has flags of its own."""

STAND_INS = ("NAME", "VERB", "METHOD", "FAMILY", "COMMAND")
"""Words that stand for a name of the reader's choice."""


def test_there_are_pages_and_every_block_is_seen():
    assert len(DOCS) >= 12 and "README.md" in PAGES
    assert [page for page, text in PAGES.items() if re.search(r"^ +```", text, re.MULTILINE)] == []
    assert [page for page in PAGES if "```" in prose(page)] == []


# --- the README ------------------------------------------------------------------------------------------------------


def test_the_readme_is_read_in_one_sitting():
    assert len(PAGES["README.md"]) <= 10_000


def test_the_first_screen_shows_what_it_is():
    head = PAGES["README.md"].split("\n## ")[0]
    python, commands = blocks("README.md", "python")[0][1], blocks("README.md", "bash")[0][1]
    assert head.startswith("# roc\n\nTurn any multimodal LLM") and "](docs/demo.png)" in head
    assert python in head and len(python.splitlines()) <= 8 and "print(" in python
    assert commands in head and [line.split("#")[0].split() for line in commands.splitlines()] == [
        ["bash", "scripts/finetune.sh"],
        ["bash", "scripts/test.sh"],
    ]


def first_sentence(path):
    """The first sentence of the docstring of a Python file, in one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split()))[0].replace("|", "\\|")


def room_table():
    """The README's table of rooms: what each room says of itself, in the order in which they may import each other."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    lines = ["| room | what it is for |", "|---|---|"]
    for name in (name.strip(" ()") for layer in layers for name in layer.split("|")):
        for path, shown in ((f"roc/{name}/__init__.py", f"roc/{name}/"), (f"roc/{name}.py", f"roc/{name}.py")):
            if (ROOT / path).exists():
                lines.append(f"| [`{shown}`]({shown}) | {first_sentence(ROOT / path)} |")
    return "\n".join(lines) + "\n"


def test_the_readme_shows_the_rooms_as_they_describe_themselves():
    table = room_table()
    assert table.count("\n") > 12
    if table not in PAGES["README.md"]:
        pytest.fail(f"below `## The rooms` README.md has to hold this table:\n\n{table}", pytrace=False)


def test_the_readme_names_every_extra():
    assigned = [
        node for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)
    ]
    extras = next(node.value for node in assigned if ast.unparse(node.targets[0]) == "EXTRAS")
    names = {key.value for key in extras.keys} - {"test", "dev"}
    assert names and sorted(name for name in names if f"`[{name}]`" not in PAGES["README.md"]) == []


def test_the_readme_names_every_folder_of_the_checkout():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    folders = {name.split("/")[0] + "/" for name in listing.stdout.split() if "/" in name and name[0] != "."}
    assert folders and sorted(name for name in folders if f"`{name}" not in PAGES["README.md"]) == []


# --- Python ----------------------------------------------------------------------------------------------------------


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.fixture(scope="module")
def demo_checkpoint(tmp_path_factory):
    """What stands for the demo's checkpoint: the same scores, an untrained model."""
    model, processor = tiny_llava()
    roc.attach(model, processor, roc.ScoreSpace(1, 10), attributes=DEMO_ATTRIBUTES)
    folder = tmp_path_factory.mktemp("checkpoint")
    save(model, processor, folder)
    return folder


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_compiles_and_imports_what_is_there(page):
    for _, code in blocks(page, "python"):
        tree = compile(code, page, "exec", ast.PyCF_ONLY_AST)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "roc":
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if page not in RUN_ELSEWHERE])
def test_python_runs(page, demo_checkpoint, tmp_path, monkeypatch):
    codes = [code for info, code in blocks(page, "python") if info == "python"]
    if not codes:
        assert all(info == "python no-run" for info, _ in blocks(page, "python"))
        return
    shutil.copytree(demo_checkpoint, tmp_path / "checkpoints" / "demo")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for name in {name for code in codes for name in PICTURE.findall(code)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for code in codes:
        exec(compile(code, page, "exec"), namespace)


def test_what_runs_elsewhere_is_run_there():
    for page, test in RUN_ELSEWHERE.items():
        assert page in WITH_PYTHON and Path(page).name in (ROOT / test).read_text(encoding="utf-8")


# --- commands --------------------------------------------------------------------------------------------------------


def inline_commands(page):
    """The words of every command that stands in a sentence."""
    programs = ("roc ", "python scripts/", "bash scripts/")
    return [shlex.split(text) for text in INLINE.findall(prose(page)) if text.startswith(programs)]


@functools.cache
def flags_of(*verb):
    """The flags of a command, with `_`, from its `--help`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        roc_command([*verb, "--help"])
    return {spelt(flag) for flag in re.findall(r"(?<![\w-])--([a-z][\w-]*)", out.getvalue())} | {"help", "version"}


def spelt(flag):
    return flag.replace("-", "_")


def flags_in(words):
    """The flags among some words, with `_`."""
    return {spelt(word[2:].partition("=")[0]) for word in words if re.match(r"--[a-z]", word)}


def unknown_to_roc(words):
    """What `roc` would not understand of these words after it."""
    if words[0] in STAND_INS:
        return set()
    if words[0] not in (*COMMANDS, "--help", "--version"):
        return {words[0]}
    verb = words[:2] if words[0] in SUBCOMMANDS else words[:1]
    return flags_in(words) - flags_of(*verb)


def unknown_to_script(words):
    """The flags that a script does not name; for Bash scripts also those of the Python files they start."""
    texts = [(ROOT / words[0]).read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "scripts" / "ablation").glob("*.py")]
    return flags_in(words) - {spelt(flag) for text in texts for flag in re.findall(r"--([a-z][\w-]*)", text)}


def unknown_to_pytest(words):
    """What follows `scripts/test.sh` goes to pytest: test files have to exist."""
    return {word for word in words if word.startswith("tests/") and not (ROOT / word).exists()}


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page) or inline_commands(page)])
def test_commands_and_their_flags_are_known(page):
    wrong = []
    for words in commands(page) + inline_commands(page):
        if words[0] == "roc":
            unknown = unknown_to_roc(words[1:])
        elif words[0] in ("python", "bash") and words[1] in ("scripts/test.sh", "scripts/test_versions.sh"):
            unknown = unknown_to_pytest(words[2:])
        elif words[0] in ("python", "bash") and words[1].startswith("scripts/") and words[1] != "scripts/finetune.sh":
            unknown = unknown_to_script(words[1:])
        else:
            continue
        wrong += [f"{shlex.join(words)}: {', '.join(sorted(unknown))}"] if unknown else []
    assert wrong == []


def test_roc_commands_are_options_that_can_be_used(monkeypatch, capsys):
    """Each `roc` command is read as it would be run; only the work is left out."""
    for verb in COMMANDS:
        module = importlib.import_module(f"roc.commands.{verb}")
        for place in (module, command_line):
            if hasattr(place, "guarded"):
                monkeypatch.setattr(place, "guarded", lambda *given, **named: 0)
    lines = [words[1:] for page in PAGES for words in commands(page) if words[0] == "roc"]
    refused = [shlex.join(words) for words in lines if roc_command(words) != 0]
    assert len(lines) > 20 and refused == [], capsys.readouterr().err


LAUNCHER_FLAGS = {"launcher", "num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port"}


def test_training_commands_are_settings_that_can_be_used(monkeypatch):
    monkeypatch.chdir(ROOT)
    script = (ROOT / "scripts" / "finetune.sh").read_text(encoding="utf-8")
    assert all(f"__{flag}" in script for flag in LAUNCHER_FLAGS)
    lines = [words[2:] for page in PAGES for words in commands(page) if words[1:2] == ["scripts/finetune.sh"]]
    assert len(lines) >= 8
    for words in lines:
        while flags_in(words) & LAUNCHER_FLAGS:
            place = next(place for place, word in enumerate(words) if flags_in([word]) & LAUNCHER_FLAGS)
            del words[place : place + 2]
        load_config(None, words)


@pytest.mark.parametrize("page", PAGES)
def test_flags_named_in_sentences_exist(page):
    verbs = [(verb,) for verb in COMMANDS if verb not in SUBCOMMANDS]
    verbs += [(verb, word) for verb, words in SUBCOMMANDS.items() for word in words]
    known = set().union(LAUNCHER_FLAGS, *(flags_of(*verb) for verb in verbs))
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").rglob("*.py")]
    assert scripts
    known |= {spelt(flag) for text in scripts for flag in re.findall(r'"--([a-z][\w-]*)"', text)}
    known |= {name for text in scripts for name in re.findall(r"^    (\w+): .* = option\(", text, re.MULTILINE)}
    spans = INLINE.findall(prose(page))
    assert sorted({spelt(flag) for text in spans for flag in re.findall(r"(?<!\w)--([a-z][\w-]*)", text)} - known) == []


# --- names -----------------------------------------------------------------------------------------------------------


def named_paths(page):
    """Files and folders of the checkout that a page names, without stand-ins."""
    text, tops = PAGES[page], r"(?<![\w/.-])(?:roc|tests|scripts|configs|docs)/"
    files = re.findall(tops + r"[\w./-]+\.(?:sh|py|yaml|json|md|png)\b", text)
    folders = re.findall(tops + r"(?:[\w-]+/)*(?![\w*])", text)
    return {name for name in files + folders if not any(word in name for word in STAND_INS)}


def test_named_files_exist():
    named = {name: page for page in PAGES if page != "CHANGELOG.md" for name in named_paths(page)}
    assert len(named) > 40
    assert {name: page for name, page in named.items() if not (ROOT / name).exists()} == {}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_named_modules_exist(page):
    for name in set(re.findall(r"(?<![\w/.-])roc(?:\.[a-z_]\w*)+\b(?!\()", PAGES[page])):
        parts = name.split(".")
        if parts[1] in roc.__all__ or parts[-1] in ("py", "json", "csv", "tsv", "service"):
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            module, attribute = name.rsplit(".", 1)
            assert hasattr(importlib.import_module(module), attribute), f"{page}: {name}"


def anchors(page):
    """The anchors that a page's headings get, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target.resolve().relative_to(ROOT).as_posix()), f"{page}: {link}"


def first_cells(page, heading):
    """The first cell of each row of the table whose header begins with `heading`, and the other cells."""
    table = PAGES[page][PAGES[page].index(f"| {heading}") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def test_the_steps_of_training_are_those_of_the_code():
    rows = first_cells("docs/extending.md", "step")
    assert len(rows) >= 7
    for steps, (file,) in rows.items():
        module = importlib.import_module(file.strip("`").removesuffix(".py").replace("/", "."))
        assert [name for name in re.findall(r"`(\w+)`", steps) if not callable(getattr(module, name, None))] == [], file


def test_the_table_of_families_is_that_of_the_code():
    assert list(first_cells("docs/families.md", "family")) == sorted(FAMILY_BUILDERS)


def test_the_table_of_data_sets_is_that_of_the_code():
    rows = first_cells("docs/data.md", "data set")
    assert list(rows) == list(DATASETS)
    for name, (file, _) in DATASETS.items():
        layout = importlib.import_module(f"roc.data.datasets.{file}").LAYOUT
        ranges = f"{layout.min_score:g}..{layout.max_score:g}"
        ranges += "".join(f", attributes {low:g}..{high:g}" for low, high in {*layout.attribute_ranges.values()})
        assert rows[name][1:] == [ranges, ", ".join(layout.splits) or "none"]


def test_every_page_is_linked_from_another():
    linked = {
        ((ROOT / page).parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(page))
        if not link.startswith("http")
    }
    assert sorted(path.name for path in DOCS if path not in linked) == []
