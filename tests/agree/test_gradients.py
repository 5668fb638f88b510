"""Gradients by subset: those of the batch, intervals that cover what photos say, sketches, branches."""

import numpy as np
import pytest
import torch
from backbones import backbone
from heads import build, picture, record
from torch import nn

from roc.agree.anchor_features import write_features
from roc.agree.attributes import ATTRIBUTES
from roc.agree.conflicts import cosines
from roc.agree.gradients import branch_parameters, score_loss, shared_block, subset_gradients, with_all
from roc.checkpoint.folder import save
from roc.data.records import Record
from roc.model.adapters import add_lora
from roc.model.collator import RocCollator
from roc.model.extensions import add_extension


class Line(nn.Module):
    """A score that is linear in what a photo holds; the gradient of a photo is its own vector."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.other = nn.Parameter(torch.zeros(3), requires_grad=False)


def photos(rows):
    return [Record(id=str(place), images=(), scores={"overall": float(place)}) for place in range(len(rows))]


def measured(subsets, size):
    """Gradients of photos whose gradients are given."""
    model, rows = Line(size), {}
    records = {name: photos(vectors) for name, vectors in subsets.items()}
    for name, vectors in subsets.items():
        rows |= {id(one): torch.as_tensor(row) for one, row in zip(records[name], vectors, strict=True)}
    found = subset_gradients(
        model, lambda one: model.weight @ rows[id(one)].float(), records, dict.fromkeys(subsets, [model.weight])
    )
    assert model.weight.requires_grad and not model.other.requires_grad
    return found


def test_means_products_and_resamples():
    generator = np.random.default_rng(0)
    subsets = {"hue": generator.normal(size=(40, 6)) + 1, "blur": generator.normal(size=(30, 6)) - 1}
    found = measured(subsets, 6)
    means = np.array([rows.mean(axis=0) for rows in subsets.values()])
    assert found.cosines() == pytest.approx(cosines(means), abs=1e-5)
    assert found.counts == (40, 30) and found.names == ("hue", "blur") and found.parameters == 6
    drawn = found.resampled(200, 0)
    assert drawn.shape == (200, 2, 2) and (drawn[:, 0, 1] < 0).all()
    assert drawn[:, 0, 1].mean() == pytest.approx(found.products[0, 1], rel=0.1)
    toward = with_all(found.products, [0.75, 0.25])
    step = 0.75 * means[0] + 0.25 * means[1]
    assert toward == pytest.approx(means @ step / np.linalg.norm(means, axis=1) / np.linalg.norm(step), abs=1e-5)


def test_a_sketch_keeps_inner_products():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(3, 300_000)).astype(np.float32)
    rows[1] += rows[0]
    found = measured({"hue": rows[:2], "blur": rows[2:]}, rows.shape[1])
    lengths = np.linalg.norm(rows, axis=1)
    assert np.abs(found.photo_products - rows @ rows.T).max() < 0.01 * lengths.max() ** 2
    assert found.products[1, 1] == pytest.approx(lengths[2] ** 2, rel=1e-5)


def test_a_loss_that_is_no_number_names_the_photo():
    with pytest.raises(ValueError, match="the gradient of the loss of 1 is no number"):
        measured({"hue": [[1.0], [float("nan")]]}, 1)


def test_the_gradient_of_a_checkpoint_is_that_of_the_batch(tmp_path):
    model, processor, collator = build("llava", ce_weight=0.5)
    save(model, processor, tmp_path / "model")
    records = []
    for place in range(2):
        picture(place).save(tmp_path / f"{place}.png")
        scores = {"overall": 2.0 + 5 * place, "light": 4.0}
        records.append(Record(id=str(place), images=(str(tmp_path / f"{place}.png"),), scores=scores))
    loaded, loss = score_loss(str(tmp_path / "model"), torch.device("cpu"))
    block = shared_block(loaded)
    assert block.name == "model.language_model.layers.1"
    found = subset_gradients(loaded, loss, {"hue": records}, {"hue": block.parameters})
    own = dict(model.named_modules())[block.name]
    outputs = model(**collator([(one, [picture(place)]) for place, one in enumerate(records)]))
    expected = torch.cat([one.flatten() for one in torch.autograd.grad(outputs.l1_loss, list(own.parameters()))])
    assert found.products[0, 0] == pytest.approx(float(expected.double() @ expected.double()), rel=1e-4)
    assert shared_block(loaded, "vision").name.startswith("model.vision_tower")
    with pytest.raises(ValueError, match="gone.png: no such file"):
        loss(record("gone.png"))


def test_branches_are_found_by_the_names_of_the_attributes():
    model = nn.Module()
    model.branches = nn.ModuleDict({name: nn.Linear(4, 2) for name in ("overall", *ATTRIBUTES)})
    found = branch_parameters(model)
    assert list(found) == list(ATTRIBUTES) and found["hue"].name == "branches.hue"
    assert found["hue"].parameters[0] is model.branches["hue"].weight
    model.branches["hue"] = nn.Linear(5, 2)
    assert branch_parameters(model) is None and branch_parameters(nn.Linear(2, 2)) is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [("resnet", "vision_tower.encoder.stages.2"), ("dinov2", "vision_tower.encoder.layer.0")],
)
def test_the_last_stage_of_a_backbone_is_shared(kind, name):
    block = shared_block(backbone(kind)[0])
    assert block.name == name and block.parameters


def test_the_branches_of_a_trained_module_are_read_with_the_weights_of_the_photos(tmp_path):
    model, processor, _ = backbone()
    add_extension(model, "agree", {"width": 8, "mean": [0.5] * 3, "std": [0.5] * 3})
    torch.nn.init.normal_(model.extensions["agree"].module.out.weight)
    save(model, processor, tmp_path / "model")
    picture(0).save(tmp_path / "0.png")
    photo = Record(id="0", images=(str(tmp_path / "0.png"),), scores={"overall": 2.0, "light": 4.0})
    found = []
    for leading in range(2):
        routing = {"0": [float(place == leading) for place in range(5)]}
        loaded, loss = score_loss(str(tmp_path / "model"), torch.device("cpu"), routing)
        own = branch_parameters(loaded)
        assert own["hue"].name == "extensions.agree.module.branches.hue"
        parameters = {name: own[name].parameters for name in ("brightness", "contrast")}
        found.append(subset_gradients(loaded, loss, dict.fromkeys(parameters, [photo]), parameters).products)
    # A photo moves the branch that it leans on, and no other.
    assert found[0][0, 0] > 0 == found[0][1, 1] and found[1][1, 1] > 0 == found[1][0, 0]


def test_anchors_of_photos_are_those_of_the_training(tmp_path):
    model, processor, _ = backbone()
    settings = {"width": 8, "mean": [0.5] * 3, "std": [0.5] * 3, "anchor_width": 4, "own_anchors": True}
    add_extension(model, "agree", {**settings, "routing": False})
    torch.nn.init.normal_(model.extensions["agree"].module.out.weight)
    save(model, processor, tmp_path / "model")
    picture(0).save(tmp_path / "0.png")
    photo = Record(id="0", images=(str(tmp_path / "0.png"),), scores={"overall": 2.0, "light": 4.0})
    with pytest.raises(ValueError, match="trained with text anchors of single photos, and its run.json does not say"):
        score_loss(str(tmp_path / "model"), torch.device("cpu"))
    with pytest.raises(ValueError, match="a.safetensors is not there; bring the file back"):
        score_loss(str(tmp_path / "model"), torch.device("cpu"), None, tmp_path / "a.safetensors")
    rows = torch.nn.functional.normalize(torch.randn(1, 6, 4), dim=-1)
    write_features(tmp_path / "a.safetensors", rows.numpy(), ["0"], 4, {})
    loaded, loss = score_loss(str(tmp_path / "model"), torch.device("cpu"), None, tmp_path / "a.safetensors")
    by_own = loss(photo)
    loaded.extensions["agree"].anchors.copy_(rows[0])
    batch = RocCollator(processor, loaded.declaration)([(photo, [picture(0)])])
    torch.testing.assert_close(by_own, loaded(**batch).l1_loss)


def test_of_an_adapter_the_trained_branches_are_read():
    model, _, collator = build("llava")
    add_extension(model, "agree", {"width": 8, "mean": [0.5] * 3, "std": [0.5] * 3})
    torch.nn.init.normal_(model.extensions["agree"].module.out.weight)
    tuned = add_lora(model, rank=2)
    own = branch_parameters(tuned)["hue"].parameters
    batch = collator([(record("0"), [picture(0)])])
    loss = tuned(**batch, routing_weights=torch.full((1, 5), 0.2)).l1_loss
    assert all(weight.requires_grad for weight in own)
    assert torch.autograd.grad(loss, own, allow_unused=True)[-1].abs().sum() > 0
