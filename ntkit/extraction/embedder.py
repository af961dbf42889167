"""OnnxEmbedder: a frozen model's embeddings as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from typing import Any

import numpy as np
from joblib import cpu_count
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError, NtkitError
from ntkit.extraction._ray_embedder import RayEmbedder
from ntkit.extraction.runner import (
    BATCHES_PER_WINDOW,
    SessionInputs,
    check_steady,
    run_batches,
    shown_shape,
)
from ntkit.extraction.session import CPU, device_of, make_session, providers_of
from ntkit.model import FrozenModel
from ntkit.model.layers import Layer
from ntkit.samples.columns import ordered_inputs
from ntkit.samples.kinds import first_rows

# A core's caches do not hold much more than 8; within 20 % of the fastest for CNNs and texts.
_CPU_SIZE = 8
_GPU_SIZE = 64
_KEPT = ("_loaded", "_running", "_steady")  # of this process, not part of the embedder's state


@documented
@dataclass(eq=False, repr=False)
class OnnxEmbedder(TransformerMixin, BaseEstimator):
    """Compute the embedding that a frozen model's head reads, through ONNX Runtime.

    ``transform`` works at once, without ``fit``. It can be the first step of a scikit-learn
    ``Pipeline``.

    Parameters
    ----------
    model : FrozenModel or path-like
        The model; a path is loaded on first use.
    device : {"auto", "cpu", "cuda", "tensorrt"}, default="auto"
        "auto" uses a GPU if there is one; "cuda" raises an error rather than run on the CPU.
        "tensorrt" is used only on request, because it first builds an engine for minutes.
    batch_size : int, default=None
        Samples per run; a model with a fixed batch size keeps its own. None means 8 on the CPU and
        64 on a GPU, and 1 for a model that scales its activations by the largest of a batch.
    threads : int, default=None
        Batches that run simultaneously on the CPU, each on one core, so that the embeddings do not
        depend on their number. None uses the cores that the process may use, by its CPU affinity
        and the container's quota.
    providers : sequence, default=None
        ONNX Runtime's list of providers, instead of ``device``.
    verbose : bool, default=False
        Show a progress bar when it takes longer than a second.

    Attributes
    ----------
    feature_names_in_ : ndarray of str
        Columns of the DataFrame that ``fit`` got. They are the order of the inputs if the model
        names none.

    Examples
    --------
    >>> from ntkit import FrozenModel, OnnxEmbedder
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> Z = OnnxEmbedder(model, device="cpu").transform(load_marked_digits().X_test[:8])
    >>> Z.shape == (8, model.head.n_neurons)
    True
    """

    model: Any
    _: KW_ONLY
    device: str = "auto"
    batch_size: int | None = None
    threads: int | None = None
    providers: Sequence[Any] | None = None
    verbose: bool = False

    def fit(self, X: Any = None, y: Any = None) -> OnnxEmbedder:
        """Return the embedder, which learns only the order of a DataFrame's columns."""
        _check_feature_names(self, X, reset=True)
        return self

    def transform(self, X: Any) -> Array:
        """Embeddings of model inputs.

        Parameters
        ----------
        X : array-like, lazy or windowed sequence, or mapping of str to array-like
            Model inputs, N rows. A lazy sequence has a length and returns an array for a slice. A
            windowed one returns, by ``window(start, stop)``, an object with the ``lengths`` of
            these samples and ``batch(rows)``. A mapping has one array per input.

        Returns
        -------
        ndarray of float32 or float64, shape (N, D)
            One embedding per sample.

        Raises
        ------
        InputError
            If the shape does not fit the model, or an embedding is NaN or infinite.
        DeviceError
            If ``device="cuda"`` and ONNX Runtime cannot use a GPU, or there is not enough memory.
        ModelError
            If the model cannot be read or run, or if its output for a sample is random or depends
            on the other samples of its batch.
        """
        return self.outputs(X)[0]

    def outputs(
        self, X: Any, layers: tuple[Layer, ...] = (), batch_size: int | None = None
    ) -> list[Array]:
        """Embeddings as by :meth:`transform`, followed by outputs of earlier layers.

        Parameters
        ----------
        {X}
        layers : tuple of Layer
            Layers from :meth:`ntkit.FrozenModel.layers`.
        batch_size : int, optional
            Batch size instead of the embedder's own.

        Returns
        -------
        list of ndarray
            The embeddings (N, D), then (N, 2 C) for each layer of C channels. With layers the graph
            differs, so the last bits of the embeddings may differ.
        """
        inputs = SessionInputs(self._session(layers), self._ordered(X))
        settings = self._settings(inputs, layers, batch_size)
        filled, done = [np.empty((0, self.frozen_model.n_neurons or 0), np.float32)], 0
        with closing(self._outputs(inputs.X, 0, None, settings, layers)) as batches:
            for batch in batches:
                if not done:  # a list of batches and their copy would take twice as much
                    filled = [np.empty((inputs.n_samples, *o.shape[1:]), o.dtype) for o in batch]
                for whole, part in zip(filled, batch, strict=True):
                    whole[done : done + len(part)] = part
                done += len(batch[0])
        return filled

    def settings(self, X: Any) -> dict[str, int]:
        """Settings that the last bits of the embeddings depend on, in addition to model and device.

        Returns
        -------
        dict of str to int
            "batch_size" and "window": the number of samples that are prepared, and sorted by
            length, together. With the same settings, any part of the rows has the same bytes as in
            one run.

        Raises
        ------
        {InputError, DeviceError, ModelError}
        """
        return self._settings(SessionInputs(self._session(), self._ordered(X)))

    def iter_batches(
        self,
        X: Any,
        start: int = 0,
        stop: int | None = None,
        settings: Mapping[str, int] | None = None,
    ) -> Iterator[Array]:
        """Yield the embeddings (n, D) of consecutive samples, one batch or window at a time.

        Parameters
        ----------
        {X}
        start, stop : int
            First sample, and the one after the last; None for the end of X. With multiples of the
            window nothing is computed twice.
        settings : mapping, optional
            Return value of :meth:`settings`, to compute the rest of an earlier run.

        Raises
        ------
        {InputError, DeviceError, ModelError}
        """
        X = self._ordered(X)
        settings = self.settings(X) if settings is None else settings
        with closing(self._outputs(X, start, stop, settings)) as batches:
            for embedding, *_ in batches:
                yield embedding

    def on(self, engine: str) -> Any:
        """The embedder itself for the engine "local", or Ray actors with copies of it for "ray".

        Both have ``settings``, ``iter_batches`` and ``device_``.

        Raises
        ------
        InputError
            If there is no such engine.
        MissingDependencyError
            If Ray is not installed.
        DeviceError
            If a GPU is requested and the cluster has none.
        """
        if engine not in ("local", "ray"):
            raise InputError(f"engine must be local or ray, not {engine!r}.")
        return self if engine == "local" else RayEmbedder(self)

    @property
    def frozen_model(self) -> FrozenModel:
        """FrozenModel: the model, loaded."""
        if isinstance(self.model, FrozenModel):
            return self.model
        cached = self.__dict__.get("_loaded")
        if cached is None or cached[0] != str(self.model):
            cached = self.__dict__["_loaded"] = (str(self.model), FrozenModel.load(self.model))
        model: FrozenModel = cached[1]
        return model

    @property
    def device_(self) -> str:
        """Device of the session: "cuda", "tensorrt" or "cpu"."""
        return device_of(next(iter(self._sessions().values()), None) or self._session())

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the neurons, neuron0, neuron1 …; an InputError if the width is unknown."""
        width = self.frozen_model.n_neurons
        if width is None:
            raise InputError(
                "The model does not declare the number of neurons of its embedding; "
                "export it with a fixed width."
            )
        return np.asarray([f"neuron{i}" for i in range(width)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True  # the model's own signature determines valid inputs
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {k: v for k, v in state.items() if k not in _KEPT}

    # -- internals -----------------------------------------------------------------------------

    def _ordered(self, X: Any) -> Any:
        """Inputs of the model, in the order of the columns that it or ``fit`` has named."""
        names = [*getattr(self, "feature_names_in_", ())]
        return ordered_inputs(X, self.frozen_model.inputs, names)

    def _threads_and_streams(self) -> tuple[int, int]:
        """Threads of a session, and simultaneous batches: one on devices other than the CPU."""
        threads = cpu_count() if self.threads is None else self.threads
        if isinstance(threads, bool) or threads < 1:
            raise InputError(f"threads must be at least 1; got {threads!r}.")
        providers = providers_of(self.device, self.providers)  # type: ignore[arg-type]
        names = [each if isinstance(each, str) else each[0] for each in providers]
        return (1, threads) if names == [CPU] else (threads, 1)

    def _settings(
        self, inputs: SessionInputs, layers: tuple[Layer, ...] = (), batch_size: int | None = None
    ) -> dict[str, int]:
        size = batch_size or inputs.fixed_size or self.batch_size
        if size is None and self.frozen_model.scales_by_batch:
            size = 1
        if size is None:
            size = _CPU_SIZE if device_of(self._session(layers)) == "cpu" else _GPU_SIZE
        if not (isinstance(size, Integral) and size >= 1):
            raise InputError(f"batch_size must be a number of at least 1; got {size!r}.")
        return {
            "batch_size": size,
            "window": size * (BATCHES_PER_WINDOW if inputs.windowed else 1),
        }

    def _sessions(self) -> dict[tuple[Layer, ...], Any]:
        """Sessions of the present model, by the layers that they read."""
        model, key = self.frozen_model, (self.device, repr(self.providers), self.threads)
        running = self.__dict__.get("_running")
        if running is None or running[0] is not model or running[1] != key:
            running = self.__dict__["_running"] = (model, key, {})
        sessions: dict[tuple[Layer, ...], Any] = running[2]
        return sessions

    def _session(self, layers: tuple[Layer, ...] = ()) -> Any:
        sessions = self._sessions()
        if layers not in sessions:
            for others in [others for others in sessions if others and layers]:
                del sessions[others]  # the model is in memory only as often as needed
            sessions[layers] = make_session(
                self.frozen_model.body(layers=layers).SerializeToString(),
                device=self.device,  # type: ignore[arg-type]
                providers=self.providers,
                folder=self.frozen_model.folder,
                threads=self._threads_and_streams()[0],
            )
        return sessions[layers]

    def _outputs(
        self,
        X: Any,
        start: int,
        stop: int | None,
        settings: Mapping[str, int],
        layers: tuple[Layer, ...] = (),
    ) -> Generator[list[Array], None, None]:
        """All outputs of the graph for consecutive samples, one batch or window at a time."""
        session, done = self._session(layers), start
        if self.__dict__.get("_steady") is not self.frozen_model:  # once for each model
            check_steady(self.frozen_model, session, X, settings["batch_size"])
            self.__dict__["_steady"] = self.frozen_model
        batches = run_batches(
            session,
            X,
            batch_size=settings["batch_size"],
            start=start,
            stop=stop,
            window=settings["window"],
            on_gpu=device_of(session) != "cpu",
            streams=self._threads_and_streams()[1],
            verbose=self.verbose,
            per_sample=True,
        )
        with closing(batches):  # ends its threads as well if this generator is closed early
            for embedding, *others in batches:
                yield [_checked(self.frozen_model, embedding, done), *others]
                done += len(embedding)


def _checked(model: FrozenModel, embedding: Array, begin: int) -> Array:
    if embedding.ndim != 2:
        raise InputError(
            f"The model's embedding has shape {shown_shape(('N', *embedding.shape[1:]))}, not one "
            "vector per sample; name another tensor with --embedding NAME."
        )
    if embedding.dtype not in (np.float32, np.float64):
        embedding = embedding.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(embedding).all(axis=1)) + begin
    if len(bad) and model.scores is not None:
        raise InputError(model.scores.problem(bad.tolist()))
    if len(bad):
        raise InputError(
            f"The embeddings of at least {len(bad)} sample(s) are NaN or infinite (rows "
            f"{bad[:5].tolist()}{', …' if len(bad) > 5 else ''}); check these inputs and the "
            "preprocessing."
        )
    return embedding


_TRIED = 2  # samples

MOST_LAYERS = 6
"""Number of layers that are read, spread over the depth."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings and layers of N samples, from one pass."""

    Z: Array
    layers: Mapping[str, Array]
    key: str = ""  # digest of the model and the samples, in a cache file


def embedded_with_layers(
    embedder: OnnxEmbedder,
    X: Any,
    *,
    most: int | None = None,
    names: Collection[str] | None = None,
) -> Embedded:
    """Embed samples, and read earlier layers of the model in the same run."""
    frozen = embedder.frozen_model
    if names is not None:
        every = frozen.layers() if names else ()
        layers = tuple(layer for layer in every if layer.name in names)
    else:
        layers = frozen.layers(MOST_LAYERS if most is None else most) if most != 0 else ()
    readable = _readable(embedder, X, layers) if layers else ()
    Z, *values = embedder.outputs(X, readable)
    named = {layer.name: of_layer for layer, of_layer in zip(readable, values, strict=True)}
    return Embedded(Z, named)


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
