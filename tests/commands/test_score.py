"""`roc score` as a user types it: files in, files out, and nothing lost when it is killed."""

import json
import multiprocessing
import os
import random
import signal
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from heads import build, picture
from PIL import Image

from roc.checkpoint.folder import save
from roc.commands import line, score
from roc.data.rows import Faults, read_rows
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer
from roc.scoring.journal import Journal

COUNT = 40


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "mine"
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return str(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(COUNT):
        picture(i, (40 + i, 30)).save(folder / f"{i:02d}.jpg")
    return folder


@pytest.fixture(scope="module")
def expected(checkpoint, photos):
    """Overall score by name."""
    paths = sorted(map(str, photos.iterdir()))
    scores = Assessment(checkpoint).score(paths)
    return {path: one.scores["overall"].value for path, one in zip(paths, scores, strict=True)}


@pytest.fixture
def run(checkpoint, tmp_path, monkeypatch, capfd):
    """`roc score` in an empty folder: the words -> (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        capfd.readouterr()
        status = score.main([*map(str, words), "--checkpoint", checkpoint, "--workers", "0"])
        return status, *capfd.readouterr()

    return command


def rows_of(path):
    faults = Faults(path)
    rows = [row for _, row in read_rows(Path(path), faults)]
    assert not faults
    return rows


def predictions(path):
    return {row["image"]: float(row["prediction"]) for row in rows_of(path)}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "xlsx"])
def test_a_folder(run, photos, expected, suffix, tmp_path):
    out = Path(f"new/scores.{suffix}")
    status, told, _ = run(photos, "--out", out, "--distribution")
    assert status == 0
    assert f"{out}: {COUNT} images, overall, light on 1..10" in told and "uncalibrated" in told
    rows = rows_of(out)
    assert [row["image"] for row in rows] == sorted(expected)
    assert predictions(out) == pytest.approx(expected, abs=1e-4)
    assert {"std", "p_1", "p_10", "prediction.light", "min_score", "max_score", "calibrated"} < set(rows[0])
    beside = ["scores.run.json", out.name, f"{out.name}.journal.jsonl"]
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(beside)
    facts = json.loads(Path("new/scores.run.json").read_text())
    assert (facts["images"], facts["failed"], facts["min_score"], facts["max_score"]) == (COUNT, 0, 1, 10)


def test_without_out_it_prints(run, photos, expected):
    image = str(photos / "03.jpg")
    status, told, _ = run(image, "--attributes", "overall")
    assert (status, told) == (0, f"{image}\t{expected[image]:.4f}\n")
    status, told, errors = run(image, "--describe", "--max-new-tokens", "3")
    assert status == 0 and told.startswith(f"{image}\t") and told.count("\t") == 2


def test_what_fails_is_named_and_stops_nothing(run, photos, tmp_path, expected):
    (tmp_path / "cut.jpg").write_bytes((photos / "01.jpg").read_bytes()[:900])
    (tmp_path / "list.txt").write_text(f"gone.jpg\n{photos}/00.jpg\ncut.jpg\n{photos}/01.jpg\n")
    status, _, errors = run("list.txt", "--out", "scores.csv")
    assert status == 1 and "scores.errors.csv: 2 images could not be scored" in errors
    good = [f"{photos}/00.jpg", f"{photos}/01.jpg"]
    assert [row["image"] for row in rows_of("scores.csv")] == good
    failed = rows_of("scores.errors.csv")
    assert [(row["image"], row["reason"][:12]) for row in failed] == [
        ("gone.jpg", "no such file"),
        ("cut.jpg", "cut short or"),
    ]
    # Again: finished, with the same exit status.
    status, told, _ = run("list.txt", "--out", "scores.csv")
    assert status == 1 and "all of it before" in told
    # Mended and begun anew, nothing of it is left.
    (tmp_path / "list.txt").write_text(f"{photos}/00.jpg\n")
    assert run("list.txt", "--out", "scores.csv", "--overwrite")[0] == 0
    assert not Path("scores.errors.csv").exists()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_failed_is_tried_again_when_asked(run, photos, tmp_path, expected, suffix):
    names = sorted(path.name for path in photos.iterdir())[:3]
    for name in (names[0], names[2]):
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    Path("list.txt").write_text("\n".join(names))
    words = ["list.txt", "--out", f"scores.{suffix}", "--distribution"]
    assert run(*words)[0] == 1
    before = rows_of(f"scores.{suffix}")
    (tmp_path / names[1]).write_bytes((photos / names[1]).read_bytes())
    assert run(*words)[0] == 1  # not by itself
    status, told, errors = run(*words, "--retry_failed")
    assert status == 0 and "2 of 3 images are done" in errors and not Path("scores.errors.csv").exists()
    after = rows_of(f"scores.{suffix}")
    assert [row["image"] for row in after] == names
    assert [row for row in after if row["image"] != names[1]] == before
    assert float(after[1]["prediction"]) == pytest.approx(expected[str(photos / names[1])], abs=1e-4)


def test_a_begun_run_tries_again_what_failed_when_asked(run, photos, tmp_path, expected, monkeypatch):
    (tmp_path / "a.jpg").write_bytes((photos / "01.jpg").read_bytes()[:900])
    words = ["a.jpg", photos, "--out", "scores.csv"]
    with monkeypatch.context() as context, pytest.raises(Stop):
        stopped(context, 10)
        run(*words)
    (tmp_path / "a.jpg").write_bytes((photos / "01.jpg").read_bytes())
    status, _, errors = run(*words, "--retry_failed")
    assert status == 0 and "9 of 41 images are done" in errors
    assert [row["image"] for row in rows_of("scores.csv")] == ["a.jpg", *sorted(expected)]


def test_compiled_is_told_and_another_run(run, photos, monkeypatch):
    asked = []
    monkeypatch.setattr("roc.scoring.assessment.compile_layers", lambda model: asked.append(model) or 1)
    assert run(photos / "01.jpg", "--out", "scores.csv", "--compile")[0] == 0
    assert len(asked) == 1
    assert json.loads(Path("scores.run.json").read_text())["settings"]["compile"] is True
    assert run(photos / "01.jpg", "--out", "scores.csv")[0] == 2


def test_the_chosen_ones(run, photos, expected):
    best = sorted(expected, key=expected.get, reverse=True)
    words = [photos, "--out", "scores.jsonl"]
    status, told, _ = run(*words, "--top", "3", "--copy-to", "best", "--gallery", "page/gallery.html")
    assert status == 0 and "the 3 chosen, best first, copied to best" in told
    assert len(rows_of("scores.jsonl")) == COUNT
    assert [row["image"] for row in rows_of("scores.selected.jsonl")] == best[:3]
    copies = sorted(os.listdir("best"))
    assert copies == [f"{place}_{Path(path).name}" for place, path in enumerate(best[:3], start=1)]
    assert Path("best", copies[0]).read_bytes() == Path(best[0]).read_bytes()
    assert Path("page/gallery.html").read_text().count("<figure ") == 3

    # Of a finished run others are chosen without scoring anew; a copied file is never replaced by another picture.
    line = expected[best[9]] - 1e-5
    status, told, _ = run(*words, "--at_least", line)
    assert status == 0 and "all of it before" in told
    assert [row["image"] for row in rows_of("scores.selected.jsonl")] == best[:10]
    Path("best", copies[0]).write_bytes(b"mine")
    status, _, errors = run(*words, "--top", "3", "--copy_to", "best")
    assert status == 2 and "another picture" in errors and Path("best", copies[0]).read_bytes() == b"mine"


def test_tar_files_are_scored_and_copied_from(run, photos, tmp_path, expected):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for i in range(6):
            tar.add(photos / f"{i:02d}.jpg", f"{i:02d}.jpg")
    assert run("0.tar", "--out", "scores.csv", "--top", "1", "--copy_to", "best", "--gallery", "g.html")[0] == 0
    found = predictions("scores.csv")
    assert found == pytest.approx({f"0.tar/{i:02d}.jpg": expected[f"{photos}/{i:02d}.jpg"] for i in range(6)}, abs=1e-4)
    best = max(found, key=found.get).rpartition("/")[2]
    assert Path("best", f"1_{best}").read_bytes() == (photos / best).read_bytes()


def test_a_finished_file_is_not_replaced_by_another_run(run, photos):
    assert run(photos / "00.jpg", "--out", "scores.csv")[0] == 0
    before = Path("scores.csv").read_bytes()
    for words, what in (([photos / "01.jpg"], "images"), ([photos / "00.jpg", "--attributes", "light"], "settings")):
        status, _, errors = run(*words, "--out", "scores.csv")
        assert status == 2 and f"other {what}" in errors
    assert Path("scores.csv").read_bytes() == before
    assert run(photos / "01.jpg", "--out", "scores.csv", "--overwrite")[0] == 0
    assert Path("scores.csv").read_bytes() != before


class Stop(Exception):
    """Stands for the end of the process."""


def stopped(monkeypatch, after):
    """Lets the journal take some rows, then no more."""
    write = Journal.write

    def limited(self, rows):
        if len(self) == after:
            raise Stop
        write(self, rows)

    monkeypatch.setattr(Journal, "write", limited)


def test_it_goes_on_where_it_stopped(run, photos, expected, monkeypatch):
    scored = []
    row = Scorer.row
    monkeypatch.setattr(Scorer, "row", lambda self, assessed: scored.append(1) or row(self, assessed))
    with monkeypatch.context() as context, pytest.raises(Stop):
        stopped(context, 17)
        run(photos, "--out", "scores.csv")
    with open("scores.csv.part.jsonl", "a") as file:
        file.write('{"image": "/torn')
    scored.clear()
    status, _, errors = run(photos, "--out", "scores.csv")
    assert status == 0 and "17 of 40 images are done" in errors and "torn end (16 bytes)" in errors
    assert len(scored) == COUNT - 17
    assert predictions("scores.csv") == pytest.approx(expected, abs=1e-4)
    assert len(rows_of("scores.csv")) == COUNT and not Path("scores.csv.part.jsonl").exists()


def test_a_begun_run_is_continued_only_as_it_was(run, photos, monkeypatch):
    with monkeypatch.context() as context, pytest.raises(Stop):
        stopped(context, 5)
        run(photos, "--out", "scores.csv")
    journal = Path("scores.csv.part.jsonl").read_bytes()
    for words, expected in (
        ([photos, "--attributes", "light"], r"attributes was ['overall', 'light'], is ['light']"),
        ([photos, "--dtype", "bfloat16"], "dtype was 'float32', is 'bfloat16'"),
        ([photos / "01.jpg"], "4 images that are not among those given now"),
    ):
        status, _, errors = run(*words, "--out", "scores.csv")
        assert status == 2 and expected in errors and "--overwrite" in errors
        assert Path("scores.csv.part.jsonl").read_bytes() == journal
    # More images are welcome, wherever they stand.
    more = photos.parent / "more.jpg"
    picture(99).save(more)
    assert run(more, photos, "--out", "scores.csv")[0] == 0
    assert [row["image"] for row in rows_of("scores.csv")][:2] == [str(more), f"{photos}/00.jpg"]


def test_images_taken_away_meanwhile_are_left_out(run, photos, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    for i in range(6):
        os.link(photos / f"{i:02d}.jpg", tmp_path / f"here/{i}.jpg")
    with monkeypatch.context() as context, pytest.raises(Stop):
        stopped(context, 4)
        run("here", "--out", "scores.csv")
    os.unlink("here/1.jpg")
    status, _, errors = run("here", "--out", "scores.csv")
    assert status == 0 and "no longer there" in errors
    assert [row["image"] for row in rows_of("scores.csv")] == [f"here/{i}.jpg" for i in (0, 2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["photos", "--out", "scores.ods"], "ends in .csv, .tsv, .jsonl, .parquet, .xlsx"),
        (["gone", "--out", "scores.csv"], "no such file or folder"),
        (["a.jpg", "--out", "scores.csv", "--attributes", "beauty"], "scores overall, light; asked for beauty"),
        (["a.jpg", "--out", "scores.csv", "--attributes", "light", "--distribution"], "levels of overall"),
        (["a.jpg", "--out", "scores.csv", "--copy_to", "best"], "add --top K, --at_least S or --group_by"),
        (["a.jpg", "--out", "scores.csv", "--top", "0"], "--top: top is '0', expected a whole number at least 1"),
        (["a.jpg", "--gallery", "g.html"], "gallery needs --out"),
        (["a.jpg", "--at-least", "5"], "at_least needs --out"),
        (["a.jpg", "--out", "scores.csv", "--at_least", "nan"], "expected a number"),
    ],
)
def test_refuses(run, words, expected, tmp_path):
    picture(0).save(tmp_path / "a.jpg")
    status, _, errors = run(*words)
    assert status == 2 and expected in errors
    assert os.listdir() == ["a.jpg"]


def test_a_name_a_csv_cannot_hold(run, tmp_path):
    picture(0).save(tmp_path / " a.jpg")
    assert run(" a.jpg", "--out", "scores.csv")[0] == 1
    assert "begins or ends with a blank" in Path("scores.errors.csv").read_text()
    assert run(" a.jpg", "--out", "scores.jsonl")[0] == 0


# --- killed -----------------------------------------------------------------------------------------------------------


def _child(words):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it runs in the background
    os.setpgrp()
    torch.set_num_threads(1)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os._exit(score.main(words))


def start(*words):
    """The command in a process of its own, with everything imported."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=([*map(str, words)],))
    process.start()
    return process


def workers_of(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def none_left(pids):
    end = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


def lines_of(journal):
    try:
        return journal.read_bytes().count(b"\n")
    except OSError:
        return 0


def killed_and_finished(folder, checkpoint, kills, seed, tmp_path):
    """Kills the command at random moments, then lets it end; gives the number of kills that hit it."""
    out = tmp_path / "scores.csv"
    words = [folder, "--checkpoint", checkpoint, "--out", out, "--workers", 1, "--batch_size", 4, "--distribution"]
    rng, hits, journal = random.Random(seed), 0, out.with_name("scores.csv.part.jsonl")
    share = len(list(folder.iterdir())) // kills
    for _ in range(kills):
        # From before the journal is there to the middle of a line; each time some images further.
        moment, delay = lines_of(journal) + rng.randrange(share), rng.uniform(0, 0.02)
        process = start(*words)
        while lines_of(journal) < moment and process.is_alive():
            time.sleep(0.001)
        time.sleep(delay)
        workers = workers_of(process.pid)
        process.kill()
        process.join()
        hits += process.exitcode == -signal.SIGKILL
        assert none_left(workers)
    process = start(*words)
    process.join()
    assert process.exitcode == 0
    return hits


def check_nothing_lost(out, expected):
    rows = rows_of(out)
    assert [row["image"] for row in rows] == sorted(expected)
    assert predictions(out) == pytest.approx(expected, abs=1e-4)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        *("scores.csv", "scores.csv.journal.jsonl", "scores.run.json")
    ]


def test_killed_at_random_moments_nothing_is_lost_or_twice(photos, checkpoint, expected, tmp_path):
    assert killed_and_finished(photos, checkpoint, 3, 5, tmp_path) >= 2
    check_nothing_lost(tmp_path / "scores.csv", expected)


@pytest.mark.slow
def test_killed_twenty_times(checkpoint, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for i in range(600):
        Image.fromarray(noise.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(folder / f"{i:03d}.jpg")
    paths = sorted(map(str, folder.iterdir()))
    scores = Assessment(checkpoint).score(paths)
    expected = {path: one.scores["overall"].value for path, one in zip(paths, scores, strict=True)}
    (tmp_path / "out").mkdir()
    assert killed_and_finished(folder, checkpoint, 20, 1, tmp_path / "out") >= 15
    check_nothing_lost(tmp_path / "out/scores.csv", expected)


def test_ctrl_c_ends_it_cleanly(photos, checkpoint, expected, tmp_path, monkeypatch):
    journal = tmp_path / "scores.csv.part.jsonl"
    words = [photos, "--checkpoint", checkpoint, "--out", tmp_path / "scores.csv"]
    words += ["--workers", 1, "--batch_size", 1]
    row = Scorer.row

    def slow(self, assessed):
        time.sleep(0.02)  # so that the run is not over before it is interrupted
        return row(self, assessed)

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "row", slow)
        process = start(*words)
    end = time.monotonic() + 20
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 3) and time.monotonic() < end:
        time.sleep(0.002)
    workers = workers_of(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130 and none_left(workers)
    content = journal.read_bytes()
    assert content.endswith(b"\n") and 3 < content.count(b"\n") < COUNT + 1
    process = start(*words)
    process.join()
    assert process.exitcode == 0
    check_nothing_lost(tmp_path / "scores.csv", expected)


def test_two_outputs_of_one_name_are_kept_apart(run, photos):
    """They would share scores.run.json and scores.errors.csv, which say what is finished and what failed."""
    assert run(photos / "00.jpg", "--out", "s.csv")[0] == 0
    assert run(photos / "00.jpg", "--out", "s.jsonl")[0] == 0  # the same in another format
    assert "all of it before" in run(photos / "00.jpg", "--out", "s.csv")[1]
    before = Path("s.run.json").read_bytes()
    for out in ("s.tsv", "s.jsonl"):
        status, _, errors = run(photos / "02.jpg", "--out", out, "--overwrite")
        assert status == 2 and "s.run.json belongs to s.csv, of other images" in errors
    assert Path("s.run.json").read_bytes() == before and not Path("s.tsv").exists()
    # The others gone, the name is free, and what somebody else puts there is no finished run.
    Path("s.csv").unlink()
    Path("s.jsonl").unlink()
    assert run(photos / "02.jpg", "--out", "s.tsv")[0] == 0
    Path("s.csv").write_text("image\nmine.jpg\n")
    status, _, errors = run(photos / "02.jpg", "--out", "s.csv")
    assert status == 2 and "s.csv is there already" in errors


def test_nobody_reads_the_rest(run, photos, monkeypatch):
    """`roc score photos | head`: no word about it, and none of Python's when it ends."""

    def broken(*_):
        raise BrokenPipeError("Broken pipe")

    given_away = []
    monkeypatch.setattr(score, "_print_scores", broken)
    monkeypatch.setattr(line.os, "dup2", lambda *files: given_away.append(files))
    status, _, errors = run(photos)
    assert status == 1 and "pipe" not in errors and len(given_away) == 1


def test_a_table_is_not_written_over_itself(run, photos):
    Path("table.csv").write_text(f"image,score\n{photos}/00.jpg,1\n")
    status, _, errors = run("table.csv", "--out", "./table.csv", "--overwrite")
    assert status == 2 and "is one of the files to be scored" in errors
    assert Path("table.csv").read_text().endswith("00.jpg,1\n")


@pytest.mark.parametrize("table", ["s.errors.csv", "s.selected.csv", "s.csv.part.jsonl", "page.html"])
def test_nothing_that_lies_beside_the_output_is_an_input(run, photos, table):
    image = str(photos / "01.jpg")
    text = json.dumps({"image": image}) if table.endswith("jsonl") else f"image\n{image}\n"
    Path(table).write_text(text)
    words = ["--out", "s.csv", "--top", "1", "--gallery", "./page.html"]
    status, _, errors = run(photos / "00.jpg", table, *words)
    assert status == 2 and table in errors and "one of the files to be scored" in errors
    assert [path.name for path in Path().iterdir()] == [table] and Path(table).read_text() == text


@pytest.mark.parametrize(
    "name", ["s.csv", "../{here}/s.csv", "s.csv.part.jsonl", "s.run.json", "s.errors.csv", "s.selected.csv"]
)
def test_a_gallery_takes_the_place_of_no_other_output(run, photos, name):
    name = name.format(here=Path.cwd().name)
    status, _, errors = run(photos / "00.jpg", "--out", "s.csv", "--top", "1", "--gallery", name)
    assert status == 2 and f"--gallery is {name}, where s" in errors and not list(Path().iterdir())


def test_images_behind_urls_are_copied_and_drawn(run, photos):
    url = f"file://{photos}"
    words = ["--out", "s.csv", "--top", "2", "--copy_to", "best", "--gallery", "g.html"]
    assert run(url, *words)[0] == 0
    best = [Path(row["image"]).name for row in rows_of("s.selected.csv")]
    assert sorted(os.listdir("best")) == [f"{place}_{name}" for place, name in enumerate(best, start=1)]
    assert Path("best", f"1_{best[0]}").read_bytes() == (photos / best[0]).read_bytes()
    page = Path("g.html").read_text()
    assert page.count("<figure ") == 2 and "<a href" not in page


def test_a_device_that_is_not_here_is_told(run, photos, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for device, told in (("cuda", "finds 0 GPUs here"), ("toaster", "device is 'toaster'; expected cpu, cuda")):
        status, _, errors = run(photos / "00.jpg", "--out", "s.csv", "--device", device)
        assert status == 2 and told in errors and not list(Path().iterdir())


@pytest.mark.parametrize("words", [("--out", "a.csv", "--overwrite"), ("--out", "b.csv", "--gallery", "a.csv")])
def test_a_folder_in_the_place_of_an_output_is_told_before_the_work(run, photos, words):
    Path("a.csv").mkdir()
    status, _, errors = run(photos, *words)
    assert status == 2 and "is a.csv, which is a folder; name a file" in errors
    assert [path.name for path in Path().iterdir()] == ["a.csv"]
