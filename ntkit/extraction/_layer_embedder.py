"""The embedding and what earlier layers of the same model make of the samples, in one pass."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._output import new_file
from ntkit._types import Array
from ntkit.exceptions import InputError, NtkitError
from ntkit.extraction._batches import Inputs
from ntkit.extraction._embedder import OnnxEmbedder
from ntkit.extraction._layer_outputs import MOST_LAYERS, Layer, layers_of, with_layers
from ntkit.model import FrozenModel
from ntkit.samples import Samples, sum_of_digests

_TRIED = 2  # samples


@dataclass(frozen=True, eq=False)
class Embedded:
    """What one pass over N samples gave."""

    Z: Array
    layers: Mapping[str, Array]
    device: str


class _LayerEmbedder(OnnxEmbedder):
    """An embedder whose graph has more outputs."""

    def read(self, layers: tuple[Layer, ...]) -> None:
        """Say which layers are read."""
        if layers != self.__dict__.get("_layers", ()):
            self.__dict__.pop("_running", None)  # a session of another graph
        self.__dict__["_layers"] = layers

    def _body(self) -> Any:
        body = super()._body()
        return with_layers(body, self.__dict__.get("_layers", ()))

    def outputs(self, X: Any, batch_size: int | None = None) -> list[Array]:
        """All outputs for all samples."""
        n_samples, filled, done = Inputs(self._session(), X).n_samples, list[Array](), 0
        settings = {"batch_size": batch_size, "window": batch_size} if batch_size else None
        with closing(self._outputs(X, 0, None, settings or self.settings(X))) as batches:
            for batch in batches:
                if not done:  # a list of batches and their copy would be twice the memory
                    filled = [np.empty((n_samples, *o.shape[1:]), o.dtype) for o in batch]
                for whole, part in zip(filled, batch, strict=True):
                    whole[done : done + len(part)] = part
                done += len(batch[0])
        return filled


def embedded_with_layers(
    model: Any,
    X: Any,
    *,
    most: int | None = None,
    names: Collection[str] | None = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
) -> Embedded:
    """Embed samples, and read earlier layers of the model as it runs."""
    embedder = _LayerEmbedder(model, device=device, batch_size=batch_size, verbose=verbose)
    if names is not None:
        layers = tuple(each for each in layers_of(model.body(), None) if each.name in names)
    else:
        layers = layers_of(model.body(), MOST_LAYERS if most is None else most) if most != 0 else ()
    readable = _readable(embedder, X, layers) if layers else ()
    embedder.read(readable)
    outputs = embedder.outputs(X)
    named = {layer.name: values for layer, values in zip(readable, outputs[1:], strict=True)}
    return Embedded(outputs[0], named, embedder.device_)


def layer_names(model: Any, most: int | None = None) -> tuple[str, ...]:
    """Names of layers of a model that can be read, such as ``relu_2``: all, or as many."""
    return tuple(layer.name for layer in layers_of(model.body(), most))


def _readable(embedder: _LayerEmbedder, X: Any, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers that a run on a few samples gives a finite row of for each."""
    few = {n: v[:_TRIED] for n, v in X.items()} if isinstance(X, Mapping) else X[:_TRIED]
    embedder.read(layers)
    try:
        _, *found = embedder.outputs(few, _TRIED)
    except NtkitError:  # what is wrong with the samples themselves comes up without layers, too
        return ()
    return tuple(
        layer
        for layer, values in zip(layers, found, strict=True)
        if values.shape[1] == 2 * layer.width and np.isfinite(values).all()
    )


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
    """Embeddings and layers as they were kept, if that is for this model and these contents."""
    key = _key(model, samples, digests)
    kept = None if file is None else _read(file, key)
    if kept is not None and {*layers} <= {*kept.layers}:
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


def _read(file: Path, wanted: str | None = None) -> Embedded | None:
    """What a file keeps, of a key; None where there is none, or it is no such file."""
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
