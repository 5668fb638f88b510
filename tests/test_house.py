"""The rules of the house: who imports whom, what `import roc` costs, that code is linted and files open with prose."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import roc

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "roc"

# A file imports only from rows above its own; two parts of one row never import each other.
ROWS = (
    (
        "score_space",
        "model.families",
        "evaluation.bootstrap",
        "files",
        "model.mplug_owl2.configuration",
        "model.mplug_owl2.pieces",
    ),
    (
        "model.losses",
        "evaluation.metrics",
        "prompts",
        "data.images",
        "scoring.results",
        "data.augment",
        "model.parts",
        "training.weight_average",
        "data.rows",
        "scoring.journal",
    )
    + ("scoring.urls",)
    + ("evaluation.test_sets",)
    + (
        "model.mplug_owl2.vision",
        "model.mplug_owl2.abstractor",
        "model.mplug_owl2.language",
        "model.mplug_owl2.tokenization",
    ),
    (
        "data.records",
        "scoring.sources",
        "data.survey",
        "training.config",
        "model.head",
        "model.float32_tower",
        "model.float8",
        "checkpoint.card",
        "evaluation.predictions",
        "data.datasets.reader",
        "model.mplug_owl2.modeling",
    ),
    (
        "data.datasets.ava",
        "data.datasets.aadb",
        "data.datasets.tad66k",
        "data.datasets.para",
        "data.datasets.icaa17k",
        "data.datasets.lapis",
    )
    + (
        "data.datasets.flickr_aes",
        "data.datasets.eva",
        "data.datasets.koniq10k",
        "data.datasets.spaq",
        "data.datasets.kadid10k",
    )
    + (
        "data.datasets.biq2021",
        "scoring.gallery",
        "data.check",
        "data.leaks",
        "data.sheet",
        "model.modeling",
        "training.samples",
        "evaluation.plots",
        "demo.scenes",
        "model.mplug_owl2.convert",
    ),
    ("model.collator", "evaluation.report", "data.split", "data.datasets.ava_captions", "model.mplug_owl2.processing"),
    ("data.datasets.convert", "model.mplug_owl2", "model.mplug_owl2.published"),
    ("model.attachment", "model.processing"),
    ("model.adapters", "checkpoint.fingerprint", "scoring.one_forward", "demo.tiny_model"),
    ("checkpoint.folder", "model.memory", "doctor.sensitivity"),
    ("training.trainer", "scoring.assessment", "evaluation.compare"),
    ("evaluation.evaluate", "doctor.checks", "checkpoint.export", "commands.data", "scoring.batches"),
    ("scoring.cluster",),
    (
        "training.job",
        "commands.score",
        "server.errors",
        "server.schemas",
        "server.ranking",
        "server.counters",
        "server.keys",
    )
    + ("server.client", "server.children"),
    ("server.limits", "server.reader", "server.worker"),
    ("server.uploads", "server.batching"),
    ("server.service",),
    ("server.app",),
    ("server.listen",),
    ("cli",),
)
ROW_OF = {part: row for row, parts in enumerate(ROWS) for part in parts}


def part_of(path):
    """`roc/demo/scenes.py` -> `demo.scenes`; an `__init__.py` is its folder, the package's own is ``."""
    names = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


FILES = {part_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_parts(part, source, files):
    """Parts of roc that `source` imports anywhere in it, functions included; public names count as their file."""
    package = ["roc", *part.split(".")][:-1] if part else ["roc"]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            modules = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            names = module.split(".")
            if names[0] != "roc":
                continue
            if len(names) == 2 and names[1] in roc._PUBLIC:
                names = ["roc", roc._PUBLIC[names[1]]]
            while len(names) > 1 and ".".join(names[1:]) not in files:
                names.pop()
            yield ".".join(names[1:])


def violations(files):
    """What breaks the table in `files`, part -> source text."""
    found = []
    for part, source in files.items():
        for other in imported_parts(part, source, files):
            if part not in ROW_OF:  # the __init__.py of a folder
                found.append(f"{part or 'roc'}/__init__.py imports {other or 'roc'}")
            elif other in ROW_OF and ROW_OF[other] >= ROW_OF[part]:
                found.append(f"{part} (row {ROW_OF[part]}) imports {other} (row {ROW_OF[other]})")
    return found


def test_every_file_has_its_row():
    inits = {part for part, path in FILES.items() if path.name == "__init__.py"}
    assert set(FILES) - inits <= set(ROW_OF) <= set(FILES)
    assert len(ROW_OF) == sum(map(len, ROWS))


def test_imports_go_upwards_only():
    assert violations({part: path.read_text(encoding="utf-8") for part, path in FILES.items()}) == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("model.losses", "from roc.model.head import ScoreHead"),
        ("model.losses", "def f():\n    import roc.cli"),
        ("model.head", "from roc.training import config"),
        ("model.head", "from roc import attach"),
        ("model.head", "from ..data.records import Record"),
        ("demo.scenes", "from ..training.trainer import RocTrainer"),
        ("demo", "from roc.demo.scenes import draw"),
        ("", "from roc.score_space import ScoreSpace"),
    ],
)
def test_the_layer_test_sees_a_wrong_import(part, source):
    files = dict.fromkeys(FILES, "")
    assert violations(files) == []
    assert len(violations({**files, part: source})) == 1


