"""What every command line shares: spelling, help, errors, exit codes; and that `--help` is quick and light."""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from roc.cli import COMMANDS
from roc.commands.line import Parser, guarded, run, spell
from roc.settings import REQUIRED, Settings, option


@dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """Options of a command of the tests."""

    paths: tuple[str, ...] = option(REQUIRED, "what to read", positional=True, metavar="PATH")
    out_file: str | None = option(None, "where to write", metavar="FILE", unset="printed only")
    batch_size: int = option(4, "images at once, 100% of them", low=1)
    mode: Literal["fast", "slow"] = option("fast", "how")
    names: tuple[str, ...] = option((), "which")
    folders: tuple[str, ...] | None = option(None, "where", commas=False)
    overwrite: bool = option(False, "start anew")
    report: bool = option(True, "write no report")


def call(words, work=lambda options: None):
    return run(Parser("roc test", "Tests.", "roc test a.jpg"), Options, words, work)


def read(*words):
    seen = []
    assert call(list(words), seen.append) == 0
    return seen[0]


def test_words_become_typed_options():
    options = read("a.jpg", "b,c.jpg", "--out-file=x-y_z.csv", "--batch_size", "8", "--overwrite", "--no-report")
    assert options.paths == ("a.jpg", "b,c.jpg") and options.out_file == "x-y_z.csv"
    assert (options.batch_size, options.overwrite, options.report, options.mode) == (8, True, False, "fast")
    assert read("a.jpg", "--names", "one", "two,three").names == ("one", "two", "three")
    assert read("a.jpg", "--names", "one", "--names=two").names == ("one", "two")
    assert read("a.jpg").folders is None and read("a.jpg", "--folders").folders == ()
    assert read("a.jpg", "--folders", "my_photos", "b,c").folders == ("my_photos", "b,c")
    assert read("a.jpg", "--folders=my_photos,b").folders == ("my_photos,b",)


def test_only_names_of_flags_change_their_spelling():
    words = ["--out-file", "--data-path=a-b", "x--y-z", "-1", "--", "--not-a-flag"]
    assert spell(words) == ["--out_file", "--data_path=a-b", "x--y-z", "-1", "--", "--not-a-flag"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["a.jpg", "--batch_size", "0"],
            "roc test: --batch_size: batch_size is '0', expected a whole number",
        ),
        (["a.jpg", "--mode", "odd"], "--mode: mode is 'odd', expected one of fast, slow"),
        (["a.jpg", "--batchsize", "2"], "roc test: unknown flag --batchsize; did you mean --batch_size?"),
        (["a.jpg", "--zzz=1"], "unknown flag --zzz (see roc test --help)"),
        ([], "the following arguments are required: PATH"),
    ],
)
def test_bad_words_are_one_line_and_status_2(words, expected, capsys):
    assert call(words) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_help_shows_defaults_choices_and_the_example(capsys):
    with pytest.raises(SystemExit) as caught:
        call(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0 and "example: roc test a.jpg" in text
    assert "images at once, 100% of them [4]" in text and "where to write [printed only]" in text
    assert "{fast,slow}" in text and "--no_report" in text


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("no such scale"), 2, "roc test: no such scale\n"),
        (FileNotFoundError("a.jpg is not there"), 2, "roc test: a.jpg is not there\n"),
        (KeyboardInterrupt(), 130, "\nroc test: stopped; goes on\n"),
    ],
)
def test_errors_of_the_work(error, status, line, capsys):
    def work():
        raise error

    assert guarded("roc test", work, lambda: "goes on") == status
    assert capsys.readouterr().err == line


def test_a_fault_of_roc_is_raised():
    with pytest.raises(ZeroDivisionError):
        guarded("roc test", lambda: 1 // 0)


def test_status_and_notes_of_the_work(capsys):
    def work():
        logging.getLogger("roc.test").warning("%d rows have no score", 3)
        logging.getLogger("roc.test").info("going on")
        return 1

    assert guarded("roc test", work) == 1
    assert capsys.readouterr().err == "note: 3 rows have no score\ngoing on\n"


HELP = """
import json, sys, time
from roc.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = {"torch", "scipy", "transformers", "numpy", "PIL"} & set(sys.modules)
print(json.dumps([time.process_time(), sorted(heavy)]), file=sys.stderr)
"""


WORDS = [[], *([name] for name in COMMANDS)]
WORDS += [["data", name] for name in ("convert", "check", "leaks", "split", "show")]
WORDS += [["agree", name] for name in ("maps", "folds", "sensitivity") if "agree" in COMMANDS]
WORDS += [["reasoning", name] for name in ("corpus", "convert", "show") if "reasoning" in COMMANDS]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_help_is_quick_and_imports_nothing_heavy(words):
    result = subprocess.run([sys.executable, "-c", HELP, *words, "--help"], capture_output=True, text=True, check=True)
    seconds, heavy = json.loads(result.stderr.splitlines()[-1])
    assert heavy == [] and result.stdout.startswith("usage: ")
    assert seconds < 0.3
