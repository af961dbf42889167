"""Run a session over samples, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ntkit.exceptions import InputError

__all__ = ["run_batches", "shown_shape"]

Array = NDArray[Any]
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


def run_batches(
    session: Any, X: Any, *, batch_size: int = 64, start: int = 0, verbose: bool = False
) -> Iterator[list[Array]]:
    """Yield the session's outputs for one batch of samples after the other.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        What to run.
    X : array-like, lazy sequence, or mapping of str to either
        Model inputs. A lazy sequence has a length and gives an array for a slice; a mapping
        holds one entry per input of a model with several.
    batch_size : int
        Samples per run; a model with a fixed batch size keeps its own, and the last batch is
        padded.
    start : int
        First sample.
    verbose : bool
        Show a progress bar when it takes longer than a second.

    Raises
    ------
    InputError
        If the samples do not fit the model's inputs.
    """
    specs = {spec.name: spec for spec in session.get_inputs()}
    feeds = _feeds(X, list(specs))
    n_samples = len(next(iter(feeds.values())))
    fixed = next(iter(specs.values())).shape[0]
    size = fixed if isinstance(fixed, int) else batch_size
    with tqdm(
        total=n_samples,
        initial=start,
        unit=" samples",
        desc="embedding",
        delay=1,
        disable=None if verbose else True,
    ) as bar:
        for begin in range(start, n_samples, size):
            end = min(begin + size, n_samples)
            batch = {name: _batch(specs[name], feed[begin:end]) for name, feed in feeds.items()}
            if isinstance(fixed, int):
                batch = {name: _padded(array, size) for name, array in batch.items()}
            yield [np.asarray(output)[: end - begin] for output in session.run(None, batch)]
            bar.update(end - begin)


def shown_shape(shape: Sequence[Any]) -> str:
    """Write a shape as text, with ? for what is unknown."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def _feeds(X: Any, inputs: list[str]) -> dict[str, Any]:
    if isinstance(X, Mapping):
        missing = [name for name in inputs if name not in X]
        if missing:
            raise InputError(f"The model also needs the input {missing[0]!r}; it has {inputs}.")
        feeds = {name: X[name] for name in inputs}
    elif len(inputs) == 1:
        feeds = {inputs[0]: X}
    else:
        raise InputError(f"The model has the inputs {inputs}; pass a mapping of arrays.")
    feeds = {name: np.asarray(f) if isinstance(f, list | tuple) else f for name, f in feeds.items()}
    feeds = {n: f.to_numpy() if hasattr(f, "to_numpy") else f for n, f in feeds.items()}
    if len({len(feed) for feed in feeds.values()}) > 1:
        raise InputError("The arrays for the model's inputs differ in length.")
    return feeds


def _batch(spec: Any, values: Any) -> Array:
    array, wanted = np.asarray(values), spec.shape
    fits = array.ndim == len(wanted) and all(
        not isinstance(want, int) or want == have
        for want, have in zip(wanted[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(
            f"The model's input {spec.name!r} has shape {shown_shape(wanted)}, but the samples "
            f"have shape {shown_shape(('N', *array.shape[1:]))}; preprocess them as the model "
            "expects."
        )
    if spec.type not in _DTYPES:
        raise InputError(
            f"The model's input {spec.name!r} is a {spec.type}, which is not supported."
        )
    if array.dtype.kind not in "fiub":
        raise InputError(f"The model's input {spec.name!r} is numeric; got {array.dtype} values.")
    return np.ascontiguousarray(array, dtype=_DTYPES[spec.type])


def _padded(array: Array, size: int) -> Array:
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
