"""What "auto" makes of attributes: it acts on a planted one alone, and balances what it is told."""

import numpy as np
import pytest
from scipy import sparse
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


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_a_planted_attribute_is_acted_on(kind):
    X, y, A, a = planted(0)
    names = [f"word:{j}" for j in range(40)]
    without = AutoDebiasClassifier(recipe="class-balanced", random_state=0).fit(X, y)
    clf = AutoDebiasClassifier(random_state=0).fit(X, y, attributes=kind(A), attribute_names=names)
    assert clf.recipe_ == "group-balanced"
    assert clf.attribute_ == "word:7"
    assert "'word:7' goes with class" in clf.reason_
    assert (clf.sides_[:, 0] == a).all()
    assert worst_group(clf) > worst_group(without) + 0.1


def test_a_held_out_set_and_what_is_not_known():
    X, y, A, _ = planted(1)
    A[::3, 7] = -1
    clf = AutoDebiasClassifier(random_state=0)
    clf.fit(
        X[:1000],
        y[:1000],
        X_val=X[1000:],
        y_val=y[1000:],
        attributes=A[:1000],
        attributes_val=A[1000:],
    )
    assert clf.attribute_ == "attribute 7"
    assert (clf.sides_[:, 0] == A[:, 7]).all()


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_nothing_is_acted_on_where_there_is_no_shortcut(noise):
    acted = 0
    for seed in range(6):
        X, y, A, _ = planted(seed, n=800, bias=0.5)
        turned = np.random.default_rng(seed).random(800) < noise
        y = np.where(turned, np.where(y == "ham", "spam", "ham"), y)
        clf = AutoDebiasClassifier(random_state=0).fit(X, y, attributes=A)
        plain = AutoDebiasClassifier(random_state=0).fit(X, y)
        acted += clf.attribute_ is not None
        assert (clf.coef_ == plain.coef_).all()
    assert acted == 0


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
    # A group of one sample, and one class without a side, are no reason to fail.
    rare = np.zeros(len(y), dtype=int)
    rare[0] = 1
    AutoDebiasClassifier(recipe="group-balanced").fit(X, y, attributes=rare)
    AutoDebiasClassifier(recipe="group-balanced").fit(X, y, attributes=(y == "spam").astype(int))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({}, {"recipe": "group-balanced"}, "needs attributes"),
        ({"attributes": np.zeros((5, 1))}, {}, "one row for each of 60 samples"),
        ({"attributes": np.full((60, 1), 0.5)}, {}, "no whole numbers"),
        ({"attributes": np.full((60, 1), 2)}, {}, "other than 0 and 1"),
        ({"attributes": [["a"]] * 60}, {}, "must be numbers"),
        ({"attributes": np.eye(60), "attribute_names": ["a"]}, {}, "60 different names"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(given, options, message):
    X, y, _, _ = planted(0, n=60)
    with pytest.raises(InputError, match=message):
        AutoDebiasClassifier(**options).fit(X, y, **given)


def test_a_held_out_set_needs_its_attributes():
    X, y, A, _ = planted(0, n=60)
    with pytest.raises(InputError, match="attributes_val"):
        AutoDebiasClassifier().fit(X, y, X_val=X, y_val=y, attributes=A)
    with pytest.raises(InputError, match="40 columns and attributes_val 3"):
        AutoDebiasClassifier().fit(X, y, X_val=X, y_val=y, attributes=A, attributes_val=A[:, :3])


def test_where_a_few_words_rightly_decide_none_of_them_acts():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, 1400)
        own = rng.random((1400, 12)) < np.where(np.arange(12) % 2 == y[:, None], 0.45, 0.12)
        X = own @ rng.normal(size=(12, 16)) + 0.1 * rng.normal(size=(1400, 16))
        clf = AutoDebiasClassifier(random_state=0).fit(X, y, attributes=own)
        assert clf.attribute_ is None


def one_word(seed, evidence):
    """A word that most of a class has, embedded strongly, beside other evidence of the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 1600)
    word = rng.random(1600) < np.where(y == 1, 0.9, 0.1)
    others = rng.random((1600, 20)) < 0.3
    X = rng.normal(size=(1600, 6))
    X[:, 0] += 4 * word
    X[:, 1] += evidence * (2 * y - 1)
    return X, y, np.column_stack([word, others])


def test_a_word_that_is_all_there_is_does_not_act():
    """What balancing over it would leave is no better a model: it only errs elsewhere."""
    for seed in range(4):
        X, y, A = one_word(seed, evidence=0.0)
        assert AutoDebiasClassifier(random_state=0).fit(X, y, attributes=A).attribute_ is None
        X, y, A = one_word(seed, evidence=1.0)
        clf = AutoDebiasClassifier(random_state=0).fit(X, y, attributes=A)
        assert clf.attribute_ == "attribute 0"
        assert "raises the mean accuracy of its groups from" in clf.reason_


def test_two_that_stand_against_each_other_act_as_one():
    """Sources, say: there, less is asked, for what rightly decides is no division into kinds."""
    X, y, A, a = planted(4, strength=2.0)
    A[:, 8] = 1 - a
    clf = AutoDebiasClassifier(random_state=0).fit(X, y, attributes=A)
    assert {clf.attribute_, *clf.side_names_} == {"attribute 7", "attribute 8"}
    assert "stands against it" in clf.reason_
    assert len(np.unique(clf.sides_)) == 2
