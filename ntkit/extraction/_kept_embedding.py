"""What a model makes of samples, kept in a file: the next command does not run it again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._output import new_file
from ntkit.exceptions import InputError
from ntkit.extraction._layer_embedder import Embedded
from ntkit.frozen_model import FrozenModel
from ntkit.samples import Samples, sum_of_digests

__all__ = ["keep", "kept_or_computed"]

Array = NDArray[Any]
_KEY, _Z = "ntkit", "Z"
_LARGEST = 2 << 30  # bytes; more is computed again


def kept_or_computed(
    file: Path | None,
    model: FrozenModel,
    samples: Samples,
    digests: Array,
    compute: Callable[[], Embedded],
    *,
    layers: Collection[str] = (),
) -> tuple[Embedded, bool]:
    """Embeddings and layers as they were kept, if that is for this model and these contents.

    Parameters
    ----------
    file : pathlib.Path or None
        Where they may be kept; it may be missing.
    model : FrozenModel
        The model.
    samples : Samples
        What it is run on.
    digests : ndarray of bytes, shape (N,)
        Of their contents.
    compute : callable
        Runs it.
    layers : collection of str
        Layers that are needed; kept embeddings without them are computed again.

    Returns
    -------
    embedded : Embedded
        Its ``device`` is what tells model and contents from all others.
    computed : bool
        Whether the model was run, so that :func:`keep` has something to do.
    """
    key = _key(model, samples, digests)
    kept = None if file is None else _read(file)
    if kept is not None and kept.device == key and {*layers} <= {*kept.layers}:
        return kept, False
    computed = compute()
    return Embedded(computed.Z, computed.layers, key), True


def keep(file: Path, embedded: Embedded) -> bool:
    """Write what was computed, unless it is large, somebody's file is there, or no room is."""
    arrays: dict[str, Any] = {
        _Z: embedded.Z,
        **{f"layer:{n}": v for n, v in embedded.layers.items()},
    }
    if sum(array.nbytes for array in arrays.values()) > _LARGEST:
        return False
    if file.exists() and _read(file) is None:
        return False
    named: dict[str, Any] = {_KEY: np.array(embedded.device)}
    with suppress(InputError), new_file(file) as unfinished, unfinished.open("wb") as opened:
        np.savez(opened, **arrays, **named)
        return True
    return False


def _key(model: FrozenModel, samples: Samples, digests: Array) -> str:
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
