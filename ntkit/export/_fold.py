"""Scalers and selectors in front of a head: folded into it, in float64, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder
from ntkit.head import LinearHead
from ntkit.verification import difference

_MOST_ROWS = 2048


class NotFoldableError(InputError):
    """The estimator is not one linear head; skl2onnx may be able to convert it."""


@dataclass(frozen=True)
class ScaledHead:
    """A head that reads ``(Z - shift) * gains``, as a pipeline with StandardScalers does."""

    # `centre` and `spread` are what the first scaler knows of the embeddings `Z`.

    head: LinearHead
    shift: Array
    gains: Array
    centre: Array
    spread: Array
    embedder: OnnxEmbedder | None = None

    @classmethod
    def of(cls, head: LinearHead) -> ScaledHead:
        """Nothing in front of the head."""
        zeros, ones = np.zeros(head.n_neurons), np.ones(head.n_neurons)
        return cls(head, zeros, ones, zeros, ones)

    @property
    def is_scaled(self) -> bool:
        """Whether there is anything to fold."""
        return bool(self.shift.any() or (self.gains != 1).any())

    def folded(self) -> LinearHead:
        """The same in one linear layer, in float64 where there is anything to fold."""
        if not self.is_scaled:
            return self.head
        head = self.head
        exact = LinearHead(head.coef.astype(np.float64), head.intercept, head.classes)
        return exact.scaled(self.gains, self.shift)

    def behind(self, step: Any) -> ScaledHead:
        """The same with a further StandardScaler or selector in front."""
        if isinstance(step, SelectorMixin):
            return self._widened(step.get_support())
        ones, zeros = np.ones(self.head.n_neurons), np.zeros(self.head.n_neurons)
        scale = ones if step.scale_ is None else step.scale_
        mean = step.mean_ if step.with_mean else zeros
        return ScaledHead(
            self.head,
            shift=mean + scale * self.shift,
            gains=self.gains / scale,
            centre=zeros if step.mean_ is None else step.mean_,
            spread=ones if step.var_ is None else np.sqrt(step.var_),
            embedder=self.embedder,
        )

    def _widened(self, kept: Array) -> ScaledHead:
        """On all neurons, reading only the kept ones."""

        def wide(array: Array, fill: float) -> Array:
            full = np.full((*array.shape[:-1], len(kept)), fill, dtype=array.dtype)
            full[..., kept] = array
            return full

        head = self.head
        return ScaledHead(
            LinearHead(wide(head.coef, 0), head.intercept, head.classes),
            shift=wide(self.shift, 0),
            gains=wide(self.gains, 1),
            centre=wide(self.centre, 0),
            spread=wide(self.spread, 1),
            embedder=self.embedder,
        )

    def rounded_shift(self) -> tuple[Array, LinearHead]:
        """The shift in float32, and the head with what rounding took off the shift."""
        shift = self.shift.astype(np.float32)
        rest = self.gains * (self.shift - shift)
        return shift, LinearHead(
            self.head.coef, self.head.intercept - self.head.coef @ rest, self.head.classes
        )


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
            scaled = ScaledHead(**{**vars(scaled), "embedder": step})
        elif isinstance(step, StandardScaler) and not hasattr(step, "n_features_in_"):
            raise InputError("The pipeline's StandardScaler is not fitted; fit the pipeline.")
        elif isinstance(step, StandardScaler | SelectorMixin):
            scaled = scaled.behind(step)
        else:
            raise NotFoldableError(
                f"The step {type(step).__name__} cannot be folded into a linear head"
            )
    return scaled


def flat_steps(estimator: Any) -> list[Any]:
    """Steps of a pipeline, with those of pipelines and finished searches in it."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    return [inner for step in steps for inner in flat_steps(step)]


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
        few = X if not isinstance(X, Mapping) else {k: v[:_MOST_ROWS] for k, v in X.items()}
        return scaled.embedder.transform(few if isinstance(X, Mapping) else few[:_MOST_ROWS])
    Z = np.asarray(X)
    if Z.ndim != 2 or Z.shape[1] != scaled.head.n_neurons or not len(Z):
        raise InputError(
            f"X needs embeddings of shape (N, {scaled.head.n_neurons}) to check on; got {Z.shape}."
        )
    return Z[:: max(1, len(Z) // _MOST_ROWS)]
