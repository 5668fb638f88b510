"""Rows that do not fit the settings are refused, all faults together, before any training."""

import json
from pathlib import Path

import pytest
from heads import picture
from training_runs import QUICK, ava_file, ratings

from roc.commands.finetune import main
from roc.data import reading
from roc.data.records import few_rated
from roc.data.rows import DataError
from roc.training import data as training_data
from roc.training.config import load_config
from roc.training.data import check_images, check_learnable, read_data


def test_a_wrong_number_of_levels_is_refused_before_any_work(tmp_path, capsys):
    data = ava_file(tmp_path, 3)
    words = [
        "--tiny_model",
        "demo",
        "--data_path",
        str(data),
        "--num_tokens",
        "8",
        "--ce_weight",
        "1",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("expected 8") == 1 and "(the same in 2 more samples: 2, 3)" in error
    assert "ava.json:1" in error
    assert not (tmp_path / "out").exists()


def test_faults_of_the_data_come_together_before_training(tmp_path, capsys):
    picture(0).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "r.csv").write_text("image,score\ngood.png,5\nhalf.png,6\nmissing.png,7\ngood2.png,11\n")
    assert (
        main(["--tiny_model", "demo", "--data_path", str(tmp_path / "r.csv"), "--output_dir", str(tmp_path / "out")])
        == 2
    )
    error = capsys.readouterr().err
    for line, word in ((3, "half.png"), (4, "missing.png"), (5, "11")):
        assert any(f"r.csv:{line}" in row and word in row for row in error.splitlines()), error
    assert not (tmp_path / "out").exists()


