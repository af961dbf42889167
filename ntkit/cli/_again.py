"""Arguments of a run, kept in its folder so that the next one can go on with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ntkit._disk import read_json
from ntkit.cli._options import DataOptions, ModelOptions
from ntkit.debiasing import RUN_FILE
from ntkit.exceptions import InputError

__all__ = ["plain_arguments", "read_arguments"]

_BUNDLES = {"model_options": ModelOptions, "data_options": DataOptions}
_LARGEST = 1 << 20  # bytes


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON holds them; paths are absolute, for the next run may start elsewhere."""
    return {name: _plain(value) for name, value in arguments.items()}


def read_arguments(folder: Path) -> dict[str, Any]:
    """Arguments of the run that a folder is of.

    Raises
    ------
    InputError
        If it holds none.
    """
    file = folder / RUN_FILE
    if not file.is_file():
        raise InputError(
            f"{folder} holds no {RUN_FILE}, so there is no run to go on from; give the folder that "
            "ntkit debias -o wrote."
        )
    kept = read_json(file, largest=_LARGEST, wanted="what ntkit debias wrote to go on from")
    try:
        return {
            name: _BUNDLES[name](**_typed(value)) if name in _BUNDLES else _typed(value)
            for name, value in kept.items()
        }
    except (TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({error}); run ntkit debias again.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return {"path": os.path.abspath(value)}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"path"}:
            return Path(value["path"])
        return {name: _typed(each) for name, each in value.items()}
    return value
