"""Ctrl-C: one line that says what is left and how to continue, and exit code 130."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from ntkit.exceptions import InputError

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""

_EMBED_FIRST = (
    " (ntkit embed can continue after an interruption: embed the samples first, and give the "
    "stores instead)"
)


def interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """A command that Ctrl-C ends with exit code 130 and a line on what it wrote to ``out``."""

    @wraps(command)
    def guarded(**values: Any) -> None:
        before = _stamp(values.get("out") or values.get("run"))
        try:
            command(**values)
        except KeyboardInterrupt:
            try:
                left = _what_is_left(before, **values)
            except (ImportError, AttributeError):  # of a library whose import was interrupted
                left = ": nothing was written"
            typer.echo(f"Interrupted{left}.", err=True)
            raise typer.Exit(INTERRUPTED) from None

    return guarded


def _stamp(out: Path | None) -> frozenset[tuple[str, int, int]] | None:
    """Names and times of an output's files, by which a replaced or changed one is known."""
    if out is None:
        return None
    from ntkit.samples import MANIFEST

    try:
        files = [out / MANIFEST] if (out / MANIFEST).is_file() else [out]
        if files == [out] and out.is_dir():  # its own time changes with what is there meanwhile
            files = [*out.iterdir()]
        return frozenset((f.name, (s := f.lstat()).st_ino, s.st_mtime_ns) for f in files)
    except OSError:
        return None


def _what_is_left(before: Any, out: Path | None = None, force: bool = False, **values: Any) -> str:
    from ntkit.extraction import EmbeddingStore
    from ntkit.jobs.debias import HEADS_FILE, RUN_FILE
    from ntkit.jobs.report import quoted

    out = out or values.get("run")
    if out is None:
        return ""
    same = _stamp(out) == before
    if EmbeddingStore.is_store(out) and not (same and force):
        return _left_in_store(out, force)
    if not same and (out / RUN_FILE).is_file() and not (out / HEADS_FILE).is_file():
        again = f"ntkit debias --from {quoted(out)}"
        return f"; {out} keeps the findings and all answers; continue with: {again}"
    if not same:
        return f"; {out} was written"
    sets = [values.get(name) for name in ("train", "validation", "test")]
    samples = [path for path in sets if "train" in values and path is not None]
    raw = not all(map(EmbeddingStore.is_store, samples))
    kept = f", and {out} is as it was" if before is not None else ""
    return f": nothing was written{kept}{_EMBED_FIRST if raw else ''}"


def _left_in_store(out: Path, force: bool) -> str:
    from ntkit.samples import read_manifest

    try:
        manifest = read_manifest(out) or {}
        finished, rows = manifest["finished_rows"], manifest["rows"]
    except (InputError, KeyError):
        return ""
    if finished == rows:
        return f": {out} holds all of its {rows} rows"
    again = "the same command, without --force," if force else "the same command"
    return f": {out} keeps {finished} of {rows} rows; run {again} again to continue"
