"""What a model makes of the samples of a question, kept in its folder: no batch runs it again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._output import new_file
from ntkit.exceptions import InputError
from ntkit.extraction import Embedded, Samples
from ntkit.frozen_model import FrozenModel
from ntkit.samples import sum_of_digests

__all__ = ["KEPT", "keep", "kept_or_computed"]

Digests = NDArray[np.bytes_]
KEPT = "embedded.npz"
_KEY, _Z = "ntkit", "Z"
_LARGEST = 2 << 30  # bytes; more is computed again


def kept_or_computed(
    folder: Path,
    model: FrozenModel,
    samples: Samples,
    digests: Digests,
    compute: Callable[[], Embedded],
) -> tuple[Embedded, bool]:
    """Embeddings and layers as they were kept, if that is for this model and these contents.

    Parameters
    ----------
    folder : pathlib.Path
        Of the question; it may be missing.
    model : FrozenModel
        The model.
    samples : Samples
        What it is run on.
    digests : ndarray of bytes, shape (N,)
        Of their contents.
    compute : callable
        Runs it.

    Returns
    -------
    embedded : Embedded
    computed : bool
        Whether it was run, so that :func:`keep` has something to do.
    """
    key = _key(model, samples, digests)
    found = _read(folder / KEPT)
    if found is not None and found.device == key:
        return found, False
    computed = compute()
    return Embedded(computed.Z, computed.layers, key), True


def keep(folder: Path, embedded: Embedded) -> None:
    """Write what was computed, unless it is large, somebody's file is there, or no room is."""
    file = folder / KEPT
    arrays: dict[str, Any] = {
        _Z: embedded.Z,
        **{f"layer:{n}": v for n, v in embedded.layers.items()},
    }
    if sum(array.nbytes for array in arrays.values()) > _LARGEST:
        return
    if file.exists() and _read(file) is None:
        return
    named: dict[str, Any] = {_KEY: np.array(embedded.device)}
    with suppress(InputError), new_file(file) as unfinished, unfinished.open("wb") as opened:
        np.savez(opened, **arrays, **named)


def _key(model: FrozenModel, samples: Samples, digests: Digests) -> str:
    """What tells a model and samples from all others."""
    steps = json.dumps(samples.preprocessing, sort_keys=True, default=str)
    text = "\n".join([model.sha256(), model.embedding.name, steps, sum_of_digests(digests)])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(file: Path) -> Embedded | None:
    """What a file keeps; None where there is none, or it is no such file."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays: dict[str, Any] = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    key, Z = arrays.pop(_KEY, None), arrays.pop(_Z, None)
    if key is None or Z is None or key.ndim or Z.ndim != 2:
        return None
    layers = {name.removeprefix("layer:"): values for name, values in arrays.items()}
    if any(values.ndim != 2 or len(values) != len(Z) for values in layers.values()):
        return None
    return Embedded(Z, layers, str(key))
