"""`roc reasoning` from the command line: what it prints, its exit status, and a corpus that is trained on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from chat_stand_in import ChatStandIn, answer
from critiques import nine

from roc.commands.reasoning import main
from roc.data.rows import write_rows
from roc.demo.dataset import write_dataset


def test_help_and_unknown_words(capsys):
    assert main([]) == 2 and main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("corpus", "convert", "show", "example: roc reasoning corpus"))
    assert main(["critique"]) == 2
    assert "unknown command 'critique'; the commands are corpus, convert, show" in capsys.readouterr().err


def test_a_corpus_of_the_demo(tmp_path, capsys):
    write_dataset(tmp_path / "scenes", 24, 0, 3, size=32, seed=1)
    words = ["corpus", "--data_path", str(tmp_path / "scenes/ratings.csv"), "--out", str(tmp_path / "c.jsonl")]
    assert main([*words, "--count", "6"]) == 0
    shown = capsys.readouterr().out
    assert "6 texts (bad 2, fair 2, good 2)" in shown and "writer: 6 answers" in shown and "18 answers" in shown
    assert main(["show", str(tmp_path / "c.jsonl"), "--html", str(tmp_path / "page.html"), "--n", "3"]) == 0
    assert "page.html: 3 texts" in capsys.readouterr().out
    assert main([*words, "--count", "5"]) == 2
    assert "--count: count is 5, expected a multiple of 3" in capsys.readouterr().err


def test_a_corpus_from_an_endpoint_with_its_cost(tmp_path, capsys):
    pytest.importorskip("openai")
    words = ["corpus", "--data_path", str(nine(tmp_path)), "--out", str(tmp_path / "c.jsonl"), "--price_in", "10000"]
    words += ["--writer", "chat:m", "--timeout", "20", "--retries", "1"]
    with ChatStandIn(429, 500) as server:
        assert main([*words, "--base_url", server.url]) == 0
    printed = capsys.readouterr()
    assert "9 texts (bad 3, fair 3, good 3)" in printed.out
    assert "writer: 9 answers, 900 tokens read, 180 written, cost 9.00" in printed.out
    assert main([*words, "--base_url", server.url]) == 0  # nobody is there any more, and nobody is asked
    assert "0 answers in this run" in capsys.readouterr().out
    kept = (tmp_path / "c.jsonl").read_bytes()
    assert main([*words, "--base_url", server.url, "--overwrite", "--retries", "0"]) == 2
    error = capsys.readouterr().err
    assert "no text is of use (failed 3), so no corpus was written; the first photo that failed: chat:m: Conn" in error
    assert (tmp_path / "c.jsonl").read_bytes() == kept


def test_a_photo_without_an_answer_is_named(tmp_path, capsys):
    pytest.importorskip("openai")
    words = ["corpus", "--data_path", str(nine(tmp_path)), "--out", str(tmp_path / "c.jsonl"), "--writer", "chat:m"]
    with ChatStandIn(400) as server:
        assert main([*words, "--base_url", server.url, "--requests_at_once", "1"]) == 1
    assert "400" in (error := capsys.readouterr().err) and "1 photo got no answer; the same command asks again" in error


def test_critiques_of_others(tmp_path, capsys):
    nine(tmp_path)
    good = {"image": "8.png", "response": f"<think>{answer('The tone is critical')}</think><answer>0.3</answer>"}
    write_rows(tmp_path / "theirs.jsonl", [good, {**good, "response": "0.3"}])
    assert main(["convert", str(tmp_path / "theirs.jsonl"), "--out", str(tmp_path / "c.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "c.jsonl: 1 texts on 0..1" in shown and "rejected, unread: 1" in shown
    scale = ["--min_score", "0", "--max_score", "1"]
    assert main(["show", str(tmp_path / "c.jsonl"), *scale]) == 0
    assert "1 texts (bad 1, fair 0, good 0)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_pays_for_nothing_twice(tmp_path):
    pytest.importorskip("openai")
    data = nine(tmp_path)
    with ChatStandIn(pause=0.15) as server:
        words = ["corpus", "--data_path", str(data), "--out", str(tmp_path / "c.jsonl"), "--writer", "chat:m"]
        words += ["--base_url", server.url, "--requests_at_once", "2"]
        command = [sys.executable, "-m", "roc.cli", "reasoning", *words]
        for wanted in (4, 9):
            process = subprocess.Popen(command, env=os.environ)
            while len(server.bodies) < wanted:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        kept = [json.loads(line) for line in (tmp_path / "c.journal.jsonl").read_text().splitlines()[1:-1]]
        asked = len(server.bodies)
        assert subprocess.run(command, env=os.environ).returncode == 0
    assert asked - len(kept) <= 2 * 2 + 1
    prompts = [body["messages"][0]["content"][-1]["text"] for body in server.bodies]
    assert len(prompts) <= 9 + 9 + 9 + 2 * 2 + 2  # requests under way when it was killed, and the same words at once
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 9


@pytest.mark.slow
def test_it_is_trained_on(tmp_path):
    from roc.cli import main as roc

    write_dataset(tmp_path / "scenes", 60, 0, 3, size=32, seed=1)
    out = str(tmp_path / "scenes/c.jsonl")
    assert main(["corpus", "--data_path", str(tmp_path / "scenes/ratings.csv"), "--out", out]) == 0
    words = ["finetune", "--data_path", out, "--tiny_model", "demo", "--output_dir", str(tmp_path / "run")]
    assert roc([*words, "--max_steps", "2", "--per_device_train_batch_size", "2"]) == 0
    assert (tmp_path / "run/config.json").is_file()
