"""A linear head behind scalers and selectors, which fold into it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead


class NotFoldableError(InputError):
    """The estimator is not one linear head; skl2onnx may be able to convert it."""


@dataclass(frozen=True)
class ScaledHead:
    """A head that reads ``(Z - shift) * gains``, as a pipeline with scalers does."""

    # `centre` and `spread` are what the first scaler knows of the embeddings `Z`, which the
    # `embedder` computes if there is one.

    head: LinearHead
    shift: Array
    gains: Array
    centre: Array
    spread: Array
    embedder: Any = None

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
        return self.head.astype(np.float64).scaled(self.gains, self.shift)

    def behind(self, step: Any) -> ScaledHead:
        """The same with a further scaler or selector in front."""
        ones, zeros = np.ones(self.head.n_neurons), np.zeros(self.head.n_neurons)
        if isinstance(step, SelectorMixin):
            return self._widened(step.get_support())
        if isinstance(step, StandardScaler):
            gain = 1 / (ones if step.scale_ is None else step.scale_)
            mean = step.mean_ if step.with_mean else zeros
            centre = zeros if step.mean_ is None else step.mean_
            spread = ones if step.var_ is None else np.sqrt(step.var_)
        elif isinstance(step, MinMaxScaler) and not step.clip:
            gain, mean = step.scale_, -step.min_ / step.scale_
            centre, spread = (step.data_max_ + step.data_min_) / 2, step.data_range_ / 2
        elif isinstance(step, MaxAbsScaler) and not getattr(step, "clip", False):
            gain, mean, centre, spread = 1 / step.scale_, zeros, zeros, step.max_abs_
        else:
            raise NotFoldableError(
                f"The step {type(step).__name__} cannot be folded into a linear head"
            )
        return replace(
            self,
            shift=mean + self.shift / gain,
            gains=self.gains * gain,
            centre=centre,
            spread=spread,
        )

    def _widened(self, kept: Array) -> ScaledHead:
        """On all neurons, reading only the kept ones."""

        def wide(array: Array, fill: float) -> Array:
            full = np.full((*array.shape[:-1], len(kept)), fill, dtype=array.dtype)
            full[..., kept] = array
            return full

        return replace(
            self,
            head=LinearHead(wide(self.head.coef, 0), self.head.intercept, self.head.classes),
            shift=wide(self.shift, 0),
            gains=wide(self.gains, 1),
            centre=wide(self.centre, 0),
            spread=wide(self.spread, 1),
        )

    def rounded_shift(self) -> tuple[Array, LinearHead]:
        """The shift in float32, and the head with what rounding took off the shift."""
        shift = self.shift.astype(np.float32)
        rest = self.gains * (self.shift - shift)
        return shift, LinearHead(
            self.head.coef, self.head.intercept - self.head.coef @ rest, self.head.classes
        )


def flat_steps(estimator: Any) -> list[Any]:
    """Steps of a pipeline, with those of pipelines and finished searches in it."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    return [inner for step in steps for inner in flat_steps(step)]
