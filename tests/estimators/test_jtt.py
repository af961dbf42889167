"""JTTClassifier against scikit-learn's LogisticRegression with the published weights."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedKFold, cross_val_predict

from ntkit import LinearHead
from ntkit.estimators._jtt import JTTClassifier
from tests.estimators.samples import labelled as data


def separable(n=60):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    return np.column_stack([10 * y + rng.random(n), rng.random(n)]), y


def logistic(X, y, weight=None, **options):
    lr = LogisticRegression(tol=1e-10, max_iter=20_000, **options)
    return lr.fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("C", [0.05, 1.0])
def test_the_whole_method_with_cross_fitted_errors(n_classes, C):
    X, y = data(n_classes=n_classes)
    folds = StratifiedKFold(4, shuffle=True, random_state=1)
    clf = JTTClassifier(up_weight=20, identification=folds, C=C, tol=1e-10).fit(X, y)
    lr = LogisticRegression(C=C, tol=1e-10, max_iter=20_000)
    wrong = cross_val_predict(lr, X, y, cv=folds) != y
    assert np.array_equal(clf.error_set_, wrong)
    assert clf.n_errors_.tolist() == [(wrong & (y == c)).sum() for c in range(n_classes)]
    expected = logistic(X, y, np.where(wrong, 20, 1), C=C)
    assert np.allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-5)
    assert np.allclose(
        clf.erm_head_.predict_proba(X), logistic(X, y, C=C).predict_proba(X), atol=1e-5
    )


def test_in_sample_errors_as_published_and_those_of_a_given_head():
    X, y = data()
    clf = JTTClassifier(identification="train", tol=1e-10).fit(X, y)
    assert np.array_equal(clf.error_set_, logistic(X, y).predict(X) != y)
    head = LinearHead(np.random.default_rng(0).normal(size=(2, 6)), [0.0, 0.1], [1, 0])
    clf = JTTClassifier(head=head, up_weight=50, tol=1e-10).fit(X, y)
    wrong = head.predict(X) != y
    assert np.array_equal(clf.error_set_, wrong)
    expected = logistic(X, y, np.where(wrong, 50, 1))
    assert np.allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-5)


def test_untested_and_absent_samples_are_no_errors():
    X, y = data()
    fold = np.where(np.arange(len(y)) < 100, -1, np.arange(len(y)) % 3)
    clf = JTTClassifier(identification=PredefinedSplit(fold)).fit(X, y)
    assert clf.error_set_.any()
    assert not clf.error_set_[:100].any()
    weight = np.ones(len(y))
    weight[::2] = 0
    assert not JTTClassifier(random_state=0).fit(X, y, weight).error_set_[::2].any()


def test_class_weight_comes_before_the_errors():
    X, y = data()
    keep = (y > 0) | (np.arange(len(y)) % 3 == 0)
    X, y = X[keep], y[keep]
    clf = JTTClassifier(class_weight="balanced", random_state=0, tol=1e-10).fit(X, y)
    weight = np.where(clf.error_set_, 20, 1) * (len(y) / 2 / np.bincount(y))[y]
    assert np.allclose(clf.predict_proba(X), logistic(X, y, weight).predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({}, "lower C, or pass a head"),
        ({"identification": "train"}, "identification=5"),
        ({"head": LinearHead([[1.0, 0.0]], [-5.0], [0, 1])}, "other samples"),
    ],
)
def test_an_empty_error_set_is_said(options, fix):
    X, y = separable()
    with pytest.warns(UserWarning, match=fix):
        clf = JTTClassifier(tol=1e-10, **options).fit(X, y)
    assert not clf.error_set_.any()
    assert np.allclose(clf.predict_proba(X), logistic(X, y).predict_proba(X), atol=1e-5)
