"""The work that a picture's file asks for, found in its bytes before any of it is decoded.

A limit on pixels is none on time: half a megabyte of JPEG can order the same 60 million pixels to be gone over two
thousand times, and a PNG can consist of a million chunks of nothing. What is counted here costs milliseconds. The
bounds lie far above what cameras and programs write, so that only such files are refused. What no count shows is left
to a limit on seconds, which processes that can be ended keep, as those of scoring and of the server (`image_seconds`).
"""

from __future__ import annotations

import re

from roc.data.limits import MAX_SCANS

_MAX_HEADER_PARTS = 10_000
"""Segments of a JPEG's header, or short chunks of a PNG. A profile or depth map of 64 kB parts has some hundred."""

_SCAN = b"\xff\xda"
_BEFORE_SCANS = frozenset((0x01, *range(0xD0, 0xD9)))
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


def work_fault(content: bytes) -> str | None:
    """Says why a file asks for far more work than a picture of its kind needs; None where it does not.

    Args:
        content: the whole file; JPEG and PNG are looked into.
    """
    if content.startswith(b"\xff\xd8"):
        return _jpeg_fault(content)
    if content.startswith(b"\x89PNG"):
        return _png_fault(content)
    return None


def _jpeg_fault(content: bytes) -> str | None:
    position, parts = 2, 0
    while position + 4 <= len(content) and content[position] == 0xFF:
        code = content[position + 1]
        if code == 0xFF or code in _BEFORE_SCANS:  # a fill byte, or a marker without a length
            position += 1 if code == 0xFF else 2
        elif code in (0xDA, 0xD9):
            break
        else:
            length = int.from_bytes(content[position + 2 : position + 4], "big")
            position += 2 + max(length, 2)
        parts += 1
        if parts > _MAX_HEADER_PARTS:
            return f"its header has more than {_MAX_HEADER_PARTS} parts; save it anew"
    # No scan goes uncounted by this, but what only looks like one is counted too, in thumbnails and profiles.
    if content.count(_SCAN, position) <= MAX_SCANS:
        return None
    scans = 0
    while match := _MARKER.search(content, position):
        code, position = match[1][0], match.end()
        if code == 0xD9:
            break
        if code in _BEFORE_SCANS:
            continue
        scans += code == 0xDA
        position += max(2, int.from_bytes(content[position : position + 2], "big"))
    if scans > MAX_SCANS:
        return (
            f"a progressive JPEG of {scans} scans, each of which goes over the whole picture; up to {MAX_SCANS} are "
            "decoded, and about 10 are usual. Save it anew"
        )
    return None


def _png_fault(content: bytes) -> str | None:
    """Counts the chunks; a file made of thousands that hold next to nothing is refused."""
    position, chunks = 8, 0
    while position + 8 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        if content[position + 4 : position + 8] == b"IEND":
            break
        position += 12 + length
        chunks += 1
        if chunks > _MAX_HEADER_PARTS and position < 256 * chunks:
            return f"it has more than {_MAX_HEADER_PARTS} chunks of a few bytes each; save it anew"
    return None
