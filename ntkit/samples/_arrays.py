"""Samples from arrays in files: ``.npz``, or ``X.npy`` with ``y.npy`` beside it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.samples._samples import Samples

_UNREADABLE = (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error)
_HOW = "save numbers or texts, not Python objects: np.asarray(…, dtype=np.float32), or dtype=str"


def samples_from_npz(path: Path, labels_required: bool, inputs: Sequence[str] = ()) -> Samples:
    """Read ``X`` (or an array for each of several inputs), ``y`` and perhaps ``groups``."""
    try:
        # NumPy leaves a broken archive open if it opened the file itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            several = "X" not in arrays and len(inputs) > 1 and not {*inputs}.isdisjoint(arrays)
            needed = [*(inputs if several else ("X",)), *["y"] * labels_required]
            missing = [name for name in needed if name not in arrays]
            if missing:
                raise InputError(
                    f"{path} has no array {missing[0]!r}; it holds {sorted(arrays)}. Save it with "
                    "np.savez(path, X=..., y=..., groups=...)."
                )
            y, groups = arrays.get("y"), arrays.get("groups")
            if not several:
                return _checked(path, arrays["X"], y, groups)
            parts = {name: _checked(path, arrays[name], y, groups, name) for name in inputs}
            if len({len(part.X) for part in parts.values()}) > 1:
                raise InputError(f"{path}: the inputs {[*inputs]} hold other numbers of samples.")
            whole = next(iter(parts.values()))
            return replace(whole, X={name: part.X for name, part in parts.items()})
    except InputError:
        raise
    except _UNREADABLE as error:
        raise _unreadable(path, ".npz", error) from error


def samples_from_npy(path: Path, labels_required: bool) -> Samples:
    """Map ``X.npy``, and read ``y.npy`` and perhaps ``groups.npy`` beside it."""
    labels = path.with_name("y.npy")
    if path.name in ("y.npy", "groups.npy"):
        raise InputError(f"{path} holds labels, not samples; give the X.npy beside it.")
    if labels_required and not labels.exists():
        raise InputError(f"{path} needs its labels in {labels}.")
    found = path
    try:
        X = np.lib.format.open_memmap(path, mode="r")
        beside = dict[str, Array | None]()
        for name in ("y", "groups"):
            found = path.with_name(f"{name}.npy")
            mapped = np.lib.format.open_memmap(found, mode="r") if found.exists() else None
            beside[name] = None if mapped is None else np.array(mapped)
    except _UNREADABLE as error:
        raise _unreadable(found, ".npy", error) from error
    read = [path.with_name(f"{name}.npy") for name, values in beside.items() if values is not None]
    samples = _checked(path, X, beside["y"], beside["groups"])
    return replace(samples, sources=(path, *read))


def _unreadable(path: Path, kind: str, error: BaseException) -> InputError:
    reason = str(error).rstrip(".")
    if "pickle" in reason or "Python objects" in reason:
        reason = _HOW  # NumPy's own sentence advises to load what is not to be trusted
    return InputError(f"{path} is not a readable {kind} file: {reason}.")


def _checked(
    path: Path, X: Array, y: Array | None, groups: Array | None, name: str = "X"
) -> Samples:
    if X.dtype.kind in "OSV":
        raise InputError(
            f"{path}: {name} holds {X.dtype} values, but a model takes numbers; save them with "
            f"{name}.astype(np.float32)."
        )
    least = 1 if X.dtype.kind == "U" else 2  # of strings there may be one for each sample
    if X.ndim < least or (y is not None and y.ndim != 1):
        shape = "none" if y is None else str(y.shape)
        raise InputError(
            f"{path}: {name} has the shape {X.shape} and y {shape}; they are (N, ...) and (N,)."
        )
    if y is not None:
        _check_labels(path, X, y, name)
    if not len(X):
        raise InputError(f"{path} holds no samples.")
    if groups is not None and groups.shape[:1] != X.shape[:1]:
        raise InputError(f"{path}: groups has shape {groups.shape}, but X has {len(X)} samples.")
    if groups is not None and groups.ndim != 1:
        raise InputError(
            f"{path}: groups has shape {groups.shape}, but one for each sample is (N,)."
        )
    _refuse_missing(path, "groups", groups)
    return Samples(X, y, groups, preprocessing={"input": "as it is"})


def _check_labels(path: Path, X: Array, y: Array, name: str) -> None:
    if len(X) != len(y):
        raise InputError(f"{path}: {name} has {len(X)} samples, but y has {len(y)} labels.")
    _refuse_missing(path, "y", y)
    if y.dtype.kind == "f" and len(y) and (y != np.round(y)).any():
        odd = y[y != np.round(y)][0]
        raise InputError(
            f"{path}: y holds {odd:g}, but labels are whole numbers or texts; give one class to "
            "each sample."
        )


def _refuse_missing(path: Path, name: str, values: Array | None) -> None:
    if values is None:
        return
    empty = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    if values.dtype.kind in "US":
        empty = np.char.strip(values) == values.dtype.type("")
    if empty.any():
        raise InputError(
            f"{path}: {name} holds NaN, infinite or empty values in {int(empty.sum())} of "
            f"{len(values)} rows, the first in row {int(np.argmax(empty))} (counted from 0); label "
            f"these samples, or leave them out{' (or leave out groups)' * (name == 'groups')}."
        )
