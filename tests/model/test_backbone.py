"""A vision encoder with readout and head: read alike in every way, saved and loaded without losing a bit."""

import pytest
import torch
from backbones import ENCODERS, SIDE, backbone, encoder
from heads import picture, record
from tiny_models import tiny_llava, tiny_qwen2_vl
from transformers import AutoBackbone, AutoConfig, CLIPImageProcessorPil, LlamaConfig, LlamaModel

from roc.checkpoint.folder import load, save
from roc.model.backbone.encoder import feature_map, find_encoder
from roc.model.backbone.inputs import pictures_of
from roc.model.collator import RocCollator
from roc.model.head import read_levels
from roc.model.parts import parameter_parts
from roc.scoring.one_forward import one_forward

PICTURES = [picture(i) for i in range(3)]


@pytest.mark.parametrize("kind", ENCODERS)
def test_scores_are_the_same_in_scoring_training_and_answering_and_after_loading(kind, tmp_path):
    model, processor, collator = backbone(kind)
    scores = one_forward(model, collator.scoring_batch(PICTURES)).scores
    assert scores.shape == (3, 2) and len(scores.unique()) == 6  # two places of three pictures: six scores
    with torch.no_grad():
        trained = model(**collator([(record(str(i)), [shown]) for i, shown in enumerate(PICTURES)]))
    torch.testing.assert_close(trained.scores, scores)
    answers = model.generate_with_scores(**collator.prompt_batch(PICTURES))
    said = torch.stack(answers.score_logits)
    torch.testing.assert_close(read_levels(said, model.score_levels()).scores, scores)
    assert processor.tokenizer.decode(answers.sequences[0]) == "[SCORE] [SCORE]"
    save(model, processor, tmp_path)
    again, its_processor = load(tmp_path)
    batch = RocCollator(its_processor, again.declaration).scoring_batch(PICTURES)
    assert torch.equal(one_forward(again, batch).scores, scores)


def test_every_part_learns_from_a_score_and_words_reach_nothing():
    model, _, collator = backbone(attributes=("overall",))
    talk = (("user", "<|image|>What of <image> and light?"), ("assistant", "I would say [SCORE], no more."))
    rows = [(record(str(i), scores={"overall": 2.0 + i}), [shown]) for i, shown in enumerate(PICTURES)]
    batch, wordy = collator(rows), collator([(record("w", {"overall": 2.0}, conversations=talk), PICTURES[:1])])
    assert torch.equal(wordy["input_ids"], batch["input_ids"][:1])
    out = model.train()(**batch)
    out.loss.backward()
    parts = parameter_parts(model)
    assert set(parts.values()) == {"vision", "language", "embeddings", "head"}
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    assert out.logits.shape[0] == 0


def test_the_feature_map_leaves_out_what_is_no_cell_of_the_picture():
    dinov2, pixels = encoder("dinov2"), torch.rand(2, 3, SIDE, 2 * SIDE)
    tokens = dinov2(pixels).last_hidden_state
    found = feature_map(dinov2, pixels)
    assert tokens.shape[1] == 33 and found.shape == (2, 16, 4, 8)
    assert torch.equal(found[:, :, 1, 2], tokens[:, 1 + 8 + 2])


def test_a_backbone_of_autobackbone_gives_its_last_map():
    config = AutoConfig.for_model("resnet", **ENCODERS["resnet"])
    one, pixels = AutoBackbone.from_config(config).eval(), torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(feature_map(one, pixels), one(pixels).feature_maps[-1])


def test_the_tower_of_a_multimodal_model_is_found_and_other_models_are_refused():
    model, _ = tiny_llava()
    assert find_encoder(model) is model.model.vision_tower
    for other in (
        LlamaModel(LlamaConfig(vocab_size=8, hidden_size=8, num_attention_heads=2, num_hidden_layers=0)),
        tiny_qwen2_vl()[0],
    ):
        with pytest.raises(ValueError, match=f"{type(other).__name__} takes input_ids.*no part of it takes pictures"):
            find_encoder(other)


def test_as_many_pictures_as_rows_and_no_more_places_than_there_are():
    model, _, collator = backbone()
    batch = collator.prompt_batch(PICTURES)
    with pytest.raises(ValueError, match="3 pictures for 2 rows"):
        model(**{**batch, "input_ids": batch["input_ids"][:2]})
    with pytest.raises(ValueError, match="65 places and the model 64"):
        model(batch["input_ids"].expand(3, 65), batch["pixel_values"])


def test_the_square_and_its_normalisation_are_those_of_the_encoders_processor():
    crops = CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 36, "width": 36})
    assert pictures_of(crops) == (36, tuple(crops.image_mean), tuple(crops.image_std))
    plain = CLIPImageProcessorPil(size={"height": 48, "width": 48}, do_center_crop=False, do_normalize=False)
    assert pictures_of(plain) == (48, (0.0,) * 3, (1.0,) * 3)
