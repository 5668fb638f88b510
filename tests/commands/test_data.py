"""`roc data`: what is printed, the exit status, and what is refused. The findings are judged in their own files."""

import shlex
import subprocess
import sys

import pytest
from PIL import Image

from roc.commands.data import main
from roc.demo.scenes import render_scene


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(6):
        render_scene(i, seed=5, size=32).image.save(tmp_path / f"{i}.png")
    (tmp_path / "good.csv").write_text("image,score\n" + "".join(f"{i}.png,{i + 1}\n" for i in range(6)))
    (tmp_path / "bad.csv").write_text("image,score\n0.png,1\n1.png,x\n9.png,3\n")
    return tmp_path


def run(words, capsys):
    status = main(shlex.split(words))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_help_shows_an_example_and_needs_no_numpy(capsys):
    status, out, _ = run("--help", capsys)
    assert status == 0 and "example: roc data check" in out
    assert all(f"  {name} " in out for name in ("convert", "check", "leaks", "split", "show"))
    code = "import sys; from roc.commands.data import main; main(['--help'])"
    code += "; print({'torch', 'numpy', 'scipy', 'PIL'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("set()\n"), result.stderr
    assert run("", capsys)[0] == 2


@pytest.mark.parametrize("name", ["convert", "from-xmp", "check", "leaks", "split", "show"])
def test_every_command_has_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0 and f"example: roc data {name}" in capsys.readouterr().out


def test_check(folder, capsys):
    status, out, err = run("check good.csv --min-score 1 --max_score 10", capsys)
    assert (status, err) == (0, "")
    assert out.startswith("good.csv: 6 records, 6 images, 6 opened") and out.endswith("no faults\n")
    assert (folder / "good.csv.checked").exists()
    status, out, err = run("check bad.csv --report out.txt", capsys)
    assert (status, err) == (1, "")
    assert "2 faults:\nbad.csv:3: the score is 'x'" in out and "bad.csv:4: there is no image" in out
    assert "bad.csv:4: there is no image" in (folder / "out.txt").read_text()
    assert (folder / "out.txt.checked").exists() and not (folder / "bad.csv.checked").exists()


def test_check_shows_fifty_and_reports_all(folder, capsys):
    rows = "".join(f"gone_{i}.png,{i},x\n" for i in range(60))
    (folder / "many.csv").write_text(f"image,id,score\n0.png,first,1\n{rows}")
    status, out, _ = run("check many.csv --no-images", capsys)
    assert status == 1 and out.count("there is no image") == 49 and "more; --report FILE writes all" in out
    assert (
        out.count("the score is 'x'") == 1
        and "(the same in 59 more lines: 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, ...)" in out
    )
    run("check many.csv --no-images --report all.txt", capsys)
    text = (folder / "all.txt").read_text()
    assert text.count("there is no image") == 60 and "more lines: 4, 5, " in text and ", 61, 62)" in text


def test_leaks(folder, capsys):
    Image.open("0.png").resize((64, 64)).save("again.jpg", quality=90)
    (folder / "test.csv").write_text("image,score\nagain.jpg,1\n")
    status, out, _ = run("leaks good.csv test.csv --report leaks.csv --resume memory", capsys)
    assert status == 1
    assert "test.csv:2: again.jpg is good.csv:2: 0.png (looks the same)" in out
    assert "1 leak: 1 of 1 test record" in out
    assert (folder / "leaks.csv").read_text().splitlines()[1] == "2,again.jpg,2,0.png,looks the same"
    assert (folder / "memory").exists()
    status, out, _ = run("leaks good.csv test.csv --no-images", capsys)
    assert status == 0 and "images were not opened" in out


def test_an_image_that_cannot_be_compared_is_no_clean_result(folder, capsys):
    (folder / "test.csv").write_text("image,score\nnone.jpg,1\n")
    status, out, err = run("leaks good.csv test.csv", capsys)
    assert status == 1 and "0 leaks" in out and "1 image cannot be used" in err and "none.jpg" in err


def test_split(folder, capsys):
    status, out, _ = run("split good.csv --out parts --val 0.3 --test 0.3 --seed 3", capsys)
    assert status == 0
    files = sorted(path.name for path in (folder / "parts").iterdir())
    assert set(files) <= {"train.csv", "val.csv", "test.csv", "all.csv"}
    assert all(f"parts/{name}: " in out for name in files)
    assert out.endswith(
        "train on it: roc finetune --model_name_or_path MODEL --data_path parts/all.csv --image_folder . --min_score 0 "
        "--max_score 10 --output_dir OUT\n"
        if "0..10" in out
        else out
    )
    status, out, _ = run("split good.csv --out one.csv", capsys)
    assert status == 0 and "--data_path one.csv --image_folder . " in out and out.startswith("one.csv: train ")
    status, _, err = run("split good.csv --out one.csv", capsys)
    assert status == 2 and "one.csv is there already; name another file, or delete it" in err


