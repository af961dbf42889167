"""EVaLSClassifier: selection, L1 heads and choice, each against an independent computation."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ntkit.estimators._evals import EVaLSClassifier
from tests.estimators import samples


def data(seed=0, per_class=60, width=6, n_classes=2, dtype=np.float64):
    """Balanced classes with a correlated attribute, not standardised."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(n_classes), per_class))
    attribute = np.where(rng.random(len(y)) < 0.8, y, rng.integers(0, n_classes, len(y)))
    source = np.column_stack([np.eye(n_classes)[y], 2 * np.eye(n_classes)[attribute]])
    X = source @ rng.normal(size=(2 * n_classes, width)) + rng.normal(size=(len(y), width))
    return (3 + 2 * X).astype(dtype), y


def both_ends(head, X, y, k):
    loss = -np.log(head.predict_proba(X)[np.arange(len(y)), y])
    chosen = []
    for label in np.unique(y):
        members = sorted(np.flatnonzero(y == label), key=lambda i: loss[i])
        chosen += members[:k] + members[-k:]
    return np.array(sorted(chosen))


def correctness_group_accuracy(hit, y, wrong):
    """Accuracy over each class × correctness group."""
    cells = [[hit[(y == c) & (wrong == w)] for w in (0, 1)] for c in np.unique(y)]
    return np.array([[cell.mean() if len(cell) else np.nan for cell in row] for row in cells])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_whole_method(n_classes):
    X, y = data(n_classes=n_classes)
    head = samples.random_head(n_classes - (n_classes == 2), bias=False)
    exact = {"head": head, "tol": 1e-8, "max_iter": 50_000, "random_state": 0}
    # With k capped at half a class every sample for retraining is selected.
    half = EVaLSClassifier(n_selected=(10_000,), Cs=(0.1,), **exact).fit(X, y).selected_
    assert np.bincount(y[half]).tolist() == [30] * n_classes
    rest = np.setdiff1d(np.arange(len(y)), half)

    ks, Cs = (5, 12), (0.2, 0.4, 1.0)
    clf = EVaLSClassifier(n_selected=ks, Cs=Cs, **exact).fit(X, y)
    wrong = head.predict(X) != y
    scaler = StandardScaler().fit(X[half])
    tried, solver = [], "liblinear" if n_classes == 2 else "saga"
    for k in ks:
        selected = half[both_ends(head, X[half], y[half], k)]
        for C in Cs:
            lr = LogisticRegression(C=C, l1_ratio=1, solver=solver, tol=1e-8, max_iter=50_000)
            lr.set_params(random_state=1).fit(scaler.transform(X[selected]), y[selected])
            hit = lr.predict(scaler.transform(X[rest])) == y[rest]
            accuracy = correctness_group_accuracy(hit, y[rest], wrong[rest])
            score = (np.nanmin(accuracy), np.nanmean(accuracy))
            tried.append((score, k, C, selected, accuracy, lr))
    found = [(c["worst"], c["mean"]) for c in clf.candidates_]
    assert np.allclose(found, [score for score, *_ in tried])
    _, k, C, selected, accuracy, lr = max(tried, key=lambda t: (t[0], -t[1], -t[2]))
    assert (clf.n_selected_, clf.C_) == (k, C)
    assert np.array_equal(clf.selected_, selected)
    assert np.allclose(clf.environment_accuracy_, accuracy, equal_nan=True)
    assert np.allclose(clf.predict_proba(X), lr.predict_proba(scaler.transform(X)), atol=1e-4)


def test_too_few_samples_to_split_serve_as_both_halves():
    X, y = data(per_class=5)
    X, y = np.vstack([X[y == 0], X[y == 1][:1]]), np.array([0] * 5 + [1])
    clf = EVaLSClassifier(random_state=0).fit(X, y)
    assert clf.n_selected_ == 1
    assert set(y[clf.selected_]) == {0, 1}


def test_only_the_chosen_fit_has_to_converge():
    X, y = data(n_classes=3)
    head = samples.random_head(3, bias=False)
    with pytest.warns(ConvergenceWarning, match=r"chosen head \(C=1.0\)"):
        EVaLSClassifier(Cs=(1.0,), tol=1e-9, max_iter=15, head=head).fit(X, y)
