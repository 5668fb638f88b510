"""The whole model against the recording, and the abilities of a model of `transformers`."""

import copy
import json
import re
import statistics
import time

import numpy as np
import pytest
import torch
from PIL import Image
from recording import (
    CASES,
    FOLDER,
    IMAGE_ID,
    TOLERANCE,
    batch,
    case,
    checkpoint,
    expand,
    expected,
    facts,
    generated,
    load,
    pixels,
    published_name,
)
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor
from transformers.conversion_mapping import get_model_conversion_mapping

from roc.data.records import Record
from roc.model.adapters import lora_targets
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.losses import batch_emd, smooth_l1, soft_cross_entropy
from roc.model.mplug_owl2.configuration import MplugOwl2Config
from roc.model.mplug_owl2.modeling import UNUSED_KEYS, MplugOwl2ForConditionalGeneration, MplugOwl2Model
from roc.model.parts import parameter_parts
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import one_forward

PROMPT = expand(generated()["prompt_ids"])
ANSWERS = [result["new_ids"] for result in generated()["fp32"]["one_by_one"]]
# Rows of unequal length, with one image, with two, with none, and the images of each.
ROWS = [
    (PROMPT, (0,)),
    (expand(expected()["two_images.input_ids"][0].tolist()), (1, 3)),
    (expected()["text_only.input_ids"][0].tolist(), ()),
    (PROMPT[3:], (2,)),
]
TWO_IMAGES = {"input_ids": torch.tensor([ROWS[1][0]]), "pixel_values": pixels(1, 3)}


def logits(model, **inputs):
    with torch.no_grad():
        return model(**inputs).logits


def alone(model, row):
    ids, images = ROWS[row]
    return logits(model, input_ids=torch.tensor([ids]), pixel_values=pixels(*images) if images else None)[0]


def mixed_batch(side):
    return {**batch([ids for ids, _ in ROWS], side), "pixel_values": pixels(0, 1, 3, 2)}


# What was recorded


@pytest.mark.parametrize("name", CASES)
def test_logits_of_every_case(name):
    valid = expected()[f"case.{name}.expanded_attention_mask"]
    inputs = case(name)
    assert torch.equal(inputs["attention_mask"].bool(), valid)
    assert torch.equal(inputs["input_ids"] == IMAGE_ID, expected()[f"case.{name}.modality_indicators"].bool())
    found = logits(checkpoint(), **inputs)
    torch.testing.assert_close(found[valid], expected()[f"case.{name}.logits"][valid], **TOLERANCE)


def test_logits_with_two_images_in_a_row():
    torch.testing.assert_close(logits(checkpoint(), **TWO_IMAGES), expected()["two_images.logits"], **TOLERANCE)


def test_answers_one_by_one():
    for image, answer in enumerate(ANSWERS):
        ids = torch.tensor([PROMPT])
        found = checkpoint().generate(input_ids=ids, pixel_values=pixels(image), max_new_tokens=32, do_sample=False)
        assert found[0, len(PROMPT) :].tolist() == answer


def test_answers_as_a_batch():
    answers = checkpoint().generate(
        **batch([PROMPT] * 6),
        pixel_values=pixels(*range(6)),
        max_new_tokens=32,
        do_sample=False,
        pad_token_id=2,
        output_logits=True,
        return_dict_in_generate=True,
    )
    recorded = [result["new_ids"] for result in generated()["fp32"]["batch_of_all"]["results"]]
    assert answers.sequences[:, len(PROMPT) :].tolist() == recorded
    steps, lengths = torch.stack(answers.logits, dim=1), [len(answer) for answer in ANSWERS]
    for row, length in enumerate(lengths):
        golden = expected()["generate.all_step_logits"][row, :length]
        torch.testing.assert_close(steps[row, :length], golden, **TOLERANCE)


