"""A cache file of the embeddings and layers of one pass."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._output import new_file
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction.embedder import Embedded
from ntkit.model import FrozenModel
from ntkit.samples.copies import sum_of_digests
from ntkit.samples.samples import Samples

_KEY, _Z = "ntkit", "Z"

_LARGEST = 2 << 30  # bytes; larger results are computed again


def kept_or_computed(
    file: Path | None,
    model: FrozenModel,
    samples: Samples,
    digests: Callable[[], Array],
    compute: Callable[[], Embedded],
    *,
    layers: Collection[str] = (),
) -> tuple[Embedded, bool]:
    """Embeddings and layers from the cache, if they belong to this model and these contents."""
    if file is not None and file.is_file():
        kept = _read(file, _key(model, samples, digests()))
        if kept is not None and {*layers} <= {*kept.layers}:
            return kept, False
    computed = compute()
    return Embedded(computed.Z, computed.layers, _key(model, samples, digests())), True


def keep(file: Path, embedded: Embedded) -> bool:
    """Write the result, unless it is large, the file is somebody else's, or the disk is full."""
    arrays: dict[str, Any] = {
        _Z: embedded.Z,
        **{f"layer:{n}": v for n, v in embedded.layers.items()},
    }
    if sum(array.nbytes for array in arrays.values()) > _LARGEST:
        return False
    if file.exists() and _read(file) is None:
        return False
    named: dict[str, Any] = {_KEY: np.array(embedded.key)}
    with suppress(InputError), new_file(file) as unfinished, unfinished.open("wb") as opened:
        np.savez(opened, **arrays, **named)
        return True
    return False


def _key(model: FrozenModel, samples: Samples, digests: Array) -> str:
    """A digest of a model and the contents of samples."""
    steps = json.dumps(samples.preprocessing, sort_keys=True, default=str)
    text = "\n".join([model.sha256(), model.embedding.name, steps, sum_of_digests(digests)])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(file: Path, wanted: str | None = None) -> Embedded | None:
    """Content of a cache file with this key; None for any other file."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            if wanted is not None and str(content[_KEY]) != wanted:
                return None  # without reading the rest
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
