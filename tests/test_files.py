"""Files are written as a whole or not at all."""

import errno
import subprocess
import sys
import threading

import pytest

from roc.files import write_folder, write_text, write_whole


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path):
    path = write_text(tmp_path / "new" / "folder" / "table.csv", "whole\n")

    def half_then_full(temporary):
        temporary.write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, half_then_full)
    assert path.read_text() == "whole\n"
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]


def test_an_error_of_the_system_names_what_was_to_be_written(tmp_path):
    def refused(temporary):
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))

    for write in (write_whole, write_folder):
        with pytest.raises(PermissionError) as error:
            write(tmp_path / "a.csv", refused)
        assert str(error.value) == f"[Errno 13] Permission denied: '{tmp_path}/a.csv'"


def test_letters_that_utf_8_cannot_hold_are_written_as_asked(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert list(tmp_path.iterdir()) == []
    assert write_text(tmp_path / "a.txt", "\ud800", errors="backslashreplace").read_text() == "\\ud800"


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    code = (
        "import os, signal, sys; from roc.files import write_whole\n"
        "write_whole(sys.argv[1], lambda temporary: (temporary.touch(), os.kill(os.getpid(), signal.SIGKILL)))"
    )
    for name in ("a.csv", "b.csv"):
        assert subprocess.run([sys.executable, "-c", code, tmp_path / name], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    inside, go_on = threading.Event(), threading.Event()

    def slow(temporary):
        temporary.write_text("slow")
        inside.set()
        assert go_on.wait(60)

    other = threading.Thread(target=write_whole, args=(tmp_path / "a.csv", slow))
    other.start()
    assert inside.wait(60)
    write_text(tmp_path / "a.csv", "fast")
    assert sorted(file.name.split(".")[1] for file in tmp_path.iterdir() if file.suffix == ".tmp") == ["a", "b"]
    go_on.set()
    other.join()
    assert (tmp_path / "a.csv").read_text() == "slow"
    assert [file.name[:6] for file in sorted(tmp_path.iterdir())] == [".b.csv", "a.csv"]


def test_a_name_as_long_as_names_can_be(tmp_path):
    name = "x" * 251 + ".txt"
    assert write_text(tmp_path / name, "whole").read_text() == "whole"


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    def half(folder):
        (folder / "a.txt").write_text("a")
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("new", "deep/new"):
        with pytest.raises(OSError, match="No space left"):
            write_folder(tmp_path / name, half)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["deep"]
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        write_folder(tmp_path / name, lambda folder: (folder / "a.txt").write_text("a"))
        assert [file.name for file in (tmp_path / name).iterdir()] == ["a.txt"]
    with pytest.raises(OSError):
        write_folder(tmp_path / "new", lambda folder: (folder / "b.txt").write_text("b"))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert {entry.name for entry in tmp_path.iterdir()} == {"deep", "empty", "new"}


def test_half_a_folder_of_a_killed_process_is_removed(tmp_path):
    code = (
        "import os, signal, sys; from roc.files import write_folder\n"
        "def fill(folder): (folder / 'a').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_folder(sys.argv[1], fill)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    write_folder(tmp_path / "out", lambda folder: (folder / "b").touch())
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
