"""`roc attach` saves a model with an untrained head, or refuses and leaves nothing behind."""

import pytest
from tiny_models import tiny_llava

import roc
from roc.cli import main


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    model, processor = tiny_llava()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def test_attach_writes_a_checkpoint_that_loads(saved_model, tmp_path, capsys):
    out = tmp_path / "start"
    words = ["--min_score", "1", "--max-score", "5", "--num_tokens", "5", "--attributes", "overall", "light"]
    words += ["--max_pixels", "50000"]
    assert main(["attach", saved_model, str(out), *words]) == 0
    assert "5 levels for overall, light on 1..5" in capsys.readouterr().out
    model, processor = roc.load(out)
    assert (model.config.roc["min_score"], model.config.roc["max_score"]) == (1.0, 5.0)
    assert model.config.roc["attributes"] == ["overall", "light"] and model.declaration.max_pixels == 50_000
    assert model.score_head.weight.shape[0] == 5
    assert processor.tokenizer.convert_tokens_to_ids("[SCORE]") == model.config.roc["token_id"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["only-one"], "required: OUT"),
        (["a", "b", "--learning_rate", "1"], "unknown flag --learning_rate"),
        (["a", "b", "--min_score", "9", "--max_score", "1"], "must be below max_score"),
        (["/nowhere/model", "b"], "/nowhere/model"),
    ],
)
def test_attach_refuses(words, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["attach", *words]) == 2
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_attach_overwrites_nothing(saved_model, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("kept")
    assert main(["attach", saved_model, str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
