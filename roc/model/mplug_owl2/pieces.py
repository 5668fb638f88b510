"""The sentencepiece model of a LLaMA tokenizer (`tokenizer.model`), read and applied without the sentencepiece package.

The file is a protocol buffer of which four things matter: the pieces with their scores and kinds, whether unknown
characters fall back to bytes, and how text is normalised. Text is split as sentencepiece's BPE does it: neighbours are
joined as long as they form a piece, the best score first, the leftmost of equal ones first.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Iterable, Iterator

MARK = "\N{LOWER ONE EIGHTH BLOCK}"
"""Stands for a space in a piece."""

_NORMAL, _USER_DEFINED, _UNUSED, _BYTE = 1, 4, 5, 6
_BPE = 2


class PieceModel:
    """Pieces of text and their ids.

    Args:
        serialized: the content of a `tokenizer.model`.

    Attributes:
        serialized: as given.
        pieces: text of each id, (V,).
        ids: piece -> id.

    Raises:
        ValueError: where it is no sentencepiece model, or not one of LLaMA's kind (BPE over text as it stands).
    """

    def __init__(self, serialized: bytes) -> None:
        self.serialized = serialized
        try:
            model = _message(serialized)
            entries = [_message(piece) for piece in model[1]]
            trainer, normalizer = _message(model[2][-1]), _message(model[3][-1])
            self.pieces = [entry[1][-1].decode() for entry in entries]
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                f"These {len(serialized)} bytes are no sentencepiece model; a tokenizer.model that is a text of three "
                "lines is a Git LFS pointer, whose content has still to be fetched (git lfs pull)."
            ) from error
        self.ids = {piece: index for index, piece in enumerate(self.pieces)}
        kinds = [_last(entry, 3, _NORMAL) for entry in entries]
        _check_llama(trainer, normalizer, kinds)
        self._scores = {
            piece: struct.unpack("<f", _last(entry, 2, bytes(4)))[0]
            for piece, entry, kind in zip(self.pieces, entries, kinds, strict=True)
            if kind in (_NORMAL, _USER_DEFINED)
        }
        self._whole = {piece for piece, kind in zip(self.pieces, kinds, strict=True) if kind == _USER_DEFINED}
        self._longest_first = sorted(self._whole, key=len, reverse=True)
        self._bytes = {piece for piece, kind in zip(self.pieces, kinds, strict=True) if kind == _BYTE}
        self._byte_fallback = bool(_last(trainer, 35, 0))

    def split(self, text: str) -> list[str]:
        """The pieces of `text`, with the space that sentencepiece puts before it; a text without characters has none.

        A character without a piece becomes its UTF-8 bytes (`<0xE2>` ...); in a model without bytes, a run of such
        characters stays as it is.
        """
        if not text:
            return []
        found: list[str] = []
        for piece in self._join((" " + text).replace(" ", MARK)):
            if piece in self._scores:
                found.append(piece)
            elif self._byte_fallback:
                found.extend(f"<0x{byte:02X}>" for byte in piece.encode())
            elif found and found[-1] not in self._scores:
                found[-1] += piece
            else:
                found.append(piece)
        return found

    def text(self, pieces: Iterable[str]) -> str:
        """The text of pieces, the space before the first included; bytes that are no UTF-8 become U+FFFD."""
        parts = []
        for is_byte, group in itertools.groupby(pieces, self._bytes.__contains__):
            if is_byte:
                parts.append(bytes(int(piece[3:5], 16) for piece in group).decode(errors="replace"))
            else:
                parts.extend(group)
        return "".join(parts).replace(MARK, " ")

    def _join(self, text: str) -> list[str]:
        """`text` as pieces and single characters: joins neighbours, best score first, then from the left."""
        symbols: list[str | None] = list(self._symbols(text))
        after = [*range(1, len(symbols)), -1]
        before = [*range(-1, len(symbols) - 1)]
        joins: list[tuple[float, int, int, str]] = []

        def propose(left: int, right: int) -> None:
            if left < 0 or right < 0 or symbols[left] in self._whole or symbols[right] in self._whole:
                return
            whole = symbols[left] + symbols[right]
            if whole in self._scores:
                heapq.heappush(joins, (-self._scores[whole], left, right, whole))

        for left in range(len(symbols) - 1):
            propose(left, left + 1)
        while joins:
            _, left, right, whole = heapq.heappop(joins)
            # One of the two has meanwhile been joined with its other neighbour.
            if symbols[left] is None or symbols[right] is None or symbols[left] + symbols[right] != whole:
                continue
            symbols[left], symbols[right] = whole, None
            after[left] = after[right]
            if after[left] >= 0:
                before[after[left]] = left
            propose(before[left], left)
            propose(left, after[left])
        return [symbol for symbol in symbols if symbol is not None]

    def _symbols(self, text: str) -> Iterator[str]:
        """The characters of `text`; user-defined pieces in one, the longest first."""
        start = 0
        while start < len(text):
            symbol = next((piece for piece in self._longest_first if text.startswith(piece, start)), text[start])
            yield symbol
            start += len(symbol)


def _check_llama(trainer: dict, normalizer: dict, kinds: list[int]) -> None:
    faults = []
    if _last(trainer, 3, 1) != _BPE:
        faults.append("it is not of type BPE")
    if _last(normalizer, 2, b"") or _last(normalizer, 4, 1):
        faults.append(f"it changes text before splitting it ({_last(normalizer, 1, b'?').decode()})")
    if not _last(normalizer, 3, 1) or not _last(normalizer, 5, 1) or _last(trainer, 24, 0):
        faults.append("it does not mark the beginning of a word by the space before it")
    if _UNUSED in kinds:
        faults.append("it has pieces marked as unused")
    if faults:
        raise ValueError(
            f"This sentencepiece model is not of LLaMA's kind, the only one that is split exactly here: "
            f"{'; '.join(faults)}."
        )


def _message(data: bytes) -> dict[int, list]:
    """Field number -> values of a protocol buffer message: integers, or bytes for everything that is none."""
    fields: dict[int, list] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 2, 5):
            length, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = data[at : at + length], at + length
            if len(value) < length:
                raise ValueError("message ends within a field")
        else:
            raise ValueError(f"wire type {wire}")
        fields.setdefault(number, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, and where the next field starts."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _last(message: dict[int, list], number: int, default):
    return message.get(number, [default])[-1]
