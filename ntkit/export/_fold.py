"""Scalers and selectors in front of a head: folded into it, in float64, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

from ntkit._types import Array
from ntkit.estimators import NotFoldableError, ScaledHead, flat_steps
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder
from ntkit.head import LinearHead
from ntkit.samples import first_rows
from ntkit.verification import difference

_MOST_ROWS = 2048
_SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler)


def scaled_head(estimator: Any) -> ScaledHead:
    """The head of an estimator or pipeline, and what stands between embeddings and head."""
    if isinstance(estimator, LinearHead):
        return ScaledHead.of(estimator)
    if not isinstance(estimator, Pipeline):
        if not isinstance(getattr(estimator, "head_", None), LinearHead):
            raise NotFoldableError(
                f"{type(estimator).__name__} is not a fitted ntkit estimator (it has no head_)"
            )
        return ScaledHead.of(estimator.head_)
    steps = flat_steps(estimator)
    if not steps:
        raise InputError("The pipeline has no estimator at its end.")
    scaled = scaled_head(steps[-1])
    for step in reversed(steps[:-1]):
        if isinstance(step, OnnxEmbedder) and step is steps[0]:
            scaled = replace(scaled, embedder=step)
        elif isinstance(step, _SCALERS) and not hasattr(step, "n_features_in_"):
            name = type(step).__name__
            raise InputError(f"The pipeline's {name} is not fitted; fit the pipeline.")
        else:
            scaled = scaled.behind(step)
    return scaled


def folding_errors(scaled: ScaledHead, X: Any, precision: str = "float32") -> tuple[float, float]:
    """Relative errors of the logits in a precision, folded and with the scaler as nodes."""
    Z = _stored(_rows(scaled, X), precision)
    head = scaled.head.with_logits(len(scaled.head.classes))
    exact = ((Z.astype(np.float64) - scaled.shift) * scaled.gains) @ head.coef.T.astype(np.float64)
    exact = exact + head.intercept
    shift, rest = scaled.rounded_shift()
    between = (Z - shift) * _stored(scaled.gains, precision)
    return (
        difference(_logits(scaled.folded(), Z, precision), exact),
        difference(_logits(rest, between, precision), exact),
    )


def _logits(head: LinearHead, Z: Array, precision: str) -> Array:
    head = head.with_logits(len(head.classes))
    return Z @ _stored(head.coef, precision).T + _stored(head.intercept, precision)


def _stored(array: Array, precision: str) -> Array:
    """In float32, but rounded to what a tensor of this type holds."""
    halves = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}
    dtype = halves.get(precision, ir.DataType.FLOAT).numpy()
    with np.errstate(over="ignore"):
        return np.asarray(array).astype(dtype).astype(np.float32)


def _rows(scaled: ScaledHead, X: Any) -> Array:
    if X is None:
        noise = np.random.default_rng(0).normal(size=(256, scaled.head.n_neurons))
        return scaled.centre + scaled.spread * noise
    if scaled.embedder is not None:
        embedder: OnnxEmbedder = scaled.embedder
        return embedder.transform(first_rows(X, _MOST_ROWS))
    Z = np.asarray(X)
    if Z.ndim != 2 or Z.shape[1] != scaled.head.n_neurons or not len(Z):
        raise InputError(
            f"X needs embeddings of shape (N, {scaled.head.n_neurons}) to check on; got {Z.shape}."
        )
    return Z[:: max(1, len(Z) // _MOST_ROWS)]
