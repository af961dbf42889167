"""A head for another body: the logits it had, from embeddings that have moved a little."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_array

from ntkit.exceptions import InputError
from ntkit.head import LinearHead

_PENALTIES = 10.0 ** np.arange(-6, 2)


def match_head(head: LinearHead, X: ArrayLike, X_before: ArrayLike) -> LinearHead:
    r"""Fit the head whose logits on new embeddings are nearest those of the old head on the old.

    For a body that was quantised, pruned or converted: its embeddings are near the old ones, but
    not the same, and a head that was made for the old ones is a little off. No labels are needed,
    and what the old head had learned, or unlearned, stays.

    .. math::
        \min_{\Delta, \beta} \; \sum_n \| (W + \Delta) x_n + b + \beta - (W x'_n + b) \|^2
        + \alpha \| \Delta S \|^2

    with :math:`x'` the old embeddings and S the neurons' standard deviations, so that the penalty
    pulls towards the old head; :math:`\alpha` is chosen by the leave-one-out error. With
    :math:`\Delta = 0` it is the correction of the bias that Nagel et al. describe (section 4.2).

    Parameters
    ----------
    head : LinearHead
        The head that was made for ``X_before``.
    X : array-like of shape (N, D)
        Embeddings by the new body; some hundred samples suffice where D is a few hundred.
    X_before : array-like of shape (N, D)
        Embeddings of the same samples by the old one.

    Returns
    -------
    LinearHead
        For the new body; same classes, same number of logits.

    Raises
    ------
    InputError
        If the two do not have a row for each of the same samples, or not the head's width.
    ValueError
        If they are not finite, or fewer than two rows.

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
            f"X and X_before are embeddings of the same samples, (N, {head.n_neurons}) as the head "
            f"reads them; got {now.shape} and {before.shape}."
        )
    missing = _columns(head, before) - _columns(head, now)
    scaler = StandardScaler().fit(now)
    ridge = RidgeCV(alphas=len(now) * _PENALTIES).fit(scaler.transform(now), missing)
    step = LinearHead(
        np.reshape(ridge.coef_, head.coef.shape), np.ravel(ridge.intercept_), head.classes
    ).scaled(1 / scaler.scale_, scaler.mean_)
    return replace(head, coef=head.coef + step.coef, intercept=head.intercept + step.intercept)


def _columns(head: LinearHead, Z: NDArray[Any]) -> NDArray[Any]:
    """Logits, one column each."""
    return np.asarray(head.decision_function(Z)).reshape(len(Z), -1)
