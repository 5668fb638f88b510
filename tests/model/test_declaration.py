import ast
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from heads import SPACE, build, scores_of
from tiny_models import BUILDERS

from roc import __version__
from roc.checkpoint.folder import load, save
from roc.checkpoint.head_file import read_head
from roc.model.attachment import attach
from roc.model.calibration import Calibration, Intervals
from roc.model.declaration import FORMAT, Declaration, declaration_of, declare, declares_head
from roc.model.scales import DataScale
from roc.score_space import ScoreSpace

ROOT = Path(__file__).parents[2]

# The section of the first checkpoints, before it named the base and the kind of attention.
OLDEST = {
    "version": "0.1.0",
    "token": "[SCORE]",
    "token_id": 384,
    "min_score": 1.0,
    "max_score": 5.0,
    "num_levels": 5,
    "mode": "minmax",
    "attributes": ["overall", "light"],
    "question": "How good?",
    "answer": "[SCORE], light [SCORE].",
    "text_weight": 1.0,
    "l1_weight": 1.0,
    "ce_weight": 0.0,
    "emd_weight": 0.0,
    "l1_scale": "unit",
    "published_losses": False,
    "image_aspect_ratio": "keep",
    "distribution_supervised": False,
    "dataset": None,
}


def declared(**values):
    return Declaration(**{"space": SPACE, "token_id": 7, **values})


def test_what_is_written_is_plain_json_and_read_back():
    declaration = declared(attributes=["overall", "light"], ce_weight=0.5, dataset="mine", base="org/name")
    section = declaration.to_dict()
    assert Declaration.from_dict(json.loads(json.dumps(section))) == declaration
    assert section["attributes"] == ["overall", "light"] and section["format"] == 1
    assert (section["min_score"], section["max_score"], section["num_levels"]) == (*SPACE.range, SPACE.num_levels)
    assert declaration.answer.count("[SCORE]") == 2 and declaration.version == __version__


def test_a_model_that_reasons_is_asked_in_other_words():
    declaration = declared(reasoning="Think first, then rate it.")
    assert declaration.reasons and "<think>" not in declaration.answer
    section = declaration.to_dict()
    assert section["reasoning"] == "Think first, then rate it." and Declaration.from_dict(section) == declaration
    assert not declared().reasons and "reasoning" not in declared().to_dict()  # written as before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reasoning": " "}, "reasoning is ' '; expected the question that asks for a critique"),
        ({"reasoning": True}, "reasoning is True; expected the question"),
        ({"reasoning": "Rate it. ", "question": "Rate it."}, "question and reasoning are both"),
        ({"reasoning": "Think.", "attributes": ("overall", "light")}, "give one attribute"),
    ],
)
def test_reasoning_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        declared(**values)


def test_the_oldest_section_is_read():
    declaration = Declaration.from_dict(OLDEST)
    assert declaration.space == ScoreSpace(1, 5, num_levels=5) and declaration.attributes == ("overall", "light")
    assert declaration.prefix_lm is False and declaration.base is None and declaration.version == "0.1.0"
    assert OLDEST.items() <= declaration.to_dict().items()


def test_a_section_with_a_limit_of_pixels_is_not_for_older_releases():
    """They would score other pictures; without a limit the section is what they wrote themselves."""
    section = declared(max_pixels=50_000).to_dict()
    assert section["format"] == 2 and Declaration.from_dict(section).max_pixels == 50_000
    assert "max_pixels" not in declared().to_dict() and declared().to_dict()["format"] == 1


def test_scores_over_mirror_images_are_not_for_older_releases():
    """They would read one picture alone; without the setting the section is what they wrote themselves."""
    section = declared(score_flip=True).to_dict()
    assert section["format"] == 5 == FORMAT and Declaration.from_dict(section).score_flip is True
    assert "score_flip" not in declared().to_dict() and not Declaration.from_dict(OLDEST).score_flip
    with pytest.raises(ValueError, match="score_flip is 1; expected true or false"):
        declared(score_flip=1)


