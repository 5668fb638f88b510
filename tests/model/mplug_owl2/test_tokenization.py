"""Token ids are those that published checkpoints were trained with, and the tokenizer can be saved and loaded."""

import copy
import json
import pickle
import shutil
import sys

import pytest
from recording import FOLDER
from transformers import AddedToken, AutoTokenizer

from roc.model.mplug_owl2 import MplugOwl2Tokenizer
from roc.model.processing import load_processor

MODEL = (FOLDER / "checkpoint" / "tokenizer.model").read_bytes()
RECORDED = json.loads((FOLDER / "tokenization.json").read_text(encoding="utf-8"))


def folder(tmp_path, source="checkpoint", **changes):
    """Copies a published folder with other values in its tokenizer_config.json; None removes one."""
    shutil.copytree(FOLDER / source, tmp_path / source)
    file = tmp_path / source / "tokenizer_config.json"
    settings = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
    return tmp_path / source


@pytest.mark.parametrize(
    ("setting", "legacy"),
    [("checkpoint", False), ("legacy_false", False), ("legacy_true", True), ("legacy_true", None)],
)
def test_recorded_ids(setting, legacy, tmp_path):
    """All texts, including words that are no piece without their mark; unset is the same as True."""
    tokenizer = MplugOwl2Tokenizer.from_pretrained(folder(tmp_path, legacy=legacy))
    assert RECORDED["texts"]
    for entry in RECORDED["texts"]:
        ids = tokenizer(entry["text"])["input_ids"]
        assert (entry["text"], ids) == (entry["text"], entry[setting]["ids"])
        assert tokenizer.convert_ids_to_tokens(ids) == entry[setting]["tokens"]


def test_recorded_settings():
    tokenizer, recorded = MplugOwl2Tokenizer.from_pretrained(FOLDER / "checkpoint"), RECORDED["flags"]
    assert (tokenizer.legacy, len(tokenizer)) == (recorded["legacy"], recorded["len"])
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == (recorded["pad_token"], recorded["pad_token_id"])
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (recorded["bos"], recorded["eos"])
    assert (tokenizer.padding_side, tokenizer.model_max_length) == (
        recorded["padding_side"],
        recorded["model_max_length"],
    )


def test_the_auto_class_finds_it_whatever_class_the_folder_names():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "checkpoint")
    assert type(tokenizer) is MplugOwl2Tokenizer
    assert tokenizer.convert_tokens_to_ids("[SCORE]") == 560


@pytest.mark.parametrize("token", ["[SCORE]", AddedToken("[SCORE]", lstrip=False, rstrip=False)])
def test_a_word_added_to_the_base_is_as_in_the_checkpoint(token):
    tokenizer = MplugOwl2Tokenizer.from_pretrained(FOLDER / "base")
    assert tokenizer.pad_token_id == tokenizer.unk_token_id == 0
    assert tokenizer.add_tokens([token]) == 1 and tokenizer.add_tokens([token]) == 0
    assert len(tokenizer) == 561
    checkpoint = MplugOwl2Tokenizer.from_pretrained(FOLDER / "checkpoint")
    for text in ("is [SCORE]. ", "[SCORE], [SCORE]", "[SCORE]\nrate"):
        assert tokenizer(text)["input_ids"] == checkpoint(text)["input_ids"]


@pytest.mark.parametrize("changes", [{}, {"legacy": None}, {"add_bos_token": False}, {"add_eos_token": True}])
def test_saved_and_loaded(changes, tmp_path):
    source = folder(tmp_path, **changes)
    tokenizer = MplugOwl2Tokenizer.from_pretrained(source)
    tokenizer.add_tokens(["[LIGHT]"])
    shutil.rmtree(source)
    tokenizer.save_pretrained(tmp_path / "saved")
    again = MplugOwl2Tokenizer.from_pretrained(tmp_path / "saved")
    assert again.get_vocab() == tokenizer.get_vocab() and again.get_vocab()["[LIGHT]"] == 571
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder
    for text in ("is [SCORE]. ", "a [LIGHT] .", "hello </s>USER: rate"):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    ids = again("a")["input_ids"]
    assert (ids[0] == 1, ids[-1] == 2) == (changes.get("add_bos_token", True), changes.get("add_eos_token", False))
    assert (tmp_path / "saved" / "tokenizer.model").read_bytes() == MODEL


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "The aesthetic rate of the image is [SCORE]. ",
        "The light rate is [SCORE], the color rate is [SCORE]. So the image is dull.",
        "[SCORE] out of 10 ([SCORE])",
        "a  b\ncafé ☃",
    ],
)
def test_text_comes_back(text, legacy, tmp_path):
    tokenizer = MplugOwl2Tokenizer.from_pretrained(folder(tmp_path, legacy=legacy))
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_generated_answers_read_well():
    tokenizer = MplugOwl2Tokenizer.from_pretrained(FOLDER / "checkpoint")
    results = json.loads((FOLDER / "generate.json").read_text(encoding="utf-8"))["fp32"]["one_by_one"]
    texts = {tokenizer.decode(result["new_ids"], skip_special_tokens=True).strip() for result in results}
    assert texts == {
        "The aesthetic rate of the image is [SCORE].",
        "The aesthetic rate of the image is [SCORE]. The photo is dark.",
    }


def test_ids_of_images_and_of_no_word_are_left_out():
    tokenizer = MplugOwl2Tokenizer.from_pretrained(FOLDER / "checkpoint")
    rate = tokenizer.convert_tokens_to_ids("▁rate")
    assert tokenizer.decode([1, rate, -200, -200, 9999], skip_special_tokens=True) == "rate"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes are no sentencepiece model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:9e5\nsize 499723\n", "Git LFS pointer"),
        (MODEL[:-3], "no sentencepiece model"),
    ],
)
def test_a_model_that_cannot_be_read_is_named(content, message, tmp_path):
    (folder(tmp_path) / "tokenizer.model").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        MplugOwl2Tokenizer.from_pretrained(tmp_path / "checkpoint")


def test_without_sentencepiece_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ValueError, match=r"pip install 'roc-mllm\[owl2\]'"):
        load_processor(FOLDER / "checkpoint")


def test_the_tokenizer_can_be_copied_and_sent_to_another_process():
    tokenizer = MplugOwl2Tokenizer.from_pretrained(FOLDER / "checkpoint")
    for again in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert again("is [SCORE]. é")["input_ids"] == tokenizer("is [SCORE]. é")["input_ids"]


def test_bad_folders(tmp_path):
    sampled = folder(tmp_path, sp_model_kwargs={"enable_sampling": True})
    with pytest.raises(ValueError, match="pieces are not sampled here"):
        MplugOwl2Tokenizer.from_pretrained(sampled)
    (sampled / "tokenizer.model").unlink()
    with pytest.raises(ValueError, match=r"no tokenizer\.model"):
        MplugOwl2Tokenizer.from_pretrained(sampled)
