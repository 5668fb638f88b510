"""The script that runs jevcompat: nothing that applies is broken. Skipped without that package."""

import importlib.util
from pathlib import Path

import pytest
from serving import running, tiny_checkpoint

pytest.importorskip("jevcompat")
FILE = Path(__file__).parents[2] / "scripts" / "check_decisions.py"


@pytest.mark.slow
def test_every_requirement_that_applies_is_met(tmp_path):
    spec = importlib.util.spec_from_file_location("check_decisions", FILE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with running(tiny_checkpoint(tmp_path / "tiny"), max_new_tokens=8) as server:
        results, troubles = script.run(server.url)
    assert troubles == [] and [one for one in results if one.status == "fail"] == []
    untested = {one.id for one in results if one.status == "skip"} - script.NOT_OFFERED
    assert untested == {"auth.bearer", "auth.missing", "auth.invalid"}