def test_check_writes_the_good_rows(folder, capsys):
    status, out, _ = run("check bad.csv --write_good ok/good.jsonl", capsys)
    assert status == 1
    assert out.endswith(
        "ok/good.jsonl: 1 good row, 2 left out, listed in ok/good.jsonl.left_out.txt\ntheir images: --image_folder .\n"
    )
    listed = (folder / "ok" / "good.jsonl.left_out.txt").read_text().splitlines()
    assert [line.partition(": ")[0] for line in listed] == ["bad.csv:3", "bad.csv:4"]
    assert run("check ok/good.jsonl --image_folder .", capsys)[0] == 0
    assert run("check bad.csv --write_good out.txt", capsys)[0] == 2


def test_check_of_a_folder_says_what_to_give(folder, capsys):
    status, _, err = run("check .", capsys)
    assert status == 2 and "this is a folder, and a data file is expected" in err and "roc score . --checkpoint" in err


def test_check_of_attributes_that_hold_text(folder, capsys):
    (folder / "text.csv").write_text("image,score,licence\n0.png,1,CC\n")
    status, _, err = run("check text.csv", capsys)
    assert status == 0 and err.startswith("note: text.csv: not read: 'licence' (no numbers)")
    status, out, _ = run("check text.csv --attributes licence", capsys)
    assert status == 1 and "text.csv:2: the attribute 'licence' is 'CC'; expected numbers" in out


def test_show(folder, capsys):
    status, out, _ = run("show good.csv --out sheets/s.png --n 3", capsys)
    assert status == 0 and Image.open("sheets/s.png").width > 200
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [["best", "6"], ["middle", "4"], ["worst", "1"]]
    (folder / "0.png").write_text("no image")
    status, _, err = run("show good.csv --out s.png", capsys)
    assert status == 1 and "1 image cannot be used" in err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("compare a b", "unknown command 'compare'; the commands are convert, from-xmp, check, leaks, split, show"),
        ("check none.csv", "none.csv: no such file"),
        ("check good.csv --min_score 1", "--min_score and --max_score belong together"),
        ("check good.csv --resume bad.csv", "bad.csv: this file holds no results of `roc data`"),
        ("check good.csv --workers 0", "--workers: workers is '0', expected a whole number at least 1"),
        ("check good.csv --image_folder nowhere", "nowhere: no such folder"),
        ("leaks good.csv bad.csv", "bad.csv:3: the score is 'x'"),
        ("leaks good.csv good.csv --report x.txt", "expected a file that ends in .csv, .tsv, .jsonl"),
        ("split good.csv --out x --val 1", "--val: val is '1', expected a number at least 0 and below 1"),
        ("split good.csv --out x --val 0.5 --test 0.5", "expected shares from 0 that leave something to train on"),
        ("show good.csv --out s.png --n 2", "--n: n is '2', expected a whole number at least 3"),
        ("check good.csv --images 0", "unknown flag --images"),
        ("show good.csv --out s.gif", "the suffix '.gif' is no picture's"),
        ("show good.csv --out s.png --attribute light", "no record has a score for 'light'"),
    ],
)
def test_bad_input(folder, capsys, words, what):
    status, _, err = run(words, capsys)
    assert status == 2 and err.startswith("roc data") and what in err


def test_a_report_goes_into_a_new_folder_and_over_no_data_file(folder, capsys):
    assert run("check bad.csv --no_images --report new/faults.txt", capsys)[0] == 1
    assert "bad.csv:3" in (folder / "new/faults.txt").read_text()
    before = (folder / "good.csv").read_bytes()
    for words in ("check good.csv --report ./good.csv", "leaks bad.csv good.csv --report good.csv --no_images"):
        status, _, err = run(words, capsys)
        assert status == 2 and "good.csv is a data file" in err
        assert (folder / "good.csv").read_bytes() == before


def test_names_that_the_terminal_cannot_show_are_written_as_codes(folder):
    (folder / "odd.jsonl").write_text(r'{"image": "\ud800.jpg", "score": 1}' "\n")
    code = "import roc.commands.data; print(roc.commands.data.main(['check', 'odd.jsonl']))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert r"\ud800.jpg" in result.stdout and result.stdout.endswith("\n1\n"), result.stderr
