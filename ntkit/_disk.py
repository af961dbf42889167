"""Whether a place can be written and has room, and a sentence where it turns out otherwise."""

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
# On Windows whoever looks at a new file, a virus scanner for one, keeps it from being renamed.
_WAITS = (0.01, 0.05, 0.2, 0.5) if sys.platform == "win32" else ()
_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # some network file systems
_LOG = logging.getLogger(__name__)
TEMPORARY = ".ntkit-"
"""Prefix of the names of temporary files, which stay only where ntkit was killed."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def saying_what_failed(
    path: StrPath, if_full: str = "make room or choose another place"
) -> Iterator[None]:
    """Turn what a disk can raise while something is written into a sentence."""
    try:
        yield
    except NtkitError:
        raise
    except OSError as error:
        reason = error.strerror or error
        if error.errno in _FULL:
            raise InputError(f"There is no room for {path} ({reason}); {if_full}.") from error
        raise InputError(f"{path} cannot be written ({reason}); choose another place.") from error
    except ValueError as error:
        if "null" not in str(error):  # a character that no name may hold
            raise
        raise InputError(f"{str(path)!r} is no name for a file ({error}).") from error


def check_place(path: Path, real: Path, size: int) -> None:
    """Write something of that name beside it, for trial: permissions alone tell too little."""
    if not real.parent.exists():
        raise InputError(f"The folder {real.parent} does not exist; make it first.")
    if not real.parent.is_dir():
        raise InputError(f"{real.parent} is a file, not a folder; choose another place.")
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=real.parent) as trial:
        (Path(trial) / real.name).mkdir()
    check_room(path, size)


def check_writable(path: StrPath) -> None:
    """Try whether a folder can be made, or one that is there be written in."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    above = next(parent for parent in path.parents if parent.exists())
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=above) as trial:
        (Path(trial) / path.name).mkdir()  # a name that this disk takes


def check_room(path: StrPath, size: int) -> None:
    """Refuse a place without room."""
    parents = Path(os.path.realpath(path)).parents
    free = shutil.disk_usage(next(parent for parent in parents if parent.exists())).free
    if size > free:
        raise InputError(
            f"There is no room for {path}: it needs about {_bytes(size)}, and {_bytes(free)} are "
            "free; make room or choose another place."
        )


def give_name(made: StrPath, path: StrPath) -> None:
    """Rename what was made beside it; a file that has the name already is replaced."""
    for wait in _WAITS:
        try:
            os.replace(made, path)
            return
        except PermissionError:
            time.sleep(wait)
    os.replace(made, path)


@contextmanager
def alone_in(folder: StrPath) -> Iterator[None]:
    """Keep other processes from writing a folder meanwhile; it is made if there is none."""
    # The lock dies with the process. A folder that was made goes again if it is still empty then.
    folder = Path(folder)
    new, lock = not folder.exists(), folder / f"{TEMPORARY}lock"
    with saying_what_failed(folder):
        folder.mkdir(exist_ok=True)
        file = locked(lock)
    try:
        yield
    finally:
        with suppress(OSError):  # first, so that whoever waits for it finds that it is gone
            lock.unlink()
        file.close()
        with suppress(OSError):  # on Windows, which removes no open file
            if sys.platform == "win32":
                lock.unlink()
        with suppress(OSError):  # of a folder that holds something
            if new:
                folder.rmdir()


def locked(path: Path) -> FileIO:
    """Open a file for writing, and lock it against other processes until it is closed."""
    while True:
        file = FileIO(path, "r+", opener=_create)
        try:
            _lock(file)
        except BaseException:
            file.close()
            raise
        if has_name(file, path):  # else its owner replaced it before we had the lock
            return file
        file.close()


def has_name(file: FileIO, path: Path) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _lock(file: FileIO) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1 << 42)  # a lock on bytes that are not there keeps no reader out
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _CANNOT_LOCK:
            _LOG.warning("%s cannot be locked here; let one process at a time write it.", file.name)
            return
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            raise
        folder = Path(os.fsdecode(file.name)).parent
        raise InputError(
            f"Another process is writing {folder}; wait until it is done, or end it."
        ) from error


def read_json(path: StrPath, *, largest: int, wanted: str) -> Any:
    """Read a JSON file that somebody else may have written."""
    file, fix = Path(path), f"name {wanted}."
    try:
        if file.exists() and not file.is_file():
            raise InputError(f"{path} is no file; {fix}")
        with file.open("rb") as opened:
            content = opened.read(largest + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {fix}") from error
    except ValueError as error:  # a character that no name may hold
        raise InputError(f"{str(path)!r} is no name for a file ({error}).") from error
    if len(content) > largest:
        raise InputError(f"{path} is larger than {largest >> 20} MB; {fix}")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON; {fix}") from error


def scratch(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array in a file that nobody sees and that goes when the array goes."""
    folder = Path(tempfile.gettempdir())
    with saying_what_failed(folder):
        check_room(folder, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        with tempfile.TemporaryFile(prefix="ntkit-") as file:
            return np.memmap(file, dtype=dtype, shape=shape, mode="w+")


def size_of(files: Iterable[StrPath]) -> int:
    """Bytes of some files together."""
    return sum(Path(file).stat().st_size for file in files)


def sha256_of(path: StrPath) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(number: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.3g} {units[0]}"
