"""`roc finetune --host backbone`: from an encoder on disk to a scorer, through the same commands."""

import csv
import json
from unittest.mock import patch

import pytest
from backbones import encoder
from heads import build, picture
from tiny_models import SENTENCES
from training_runs import QUICK, demo, finetune, ratings
from transformers import ConvNextImageProcessorPil

from roc import Assessment
from roc.checkpoint.folder import save
from roc.commands import evaluate, score

ROWS = [f"{3 + i % 5},{2 + i % 4}" for i in range(12)]
WORDS = ["--host", "backbone", *QUICK[:-2], "--attributes", "overall,light", "--val_fraction", "0.3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Words of a finished run from a ConvNeXt with its image processor, the ratings and the checkpoint."""
    folder = tmp_path_factory.mktemp("backbone")
    encoder("convnext").save_pretrained(folder / "convnext")
    ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder / "convnext")
    data, out = ratings(folder, [f"{row},{'test' if i < 4 else 'train'}" for i, row in enumerate(ROWS)],
                        "image,score,light,split"), folder / "out"  # fmt: skip
    words = [*WORDS, "--model_name_or_path", str(folder / "convnext"), "--data_path", data]
    assert finetune(*words, "--learning_rate", "1e-3", "--output_dir", str(out)) == 0
    return words, data, out


def test_the_checkpoint_scores_evaluates_and_answers_like_any_other(trained, tmp_path, capsys):
    _, data, out = trained
    photos = [out.parent / f"{i}.png" for i in range(4)]
    scored = Assessment(out).score(photos)
    kept = {row["id"]: float(row["prediction"]) for row in csv.DictReader((out / "predictions.csv").open())}
    assert kept == pytest.approx({p.name: s.scores["overall"].value for p, s in zip(photos, scored, strict=True)})
    texts, values = Assessment(out)(photos, precision=3)
    assert values[0] == round(scored[0].scores["overall"].value, 3) and texts[0].split()[0] == f"{values[0]:.3f}"
    table = tmp_path / "scores.csv"
    words = [*map(str, photos), "--checkpoint", str(out), "--workers", "0", "--out", str(table)]
    assert score.main(words) == 0
    rows = list(csv.DictReader(table.open()))
    assert [float(row["prediction"]) for row in rows] == pytest.approx([s.scores["overall"].value for s in scored])
    words = ["--checkpoint", str(out), "--data_path", data, "--split", "test", "--out", str(tmp_path / "evaluated")]
    with patch("roc.evaluation.report.draw", return_value={}):  # half of the time
        assert evaluate.main(words) == 0
    assert json.loads((tmp_path / "evaluated" / "metrics.json").read_text())["n"] == 4


def test_training_goes_on_from_it_with_its_readout_and_head(trained, tmp_path, capsys):
    words, data, out = trained
    start = ["--model_name_or_path", str(out), "--data_path", data, "--output_dir", str(tmp_path / "next")]
    assert finetune(*WORDS[2:], *start) == 2
    assert (
        "is a vision backbone with a score head, and host is multimodal; add --host backbone" in capsys.readouterr().err
    )
    assert finetune(*WORDS, *start, "--freeze", "vision,language,embeddings", "--learning_rate", "1e-9") == 0
    scores = [[one.scores["light"].value for one in Assessment(folder).score([out.parent / "0.png"])]
              for folder in (out, tmp_path / "next")]  # fmt: skip
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert json.loads((out / "config.json").read_text())["roc"]["text_weight"] == 0


@pytest.mark.slow
def test_the_tower_of_a_multimodal_checkpoint_is_a_backbone(trained, tmp_path):
    _, data, _ = trained
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "llava")
    words = ["--model_name_or_path", str(tmp_path / "llava"), "--data_path", data, "--eval_strategy", "no"]
    assert finetune(*WORDS, *words, "--output_dir", str(tmp_path / "out")) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["model_type"], config["vision_config"]["model_type"]) == ("roc_backbone", "clip_vision_model")


@pytest.mark.slow
def test_the_demo_trains_a_small_resnet(tmp_path, capsys):
    words = ["--host", "backbone", "--attributes", "overall", "--question", "none", "--answer", "none"]
    assert demo(tmp_path / "out", *words, "--max_steps", "2") == 0
    assert "generated answers: not checked, since the run teaches no words" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--question", "How good?"], "question is given, but host backbone reads and writes no words"),
        (["--tuning", "lora"], "tuning lora adapts a language model, and host backbone has none"),
        (["--freeze", "projector"], "Cannot freeze projector: this model has embeddings, head, language, vision"),
    ],
)
def test_what_a_backbone_does_not_have_is_refused(trained, tmp_path, capsys, more, message):
    words, _, _ = trained
    assert finetune(*words, *more, "--output_dir", str(tmp_path / "out")) == 2
    assert message in capsys.readouterr().err


def test_rows_of_two_pictures_or_with_a_critique_are_refused_with_their_lines(trained, tmp_path, capsys):
    words, _, _ = trained
    for name in "ab":
        picture(0).save(tmp_path / f"{name}.png")
    critique = f"<think>{SENTENCES[-1]}</think><answer>[SCORE]</answer>"
    rows = [
        {"image": ["a.png", "b.png"], "score": 5, "id": "pair"},
        {"image": "a.png", "gt_score": 5, "id": "wordy", "conversations": [
            {"from": "human", "value": "<|image|>Think."}, {"from": "gpt", "value": critique}]},
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = [*words, "--data_path", str(tmp_path / "rows.jsonl"), "--attributes", "overall"]
    assert finetune(*words, "--output_dir", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "rows.jsonl:1: pair has 2 pictures; with host backbone a row has one" in error
    assert "rows.jsonl:2: wordy holds a critique, which host backbone cannot learn to write" in error
