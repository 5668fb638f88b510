"""The faults of the released code that a whole training shows: with each of them, one of these tests fails.

1. Weights and features in two orders. 2. Ids that are looked up in another type, so that every photo is weighed alike
(see also tests/agree/test_table.py and test_routing.py). 3. Modules that no optimiser group holds. 4. States chosen by
the test photos. 5. A loss that jumps after the warm-up: `test_no_loss_jumps_where_the_weights_begin_to_count` in
tests/training/test_error_weights.py.
"""

import numpy as np
import pytest
import torch
from backbones import SIDE, encoder
from training_runs import ratings
from transformers import CLIPImageProcessorPil

from roc.agree.anchor_features import write_features
from roc.agree.attributes import ATTRIBUTES
from roc.agree.branches import OVERALL
from roc.agree.table import COLUMNS, PREFIX
from roc.agree.train import AgreeJob
from roc.agree.train_config import AgreeConfig
from roc.data.parquet import write_parquet

SPLITS = ("test", "train", "train", "train", "val", "train", "val", "test", "val", "train")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """Makes that of a whole `roc agree train` with every switch on; each photo leans on one attribute alone.

    The table keeps ids as whole numbers and its columns in the order of the released one.
    """
    folder = tmp_path_factory.mktemp("bugs")
    encoder("resnet").save_pretrained(folder / "resnet")
    shown = CLIPImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    shown.save_pretrained(folder / "resnet")
    data = ratings(folder, [f"{3 + i % 5},{split},{i}" for i, split in enumerate(SPLITS)], "image,score,split,id")
    rows = [
        {
            "id": place,
            "fold": 1,
            **{PREFIX + name: float(name == ATTRIBUTES[place % 5]) for name in ATTRIBUTES},
            "f": "f",
        }
        for place in range(len(SPLITS))
    ]
    order = ("id", "fold", *(PREFIX + name for name in ("brightness", "contrast", "blur", "hue", "saturation")), "f")
    assert set(order) < set(COLUMNS)
    write_parquet(folder / "sens.parquet", rows, order, '{"kind": "sensitivity"}')
    anchors = np.eye(6, 8, dtype="f4")
    write_features(folder / "anchors.safetensors", [anchors], None, 8, {})
    config = AgreeConfig(
        model_name_or_path=str(folder / "resnet"), data_path=data, output_dir=str(folder / "out"), report_to="none",
        routing=True, sensitivity=str(folder / "sens.parquet"), calibrated=False, fusion=True, anchor_loss=0.1,
        anchors=str(folder / "anchors.safetensors"), branch_width=16, error_aware=True, threads=1,
        per_device_train_batch_size=4, num_train_epochs=2, learning_rate=1e-2,
    )  # fmt: skip
    job = AgreeJob(config)
    job.check()
    arguments, data = job.arguments(), job.read()
    job.limit_validation(arguments, data)
    model, processor = job.build(data)
    return job.trainer(data, arguments, model, processor)[0]


def test_a_photo_trains_the_branch_of_the_attribute_that_it_leans_on(trainer):
    module = trainer.model.extensions["agree"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in (module.module.out.weight, trainer.model.score_head.weight):
            torch.nn.init.normal_(weight, std=0.1)
    router, fusions = module.module.router, module.module.fusions.values()
    for layer in (router.attributes, router.final, *(fusion.joined for fusion in fusions)):
        torch.nn.init.constant_(layer.bias, 3.0)  # no gradient ends at a ReLU
    adapters = {name: branch.up.weight for name, branch in module.module.branches.items()}
    trainer.model.eval()  # no anchor loss, which reaches every branch
    for record, pictures in trainer.train_dataset:
        batch = trainer.data_collator([(record, pictures)])
        grads = torch.autograd.grad(trainer.model(**batch).l1_loss, list(adapters.values()), allow_unused=True)
        moved = {name for name, grad in zip(adapters, grads, strict=True) if grad is not None and grad.any()}
        assert moved == {OVERALL, ATTRIBUTES[int(record.id) % 5]} and batch["routing_weights"].max() > 0.99


def test_everything_that_is_not_frozen_learns(trainer):
    model = trainer.model.train()
    optimizer = trainer.create_optimizer()
    groups = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    names = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert names == {name for name, _ in model.named_parameters()}
    assert {name for name, weight in model.named_parameters() if id(weight) in groups} == names
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(5)])
    for _ in range(4):  # what stands behind two layers that start at zero is reached in the third step
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    still = [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]
    assert not still


def test_states_are_chosen_by_validation_photos_alone(trainer):
    seen = {
        part: {record.id for record, _ in rows}
        for part, rows in (("train", trainer.train_dataset), ("val", trainer.eval_dataset))
    }
    assert seen == {part: {str(i) for i, one in enumerate(SPLITS) if one == part} for part in ("train", "val")}
    assert trainer.args.load_best_model_at_end and trainer.args.metric_for_best_model == "srcc"
