"""The module in a model: attaching changes no bit, it is saved and loaded with the model, and says what it needs."""

import copy
from types import SimpleNamespace

import pytest
import torch
from backbones import backbone
from heads import ATTRIBUTES, SPACE, fill_head, picture, record
from PIL import Image
from tiny_models import tiny_llava, tiny_qwen2_5_vl, tiny_smolvlm
from transformers import AutoModelForImageTextToText, CLIPImageProcessorPil

from roc.agree.anchor_loss import anchor_loss
from roc.agree.branches import BRANCHES
from roc.agree.extension import Agree, try_out
from roc.agree.hosts import Patches
from roc.agree.maps import attribute_maps
from roc.checkpoint.folder import load, save
from roc.checkpoint.head_file import take_head
from roc.model.adapters import add_lora, merged
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.extensions import add_extension, extensions_of
from roc.model.parts import parameter_parts
from roc.model.processing import save_processor
from roc.scoring.one_forward import one_forward

PICTURES = [picture(i) for i in range(3)]
_CLIP = CLIPImageProcessorPil()
SETTINGS = {"width": 8, "mean": list(_CLIP.image_mean), "std": list(_CLIP.image_std)}


def routed_model(kind="resnet", filled=True, **settings):
    model, processor, collator = backbone(kind)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        add_extension(model, "agree", {**SETTINGS, **settings})
        if filled:
            for weight in model.extensions.parameters():
                torch.nn.init.normal_(weight, std=0.3)
    return model, processor, collator


def rows(scores=(2.0, 5.0, 8.0)):
    return [
        (record(str(i), scores={"overall": score}), [shown])
        for i, (score, shown) in enumerate(zip(scores, PICTURES, strict=True))
    ]


@pytest.mark.parametrize("kind", ["resnet", "swinv2"])  # batch normalisation, dropped paths
def test_attaching_changes_no_bit_and_training_it_does(kind):
    plain, _, collator = backbone(kind)
    model, _, _ = routed_model(kind, filled=False)
    batch = collator(rows())
    for mode in (False, True):
        torch.manual_seed(0)  # Swin drops paths in training
        before = plain.train(mode)(**batch)
        torch.manual_seed(0)
        after = model.train(mode)(**batch)
        assert torch.equal(before.score_logits, after.score_logits)
    for one, other in zip(plain.buffers(), model.buffers(), strict=True):
        assert torch.equal(one, other)  # no map goes into the statistics of batch normalisation
    before.loss.backward()
    after.loss.backward()
    for name, weight in plain.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name].grad, weight.grad)
    assert model.extensions["agree"].module.out.weight.grad.any()
    filled, _, _ = routed_model(kind)
    score = one_forward(plain.eval(), collator.scoring_batch(PICTURES)).scores
    assert (one_forward(filled, collator.scoring_batch(PICTURES)).scores - score).abs().max() > 1e-3


def test_a_checkpoint_scores_the_same_to_the_bit(tmp_path):
    model, processor, collator = routed_model(anchor_width=4)
    torch.nn.init.normal_(model.extensions["agree"].anchors)
    scores = one_forward(model, collator.scoring_batch(PICTURES)).scores
    save(model, processor, tmp_path)
    again, its_processor = load(tmp_path)
    batch = RocCollator(its_processor, again.declaration).scoring_batch(PICTURES)
    assert torch.equal(one_forward(again, batch).scores, scores)
    twin = copy.deepcopy(model)
    torch.nn.init.zeros_(twin.extensions["agree"].module.out.weight)
    torch.nn.init.zeros_(twin.extensions["agree"].module.out.bias)
    assert torch.equal(one_forward(model, batch).scores, scores)  # the copy has hooks of its own
    assert not torch.equal(one_forward(twin, batch).scores, scores)


