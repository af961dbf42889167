"""Attributes that "auto" is told: balanced over as scikit-learn would, or refused in a sentence."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ntkit.estimators import AutoDebiasClassifier
from ntkit.exceptions import InputError
from ntkit.study import group_balanced


def planted(seed, n=1600, bias=0.95, strength=3.0):
    """Embeddings of a weak class and a strong shortcut; the shortcut among 40 random attributes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < bias, y, 1 - y)
    X = rng.normal(size=(n, 8))
    X[:, 0] += 1.2 * (2 * y - 1)
    X[:, 1] += strength * (2 * a - 1)
    A = (rng.random((n, 40)) < 0.3).astype(int)
    A[:, 7] = a
    return X, np.array(["ham", "spam"])[y], A, a


def worst_group(clf, seed=99):
    X, y, _, a = planted(seed, bias=0.5)
    right = clf.predict(X) == y
    return min(right[(y == k) & (a == v)].mean() for k in np.unique(y) for v in (0, 1))


def test_named_attributes_are_balanced_as_scikit_learn_would():
    X, y, _, a = planted(2, n=600)
    clf = AutoDebiasClassifier(recipe="group-balanced", alphas=[0.1], tol=1e-10)
    clf.fit(X, y, attributes=a)
    y_index = (y == "spam").astype(int)
    weight = group_balanced(np.ones(600), y_index, a[:, None])
    mass = [weight[(y_index == k) & (a == v)].sum() for k in (0, 1) for v in (0, 1)]
    assert np.ptp(mass) < 1e-9
    Z = X / X.std(axis=0)
    other = LogisticRegression(C=1 / 60, tol=1e-10, max_iter=10_000)
    other.fit(Z, y, sample_weight=weight)
    assert clf.coef_ * X.std(axis=0) == pytest.approx(other.coef_, abs=1e-5)
    assert clf.reason_.startswith("You named the attributes")


def test_several_attributes_of_several_values_some_of_them_unknown():
    X, y, _, a = planted(3)
    site = np.random.default_rng(0).integers(0, 4, len(y))
    named = np.column_stack([np.where(np.arange(len(y)) % 5, a, -1), site])
    clf = AutoDebiasClassifier(recipe="group-balanced", random_state=0).fit(X, y, attributes=named)
    plain = AutoDebiasClassifier(recipe="class-balanced", random_state=0).fit(X, y)
    assert worst_group(clf) > worst_group(plain) + 0.1
    # A group of one sample, and a class without a value, do not cause a failure.
    rare = np.zeros(len(y), dtype=int)
    rare[0] = 1
    AutoDebiasClassifier(recipe="group-balanced").fit(X, y, attributes=rare)
    AutoDebiasClassifier(recipe="group-balanced").fit(X, y, attributes=(y == "spam").astype(int))


@pytest.mark.parametrize(
    ("given", "recipe", "message"),
    [
        ({}, "group-balanced", "needs attributes"),
        ({"attributes": np.zeros((5, 1))}, "group-balanced", "one row for each of 60 samples"),
        ({"attributes": np.full((60, 1), 0.5)}, "group-balanced", "not whole numbers"),
        ({"attributes": [["a"]] * 60}, "group-balanced", "must be numbers"),
        ({"attributes": np.zeros((60, 1))}, "auto", "recipe='group-balanced'"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(given, recipe, message):
    X, y, _, _ = planted(0, n=60)
    with pytest.raises(InputError, match=message):
        AutoDebiasClassifier(recipe=recipe).fit(X, y, **given)


def test_a_held_out_set_needs_its_attributes():
    X, y, A, _ = planted(0, n=60)
    clf = AutoDebiasClassifier(recipe="group-balanced")
    with pytest.raises(InputError, match="attributes_val"):
        clf.fit(X, y, X_val=X, y_val=y, attributes=A)
    with pytest.raises(InputError, match="40 columns and attributes_val 3"):
        clf.fit(X, y, X_val=X, y_val=y, attributes=A, attributes_val=A[:, :3])
