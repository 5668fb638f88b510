"""Every parameter has one part, whatever the family."""

import pytest
from heads import build
from tiny_models import BUILDERS

from roc.model.parts import PARTS, freeze, parameter_parts


@pytest.mark.parametrize("family", BUILDERS)
def test_every_parameter_has_its_part(family):
    model, _, _ = build(family)
    parts = parameter_parts(model)
    assert list(parts) == [name for name, _ in model.named_parameters()]
    assert set(parts.values()) == set(PARTS)
    for name, part in parts.items():
        if "layers" in name and "language_model" in name:
            assert part == "language"
        if name == "score_head.weight":
            assert part == "head"


@pytest.mark.parametrize("family", BUILDERS)
def test_frozen_parts_get_no_gradient(family):
    model, _, _ = build(family)
    freeze(model, ["vision", "language"])
    parts = parameter_parts(model)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parts[name] not in ("vision", "language"))


def test_a_part_the_model_lacks_is_refused():
    model, _, _ = build("llava")
    with pytest.raises(ValueError, match="Cannot freeze audio: this model has"):
        freeze(model, ["audio"])