def test_the_layer_test_allows_the_version_and_the_rows_above():
    files = dict.fromkeys(FILES, "")
    assert (
        violations({**files, "model.attachment": "from roc import __version__\nfrom roc.model.head import ScoreHead"})
        == []
    )


@pytest.mark.parametrize("part", [part for part in FILES if FILES[part].name != "__init__.py"])
def test_every_file_opens_with_prose(part):
    text = ast.get_docstring(ast.parse(FILES[part].read_text(encoding="utf-8")))
    assert text and len(text.split()) >= 5, f"roc/{part}.py needs a docstring that says what it is for"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_import_roc_needs_no_torch():
    code = "import sys, roc; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    assert run(code).stdout == "[]\n"


def test_config_needs_no_torch():
    assert run("import sys, roc.training.config; print('torch' in sys.modules)").stdout == "False\n"


def test_public_names():
    assert set(roc.__all__) == {"Assessment", "ScoreSpace", "attach", "load", "__version__"}
    assert set(roc.__all__) <= set(dir(roc))
    assert roc.Assessment.__name__ == "Assessment" and callable(roc.load)
    with pytest.raises(AttributeError, match="public names are Assessment"):
        _ = roc.nothing


def test_attach_stays_the_function_whatever_is_imported():
    result = run(
        "import importlib, pkgutil, roc\n"
        "first = roc.attach\n"
        "from roc import attach, load\n"
        "for module in pkgutil.walk_packages(roc.__path__, 'roc.'): importlib.import_module(module.name)\n"
        "from roc import attach as later\n"
        "assert callable(first) and first is attach is later is roc.attach, roc.attach\n"
        "assert callable(load) and load is roc.load"
    )
    assert result.returncode == 0, result.stderr
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


def test_tests_mirror_the_package():
    stray = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        mirrored = path.with_name(path.name.removeprefix("test_"))
        part = ".".join(mirrored.relative_to(ROOT / "tests").with_suffix("").parts)
        if part not in FILES and part not in (
            "house",
            "readme",
            "training.demo_job",
            "training.distributed",
            "scripts.check_families",
            "scripts.benchmark_scoring",
            "scripts.benchmark_training",
            "scripts.benchmark_server",
            "server.page",
            "scripts.ablation",
            "model.real_models",
        ):
            stray.append(str(path.relative_to(ROOT)))
    assert stray == []


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
    """Those of setup.py, extras included."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    lists = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "install_requires"]
    texts = [entry.value for entry in lists[0].value.elts]
    extras = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS")
    return [Requirement(text) for text in texts + [entry.value for values in extras.values for entry in values.elts]]


def test_every_dependency_is_pinned():
    """Each requirement of setup.py, extras included, has its exact version in constraints.txt; torchvision has none."""
    assert {requirement.name for requirement in requirements()} - set(pins("constraints.txt")) == {"torchvision"}


def test_lower_bounds_are_the_oldest_versions_tested():
    oldest = pins("constraints-oldest.txt")
    bounds = [(r.name, bound) for r in requirements() for bound in r.specifier if bound.operator == ">="]
    assert {"torch", "transformers", "peft", "accelerate"} <= {name for name, _ in bounds}
    wrong = [f"{name}{bound}" for name, bound in bounds if Version(oldest[name]) != Version(bound.version)]
    assert wrong == []