def test_ranges_of_attributes_are_not_for_older_releases():
    """They would read the scores on the common range; where all share one, the section is what they wrote."""
    mixed = replace(SPACE, attribute_ranges={"delta": (-10, 10), "light": SPACE.range})
    section = declared(space=mixed, attributes=("overall", "light", "delta")).to_dict()
    assert section["format"] == 3 < FORMAT and section["attribute_ranges"] == {"delta": [-10.0, 10.0]}
    config = SimpleNamespace(roc=json.loads(json.dumps(section)))
    declaration = declaration_of(config)
    assert declaration is declaration_of(config)  # parsed once
    assert [space.range for space in declaration.spaces] == [SPACE.range, SPACE.range, (-10, 10)]
    assert declaration.to_dict() == section
    first = declared(space=mixed, attributes=("delta", "light")).space
    assert first.range == (-10, 10) and first.attribute_ranges == {"light": SPACE.range}
    with pytest.raises(ValueError, match="a range for delta, but the attributes are overall"):
        declared(space=mixed)


def test_keys_of_a_later_release_are_kept():
    declaration = Declaration.from_dict({**OLDEST, "weather": "fine"})
    assert replace(declaration, dataset="mine").to_dict()["weather"] == "fine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": FORMAT + 1, "version": "9.0"}, rf"format {FORMAT + 1}, written by roc 9.0; .* Update it: pip"),
        ({"token_id": None}, r"token_id is None; expected the row of \[SCORE\], 0 or above"),
        ({"token_id": -1}, "token_id is -1; expected"),
        ({"token_id": True}, "token_id is True; expected"),
        ({"max_score": 0.0}, "range 1..0 is empty"),
        ({"attributes": "overall"}, "attributes is the text 'overall'; expected a list of names"),
        ({"attributes": []}, "attributes must be distinct names, at least one; got"),
        ({"attributes": ["overall"]}, r"holds 2 \[SCORE\] for 1 attributes"),
        ({"ce_weight": -1}, "ce_weight is -1; expected a number of at least 0"),
        ({"l1_weight": "much"}, "l1_weight is 'much'; expected a number"),
        ({"emd_weight": float("nan")}, "emd_weight is nan; expected a number"),
        ({"l1_scale": "log"}, "l1_scale is 'log'; expected one of unit, native"),
        ({"image_aspect_ratio": "crop"}, "image_aspect_ratio is 'crop'; expected one of keep, pad"),
        ({"max_pixels": 255}, "max_pixels is 255; expected a whole number of at least 256, or null"),
        ({"max_pixels": "many"}, "max_pixels is 'many'; expected a whole number"),
        ({"published_losses": "yes"}, "published_losses is 'yes'; expected true or false"),
        ({"question": 3}, "question is 3; expected text"),
        ({"dataset": 3}, "dataset is 3; expected text or null"),
    ],
)
def test_a_section_that_cannot_be_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        Declaration.from_dict({**OLDEST, **changes})


@pytest.mark.parametrize(("missing", "message"), [("token_id", "names no token_id"), ("num_levels", "num_levels")])
def test_what_cannot_be_guessed_has_to_be_there(missing, message):
    with pytest.raises(ValueError, match=message):
        Declaration.from_dict({name: value for name, value in OLDEST.items() if name != missing})


def test_a_section_is_a_mapping():
    with pytest.raises(ValueError, match=r"config.roc is \['overall'\]; expected what `roc attach` writes"):
        Declaration.from_dict(["overall"])


def test_a_model_tells_its_declaration_and_declares_another():
    model, _, _ = build("llava")
    assert declares_head(model.config) and model.declaration == declaration_of(model.config)
    assert model.declaration.space == model.score_space == SPACE
    declare(model, replace(model.declaration, dataset="mine"))
    assert model.config.roc["dataset"] == "mine" and model.declaration.dataset == "mine"


def test_a_plain_model_declares_nothing():
    model, processor = BUILDERS["llava"]()
    assert not declares_head(model.config)
    with pytest.raises(ValueError, match="this llava model carries no score head"):
        declaration_of(model.config)
    before = len(processor.tokenizer)
    with pytest.raises(ValueError, match="l1_scale is 'log'"):
        attach(model, processor, SPACE, l1_scale="log")
    assert len(processor.tokenizer) == before and not declares_head(model.config)


