"""`roc score` when something has changed behind its back: the output, the model, a picture, a half-done move."""

import json
import os
from pathlib import Path

import pytest
import torch
from heads import build, picture

from roc.checkpoint.folder import save
from roc.commands import score
from roc.data.rows import Faults, read_rows
from roc.scoring import copies
from roc.scoring.journal import Journal

COUNT = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build("llava")


@pytest.fixture
def here(tmp_path, monkeypatch, model):
    """A folder of photos and a checkpoint of its own."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for i in range(COUNT):
        picture(i, (40 + i, 30)).save(f"photos/{i}.jpg")
    save(*model[:2], "model")
    return tmp_path


@pytest.fixture
def run(here, capfd):
    """`roc score photos --out scores.csv` and further words -> (exit status, stdout, stderr)."""

    def command(*words, out="scores.csv", paths=("photos",)):
        capfd.readouterr()
        status = score.main([*paths, "--out", out, "--checkpoint", "model", "--workers", "0", *map(str, words)])
        return status, *capfd.readouterr()

    return command


def rows_of(path):
    faults = Faults(path)
    rows = [row for _, row in read_rows(Path(path), faults)]
    assert not faults
    return rows


class Stop(Exception):
    """Stands for the end of the process."""


def stopped_after(monkeypatch, run, count, *words):
    write = Journal.write

    def limited(self, rows):
        if len(self) == count:
            raise Stop
        write(self, rows)

    with monkeypatch.context() as context, pytest.raises(Stop):
        context.setattr(Journal, "write", limited)
        run(*words)


# --- the output -------------------------------------------------------------------------------------------------------


def cut(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]))


def edit(path):
    path.write_text(path.read_text().replace("photos/0.jpg", "photos/x.jpg"))


@pytest.mark.parametrize(
    ("harm", "suffix"),
    [(cut, "csv"), (cut, "jsonl"), (edit, "csv"), (lambda path: path.write_text(""), "csv"), (os.unlink, "csv")],
)
def test_a_finished_output_that_is_not_what_was_written_is_written_again(run, harm, suffix):
    out = f"scores.{suffix}"
    assert run(out=out)[0] == 0
    before = Path(out).read_bytes()
    harm(Path(out))
    status, told, notes = run("--top", "2", out=out)
    assert status == 0 and "all of it before" in told
    assert f"note: {out} " in notes and f"written again from {out}.journal.jsonl" in notes
    assert Path(out).read_bytes() == before
    best = sorted(rows_of(out), key=lambda row: -float(row["prediction"]))[:2]
    assert [row["image"] for row in rows_of(f"scores.selected.{suffix}")] == [row["image"] for row in best]
    assert "note" not in run(out=out)[2]


def test_the_errors_of_a_finished_run_are_written_again(run):
    Path("photos/bad.jpg").write_bytes(b"x")
    assert run()[0] == 1
    before = Path("scores.errors.csv").read_bytes()
    os.unlink("scores.errors.csv")
    status, _, notes = run()
    assert status == 1 and "scores.errors.csv is gone" in notes and Path("scores.errors.csv").read_bytes() == before


@pytest.mark.parametrize("journal", [os.unlink, cut])
def test_a_wrong_output_without_its_journal_is_refused(run, journal):
    assert run()[0] == 0
    journal(Path("scores.csv.journal.jsonl"))
    status, _, notes = run("--top", "1")  # the output itself is as it was
    assert status == 0 and "scores.csv.journal.jsonl is gone or damaged" in notes
    cut(Path("scores.csv"))
    os.unlink("scores.selected.csv")
    status, _, errors = run("--top", "1")
    assert status == 2 and "holds 3 rows of 8" in errors and "--overwrite" in errors
    assert not Path("scores.selected.csv").exists()
    assert run("--overwrite")[0] == 0 and len(rows_of("scores.csv")) == COUNT


def test_an_output_of_an_earlier_version_is_checked_by_its_rows(run):
    assert run()[0] == 0
    facts = json.loads(Path("scores.run.json").read_text())
    for name in ("outputs", "versions", "moved"):
        del facts[name]
    Path("scores.run.json").write_text(json.dumps(facts))
    status, _, notes = run()
    assert status == 0 and "earlier version of roc" in notes
    cut(Path("scores.csv"))
    status, _, errors = run()
    assert status == 2 and "scores.csv holds 3 rows instead of 8" in errors


# --- the model --------------------------------------------------------------------------------------------------------


def change_weight(model):
    with torch.no_grad():
        max(model[0].parameters(), key=torch.numel).view(-1)[-1] += 0.1
    save(*model[:2], "model")


def change_json(path, *keys, value):
    content = json.loads(Path("model", path).read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    Path("model", path).write_text(json.dumps(content))


CHANGES = {
    "weights": lambda: change_weight(build("llava")),
    "range": lambda: change_json("config.json", "roc", "max_score", value=5.0),
    "question": lambda: change_json("config.json", "roc", "question", value="How good is this image?"),
    "processor": lambda: change_json("processor_config.json", "image_processor", "image_mean", value=[0.1, 0.2, 0.3]),
    "config": lambda: change_json("config.json", "text_config", "rms_norm_eps", value=0.5),
}


@pytest.mark.parametrize(("what", "finished"), [*((what, False) for what in CHANGES), ("weights", True)])
def test_no_file_holds_the_scores_of_two_models(run, monkeypatch, what, finished):
    if finished:
        assert run()[0] == 0
    else:
        stopped_after(monkeypatch, run, 3)
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    CHANGES[what]()
    status, _, errors = run("--top", "1")
    assert status == 2 and f"{what} was" in errors and "--overwrite" in errors
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    assert run("--overwrite")[0] == 0


def test_the_same_model_elsewhere_goes_on(run, monkeypatch):
    stopped_after(monkeypatch, run, 3)
    os.rename("model", "other")
    Path("other/README.md").write_text("moved")
    os.symlink("other", "model")
    status, _, notes = run()
    assert status == 0 and "3 of 8 images are done" in notes and "note" not in notes


def test_other_packages_are_told(run, monkeypatch):
    stopped_after(monkeypatch, run, 3)
    journal = Path("scores.csv.part.jsonl")
    journal.write_text(journal.read_text().replace(torch.__version__, "1.0.0"))
    status, _, notes = run()
    assert status == 0 and f"was begun with torch 1.0.0, now {torch.__version__}" in notes


# --- the pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finished", [False, True])
def test_a_picture_replaced_under_its_name_is_scored_again(run, monkeypatch, finished):
    if finished:
        assert run()[0] == 0
    else:
        stopped_after(monkeypatch, run, 5)
    picture(99, (40, 30)).save("photos/2.jpg")
    os.utime("photos/3.jpg")  # touched, and the same
    status, _, notes = run()
    assert status == 0 and "1 picture was replaced since, to be scored again (photos/2.jpg)" in notes
    found = Path("scores.csv").read_bytes()
    assert run(out="anew.csv")[0] == 0
    assert found == Path("anew.csv").read_bytes()
    assert "note" not in run()[2]


def test_a_picture_of_the_same_size_and_time_is_noticed(run):
    for name in ("2", "new"):
        picture(2 if name == "2" else 50, (40, 30)).save(f"photos/{name}.bmp")
    os.rename("photos/new.bmp", "new.bmp")
    assert run()[0] == 0
    times = os.stat("photos/2.bmp")
    assert times.st_size == os.stat("new.bmp").st_size
    os.utime("new.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace("new.bmp", "photos/2.bmp")
    assert "1 picture was replaced since" in run()[2]


def test_only_what_has_changed_is_read(run, monkeypatch):
    assert run()[0] == 0
    read = []
    monkeypatch.setattr("roc.scoring.sources.Source.read", lambda source: read.append(source.name) or b"")
    assert "all of it before" in run()[1] and read == []


def test_a_picture_replaced_in_the_middle_of_a_run_is_scored_again(run, monkeypatch):
    write = Journal.write

    def replacing(self, rows):
        write(self, rows)
        if len(self) == 5 and not replaced:
            replaced.append(1)
            picture(99, (40, 30)).save("photos/1.jpg")

    replaced = []
    with monkeypatch.context() as context:
        context.setattr(Journal, "write", replacing)
        status, _, notes = run("--batch_size", "1")
    assert status == 0 and "1 picture was replaced meanwhile" in notes
    assert run(out="anew.csv")[0] == 0
    assert Path("scores.csv").read_bytes() == Path("anew.csv").read_bytes()


# --- the files beside it ----------------------------------------------------------------------------------------------


def test_two_outputs_of_one_stem_keep_their_own_errors(run):
    picture(1).save("photos/ blank.jpg")
    names = [" blank.jpg", *(f"{i}.jpg" for i in range(COUNT))]
    Path("list.jsonl").write_text("".join(json.dumps({"image": name}) + "\n" for name in names))
    words = {"paths": ("list.jsonl", "--image_folder", "photos")}
    assert run(**words)[0] == 1
    before = Path("scores.errors.csv").read_bytes()
    Path("photos/1.jpg").write_bytes(b"x")
    assert run(out="scores.jsonl", **words)[0] == 1
    assert Path("scores.errors.csv").read_bytes() == before
    assert [row["image"] for row in rows_of("scores.jsonl.errors.csv")] == ["1.jpg"]
    facts = json.loads(Path("scores.run.json").read_text())
    assert {name: written["failed"] for name, written in facts["outputs"].items()} == {
        "scores.csv": 1,
        "scores.jsonl": 1,
    }


def test_what_killed_runs_have_left_half_written_is_removed(run):
    gone = 2**22 + 1  # no process has such a number
    os.mkdir("best")
    left = [f".scores.csv.{gone}.tmp", f".scores.run.json.{gone}.tmp", f"best/.1_a.jpg.{gone}.tmp"]
    kept = [f".other.csv.{gone}.tmp", f".scores.csv.{os.getppid()}.tmp", "best/.mine.tmp"]
    for name in [*left, *kept]:
        Path(name).touch()
    words = ["--top", "1", "--copy_to", "best"]
    assert run(*words)[0] == 0
    assert not any(map(os.path.exists, left)) and all(map(os.path.exists, kept))
    Path(left[0]).touch()
    assert run(*words)[0] == 0 and not os.path.exists(left[0])


# --- copies and moves -------------------------------------------------------------------------------------------------


def best(count, path="scores.csv"):
    rows = sorted(rows_of(path), key=lambda row: -float(row["prediction"]))
    return [row["image"] for row in rows[:count]]


def test_the_best_are_moved_and_the_same_command_knows_them(run):
    contents = {f"photos/{i}.jpg": Path(f"photos/{i}.jpg").read_bytes() for i in range(COUNT)}
    words = ["--top", "3", "--move_to", "best", "--gallery", "g.html"]
    status, told, _ = run(*words)
    assert status == 0 and "the 3 chosen, best first, moved to best" in told
    chosen = best(3)
    moved = {name: f"best/{rank}_{Path(name).name}" for rank, name in enumerate(chosen, start=1)}
    for name, content in contents.items():
        assert Path(moved.get(name, name)).read_bytes() == content
        assert name not in moved or not os.path.exists(name)
    before = Path("scores.csv").read_bytes()
    for _ in range(2):
        status, told, _ = run(*words)
        assert status == 0 and "all of it before" in told and Path("scores.csv").read_bytes() == before
    assert sorted(os.listdir("best")) == sorted(Path(name).name for name in moved.values())
    assert not Path("scores.csv.moves.json").exists()


@pytest.mark.parametrize("between_disks", [False, True])
@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_move_that_is_killed_goes_on_with_the_same_pictures(run, monkeypatch, done, between_disks):
    contents = sorted(Path(f"photos/{i}.jpg").read_bytes() for i in range(COUNT))
    if between_disks:
        import errno

        def refused(path, target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(copies.os, "rename", refused)
    move, count = copies._move, []

    def killed(path, target):
        if done:
            move(path, target)
            count.append(1)
        if len(count) == done:
            raise Stop

    with monkeypatch.context() as context, pytest.raises(Stop):
        context.setattr(copies, "_move", killed)
        run("--top", "2", "--move_to", "best")
    chosen = best(2)
    status, _, notes = run("--top", "2", "--move_to", "best")
    assert status == 0 and "going on with moving" in notes and best(2) == chosen
    assert sorted(os.listdir("best")) == [f"{rank}_{Path(name).name}" for rank, name in enumerate(chosen, start=1)]
    found = [path.read_bytes() for folder in ("best", "photos") for path in Path(folder).iterdir()]
    assert sorted(found) == contents


def test_a_move_replaces_nothing(run):
    assert run()[0] == 0
    (name,) = best(1)
    target = Path("best", f"1_{Path(name).name}")
    target.parent.mkdir()
    target.write_bytes(b"mine")
    status, _, errors = run("--top", "1", "--move_to", "best")
    assert status == 2 and "another picture" in errors and target.read_bytes() == b"mine" and Path(name).exists()


def test_a_name_too_long_to_copy_is_cut(run):
    name = "a" * 240 + ".jpg"
    os.rename("photos/0.jpg", f"photos/{name}")
    status, _, _ = run("--top", str(COUNT), "--copy_to", "best")
    assert status == 0 and len(os.listdir("best")) == COUNT
    (copy,) = (one for one in os.listdir("best") if "aaa" in one)
    assert copy.endswith(".jpg") and Path("best", copy).read_bytes() == Path("photos", name).read_bytes()


def test_what_cannot_be_copied_is_a_line_and_the_others_are(run):
    assert run()[0] == 0
    os.unlink(best(2)[1])
    Path("list.txt").write_text("".join(f"photos/{i}.jpg\n" for i in range(COUNT)))
    status, _, errors = run("--top", "3", "--copy_to", "best", out="other.csv", paths=("list.txt",))
    assert status == 1 and len(os.listdir("best")) == 3
    chosen = best(3, "other.csv")
    os.unlink(chosen[0])
    status, _, errors = run("--top", "3", "--copy_to", "new", out="other.csv", paths=("list.txt",))
    assert status == 1 and "1 of the chosen could not be copied" in errors and len(os.listdir("new")) == 2
    assert [row["image"] for row in rows_of("other.errors.csv")][1:] == [chosen[0]]
    assert run(out="other.csv", paths=("list.txt",))[0] == 1
    assert len(rows_of("other.errors.csv")) == 1