@pytest.mark.parametrize("name", ["padded", "multi"])
def test_gradients(name):
    """Gradients of the published objective, computed from the logits, whose last ten rows are the levels."""
    recorded = facts()["gradients"][name]
    model = copy.deepcopy(checkpoint()).requires_grad_(True)
    outputs, labels = model(**case(name)).logits, expected()[f"case.{name}.expanded_labels"]
    text = torch.nn.functional.cross_entropy(outputs[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    rows, positions = expected()[f"case.{name}.score_index"].T
    levels = outputs[rows, positions, -10:]
    scores = levels.softmax(-1) @ torch.linspace(1, 10, 10)
    truth, votes = expected()[f"case.{name}.gt_score"].flatten(), expected()[f"case.{name}.target"].reshape(-1, 10)
    weights, distribution = recorded["weights"], levels.softmax(-1)
    loss = text + weights["l1_weight"] * smooth_l1(scores, truth)
    loss = loss + weights["ce_weight"] * soft_cross_entropy(levels, votes)
    loss = loss + weights["emd_weight"] * batch_emd(distribution, votes)
    assert loss.item() == pytest.approx(recorded["loss"], rel=1e-4)
    loss.backward()
    gradients = {published_name(name): parameter.grad for name, parameter in model.named_parameters()}
    assert set(recorded["norms"]) - set(gradients) == {"learned_weight"}
    for key, gradient in gradients.items():
        if recorded["norms"][key] > 1e-5:
            assert float(gradient.norm()) == pytest.approx(recorded["norms"][key], rel=1e-3), key
    gradients["embed_tokens_tail"] = gradients["model.embed_tokens.weight"][-11:]
    gradients["lm_head_tail"] = gradients["lm_head.weight"][-11:]
    for key, value in expected().items():
        if key.startswith(f"grad.{name}."):
            torch.testing.assert_close(gradients[key.removeprefix(f"grad.{name}.")], value, atol=1e-4, rtol=1e-3)


# Padding, batches, caches


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_does_not_depend_on_padding_or_its_neighbours(side, implementation):
    inputs = mixed_batch(side)
    model = checkpoint()
    model.set_attn_implementation(implementation)
    try:
        found = logits(model, **inputs)
    finally:
        model.set_attn_implementation("sdpa")
    for row in range(len(ROWS)):
        valid = inputs["attention_mask"][row].bool()
        torch.testing.assert_close(found[row, valid], alone(model, row), **TOLERANCE)
    assert found.isfinite().all()


@pytest.mark.parametrize("settings", [{}, {"cache_implementation": "static"}, {"use_cache": False}])
def test_unequal_prompts_are_answered_in_one_batch(settings):
    model, inputs = checkpoint(), mixed_batch("left")
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 2, **settings}
    together = model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]
    for row, (ids, images) in enumerate(ROWS):
        single = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        images = {"pixel_values": pixels(*images)} if images else {}
        answer = model.generate(**single, **images, **settings)[0, len(ids) :]
        assert together[row, : len(answer)].tolist() == answer.tolist()


def test_the_cache_changes_nothing():
    model, ids = checkpoint(), torch.tensor([PROMPT])
    whole = logits(model, input_ids=ids, pixel_values=pixels(0))
    cut = PROMPT.index(IMAGE_ID) - 2
    with torch.no_grad():
        before = model(input_ids=ids[:, :cut], use_cache=True)
        after = model(input_ids=ids[:, cut:], pixel_values=pixels(0), past_key_values=before.past_key_values)
    torch.testing.assert_close(torch.cat([before.logits, after.logits], dim=1), whole, **TOLERANCE)


