"""scripts/mixing: runs resume, settings of another size are refused, and the table has every way."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from mixing.__main__ import DESCRIPTION, MixingOptions, work  # noqa: E402
from mixing.runs import WAYS  # noqa: E402
from stages import run_script  # noqa: E402


def main(*words):
    return run_script("reproduce_mixing.sh", DESCRIPTION, "--quick", MixingOptions, work, list(words))


def test_two_halves_are_learnt_alone_and_together(tmp_path, capsys):
    """The whole command for real, with four steps a run."""
    out = tmp_path / "out"
    assert main("--quick", "--output_dir", str(out), "--ways", "A", "linked") == 0
    alone, together = (json.loads((out / "results" / f"{way}-seed0.json").read_text()) for way in ("A", "linked"))
    assert list(alone["halves"]) == ["A"] and list(together["halves"]) == ["A", "B"]
    assert len(alone["halves"]["A"]["predictions"]) == 30 and together["links"]["name"] == "B"
    assert not list((out / "training").iterdir())
    (out / "results" / "A-seed0.json").write_text(json.dumps(alone | {"cpu_seconds": 6000.0}))
    capsys.readouterr()
    assert main("--quick", "--output_dir", str(out)) == 0  # the two that are there are not done again
    said = capsys.readouterr()
    assert "A-seed0: " not in said.err and "ranges-seed0: SRCC A" in said.err
    table = (out / "results.md").read_text()
    assert all(what in table for what in WAYS.values()) and "30 test photos, 24 training photos of each half" in table


def test_runs_of_other_settings_are_refused(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "settings.json").write_text('{"steps": 600, "link": 0.01}')
    assert main("--output_dir", str(out), "--steps", "30") == 2
    assert (
        "other settings (steps); name another --output_dir\n  steps: there 600, asked for 30" in capsys.readouterr().err
    )
