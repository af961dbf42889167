"""OnnxEmbedder: a frozen model's embeddings as a stateless scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from ntkit.exceptions import InputError
from ntkit.extraction._runner import run_batches, shown_shape
from ntkit.extraction._session import device_of, make_session
from ntkit.frozen_model import FrozenModel

__all__ = ["OnnxEmbedder"]

Array = NDArray[Any]


class OnnxEmbedder(TransformerMixin, BaseEstimator):
    """Compute the embedding a frozen model's head reads, through ONNX Runtime.

    Stateless: ``fit`` does nothing, ``transform`` works at once, and it stands first in a
    scikit-learn ``Pipeline``.

    Parameters
    ----------
    model : FrozenModel or path-like
        The model; a path is loaded on first use.
    device : {"auto", "cpu", "cuda"}, default="auto"
        "auto" takes a GPU if there is one; "cuda" fails rather than run on the CPU.
    batch_size : int, default=64
        Samples per run; a model with a fixed batch size keeps its own.
    providers : sequence, default=None
        ONNX Runtime's provider list, instead of ``device``.
    verbose : bool, default=False
        Show a progress bar when it takes longer than a second.

    Examples
    --------
    >>> from ntkit import FrozenModel, OnnxEmbedder
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> Z = OnnxEmbedder(model, device="cpu").transform(load_marked_digits().X_test[:8])
    >>> Z.shape == (8, model.head.n_neurons)
    True
    """

    def __init__(
        self,
        model: Any,
        *,
        device: str = "auto",
        batch_size: int = 64,
        providers: Sequence[Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.device = device
        self.batch_size = batch_size
        self.providers = providers
        self.verbose = verbose

    def fit(self, X: Any = None, y: Any = None) -> OnnxEmbedder:
        """Do nothing; there is nothing to learn.

        Parameters
        ----------
        X, y : ignored
            Taken for scikit-learn's sake.

        Returns
        -------
        OnnxEmbedder
            This embedder.
        """
        return self

    def transform(self, X: Any) -> Array:
        """Embeddings of model inputs.

        Parameters
        ----------
        X : array-like of shape (N, ...), lazy sequence, or mapping of str to array-like
            What goes into the model as it is. A lazy sequence has a length and gives an array
            for a slice; a mapping holds one array per input of a model with several.

        Returns
        -------
        ndarray of float32 or float64, shape (N, D)
            One embedding per sample.

        Raises
        ------
        InputError
            If the shape does not fit the model, or an embedding is NaN or infinite.
        DeviceError
            If ``device="cuda"`` and ONNX Runtime cannot use a GPU.
        ModelError
            If the model cannot be read or run.
        """
        batches = list(self.iter_batches(X))
        return np.concatenate(batches) if batches else np.empty((0, self._width() or 0), np.float32)

    def iter_batches(self, X: Any, start: int = 0) -> Iterator[Array]:
        """Yield the embeddings batch by batch, from sample ``start`` on.

        Parameters
        ----------
        X : array-like, lazy sequence, or mapping of str to array-like
            As in :meth:`transform`.
        start : int
            First sample.

        Yields
        ------
        ndarray of float32 or float64, shape (n, D)
            Embeddings of the next n samples.

        Raises
        ------
        InputError, DeviceError, ModelError
            As :meth:`transform` does.
        """
        done = start
        for (embedding,) in run_batches(
            self._session(),
            X,
            batch_size=self.batch_size,
            start=start,
            verbose=self.verbose,
            per_sample=True,
        ):
            yield _checked(embedding, done)
            done += len(embedding)

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
        """Where the session really runs: "cuda" or "cpu"."""
        return device_of(self._session())

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the neurons: neuron0, neuron1 and so on.

        Parameters
        ----------
        input_features : ignored
            Taken for scikit-learn's sake.

        Returns
        -------
        ndarray of str objects, shape (D,)
            One name per column of :meth:`transform`.

        Raises
        ------
        InputError
            If the model does not say how wide its embedding is.
        """
        width = self._width()
        if width is None:
            raise InputError("The model does not say how many neurons its embedding has.")
        return np.asarray([f"neuron{i}" for i in range(width)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True  # the model's own signature decides what fits
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {k: v for k, v in state.items() if k not in ("_running", "_loaded")}

    # -- inside -----------------------------------------------------------------------------

    def _session(self) -> Any:
        model = self.frozen_model
        key = (self.device, repr(self.providers))
        running = self.__dict__.get("_running")
        if running is None or running[0] is not model or running[1] != key:
            session = make_session(
                model.body().SerializeToString(),
                device=self.device,  # type: ignore[arg-type]
                providers=self.providers,
                folder=model.folder,
            )
            running = self.__dict__["_running"] = (model, key, session)
        return running[2]

    def _width(self) -> int | None:
        head, shape = self.frozen_model.head, self.frozen_model.embedding.shape
        width = head.n_neurons if head is not None else shape[-1] if shape else None
        return width if isinstance(width, int) else None


def _checked(embedding: Array, begin: int) -> Array:
    if embedding.ndim != 2:
        raise InputError(
            f"The model's embedding has shape {shown_shape(('N', *embedding.shape[1:]))}, not one "
            "vector per sample; name another tensor with --embedding NAME."
        )
    if embedding.dtype not in (np.float32, np.float64):
        embedding = embedding.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(embedding).all(axis=1)) + begin
    if len(bad):
        raise InputError(
            f"The embeddings of {len(bad)} sample(s) are NaN or infinite (rows "
            f"{bad[:5].tolist()}{', …' if len(bad) > 5 else ''}); check these inputs and the "
            "preprocessing."
        )
    return embedding
