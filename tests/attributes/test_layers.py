"""Layers as attributes: channels, directions, clusters; the same each time, and none of noise."""

import numpy as np
import pytest

from ntkit.attributes import array, layers
from ntkit.exceptions import InputError

RNG = np.random.default_rng(0)
N = 600
KIND = RNG.integers(0, 3, N)
CENTRES = 6 * RNG.normal(size=(3, 8))
X = CENTRES[KIND] + RNG.normal(size=(N, 8))


def attributes(view):
    return {name: block.column(i) for block in view.blocks() for i, name in enumerate(block.names)}


def test_clusters_are_the_kinds_there_are():
    found = attributes(layers({"relu_1": X}))
    clusters = np.stack([v for name, v in found.items() if " cluster " in name])
    assert (clusters.sum(axis=0) == 1).all()
    for cluster in clusters.astype(bool):  # eight for three kinds: none mixes two
        assert np.bincount(KIND[cluster], minlength=3).max() == cluster.sum()
    sizes = clusters.sum(axis=1)
    assert (np.diff(sizes) <= 0).all()


def test_channels_are_quarters_by_name():
    found = attributes(layers({"relu_1": X, "relu_2": X[:, ::-1]}))
    plain = attributes(array(X, kind="x"))
    assert (found["layer:relu_1 #3 mean high"] == plain["x #3 high"]).all()
    assert (found["layer:relu_1 #3 deviation low"] == plain["x #7 low"]).all()
    assert (found["layer:relu_2 #0 mean high"] == plain["x #7 high"]).all()


def test_directions_are_principal_components():
    values = X * 10.0 ** np.arange(8)  # the scale of a channel says nothing
    found = attributes(layers({"a": values}))
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    first = scaled @ np.linalg.svd(scaled, full_matrices=False)[2][0]
    high = found["layer:a direction 1 above the median"]
    agree = (high == (first >= np.median(first))).mean()
    assert max(agree, 1 - agree) > 0.99


@pytest.mark.parametrize("width", [8, 80])
def test_the_same_each_time(width):
    values = RNG.normal(size=(N, width))
    one, two = (attributes(layers({"a": values}, random_state=1)) for _ in range(2))
    assert one.keys() == two.keys()
    assert all((one[name] == two[name]).all() for name in one)


def test_nothing_to_see():
    assert attributes(layers({"a": np.ones((N, 4))})) == {}
    assert attributes(layers({"a": np.ones((1, 4))})) == {}
    assert layers({}).n_samples == 0


def test_layers_never_act_alone():
    view = layers({"a": X})
    assert (view.exact, view.alone) == (False, False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((N, 3)), "means of the channels"),
        (np.ones(N), "must be a matrix"),
        (np.full((N, 2), np.nan), "NaN or infinite"),
        (np.full((N, 2), "a"), "must be a matrix"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        layers({"a": given})
    with pytest.raises(InputError, match="samples"):
        layers({"a": X, "b": X[1:]})
