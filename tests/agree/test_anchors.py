"""Extracting features: the states behind the words, resumed without loss, of maps or of the photo itself."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from heads import build, picture
from tiny_models import BUILDERS

from roc.agree.anchor_features import AnchorFeatures
from roc.agree.anchor_options import AnchorOptions
from roc.agree.anchor_text import NAMES, QUESTIONS, SENTENCES
from roc.agree.anchor_writer import AnchorWriter, _direction
from roc.agree.anchors import base_of, extract, shown_pictures
from roc.checkpoint.folder import save
from roc.data.rows import write_rows
from roc.model.declaration import declare
from roc.settings import ConfigError


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def writer(request):
    return AnchorWriter(*BUILDERS[request.param]())


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(4):
        picture(i, (24, 18)).save(f"photos/{i}.png")
    write_rows("photos.csv", [{"image": f"{i}.png", "score": 1 + i} for i in range(4)])


def options(**changes):
    given = {"model": "m", "data_path": "photos.csv", "image_folder": "photos", "out": "a.safetensors"}
    return AnchorOptions(**{**given, "max_new_tokens": 3, "batch_size": 2, **changes})


def test_a_feature_is_the_mean_of_the_states_behind_the_words(writer):
    pictures = [picture(0), picture(1)]
    both = writer.describe(pictures, QUESTIONS["hue"], 4)
    for one, alone in zip(
        both, (writer.describe([single], QUESTIONS["hue"], 4)[0] for single in pictures), strict=True
    ):
        assert one.text == alone.text and one.feature == pytest.approx(alone.feature, abs=1e-4)
        assert one.feature.norm() == pytest.approx(1, abs=1e-6)
    prompt = writer._prompt(QUESTIONS["hue"])
    batch = writer.processor(text=[prompt], images=[[pictures[0]]], return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        words = writer.model.generate(**batch, do_sample=False, max_new_tokens=4)[0, batch["input_ids"].shape[1] :]
        ended = [place for place, word in enumerate(words) if word == writer.model.generation_config.eos_token_id]
        kept = words[: ended[0]] if ended else words
        rows = {name: value for name, value in batch.items() if name not in ("input_ids", "attention_mask")}
        ids = torch.cat([batch["input_ids"][0], kept])[None]
        if "mm_token_type_ids" in rows:
            rows["mm_token_type_ids"] = torch.nn.functional.pad(rows["mm_token_type_ids"], (0, len(kept)))
        outputs = writer.model(input_ids=ids, output_hidden_states=True, **rows)
    states = outputs.hidden_states[-1][0, -len(kept) - 1 : -1].mean(dim=0)
    assert both[0].feature == pytest.approx(states / states.norm(), abs=1e-4)


def test_sentences_are_read_without_a_picture(writer):
    found = {name: writer.encode(SENTENCES[name]) for name in ("hue", "blur")}
    assert found["hue"].norm() == pytest.approx(1, abs=1e-6)
    assert not torch.allclose(found["hue"], found["blur"], atol=1e-3)
    with pytest.raises(ValueError, match="has no words"):
        writer.encode("")


def test_the_model_is_shown_maps_or_the_photo():
    shown = shown_pictures(picture(0, (90, 60)), options(side=30))
    assert list(shown) == list(NAMES) and shown["hue"].size == (30, 20)
    assert shown["brightness"].getcolors() and shown["brightness"] != shown["overall"] != shown["blur"]
    assert len(set(map(id, shown_pictures(picture(0), options(plain=True)).values()))) == 1


def test_a_run_that_stops_goes_on_and_ends_like_an_uninterrupted_one(writer):
    done = extract(options(), writer=writer)
    assert (done.photos, done.described, done.failed, done.width) == (4, 4, 0, 32)
    whole = AnchorFeatures.read("a.safetensors").features([f"{i}.png" for i in range(4)])
    assert not torch.allclose(whole["hue"][0], whole["hue"][1], atol=1e-4)

    def stop(rows, total, before):
        assert (total, before) == (4, 0)
        for count, row in enumerate(rows):
            if count == 1:
                raise KeyboardInterrupt
            yield row

    with pytest.raises(KeyboardInterrupt):
        extract(options(out="b.safetensors"), stop, writer=writer)
    assert not Path("b.safetensors").exists()
    with open("b.safetensors.journal.jsonl", "ab") as journal:
        journal.write(b'{"id": "3.png", "feat')  # torn by the end of the process
    seen = []
    done = extract(options(out="b.safetensors"), lambda rows, *counts: seen.append(counts) or rows, writer=writer)
    assert done.described == 2 and seen == [(4, 2)]
    again = AnchorFeatures.read("b.safetensors").features([f"{i}.png" for i in range(4)])
    assert all(torch.allclose(whole[name], again[name], atol=1e-5) for name in NAMES)
    rows = [json.loads(line) for line in Path("b.safetensors.journal.jsonl").read_text().splitlines()[1:]]
    assert [row["id"] for row in rows] == [f"{i}.png" for i in range(4)] and set(rows[0]["sentences"]) == set(NAMES)


def test_photos_that_are_added_replaced_or_broken():
    writer = AnchorWriter(*BUILDERS["llava"]())
    extract(options(), writer=writer)
    before = AnchorFeatures.read("a.safetensors").features(["1.png", "2.png"])
    picture(9, (24, 18)).save("photos/1.png")
    Path("photos/4.png").write_bytes(b"no picture")
    write_rows("photos.csv", [{"image": f"{i}.png", "score": 1 + i} for i in range(5)])
    done = extract(options(), writer=writer)
    assert (done.photos, done.described, done.failed) == (5, 2, 1)
    assert "4.png" in done.errors.read_text()
    found = AnchorFeatures.read("a.safetensors")
    after = found.features(["1.png", "2.png"])
    assert not torch.allclose(before["hue"][0], after["hue"][0], atol=1e-4)
    assert torch.equal(before["hue"][1], after["hue"][1])
    with pytest.raises(ValueError, match="lacks 1 of 1 photos \\(4.png\\)"):
        found.features(["4.png"])
    with pytest.raises(ValueError, match="begun with other settings: max_new_tokens was 3, is 2"):
        extract(options(max_new_tokens=2), writer=writer)
    Path("a.safetensors.journal.jsonl").unlink()
    with pytest.raises(ValueError, match="a.safetensors is there already"):
        extract(options(), writer=writer)


def test_its_own_base_describes_by_default(tmp_path):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "model")
    assert base_of(str(tmp_path / "model")) == str(tmp_path / "model")  # names no base
    declare(model, replace(model.declaration, base="org/base"))
    save(model, processor, tmp_path / "other")
    assert base_of(str(tmp_path / "other")) == "org/base"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"model": None}, "there is no model to describe with"),
        ({"data_path": None}, "there are no photos to describe"),
        ({"fixed": True}, "fixed sentences look at no photo"),
        ({"out": "a.pt"}, "ends in .safetensors"),
    ],
)
def test_options_that_contradict_each_other(given, expected):
    with pytest.raises(ConfigError, match=expected):
        options(**given)


def test_a_photo_without_a_usable_state_is_an_error_of_that_photo(monkeypatch):
    writer = AnchorWriter(*BUILDERS["llava"]())
    describe = AnchorWriter.describe

    def spoilt(self, pictures, question, max_new_tokens):
        found = describe(self, pictures, question, max_new_tokens)
        return [found[0]._replace(feature=None), *found[1:]] if question == QUESTIONS["hue"] else found

    monkeypatch.setattr(AnchorWriter, "describe", spoilt)
    done = extract(options(), writer=writer)
    assert (done.described, done.failed) == (4, 2)
    assert "hue: the hidden state behind its words is no number" in done.errors.read_text()
    assert AnchorFeatures.read("a.safetensors").ids == ("1.png", "3.png")


def test_a_state_that_is_no_number_or_zero_has_no_direction():
    assert _direction(torch.tensor([1.0, torch.nan])) is None and _direction(torch.zeros(2)) is None
    assert _direction(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