def test_weights_of_the_batch_count_and_teach_the_predictor_alone():
    model, _, collator = routed_model()
    batch = collator(rows())
    one, other = torch.eye(5)[[0, 1, 2]], torch.eye(5)[[4, 4, 4]]
    scores = [model(**batch, routing_weights=weights).scores[:, 0] for weights in (one, other)]
    assert (scores[0] - scores[1]).abs().max() > 1e-4
    predicted = model(**batch)
    by_predictor = model.extensions["agree"].predictor
    seen = []
    by_predictor.register_forward_hook(lambda _, args, logits: seen.append(logits.detach()))
    given = model(**batch, routing_weights=one)
    again = model(**batch, routing_weights=seen[0].softmax(dim=-1))
    torch.testing.assert_close(again.scores, predicted.scores, equal_nan=True)
    divergence = torch.nn.functional.kl_div(seen[0].log_softmax(-1), one, reduction="batchmean")
    torch.testing.assert_close(given.loss, given.l1_loss + 0.2 * divergence)
    half = model(**batch, routing_weights=one, num_scores_in_batch=6)
    torch.testing.assert_close(half.loss, given.loss / 2)  # a micro-batch that holds half of the step's scores
    grads = torch.autograd.grad(given.loss - given.l1_loss, list(model.parameters()), allow_unused=True)
    reached = {
        name for (name, _), grad in zip(model.named_parameters(), grads, strict=True) if grad is not None and grad.any()
    }
    assert reached and all(".predictor." in name for name in reached)


def test_mirror_images_have_maps_of_their_own_and_the_weights_of_the_photo():
    model, _, collator = routed_model()
    batch = collator.scoring_batch(PICTURES) | {"routing_weights": torch.eye(5)[:3]}
    plain = one_forward(model, batch).scores
    other = one_forward(model, {**batch, "pixel_values": batch["pixel_values"].flip(-1)}).scores
    torch.testing.assert_close(one_forward(model, batch, with_mirror=True).scores, (plain + other) / 2)
    assert not torch.equal(plain, other)


def test_what_is_switched_off_is_not_there():
    model, _, collator = routed_model(routing=False)
    assert {type(one) for one in extensions_of(model).values()} == {Agree}
    assert not any("predictor" in name or "fusions" in name for name, _ in model.named_parameters())
    batch = collator(rows())
    assert torch.equal(model(**batch).loss, model(**batch, routing_weights=torch.eye(5)[:3]).loss)
    parts = parameter_parts(model)
    assert {part for name, part in parts.items() if name.startswith("extensions.")} == {"head"}


def test_anchors_of_a_batch_stand_in_for_those_of_the_checkpoint():
    model, _, collator = routed_model(anchor_width=4)
    batch = collator(rows())
    own = model(**batch).score_logits[:, :1]
    anchors = torch.randn(3, len(BRANCHES), 4)
    assert not torch.equal(model(**batch, anchors=anchors).score_logits[:, :1], own)
    assert torch.equal(model(**batch, anchors=torch.zeros(3, len(BRANCHES), 4)).score_logits[:, :1], own)
    with pytest.raises(ValueError, match=r"anchors is \(3, 6, 5\) for 3 pictures; expected \(3, 6, 4\)"):
        model(**batch, anchors=torch.zeros(3, 6, 5))
    with pytest.raises(ValueError, match=r"routing_weights is \(3, 4\), .* features of 3 pictures"):
        model(**batch, routing_weights=torch.zeros(3, 4))


def test_a_photo_without_anchors_gets_those_of_the_checkpoint():
    model, _, collator = routed_model(anchor_width=4, own_anchors=True)
    torch.nn.init.normal_(model.extensions["agree"].anchors)
    batch, anchors = collator.scoring_batch(PICTURES), torch.randn(3, len(BRANCHES), 4)
    by_mean, by_own = one_forward(model, batch).scores, one_forward(model, {**batch, "anchors": anchors}).scores
    anchors[1] = float("nan")
    found = one_forward(model, {**batch, "anchors": anchors}).scores
    assert torch.equal(found[[0, 2]], by_own[[0, 2]]) and torch.equal(found[1], by_mean[1])
    assert not torch.equal(by_own[1], by_mean[1])


