"""Families: what says the same, what opposes it, and the sides of samples."""

import numpy as np

from ntkit.attributes.findings._finding import families, within_class_correlation


def test_correlation_is_numpys_within_one_class():
    rng = np.random.default_rng(0)
    values = (rng.random((500, 4)) < 0.4).astype(np.int8)
    found = within_class_correlation(values, np.zeros(500, dtype=int), np.ones(500))
    np.testing.assert_allclose(found, np.corrcoef(values.T), atol=1e-12)


def test_going_with_the_same_class_is_no_likeness():
    """A shortcut and what the class is about, each 95 % of the class, independent within it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20_000)
    values = (rng.random((20_000, 2)) < np.where(y, 0.95, 0.05)[:, None]).astype(np.int8)
    assert np.corrcoef(values.T)[0, 1] > 0.7
    assert abs(within_class_correlation(values, y, np.ones(len(y)))[0, 1]) < 0.03


def test_constant_and_unknown():
    values = np.array([[1, 1, -1], [1, 0, -1], [1, 1, -1], [1, 0, -1]], dtype=np.int8)
    found = within_class_correlation(values, np.zeros(4, dtype=int), np.ones(4))
    np.testing.assert_allclose(found, np.diag([0, 1, 0]), atol=1e-12)


def of(correlation, side, origins=None):
    size = len(side)
    full = np.eye(size)
    for (i, j), value in correlation.items():
        full[i, j] = full[j, i] = value
    return families(full, np.array(side), origins or list(map(str, range(size))))


def test_who_is_one_family():
    assert of({(0, 1): 0.9}, [0, 0, 0]) == [[0, 1], [2]]
    assert of({(0, 1): -0.6}, [0, 1]) == [[0, 1]]  # film and movie
    assert of({(0, 1): -0.6}, [0, 0]) == [[0, 1]]  # movie and movies
    assert of({(0, 1): 0.6}, [0, 1]) == [[0], [1]]  # together, but they go with other classes
    assert of({(0, 1): 0.9, (1, 2): 0.9}, [0, 0, 0]) == [[0, 1], [2]]  # of the leader alone
    assert of({(0, 1): 0.4, (0, 2): 0.0, (1, 2): 0.9}, [0, 0, 0]) == [[0, 1], [2]]
    assert of({(0, 1): -0.1}, [0, 1], ["site", "site"]) == [[0, 1]]  # of one column
    assert of({}, []) == []
