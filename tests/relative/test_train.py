"""The stages through their jobs: what each declares, which rows go along, and what is refused before the first step."""

import json

import pytest
import yaml

pytest.importorskip("trl", reason="the third stage needs trl: pip install 'roc-mllm[rl]'")

from edited_photos import rows, shown, write_photos  # noqa: E402
from policy_runs import QUICK, brightness, score_of  # noqa: E402

from roc.checkpoint.head_file import read_declaration  # noqa: E402
from roc.commands.relative import main  # noqa: E402
from roc.data.rows import DataError  # noqa: E402
from roc.relative.train import train  # noqa: E402
from roc.relative.train_config import GroupsStage  # noqa: E402
from roc.training.config import load_config  # noqa: E402


def write(file, lines):
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return str(file)


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Two groups of three to learn from and one to validate on, brighter is better; and ten anchors."""
    folder = tmp_path_factory.mktemp("groups")
    members, anchors = [], []
    for place, (name, split) in enumerate({"a": "train", "b": "train", "c": "val"}.items()):
        for number, delta in enumerate((None, 2.0, -2.0)):
            brightness(100 + 10 * place + 20 * int(delta or 0)).save(folder / f"{name}{number}.png")
            row = {"id": f"{name}{number}", "image": f"{name}{number}.png", "group": name, "split": split}
            members.append(row | ({} if delta is None else {"edit": {"delta": delta}}))
    for number, level in enumerate(range(15, 250, 25)):
        brightness(level).save(folder / f"anchor{number}.png")
        row = {"id": f"anchor{number}", "image": f"anchor{number}.png", "score": score_of(level), "group": "a"}
        anchors.append(row | {"split": "train"})
    return write(folder / "groups.jsonl", members), write(folder / "anchors.jsonl", anchors)


def values(checkpoint, groups, out, **more):
    own = {"model_name_or_path": checkpoint, "data_path": groups[0], "anchors_path": groups[1], "output_dir": str(out)}
    sizes = {"per_device_train_batch_size": 16, "check_answers": 4, "max_steps": 1, "learning_rate": 1e-5}
    return {**QUICK, **own, **sizes, **more}


def settings(checkpoint, groups, out, **more):
    return load_config(None, values(checkpoint, groups, out, **more), group=GroupsStage)


def test_groups_are_reinforced_with_anchors_and_calibrated(reasoning_checkpoint, groups, tmp_path):
    config = settings(reasoning_checkpoint, groups, tmp_path / "out", eval_strategy="steps", eval_steps=1)
    table = train(config)
    assert "3 pictures of val groups" in table and "Calibration on" in table
    assert "Groups are held out, and no rated photos" in table and "There is no held-out row" not in table
    found = json.loads((tmp_path / "out" / "calibration.json").read_text())
    line = found["critique"]["line"]
    declaration = read_declaration(str(tmp_path / "out"))
    assert line is not None and found["critique"]["after"]["mae"] <= found["critique"]["before"]["mae"]
    low, high = declaration.space.range
    assert low == pytest.approx(line["intercept"] + line["slope"]) and declaration.rating_space.range == (1, 10)
    assert high == pytest.approx(line["intercept"] + 10 * line["slope"])
    assert declaration.calibration.rows == found["critique"]["n"] > 4
    assert "is finished" in train(config)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"per_device_train_batch_size": 12}, "set per_device_train_batch_size 16, or with_anchors false"),
        ({"per_device_train_batch_size": 8}, "has 3 pictures, but a generation takes 2"),
    ],
)
def test_a_step_without_room_is_refused_with_the_number_to_set(reasoning_checkpoint, groups, tmp_path, changes, told):
    with pytest.raises(DataError, match=told):
        train(settings(reasoning_checkpoint, groups, tmp_path / "out", **changes))


def test_groups_nothing_can_be_learnt_from_are_refused(reasoning_checkpoint, groups, tmp_path, capsys):
    bad = [json.loads(line) for line in open(groups[0], encoding="utf-8")]
    del bad[0]  # the source of a
    bad[2]["edit"] = {"delta": 0.0}
    bad[3]["edit"] = {"delta": 11.0}
    file = write(tmp_path / "groups.jsonl", [{**row, "image": groups[0].replace("groups.jsonl", row["image"])}
                                             for row in bad])  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump(values(reasoning_checkpoint, (file, groups[1]), str(tmp_path / "out"), stage="groups"))
    )
    assert main(["train", str(config)]) == 2
    text = capsys.readouterr().err
    assert "the group 'a' has 0 pictures without 'edit'" in text and "delta is 11, outside -10..10" in text


@pytest.mark.slow
def test_three_stages_each_from_the_one_before(tmp_path, monkeypatch, capsys):
    from unittest.mock import patch

    from tiny_models import BUILDERS

    from roc.relative.build import build
    from roc.relative.config import BuildOptions
    from roc.relative.wording import known_words, pair_question

    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", count=8)
    build(BuildOptions(sources=("photos",), out="out", workers=1, edits=3, samples=2, val=0.3, test=0.3), shown)
    with patch("tiny_models.SENTENCES", [pair_question(words=True), *map(known_words, ("blur", "tilt"), (-1, 1))] * 3):
        model, processor = BUILDERS["llava"]()
    model.save_pretrained("base")
    processor.save_pretrained("base")
    sources = [row for row in rows(tmp_path / "out" / "groups.jsonl") if not row.get("edit")]
    write(tmp_path / "out" / "anchors.jsonl",
          [{"id": row["group"], "image": row["image"], "score": i} for i, row in enumerate(sources)])  # fmt: skip
    quick = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1", "--check_answers", "2",
             "--reasoning_tokens", "16", "--report_to", "none", "--bf16", "false", "--threads", "1",
             "--max_steps", "1"]  # fmt: skip
    configs = str(__import__("pathlib").Path(__file__).parents[2] / "configs")
    words = ["train", f"{configs}/relative_pairs.yaml", "--model_name_or_path", "base", "--output_dir", "one",
             "--data_path", "out/pairs.jsonl", "--edits_path", "out/edits.jsonl", *quick]  # fmt: skip
    assert main(words) == 0
    assert "test pairs, both pictures in one question" in capsys.readouterr().out
    declared = read_declaration("one")
    assert declared.space.range == (0, 10) and declared.comparison.reasoning in pair_question(words=True)
    assert json.loads((tmp_path / "one/pairs/pairs.json").read_text())["attribute"] == "delta"
    words = ["train", f"{configs}/relative_anchors.yaml", "--model_name_or_path", "one", "--output_dir", "two",
             "--data_path", "out/anchors.jsonl", *quick]  # fmt: skip
    assert main(words) == 0 and read_declaration("two").comparison == declared.comparison
    words = ["train", f"{configs}/relative_groups.yaml", "--model_name_or_path", "two", "--output_dir", "three",
             "--data_path", "out/groups.jsonl", "--anchors_path", "out/anchors.jsonl", *quick,
             "--per_device_train_batch_size", "20"]  # fmt: skip
    assert main(words) == 0
    assert "comparisons right" in capsys.readouterr().out
    assert read_declaration("three").comparison == declared.comparison
