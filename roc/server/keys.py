"""API keys: where they come from, and comparing them in constant time."""

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
        keys: one of them is enough; none at all = open to everybody.

    Raises:
        ValueError: for a key that is short enough to be guessed, or that a header cannot carry.
    """

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        for number, key in enumerate(keys, start=1):
            if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                raise ValueError(
                    f"API key {number} has {len(key)} characters; expected {SHORTEST} or more letters, digits and "
                    "signs without spaces, as `openssl rand -hex 24` gives them"
                )
        # Of equal length, so that not even the length of a key shows in the time a comparison takes.
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def open(self, authorization: str | None) -> bool:
        """Whether the header `Authorization` of a request holds one of the keys."""
        if not self._digests:
            return True
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found and scheme.lower() == "bearer"


def find_keys(file: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> Keys:
    """Keys of a file, one a line (lines that begin with # are notes), and of `ROC_API_KEYS`, separated by commas.

    Raises:
        ValueError: for a file without a key, a variable that is set and holds none, or a key that is no key.
        OSError: where the file cannot be read.
    """
    lines = Path(file).read_text(encoding="utf-8").splitlines() if file is not None else []
    keys = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if file is not None and not keys:
        raise ValueError(f"{file} holds no API key; write one a line, or leave --api_key_file out")
    told = [key.strip() for key in environment.get(VARIABLE, "").split(",") if key.strip()]
    if VARIABLE in environment and not told:
        raise ValueError(f"{VARIABLE} is set and holds no API key; write one into it, or unset it to let everybody in")
    keys += told
    return Keys(tuple(keys))
