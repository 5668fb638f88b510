"""Rows that do not fit are found before the first step, with what would take them; limits may change on resume."""

import json
import re
from pathlib import Path

import pytest
import torch
from heads import ATTRIBUTES, SPACE, picture
from safetensors.torch import load_file
from tiny_models import FAMILY_BUILDERS

from roc.checkpoint.folder import load, save
from roc.commands.finetune import main
from roc.data.augment import scaled_size
from roc.data.images import open_image
from roc.data.rows import DataError
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.scoring.assessment import Assessment
from roc.training.config import load_config
from roc.training.data import read_data
from roc.training.row_lengths import check_lengths
from roc.training.run import RunError, is_finished
from roc.training.trainer import RocTrainer

COUNT = 20
LIMIT = 50


def model_folder(folder, family, **settings):
    model, processor = FAMILY_BUILDERS[family](hidden_size=64)
    attach(model, processor, SPACE, attributes=ATTRIBUTES[:1], **settings)
    save(model, processor, folder)
    return str(folder)


@pytest.fixture(scope="module")
def resolving(tmp_path_factory):
    """Folder of a model whose pictures take tokens by their resolution."""
    return model_folder(tmp_path_factory.mktemp("qwen") / "model", "qwen2_5_vl")


def photos(folder, *large):
    """Writes small pictures and, last by their names, large ones; returns the data file."""
    sizes = {f"{i:02}.png": (30, 28) for i in range(COUNT)} | {f"zz_{i}.png": size for i, size in enumerate(large)}
    rows = []
    for i, (name, size) in enumerate(sizes.items()):
        picture(i, size).save(folder / name)
        rows.append(f"{name},{1 + i % 9}," + ("Soft light" if i == 4 else ""))
    (folder / "r.csv").write_text("\n".join(["image,score,comment", *rows]) + "\n")
    return folder / "r.csv"


def words(data, model, out, *more):
    return ["--model_name_or_path", model, "--data_path", str(data), "--output_dir", str(out), "--max_steps", "4",
            "--per_device_train_batch_size", "2", "--eval_strategy", "no", "--report_to", "none", "--threads", "1",
            "--learning_rate", "1e-2", "--check_answers", "0", "--val_fraction", "0.2", *map(str, more)]  # fmt: skip


def checked(data, model, *more, validates=True):
    """Checks the rows as a run with these settings does; `--max_pixels` is declared as `build_model` does."""
    config = load_config(None, words(data, model, data.parent / "out", *more))
    declaration = load(model)[0].declaration
    if config.max_pixels is not None:
        declaration = declaration.from_dict({**declaration.to_dict(), "format": 2, "max_pixels": config.max_pixels})
    collator = RocCollator(load(model)[1], declaration, max_length=config.model_max_length)
    return check_lengths(config, read_data(config), collator, validates=validates)


def test_a_large_picture_among_small_ones_is_found_before_the_first_step(resolving, tmp_path, monkeypatch, capsys):
    steps = []
    monkeypatch.setattr(RocTrainer, "training_step", lambda *rest: steps.append(rest))
    data = photos(tmp_path, (2000, 60))
    assert main(words(data, resolving, tmp_path / "out", "--model_max_length", LIMIT)) == 2
    said = capsys.readouterr().err
    assert steps == [] and not (tmp_path / "out").exists()
    place = re.escape(f"{data}:{COUNT + 2}: zz_0.png needs ")
    found = re.search(place + r"(\d+) tokens, (\d+) of them for its picture; model_max_length is 50\n"
                      r"--model_max_length (\d+) takes all rows \((\d+) with words lost after their last \[SCORE\]\)\n",
                      said)  # fmt: skip
    assert found, said  # and no --max_pixels: this picture is so long that no number of pixels would do
    needs, tokens, whole, least = map(int, found.groups())
    assert whole > least == needs > tokens > 4
    with pytest.raises(DataError, match="zz_0.png needs"):
        checked(data, resolving, "--model_max_length", least - 1)
    assert checked(data, resolving, "--model_max_length", least).longest == whole


