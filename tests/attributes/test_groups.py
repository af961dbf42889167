"""Groups: class × sides, whatever their number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkit.attributes import Attribute
from ntkit.estimators import DFRClassifier
from ntkit.exceptions import InputError


def crossed(y, attributes):
    first, *others = (Attribute.from_labels(name, values) for name, values in attributes.items())
    return first.crossed(y, *others).labels


labels = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1)


@given(labels)
def test_same_group_means_same_labels(rows):
    y, a, b = zip(*rows, strict=True)
    groups = crossed(y, {"a": a, "b": b})
    for i, row in enumerate(rows):
        for j, other in enumerate(rows):
            assert (groups[i] == groups[j]) == (row == other)


def test_many_attributes():
    rng = np.random.default_rng(0)
    sides = rng.integers(0, 10, (40, 50))
    groups = crossed(rng.integers(0, 2, 50), {str(i): s for i, s in enumerate(sides)})
    assert len(np.unique(groups)) == 50


def test_dfr_takes_them():
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, (2, 200))
    X = np.column_stack([y + 0.3 * rng.normal(size=200), a])
    groups = crossed(y, {"a": np.array(["film", "movie"])[a]})
    assert DFRClassifier().fit(X, y, groups=groups).score(X, y) > 0.8


def test_what_makes_no_groups():
    with pytest.raises(InputError, match="attribute 'a' has 1 labels"):
        crossed([0, 1], {"a": [1]})
    with pytest.raises(InputError, match="the same name"):
        crossed(["a", "a × b"], {"x": ["b × c", "c"]})
