"""Tar files with more in them than plain pictures."""

import io
import os
import tarfile

import pytest
from heads import picture

from roc.scoring.sources import find_sources


def content(i):
    data = io.BytesIO()
    picture(i).save(data, "PNG")
    return data.getvalue()


def add(tar, name, data=b"", kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(data), kind, link
    tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def tar(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tarfile.open("a.tar", "w") as tar:
        yield tar


def found():
    return {source.name: source for source in find_sources(["a.tar"]).sources}


def test_links_and_devices_in_a_tar_file_are_lines(tar):
    add(tar, "folder.png", kind=tarfile.DIRTYPE)
    add(tar, "one.png", content(1))
    add(tar, "soft.png", kind=tarfile.SYMTYPE, link="one.png")
    add(tar, "hard.png", kind=tarfile.LNKTYPE, link="one.png")
    add(tar, "pipe.png", kind=tarfile.FIFOTYPE)
    add(tar, "two.png", content(2))
    tar.close()
    sources = found()
    assert list(sources) == [f"a.tar/{name}.png" for name in ("one", "soft", "hard", "pipe", "two")]
    assert "this is a link to one.png" in sources["a.tar/soft.png"].fault
    assert "this is a link to one.png" in sources["a.tar/hard.png"].fault
    assert "no plain file" in sources["a.tar/pipe.png"].fault
    assert sources["a.tar/two.png"].read() == content(2)


def test_of_members_with_one_name_the_last_counts_and_the_others_are_lines(tar):
    for i in range(3):
        add(tar, "one.png", content(i))
    add(tar, "two.png", content(5))
    tar.close()
    sources = found()
    assert sources["a.tar/one.png"].fault is None and sources["a.tar/one.png"].read() == content(2)
    assert sources["a.tar/two.png"].read() == content(5)
    others = [source for source in sources.values() if source.fault is not None]
    assert len(sources) == 4 and all("a later member of the same name" in source.fault for source in others)


def test_a_tar_file_in_which_a_picture_was_replaced(tar):
    from roc.scoring.stamps import is_changed, stamp_of

    add(tar, "one.png", content(1))
    add(tar, "two.png", content(2))
    tar.close()
    stamps = {name: stamp_of(source) for name, source in found().items()}
    with tarfile.open("a.tar", "w") as tar:
        add(tar, "one.png", content(1))
        add(tar, "two.png", content(3))
    assert {name: is_changed(source, stamps[name]) for name, source in found().items()} == {
        "a.tar/one.png": False,
        "a.tar/two.png": True,
    }
    os.unlink("a.tar")
