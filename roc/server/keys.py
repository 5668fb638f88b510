"""API keys: reading them, and comparing them in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "ROC_API_KEYS"
SHORTEST = 16


class Keys:
    """The keys that open /v1.

    Args:
        keys: Any one of them opens; without any, everybody may ask.

    Raises:
        ValueError: If a key is short enough to be guessed, or cannot be sent in a header.
    """

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        for number, key in enumerate(keys, start=1):
            if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                raise ValueError(
                    f"API key {number} has {len(key)} characters; expected {SHORTEST} or more letters, digits and "
                    "signs without spaces, as `openssl rand -hex 24` gives them"
                )
        # Digests have one length, so the time of a comparison does not reveal the length of a key.
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    @staticmethod
    def owner(authorization: str | None) -> str:
        """Returns what tells the owner of a key apart from others, and does not reveal the key."""
        return hashlib.sha256((authorization or "").partition(" ")[2].strip().encode()).hexdigest()

    def open(self, authorization: str | None) -> bool:
        """Tells whether the `Authorization` header of a request holds one of the keys."""
        if not self._digests:
            return True
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found and scheme.lower() == "bearer"


def find_keys(file: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> Keys:
    """Reads the keys of a file, one a line, and those of `ROC_API_KEYS`, separated by commas.

    Args:
        file: Text file; lines that start with # are comments. None = no file.
        environment: Environment variables.

    Raises:
        ValueError: If the file or the variable is given and holds no key, or a key is unusable.
        OSError: If the file cannot be read.
    """
    lines = Path(file).read_text(encoding="utf-8").splitlines() if file is not None else []
    keys = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if file is not None and not keys:
        raise ValueError(f"{file} holds no API key; write one per line, or leave out --api_key_file")
    named = [key.strip() for key in environment.get(VARIABLE, "").split(",") if key.strip()]
    if VARIABLE in environment and not named:
        raise ValueError(f"{VARIABLE} is set and holds no API key; put one in, or unset it to let everybody in")
    keys += named
    return Keys(tuple(keys))
