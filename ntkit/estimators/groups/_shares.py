"""How common an attribute's values are in each class, and what that says of every sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["shares_of", "with_shares"]

Array = NDArray[Any]
_MAX_ITER = 500
_TOL = 1e-8


def shares_of(p: Array, known: Array, weight: Array, possible: Array) -> Array:
    r"""Shares of the values among samples of one class, by expectation-maximisation.

    .. math::

        q_{na} \propto \pi_a p_{na} , \qquad
        \pi_a = \frac{1 + \sum_n w_n q_{na}}{A + \sum_n w_n} ,

    where p are probabilities under equal shares, and q is one and zeros where the value is known
    (Saerens, Latinne and Decaestecker, Neural Computation 14, 2002).

    Parameters
    ----------
    p : ndarray of shape (N, A)
        Probabilities of the values under equal shares.
    known : ndarray of int, shape (N,)
        The value, -1 where it is not known.
    weight : ndarray of shape (N,)
        Weights.
    possible : ndarray of bool, shape (A,)
        Values that occur in the class at all.

    Returns
    -------
    ndarray of shape (A,)

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.estimators.groups._shares import shares_of
    >>> p = np.repeat([[0.99, 0.01], [0.01, 0.99]], [900, 100], axis=0)
    >>> shares_of(p, np.full(1000, -1), np.ones(1000), np.array([True, True])).round(2)
    array([0.91, 0.09])
    """
    is_known = known >= 0
    own = np.bincount(known[is_known], weights=weight[is_known], minlength=p.shape[1])
    p, weight, total = p[~is_known], weight[~is_known], weight.sum()
    shares = possible / possible.sum()
    for _ in range(_MAX_ITER):
        q = p * shares
        q /= np.maximum(q.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        new = possible * (1 + own + weight @ q) / (possible.sum() + total)
        change = np.abs(new - shares).max()
        shares = new
        if change < _TOL:
            break
    return np.asarray(shares)


def with_shares(p: Array, shares: Array, strength: float) -> Array:
    """Probabilities (N, A) by shares (A,), of which a power of ``strength`` counts."""
    q = p * shares**strength * (shares > 0)
    total = q.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, q / np.where(total > 0, total, 1), shares / shares.sum()))
