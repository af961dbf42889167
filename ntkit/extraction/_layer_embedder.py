"""The embedding and earlier layers of one model, in one pass over the samples."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._output import new_file
from ntkit._types import Array
from ntkit.exceptions import InputError, NtkitError
from ntkit.extraction._embedder import OnnxEmbedder
from ntkit.model import FrozenModel, Layer
from ntkit.samples import Samples, first_rows, sum_of_digests

_TRIED = 2  # samples
MOST_LAYERS = 6
"""Number of layers that are read, spread over the depth."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings and layers of N samples, from one pass."""

    Z: Array
    layers: Mapping[str, Array]
    device: str


def embedded_with_layers(
    model: Any,
    X: Any,
    *,
    most: int | None = None,
    names: Collection[str] | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    verbose: bool = False,
) -> Embedded:
    """Embed samples, and read earlier layers of the model in the same run."""
    embedder = model
    if not isinstance(model, OnnxEmbedder):
        embedder = OnnxEmbedder(model, device=device, batch_size=batch_size, verbose=verbose)
    frozen = embedder.frozen_model
    if names is not None:
        every = frozen.layers() if names else ()
        layers = tuple(layer for layer in every if layer.name in names)
    else:
        layers = frozen.layers(MOST_LAYERS if most is None else most) if most != 0 else ()
    readable = _readable(embedder, X, layers) if layers else ()
    Z, *values = embedder.outputs(X, readable)
    named = {layer.name: of_layer for layer, of_layer in zip(readable, values, strict=True)}
    return Embedded(Z, named, embedder.device_)


def layer_names(model: FrozenModel, most: int | None = None) -> tuple[str, ...]:
    """Names of readable layers of a model, such as ``relu_2``: all, or this many."""
    return tuple(layer.name for layer in model.layers(most))


def _readable(embedder: OnnxEmbedder, X: Any, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Layers that give a finite row for each of two samples."""
    try:
        _, *values = embedder.outputs(first_rows(X, _TRIED), layers, batch_size=_TRIED)
    except NtkitError:  # errors of the samples themselves also occur without layers
        return ()
    return tuple(
        layer
        for layer, of_layer in zip(layers, values, strict=True)
        if of_layer.shape[1] == 2 * layer.width and np.isfinite(of_layer).all()
    )


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
    named: dict[str, Any] = {_KEY: np.array(embedded.device)}
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
