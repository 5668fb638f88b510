"""`roc agree train`: from ratings and a table of sensitivities to a checkpoint that scores like any other."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from backbones import backbone, encoder
from heads import picture
from safetensors.torch import load_file
from tiny_models import tiny_llava
from training_runs import QUICK, finetune, ratings
from transformers import BertConfig, BertModel

from roc import Assessment
from roc.agree.anchor_features import write_features
from roc.agree.attributes import ATTRIBUTES
from roc.agree.table import PREFIX, write_table
from roc.agree.train import KnowingCollator, anchored, give_module, routed
from roc.agree.train_config import AgreeConfig
from roc.checkpoint.folder import save
from roc.checkpoint.lookups import notes_of
from roc.commands import agree
from roc.data.parquet import write_parquet
from roc.data.reading import read_records
from roc.model.processing import save_processor
from roc.scoring.one_forward import one_forward
from roc.scoring.sources import Source
from roc.scoring.stamps import stamp_of
from roc.training.run import RunError

ROWS = [f"{3 + i % 5},{'test' if i < 4 else 'train'}" for i in range(12)]
WORDS = ["--max_steps", "3", *QUICK[2:-2], "--val_fraction", "0.3", "--branch_width", "8"]


def table_rows(data):
    """Makes the rows of a table of all photos of a data file, with sensitivities at random."""
    records = read_records(data, space=None)
    values = torch.rand(len(records), 5, generator=torch.Generator().manual_seed(0)).tolist()
    return [
        {"id": record.id, "fold": 1, **{PREFIX + name: number for name, number in zip(ATTRIBUTES, row, strict=True)},
         "f": "abc", "digest": stamp_of(Source(record.id, record.images[0]))[-1]}
        for record, row in zip(records, values, strict=True)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Words for an encoder on disk, ratings, and a table of sensitivities of all photos."""
    folder = tmp_path_factory.mktemp("agree")
    encoder("resnet").save_pretrained(folder / "resnet")
    data = ratings(folder, ROWS, "image,score,split")
    rows = table_rows(data)
    write_table(folder / "sens.parquet", rows, {"settings": {}})
    write_table(folder / "few.parquet", rows[:5], {"settings": {}})
    words = [*WORDS, "--model_name_or_path", str(folder / "resnet"), "--data_path", data]
    return words, folder