def test_every_sequence_of_a_row_sees_all_of_its_images(monkeypatch):
    model, seen = checkpoint(), []
    plain = model.model.language_model.forward

    def spy(*args, inputs_embeds, **kwargs):
        seen.append(inputs_embeds)
        return plain(*args, inputs_embeds=inputs_embeds, **kwargs)

    monkeypatch.setattr(model.model.language_model, "forward", spy)
    inputs = {"input_ids": TWO_IMAGES["input_ids"].repeat(2, 1), "pixel_values": pixels(1, 3, 0, 2)}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    model.generate(**inputs, num_beams=3, max_new_tokens=1, pad_token_id=2)
    at_image = TWO_IMAGES["input_ids"][0] == IMAGE_ID
    features = model.get_image_features(inputs["pixel_values"]).pooler_output.flatten(0, 1).unflatten(0, (2, -1))
    for row, embeddings in enumerate(seen[0][:, at_image]):
        torch.testing.assert_close(embeddings, features[row // 3])


def test_embeddings_in_place_of_ids():
    model, ids = checkpoint(), torch.tensor([PROMPT])
    at_image = ids == IMAGE_ID
    embeddings = model.get_input_embeddings()(ids.masked_fill(at_image, 0))
    embeddings[at_image] = model.get_image_features(pixels(0)).pooler_output[0]
    inputs = {"inputs_embeds": embeddings, "mm_token_type_ids": at_image.long()}
    assert torch.equal(logits(model, **inputs), logits(model, input_ids=ids, pixel_values=pixels(0)))
    answer = model.generate(**inputs, max_new_tokens=32, do_sample=False)
    assert answer[0].tolist() == ANSWERS[0]


def test_images_may_be_encoded_beforehand():
    model = checkpoint()
    encoded = {"image": model.get_image_features(TWO_IMAGES["pixel_values"])}
    found = logits(model, input_ids=TWO_IMAGES["input_ids"], mm_encoder_outputs=encoded)
    assert torch.equal(found, logits(model, **TWO_IMAGES))


def test_logits_of_the_last_positions_only():
    whole = logits(checkpoint(), **TWO_IMAGES)
    for keep, positions in ((3, [-3, -2, -1]), (torch.tensor([1, 4]), [1, 4])):
        found = logits(checkpoint(), **TWO_IMAGES, logits_to_keep=keep)
        torch.testing.assert_close(found, whole[:, positions], **TOLERANCE)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": torch.tensor([PROMPT])}, r"hold 7 image positions, but the images given have 0 \(0 images"),
        ({**TWO_IMAGES, "pixel_values": pixels(1)}, r"hold 14 image positions, but the images given have 7 \(1 images"),
        ({"input_ids": torch.tensor([[1, 2]]), "pixel_values": pixels(1)}, "hold 0 image positions"),
        ({"inputs_embeds": torch.zeros(1, 2, 64), "pixel_values": pixels(1)}, "take no images beside them"),
        ({**TWO_IMAGES, "mm_encoder_outputs": {"image": ()}}, "not both"),
        ({}, "one of the two"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        checkpoint()(**inputs)


# Training


def test_gradient_checkpointing_changes_nothing():
    inputs = case("mixed")
    labels = expected()["case.mixed.expanded_labels"]
    plain = copy.deepcopy(checkpoint()).requires_grad_(True).train()
    saving = copy.deepcopy(plain)
    saving.gradient_checkpointing_enable()
    layers = [module for module in saving.modules() if type(module).__name__.endswith("Layer")]
    assert len(layers) == 7 and all(layer.gradient_checkpointing for layer in layers)
    losses = [model(**inputs, labels=labels).loss for model in (plain, saving)]
    assert losses[0] == losses[1]
    losses[0].backward()
    losses[1].backward()
    for (name, left), right in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(left.grad, right.grad), name


def test_a_batch_without_images_trains_the_weights_for_text():
    model = copy.deepcopy(checkpoint()).requires_grad_(True).train()
    ids = expected()["text_only.input_ids"]
    model(input_ids=ids, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        used = "visual" not in name and "vision" not in name and "multiway.1" not in name
        assert (parameter.grad is not None) == used, name


# Files


def test_a_published_folder_loads_whole():
    for folder in ("base", "checkpoint"):
        model, report = AutoModelForImageTextToText.from_pretrained(FOLDER / folder, output_loading_info=True)
        assert type(model) is MplugOwl2ForConditionalGeneration
        assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        stored = torch.load(FOLDER / folder / "pytorch_model.bin", weights_only=True)
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, stored[published_name(name)]), name


def test_keys_too_few_and_too_many_are_named(tmp_path):
    stored = torch.load(FOLDER / "base" / "pytorch_model.bin", weights_only=True)
    del stored["model.layers.1.input_layernorm.multiway.1.weight"]
    del stored["model.visual_abstractor.vit_eos"]
    stored["model.layers.0.self_attn.extra.weight"] = stored.pop("model.layers.2.mlp.up_proj.weight")
    torch.save(stored, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((FOLDER / "base" / "config.json").read_bytes())
    model, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert report["missing_keys"] == {
        "model.language_model.layers.2.mlp.up_proj.weight",
        "model.language_model.layers.1.input_layernorm.multiway.1.weight",
        "model.visual_abstractor.vit_eos",
    }
    assert report["unexpected_keys"] == {"model.language_model.layers.0.self_attn.extra.weight"}
    # What is missing starts as in a new model.
    assert (model.model.language_model.layers[1].input_layernorm.multiway[1].weight == 1).all()
    assert 0 < model.model.visual_abstractor.vit_eos.std() < 0.1


def test_saved_and_loaded_again_it_is_the_same(tmp_path):
    model = checkpoint()
    model.save_pretrained(tmp_path / "first")
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "first").eval()
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert torch.equal(logits(again, **TWO_IMAGES), logits(model, **TWO_IMAGES))
    again.save_pretrained(tmp_path / "second")
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    with safe_open(tmp_path / "first" / "model.safetensors", "pt") as tensors:
        assert set(tensors.keys()) == {published_name(name) for name in model.state_dict()}


def test_without_its_head_it_loads_too(tmp_path):
    model = AutoModel.from_pretrained(FOLDER / "base")
    assert type(model) is MplugOwl2Model
    model.save_pretrained(tmp_path)
    again, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_half_precision_keeps_its_dtype_and_its_sense():
    model = load(dtype="bfloat16")
    found = logits(model, **TWO_IMAGES)
    assert found.dtype == torch.bfloat16
    golden = expected()["two_images.logits"]
    assert (found.float() - golden).norm() < 0.05 * golden.norm()


def test_a_copy_is_the_same_and_apart():
    twin = copy.deepcopy(checkpoint())
    assert torch.equal(logits(twin, **TWO_IMAGES), logits(checkpoint(), **TWO_IMAGES))
    twin.lm_head.weight.data.zero_()
    assert logits(checkpoint(), **TWO_IMAGES).any()


def test_tied_embeddings_stay_tied(tmp_path):
    config = AutoConfig.from_pretrained(FOLDER / "base")
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    model = AutoModelForImageTextToText.from_config(config)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert again.lm_head.weight is again.get_input_embeddings().weight


# Full size


def test_every_key_of_the_published_size_is_read_or_known_to_be_unused():
    keys = json.loads((FOLDER / "keys_7b.json").read_text())
    with torch.device("meta"):
        model = MplugOwl2ForConditionalGeneration(MplugOwl2Config())
    # learned_weight, one number, is the only parameter among the keys that are not used; 32 are buffers. Of the keys
    # that are read 12 are.
    assert sum(parameter.numel() for parameter in model.parameters()) == keys["parameter_count"] - 1
    (rename,) = get_model_conversion_mapping(model, add_legacy=False)
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert len(keys["shapes"]) == 895
    unused = {key for key in keys["shapes"] if any(re.search(pattern, key) for pattern in UNUSED_KEYS)}
    assert len(unused) == 33 and len(shapes) - len(list(model.parameters())) == 12
    read = {rename.rename_source_key(key)[0]: shape for key, shape in keys["shapes"].items() if key not in unused}
    assert read == shapes


# The score head


@pytest.fixture(scope="module")
def attached():
    model, processor = load("base"), AutoProcessor.from_pretrained(FOLDER / "base")
    attach(model, processor, ScoreSpace(1, 10, 10), attributes=("overall", "light"))
    with torch.no_grad():
        model.score_head.weight.copy_(torch.randn(10, 64, generator=torch.Generator().manual_seed(3)))
    return model, RocCollator(processor, model.config.roc)


PICTURES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30 + seed, 50, 3), dtype=np.uint8)) for seed in (0, 9)
]


