"""Families: what says the same, what opposes it, and the sides of samples."""

import numpy as np
import pytest

from ntkit.attributes.findings._finding import (
    Family,
    families,
    led_by_names,
    sides,
    within_class_correlation,
)


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
    found = families(full, np.array(side), origins or list(map(str, range(size))))
    return [family.members for family in found]


def test_who_is_one_family():
    assert of({(0, 1): 0.9}, [0, 0, 0]) == [[0, 1], [2]]
    assert of({(0, 1): -0.6}, [0, 1]) == [[0, 1]]  # film and movie
    assert of({(0, 1): -0.6}, [0, 0]) == [[0, 1]]  # movie and movies
    assert of({(0, 1): 0.6}, [0, 1]) == [[0], [1]]  # together, but they go with other classes
    assert of({(0, 1): 0.9, (1, 2): 0.9}, [0, 0, 0]) == [[0, 1], [2]]  # of the leader alone
    assert of({(0, 1): 0.4, (0, 2): 0.0, (1, 2): 0.9}, [0, 0, 0]) == [[0, 1], [2]]
    assert of({(0, 1): -0.1}, [0, 1], ["site", "site"]) == [[0, 1]]  # of one column
    assert of({}, []) == []


def test_sides():
    film, movie, films = [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]
    values = np.array([film, movie, films], dtype=np.int8).T
    correlation = np.array([[1, -0.8, -0.2], [-0.8, 1, -0.1], [-0.2, -0.1, 1]])
    found, members = sides(values, np.array([1, 0, 1]), correlation)
    assert found.tolist() == [1, 0, 2, 0, 1]
    assert members == [[0, 2], [1]]


def test_what_goes_along_with_the_leader_does_not_widen_its_side():
    values = np.array([[0, 1, 1, 0], [1, 1, 1, 0]], dtype=np.int8).T
    found, members = sides(values, np.array([1, 1]), np.array([[1, 0.6], [0.6, 1]]))
    assert found.tolist() == [0, 1, 1, 0]
    assert members == [[0]]


def test_unknown_is_no_side():
    values = np.array([[-1, 1, -1], [-1, -1, 0]], dtype=np.int8).T
    found, _ = sides(values, np.array([1, 0]), np.array([[1, -0.6], [-0.6, 1]]))
    assert found.tolist() == [-1, 1, 0]


@pytest.mark.parametrize("n_classes", [3, 5])
def test_a_side_for_every_class(n_classes):
    """A colour for each class: as many sides."""
    colour = np.arange(n_classes * 4) % n_classes
    values = (colour[:, None] == np.arange(n_classes)).astype(np.int8)
    found, members = sides(values, np.arange(n_classes), np.corrcoef(values.T))
    assert found.tolist() == (colour + 1).tolist()
    assert members == [[c] for c in range(n_classes)]


def test_the_first_that_has_a_name_leads_its_family():
    def led(found, named, origins):
        return led_by_names([Family(f[0], f) for f in found], named, origins)

    each = ["a", "b", "c", "d"]
    assert led([[0, 2], [1, 3]], [0, 0, 1, 0], each) == [Family(1, [1, 3]), Family(2, [2, 0])]
    assert led([[0, 2], [1]], [0, 0, 0], each) == [Family(0, [0, 2]), Family(1, [1])]
    of_one = ["a", "bright", "bright"]
    assert led([[0, 2], [1]], [0, 1, 1], of_one) == [Family(1, [1, 0, 2])]
    assert led([], [], []) == []
