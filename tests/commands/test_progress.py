"""Progress: a bar on a terminal, a line now and then in a file."""

import sys

from roc.commands import progress
from roc.commands.progress import with_progress


def test_a_file_gets_a_line_now_and_then(capsys, monkeypatch):
    times = iter([0.0, 10.0, 70.0, 80.0, 131.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    assert list(with_progress("abcd", 1200, 100)) == list("abcd")
    assert capsys.readouterr().err == ("102 of 1,200 img, 0.0/s, 640 min left\n104 of 1,200 img, 0.0/s, 598 min left\n")


def test_short_work_says_nothing_in_a_file(capsys):
    assert list(with_progress([1, 2], 2)) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(with_progress([1, 2], 3, 1)) == [1, 2]
    assert "3/3" in capsys.readouterr().err