def test_one_forward_reads_what_training_saw(attached):
    model, collator = attached
    reading = one_forward(model, collator.scoring_batch(PICTURES))
    records = [Record(id=str(i), images=("a",), scores={"overall": 5.0, "light": 2.0}) for i in range(2)]
    with torch.no_grad():
        taught = model(**collator([(record, [image]) for record, image in zip(records, PICTURES, strict=True)]))
    torch.testing.assert_close(taught.scores, reading.scores, atol=1e-5, rtol=0)
    assert not torch.allclose(reading.scores[0], reading.scores[1])


def test_the_new_word_takes_the_next_id_and_images_keep_theirs(attached):
    model, _ = attached
    assert model.config.roc["token_id"] == 560 and model.config.text_config.vocab_size == 561
    assert model.config.image_token_id == IMAGE_ID


def test_parts(attached):
    model, _ = attached
    parts = {name: part for name, part in parameter_parts(model).items()}
    assert parts["model.visual_abstractor.vit_eos"] == parts["model.visual_abstractor.visual_fc.weight"] == "projector"
    assert parts["model.vision_model.embeddings.cls_token"] == "vision"
    assert parts["model.language_model.layers.0.self_attn.k_proj.multiway.1.weight"] == "language"
    assert parts["lm_head.weight"] == parts["model.language_model.embed_tokens.weight"] == "embeddings"
    counts = {part: list(parts.values()).count(part) for part in parts.values()}
    assert counts == {"head": 1, "embeddings": 2, "language": 40, "projector": 48, "vision": 31}


