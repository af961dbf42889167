"""Heads that scalers and selectors are folded into, and heads for a changed network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_selection import SelectorMixin
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.utils.validation import check_array

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead


class NotFoldableError(InputError):
    """The estimator is not one linear head; skl2onnx may be able to convert it."""


@dataclass(frozen=True)
class ScaledHead:
    """A head that reads ``(Z - shift) * gains``, like a pipeline with scalers."""

    # `centre` and `spread` are the statistics of the first scaler about the embeddings `Z`, which
    # the `embedder` computes if there is one.

    head: LinearHead
    shift: Array
    gains: Array
    centre: Array
    spread: Array
    embedder: Any = None

    @classmethod
    def of(cls, head: LinearHead) -> ScaledHead:
        """A scaled head without any scaling."""
        zeros, ones = np.zeros(head.n_neurons), np.ones(head.n_neurons)
        return cls(head, zeros, ones, zeros, ones)

    @property
    def is_scaled(self) -> bool:
        """Whether there is any scaling to fold."""
        return bool(self.shift.any() or (self.gains != 1).any())

    def folded(self) -> LinearHead:
        """The same as one linear layer, in float64 if there is any scaling to fold."""
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
        """Extend to all neurons, of which only the kept ones are read."""

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
        """The shift in float32, and the head corrected for the rounding of the shift."""
        shift = self.shift.astype(np.float32)
        rest = self.gains * (self.shift - shift)
        return shift, LinearHead(
            self.head.coef, self.head.intercept - self.head.coef @ rest, self.head.classes
        )


def flat_steps(estimator: Any) -> list[Any]:
    """Steps of a pipeline, with those of pipelines and fitted searches inside it."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    return [inner for step in steps for inner in flat_steps(step)]


_PENALTIES = 10.0 ** np.arange(-6, 2)


def match_head(head: LinearHead, X: ArrayLike, X_before: ArrayLike) -> LinearHead:
    r"""Fit a head whose logits on new embeddings are closest to the old head's on the old ones.

    Use it after quantising, pruning or converting a network: the new embeddings are close to the
    old ones, but not equal, so the old head is slightly off. No labels are needed, and the result
    keeps what the old head has learned or unlearned.

    .. math::
        \min_{\Delta, \beta} \; \sum_n \| (W + \Delta) x_n + b + \beta - (W x'_n + b) \|^2
        + \alpha \| \Delta S \|^2

    with :math:`x'` the old embeddings and S the neurons' standard deviations, so that the penalty
    pulls towards the old head. The leave-one-out error chooses :math:`\alpha`. With
    :math:`\Delta = 0` it is the bias correction of Nagel et al. (section 4.2).

    Parameters
    ----------
    head : LinearHead
        The head for ``X_before``.
    X : array-like of shape (N, D)
        Embeddings by the new network; some hundred samples suffice if D is a few hundred.
    X_before : array-like of shape (N, D)
        Embeddings of the same samples by the old network.

    Returns
    -------
    LinearHead
        For the new network; same classes, same number of logits.

    Raises
    ------
    InputError
        If the two arrays do not have rows of the same samples, or not the head's width.
    ValueError
        If they are not finite, or have fewer than two rows.

    References
    ----------
    Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization Through Weight Equalization and
    Bias Correction. ICCV 2019, arXiv 1906.04721.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit import LinearHead
    >>> from ntkit.estimators import match_head
    >>> head = LinearHead([[1.0, -1.0]], [0.5], ["cat", "dog"])
    >>> before = np.random.default_rng(0).normal(size=(50, 2))
    >>> moved = 0.8 * before + 0.1
    >>> matched = match_head(head, moved, before)
    >>> bool(np.allclose(matched.logits(moved), head.logits(before), atol=1e-4))
    True
    """
    now, before = (
        check_array(Z, dtype=np.float64, ensure_min_samples=2, input_name=name)
        for Z, name in ((X, "X"), (X_before, "X_before"))
    )
    if now.shape != before.shape or now.shape[1] != head.n_neurons:
        raise InputError(
            f"X and X_before must be embeddings of the same samples, shape (N, {head.n_neurons}) "
            f"as the head reads them; got {now.shape} and {before.shape}."
        )
    missing = _columns(head, before) - _columns(head, now)
    scaler = StandardScaler().fit(now)
    ridge = RidgeCV(alphas=len(now) * _PENALTIES).fit(scaler.transform(now), missing)
    step = LinearHead(
        np.reshape(ridge.coef_, head.coef.shape), np.ravel(ridge.intercept_), head.classes
    ).scaled(1 / scaler.scale_, scaler.mean_)
    return replace(head, coef=head.coef + step.coef, intercept=head.intercept + step.intercept)


def _columns(head: LinearHead, Z: NDArray[Any]) -> NDArray[Any]:
    """Logits, in one column each."""
    return np.asarray(head.decision_function(Z)).reshape(len(Z), -1)
