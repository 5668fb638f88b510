"""API keys: read, compared, and refused if they can be guessed."""

import pytest

from roc.server.keys import Keys, find_keys

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def test_without_keys_everybody_may_ask():
    assert not Keys() and Keys().open(None)


@pytest.mark.parametrize("header", [None, "", "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer käse"])
def test_what_does_not_open(header):
    assert not Keys((KEY, OTHER)).open(header)


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {OTHER}", f"Bearer  {KEY} "])
def test_what_opens(header):
    assert Keys((KEY, OTHER)).open(header)


def test_every_key_is_compared(monkeypatch):
    compared = []
    real = __import__("hmac").compare_digest
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append(len(a)) or real(a, b))
    assert Keys((KEY, OTHER)).open(f"Bearer {KEY}")
    assert compared == [32, 32]


def test_file_and_environment(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# of the photo service\n{KEY}\n\n")
    keys = find_keys(path, {"ROC_API_KEYS": f" {OTHER} ,"})
    assert keys.open(f"Bearer {KEY}") and keys.open(f"Bearer {OTHER}")
    assert not find_keys(None, {})


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "0123456789abcdef 0123\n"])
def test_a_file_without_a_good_key(tmp_path, text):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match="expected|no API key"):
        find_keys(path, {})


def test_a_variable_without_a_key():
    """An empty variable, set by mistake, must not open the server to everybody."""
    for value in ("", " , "):
        with pytest.raises(ValueError, match="ROC_API_KEYS is set and holds no API key"):
            find_keys(None, {"ROC_API_KEYS": value})
    assert not find_keys(None, {})
