"""Check that a path can be written and has enough space, and turn failures into messages."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError, NtkitError

StrPath = str | os.PathLike[str]
# On Windows, a program that reads a new file, such as a virus scanner, blocks renaming it.
_WAITS = (0.01, 0.05, 0.2, 0.5) if sys.platform == "win32" else ()
_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # some network file systems
_LOG = logging.getLogger(__name__)
TEMPORARY = ".ntkit-"
"""Prefix of the names of temporary files, which remain only if ntkit was killed."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def saying_what_failed(
    path: StrPath, if_full: str = "free some disk space or choose another path"
) -> Iterator[None]:
    """Turn the errors that writing to a disk can raise into a message."""
    try:
        yield
    except NtkitError:
        raise
    except OSError as error:
        reason = error.strerror or error
        if error.errno in _FULL:
            raise InputError(
                f"There is not enough disk space for {path} ({reason}); {if_full}."
            ) from error
        raise InputError(f"{path} cannot be written ({reason}); choose another path.") from error
    except ValueError as error:
        if "null" not in str(error):  # a character that no file name may contain
            raise
        raise InputError(f"{str(path)!r} is not a valid file name ({error}).") from error


def check_place(path: Path, real: Path, size: int) -> None:
    """Write a temporary file in the same folder: permissions alone are not reliable."""
    if not real.parent.exists():
        raise InputError(f"The folder {real.parent} does not exist; create it first.")
    if not real.parent.is_dir():
        raise InputError(f"{real.parent} is a file, not a folder; choose another path.")
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=real.parent) as trial:
        (Path(trial) / real.name).mkdir()
    check_room(path, size)


def check_writable(path: StrPath) -> None:
    """Raise an error if a folder cannot be created, or an existing one cannot be written."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    above = next(parent for parent in path.parents if parent.exists())
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=above) as trial:
        (Path(trial) / path.name).mkdir()  # a name that the file system accepts


def check_room(path: StrPath, size: int) -> None:
    """Raise an error if there is not enough disk space."""
    parents = Path(os.path.realpath(path)).parents
    free = shutil.disk_usage(next(parent for parent in parents if parent.exists())).free
    if size > free:
        raise InputError(
            f"There is not enough disk space for {path}: it needs about {_bytes(size)}, and "
            f"{_bytes(free)} are free. Free some disk space or choose another path."
        )


def give_name(made: StrPath, path: StrPath) -> None:
    """Rename a temporary file in the same folder; a file of the new name is replaced."""
    for wait in _WAITS:
        try:
            os.replace(made, path)
            return
        except PermissionError:
            time.sleep(wait)
    os.replace(made, path)


@contextmanager
def alone_in(folder: StrPath) -> Iterator[None]:
    """Lock a folder against writing by other processes; it is created if it does not exist."""
    # The lock ends with the process. A folder that was created is removed if it is still empty.
    folder = Path(folder)
    new, lock = not folder.exists(), folder / f"{TEMPORARY}lock"
    with saying_what_failed(folder):
        folder.mkdir(exist_ok=True)
        file = locked(lock)
    try:
        yield
    finally:
        with suppress(OSError):  # first, so that a waiting process finds that it is gone
            lock.unlink()
        file.close()
        with suppress(OSError):  # on Windows, which does not remove open files
            if sys.platform == "win32":
                lock.unlink()
        with suppress(OSError):  # the folder is not empty
            if new:
                folder.rmdir()


def locked(path: Path) -> FileIO:
    """Open a file for writing, and lock it against other processes until it is closed."""

    def create(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_CREAT, 0o666)

    while True:
        file = FileIO(path, "r+", opener=create)
        try:
            _lock(file)
        except BaseException:
            file.close()
            raise
        if has_name(file, path):  # its owner may have replaced it before we had the lock
            return file
        file.close()


def has_name(file: FileIO, path: Path) -> bool:
    """Return whether an open file is still the file of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: FileIO) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1 << 42)  # a lock beyond the end of the file does not block readers
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _CANNOT_LOCK:
            message = "%s cannot be locked on this file system; let only one process write it."
            _LOG.warning(message, file.name)
            return
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            raise
        folder = Path(os.fsdecode(file.name)).parent
        raise InputError(
            f"Another process is writing {folder}; wait until it has finished, or stop it."
        ) from error


def read_bytes(path: StrPath, *, largest: int, wanted: str) -> bytes:
    """Read a file that may come from somebody else, up to a number of bytes."""
    file, fix = Path(path), f"name {wanted}."
    try:
        if file.exists() and not file.is_file():
            raise InputError(f"{path} is not a file; {fix}")
        with file.open("rb") as opened:
            content = opened.read(largest + 1)
    except InputError:  # is a ValueError as well
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {fix}") from error
    except ValueError as error:  # a character that no file name may contain
        raise InputError(f"{str(path)!r} is not a valid file name ({error}).") from error
    if len(content) > largest:
        raise InputError(f"{path} is larger than {largest >> 20} MB; {fix}")
    return content


def read_json(path: StrPath, *, largest: int, wanted: str) -> Any:
    """Read a JSON file that may come from somebody else."""
    content = read_bytes(path, largest=largest, wanted=wanted)
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON; name {wanted}.") from error


def scratch(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array in an unnamed temporary file, which is deleted with the array."""
    folder = Path(tempfile.gettempdir())
    with saying_what_failed(folder):
        check_room(folder, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        with tempfile.TemporaryFile(prefix="ntkit-") as file:
            return np.memmap(file, dtype=dtype, shape=shape, mode="w+")


def size_of(files: Iterable[StrPath]) -> int:
    """Return the total size of some files in bytes."""
    return sum(Path(file).stat().st_size for file in files)


def sha256_of(path: StrPath) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(number: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.3g} {units[0]}"
