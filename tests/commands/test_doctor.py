"""`roc doctor`: what it prints, its exit status, its flags."""

import pytest
from plain_models import save_plain
from tiny_models import tiny_llava

from roc.checkpoint.folder import save
from roc.commands.doctor import DoctorOptions, main
from roc.commands.line import Parser
from roc.doctor import candidate as candidates
from roc.doctor import checks
from roc.doctor.candidate import admit
from roc.model.attachment import attach
from roc.score_space import ScoreSpace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_plain(tmp_path_factory.mktemp("llava"), tiny_llava)


def test_a_model_that_fits(folder, capsys):
    assert main([folder]) == 0
    out = capsys.readouterr().out
    assert "FAILED" not in out and "The head fits." in out
    for name in ("attaches", *(name for name in checks.CHECKS if name not in ("adapter", "extensions"))):
        assert f"  ok      {name}" in out
    assert "  ok      adapter reloads" in out
    assert "can join at the visual tokens, 32 wide; scores 0.0e+00 apart" in out
    assert "640 x 480 takes 16" in out  # the tower's 4 x 4 patches
    assert "language 14 (q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj)" in out
    assert "is [SCORE].</s>" in out
    assert "vision_tower.post_layernorm.bias" in out  # LLaVA takes the tower's last layer but one


def test_a_large_model_is_not_written_to_disk(folder, monkeypatch, capsys):
    monkeypatch.setattr(candidates, "LARGE", 1000)
    monkeypatch.setattr(checks, "save", lambda *_: pytest.fail("wrote the weights"))
    assert main([folder]) == 0
    assert capsys.readouterr().out.count("(--full)") == 3


def test_half_precision_has_its_own_tolerance(folder, capsys):
    assert main([folder, "--dtype", "bfloat16"]) == 0
    assert "bfloat16" in capsys.readouterr().out


def test_a_check_that_breaks_is_a_finding(monkeypatch, folder, capsys):
    def broken(candidate):
        raise RuntimeError("no such thing\nat all")

    monkeypatch.setattr(checks, "CHECKS", {"batch = one by one": broken})
    assert main([folder]) == 1
    out = capsys.readouterr().out
    assert "RuntimeError: no such thing" in out and "\nfailed: batch = one by one" in out


@pytest.mark.parametrize("words", [["/nowhere/model"], ["/nowhere/model", "--memory"], ["/nowhere", "--sensitivity"]])
def test_a_model_that_is_not_there_is_bad_input(words, capsys):
    assert main(words) == 2
    assert f"There is no folder {words[0]}" in capsys.readouterr().err


def test_a_model_that_does_not_fit(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "nobody_knows"}')
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"The head does not fit {tmp_path}: its configuration cannot be read: " in out


def test_memory_reads_no_weights(tmp_path, capsys):
    model, _ = tiny_llava()
    model.config.save_pretrained(tmp_path)
    assert main([str(tmp_path), "--memory"]) == 0
    assert "qlora" in capsys.readouterr().out


def test_sensitivity_of_files_and_folders(folder, tmp_path, capsys):
    candidate = admit(folder)
    save(candidate.model, candidate.processor, tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for i, picture in enumerate(candidate.pictures):
        picture.save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    candidate.pictures[0].save(tmp_path / "single, wide.png")
    words = [str(tmp_path / "photos"), str(tmp_path / "single, wide.png")]
    assert main([str(tmp_path / "model"), "--sensitivity", *words]) == 0
    out = capsys.readouterr().out
    assert "overall on 1..10, 4 pictures" in out and "resized to 0.25 x" in out


def test_sensitivity_of_an_untrained_head_is_refused(folder, tmp_path, capsys):
    model, processor = tiny_llava()
    attach(model, processor, ScoreSpace(1, 10, 10))
    save(model, processor, tmp_path)
    assert main([str(tmp_path), "--sensitivity"]) == 2
    assert "the head is untrained" in capsys.readouterr().err.lower()


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        (["--sensitivity=my_folder"], ("my_folder",)),
        (["--sensitivity=my-folder,2"], ("my-folder,2",)),
        (["--sensitivity", "my_folder", "a-b_c.jpg"], ("my_folder", "a-b_c.jpg")),
        (["--sensitivity"], ()),
        ([], None),
    ],
    ids=str,
)
def test_values_stay_as_they_are_given(words, paths):
    parser = Parser("roc doctor", "")
    parser.add_settings(DoctorOptions)
    options = parser.read(DoctorOptions, ["my_model-2", *words])
    assert (options.model, options.sensitivity) == ("my_model-2", paths)