def test_max_pixels_is_offered_where_it_would_do(resolving, tmp_path):
    data = photos(tmp_path, (300, 100), (500, 130))
    with pytest.raises(DataError) as refused:
        checked(data, resolving, "--model_max_length", LIMIT)
    assert [fault.split(" needs")[0] for fault in refused.value.faults] == [
        f"{data}:{22 + i}: zz_{i}.png" for i in (0, 1)
    ]
    offer = r"; or --max_pixels (\d+), which scales 2 pictures, the largest from 500 x 130 to (\d+) x (\d+), here"
    pixels, *size = map(int, re.search(offer, str(refused.value)).groups())
    assert tuple(size) == scaled_size((500, 130), pixels)
    assert checked(data, resolving, "--model_max_length", LIMIT, "--max_pixels", pixels).longest > LIMIT
    more = pixels + 10 ** (len(str(pixels)) - 2)  # the next number of two digits and zeros
    with pytest.raises(DataError, match="needs"):
        checked(data, resolving, "--model_max_length", LIMIT, "--max_pixels", more)


def test_every_row_is_listed_and_no_pixels_are_offered_where_they_do_not_count(tmp_path):
    model = model_folder(tmp_path / "model", "llava")
    data = photos(tmp_path, (500, 130))
    (tmp_path / "val.csv").write_text("image,score\nv.png,5\n")
    picture(0).save(tmp_path / "v.png")
    more = ["--model_max_length", "20", "--eval_data_path", str(tmp_path / "val.csv")]
    with pytest.raises(DataError) as refused:
        checked(data, model, *more)
    assert len(refused.value.faults) == COUNT + 2 and "val.csv:2: v.png needs" in refused.value.faults[-1]
    assert "takes all rows" in str(refused.value) and "max_pixels" not in str(refused.value)
    with pytest.raises(DataError) as refused:
        checked(data, model, *more, validates=False)
    assert len(refused.value.faults) == COUNT + 1


def test_words_after_the_last_score_are_cut_and_counted_in_one_note(resolving, tmp_path, caplog):
    data = photos(tmp_path)
    report = checked(data, resolving, "--model_max_length", LIMIT)
    assert report.longest > LIMIT
    longest = read_data(load_config(None, words(data, resolving, tmp_path / "out"))).train[report.longest_rows[0]]
    assert longest.comment == "Soft light"
    said = f"1 row loses words after the last [SCORE] to fit model_max_length {LIMIT}; {report.longest} would cut none"
    assert [text for text in caplog.messages if "model_max_length" in text] == [said]


def test_a_picture_too_thin_for_the_processor_is_a_fault_of_its_line(tmp_path):
    model = model_folder(tmp_path / "model", "mistral3")
    with pytest.raises(DataError) as refused:
        checked(photos(tmp_path, (400, 3)), model)
    assert refused.value.faults[0].startswith(f"{tmp_path / 'r.csv'}:22: this model's processor cannot take an image")
    assert "takes all rows" not in str(refused.value)


def test_a_large_set_costs_little(resolving, tmp_path, monkeypatch):
    """Rows of one wording and few sizes are counted together: texts once, pictures by their size, none opened."""
    from roc.model import collator

    laid_out, layout = [], collator.RocCollator.layout
    monkeypatch.setattr(
        collator.RocCollator, "layout", lambda self, record: laid_out.append(record) or layout(self, record)
    )
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    data = photos(tmp_path, (500, 130))
    assert checked(data, resolving).longest > LIMIT
    assert len(laid_out) == 2  # with and without the comment


# --- resuming ------------------------------------------------------------------------------------------------------


def held(folder, *more, finished=False, longest_row=60, **facts):
    """Writes the folder of a run with these settings, and a saved state in it."""
    config = load_config(None, ["--output_dir", str(folder), *map(str, more)])
    (folder / "training" / "checkpoint-2").mkdir(parents=True)
    facts = {"finished": finished, "settings": config.to_dict(), "data": [], "longest_row": longest_row, **facts}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def again(folder, *more):
    return is_finished(load_config(None, ["--output_dir", str(folder), *map(str, more)]))