@pytest.mark.parametrize("fusion", [True, False])
def test_the_anchor_loss_is_part_of_training_alone(fusion):
    model, _, collator = routed_model(routing=False, anchor_width=4, anchor_loss=0.5, fusion=fusion)
    torch.manual_seed(0)
    anchors = torch.nn.functional.normalize(torch.randn(3, len(BRANCHES), 4), dim=-1)
    batch, module = {**collator(rows()), "anchors": anchors}, model.extensions["agree"]
    assert torch.equal(model.eval()(**batch).loss, model(**batch).l1_loss) and module.loss() is None
    pooled = {}
    for name, branch in module.module.branches.items():  # (3 photos x cells, 1, C)
        branch.register_forward_hook(
            lambda _, args, out, name=name: pooled.update({name: out.view(3, -1, out.shape[-1]).mean(dim=1)})
        )
    found = model.train()(**batch)
    aims = dict(zip(BRANCHES, anchors.unbind(dim=1), strict=True))
    expected = anchor_loss({name: module.project(rows) for name, rows in pooled.items()}, aims)
    torch.testing.assert_close(found.loss, found.l1_loss + 0.5 * expected)
    grads = torch.autograd.grad(module.loss(), list(model.parameters()), allow_unused=True)
    reached = {name for (name, _), one in zip(model.named_parameters(), grads, strict=True) if one is not None}
    assert all(any(f".branches.{name}." in one for one in reached) for name in BRANCHES)
    assert any("vision_tower" in name for name in reached) and not any("router" in name for name in reached)
    assert bool(len(module.module.fusions)) == fusion


def test_without_fusion_and_anchor_loss_nothing_of_anchors_is_there():
    plain, _, _ = routed_model()
    assert not any("anchor" in name or "project" in name for name in plain.state_dict())
    fused, _, collator = routed_model(anchor_width=4)
    assert not hasattr(fused.extensions["agree"], "project")
    found = fused.train()(**collator(rows()))
    assert torch.equal(found.loss, found.l1_loss)


def test_a_forward_that_goes_past_the_module_is_refused(monkeypatch):
    model, processor = tiny_llava()
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    add_extension(model, "agree", SETTINGS)
    try_out(model, processor)
    del model.model.get_image_features  # as in a family whose forward never asks it
    with pytest.raises(ValueError, match="takes the features of pictures from elsewhere"):
        try_out(model, processor)


def test_where_the_module_cannot_be_it_is_refused(tmp_path, monkeypatch):
    model, processor, _ = routed_model()
    with pytest.raises(ValueError, match="has the extension agree already"):
        add_extension(model, "agree", SETTINGS)
    with pytest.raises(ValueError, match="has the extension agree, which only roc computes"):
        take_head(model)
    unlike = SimpleNamespace(config=SimpleNamespace(), model=None, score_head=model.score_head, training=False)
    with pytest.raises(ValueError, match="a SimpleNamespace has no get_image_features"):
        add_extension(unlike, "agree", SETTINGS)
    save(model, processor, tmp_path)
    for name in ("roc.agree.extension", "roc.agree"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ValueError, match="has the extension 'agree', and this installation of roc has no such room"):
        load(tmp_path)


