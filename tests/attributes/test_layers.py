"""Layers as attributes: channels, directions, clusters; the same each time, and none of noise."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit.attributes.activations import layers
from ntkit.attributes.feature_set import Rule, array
from ntkit.exceptions import InputError

RNG = np.random.default_rng(0)
N = 600
KIND = RNG.integers(0, 3, N)
CENTRES = 6 * RNG.normal(size=(3, 8))
X = CENTRES[KIND] + RNG.normal(size=(N, 8))


def attributes(feature_set):
    return {
        name: block.column(i)
        for block in feature_set.blocks()
        for i, name in enumerate(block.names)
    }


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
    rule = layers({"a": X}).rule("layer:a #3 deviation high")
    with pytest.raises(InputError, match="reads column 7 of 'a', which has 4"):
        rule.values(X[:, :4])


# -- read from other samples --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rules_read_what_the_view_did_and_go_through_json(dtype):
    constant = np.full((N, 2), 3.0)  # a channel that never varies, among others
    layer = np.concatenate([X[:, :4], constant, np.round(X[:, 4:]), constant], axis=1).astype(dtype)
    feature_set = layers({"relu_1": X.astype(dtype), "relu_2": layer}, random_state=1)
    found = attributes(feature_set)
    kinds = {name.split(" ")[1].partition("#")[0] for name in found}
    assert kinds == {"", "direction", "cluster"}
    for name, values in found.items():
        rule = feature_set.rule(name)
        assert rule is not None
        again = Rule.from_dict(json.loads(json.dumps(rule.as_dict())))
        own = {"relu_1": X.astype(dtype), "relu_2": layer}[rule.layer]
        assert np.array_equal(rule.values(own), values), name
        assert np.array_equal(again.values(own), values), name
        assert np.array_equal(again.values(own[::-1][:7]), values[::-1][:7])


def test_columns_of_a_matrix_have_rules_and_other_names_have_none():
    feature_set = array(X, kind="embedding")
    for name, values in attributes(feature_set).items():
        assert np.array_equal(feature_set.rule(name).values(X), values)
    assert feature_set.rule("embedding #9 high") is None
    assert feature_set.rule("word:film") is None
    for name in ("layer:b #0 mean high", "layer:a cluster", "layer:a #0 high", "layer:a"):
        assert layers({"a": X}).rule(name) is None


RULE = {
    "layer": "a",
    "columns": [0, 2],
    "weights": [[1.0, 2], [0, 1]],
    "offsets": [0.0, 1],
    "which": 1,
}


@pytest.mark.parametrize(
    "other",
    [
        {"columns": []},
        {"columns": [0, -1]},
        {"columns": [0, 1.5]},
        {"columns": [0, 10**30]},
        {"weights": [[1, 2], [3]]},
        {"weights": [[1, 2]]},
        {"weights": [[1, float("nan")], [0, 1]]},
        {"weights": [["1", "2"], [0, 1]]},
        {"offsets": [0.0, float("inf")]},
        {"which": 2},
        {"which": True},
        {"layer": 3},
    ],
)
def test_what_is_no_rule(other):
    assert Rule.from_dict(RULE) is not None
    assert Rule.from_dict(RULE | other) is None
    assert Rule.from_dict([RULE]) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda some: st.lists(some, max_size=3),
    max_leaves=6,
)


@pytest.mark.more
@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(RULE, JSON)))
def test_whatever_stands_in_a_file_is_a_rule_or_none(other):
    rule = Rule.from_dict(RULE | other)
    if rule is not None:
        width = min(int(rule.columns.max()), 1000) + 1
        with suppress(InputError):
            assert set(rule.values(np.ones((2, width))).tolist()) <= {0, 1}
