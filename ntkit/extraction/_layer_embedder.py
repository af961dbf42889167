"""The embedding and what earlier layers of the same model make of the samples, in one pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import NtkitError
from ntkit.extraction._batches import Inputs
from ntkit.extraction._embedder import OnnxEmbedder
from ntkit.extraction._layer_outputs import MOST_LAYERS, Layer, layers_of, with_layers

__all__ = ["Embedded", "embedded_with_layers", "layer_names"]

Array = NDArray[Any]
_TRIED = 2  # samples


@dataclass(frozen=True, eq=False)
class Embedded:
    """What one pass over N samples gave.

    Attributes
    ----------
    Z : ndarray of shape (N, D)
        Embeddings.
    layers : dict of str to ndarray of float32, shape (N, 2 C)
        By layer, in the order of the graph, the mean of each of its C channels over positions
        (pixels, or the tokens that a text has), then the deviation of each.
    device : str
        Where it was computed.
    """

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
    """Embed samples, and read earlier layers of the model as it runs.

    Parameters
    ----------
    model : FrozenModel
        The model.
    X : array-like, lazy or windowed sequence, or mapping of str to array-like
        As in :meth:`ntkit.OnnxEmbedder.transform`.
    most : int, optional
        How many layers, spread over the depth; 0 for none. By default six.
    names : collection of str, optional
        Which layers instead, of :func:`layer_names`.
    device, batch_size, verbose
        As in :class:`ntkit.OnnxEmbedder`.

    Returns
    -------
    Embedded
        Without layers where the graph has none whose channels and positions are known, or they
        are not one row for each sample. The last bits of Z may be others than those of an
        embedder, for the graph is.

    Raises
    ------
    InputError, DeviceError, ModelError
        As :meth:`ntkit.OnnxEmbedder.transform` does.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> from ntkit.extraction import embedded_with_layers
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> found = embedded_with_layers(model, load_marked_digits().X_test[:8], device="cpu")
    >>> {name: values.shape for name, values in found.layers.items()}
    {'relu_1': (8, 24), 'relu_2': (8, 48), 'relu_3': (8, 128)}
    """
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
