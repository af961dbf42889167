"""A disk as Windows has it, on Linux: nothing that is open or mapped is renamed, replaced, removed.

What /proc says of this process stands for what Windows knows of its handles. Readers of other
programs, and names that differ only in case, it does not imitate.
"""

import errno
import fcntl
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ntkit.store import _fill as _rows_file

CALLS = {"replace": 2, "rename": 2, "unlink": 1, "remove": 1, "rmdir": 1}


def in_use():
    """Files and folders that this process holds open or mapped."""
    handles = []
    for number in os.listdir("/proc/self/fd"):
        try:
            handles.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    maps = Path("/proc/self/maps").read_text("utf-8").splitlines()
    mapped = [line.split(maxsplit=5)[5] for line in maps if line.count("/")]
    return {path for path in (*handles, *mapped) if path.startswith("/")}


def refuse_if_in_use(path):
    real = os.path.realpath(path)
    held = [name for name in in_use() if name == real or name.startswith(f"{real}/")]
    if held:
        raise PermissionError(errno.EACCES, f"{held[0]} is in use", os.fspath(path))


def strict(call, n_paths):
    """A call of the module os that fails as on Windows."""

    def called(*paths, **where):
        if where.get("dir_fd") is None:
            for path in paths[:n_paths]:
                refuse_if_in_use(path)
        return call(*paths, **where)

    return called


def locking(handle, mode, n_bytes):
    assert (mode, n_bytes) == (2, 1)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.fixture
def windows(monkeypatch):
    """This process, on such a disk."""
    if sys.platform != "linux":
        pytest.skip("needs /proc")
    for name, n_paths in CALLS.items():
        monkeypatch.setattr(os, name, strict(getattr(os, name), n_paths))
    msvcrt = ModuleType("msvcrt")
    msvcrt.LK_NBLCK, msvcrt.locking = 2, locking
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(_rows_file, "sys", SimpleNamespace(platform="win32"))
    return monkeypatch
