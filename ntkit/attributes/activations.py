"""Feature sets of a network's earlier layers: channels, directions and clusters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from ntkit._key import OF_A_LAYER, Key
from ntkit._types import Array
from ntkit.attributes.feature_set import (
    Block,
    FeatureSet,
    Rule,
    common_enough,
    high_and_low,
    rule_of_column,
)
from ntkit.exceptions import InputError

EMBEDDING = "embedding"
"""Name of the layer that the head reads, in names of attributes."""
_DIRECTIONS = 8
_CLUSTERS = 8
_FITTED_ON = 10_000  # samples that clusters are fitted on
_ROWS = 4096
_CHANNEL = re.compile(r"\S+ #(\d+) (mean|deviation)")
_NEURON = re.compile(r"#(\d+)()")
_DIRECTION = re.compile(r"\S+ direction (\d+)")
_CLUSTER = re.compile(r"\S+ cluster (\d+)")


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Principal components and clusters of a layer."""

    scores: Array  # (N, K), on the components
    columns: Array  # (M,), columns that vary
    weights: Array  # (K, M), with the offsets the linear functions that give the scores
    offsets: Array  # (K,)
    numbers: Array  # (N,), index of the cluster of each sample, the largest cluster is 0
    centres: Array  # (c, K)


def layers(activations: Mapping[str, ArrayLike], *, random_state: int = 0) -> FeatureSet:
    """Feature set of layers of a network: channels, directions and clusters."""
    matrices = {name: _checked(name, X) for name, X in activations.items()}
    sizes = {len(X) for X in matrices.values()}
    if len(sizes) > 1:
        raise InputError(
            f"The layers have {sorted(sizes)} samples; pass layers of the same samples."
        )

    @cache
    def fitted(name: str) -> _Fitted:
        with threadpool_limits(1):  # next to other programs, threads only wait
            directions = _directions(matrices[name])
            return _Fitted(*directions, *_clusters(directions[0], random_state))

    def blocks() -> Iterator[Block]:
        for name, X in matrices.items():
            channels = range(X.shape[1] // 2)
            shown = [f"#{c} {what}" for what in ("mean", "deviation") for c in channels]
            yield from high_and_low(X, [f"layer:{name} {column}" for column in shown])
            of = fitted(name)
            numbered = range(1, of.scores.shape[1] + 1)
            yield from high_and_low(of.scores, [f"layer:{name} direction {k}" for k in numbered])
            kept = np.flatnonzero(common_enough(np.bincount(of.numbers), len(X)))
            if len(kept):
                names = tuple(f"layer:{name} cluster {c + 1}" for c in kept)
                yield Block(names, of.numbers[:, None] == kept)

    def rule(attribute: str) -> Rule | None:
        key = Key.of(attribute)
        layer = layer_of(key)
        if key.kind != "layer" or layer not in matrices:
            return None
        X = matrices[layer]
        if channel := _CHANNEL.fullmatch(key.what):
            return _rule_of_channel(channel, key, X, X.shape[1] // 2)
        return _fitted_rule(key, fitted(layer))

    return FeatureSet("layer", False, max(sizes, default=0), blocks, rule=rule)


def _fitted_rule(key: Key, of: _Fitted) -> Rule | None:
    """Rule for a high value along a direction, or for the nearest centre."""
    name, W, b = layer_of(key) or "", of.weights, of.offsets
    if direction := _DIRECTION.fullmatch(key.what):
        k = int(direction[1]) - 1
        cut = rule_of_column(name, k, of.scores[:, k], key.condition.strip())
        if cut is None:
            return None
        sign = cut.weights[0, 0]
        return Rule(name, of.columns, sign * W[[k]], sign * b[[k]] + cut.offsets)
    if cluster := _CLUSTER.fullmatch(key.what):
        # Of two centres, the nearer one has the larger 2 c·z − c·c.
        centres, which = of.centres, int(cluster[1]) - 1
        offsets = 2 * centres @ b - (centres**2).sum(axis=1)
        return Rule(name, of.columns, 2 * centres @ W, offsets, which)
    return None


def _checked(name: str, X: ArrayLike) -> Array:
    matrix = X if isinstance(X, np.ndarray) else np.asarray(X)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or matrix.shape[1] % 2:
        raise InputError(
            f"The layer {name!r} must be a matrix of numbers: means of the channels, then their "
            f"deviations. Got {matrix.dtype} of shape {matrix.shape}."
        )
    if not all(np.isfinite(matrix[at : at + _ROWS]).all() for at in range(0, len(matrix), _ROWS)):
        raise InputError(f"The layer {name!r} contains NaN or infinite values; leave it out.")
    return matrix


def _directions(X: Array) -> tuple[Array, Array, Array, Array]:
    """Scores, columns, weights and offsets of eight principal components at most."""
    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    non_constant = deviation > 1e-6 * np.abs(mean) + 1e-12
    if not non_constant.any() or len(X) < 2:
        nothing = np.empty((len(X), 0))
        return nothing, np.empty(0, dtype=int), nothing[:0].T, np.empty(0)
    mean, deviation = mean[non_constant], deviation[non_constant]
    parts = [slice(at, at + _ROWS) for at in range(0, len(X), _ROWS)]
    gram = np.zeros((len(mean), len(mean)))
    for part in parts:  # a copy in double precision would need twice the memory of the input
        standardised = (X[part][:, non_constant] - mean) / deviation
        gram += standardised.T @ standardised
    most = min(_DIRECTIONS, len(X) - 1, len(mean))
    if len(gram) <= 4 * most:
        axes = np.linalg.eigh(gram)[1][:, ::-1][:, :most]
    else:
        from scipy.sparse.linalg import eigsh

        start = np.random.default_rng(0).normal(size=len(gram))
        values, axes = eigsh(gram, k=most, v0=start, tol=1e-6)
        axes = axes[:, np.argsort(-values)]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(most)])
    scores = np.concatenate(
        [(X[part][:, non_constant] - mean) / deviation @ axes for part in parts]
    )
    weights = (axes / deviation[:, None]).T
    return scores, np.flatnonzero(non_constant), weights, -weights @ mean


