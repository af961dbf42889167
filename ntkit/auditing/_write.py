"""Write what an audit found into a folder: all of it, or nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ntkit._disk import StrPath, saying_what_failed
from ntkit._output import put_folder
from ntkit.auditing._result import Audit

__all__ = ["write_audit"]


def write_audit(audit: Audit, path: StrPath, *, force: bool = False) -> None:
    """Write ``audit.json`` and ``table.md`` into a folder that takes its name when they are in it.

    Parameters
    ----------
    audit : Audit
        What was found.
    path : path-like
        The folder, which was checked before the work.
    force : bool
        Replace what ntkit wrote there.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    parent = Path(os.path.realpath(path)).parent
    with (
        saying_what_failed(path),
        tempfile.TemporaryDirectory(
            prefix=".ntkit-", dir=parent, ignore_cleanup_errors=True
        ) as temporary,
    ):
        folder = Path(temporary) / "out"
        folder.mkdir()
        (folder / "audit.json").write_text(audit.to_json() + "\n", encoding="utf-8")
        (folder / "table.md").write_text(f"{audit}\n", encoding="utf-8")
        put_folder(folder, path, force=force)
