"""LEACEClassifier against the theorem: what is erased, what is kept, and how it folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from ntkit import LinearHead
from ntkit.estimators import LEACEClassifier, retrain_head
from ntkit.exceptions import SuppressionWarning


def data(seed=0, n=400, width=6, n_concepts=2, n_classes=2, dtype=np.float64):
    """Classes and a correlated concept, both encoded in correlated neurons."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    concepts = np.where(rng.random(n) < 0.7, y % n_concepts, rng.integers(0, n_concepts, n))
    mixing = rng.normal(size=(width, width))
    source = np.column_stack([np.eye(n_classes)[y], 2 * np.eye(n_concepts)[concepts]])
    X = source @ rng.normal(size=(n_classes + n_concepts, width))
    return (X + 5 + rng.normal(size=(n, width)) @ mixing).astype(dtype), y, concepts


def means(Z, labels, weight=None):
    weight = np.ones(len(Z)) if weight is None else weight
    return np.array([
        np.average(Z[labels == c], axis=0, weights=weight[labels == c]) for c in np.unique(labels)
    ])  # fmt: skip


@given(st.integers(0, 10_000), st.sampled_from([2, 3]), st.sampled_from(["auto", 0.0, 0.3, 1.0]))
@settings(max_examples=8, deadline=None)
def test_no_linear_classifier_finds_the_concept(seed, n_concepts, shrinkage):
    X, y, concepts = data(seed, n_concepts=n_concepts)
    weight = np.random.default_rng(seed).integers(1, 4, len(y)).astype(float)
    clf = LEACEClassifier(shrinkage=shrinkage).fit(X, y, weight, concepts=concepts)
    Z = clf.erase(X)
    assert np.allclose(means(Z, concepts, weight), np.average(X, axis=0, weights=weight), atol=1e-8)
    assert np.allclose(clf.eraser_ @ clf.eraser_, clf.eraser_, atol=1e-8)
    assert clf.rank_ == n_concepts - 1 == np.linalg.matrix_rank(np.eye(6) - clf.eraser_, tol=1e-6)
    probe = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    probe.fit(Z, concepts, sample_weight=weight)
    shares = np.bincount(concepts, weights=weight) / weight.sum()
    assert np.allclose(probe.predict_proba(Z), shares, atol=1e-3)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_it_is_the_formula_of_the_paper(shrinkage):
    X, y, concepts = data(1, n_concepts=3)
    clf = LEACEClassifier(shrinkage=shrinkage).fit(X, y, concepts=concepts)
    centered = X - X.mean(axis=0)
    covariance = (1 - shrinkage) * centered.T @ centered / len(X)
    covariance += shrinkage * X.var(axis=0).mean() * np.eye(6)
    root = sqrtm(covariance).real
    whitening = np.linalg.inv(root)
    cross = centered.T @ (np.eye(3)[concepts] - np.eye(3)[concepts].mean(axis=0)) / len(X)
    image = whitening @ cross
    projection = root @ (image @ np.linalg.pinv(image)) @ whitening
    assert np.allclose(clf.eraser_, np.eye(6) - projection, atol=1e-8)
    assert clf.shrinkage_ == shrinkage


@given(st.integers(0, 10_000))
@settings(max_examples=3, deadline=None)
def test_an_independent_concept_leaves_everything_as_it_is(seed):
    X, y, _ = data(seed, n=100)
    X, y, concepts = np.vstack([X, X]), np.append(y, y), np.repeat(["a", "b"], 100)
    clf = LEACEClassifier(tol=1e-10).fit(X, y, concepts=concepts)
    assert clf.rank_ == 0
    assert np.array_equal(clf.erase(X), X) or np.allclose(clf.erase(X), X, rtol=1e-14)
    assert np.array_equal(clf.eraser_, np.eye(6))
    assert np.allclose(clf.coef_, retrain_head(X, y, tol=1e-10).coef, atol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_head_reads_raw_embeddings_as_it_would_erased_ones(n_classes):
    X, y, concepts = data(3, n_classes=n_classes)
    clf = LEACEClassifier(C=0.2, tol=1e-10).fit(X, y, concepts=concepts)
    Z = clf.erase(X)
    head = retrain_head(Z, y, C=0.2, tol=1e-10)
    assert np.allclose(clf.decision_function(X), head.decision_function(Z), atol=1e-6)
    assert np.allclose(clf.decision_function(X), clf.decision_function(Z), atol=1e-8)


def test_without_concepts_the_cross_fitted_errors_are_erased():
    X, y, _ = data(5)
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    clf = LEACEClassifier(identification=folds, tol=1e-8).fit(X, y)
    lr = LogisticRegression(tol=1e-10, max_iter=5000)
    wrong = cross_val_predict(lr, X, y, cv=folds) != y
    assert clf.n_errors_.tolist() == [(wrong & (y == c)).sum() for c in (0, 1)]
    assert np.allclose(np.diff(means(clf.erase(X), wrong), axis=0), 0, atol=1e-8)
    assert clf.concepts_.tolist() == [False, True]


def test_without_concepts_an_identification_set_or_a_given_head_serves():
    X, y, _ = data(6, n=800)
    X, X_val, y, y_val = X[:400], X[400:], y[:400], y[400:]
    clf = LEACEClassifier().fit(X, y, X_val=X_val, y_val=y_val)
    wrong = clf.erm_head_.predict(X_val) != y_val
    assert np.allclose(np.diff(means(clf.erase(X_val), wrong), axis=0), 0, atol=1e-8)

    head = LinearHead([[1.0, 0, 0, 0, 0, 0]], [-5.0], [0, 1])
    clf = LEACEClassifier(head=head).fit(X, y)
    wrong = head.predict(X) != y
    assert clf.n_errors_.sum() == wrong.sum()
    assert np.allclose(np.diff(means(clf.erase(X), wrong), axis=0), 0, atol=1e-8)


def test_float32_wide_and_constant_neurons():
    X, y, concepts = data(9, n=50, width=120, dtype=np.float32)
    X[:, 3] = 1.0
    for shrinkage in ("auto", 0.0):
        clf = LEACEClassifier(shrinkage=shrinkage).fit(X, y, concepts=concepts)
        assert clf.coef_.dtype == clf.intercept_.dtype == clf.erase(X).dtype == np.float32
        assert np.allclose(np.diff(means(clf.erase(X), concepts), axis=0), 0, atol=1e-4)
    assert 0 < LEACEClassifier().fit(X, y, concepts=concepts).shrinkage_ <= 1


def test_nothing_misclassified_erases_nothing_and_says_so():
    y = np.arange(40) % 2
    X = np.column_stack([8.0 * y, np.arange(40) % 3])
    with pytest.warns(SuppressionWarning, match="nothing is erased"):
        clf = LEACEClassifier(random_state=0).fit(X, y)
    assert np.array_equal(clf.eraser_, np.eye(2))
    assert clf.n_errors_.tolist() == [0, 0]