def reads_a_key(node):
    """Finds `roc[...]`, `x.roc[...]`, `roc.get(...)`, `x.roc |= ...`: code that knows the keys of the section."""

    def names_it(part):
        return getattr(part, "id", None) == "roc" or getattr(part, "attr", None) == "roc"

    return (
        (isinstance(node, ast.Subscript) and names_it(node.value))
        or (isinstance(node, ast.Attribute) and node.attr in ("get", "update") and names_it(node.value))
        or (isinstance(node, ast.AugAssign) and names_it(node.target))
    )


def test_nobody_else_reads_the_section_by_key():
    files = [path for folder in ("roc", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        if path != ROOT / "roc/model/declaration.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if reads_a_key(node)
    ]
    assert found == []


@pytest.mark.parametrize("code", ["a.roc['b']", "roc['b']", "a.roc.get('b')", "a.roc |= {}"])
def test_reading_by_key_is_noticed(code):
    assert any(map(reads_a_key, ast.walk(ast.parse(code))))


def test_a_calibration_is_read_where_the_head_is(tmp_path):
    """A temperature divides the logits, also of a copy on disk, and the head alone has it in its weight."""
    model, processor = build("llava")[:2]
    before = scores_of(model, processor)
    assert scores_of(model, processor).tolist() == before.tolist()
    intervals = Intervals(level=0.9, half_widths={"overall": 0.5}, rows={"overall": 20}, scores={}, stds={})
    calibration = Calibration(data="ab", rows=20, sample=("cd",), temperature=4.0, intervals=intervals)
    declare(model, replace(model.declaration, calibration=calibration))
    after = scores_of(model, processor)
    save(model, processor, tmp_path)
    copy, _ = load(tmp_path)
    assert copy.declaration == model.declaration and copy.declaration.calibration.intervals == intervals
    assert scores_of(copy, processor).tolist() == after.tolist() != before.tolist()
    declaration, weight = read_head(tmp_path)
    assert declaration.temperature == 1 and declaration.calibration.intervals == intervals
    torch.testing.assert_close(weight, copy.score_head.weight.data / 4)
    declare(copy, copy.declaration.uncalibrated())
    assert scores_of(copy, processor).tolist() == before.tolist()


def test_only_a_calibration_that_moves_scores_is_not_for_older_releases():
    assert declared(calibration=Calibration(data="ab", rows=3)).to_dict()["format"] == 1
    assert declared(calibration=Calibration(data="ab", rows=3, temperature=2)).to_dict()["format"] == 4
    plain = SimpleNamespace(model_type="llava", roc=declared(calibration=Calibration(data="ab", rows=3)).to_dict())
    assert declaration_of(plain) is declaration_of(plain)  # parsed once


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"data": "ab", "rows": 3, "temperature": 0}, "temperature is 0; expected a number above 0"),
        ({"data": "ab", "rows": 3, "affine": {"lines": {}}}, "calibration of config.roc cannot be used"),
        ({"data": "ab", "rows": 3, "intervals": {"level": 0.9}}, "calibration of config.roc cannot be used"),
        (["no"], "calibration of config.roc cannot be used"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(section, said):
    with pytest.raises(ValueError, match=said):
        Declaration.from_dict({**OLDEST, "calibration": section})


def test_scales_of_data_sets_are_kept_and_hold_for_the_scores_as_trained():
    scales = (DataScale("AVA", (1, 10)), DataScale("KonIQ", (0, 100), {"overall": (0.0, 30.0, 100.0)}))
    declaration = declared(scales=scales)
    section = json.loads(json.dumps(declaration.to_dict()))
    assert Declaration.from_dict(section) == declaration and section["format"] == 1
    assert declaration_of(SimpleNamespace(roc=section)).scales == scales
    assert "scales" not in declared().to_dict()
    assert declaration.scale("KonIQ", "CK") is declaration.scales[1]
    moved = replace(declaration, calibration=Calibration(data="0", rows=9, temperature=2.0))
    with pytest.raises(ValueError, match="the scale 'KonIQ' of CK was learnt for its scores as trained"):
        moved.scale("KonIQ", "CK")
    with pytest.raises(ValueError, match="there are links of light, but the attributes are overall"):
        declared(scales=[DataScale("A", (0, 1), {"light": (0.0, 1.0)})])
    with pytest.raises(ValueError, match="expected distinct names"):
        declared(scales=scales[:1] * 2)
