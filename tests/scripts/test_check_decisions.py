"""The script that runs jevcompat: nothing that applies is broken. Skipped without that package."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from serving import running, tiny_checkpoint

FILE = Path(__file__).parents[2] / "scripts" / "check_decisions.py"


@pytest.mark.skipif(importlib.util.find_spec("jevcompat") is not None, reason="the suite is there")
def test_without_the_suite_the_command_that_installs_it_is_named():
    done = subprocess.run([sys.executable, str(FILE), "http://127.0.0.1:1"], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pip install jevcompat==0.1.1" in done.stderr


@pytest.mark.slow
def test_every_requirement_that_applies_is_met(tmp_path):
    pytest.importorskip("jevcompat")
    spec = importlib.util.spec_from_file_location("check_decisions", FILE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with running(tiny_checkpoint(tmp_path / "tiny"), max_new_tokens=8) as server:
        results, troubles = script.run(server.url)
    assert troubles == [] and [one for one in results if one.status == "fail"] == []
    untested = {one.id for one in results if one.status == "skip"} - script.NOT_OFFERED
    assert untested == {"auth.bearer", "auth.missing", "auth.invalid"}
