"""`roc relative` as a user types it: records, what failed, and what cannot be used in one line and exit status 2."""

import pytest
from PIL import Image

from roc.cli import main


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.effect_noise((64, 48), 90).convert("RGB").save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def test_build(photos, capsys):
    words = ["relative", "build", "photos", "--out", "pairs", "--edits", "2", "--judges", "embedded", "embedded:0.1"]
    assert main([*words, "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "pairs: 1 photos, 2 pairs" in out and "100.0% of 2 pairs unanimous" in out
    assert "embedded and embedded:0.1 agree on 100.0%" in out and "pairs.html: pairs to look at" in out
    (photos / "b.jpg").write_bytes(b"nothing")
    assert main([*words, "--workers", "1"]) == 1
    told = capsys.readouterr()
    assert "unreadable: 1" in told.out and "1 photos or edits failed; --retry_failed" in told.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["built"], "unknown command 'built'; the commands are build"),
        (["build", "nothing", "--out", "a"], "nothing"),
        (["build", "photos"], "--out"),
        (["build", "photos", "--out", "a", "--votes", "none.csv"], "none.csv: no such file"),
        (
            ["build", "photos", "--out", "a", "--edits", "8"],
            "edits is '8', expected a whole number at least 1 and at most 7",
        ),
        (["build", "photos", "--out", "a", "--judges", "me"], "judges has 'me', expected some of embedded"),
    ],
)
def test_what_cannot_be_used(photos, words, told, capsys):
    assert main(["relative", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert told in error and error.startswith("roc relative") and "\n" not in error
    assert not (photos.parent / "a").exists()
