"""What a service recorded: its outputs, and what they are outputs of."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError

OUTPUTS = ("logits", "probabilities", "labels")
_FILES = ("files", "file_name", "ids")
INPUTS = (*_FILES, "rows", "texts", "text_pairs", "images", "X")
_UNREADABLE = (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error)


@dataclass(frozen=True)
class Recorded:
    """Outputs of a service, and by name what they are outputs of."""

    kind: str  # logits, probabilities or labels
    outputs: Array
    given: Mapping[str, Array] = field(default_factory=dict)
    source: str = "what was recorded"  # what to call it in a sentence
    labels: Array | None = None  # beside logits or probabilities; they must say the same

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def files(self) -> Array | None:
        """Array or None: Names of files."""
        return next((self.given[name] for name in _FILES if name in self.given), None)


def read_recorded(
    recorded: str | os.PathLike[str] | Mapping[str, Any], inputs: tuple[str, ...]
) -> Recorded:
    """Read one kind of outputs of one kind of inputs, from a file or its arrays."""
    source = "what was recorded"
    if isinstance(recorded, Mapping):
        arrays = {str(name): np.asarray(values) for name, values in recorded.items()}
    else:
        source = str(recorded)
        arrays = _arrays_of(Path(recorded))
    kinds = [name for name in OUTPUTS if name in arrays]
    if not kinds:
        raise InputError(
            f"{source} holds {sorted(arrays)} and no outputs; save them as logits, probabilities "
            "or labels, with np.savez(path, logits=..., files=...)."
        )
    outputs = arrays.pop(kinds[0])  # logits say most, labels least
    _check_outputs(source, kinds[0], outputs)
    known = {name: values for name, values in arrays.items() if name in (*INPUTS, *inputs)}
    _check_given(source, known, inputs, len(outputs))
    labels = arrays.get("labels")
    if labels is not None:
        _check_outputs(source, "labels", labels)
        if len(labels) != len(outputs):
            raise InputError(f"{source} holds {len(outputs)} {kinds[0]}, but {len(labels)} labels.")
        labels = labels.reshape(-1)
    return Recorded(kinds[0], outputs, known, source, labels)


def _arrays_of(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if isinstance(arrays, np.ndarray):
                raise ValueError("it holds a single array without a name")
            return {name: arrays[name] for name in arrays.files}
    except _UNREADABLE as error:
        reason = str(error).rstrip(".")
        if "pickle" in reason:  # NumPy's own sentence advises to load what is not to be trusted
            reason = "save arrays of numbers or texts, not Python objects, with np.savez"
        raise InputError(f"{path} is not a readable .npz file: {reason}.") from error


def _check_outputs(source: str, kind: str, outputs: Array) -> None:
    if outputs.ndim not in (1, 2) or not outputs.size:
        raise InputError(
            f"{source}: {kind} have the shape {outputs.shape}; one row per sample is needed."
        )
    if kind == "labels":
        if outputs.size != len(outputs) or outputs.dtype.kind not in "iubU":
            raise InputError(f"{source}: labels are one text or whole number per sample.")
        return
    if outputs.dtype.kind not in "fiu" or not np.isfinite(outputs).all():
        raise InputError(f"{source}: {kind} hold values that are not finite numbers.")


def _check_given(
    source: str, given: Mapping[str, Array], inputs: tuple[str, ...], n_samples: int
) -> None:
    kinds = {name if name in INPUTS else "inputs of the model" for name in given}
    kinds = {"texts" if name == "text_pairs" else name for name in kinds}
    if len(kinds) > 1:
        raise InputError(
            f"{source} says in several ways what went in ({', '.join(sorted(given))}); keep one."
        )
    missing = [name for name in inputs if name not in given]
    if "inputs of the model" in kinds and missing:
        raise InputError(f"{source} lacks the model's input {missing[0]!r}.")
    if "text_pairs" in given and "texts" not in given:
        raise InputError(f"{source} holds text_pairs without texts.")
    for name, values in given.items():
        if values.ndim == 0 or len(values) != n_samples:
            n = 0 if values.ndim == 0 else len(values)
            raise InputError(f"{source} holds {n_samples} outputs, but {n} {name}.")
    for name in ("texts", "text_pairs", *_FILES):
        if name in given and given[name].dtype.kind != "U":
            raise InputError(f"{source}: {name} are texts; save them with dtype=str.")
    if "rows" in given and (given["rows"].dtype.kind not in "iu" or given["rows"].ndim != 1):
        raise InputError(f"{source}: rows are whole numbers, the first row is 0.")