def _clusters(directions: Array, random_state: int) -> tuple[Array, Array]:
    """Cluster of each sample (k-means of the directions), and the centres."""
    n_different = len(np.unique(directions[:_FITTED_ON], axis=0))
    if not directions.shape[1] or n_different < 2:
        alone = np.zeros((1, directions.shape[1]))
        return np.zeros(len(directions), dtype=np.int64), alone
    rng = np.random.default_rng(random_state)
    rows = rng.permutation(len(directions))[:_FITTED_ON]
    n_clusters = min(_CLUSTERS, n_different)
    from sklearn.cluster import KMeans

    fitted = KMeans(n_clusters, n_init=3, random_state=random_state).fit(directions[rows])
    numbers = fitted.predict(directions)
    order = np.argsort(-np.bincount(numbers, minlength=n_clusters), kind="stable")
    return np.argsort(order)[numbers], fitted.cluster_centers_[order]


# -- attributes of other samples, by name --------------------------------------------------------


def layer_of(name: str | Key, rule: Rule | None = None) -> str | None:
    """Layer of a network that an attribute is read from, by its name or rule; None without one."""
    key = Key.of(name)
    if key.kind not in OF_A_LAYER:
        return None
    layer = EMBEDDING if key.kind == EMBEDDING else key.what.partition(" ")[0]
    return layer if rule is None else rule.layer


def is_channel(name: str) -> bool:
    """Whether the name of a layer's attribute says how to compute it."""
    return _channel(Key.of(name)) is not None


def _channel(key: Key) -> re.Match[str] | None:
    if key.kind not in OF_A_LAYER or not key.condition:
        return None
    return (_NEURON if key.kind == EMBEDDING else _CHANNEL).fullmatch(key.what)


def layer_values(name: str, layers: Mapping[str, Array], rule: Rule | None = None) -> Array:
    """Attribute of a layer, computed by its rule or with quartiles of these samples; (N,)."""
    rule = rule or layer_rule(name, layers)
    return rule.values(_layer(name, rule.layer, layers))


def _layer(name: str, layer: str | None, layers: Mapping[str, Array]) -> Array:
    """Numbers of the layer that an attribute is read from."""
    if layer is None or layer not in layers:
        raise InputError(
            f"The layer of {name!r} does not give a row of finite numbers for each sample; name "
            "another attribute."
        )
    return layers[layer]


def layer_rule(name: str, layers: Mapping[str, Array]) -> Rule:
    """Rule of a channel or neuron, cut at a quartile of these samples."""
    key = Key.of(name)
    X, channel = _layer(name, layer_of(key), layers), _channel(key)
    if channel is None:
        raise InputError(
            f"{name!r} does not say how to compute the attribute; pass the page's answers."
        )
    channels = X.shape[1] if key.kind == EMBEDDING else X.shape[1] // 2
    if int(channel[1]) >= channels:
        raise InputError(
            f"The layer of {name!r} has {channels} channels, from #0 on; name one of them."
        )
    rule = _rule_of_channel(channel, key, X, channels)
    if rule is None:
        raise InputError(
            f"No sample has a value of {name!r}, so there is nothing to balance; name an attribute "
            "that some samples have and others do not."
        )
    return rule


def _rule_of_channel(channel: re.Match[str], key: Key, X: Array, n_channels: int) -> Rule | None:
    column = int(channel[1]) + n_channels * (channel[2] == "deviation")
    return rule_of_column(layer_of(key) or "", column, X[:, column], key.condition.strip())