@pytest.mark.parametrize("builder", [tiny_llava, tiny_qwen2_5_vl, tiny_smolvlm])
def test_at_the_visual_tokens_of_a_multimodal_model(builder, tmp_path):
    """Attaching changes no bit; a photo's own weights count; the checkpoint scores the same to the bit."""
    model, processor = builder()
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model)
    collator = RocCollator(processor, model.declaration)
    batch, trained = collator.scoring_batch(PICTURES), collator(rows())
    before = one_forward(model, batch).scores
    loss = model(**trained).loss
    with torch.random.fork_rng():
        torch.manual_seed(5)
        add_extension(model, "agree", SETTINGS)
        assert torch.equal(one_forward(model, batch).scores, before)
        given = model(**trained, routing_weights=torch.eye(5)[:3])
        torch.testing.assert_close(given.loss - model.extensions["agree"].loss(), loss)
        given.loss.backward()
        assert model.extensions["agree"].module.out.weight.grad.any()
        for weight in model.extensions.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    weights = torch.eye(5)[[0, 1, 2]]
    scores = one_forward(model, {**batch, "routing_weights": weights}).scores
    assert (scores - before).abs().max() > 1e-3
    weights[1] = torch.eye(5)[4]
    moved = (one_forward(model, {**batch, "routing_weights": weights}).scores - scores).abs().amax(dim=1)
    assert moved[1] > 1e-4 and moved[[0, 2]].max() < 1e-5
    alone = one_forward(model, collator.scoring_batch(PICTURES[:1])).scores
    torch.testing.assert_close(alone, one_forward(model, batch).scores[:1], atol=1e-4, rtol=0)
    said = model.generate_with_scores(**collator.prompt_batch(PICTURES[:1]), max_new_tokens=2)
    assert said.sequences.shape == (1, 2)
    save(model, processor, tmp_path)
    again, its_processor = load(tmp_path)
    batch = RocCollator(its_processor, again.declaration).scoring_batch(PICTURES)
    assert torch.equal(one_forward(again, batch).scores, one_forward(model, batch).scores)


def test_maps_of_patches_are_those_of_the_picture_and_padding_stays():
    model, processor = tiny_qwen2_5_vl()
    module = Agree(8, width=8, mean=[0.5] * 3, std=[0.25] * 3)
    patches, grid = Patches.of(model.config), [1, 8, 4]
    picture = (torch.rand(1, 3, 8 * patches.side, 4 * patches.side) - 0.5) / 0.25
    frames = picture.expand(patches.frames, -1, -1, -1)
    rows = patches.rows(frames, grid)
    assert torch.equal(patches.picture(rows, grid), frames)
    made = processor.image_processor([Image.new("RGB", (56, 56), "red")], return_tensors="pt")
    (again, its_grid), *_ = patches.divided(made["pixel_values"], made["image_grid_thw"])
    assert len(patches.picture(again, its_grid).unique(dim=2).unique(dim=3).flatten()) == 3 * patches.frames
    found = module.maps(rows, torch.tensor([grid]), patches)
    expected = attribute_maps(picture * 0.25 + 0.5)
    for name, pixels in found.items():
        torch.testing.assert_close(patches.picture(pixels, grid)[:1], (expected[name] - 0.5) / 0.25)
    grey = torch.zeros(1, 3, 8, 8) + 1e-9  # its hue is 0 in this normalisation, which stands for padding
    assert all(pixels.any() for pixels in module.maps(grey, None, None).values())
    tiles = torch.stack([picture[0], torch.zeros_like(picture[0])])[None]
    assert all(not one[0, 1].any() and one[0, 0].any() for one in module.maps(tiles, None, None).values())


def test_an_adapter_holds_the_branches_and_scores_the_same_to_the_bit(tmp_path):
    model, processor = tiny_llava()
    model.save_pretrained(tmp_path / "base")
    save_processor(processor, tmp_path / "base")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "base")
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        add_extension(model, "agree", {**SETTINGS, "anchor_width": 4})
        torch.nn.init.normal_(model.extensions["agree"].anchors)
        tuned = add_lora(model, rank=2)
    collator = RocCollator(processor, model.declaration)
    optimizer = torch.optim.SGD([weight for weight in tuned.parameters() if weight.requires_grad], lr=0.1)
    for _ in range(2):
        tuned(**collator(rows()), routing_weights=torch.eye(5)[:3]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.eval()
    assert tuned.extensions["agree"].module.out.weight.any()
    batch = collator.scoring_batch(PICTURES)
    scores = one_forward(tuned, batch).scores
    save(tuned, processor, tmp_path / "adapter")
    again, _ = load(tmp_path / "adapter")
    assert torch.equal(one_forward(again, batch).scores, scores)
    torch.testing.assert_close(one_forward(merged(again), batch).scores, scores, atol=1e-4, rtol=0)