def test_the_limit_of_length_may_change_as_long_as_it_cuts_no_row(tmp_path):
    out = held(tmp_path, "--model_max_length", 100)
    for limit in (60, 61, 4096):
        assert again(out, "--model_max_length", limit) is False
    with pytest.raises(RunError, match=r"model_max_length: 100 -> 59 \(the longest row has 60 tokens"):
        again(out, "--model_max_length", 59)


@pytest.mark.parametrize("finished", [False, True])
def test_a_limit_that_cut_rows_makes_another_run(tmp_path, finished):
    out = held(tmp_path, "--model_max_length", 50, finished=finished)
    with pytest.raises(RunError, match=r"model_max_length: 50 -> 70 \(the longest row has 60"):
        again(out, "--model_max_length", 70)


def test_a_name_may_change_until_it_is_written(tmp_path):
    assert again(held(tmp_path / "a"), "--dataset", "mine") is False
    with pytest.raises(RunError, match="dataset: None -> mine"):
        again(held(tmp_path / "b", finished=True), "--dataset", "mine")


def test_a_run_whose_rows_were_not_counted(tmp_path):
    """One that was stopped before may change its limit, for it learnt nothing; one of an earlier release may not."""
    out = held(tmp_path, longest_row=None)
    with pytest.raises(RunError, match="model_max_length: 2048 -> 300\n"):
        again(out, "--model_max_length", 300)
    (out / "training" / "checkpoint-2").rmdir()
    assert again(out, "--model_max_length", 300) is False


def test_max_pixels_of_an_earlier_release_is_what_pixel_limit_is_now(tmp_path):
    out = held(tmp_path)
    facts = json.loads((out / "run.json").read_text())
    del facts["settings"]["pixel_limit"], facts["longest_row"]
    facts["settings"]["max_pixels"] = 120_000_000
    (out / "run.json").write_text(json.dumps(facts))
    assert again(out) is False
    with pytest.raises(RunError, match="max_pixels: None -> 50000"):
        again(out, "--max_pixels", 50_000)


@pytest.mark.slow
def test_a_killed_run_with_a_raised_limit_ends_with_the_weights_of_an_uninterrupted_one(
    resolving, tmp_path, monkeypatch, capsys
):
    data, step = photos(tmp_path, (500, 130)), RocTrainer.training_step

    def run(out, *more):
        return main(words(data, resolving, tmp_path / out, "--save_strategy", "steps", "--save_steps", 2, *more))

    def until(self, *rest, **more):
        if self.state.global_step == 3:
            raise SystemExit("power cut")
        return step(self, *rest, **more)

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="power cut"):
        patch.setattr(RocTrainer, "training_step", until)
        run("cut", "--model_max_length", 80)
    longest = json.loads((tmp_path / "cut" / "run.json").read_text())["longest_row"]
    assert LIMIT < longest < 80
    assert run("cut", "--model_max_length", longest - 1) == 2
    others = ["--model_max_length", 4096, "--pixel_limit", 10**9, "--dataset", "mine", "--save_strategy", "epoch"]
    assert run("cut", *others) == 0
    assert "Resuming from" in capsys.readouterr().err
    assert run("whole", "--model_max_length", longest) == 0
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    for key, weight in expected.items():
        torch.testing.assert_close(found[key], weight, atol=1e-6, rtol=0)
    assert run("cut", *others) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_trained_with_fewer_pixels_is_scored_with_them(resolving, tmp_path):
    data, out = photos(tmp_path, (500, 130)), tmp_path / "out"
    assert main(words(data, resolving, out, "--model_max_length", LIMIT, "--max_pixels", 1500)) == 0
    section = json.loads((out / "config.json").read_text())["roc"]
    assert (section["max_pixels"], section["format"]) == (1500, 2)
    large = open_image(Path(data.parent, "zz_0.png"))
    assert Assessment(out).collator.scoring_batch([large])["input_ids"].shape[1] <= LIMIT
    # A model that is trained on keeps its limit unless another is given.
    assert main(words(data, str(out), tmp_path / "on", "--model_max_length", LIMIT)) == 0
    assert load(tmp_path / "on")[0].declaration.max_pixels == 1500
