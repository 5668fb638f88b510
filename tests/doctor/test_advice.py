"""What to set, found out by showing images to the processor."""

import pytest
from tiny_models import tiny_llava, tiny_qwen2_5_vl

from roc.doctor.advice import picture_fit
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.score_space import ScoreSpace


@pytest.mark.parametrize(
    ("fit", "builder", "aspect_ratio"),
    [
        ("squeezes", tiny_llava, "keep"),
        ("pads", tiny_llava, "pad"),
        ("keeps", tiny_qwen2_5_vl, "keep"),
        ("crops", lambda: cropping(*tiny_llava()), "keep"),
    ],
    ids=["squeezes", "pads", "keeps", "crops"],
)
def test_what_the_processor_does_with_shapes(fit, builder, aspect_ratio):
    model, processor = builder()
    attach(model, processor, ScoreSpace(1, 10, 10), image_aspect_ratio=aspect_ratio)
    assert picture_fit(RocCollator(processor, model.config.roc)) == fit


def cropping(model, processor):
    processor.image_processor.do_center_crop = True
    processor.image_processor.size = {"shortest_edge": 28}
    processor.image_processor.crop_size = {"height": 28, "width": 28}
    return model, processor
