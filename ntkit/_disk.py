"""Whether a place can be written and has room, and a sentence where it turns out otherwise."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError, NtkitError

__all__ = [
    "TEMPORARY",
    "StrPath",
    "alone_in",
    "as_json",
    "check_place",
    "check_room",
    "check_writable",
    "entries_of",
    "give_name",
    "has_name",
    "locked",
    "read_json",
    "saying_what_failed",
    "scratch",
    "size_of",
]

StrPath = str | os.PathLike[str]
# On Windows whoever looks at a new file, a virus scanner for one, keeps it from being renamed.
_WAITS = (0.01, 0.05, 0.2, 0.5) if sys.platform == "win32" else ()
_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # some network file systems
_LOG = logging.getLogger(__name__)
TEMPORARY = ".ntkit-"
"""How names begin of what is in a folder only while ntkit writes there, or was killed there."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def saying_what_failed(path: StrPath) -> Iterator[None]:
    """Turn what a disk can raise while something is written into a sentence."""
    try:
        yield
    except NtkitError:
        raise
    except OSError as error:
        reason = error.strerror or error
        if error.errno in _FULL:
            raise InputError(
                f"There is no room for {path} ({reason}); make room or choose another place."
            ) from error
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
    """Try whether a folder can be made, or one that is there be written in.

    Parameters
    ----------
    path : path-like
        The folder; the folders above it need not exist.

    Raises
    ------
    OSError
        If not.

    Examples
    --------
    >>> from ntkit._disk import check_writable
    >>> check_writable(".")
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    above = next(parent for parent in path.parents if parent.exists())
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=above) as trial:
        (Path(trial) / path.name).mkdir()  # a name that this disk takes


def check_room(path: StrPath, size: int) -> None:
    """Refuse a place without room.

    Parameters
    ----------
    path : path-like
        What is to be written; its folder need not exist yet.
    size : int
        Bytes that it will need, about.

    Raises
    ------
    InputError
        If the disk has fewer bytes free.

    Examples
    --------
    >>> from ntkit._disk import check_room
    >>> check_room("report.html", 1000)
    """
    parents = Path(os.path.realpath(path)).parents
    free = shutil.disk_usage(next(parent for parent in parents if parent.exists())).free
    if size > free:
        raise InputError(
            f"There is no room for {path}: it needs about {_bytes(size)}, and {_bytes(free)} are "
            "free; make room or choose another place."
        )


def give_name(made: StrPath, path: StrPath) -> None:
    """Rename what was made beside it; a file that has the name already is replaced.

    Parameters
    ----------
    made : path-like
        A file or folder.
    path : path-like
        Its name, on the same disk.

    Raises
    ------
    OSError
        If it cannot be; on Windows after some tries, while another program has it open.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit._disk import give_name
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "unfinished").write_text("| candidate |", encoding="utf-8")
    ...     give_name(Path(folder, "unfinished"), Path(folder, "table.md"))
    ...     [file.name for file in Path(folder).iterdir()]
    ['table.md']
    """
    for wait in _WAITS:
        try:
            os.replace(made, path)
            return
        except PermissionError:
            time.sleep(wait)
    os.replace(made, path)


@contextmanager
def alone_in(folder: StrPath) -> Iterator[None]:
    """Keep other processes from writing a folder meanwhile; it is made if there is none.

    The lock dies with the process. A folder that was made goes again if it is still empty then.

    Parameters
    ----------
    folder : path-like
        The folder; the one above it must exist.

    Raises
    ------
    InputError
        If another process has it, or it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit._disk import alone_in
    >>> with tempfile.TemporaryDirectory() as folder, alone_in(folder):
    ...     with alone_in(folder):
    ...         pass
    Traceback (most recent call last):
    ntkit.exceptions.InputError: Another process is writing ...; wait until it is done, or end it.
    """
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
    """Open a file for writing, and lock it against other processes until it is closed.

    Parameters
    ----------
    path : pathlib.Path
        The file; an empty one is made if there is none.

    Raises
    ------
    InputError
        If another process has it.
    OSError
        If it cannot be opened for writing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit._disk import locked
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder) / "rows") as file:
    ...     file.write(b"1")
    1
    """
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
    """Whether an open file is the one of that name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit._disk import has_name, locked
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder) / "rows") as file:
    ...     has_name(file, Path(folder) / "rows"), has_name(file, Path(folder) / "others")
    (True, False)
    """
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


def as_json(content: Any, indent: int | None = 2) -> str:
    """Write plain values as JSON that every parser reads: NaN and infinities become null.

    Examples
    --------
    >>> from ntkit._disk import as_json
    >>> as_json({"latency": float("nan"), "rows": (1, 2.5)}, indent=None)
    '{"latency": null, "rows": [1, 2.5]}'
    """
    return json.dumps(_finite(content), indent=indent, default=str, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: StrPath, *, largest: int, wanted: str) -> Any:
    """Read a JSON file that somebody else may have written.

    Parameters
    ----------
    path : path-like
        The file.
    largest : int
        Bytes that it may have.
    wanted : str
        What it should be, as "the answers.json that the page saved".

    Raises
    ------
    InputError
        If there is no such file, or it is too large, or no JSON.

    Examples
    --------
    >>> from ntkit._disk import read_json
    >>> read_json("nowhere.json", largest=1 << 20, wanted="the answers.json that the page saved")
    Traceback (most recent call last):
    ntkit.exceptions.InputError: nowhere.json cannot be read (No such file or directory); name ...
    """
    file, mend = Path(path), f"name {wanted}."
    try:
        if file.exists() and not file.is_file():
            raise InputError(f"{path} is no file; {mend}")
        with file.open("rb") as opened:
            content = opened.read(largest + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {mend}") from error
    except ValueError as error:  # a character that no name may hold
        raise InputError(f"{str(path)!r} is no name for a file ({error}).") from error
    if len(content) > largest:
        raise InputError(f"{path} is larger than {largest >> 20} MB; {mend}")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON; {mend}") from error


def entries_of(
    path: StrPath,
    content: Any,
    *,
    kind: str,
    version: int,
    refusal: Callable[[str], InputError],
    mend: str,
) -> list[Any]:
    """Answers in the content of a JSON file that ntkit keeps, not looked at one by one.

    Parameters
    ----------
    path : path-like
        The file, for the sentence.
    content : object
        What :func:`read_json` read from it.
    kind : str
        What its key "ntkit" must say.
    version : int
        The version that is read.
    refusal : callable
        The error, by the reason why it is no such file.
    mend : str
        How to get a file of this version.

    Raises
    ------
    InputError
        If it is of another kind or version, or holds no list of answers.

    Examples
    --------
    >>> from ntkit._disk import entries_of
    >>> content = {"ntkit": "answers", "version": 2}
    >>> entries_of("a.json", content, kind="answers", version=1, refusal=InputError, mend="again.")
    Traceback (most recent call last):
    ntkit.exceptions.InputError: a.json is of version 2, and this ntkit reads version 1; again.
    """
    if not isinstance(content, dict) or content.get("ntkit") != kind:
        raise refusal(f'it lacks "ntkit": "{kind}"')
    given = content.get("version")
    if type(given) is not int or given != version:
        raise InputError(
            f"{path} is of version {given!r:.40}, and this ntkit reads version {version}; {mend}"
        )
    entries = content.get("answers")
    if not isinstance(entries, list):
        raise refusal("its answers are no list")
    return entries


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


def _bytes(number: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.3g} {units[0]}"