@pytest.mark.slow
def test_a_routed_run_leaves_a_checkpoint_that_scores_by_its_predictor(given, tmp_path, capsys):
    words, folder = given
    routed = ["train", *words, "--routing", "true", "--sensitivity", str(folder / "sens.parquet")]
    assert agree.main([*routed, "--learning_rate", "1e-2", "--output_dir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    found = re.search(r"On (\d+) held-out photos.*\n  weights 0\.\d+ .*\n  scores \d\.\d+ .*SRCC -?\d\.\d+ by", printed)
    assert found and int(found[1]) >= 4
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights["extensions.agree.module.out.weight"].any()
    assert weights["extensions.agree.predictor.3.bias"].any()
    first, second = (Assessment(tmp_path / "out").score(str(folder / "0.png"))[0].scores["overall"] for _ in range(2))
    assert first == second
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["command"].startswith("roc agree train")
    assert agree.main([*routed, "--learning_rate", "1e-2", "--output_dir", str(tmp_path / "out")]) == 0
    assert found[0] in capsys.readouterr().out  # finished: its table again
    more = ["train", *words, "--model_name_or_path", str(tmp_path / "out"), "--branch_width", "16"]
    assert agree.main([*more, "--output_dir", str(tmp_path / "more")]) == 2
    assert "differs in routing (True there, False here), width (8 there, 16 here)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_multimodal_model_trains_with_the_branches(given, tmp_path, tuning):
    words, folder = given
    model, processor = tiny_llava()
    model.save_pretrained(tmp_path / "llava")
    save_processor(processor, tmp_path / "llava")
    words = ["train", *words, "--host", "multimodal", "--model_name_or_path", str(tmp_path / "llava"),
             "--check_answers", "2", "--tuning", tuning,
             "--routing", "true", "--sensitivity", str(folder / "sens.parquet")]  # fmt: skip
    frozen = ["--freeze", "vision,projector,language,embeddings"] if tuning == "full" else []
    assert agree.main([*words, *frozen, "--learning_rate", "1e-2", "--output_dir", str(tmp_path / "out")]) == 0
    file = "model.safetensors" if tuning == "full" else "adapter_model.safetensors"
    weights = load_file(tmp_path / "out" / file)
    assert any(weight.any() for name, weight in weights.items() if name.endswith("agree.module.out.weight"))
    if tuning == "full":
        before = load_file(tmp_path / "llava" / file)
        assert all(torch.equal(weights[name], weight) for name, weight in before.items() if "vision_tower" in name)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["backbone", "multimodal"])
def test_with_all_off_the_run_is_the_plain_one_to_the_bit(given, tmp_path, host):
    words, _ = given
    plain = [word for word in words if word not in ("--branch_width", "8")] + ["--host", host]
    if host == "backbone":
        plain += ["--keep_features", "false"]
    else:
        model, processor = tiny_llava()
        model.save_pretrained(tmp_path / "llava")
        save_processor(processor, tmp_path / "llava")
        plain += ["--model_name_or_path", str(tmp_path / "llava"), "--check_answers", "2"]
    off = ["train", *plain, "--decoupling", "false"]
    assert agree.main([*off, "--output_dir", str(tmp_path / "off")]) == 0
    assert finetune(*plain, "--output_dir", str(tmp_path / "plain")) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("off", "plain"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_fixed_sentences_become_anchors_of_the_checkpoint(tmp_path):
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    write_features(tmp_path / "fixed.safetensors", [rows], None, 4, {})
    config = AgreeConfig(fusion=True, anchors=str(tmp_path / "fixed.safetensors"), branch_width=8)
    model, processor, _ = backbone()
    assert give_module(config, model, processor) and give_module(config, model, processor)  # the second finds it there
    np.testing.assert_array_equal(model.extensions["agree"].anchors.numpy(), rows)
    assert set(model.extensions["agree"].module.fusions) == {"overall", *ATTRIBUTES}
    write_features(tmp_path / "others.safetensors", [rows[::-1]], None, 4, {})
    others = AgreeConfig(fusion=True, anchors=str(tmp_path / "others.safetensors"), branch_width=8)
    with pytest.raises(RunError, match="anchors are not those of .*others.safetensors; give the file"):
        give_module(others, model, processor)


def test_without_fusion_anchors_are_aims_alone(tmp_path):
    config = AgreeConfig(anchor_loss=0.3, anchors=anchors(tmp_path / "a.safetensors", 4), branch_width=8)
    model, processor, collator = backbone()
    assert give_module(config, model, processor)
    module = model.extensions["agree"]
    assert module.anchor_weight == 0.3 and not len(module.module.fusions) and module.project.weight.shape == (4, 8)
    save(model, processor, tmp_path / "aimed")
    assert not notes_of(tmp_path / "aimed")
    fused = AgreeConfig(fusion=True, anchors=config.anchors, branch_width=8)
    with pytest.raises(
        RunError, match=r"differs in anchor_loss \(0.3 there, None here\), fusion \(False there, None here"
    ):
        give_module(fused, model, processor)


def photo_anchors(path, data, width=4, skip=(), **changes):
    """Anchors of the photos of a data file, at random."""
    records = [record for record in read_records(data, space=None) if record.id not in skip]
    rows = np.random.default_rng(1).normal(size=(len(records), 6, width)).astype("f4")
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    digests = [changes.get(record.id, stamp_of(Source(record.id, record.images[0]))[-1]) for record in records]
    write_features(path, rows, [record.id for record in records], width, {"weights": "w"}, digests)
    return str(path), dict(zip([record.id for record in records], torch.from_numpy(rows), strict=True))


def test_anchors_of_every_photo_are_in_its_batches_and_their_mean_in_the_checkpoint(given, tmp_path):
    _, folder = given
    file, rows = photo_anchors(tmp_path / "a.safetensors", str(folder / "r.csv"))
    config = AgreeConfig(fusion=True, anchors=file, branch_width=8)
    model, processor, collator = backbone(attributes=("overall",))
    trained = ["4.png", "5.png", "6.png"]
    assert give_module(config, model, processor, trained)
    mean = torch.nn.functional.normalize(torch.stack([rows[name] for name in trained]).mean(dim=0), dim=-1)
    torch.testing.assert_close(model.extensions["agree"].anchors, mean)
    assert (
        model.config.roc_extensions["agree"] | {"own_anchors": True, "anchors_by": {"weights": "w"}}
        == (model.config.roc_extensions["agree"])
    )
    records = [record for record in read_records(str(folder / "r.csv"), space=None) if record.id in trained]
    data = SimpleNamespace(train=records[:2], val=records[2:], test=[])
    found = anchored(config, data)
    batch = KnowingCollator(collator, {"4.png": torch.full((5,), 0.2)}, found)(
        [(record, [picture(0)]) for record in records[::-1]]
    )
    assert torch.equal(batch["anchors"], torch.stack([rows[record.id] for record in records[::-1]]))
    assert "routing_weights" not in batch  # not known of all
    again = AgreeConfig(fusion=True, anchors=file, branch_width=8)
    assert give_module(again, model, processor, trained[:1])  # goes on, with the mean of what it is trained on now
    torch.testing.assert_close(model.extensions["agree"].anchors, rows["4.png"])


@pytest.mark.parametrize(
    ("changes", "more", "expected"),
    [
        (
            {"skip": ("5.png",)},
            [],
            r"lacks 1 of 12 photos \(5.png\); add them by `roc agree anchors` with the same --out",
        ),
        (dict.fromkeys((f"{i}.png" for i in range(12)), None), [], "it holds no digest of a file, by which photos"),
        ({"0.png": "0123456789abcdef"}, [], "0.png is not the picture that the file knows as 0.png"),
        ({}, ["--pairs_path", "PAIRS"], "holds anchors of single photos, and those of pairs_path get none"),
    ],
)
def test_anchors_that_do_not_fit_the_photos(given, tmp_path, capsys, changes, more, expected):
    words, folder = given
    (tmp_path / "p.csv").write_text(f"image_a,image_b,preferred\n{folder}/4.png,{folder}/5.png,a\n")
    more = [str(tmp_path / "p.csv") if word == "PAIRS" else word for word in more]
    file, _ = photo_anchors(tmp_path / "a.safetensors", str(folder / "r.csv"), **changes)
    line = refused([*words, "--fusion", "true", "--anchors", file, *more], capsys, tmp_path)
    assert re.search(f"anchors.*: .*{expected}", line) and line.count("a.safetensors") == 1, line


@pytest.mark.slow
def test_a_run_with_anchors_of_photos_is_scored_by_them(given, tmp_path, capsys):
    words, folder = given
    file, rows = photo_anchors(tmp_path / "a.safetensors", str(folder / "r.csv"))
    out = str(tmp_path / "out")
    words = ["train", *words, "--fusion", "true", "--anchors", file, "--anchor_loss", "0.1", "--learning_rate", "3e-3"]
    assert agree.main([*words, "--output_dir", out]) == 0
    told = re.search(r"On (\d+) held-out photos:\n  scores (\d\.\d+) apart", capsys.readouterr().out)
    assert told and int(told[1]) >= 4
    (note,) = notes_of(out)
    assert f"anchors of {told[1]} photos come from {file}" in note
    assert load_file(tmp_path / "out" / "model.safetensors")["extensions.agree.project.weight"].any()
    one = Assessment(out)
    batch = one.collator.scoring_batch([picture(0)])
    by_own = one_forward(one.model, {**batch, "anchors": rows["0.png"][None]}).scores[0, 0]
    assert one.score(str(folder / "0.png"))[0].scores["overall"].value == pytest.approx(float(by_own), abs=1e-5)
    assert agree.main(["weights", out, "--remove"]) == 0
    by_mean = one_forward(one.model, batch).scores[0, 0]
    assert abs(by_own - by_mean) > 1e-5
    assert Assessment(out).score(str(folder / "0.png"))[0].scores["overall"].value == pytest.approx(
        float(by_mean), abs=1e-5
    )
    capsys.readouterr()
    assert agree.main(["weights", out, "--anchors", file]) == 0
    assert "agree_anchors.safetensors holds the anchors of 12 photos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--routing", "true"], "routing is on and sensitivity is not set; give --sensitivity FILE"),
        (["--routing", "true", "--sensitivity", "FEW"], "few.parquet: the table lacks"),
        (["--sensitivity", "FEW"], "few.parquet and routing is off; add --routing true"),
        (["--fusion", "true", "--anchors", "nowhere.safetensors"], "anchors is nowhere.safetensors, and there is no"),
        (["--fusion", "true"], "fusion is on and anchors is not set; give --anchors FILE, or --fusion false"),
        (["--anchor_loss", "0.1"], "anchor_loss is on and anchors is not set; give --anchors FILE, or --anchor_loss 0"),
        (["--anchors", "FEW"], "few.parquet and fusion is off; add --fusion true or --anchor_loss 0.1"),
        (["--decoupling", "false", "--routing", "true"], "routing is on and decoupling is off"),
        (["--decoupling", "false", "--anchor_loss", "1"], "anchor_loss is on and decoupling is off"),
        (
            ["--routing", "true", "--sensitivity", "FEW", "--pairs_path", "p.jsonl"],
            "routing is on and pairs_path is given",
        ),
        (["--tuning", "lora"], "tuning lora adapts a language model, and host backbone has none"),
    ],
)
def test_switches_without_what_they_need_are_refused(given, tmp_path, capsys, more, message):
    words, folder = given
    more = [str(folder / "few.parquet") if word == "FEW" else word for word in more]
    assert agree.main(["train", *words, *more, "--output_dir", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def refused(words, capsys, tmp_path):
    """Runs the command, which fails, and returns its one line; nothing was trained."""
    out = tmp_path / "out"
    assert agree.main(["train", *words, "--output_dir", str(out)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and not list(out.glob("**/*.safetensors"))
    return error


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda row, place: row | {"digest": "0123456789abcdef"}, r"is not the picture that the table knows as "),
        (lambda row, place: row | {"id": f"other{place}.jpg"}, r"the table lacks \d of \d photos .* Make a table of"),
        (
            lambda row, place: {name.replace("sens_hue", "sens_light"): value for name, value in row.items()},
            "the table is of other attributes",
        ),
        (lambda row, place: row | {"id": "1.png"}, r"the id 1\.png stands there twice, again in row 2; keep one"),
    ],
)
def test_a_table_that_does_not_fit_the_photos(given, tmp_path, capsys, change, expected):
    words, folder = given
    changed = [change(row, place) for place, row in enumerate(table_rows(str(folder / "r.csv")))]
    write_parquet(tmp_path / "sens.parquet", changed, tuple(changed[0]), '{"kind": "sensitivity", "settings": {}}')
    line = refused([*words, "--routing", "true", "--sensitivity", str(tmp_path / "sens.parquet")], capsys, tmp_path)
    assert re.search(f"sens.parquet.*{expected}", line), line


def test_rows_of_several_pictures_have_no_weights_and_no_anchors(given, tmp_path):
    _, folder = given
    records = read_records(str(folder / "r.csv"), space=None)
    records[1] = replace(records[1], images=(*records[1].images, records[0].images[0]))
    file, _ = photo_anchors(tmp_path / "a.safetensors", str(folder / "r.csv"))
    config = AgreeConfig(
        host="multimodal", routing=True, sensitivity=str(folder / "sens.parquet"), fusion=True, anchors=file
    )
    with pytest.raises(RunError, match="sensitivity .*1.png has 2 pictures, and weights belong to one photo"):
        routed(config, records)
    with pytest.raises(RunError, match="anchors .*1.png has 2 pictures, and an anchor belongs to one photo"):
        anchored(config, SimpleNamespace(train=records, val=[], test=[]))


def anchors(path, width):
    rows = np.random.default_rng(0).normal(size=(6, width)).astype("f4")
    write_features(path, [rows / np.linalg.norm(rows, axis=1, keepdims=True)], None, width, {})
    return str(path)


def test_anchors_of_another_width_than_the_checkpoint_was_trained_with(given, tmp_path, capsys):
    words, _ = given
    config = AgreeConfig(fusion=True, anchors=anchors(tmp_path / "four.safetensors", 4), branch_width=8)
    model, processor, _ = backbone(attributes=("overall",))
    give_module(config, model, processor)
    save(model, processor, tmp_path / "fused")
    again = [*words, "--model_name_or_path", str(tmp_path / "fused"), "--fusion", "true"]
    line = refused([*again, "--anchors", anchors(tmp_path / "six.safetensors", 6)], capsys, tmp_path)
    assert "has a module of AGREE that differs in anchor_width (4 there, 6 here)" in line


def test_a_host_without_feature_maps(given, tmp_path, capsys):
    words, _ = given
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    ).save_pretrained(tmp_path / "bert")
    line = refused([*words, "--model_name_or_path", str(tmp_path / "bert")], capsys, tmp_path)
    assert "BertModel takes" in line and "no part of it takes pictures of one size" in line


@pytest.mark.slow
def test_a_batch_of_one_with_error_aware_weights_is_told_once(given, tmp_path, capsys):
    words, _ = given
    one = ["--max_steps", "-1", "--num_train_epochs", "2", "--per_device_train_batch_size", "1"]
    one += ["--error_aware", "true"]
    assert agree.main(["train", *words, *one, "--output_dir", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("a step holds one image, whose weight is always 1") == 1
