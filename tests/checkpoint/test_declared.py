"""Declarations that are changed on disk, and checkpoints whose cannot be."""

import json
from dataclasses import replace

import pytest

from roc.checkpoint.declared import declaring_file, write_declaration
from roc.model.calibration import Calibration
from roc.model.declaration import Declaration
from roc.model.personal import KIND
from roc.score_space import ScoreSpace

PLAIN = Declaration(space=ScoreSpace(1, 10, 10), token_id=7)
CALIBRATED = replace(PLAIN, calibration=Calibration(data="ab", rows=9, temperature=2.0))


@pytest.mark.parametrize("name", ["config.json", "roc_config.json"])
def test_only_the_section_changes(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"model_type": "llava", "roc": PLAIN.to_dict()}))
    if name != "config.json":
        (tmp_path / "adapter_config.json").write_text("{}")
    write_declaration(tmp_path, CALIBRATED)
    content = json.loads((tmp_path / name).read_text())
    assert content == {"model_type": "llava", "roc": CALIBRATED.to_dict()}
    assert "Temperature of the distribution: 2" in (tmp_path / "README.md").read_text()


def test_a_personal_head_is_its_own_declaration(tmp_path):
    file = tmp_path / "taste.json"
    file.write_text(json.dumps({"kind": KIND, "base": {"name_or_path": "mine"}, "roc": PLAIN.to_dict()}))
    write_declaration(file, CALIBRATED)
    content = json.loads(file.read_text())
    assert content["roc"] == CALIBRATED.to_dict() and content["kind"] == KIND
    assert [path.name for path in tmp_path.iterdir()] == ["taste.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no config.json, so there is no checkpoint in it"),
        ("{", "is no JSON"),
        ("[]", "has no section 'roc' that could be changed"),
        ('{"roc": null}', "has no section 'roc' that could be changed"),
    ],
)
def test_what_is_no_checkpoint_of_roc_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=said):
        declaring_file(tmp_path)
    with pytest.raises(ValueError, match="of a hub cannot be changed here; download it first"):
        declaring_file("org/name")
