"""Several data sets through the command: files, numbers on each scale, the checkpoint that reads them."""

import json

import pytest
from training_runs import QUICK, data_set, finetune

from roc.scoring.assessment import Assessment

MORE = ["--max_steps", "2", "--check_answers", "0", "--num_tokens", "5", "--link_learning_rate", "0.1",
        "--learning_rate", "1e-3", "--eval_strategy", "no", "--warmup_ratio", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Folder with two data sets and the run on both."""
    folder = tmp_path_factory.mktemp("mixed")
    splits = ["train"] * 4 + ["test"] * 3
    ava = data_set(folder / "a", [1, 5, 3, 4, 5, 2, 3], splits)
    koniq = data_set(folder / "k", [0, 20, 40, 60, 80, 100, 30], splits)
    words = ["--mix", f"AVA=1:5:{ava}", f"KonIQ=0:100:{koniq}", "--output_dir", str(folder / "run")]
    assert finetune(*QUICK, *MORE, *words) == 0
    return folder


def test_a_run_leaves_an_evaluation_of_each_and_the_plot(mixed):
    run = mixed / "run"
    first = json.loads((run / "metrics.json").read_text())
    other = json.loads((run / "data_sets" / "KonIQ" / "metrics.json").read_text())
    assert (first["n"], first["max_score"], other["n"], other["max_score"]) == (3, 5, 3, 100)
    assert first["trained_on"] == "AVA and KonIQ"
    assert (run / "plots" / "links.png").stat().st_size > 5000
    table = (run / "metrics.txt").read_text()
    assert "AVA       1..5    3" in table and "KonIQ     0..100  3" in table
    assert "reads it: AVA (1 to 5), KonIQ (0 to 100)" in (run / "README.md").read_text()
    links = json.loads((run / "config.json").read_text())["roc"]["scales"]
    assert links[0] == {"name": "AVA", "range": [1, 5]} and len(links[1]["links"]["overall"]) == 9
    assert links[1]["links"]["overall"][1] != 12.5, "nothing was learnt"


def test_the_checkpoint_reads_its_score_on_every_scale(mixed):
    assessment = Assessment(mixed / "run", dtype="float32")
    image = str(mixed / "k" / "4.png")
    (shared,), (native,) = assessment.score(image), assessment.score(image, scale="KonIQ")
    (scale,) = [one for one in assessment.model.declaration.scales if one.name == "KonIQ"]
    assert native.scores["overall"].value == scale.move((shared.scores["overall"].value - 1) / 4, "overall")
    with pytest.raises(ValueError, match="this checkpoint has no scale 'PARA'; it has AVA, KonIQ"):
        assessment.score(image, scale="PARA")


def test_it_is_evaluated_on_the_scale_of_a_data_set(mixed, capsys):
    from roc.commands.evaluate import main

    words = ["--checkpoint", str(mixed / "run"), "--data_path", str(mixed / "k" / "r.csv"), "--no_report",
             "--workers", "0", "--n_resamples", "10", "--out", str(mixed / "e")]  # fmt: skip
    assert main([*words, "--scale", "KonIQ"]) == 0
    found = json.loads((mixed / "e" / "metrics.json").read_text())
    expected = json.loads((mixed / "run" / "data_sets" / "KonIQ" / "metrics.json").read_text())
    assert found["mae"] == pytest.approx(expected["mae"], rel=1e-4) and found["max_score"] == 100
    capsys.readouterr()
    assert main([*words, "--scale", "PARA"]) == 2
    assert "has no scale 'PARA'; it has AVA, KonIQ" in capsys.readouterr().err


@pytest.mark.slow
def test_one_data_set_is_the_plain_run_to_the_bit(mixed):
    from safetensors.torch import load_file

    ava = mixed / "a" / "r.csv"
    assert finetune(*QUICK, *MORE, "--mix", f"AVA=1:5:{ava}", "--output_dir", str(mixed / "one")) == 0
    plain = ["--data_path", str(ava), "--min_score", "1", "--max_score", "5", "--output_dir", str(mixed / "plain")]
    assert finetune(*QUICK, *MORE, *plain) == 0
    one, other = (load_file(mixed / name / "model.safetensors") for name in ("one", "plain"))
    assert [name for name in other if not one[name].equal(other[name])] == []
    assert (
        json.loads((mixed / "one" / "config.json").read_text())["roc"]
        == (json.loads((mixed / "plain" / "config.json").read_text())["roc"])
    )


@pytest.mark.slow
def test_an_adapter_and_what_is_merged_from_it_keep_the_scales(mixed):
    from roc.checkpoint.folder import read_adapter_declaration, read_config
    from roc.commands.export import main as export
    from roc.model.declaration import declaration_of

    words = ["--mix", f"AVA=1:5:{mixed / 'a' / 'r.csv'}", f"KonIQ=0:100:{mixed / 'k' / 'r.csv'}", "--new_head", "true"]
    lora = ["--tuning", "lora", "--lora_rank", "2", "--model_name_or_path", str(mixed / "plain")]
    quick = [word for word in QUICK if word not in ("--tiny_model", "demo")]
    assert finetune(*quick, *MORE, *words, *lora, "--output_dir", str(mixed / "lora")) == 0
    kept = read_adapter_declaration(mixed / "lora").scales
    assert kept[1].links["overall"][1] != 12.5
    assert export([str(mixed / "lora"), "--merge", str(mixed / "merged")]) == 0
    assert declaration_of(read_config(mixed / "merged")).scales == kept
