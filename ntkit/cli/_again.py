"""Arguments of a run, kept in its folder so that the next one can go on with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ntkit._disk import read_json
from ntkit.exceptions import InputError
from ntkit.jobs.debias import RUN_FILE

_LARGEST = 1 << 20  # bytes


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON holds them; paths are absolute, for the next run may start elsewhere."""
    return {name: _plain(value) for name, value in arguments.items()}


def going_on(folder: Path, arguments: Mapping[str, Any], typed: set[str]) -> dict[str, Any]:
    """Arguments of the run in a folder, or an InputError; what was typed now goes before."""
    file = folder / RUN_FILE
    if not file.is_file():
        raise InputError(
            f"{folder} holds no {RUN_FILE}, so there is no run to go on from; give the folder that "
            "ntkit debias -o wrote."
        )
    kept = read_json(file, largest=_LARGEST, wanted="what ntkit debias wrote to go on from")
    try:
        return {name: _merged(value, kept[name], name, typed) for name, value in arguments.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({error}); run ntkit debias again.") from error


def _merged(now: Any, kept: Any, name: str, typed: set[str]) -> Any:
    if is_dataclass(now) and not isinstance(now, type):
        values = {
            field.name: _merged(getattr(now, field.name), kept[field.name], field.name, typed)
            for field in fields(now)
        }
        return replace(now, **values)
    return now if name in typed else _typed(kept)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return {"path": os.path.abspath(value)}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _typed(value: Any) -> Any:
    return Path(value["path"]) if isinstance(value, dict) else value
