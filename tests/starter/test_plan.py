"""What is wrong is told before anything heavy is imported and anything is fetched."""

import subprocess
import sys

import pytest

from roc.starter import plan as plan_module
from roc.starter.options import StarterOptions
from roc.starter.plan import plan


def test_a_missing_reader_of_gguf_files_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(plan_module, "find_spec", lambda name: None)
    options = StarterOptions(out=str(tmp_path / "out"), size="full", cache=str(tmp_path / "cache"))
    with pytest.raises(ModuleNotFoundError, match=r"package gguf is missing: pip install 'roc-mllm\[starter\]'"):
        plan(options)
    assert list(tmp_path.iterdir()) == []


def test_planning_is_light(tmp_path):
    code = (
        "import sys; from roc.starter.options import StarterOptions; from roc.starter.plan import plan\n"
        f"wheels = plan(StarterOptions(out='out', cache={str(tmp_path)!r}))\n"
        "print(wheels[0].path, [m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "None []\n"
