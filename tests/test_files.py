"""Files are written as a whole or not at all."""

import errno

import pytest

from roc.files import write_text, write_whole


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path):
    path = write_text(tmp_path / "new" / "folder" / "table.csv", "whole\n")

    def half_then_full(temporary):
        temporary.write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, half_then_full)
    assert path.read_text() == "whole\n"
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]


def test_letters_that_utf_8_cannot_hold_are_written_as_asked(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert list(tmp_path.iterdir()) == []
    assert write_text(tmp_path / "a.txt", "\ud800", errors="backslashreplace").read_text() == "\\ud800"