def test_votes_asked_for_but_not_there(tmp_path, capsys):
    picture(0).save(tmp_path / "good.png")
    (tmp_path / "r.csv").write_text("image,score\ngood.png,5\n")
    words = [
        "--tiny_model",
        "demo",
        "--data_path",
        str(tmp_path / "r.csv"),
        "--emd_weight",
        "1",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main(words) == 2
    assert "no record has a histogram" in capsys.readouterr().err


def test_scores_in_another_order_than_the_attributes_are_refused(tmp_path, capsys):
    picture(0).save(tmp_path / "0.png")
    turns = [
        {"from": "human", "value": "<|image|>Rate it."},
        {"from": "gpt", "value": "Overall [SCORE], light [SCORE], mood [SCORE]."},
    ]
    row = {"image": "0.png", "score": 5, "light": 2, "mood": 8, "conversations": turns}
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    words = ["--data_path", str(tmp_path / "r.jsonl"), "--attributes", "overall,mood,light", *QUICK]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "r.jsonl:1: the scores of the conversation are overall, light, mood" in error


def test_attributes_nobody_rated_are_refused(tmp_path, capsys):
    data = ratings(tmp_path, ["5,4", "6,3", "7,2"])
    words = ["--data_path", data, "--attributes", "overall,mood", *QUICK, "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2
    assert "no training row has a score for mood; the file has light, overall" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_extra_validation_file_takes_nothing_from_training_and_shares_no_picture(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    train = ratings(tmp_path / "a", ["5,4"] * 20)
    shared = tmp_path / "a" / "val.csv"
    shared.write_text("image,score\n3.png,5\n")
    words = ["--data_path", train, *QUICK]
    assert main([*words, "--eval_data_path", str(shared), "--output_dir", str(tmp_path / "x")]) == 2
    assert "val.csv:2" in capsys.readouterr().err
    val = ratings(tmp_path / "b", ["5,4"] * 4)
    data = read_data(load_config(None, {"data_path": train, "eval_data_path": val}))
    assert (len(data.train), len(data.val)) == (20, 4)


def test_few_rated_photos_are_told_with_what_to_expect(tmp_path, caplog):
    path = ratings(tmp_path, ["5,4"] * 12)
    read_data(load_config(None, {"data_path": path}))
    assert caplog.messages == [f"{path}: {few_rated(12)}"]


def test_what_does_not_fit_the_settings_is_told_before_any_image_is_decoded(tmp_path, monkeypatch):
    path, read, decoded = ratings(tmp_path, ["5,4", "6,3", "7,2"]), reading.read_records, []

    def note(*args, check_images, **named):
        decoded.append(check_images)
        return read(*args, check_images=check_images, **named)

    monkeypatch.setattr(training_data, "read_records", note)
    with pytest.raises(DataError, match="no training row has a score for mood"):
        read_data(load_config(None, {"data_path": path, "attributes": "overall,mood"}))
    assert decoded == [False]
    config = load_config(None, {"data_path": path, "attributes": "overall,light"})
    read_data(config)
    check_images(config)
    assert decoded == [False, False, True]


def pairs_file(folder, *rows):
    for number in range(6):
        picture(number).save(folder / f"{number}.png")
    (folder / "pairs.csv").write_text("image_a,image_b,delta,split\n" + "".join(f"{row}\n" for row in rows))
    return str(folder / "pairs.csv")


def test_pairs_are_trained_on_alone_or_beside_rated_rows(tmp_path):
    pairs = pairs_file(tmp_path, "0.png,1.png,2.5,", "1.png,2.png,-1,train", "4.png,5.png,1,test")
    alone = read_data(load_config(None, {"pairs_path": pairs, "tiny_model": "demo"}))
    assert [pair.delta for pair in alone.pairs] == [2.5, -1] and alone.rated == alone.val == alone.test == []
    assert [record.images[0][-5:] for record in alone.train] == ["0.png", "1.png", "1.png", "2.png"]
    (tmp_path / "r.csv").write_text("image,score,split\n3.png,5,train\n4.png,6,test\n")
    both = read_data(load_config(None, {"pairs_path": pairs, "data_path": str(tmp_path / "r.csv")}))
    assert len(both.rated) == 1 and len(both.train) == 5 and len(both.test) == 1 and both.val_pairs == ()


def test_pairs_alone_are_validated_on_those_marked_val_each_once_and_no_ties(tmp_path):
    held = ["2.png,3.png,1,val", "3.png,2.png,-1,val", "3.png,4.png,0,val", "4.png,5.png,-1,val", "2.png,5.png,1,test"]
    alone = read_data(load_config(None, {"pairs_path": pairs_file(tmp_path, "0.png,1.png,2.5,", *held)}))
    assert sorted(pair.line for pair in alone.val_pairs) == [4, 6] and alone.val == []
    assert [Path(record.images[0]).name for record in alone.validated[2:]] == ["4.png", "5.png"]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (["0.png,4.png,1,"], {}, "pairs.csv:2: .*4.png is a test picture of the rated rows as well; remove the pair"),
        (
            ["0.png,1.png,1,", "1.png,2.png,1,test"],
            {},
            "pairs.csv:2: .*1.png is a test picture of another pair as well",
        ),
        (["0.png,1.png,1,val"], {}, "no pair to train on; every pair is marked as validation or test"),
        (["0.png,1.png,9.5,"], {}, r"pairs.csv:2: delta is 9.5, outside -9\.\.9"),
        (["0.png,1.png,3,"], {"delta_width": 2}, r"delta is 3, outside -2\.\.2"),
        (["0.png,1.png,3,"], {"data_path": None, "attributes": "overall,light"}, "nobody rated light; give rated rows"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(rows, changes, message, tmp_path):
    (tmp_path / "r.csv").write_text("image,score,split\n3.png,5,train\n4.png,6,test\n")
    settings = {"pairs_path": pairs_file(tmp_path, *rows), "data_path": str(tmp_path / "r.csv"), **changes}
    with pytest.raises(DataError, match=message):
        read_data(load_config(None, settings))


def test_a_row_that_teaches_nothing_is_refused(tmp_path):
    """A file of groups needs no scores, and a forgotten score among rated rows is still found."""
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    rows = [{"image": "0.png", "score": 5}, {"image": "1.png", "group": "a"}, {"image": "2.png", "edit": {"delta": 1}}]
    rows[2]["group"] = "a"
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load_config(None, {"data_path": str(tmp_path / "r.jsonl"), "val_fraction": 0})
    with pytest.raises(DataError, match="r.jsonl:2: there is no score and no conversation to learn from") as error:
        check_learnable(config, read_data(config))
    assert len(error.value.faults) == 2
