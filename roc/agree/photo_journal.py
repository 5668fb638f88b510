"""What jobs over the photos of a data file share: rows, sources, a free output, a journal and files that fit them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from roc.data.records import Record
from roc.scoring.identity import versions
from roc.scoring.journal import Journal
from roc.scoring.sources import Source
from roc.scoring.stamps import digest_in, stamp_of

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Watch = Callable[[Iterator[Row], int, int], Iterable[Row]]
"""Takes rows as they are done, the number of all photos and how many were done before; gives the rows on."""

_SAMPLE = 32

PASSES = 2
"""How often photos are gone through: those that are replaced meanwhile get one more pass."""


def source_of(record: Record) -> Source:
    """The picture of a record; one with several pictures cannot be used and says so."""
    if len(record.images) != 1:
        return Source(record.id, "", fault=f"the record has {len(record.images)} pictures; expected one")
    return Source(record.id, record.images[0])


def journal_of(out: str | os.PathLike[str]) -> Path:
    """Names the journal of an output: `FILE.journal.jsonl` beside it."""
    out = Path(out)
    return out.with_name(f"{out.name}.journal.jsonl")


def check_free(out: Path, data_path: str | None, *, overwrite: bool) -> None:
    """Refuses to write over what no run of this output wrote.

    Raises:
        ValueError: A folder, the data file, or a file without its journal is in the way.
    """
    if out.is_dir():
        raise ValueError(f"--out is {out}, which is a folder; name a file")
    if data_path is not None and os.path.realpath(out) == os.path.realpath(data_path):
        raise ValueError(f"--out is {out}, the data file itself; name another file")
    journal = journal_of(out)
    if out.exists() and not journal.exists() and not overwrite:
        raise ValueError(
            f"{out} is there already, and {journal.name}, the journal it could be continued from, is not; name another "
            "--out, or replace it with --overwrite"
        )


def check_photos(journal: Journal, sources: Sequence[Source]) -> None:
    """Makes sure that the journal is of these photos; says what was lost, and which versions began it.

    Raises:
        ValueError: It holds others.
    """
    if journal.lost:
        logger.warning("%s: its torn end (%d bytes) is done again", journal.path, journal.lost)
    names = {source.name for source in sources}
    gone = [identity for identity in journal.images if identity not in names]
    if gone:
        raise ValueError(
            f"{journal.path} holds {len(gone)} photos that are not in the data file ({gone[0]}, ...); give the same "
            "--data_path, name another --out, or start anew with --overwrite"
        )
    then, now = journal.about.get("versions", {}), versions()
    unlike = [f"{name} {then[name]}, now {now[name]}" for name in now if name in then and then[name] != now[name]]
    if unlike and len(journal):
        logger.warning("%s was begun with %s; numbers may differ by a rounding", journal.path, "; ".join(unlike))


def check_same_files(records: Sequence[Record], digests: Sequence[str | None], kind: str, command: str) -> None:
    """Compares the files of some photos with those that were read then: other photos may have the same ids.

    Args:
        records: Photos.
        digests: Of the files that were read, in their order; None where that is not known.
        kind: What the digests stand in: "table".
        command: That makes it.

    Raises:
        ValueError: A file is another one.
    """
    pairs = list(zip(records, digests, strict=True))
    for record, then in pairs[:: max(1, len(pairs) // _SAMPLE)]:
        if then is None or not record.images:
            continue
        now = digest_in(stamp_of(Source(record.id, record.images[0])))
        if now is not None and now != then:
            raise ValueError(
                f"{record.images[0]} is not the picture that the {kind} knows as {record.id}: the {kind} is of other "
                f"photos, or the picture was replaced; make a new one by `{command}`"
            )
