"""Folders that lead astray: each is searched to its end, and nothing is left out without a word."""

import os
import subprocess
import time

import pytest
from heads import picture

from roc.data.folders import walk
from roc.scoring.sources import find_sources


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("photos/sub")
    picture(0).save("photos/a.png")
    picture(1).save("photos/sub/b.png")
    return tmp_path


def found(*paths):
    return {source.name: source.fault for source in find_sources(paths or ["photos"]).sources}


GOOD = {"photos/a.png": None, "photos/sub/b.png": None}


def test_links_in_a_circle(here):
    os.symlink("loop.png", "photos/loop.png")  # to itself
    os.symlink("x", "photos/y")
    os.symlink("y", "photos/x")
    os.symlink("..", "photos/sub/up")
    os.symlink("../..", "photos/sub/out")
    faults = found()
    assert {name: faults.pop(name) for name in GOOD} == GOOD
    assert "symbolic links" in faults.pop("photos/loop.png")
    assert "symbolic links" in faults.pop("photos/x") and "symbolic links" in faults.pop("photos/y")
    assert "is the folder photos, which is searched already" in faults.pop("photos/sub/up")
    assert "leads in a circle" in faults.pop("photos/sub/out")
    assert not faults


def test_folders_that_link_to_each_other(here):
    """Followed without a memory, ten of them are millions of paths."""
    for i in range(10):
        os.mkdir(f"photos/f{i}")
        picture(i).save(f"photos/f{i}/p.png")
    for i in range(10):
        for j in range(10):
            os.symlink(f"../f{j}", f"photos/f{i}/to{j}")
    start = time.monotonic()
    for paths in (["photos"], ["photos/**"], ["photos/**/*"]):
        faults = found(*paths)
        assert [name for name, fault in faults.items() if fault is None] == sorted(
            [*GOOD, *(f"photos/f{i}/p.png" for i in range(10))]
        )
        assert sum(fault is not None for fault in faults.values()) == 100
    assert time.monotonic() - start < 5


def test_links_to_each_other_outside_of_the_folder(here):
    for name in ("one", "two"):
        os.mkdir(name)
        picture(2).save(f"{name}/c.png")
    os.symlink("../two", "one/two")
    os.symlink("../one", "two/one")
    os.symlink("../one", "photos/z")
    faults = found()
    assert [name for name, fault in faults.items() if fault is None] == [*GOOD, "photos/z/c.png", "photos/z/two/c.png"]
    assert "is the folder photos/z, which is searched already" in faults["photos/z/two/one"]


def test_a_link_to_a_hidden_folder_inside_is_followed(here):
    os.mkdir("photos/.store")
    picture(2).save("photos/.store/c.png")
    os.symlink(".store", "photos/best")
    assert found() == {"photos/a.png": None, "photos/best/c.png": None, "photos/sub/b.png": None}


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters every folder")
def test_a_link_into_an_unreadable_folder(here):
    os.makedirs("locked/inner")
    os.symlink("../locked/inner", "photos/in")
    os.symlink("../locked", "photos/locked")
    os.chmod("locked", 0)
    try:
        faults = found()
    finally:
        os.chmod("locked", 0o700)
    assert "Permission denied" in faults["photos/in"] and "cannot be read" in faults["photos/locked"]


def test_what_the_system_refuses_is_a_line(here, monkeypatch):
    """As a link into an unreadable folder is, for users other than root."""
    os.symlink("sub", "photos/in")
    scandir = os.scandir

    class Refusing:
        def __init__(self, entry):
            self.name, self.path, self._entry = entry.name, entry.path, entry

        def is_dir(self):
            if self.name == "in":
                raise PermissionError(13, "Permission denied")
            return self._entry.is_dir()

        def __getattr__(self, name):
            return getattr(self._entry, name)

    class Entries(list):
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

    def refusing(folder):
        if folder == "photos/sub":
            raise PermissionError(13, "Permission denied")
        return Entries(map(Refusing, scandir(folder)))

    monkeypatch.setattr(os, "scandir", refusing)
    faults = dict(walk("photos"))
    assert faults["photos/in"] == "this cannot be looked at: Permission denied"
    assert faults["photos/sub"] == "this folder cannot be read: Permission denied"


def test_pipes_and_endless_devices_are_not_waited_for(here):
    os.mkfifo("photos/p.png")
    os.mkfifo("photos/p.tar")
    os.mkfifo("photos/p.txt")
    os.symlink("/dev/zero", "photos/z.png")
    os.symlink("/dev/zero", "photos/z.tar")
    os.symlink("/dev/zero", "z.jpg")
    os.mkfifo("p.jpg")
    faults = found()
    assert sorted(name for name, fault in faults.items() if fault is not None) == [
        *("photos/p.png", "photos/p.tar", "photos/z.png", "photos/z.tar")
    ]
    # Given by name or in a list, too.
    with open("list.txt", "w") as file:
        file.write("p.jpg\nz.jpg\n/dev/zero\n")
    for source in [*find_sources(["p.jpg", "z.jpg", "/dev/zero"]).sources, *find_sources(["list.txt"]).sources]:
        for use in (source.open, source.read, source.length):
            with pytest.raises(ValueError, match="no file but a pipe or a device"):
                use()
    with pytest.raises(ValueError, match="no file but a pipe"):
        find_sources(["photos/p.txt"])


def test_1200_folders_in_each_other(here):
    bottom = os.open("photos/sub", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=bottom)
        below = os.open("d", os.O_RDONLY, dir_fd=bottom)
        os.close(bottom)
        bottom = below
    os.close(os.open("c.png", os.O_CREAT | os.O_WRONLY, dir_fd=bottom))
    os.close(bottom)
    try:
        for paths in (["photos"], ["photos/**/*.png"]):
            assert list(found(*paths)) == sorted([*GOOD, "photos/sub/" + "d/" * 1200 + "c.png"])
    finally:
        subprocess.run(["rm", "-rf", "photos"])  # Python removes them by calling itself


def test_a_path_too_long_for_the_system_is_a_line(here):
    bottom = os.open("photos/sub", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=bottom)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=bottom)
        os.close(bottom)
        bottom = below
    os.close(bottom)
    (fault,) = [fault for fault in found().values() if fault is not None]
    assert "name too long" in fault.lower()


def test_other_files_are_counted(here):
    for name in ("a.cr2", "b.cr2", "notes.txt", ".hidden"):
        open(f"photos/{name}", "w").close()
    assert find_sources(["photos"]).left_out == {".cr2": 2, ".txt": 1}
    os.mkdir("raw")
    open("raw/a.nef", "w").close()
    with pytest.raises(ValueError, match="no image in it; other files in it: 1 .nef"):
        find_sources(["raw"])
