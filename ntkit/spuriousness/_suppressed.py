"""Which neurons a threshold on the scores suppresses."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Aggregation", "severity", "spare_neurons", "suppressed_neurons"]

Aggregation = Literal["union", "intersection", "per_class"]
Array = NDArray[Any]


def suppressed_neurons(
    scores: Array,
    *,
    threshold: float = 0.0,
    aggregation: Aggregation = "union",
    max_suppressed: float = 1.0,
    live: Array | None = None,
) -> Array:
    r"""Neurons whose score exceeds the threshold.

    ``union``: :math:`S = \{ i : \delta_i^y > \lambda \text{ for any scored class } y \}`;
    ``intersection``: for every scored class; ``per_class``: one set for each class's row of the
    head. Classes that are not scored (NaN) neither vote nor veto.

    Parameters
    ----------
    scores : ndarray of shape (C, D)
        From :func:`spuriousness_scores`.
    threshold : float
        λ, in the units of the scores.
    aggregation : {"union", "intersection", "per_class"}
        How the classes are combined.
    max_suppressed : float in [0, 1]
        Largest share of live neurons to suppress; the highest scores go first.
    live : ndarray of bool, shape (D,), optional
        Neurons that vary at all. A constant neuron is never suppressed: only the bias feels it.

    Returns
    -------
    ndarray of bool, shape (D,), or (C, D) with ``per_class``
        True for a neuron to suppress.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import suppressed_neurons
    >>> scores = np.array([[0.5, -1.0, 0.2], [-0.1, -2.0, 0.3]])
    >>> suppressed_neurons(scores)
    array([ True, False,  True])
    >>> suppressed_neurons(scores, aggregation="intersection")
    array([False, False,  True])
    >>> suppressed_neurons(scores, max_suppressed=0.34)
    array([ True, False, False])
    """
    live = np.ones(scores.shape[1], dtype=bool) if live is None else live
    compared = severity(scores, aggregation)
    flagged = (compared > threshold) & live
    if max_suppressed < 1:
        most = int(max_suppressed * live.sum())
        ranked = np.argsort(np.where(flagged, -compared, np.inf), axis=-1, kind="stable")
        top = np.zeros_like(flagged)
        np.put_along_axis(top, ranked[..., :most], True, axis=-1)
        flagged &= top
    return np.asarray(flagged)


def spare_neurons(
    suppressed: Array,
    scores: Array,
    *,
    aggregation: Aggregation = "union",
    min_neurons: int = 1,
    live: Array | None = None,
) -> Array:
    """Take neurons out of a mask until at least ``min_neurons`` live ones are kept.

    The neurons with the smallest scores are spared first, so the head never becomes constant.

    Parameters
    ----------
    suppressed : ndarray of bool, shape (D,) or (C, D)
        From :func:`suppressed_neurons`.
    scores : ndarray of shape (C, D)
        As there.
    aggregation : {"union", "intersection", "per_class"}
        As there.
    min_neurons : int
        Live neurons to keep (all of them, where there are fewer).
    live : ndarray of bool, shape (D,), optional
        As there.

    Returns
    -------
    ndarray of bool, the shape of ``suppressed``
        The mask that is left.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import spare_neurons
    >>> spare_neurons(np.array([True, True, True]), np.array([[0.5, 0.1, 0.2]]))
    array([ True, False,  True])
    """
    live = np.ones(scores.shape[1], dtype=bool) if live is None else live
    compared = np.broadcast_to(severity(scores, aggregation), suppressed.shape)
    spared = np.atleast_2d(suppressed.copy())
    for row, rank in zip(spared, np.atleast_2d(compared), strict=True):
        missing = min(min_neurons, int(live.sum())) - int((live & ~row).sum())
        if missing > 0:
            candidates = np.flatnonzero(row & live)
            row[candidates[np.argsort(rank[candidates], kind="stable")[:missing]]] = False
    return spared.reshape(suppressed.shape)


def severity(scores: Array, aggregation: str) -> Array:
    """Score that is compared with λ: (D,), or (C, D) per class; -inf where nothing is scored."""
    scored = np.asarray(~np.isnan(scores).all(axis=1))
    if aggregation == "per_class":
        return np.where(scored[:, None], scores, -np.inf)
    if not scored.any():
        return np.full(scores.shape[1], -np.inf)
    combine = np.min if aggregation == "intersection" else np.max
    return np.asarray(combine(scores[scored], axis=0))
