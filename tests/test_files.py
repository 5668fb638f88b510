"""Files are whole or not there."""

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
