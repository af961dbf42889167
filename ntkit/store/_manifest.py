"""A store's ``manifest.json``: what the embeddings are, how far they are, what must match."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ntkit._disk import give_name
from ntkit.exceptions import InputError

__all__ = [
    "IDENTITY",
    "MANIFEST",
    "difference",
    "is_finished",
    "kind_of_manifest",
    "read_manifest",
    "replace_file",
    "write_manifest",
]

MANIFEST = "manifest.json"
FORMAT = 2
IDENTITY = ("model", "tensor", "preprocessing", "total_rows", "samples", "dtype", "device", "part")
"""What must match to go on with an unfinished store."""
_COUNTS = ("total_rows", "rows", "first_row", "finished_rows")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read a store's manifest; None if there is none."""
    file = path / MANIFEST
    if not file.is_file():
        return None
    damaged = InputError(f"{file} is damaged; embed again with --force.")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged from error
    if not isinstance(manifest, dict):
        raise damaged
    if "shards" in manifest or manifest.get("format") == 1:
        raise InputError(f"{path} was made by an older ntkit; embed again with --force.")
    if type(manifest.get("format")) is int and manifest["format"] > FORMAT:
        raise InputError(f"{path} was made by a newer ntkit; update ntkit to read it.")
    if not _sound(manifest):
        raise damaged
    return manifest


def kind_of_manifest(path: Path) -> Literal["store", "damaged", "other", "none"]:
    """Tell a store's manifest, of any version, from a damaged one and from another program's."""
    file = path / MANIFEST
    if not file.is_file():
        return "none"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return "damaged"
    if not isinstance(content, dict) or not content:
        return "damaged"
    ours = content.keys() & {"total_rows", "finished_rows", "shards"}
    return "store" if ours or type(content.get("format")) is int else "other"


def _sound(manifest: dict[str, Any]) -> bool:
    counts = [manifest.get(name) for name in _COUNTS]
    run = manifest.get("run")
    if manifest.get("format") != FORMAT or not isinstance(run, dict):
        return False
    if any(type(count) is not int or count < 0 for count in (*counts, run.get("window"))):
        return False
    total, rows, first, finished = (manifest[name] for name in _COUNTS)
    part = manifest.get("part")
    if part is not None and not (isinstance(part, list) and [*map(type, part)] == [int, int]):
        return False
    return bool(run["window"] and finished <= rows and first + rows <= total)


def difference(
    first: Mapping[str, Any], second: Mapping[str, Any], fields: Iterable[str]
) -> tuple[str, Any, Any] | None:
    """Find the first field in which two descriptions differ: its name and both values."""
    for field in fields:
        if first.get(field) != second.get(field):
            return field, first.get(field), second.get(field)
    return None


def is_finished(manifest: Mapping[str, Any]) -> bool:
    """Whether a store holds all of its rows."""
    return bool(manifest["finished_rows"] == manifest["rows"])


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Replace a store's manifest."""
    content = json.dumps({"format": FORMAT, **manifest}, indent=2)
    replace_file(path / MANIFEST, content.encode())


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Put a file in place whole, or not at all."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    give_name(temporary, path)
