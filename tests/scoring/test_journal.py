"""The journal of a scoring run: right whenever the run is killed."""

import json
import multiprocessing
import os

import pytest

from roc.scoring.journal import Journal

SETTINGS = {"weights": "abc", "attributes": ["overall"]}
ROWS = [{"image": f"{i}.jpg", "prediction": i / 7} for i in range(5)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.csv.part.jsonl"


def written(path, rows=ROWS):
    with Journal(path, SETTINGS, {"asked": "photos"}) as journal:
        journal.write(rows[:2])
        journal.write(rows[2:])
    return path.read_bytes()


def test_rows_come_back_in_any_order(path):
    written(path)
    with Journal(path, SETTINGS, {"asked": "other"}) as journal:
        assert len(journal) == 5 and "3.jpg" in journal and "5.jpg" not in journal
        assert journal.about == {"asked": "photos"}
        assert list(journal.rows(["4.jpg", "0.jpg", "1.jpg"])) == [ROWS[4], ROWS[0], ROWS[1]]
        journal.write([{"image": "5.jpg", "error": "gone"}])
        assert list(journal.rows(journal.images))[-1] == {"image": "5.jpg", "error": "gone"}
        journal.rename(path.with_name("kept.jsonl"))
    assert not path.exists() and path.with_name("kept.jsonl").exists()


def test_cut_anywhere_it_keeps_every_whole_row(path):
    whole = written(path)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        rows = max(0, sum(end <= length for end in ends) - 1)
        with Journal(path, SETTINGS, {"asked": "photos"}) as journal:
            assert list(journal.images) == [row["image"] for row in ROWS[:rows]]
            journal.write(ROWS[rows:])
        assert path.read_bytes() == whole


def test_a_damaged_end_is_cut_off(path):
    whole = written(path)
    path.write_bytes(whole[:-9] + b"\0\0\0\0\0\0\0\0\n")
    with Journal(path, SETTINGS) as journal:
        assert len(journal) == 4 and journal.lost > 0


def test_other_settings_are_refused_and_the_file_stays(path):
    whole = written(path)
    with pytest.raises(ValueError, match="weights was 'abc', is 'xyz'.*--overwrite"):
        Journal(path, {**SETTINGS, "weights": "xyz"})
    assert path.read_bytes() == whole
    with Journal(path, {**SETTINGS, "weights": "xyz"}, overwrite=True) as journal:
        assert len(journal) == 0


@pytest.mark.parametrize("content", [b"image,score\na.jpg,1\n", b"a few words", b"{}\n"])
def test_what_is_no_journal_is_refused_and_stays(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no journal"):
        Journal(path, SETTINGS)
    assert path.read_bytes() == content


def test_no_nan_is_written(path):
    with Journal(path, SETTINGS) as journal, pytest.raises(ValueError):
        journal.write([{"image": "a.jpg", "prediction": float("nan")}])


def _open(path, answer):
    try:
        Journal(path, SETTINGS)
        answer.send("opened")
    except ValueError as error:
        answer.send(str(error))
    os._exit(0)


def test_one_run_at_a_time(path):
    context = multiprocessing.get_context("fork")
    for held in (True, False):
        mine, theirs = context.Pipe()
        with Journal(path, SETTINGS) as journal:
            if not held:
                journal.__exit__()
            process = context.Process(target=_open, args=(path, theirs))
            process.start()
            answer = mine.recv()
            process.join()
        assert ("another run" in answer) is held and (answer == "opened") is not held


def test_the_header_is_the_first_line(path):
    assert json.loads(written(path).splitlines()[0]) == {"settings": SETTINGS, "about": {"asked": "photos"}}