def test_lora_reaches_the_weights_of_both_modalities(attached):
    model, _ = attached
    found = lora_targets(model)
    assert len(found) == 3 * 9
    assert [name for name in found if "layers.1.self_attn.v_proj" in name] == [
        f"model.language_model.layers.1.self_attn.v_proj.multiway.{way}" for way in (0, 1)
    ]
    assert len(lora_targets(model, targets=("k_proj",))) == 3 * 2
    assert len(lora_targets(model, targets=("multiway.1", "q_proj"))) == 3 * 3
    with pytest.raises(ValueError, match=r"called down_proj, .*, q_proj, self_attn\.k_proj\.multiway\.0, "):
        lora_targets(model, targets=("0",))


# Cost


def test_a_forward_costs_about_what_a_plain_one_with_eager_attention_does():
    """Compares with a LLaVA of the same widths, depths and lengths, without abstractor and weights per modality."""
    inputs = case("padded")
    ids = inputs["input_ids"]
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    vision, text = checkpoint().config.vision_config, checkpoint().config.text_config
    config = AutoConfig.for_model(
        "llava",
        vision_config={
            "model_type": "clip_vision_model",
            **{key: getattr(vision, key) for key in (*sizes, "image_size", "patch_size")},
        },
        text_config={"model_type": "llama", **{key: getattr(text, key) for key in (*sizes, "vocab_size")}},
        image_token_index=570,
    )
    plain = AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()
    words = ids.masked_fill((ids == IMAGE_ID) | (ids == 570), 5)
    words[:, 20:36] = 570  # 16 patches of an image
    forwards = [
        lambda: logits(checkpoint(), **inputs, use_cache=False),
        lambda: logits(plain, **{**inputs, "input_ids": words}, use_cache=False),
    ]
    ratios = []
    for _ in range(25):
        seconds = []
        for forward in forwards:
            start = time.thread_time()
            forward()
            seconds.append(time.thread_time() - start)
        ratios.append(seconds[0] / seconds[1])
    assert statistics.median(ratios) < 1.5
