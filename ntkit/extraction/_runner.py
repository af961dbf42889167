"""Run a session over samples, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ntkit.exceptions import InputError, ModelError

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
    session: Any,
    X: Any,
    *,
    batch_size: int = 64,
    start: int = 0,
    verbose: bool = False,
    per_sample: bool = False,
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
    per_sample : bool
        Whether every output must have one row per sample.

    Yields
    ------
    list of ndarray
        The outputs for the next samples, in the session's order.

    Raises
    ------
    InputError
        If the samples do not fit the model's inputs, or an output its samples.
    ModelError
        If the model has no inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.extraction import make_session, run_batches
    >>> session = make_session(str(marked_digits_model_path()), device="cpu")
    >>> X = np.zeros((5, 1, 20, 20), dtype=np.float32)
    >>> [logits.shape for (logits,) in run_batches(session, X, batch_size=2)]
    [(2, 2), (2, 2), (1, 2)]
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}.")
    specs = {spec.name: spec for spec in session.get_inputs()}
    if not specs:
        raise ModelError("What the model computes depends on none of its inputs.")
    feeds = _feeds(X, list(specs))
    n_samples = len(next(iter(feeds.values())))
    fixed = next((n for s in specs.values() for n in s.shape[:1] if isinstance(n, int)), None)
    size = batch_size if fixed is None else fixed
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
            if fixed is not None:
                batch = {name: _padded(array, size) for name, array in batch.items()}
            fed = len(next(iter(batch.values())))
            outputs = [np.asarray(output) for output in _run(session, batch, begin, end)]
            bad = next((o for o in outputs if not o.ndim or len(o) != fed), None)
            if per_sample and bad is not None:
                raise InputError(
                    f"The model turned {fed} samples into an output of shape {bad.shape}, not one "
                    "row per sample; name another tensor with --embedding NAME."
                )
            yield [o[: end - begin] if o.ndim and len(o) == fed else o for o in outputs]
            bar.update(end - begin)


def _run(session: Any, batch: dict[str, Array], begin: int, end: int) -> list[Any]:
    try:
        outputs: list[Any] = session.run(None, batch)
    except Exception as error:  # ONNX Runtime's own exceptions share no base class but this one
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"ONNX Runtime failed on samples {begin} to {end - 1}: {reason}; check these inputs, "
            "or give a smaller batch size if memory ran out."
        ) from error
    return outputs


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
    for name, feed in feeds.items():
        if not hasattr(feed, "__len__") or getattr(feed, "shape", None) == ():
            raise InputError(
                f"The model's input {name!r} needs an array with one row per sample; got "
                f"{type(feed).__name__}."
            )
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
    dtype = np.dtype(_DTYPES[spec.type])
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(array, dtype=dtype)
    if dtype.kind != "f" and dtype != array.dtype and not np.array_equal(cast, array):
        raise InputError(
            f"The model's input {spec.name!r} takes {dtype} values, which the samples "
            f"({array.dtype}, {array.min():g} to {array.max():g}) are not; preprocess them as the "
            "model expects."
        )
    return cast


def _padded(array: Array, size: int) -> Array:
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
