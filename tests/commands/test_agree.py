"""`roc agree` as a user types it: sheets, folds, sensitivities; what cannot be used is one line and exit status 2."""

from pathlib import Path

import pytest
from heads import build, picture
from PIL import Image

from roc.agree.table import SensitivityTable
from roc.checkpoint.folder import save
from roc.cli import main
from roc.data.rows import write_rows


@pytest.fixture(autouse=True)
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((64, 48)).save("photo.jpg")


def test_maps(capsys):
    assert main(["agree", "maps", "photo.jpg", "--out", "sheet.png", "--delta", "0.1"]) == 0
    assert capsys.readouterr().out == "sheet.png: five attributes of photo.jpg at 64 x 48 pixels\n"
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 4 * 128


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["map"], "roc agree: unknown command 'map'; the commands are maps, folds, sensitivity, anchors, analyse"),
        (["maps", "photo.jpg"], "required: --out"),
        (["maps", "gone.jpg", "--out", "sheet.png"], "gone.jpg: no such file"),
        (["maps", "photo.jpg", "--out", "sheet.pdf"], "--out: sheet.pdf: expected a name that ends in one of .png"),
        (["maps", "photo.jpg", "--out", "./photo.jpg"], "./photo.jpg is the photo itself; name another file"),
        (["maps", "photo.jpg", "--out", "sheet.png", "--delta", "0.3"], "--delta"),
        (["maps", "photo.jpg", "--out", "sheet.png", "--side", "4"], "--side"),
        (["folds", "--data_path", "gone.csv", "--out", "folds"], "gone.csv: no such file"),
        (["folds", "--data_path", "gone.csv", "--out", "folds", "--folds", "1"], "--folds"),
        (["sensitivity", "--data_path", "gone.csv", "--checkpoint", "a", "--out", "s.csv"], "ends in .parquet"),
        (["sensitivity", "--data_path", "gone.csv", "--checkpoint", "a", "b", "--out", "s.parquet"], "2 checkpoints"),
        (["anchors", "--data_path", "a.csv", "--out", "a.safetensors"], "there is no model to describe with"),
        (["anchors", "--model", "gone", "--out", "a.safetensors"], "there are no photos to describe"),
        (["anchors", "--model", "gone", "--fixed", "--out", "a.pt"], "expected a name that ends in .safetensors"),
        (["analyse", "gone", "--out", "seen"], "gone: no such file or folder"),
        (["analyse", "gone", "--out", "photo.jpg"], "photo.jpg, which is a file; name a folder"),
    ],
)
def test_words_that_cannot_be_used(words, expected, capsys, tmp_path):
    assert main(["agree", *words]) == 2
    err = capsys.readouterr().err
    assert expected in err and len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_no_word_shows_what_there_is(capsys):
    assert main(["agree"]) == 2
    assert "  maps         draw the attribute maps" in capsys.readouterr().out


@pytest.fixture
def rated():
    Path("photos").mkdir()
    for i in range(6):
        picture(i, (24, 18)).save(f"photos/{i}.png")
    write_rows("ratings.csv", [{"image": f"{i}.png", "score": 1 + i} for i in range(6)])
    return ["--data_path", "ratings.csv", "--image_folder", "photos"]


def test_folds(rated, capsys):
    assert main(["agree", "folds", *rated, "--out", "folds"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("folds/train_1.csv: ") and "rows to train on, none of the" in out[0]
    assert out[-1].startswith("roc agree sensitivity --checkpoint checkpoints/fold_1 checkpoints/fold_2 --folds 2")


def test_sensitivity(rated, tmp_path, capsys):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "model")
    words = ["agree", "sensitivity", *rated, "--checkpoint", "model", "--out", "sens.parquet", "--workers", "1"]
    Path("photos/4.png").write_bytes(b"no picture")
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "sens.parquet: 5 of 6 photos, " in out and "median sensitivity: brightness 0." in out
    assert "note: model does not say which photos it was trained on" in err
    assert "sens.errors.csv: 1 photos could not be scored" in err
    picture(4, (24, 18)).save("photos/4.png")
    assert main(words) == 0
    assert "6 of 6 photos, " in capsys.readouterr().out
    assert main(words) == 0
    assert "6 of 6 photos, all of it before" in capsys.readouterr().out
    assert SensitivityTable.read("sens.parquet").ids == tuple(f"{i}.png" for i in range(6))
    assert main([*words, "--delta", "0.1"]) == 2
    assert "delta was 0.2, is 0.1" in capsys.readouterr().err


def test_analyse(capsys):
    write_rows("a.csv", [{"id": f"{i}.png", "score": i, "prediction": i + 1 + i % 3} for i in range(9)])
    write_rows("b.csv", [{"id": f"{i}.png", "score": i, "prediction": i - 1 - i % 3} for i in reversed(range(9))])
    words = ["agree", "analyse", "a.csv", "b.csv", "--share", "0.34", "--out", "seen", "--n_resamples", "20"]
    assert main(words) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "3 of 9 photos are hard for a, b" and out[1].startswith("a: all: SRCC 0.9")
    assert out[-1] == "seen: 3 files, see report.html"
    assert {path.name for path in Path("seen").iterdir()} == {"analysis.json", "photos.csv", "report.html"}
    assert main(words) == 0  # replaces its own


def test_anchors(rated, tmp_path, capsys):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "model")
    words = ["agree", "anchors", *rated, "--checkpoint", "model", "--out", "a.safetensors", "--max_new_tokens", "2"]
    Path("photos/4.png").write_bytes(b"no picture")
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "a.safetensors: 5 of 6 photos, six times 32 numbers, " in out
    assert "a.errors.csv: 1 photos could not be described" in err
    assert main(["agree", "anchors", "--model", "model", "--fixed", "--out", "fixed.safetensors"]) == 0
    assert capsys.readouterr().out == "fixed.safetensors: six fixed sentences, 32 numbers each\n"
