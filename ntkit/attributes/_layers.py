"""What earlier layers of a network make of the samples: channels, directions and clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from ntkit.attributes._array import high_and_low
from ntkit.attributes._view import Block, View, common_enough
from ntkit.exceptions import InputError

__all__ = ["layers"]

Array = NDArray[Any]
_DIRECTIONS = 8
_CLUSTERS = 8
_FITTED_ON = 10_000  # samples that clusters are fitted on
_ROWS = 4096


def layers(
    activations: Mapping[str, ArrayLike], *, kind: str = "layer", random_state: int = 0
) -> View:
    """View of layers of a network: who is high in a channel, or in one of a few clusters.

    A layer gives, as :func:`array` does, three attributes for each column, ``layer:relu_2 #3 mean
    high``, and for each of the first principal components of its standardised columns,
    ``layer:relu_2 direction 1 high``; and one for each of eight clusters (k-means) in the space of
    these, ``layer:relu_2 cluster 2``, counted from the largest. All are inferred: what they stand
    for is for a person to see.

    Parameters
    ----------
    activations : mapping of str to array-like of shape (N, 2 C)
        By layer, the mean of each of its C channels over positions, then the deviation of each.
    kind : str, default="layer"
        What they are called.
    random_state : int, default=0
        Decides where clusters begin.

    Returns
    -------
    View

    Raises
    ------
    InputError
        If one is no matrix of finite numbers with an even number of columns, or lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.attributes import layers
    >>> view = layers({"relu_1": np.random.default_rng(0).normal(size=(200, 2))})
    >>> names = [name for block in view.blocks() for name in block.names]
    >>> names[0], names[3], names[6], names[-1]
    ('layer:relu_1 #0 mean low', 'layer:relu_1 #0 deviation low', 'layer:relu_1 direction 1 low',
     'layer:relu_1 cluster 8')
    """
    matrices = {name: _checked(name, X) for name, X in activations.items()}
    sizes = {len(X) for X in matrices.values()}
    if len(sizes) > 1:
        raise InputError(f"The layers have {sorted(sizes)} samples; give those of the same ones.")

    @cache
    def seen(name: str) -> tuple[Array, Array]:
        with threadpool_limits(1):  # beside other work, threads wait longer than they work
            directions = _directions(matrices[name])
            return directions, _clusters(directions, random_state)

    def blocks() -> Iterator[Block]:
        for name, X in matrices.items():
            channels = range(X.shape[1] // 2)
            shown = [f"#{c} {what}" for what in ("mean", "deviation") for c in channels]
            yield from high_and_low(X, [f"{kind}:{name} {column}" for column in shown])
            directions, clusters = seen(name)
            numbered = range(1, directions.shape[1] + 1)
            yield from high_and_low(
                directions, [f"{kind}:{name} direction {number}" for number in numbered]
            )
            yield from _of_clusters(clusters, f"{kind}:{name} cluster")

    return View(kind, False, max(sizes, default=0), blocks)


def _checked(name: str, X: ArrayLike) -> Array:
    matrix = X if isinstance(X, np.ndarray) else np.asarray(X)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or matrix.shape[1] % 2:
        raise InputError(
            f"The layer {name!r} must be a matrix of numbers, means of the channels and then their "
            f"deviations; got {matrix.dtype} of shape {matrix.shape}."
        )
    if not all(np.isfinite(matrix[at : at + _ROWS]).all() for at in range(0, len(matrix), _ROWS)):
        raise InputError(f"The layer {name!r} holds NaN or infinite values; leave it out.")
    return matrix


def _directions(X: Array) -> Array:
    """Scores on the first principal components of the standardised columns, (N, ≤ 8)."""
    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    live = deviation > 1e-6 * np.abs(mean) + 1e-12
    if not live.any() or len(X) < 2:
        return np.empty((len(X), 0))
    mean, deviation = mean[live], deviation[live]
    parts = [slice(at, at + _ROWS) for at in range(0, len(X), _ROWS)]
    gram = np.zeros((len(mean), len(mean)))
    for part in parts:  # a whole copy in double precision would be twice what is given
        standardised = (X[part][:, live] - mean) / deviation
        gram += standardised.T @ standardised
    most = min(_DIRECTIONS, len(X) - 1, len(mean))
    axes = _first_axes(gram, most)
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(most)])
    return np.concatenate([(X[part][:, live] - mean) / deviation @ axes for part in parts])


def _first_axes(gram: Array, most: int) -> Array:
    """Eigenvectors of the largest eigenvalues, as columns, the largest first."""
    if len(gram) <= 4 * most:
        return np.asarray(np.linalg.eigh(gram)[1][:, ::-1][:, :most])
    start = np.random.default_rng(0).normal(size=len(gram))
    values, axes = eigsh(gram, k=most, v0=start, tol=1e-6)
    return np.asarray(axes[:, np.argsort(-values)])


def _clusters(directions: Array, random_state: int) -> Array:
    """Number of the cluster of each sample, from 0 on, the largest first."""
    n_different = len(np.unique(directions[:_FITTED_ON], axis=0))
    if not directions.shape[1] or n_different < 2:
        return np.zeros(len(directions), dtype=np.int64)
    rng = np.random.default_rng(random_state)
    rows = rng.permutation(len(directions))[:_FITTED_ON]
    n_clusters = min(_CLUSTERS, n_different)
    fitted = KMeans(n_clusters, n_init=3, random_state=random_state).fit(directions[rows])
    found = fitted.predict(directions)
    order = np.argsort(-np.bincount(found, minlength=n_clusters), kind="stable")
    return np.asarray(np.argsort(order)[found])


def _of_clusters(clusters: Array, name: str) -> Iterator[Block]:
    counts = np.bincount(clusters)
    kept = np.flatnonzero(common_enough(counts, len(clusters)))
    if len(kept):
        names = tuple(f"{name} {c + 1}" for c in kept)
        yield Block(names, clusters[:, None] == kept)
