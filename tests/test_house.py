"""The rules of the house: who imports whom, what `import roc` costs, that code is linted and files open with prose."""

import ast
import functools
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import roc

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "roc"


def part_of(path):
    """`roc/demo/scenes.py` -> `demo.scenes`; an `__init__.py` is its folder, the package's own is ``."""
    names = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


@functools.cache
def nodes(path):
    """Lists the nodes of a file's syntax tree, the module first."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


FILES = {part_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def lint_imports(folder):
    """What import-linter says of the contracts of pyproject.toml about the package below `folder`."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def test_rooms_import_only_rooms_below_them():
    found = lint_imports(ROOT)
    assert found.returncode == 0 and "Contracts: 1 kept" in found.stdout, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("model/losses.py", "from roc.scoring.results import Score"),
        ("training/config.py", "def f():\n    import roc.commands.line"),
        ("settings.py", "from roc.data.records import Record"),
        ("checkpoint/folder.py", "from ..scoring import assessment"),
        ("attic/__init__.py", '"""A room that no contract knows."""'),
    ],
)
def test_the_contracts_see_a_wrong_import(file, line, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "roc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "roc" / file).parent.mkdir(exist_ok=True)
    with open(tmp_path / "roc" / file, "a", encoding="utf-8") as handle:
        handle.write(f"\n\n{line}\n")
    found = lint_imports(tmp_path)
    assert found.returncode == 1 and file.split("/")[0].removesuffix(".py") in found.stdout


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_its_files_hold_and_imports_nothing(room):
    tree, *rest = nodes(PACKAGE / room / "__init__.py")
    text = ast.get_docstring(tree)
    assert text and not [node for node in rest if isinstance(node, ast.Import | ast.ImportFrom)]
    files = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    unnamed = sorted(name for name in files if not re.search(rf"(?<![A-Za-z_]){name}(?![a-z_])", text))
    assert files and unnamed == [], f"roc/{room}/__init__.py names none of {', '.join(unnamed)}"


@pytest.mark.parametrize("part", [part for part in FILES if FILES[part].name != "__init__.py"])
def test_every_file_opens_with_prose(part):
    text = ast.get_docstring(nodes(FILES[part])[0])
    assert text and len(text.split()) >= 5, f"roc/{part}.py needs a docstring that says what it is for"


def test_docstrings_start_with_what_they_name():
    """A docstring that starts with `Of`, `Those` or `That` cannot be understood without the name above it."""
    paths = [path for folder in ("roc", "scripts", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = []
    for path in paths:
        for node in nodes(path):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if text.partition(" ")[0] in ("Of", "Those", "That"):
                    found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}")
    assert len(paths) > 200
    assert found == []


def test_only_commands_print_and_exit():
    found = []
    for name, path in FILES.items():
        if name.split(".")[0] not in ("cli", "commands"):
            for node in nodes(path):
                if isinstance(node, ast.Name) and node.id in ("print", "SystemExit"):
                    found.append(f"{name}, line {node.lineno}: {node.id}")
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit":
                    found.append(f"{name}, line {node.lineno}: sys.exit")
    assert len(FILES) > 50
    assert found == []


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_import_roc_needs_no_torch():
    code = "import sys, roc; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    assert run(code).stdout == "[]\n"


def test_config_needs_no_torch():
    assert run("import sys, roc.training.config; print('torch' in sys.modules)").stdout == "False\n"


def test_public_names():
    assert set(roc.__all__) == {
        "Assessment", "Record", "RocCollator", "ScoreSpace", "attach", "load", "load_processor", "score_frame",
        "__version__",
    }  # fmt: skip
    assert set(roc.__all__) <= set(dir(roc))
    assert roc.Assessment.__name__ == "Assessment" and callable(roc.load)
    with pytest.raises(AttributeError, match="public names are Assessment"):
        _ = roc.nothing


def test_attach_stays_the_function_whatever_is_imported():
    """A module of that name anywhere below `roc` would take its place as soon as it is imported."""
    for module in pkgutil.walk_packages(roc.__path__, "roc."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name not in ("trl", "mcp"):  # an extra that is not installed for the tests
                raise
    from roc import attach, load

    assert attach is roc.attach is importlib.import_module("roc.model.attachment").attach
    assert load is roc.load is importlib.import_module("roc.checkpoint.folder").load
    assert not set(roc._PUBLIC) & {name.partition(".")[0] for name in FILES}


@pytest.mark.parametrize("words", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_ruff_is_content(words):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *words, "--no-cache", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff_silences_no_name_error_rule():
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"F"' in settings and "ignore" not in settings


# Tests of no single file: of the checkout, the scripts, whole jobs and the web page.
OTHER_TESTS = {
    *("house", "readme", "tutorial", "dockerfile"),
    *("training.demo_job", "training.distributed", "model.real_models", "model.any_type", "server.page"),
    *("commands.thinking_first", "server.thinking_first", "server.comparing"),
    *("policy.hooks", "policy.processes", "agree.released_bugs"),
}


def test_tests_mirror_the_package():
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    parts = [".".join(path.relative_to(ROOT / "tests").with_suffix("").parts).replace("test_", "") for path in paths]
    scripts = {f"scripts.{path.stem}" for path in (ROOT / "scripts").iterdir()}
    assert parts
    assert sorted(set(parts) - set(FILES) - OTHER_TESTS - scripts) == []


def test_nobody_imports_from_a_test():
    paths = sorted((ROOT / "tests").rglob("*.py"))
    assert paths
    for path in paths:
        for node in nodes(path):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.split(".")[-1].startswith("test_")], path


def test_the_version_is_told_once():
    assert f'__version__ = "{roc.__version__}"' in (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    assert f"\n## {roc.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def pins(name):
    """`{distribution: version}` of a file of constraints."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            distribution, version = line.split("==")
            assert "+" not in version, f"{line}: a local build label is no version other machines have"
            found[distribution.lower().replace("_", "-")] = version
    return found


def requirements():
    """The requirements of setup.py, extras included."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    lists = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "install_requires"]
    texts = [entry.value for entry in lists[0].value.elts]
    extras = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS")
    return [Requirement(text) for text in texts + [entry.value for values in extras.values for entry in values.elts]]


def test_extras_are_installed_in_one_form():
    """`pip install 'roc-mllm[EXTRA]'`, which works in any folder once roc is installed; no other's extras."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    extras = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS")
    known = {ast.literal_eval(key) for key in extras.keys} | {"dev", "EXTRA", "{extra}"}
    files = [*ROOT.glob("roc/**/*.py"), *ROOT.glob("docs/*.md"), *ROOT.glob("*.md"), *ROOT.glob("configs/**/*.yaml")]
    told = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if "pip install" in line]
    named = [line for line in told if "[" in line.partition("pip install")[2]]
    odd = [
        line
        for line in named
        if not (found := re.search(r"pip install (--no-build-isolation )?'roc-mllm\[([^]]+)\]'", line))
        or found[2] not in known
    ]
    assert len(named) > 10 and odd == []


def test_every_dependency_is_pinned():
    """Each requirement of setup.py, extras included, has its exact version in constraints.txt; torch decides on two."""
    unpinned = {requirement.name for requirement in requirements()} - set(pins("constraints.txt"))
    assert unpinned == {"torchvision", "flash-attn"}


def test_lower_bounds_are_the_oldest_versions_tested():
    oldest = pins("constraints-oldest.txt")
    bounds = [(r.name, bound) for r in requirements() for bound in r.specifier if bound.operator == ">="]
    assert {"torch", "transformers", "peft", "accelerate"} <= {name for name, _ in bounds}
    wrong = [f"{name}{bound}" for name, bound in bounds if Version(oldest[name]) != Version(bound.version)]
    assert wrong == []
