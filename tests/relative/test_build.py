"""A build makes records of photos: they can be read, nothing gets lost on the way, and a killed run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from edited_photos import rows, shown, write_photos
from PIL import Image

from roc.data.reading import read_records
from roc.relative.build import Built, _nothing, build, settings_of_run
from roc.relative.config import CATEGORIES, BuildOptions
from roc.relative.editors import Edited, EditError, Embedded
from roc.relative.judges import JudgeError, Judgement, KnownDirection
from roc.relative.operations import OPERATIONS
from roc.relative.outputs import Outputs
from roc.settings import ConfigError


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of photos, and so their edits, are then the same in every folder
    write_photos(tmp_path / "photos")

    def make(**given):
        return BuildOptions(
            **{"sources": ("photos",), "out": str(tmp_path / "out"), "workers": 1, "edits": 3, "samples": 2, **given}
        )

    return make


def test_the_kinds_of_edits_are_those_of_the_editor():
    assert tuple(OPERATIONS) == CATEGORIES


def test_records_come_out_that_can_be_read(options, tmp_path):
    built, out = build(options(edits=7, judges=("embedded", "embedded:0.2")), shown), tmp_path / "out"
    assert 20 < len(built.changes) <= 28
    pairs = {record.id: record for record in read_records(out / "pairs.jsonl", space=None)}
    edits = {record.id: record for record in read_records(out / "edits.jsonl", space=None)}
    assert len(edits) == len(built.changes)
    for change in built.changes:
        pair, edit = pairs[change.id], edits[f"{change.id}?"]
        assert pair.scores == edit.scores == {"delta": pytest.approx(change.delta, abs=0.005)}
        assert len(pair.images) == 2 and edit.images == pair.images[:1] and pair.group == change.photo
        assert {Image.open(path).size for path in pair.images} == {(64, 48)}
        assert (
            "much better or worse" in pair.conversations[0][1] and edit.edit["instruction"] in edit.conversations[0][1]
        )
        assert "Conclusion" in pair.conversations[1][1] and pair.conversations[1][1].endswith("[SCORE]</answer>")
        swapped = pairs.get(f"{change.id}~")
        if swapped is not None:  # the judge's own words in that order, where they say the same
            assert swapped.images == pair.images[::-1] and swapped.scores["delta"] == -pair.scores["delta"]
            assert swapped.conversations[1] != pair.conversations[1]
    assert any(name.endswith("~") for name in pairs)
    assert all(abs(change.edit["strength"]) >= 0.2 for change in built.changes)
    assert {change.delta > 0 for change in built.changes} == {True, False}
    assert len(read_records(out / "groups.jsonl", space=None)) == len(built.changes) + 4
    groups = rows(out / "groups.jsonl")
    sizes = Counter(row["group"] for row in groups)
    assert max(sizes.values()) <= 8 and len(groups) == len(built.changes) + len(sizes)
    assert [row["group"] for row in groups if "edit" not in row] == list(sizes)
    assert not (out / "anchors.jsonl").exists()


def test_all_edits_of_a_photo_are_in_one_split(options, tmp_path):
    write_photos(tmp_path / "photos", 12)
    build(options(val=0.3, test=0.3), shown)
    for name in ("pairs", "edits", "groups"):
        found = rows(tmp_path / "out" / f"{name}.jsonl")
        splits = {row["group"]: row["split"] for row in found}
        assert all(row["split"] == splits[row["group"]] for row in found)
        assert set(splits.values()) == {"train", "val", "test"}


def test_the_same_command_does_nothing_again_and_a_larger_one_adds(options, tmp_path):
    first = build(options(), shown)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jsonl")}
    again = build(options(), shown)
    assert first.done == 4 * (1 + 3 + 2 * 3) - _not_judged(first) and again.done == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jsonl")} == files
    more = build(options(judges=("embedded", "embedded:0.1")), shown)
    assert more.done == 2 * more.agreement.pairs == 24 - _not_judged(first)
    with pytest.raises(ValueError, match="begun with other settings: edits was 3, is 4"):
        build(options(edits=4), shown)
    assert build(options(edits=4, overwrite=True), shown).done > 16


def _not_judged(built):
    return 2 * sum(row["reason"] == "unchanged" for row in built.rejected)


@pytest.mark.parametrize("after", [2, 20])
def test_a_stopped_run_goes_on(options, tmp_path, after):
    whole = build(options(out=str(tmp_path / "whole")), shown)
    count = [0]

    def stopping(items, total, done=0, *, unit):
        for item in items:
            count[0] += 1
            if count[0] > after:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        build(options(), stopping)
    assert not (tmp_path / "out" / "pairs.jsonl").exists()
    rest = build(options(), shown)
    assert rest.done < whole.done - after + 1
    for name in ("pairs", "edits", "groups", "rejected"):
        assert (tmp_path / "out" / f"{name}.jsonl").read_bytes() == (tmp_path / "whole" / f"{name}.jsonl").read_bytes()


@pytest.mark.slow
def test_a_killed_command_goes_on(tmp_path):
    write_photos(tmp_path / "photos", 16, (480, 320))
    command = [sys.executable, "-m", "roc.cli", "relative", "build", str(tmp_path / "photos"), "--workers", "2"]
    journal = tmp_path / "killed" / "build.journal.jsonl"
    for lines in (5, 60):
        process = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > lines):
            time.sleep(0.01)
        assert process.poll() is None, "it was done too soon"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for name in ("killed", "whole"):
        done = subprocess.run([*command, "--out", str(tmp_path / name)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    steps = [json.loads(line).get("step") for line in journal.read_text(encoding="utf-8").splitlines()]
    assert len(steps) == len(set(steps))
    for name in ("pairs", "edits", "groups", "rejected"):
        found = [(tmp_path / folder / f"{name}.jsonl").read_bytes() for folder in ("killed", "whole")]
        assert found[0] == found[1]


def test_votes_choose_anchors_and_splits(options, tmp_path):
    write_photos(tmp_path / "photos", 6)
    table = tmp_path / "votes.csv"
    lines = [f"photos/{number}.png,{number + 1},{number + 1.1},{number + 1},{9}" for number in range(6)]
    lines[5] = "photos/5.png,1,2,,"
    table.write_text("\n".join(["image,a,b,c,d", *lines]), encoding="utf-8")
    given = {"votes": (f"{table}=0:10",), "vote_columns": ("a", "b", "c", "d"), "cutoff": 2.5, "test": 0.0, "val": 0.0}
    built = build(options(**given, anchors=4, fewest_votes=3, count=1), shown)
    anchors = rows(tmp_path / "out" / "anchors.jsonl")
    assert [row["n_votes"] for row in anchors] == [3] * 4
    assert all(row["score"] == pytest.approx(int(row["id"][-5]) + 1 + 0.1 / 3, abs=1e-4) for row in anchors)
    assert {row["reason"]: row["detail"] for row in built.rejected}["no consensus"].startswith("2 of 2 votes are near")
    read = read_records(tmp_path / "out" / "anchors.jsonl", space=None)
    assert [record.scores["overall"] for record in read] == [row["score"] for row in anchors]
    with pytest.raises(ValueError, match="'a' is 11, outside 0..10; give its range"):
        table.write_text("image,a\nphotos/0.png,11\n", encoding="utf-8")
        build(options(votes=(str(table),), vote_columns=("a",)), shown)
    table.write_text("image,score\n1.png,5\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match="none of its 1 rows is about one of the 6 photos.*give --image_folder .*photos"
    ):
        build(options(votes=(str(table),)), shown)
    table.write_text("image,score,split\nphotos/0.png,3,test\nphotos/1.png,5,val\n", encoding="utf-8")
    build(options(votes=(f"{table}=1:5",), fewest_votes=1, out=str(tmp_path / "b")), shown)
    splits = {row["group"][-5]: row["split"] for row in rows(tmp_path / "b" / "pairs.jsonl")}
    assert splits["0"] == "test" and splits["1"] == "val"
    assert not (tmp_path / "b" / "anchors.jsonl").exists()  # neither is to be trained on


def test_some_photos_are_edited_in_equal_numbers_by_score(options, tmp_path, caplog):
    write_photos(tmp_path / "photos", 6)
    table = tmp_path / "votes.csv"
    table.write_text("image,score\n" + "\n".join(f"photos/{n}.png,{s}" for n, s in enumerate([1, 1, 1, 1, 1, 9])))
    built = build(options(votes=(str(table),), fewest_votes=1, count=2, anchors=0), shown)
    edited = {change.photo[-5] for change in built.changes}
    assert len(edited) == 2 and "5" in edited
    assert len({change.photo for change in build(options(count=3, out=str(tmp_path / "b")), shown).changes}) == 3
    given = {"votes": (str(table),), "fewest_votes": 1, "anchors": 0, "edits": 1, "damaged": 0.0}
    for number in (1, 4):  # which of them a hash would choose does not matter
        table.write_text(f"image,score\nphotos/{number}.png,5\n")
        some = build(options(**given, count=2, out=str(tmp_path / f"c{number}")), shown)
        chosen = {change.photo[-5] for change in some.changes} | {row["id"][-5] for row in some.rejected}
        assert len(chosen) == 2 and str(number) in chosen
    assert "1 photos have a consensus, 2 are to be edited" in caplog.text


def test_what_cannot_be_used_is_kept_with_its_reason(options, tmp_path):
    photos = tmp_path / "photos"
    (photos / "6.png").write_bytes((photos / "0.png").read_bytes())
    (photos / "7.png").write_bytes(b"no picture")
    Image.new("RGB", (300, 20), "red").save(photos / "8.png")
    built = build(options(damaged=0.0), shown)
    found = {row["id"][-5]: row["detail"] for row in built.rejected if row["reason"] in ("unreadable", "repeated")}
    assert "it is the same file as" in found["6"] and "not an image" in found["7"] and "300 x 20 pixels" in found["8"]
    assert found.keys() == {"6", "7", "8"}
    written, told = rows(tmp_path / "out" / "rejected.jsonl"), ("id", "reason", "detail")
    assert [[row[name] for name in told] for row in written] == [[row[name] for name in told] for row in built.rejected]


class Sloppy(Embedded):
    """An editor that fails in every way."""

    def edit(self, picture, order):
        number = self.count = getattr(self, "count", 0) + 1
        if number % 4 == 0:
            raise EditError("no answer")
        made = super().edit(picture, order)
        shapes = {1: made.picture, 2: picture.copy(), 3: made.picture.resize((10, 10))}
        return Edited(shapes[number % 4], made.known)


def test_an_editor_that_fails_is_noticed(options):
    given = {"edits": 4, "damaged": 0.0, "weakest": 0.8}
    built = build(options(**given), shown, editors={"embedded": Sloppy()})
    assert Counter(row["reason"] for row in built.rejected) == {"unchanged": 4, "other size": 4, "failed": 4}
    assert all(row["edit"]["editor"] == "embedded" for row in built.rejected) and len(built.changes) == 4
    retried = build(options(**given, retry_failed=True), shown)
    assert retried.done == 12 + 2 * (len(retried.changes) - 4) and len(retried.changes) > 12


class Judging(KnownDirection):
    """A judge that answers what it is told to, the edits in turn."""

    def __init__(self, name, *answers):
        super().__init__()
        self.name, self._answers = name, answers

    def judge(self, pair, *, swapped):
        answer = self._answers[(int(pair.id.partition("#")[2]) - 1) % len(self._answers)]
        if isinstance(answer, Exception):
            raise answer
        return Judgement(-answer if swapped else answer)


def test_judges_that_disagree_or_say_nothing(options, tmp_path):
    judges = [Judging("a", 1.0, -1.0, 2.0, 3.0), Judging("b", 2.0, 1.0, JudgeError("nothing"), 40.0)]
    built = build(options(edits=4, damaged=0.0, weakest=0.8), shown, judges=judges)
    assert {(row["reason"], row["detail"]) for row in built.rejected} == {
        ("not unanimous", "a -1.00, b +1.00"),
        ("unjudged", "b: nothing"),
        ("unjudged", "b: the difference is 40, expected a number in -10..10"),
    }
    assert {change.delta for change in built.changes} == {1.5}
    assert built.changes[0].edit["verdicts"] == {"a": 1.0, "b": 2.0}
    assert built.changes[0].edit["std"] == pytest.approx(0.5**0.5, abs=1e-4)
    assert built.agreement.unanimous == 0.5 and built.agreement.pairwise == {("a", "b"): 0.5}
    pair = next(record for record in read_records(tmp_path / "out" / "pairs.jsonl", space=None))
    assert pair.conversations[1] == ("assistant", "The change is [SCORE].")  # nobody gave reasons


def test_a_judge_that_likes_the_first_picture_best(options):
    class Biased(KnownDirection):
        def judge(self, pair, *, swapped):
            found = super().judge(pair, swapped=swapped)
            return Judgement(found.difference - 3, found.words)

    built = build(options(), shown, judges=[Biased()])
    exact = build(options(out=options().out + "2"), shown)
    assert [change.delta for change in built.changes] == pytest.approx([change.delta for change in exact.changes])


def test_without_any_usable_edit_it_says_so(options, tmp_path):
    with pytest.raises(ValueError, match=r"no edit is of use \(unjudged 1?\d.*rejected.jsonl says why"):
        build(options(), shown, judges=[Judging("a", JudgeError("nothing"))])
    assert not (tmp_path / "out" / "pairs.jsonl").exists() and (tmp_path / "out" / "rejected.jsonl").exists()
    edit, photo = ({"reason": reason, "detail": f"{reason}?"} for reason in ("unjudged", "no consensus"))
    files = Outputs(tmp_path)
    told = _nothing(Built(rejected=[photo, photo, edit | {"edit": {}}]), files)
    assert told.startswith("no edit is of use (unjudged 1), for instance: unjudged?")
    assert "(no consensus 2)" in _nothing(Built(rejected=[photo, photo]), files)


def test_deleted_pictures_and_replaced_photos_are_done_again(options, tmp_path):
    first = build(options(), shown)
    change = first.changes[0]
    (tmp_path / "out" / change.after).unlink()
    assert build(options(), shown).done == 1 and (tmp_path / "out" / change.after).exists()
    Image.effect_noise((64, 48), 90).convert("RGB").save(change.photo)
    assert build(options(), shown).done == 1 + 3 + 6


def test_a_folder_of_others_is_left_alone(options, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(ValueError, match="holds mine.txt and no build.journal.jsonl"):
        build(options(), shown)
    with pytest.raises(ValueError, match="is a file"):
        build(options(out=str(tmp_path / "out" / "mine.txt")), shown)


def test_the_page_shows_pairs(options, tmp_path):
    build(options(judges=("embedded", "embedded:8")), shown)
    text = (tmp_path / "out" / "pairs.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 2 and "Fleiss' kappa" in text
    assert "Conclusion: the second photo" in text and "not unanimous" in text and "script" not in text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"engine": "ray"}, "neither a pipeline nor a checkpoint is named"),
        ({"actors": 2}, "actors needs --engine ray"),
        ({"engine": "ray", "voters": ("roc:a",), "device": "mps"}, "expected cuda or cpu with --engine ray"),
        ({"editors": ("magic",)}, "editors has 'magic', expected some of embedded, diffusers:PIPELINE"),
        ({"editors": ("images:m",)}, "judges has embedded, which knows only what the embedded editor did"),
        ({"editors": ("images:m", "images:m"), "judges": ("chat:m",)}, "expected each of them once"),
        ({"instructions": "chat:m"}, "instructions is for editors that follow words"),
        ({"checker": "roc:m"}, r"checker is 'roc:m', expected chat:MODEL\[@URL\]"),
        ({"voters": ("embedded",)}, "voters has 'embedded', expected some of roc:CHECKPOINT"),
        ({"categories": ("sepia",)}, "categories has 'sepia', expected some of exposure"),
        ({"judges": ("embedded:x",)}, "judges has 'embedded:x'"),
        ({"judges": ("embedded", "embedded")}, "expected each of them once"),
        ({"weakest": 0.9, "strongest": 0.5}, r"strongest is 0.5, expected 0.9 \(weakest\) or more"),
        ({"val": 0.5, "test": 0.5}, "expected less than 1 together"),
        ({"votes": ("a.csv=5:1",)}, "expected a range whose first number is the lower one"),
        ({"vote_columns": ("a",)}, "give --votes FILE"),
        (
            {"editors": ("diffusers:p",), "judges": ("chat:m",), "dtype": "int8"},
            "dtype is int8, which diffusers:p cannot",
        ),
    ],
)
def test_settings_that_contradict_each_other(given, told):
    with pytest.raises(ConfigError, match=told):
        BuildOptions(sources=("a",), out="b", **given)


def test_the_number_format_decides_what_pipelines_edit():
    given = {"sources": ("a",), "out": "b", "judges": ("chat:m",), "dtype": "float16"}
    assert settings_of_run(BuildOptions(editors=("diffusers:p",), **given))["dtype"] == "float16"
    assert "dtype" not in settings_of_run(BuildOptions(editors=("images:m",), **given))
