"""The pictures in a tar file, such as a shard of a WebDataset, found without unpacking it."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Collection, Iterator
from typing import NamedTuple

from roc.data.folders import NO_FILE

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Member(NamedTuple):
    """A picture in a tar file, or what is wrong there.

    Attributes:
        name: TAR/MEMBER, or TAR for a fault of the whole file.
        offset: Where its bytes begin.
        size: How many there are.
        fault: Why it cannot be used.
    """

    name: str
    offset: int | None = None
    size: int = 0
    fault: str | None = None


def members(path: str, suffixes: Collection[str]) -> Iterator[Member]:
    """Gives the pictures in a tar file in order; of members with one name, the last, which unpacking would leave.

    Args:
        path: The tar file.
        suffixes: Endings of pictures, small letters; hidden members are left out.
    """
    found: dict[str, Member] = {}
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            yield Member(path, fault=NO_FILE)
            return
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # tarfile would keep them all
                base = os.path.basename(member.name)
                if member.isdir() or base.startswith(".") or os.path.splitext(base)[1].lower() not in suffixes:
                    continue
                name = f"{path}/{member.name}"
                earlier = found.pop(name, None)
                if earlier is not None:
                    again = f"{name} (at byte {earlier.offset})"
                    found[again] = Member(again, fault="a later member of the same name stands in its place")
                found[name] = Member(name, member.offset_data, member.size, _fault(member))
        if _more(path, tar.offset):
            raise tarfile.ReadError("its last member is followed by something that is neither a member nor its end")
    except (tarfile.TarError, OSError) as error:
        yield from found.values()
        yield Member(path, fault=f"this tar file is damaged or cut short, what follows is lost: {error}")
        return
    yield from found.values()


def _fault(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return f"this is a link to {member.linkname} in a tar file; only pictures that lie in it are read"
    if not member.isreg() or member.issparse():
        return "this member of a tar file is no plain file"
    return None


def _more(path: str, offset: int) -> bool:
    """Tells whether anything but zeros follows.

    tarfile takes a damaged header for the end, and so the end of the first of two concatenated tar files.
    """
    with open(path, "rb") as file:
        file.seek(offset)
        return any(block.strip(b"\0") for block in iter(lambda: file.read(1 << 20), b""))
