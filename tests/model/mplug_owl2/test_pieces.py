"""Splitting as sentencepiece does it: the recorded model, and small models written by hand."""

import json
import struct

import pytest
from recording import FOLDER

from roc.model.mplug_owl2.pieces import PieceModel

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6


def field(number, value):
    """One field of a protocol buffer: an integer, a float, or bytes (a text, a message)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def serialized(*words, kinds=None, model_type=2, byte_fallback=False, normalizer=b"", extra_whitespace=0):
    """A model of `words`, best first; `kinds` says which of them are no ordinary pieces."""
    entries = [(word, -float(rank), (kinds or {}).get(word, 1)) for rank, word in enumerate(words)]
    entries = [("<unk>", 0.0, UNKNOWN), *entries, *((f"<0x{b:02X}>", 0.0, BYTE) for b in range(256) if byte_fallback)]
    pieces = b"".join(field(1, field(1, text) + field(2, score) + field(3, kind)) for text, score, kind in entries)
    trainer = field(3, model_type) + field(35, int(byte_fallback))
    rules = field(1, "identity") + field(2, normalizer) + field(3, 1) + field(4, extra_whitespace)
    return pieces + field(2, trainer) + field(3, rules)


def test_the_recorded_model():
    content = (FOLDER / "checkpoint" / "tokenizer.model").read_bytes()
    model = PieceModel(content)
    assert model.serialized == content and len(model.pieces) == len(model.ids) == 560
    assert [model.ids[piece] for piece in ("<unk>", "<s>", "</s>", "<0x00>", "▁a")] == [0, 1, 2, 3, 259]
    entries = json.loads((FOLDER / "tokenization.json").read_text(encoding="utf-8"))["texts"]
    plain = {entry["text"]: entry["legacy_true"]["tokens"][1:] for entry in entries if "café" in entry["text"]}
    assert plain and all(
        model.split(text) == tokens and model.text(tokens) == f" {text}" for text, tokens in plain.items()
    )


def test_best_score_first_then_from_the_left():
    model = PieceModel(serialized("bc", "ab", "aa", "▁", "a", "b", "c"))
    assert model.split("abc") == ["▁", "a", "bc"]
    assert model.split("aaa") == ["▁", "aa", "a"]
    assert model.split("a a") == ["▁", "a", "▁", "a"]
    assert model.split("") == []


def test_what_is_joined_is_a_piece_on_the_way_too():
    """`abcd` has a better score than `abc`, but is only reached through pieces that exist."""
    model = PieceModel(serialized("abcd", "cd", "▁", "a", "b", "c", "d"))
    assert model.split("abcd") == ["▁", "a", "b", "cd"]


def test_control_and_byte_pieces_are_not_found_in_text():
    model = PieceModel(serialized("<s>", "<s", "▁", "<", "s", ">", kinds={"<s>": CONTROL}))
    assert model.split("<s>") == ["▁", "<s", ">"]


def test_user_defined_pieces_stay_whole_and_alone_the_longest_first():
    words = ("xa", "<i", "<img>", "<im", "▁", "x", "a", "i", "m", "g", "<", ">")
    model = PieceModel(serialized(*words, kinds={"<img>": USER_DEFINED, "<im": USER_DEFINED}))
    assert model.split("x<img>a<im<i") == ["▁", "x", "<img>", "a", "<im", "<i"]


def test_unknown_characters():
    assert PieceModel(serialized("▁", "a")).split("aé☃a ☃") == ["▁", "a", "é☃", "a", "▁", "☃"]
    model = PieceModel(serialized("▁", "a", byte_fallback=True))
    pieces = ["▁", "a", "<0xC3>", "<0xA9>", "a"]
    assert model.split("aéa") == pieces and model.text(pieces) == " aéa"
    assert model.text(["a", "<0xC3>", "a"]) == "a\N{REPLACEMENT CHARACTER}a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no sentencepiece model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:9e5\nsize 499723\n", "Git LFS pointer"),
        (serialized("a")[:-3], "no sentencepiece model"),
        (serialized("a", model_type=1), "not of type BPE"),
        (serialized("a", normalizer=b"\x01\x02"), r"changes text before splitting it \(identity\)"),
        (serialized("a", extra_whitespace=1), "changes text before splitting it"),
        (serialized("a", "b", kinds={"b": UNUSED}), "marked as unused"),
    ],
)
def test_what_cannot_be_read_exactly_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        PieceModel(content)
