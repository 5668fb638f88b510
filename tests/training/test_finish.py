"""A finished run leaves the best state as its checkpoint, the card, the curves and the evaluation."""

import contextlib
import csv
import io
import json
import shlex

import pytest
import torch
from safetensors.torch import load_file
from training_runs import QUICK, demo, finetune, ratings

from roc import Assessment
from roc.commands.evaluate import main as evaluate
from roc.training.config import load_config
from roc.training.finish import _extra_lines


def test_the_card_gives_the_metrics_and_the_command_that_makes_them(finished):
    card = (finished / "README.md").read_text()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["n"] < 30 and f"| overall | ~{metrics['srcc']:.1g} [" in card and "few rows" in card
    assert "Does it look at the picture? Scores move by" in card
    assert f"```bash\n{metrics['command']}\n```" in card
    config = load_config(None, shlex.split(metrics["command"])[2:])
    assert config.to_dict() == json.loads((finished / "run.json").read_text())["settings"]


def test_tensorboard_has_each_loss_rate_and_validation_metric(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next((finished / "training").rglob("events.out.tfevents*")).parent
    events = EventAccumulator(str(folder))
    events.Reload()
    wanted = {f"train/{name}" for name in ("loss", "text_loss", "l1_loss", "ce_loss", "emd_loss", "learning_rate")}
    wanted |= {f"eval/{name}" for name in ("srcc", "plcc", "mae")}
    assert wanted <= set(events.Tags()["scalars"])


def test_the_checkpoint_scores_what_the_report_says(finished):
    rows = list(csv.DictReader((finished / "predictions.csv").open()))
    pictures = [finished / "scenes" / row["id"] for row in rows]
    for row, one in zip(rows, Assessment(finished).score(pictures), strict=True):
        assert float(row["prediction"]) == pytest.approx(one.scores["overall"].value, abs=1e-4)
        assert float(row["prediction.light"]) == pytest.approx(one.scores["light"].value, abs=1e-4)


def test_the_best_state_was_kept(finished):
    """The checkpoint holds the weights of the state that validation chose."""
    states = sorted((finished / "training").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state = json.loads((states[-1] / "trainer_state.json").read_text())
    best = load_file(finished / "training" / f"checkpoint-{state['best_global_step']}" / "model.safetensors")
    kept = load_file(finished / "model.safetensors")
    assert torch.equal(kept["score_head.weight"], best["score_head.weight"])
    assert kept["score_head.weight"].any()


def test_a_full_disk_at_the_end_is_said_and_the_states_are_kept(tmp_path, capsys, monkeypatch):
    from safetensors import SafetensorError

    import roc.checkpoint.folder
    import roc.training.trainer  # noqa: F401 - before the patch, so that states are still saved

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(roc.checkpoint.folder, "save", full)
        assert demo(tmp_path / "out", "--num_train_epochs", "1") == 2
    assert "No space left on device" in capsys.readouterr().err
    (tmp_path / "out" / "README.md").write_text("All mine.")
    assert demo(tmp_path / "out", "--num_train_epochs", "1") == 0
    assert "Resuming from" in capsys.readouterr().err
    assert (tmp_path / "out" / "README.md").read_text() == "All mine."


@pytest.fixture(scope="module")
def wordless(tmp_path_factory):
    """Trains without the text loss, and leaves the test rows alone; returns the folder and what was printed."""
    out = tmp_path_factory.mktemp("wordless") / "demo"
    words = ["--no_test_table", "--text_weight", "0", "--head_dropout", "0.2", "--batch_norm_momentum", "0.5"]
    words += ["--num_train_epochs", "1"]
    printed, noted = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(noted):
        assert demo(out, *words) == 0
    return out, printed.getvalue(), noted.getvalue()


def test_the_test_rows_are_left_alone_until_they_are_asked_for(wordless):
    out, printed, _ = wordless
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert len(rows) == 8 and all("val" in row["id"] for row in rows)
    assert json.loads((out / "metrics.json").read_text())["split"] == "val"
    assert "8 validation rows" in printed and "The 8 test rows were not scored (no_test_table)." in printed
    command = next(line for line in printed.splitlines() if line.startswith("  roc evaluate"))
    assert evaluate([*shlex.split(command)[2:], "--no_report", "--n_resamples", "0"]) == 0
    rows = list(csv.DictReader((out / "test" / "predictions.csv").open()))
    assert len(rows) == 8 and all("test" in row["id"] for row in rows)


def test_a_run_that_teaches_no_words_says_so(wordless):
    out, printed, noted = wordless
    assert "no answers are taught" in noted and "generated answers: not checked" in printed
    assert "(l1 " in noted and "text 0" not in noted
    assert ").score(" in printed and "precision=4" not in printed
    assert json.loads((out / "config.json").read_text())["roc"]["text_weight"] == 0


def test_meaningless_results_are_told_as_such(tmp_path, capsys):
    """A stand-in after one step on four ratings: its answers hold no score, and no curves were logged."""
    data = ratings(tmp_path, ["5,4,train", "6,3,train", "7,2,test", "3,3,test", "4,4,test"], "image,score,light,split")
    out = tmp_path / "out"
    assert finetune("--data_path", data, *QUICK, "--eval_strategy", "no", "--output_dir", str(out)) == 0
    said = capsys.readouterr().out
    assert "only 0.0% of 3 hold every [SCORE] at its place" in said and "tensorboard" not in said
    assert "the checkpoint is a stand-in to try the software with, trained on r.csv" in said
    use = said[said.index("    from roc import") :].splitlines()[:3]
    exec("\n".join(line.strip() for line in use))
    assert 1 <= float(capsys.readouterr().out) <= 10
    assert "stand-in" in (out / "README.md").read_text()
    assert json.loads((out / "config.json").read_text())["roc"]["tiny_model"] == "demo"  # roc score says so by this


def test_answers_that_differ_because_they_are_of_the_photo_alone_say_so():
    metrics = {"answers/n": 10, "answers/complete": 1.0, "answers/largest_difference": 0.3}
    plain, flipped = ("\n".join(_extra_lines(metrics, load_config(), flips=flips)) for flips in (False, True))
    assert "differ from one forward pass by 0.3 at most" in plain and "mirror" not in plain
    assert flipped.startswith(plain) and "one forward pass reads its mirror image too" in flipped
