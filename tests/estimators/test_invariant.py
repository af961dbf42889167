"""InvariantClassifier: the stated objective, the stated choice, and copies that do not fit."""

import re

import numpy as np
import pytest
import sklearn
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ntkit.estimators import BalancedClassifier, InvariantClassifier
from ntkit.exceptions import InputError
from ntkit.study import ALPHAS, Rows, Study, group_balanced


def data(seed=0, n=240, width=5, n_classes=2, n_copies=1, share=0.7, bias=0.9):
    """Classes, a mark that is correlated with them, and copies of some samples with another."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    mark = np.where(rng.random(n) < bias, y, rng.integers(0, n_classes, n))
    X = rng.normal(size=(n, width)) * np.linspace(0.5, 3, width) + 1
    X[:, 0] += y
    X[:, 1] += 3 * mark
    copies = np.repeat(X[:, None], n_copies, axis=1) + 0.1 * rng.normal(size=(n, n_copies, width))
    copies[:, :, 1] += 3 * (rng.integers(0, n_classes, (n, n_copies)) - mark[:, None])
    copies[rng.random((n, n_copies)) > share] = np.nan
    return X, y, copies, mark


def parts_of(X, y, copies, weight, *, groups=None, originals=True):
    """Samples and copies, their labels, weights and samples, one at a time as documented."""
    n_copies = (~np.isnan(copies[:, :, 0])).sum(axis=1)
    parts = np.where(n_copies > 0, 1 + originals, 1)
    sides = np.zeros((len(y), 1), dtype=int) if groups is None else groups[:, None]
    each = group_balanced(weight * parts, y, sides) / parts
    rows = []
    for n in range(len(y)):
        if originals or not n_copies[n]:
            rows.append((X[n], y[n], each[n], n))
        for copy in copies[n][~np.isnan(copies[n, :, 0])]:
            rows.append((copy, y[n], each[n] / n_copies[n], n))
    return [np.array(part) for part in zip(*rows, strict=True)]


class Stated:
    """The optimum of the documented objective on some of the samples, by another optimiser."""

    def __init__(self, X, y, copies, weight, *, gamma, alpha, train=None, **options):
        train = np.ones(len(y), dtype=bool) if train is None else train
        self.mean = np.average(X, axis=0, weights=weight)
        self.std = np.sqrt(np.average((X - self.mean) ** 2, axis=0, weights=weight))
        Z, labels, s, of = parts_of(X, y, copies, weight, **options)
        self.Z, self.labels, self.s = (
            (Z[train[of]] - self.mean) / self.std,
            *(part[train[of]] for part in (labels, s)),
        )
        moments, total = 0, 0
        for n in np.flatnonzero(train & ~np.isnan(copies[:, :, 0]).all(axis=1)):
            change = (copies[n][~np.isnan(copies[n, :, 0])] - X[n]) / self.std
            moments = moments + weight[n] * change.T @ change / len(change)
            total += weight[n]
        self.moments, self.gamma, self.alpha = moments / total, gamma, alpha
        self.n_logits = len(np.unique(y)) if len(np.unique(y)) > 2 else 1

    def value(self, flat):
        W, b = np.split(flat.reshape(self.n_logits, -1), [self.Z.shape[1]], axis=1)
        logits = self.Z @ W.T + b.T
        if self.n_logits == 1:  # scikit-learn penalises the weights of one logit
            logits = np.hstack([0 * logits, logits])
        loss = -log_softmax(logits, axis=1)[np.arange(len(self.labels)), self.labels]
        ridge = (W**2).sum() + self.gamma * np.trace(W @ self.moments @ W.T)
        return self.s @ loss / self.s.sum() + self.alpha / 2 * ridge

    def fitted(self):
        start = np.zeros(self.n_logits * (self.Z.shape[1] + 1))
        return minimize(self.value, start, method="BFGS", options={"gtol": 1e-7})


@pytest.mark.parametrize(
    ("options", "n_classes", "n_copies", "gamma"),
    [
        ({}, 2, 1, 10.0),
        ({"originals": False}, 2, 1, 10.0),
        ({}, 3, 3, 100.0),
        ({"originals": False}, 3, 3, 1.0),
        ({"groups": True}, 2, 3, 10.0),
    ],
)
def test_the_optimum_is_that_of_the_stated_objective(options, n_classes, n_copies, gamma):
    X, y, copies, mark = data(1, n=150, n_classes=n_classes, n_copies=n_copies)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    groups = mark if options.pop("groups", False) else None
    options = {"originals": True} | options
    clf = InvariantClassifier(penalties=[gamma], alphas=[0.01], tol=1e-9, **options)
    clf.fit(X, y, weight, X_changed=copies, groups=groups)
    assert (clf.penalty_, clf.alpha_) == (gamma, 0.01)
    stated = Stated(X, y, copies, weight, gamma=gamma, alpha=0.01, groups=groups, **options)
    best = stated.fitted()
    fitted = np.column_stack([clf.coef_ * stated.std, clf.intercept_ + clf.coef_ @ stated.mean])
    assert stated.value(fitted.ravel()) == pytest.approx(best.fun, abs=1e-9)
    assert fitted[:, :-1].ravel() == pytest.approx(
        best.x.reshape(len(fitted), -1)[:, :-1].ravel(), abs=1e-4
    )


def test_without_copies_it_is_tuned_class_balanced_retraining():
    X, y, _, _ = data(2)
    clf = InvariantClassifier(random_state=0, tol=1e-10).fit(X, y)
    plain = InvariantClassifier(penalties=[0], random_state=0, tol=1e-10).fit(X, y)
    assert np.array_equal(clf.coef_, plain.coef_)
    assert (clf.scores_ == plain.scores_).all()
    assert (clf.penalty_, clf.n_copies_) == (0, 0)
    none = InvariantClassifier(random_state=0, tol=1e-10)
    none.fit(X, y, X_changed=np.full((len(y), 2, X.shape[1]), np.nan))
    assert np.array_equal(none.coef_, clf.coef_)

    scaler = StandardScaler().fit(X)
    C = 1 / (len(y) * clf.alpha_)
    balanced = BalancedClassifier(C=C, tol=1e-10).fit(scaler.transform(X), y)
    other = LogisticRegression(C=C, class_weight="balanced", tol=1e-10, max_iter=10_000)
    other.fit(scaler.transform(X), y)
    for known in (balanced, other):
        assert clf.coef_ * scaler.scale_ == pytest.approx(known.coef_, abs=1e-5)
    by_C = InvariantClassifier(C=C, tol=1e-10).fit(X, y)
    assert by_C.coef_ == pytest.approx(clf.coef_, abs=1e-8)
    assert np.isnan(by_C.scores_).all()


def test_a_shortcut_that_copies_change_is_unlearned():
    X, y, copies, _ = data(4, n=2000, bias=1.0)  # no counterexample
    X_test, y_test, _, mark = data(5, n=2000, bias=0)

    def worst(clf):
        right = clf.predict(X_test) == y_test
        return min(right[(y_test == k) & (mark == m)].mean() for k in (0, 1) for m in (0, 1))

    plain = InvariantClassifier(random_state=0).fit(X, y)
    both = InvariantClassifier(random_state=0).fit(X, y, X_changed=copies)
    assert worst(both) > worst(plain) + 0.3
    drops = [
        InvariantClassifier(penalties=[g], C=1.0).fit(X, y, X_changed=copies) for g in (0, 1e4)
    ]
    assert abs(drops[1].coef_[0, 1]) < abs(drops[0].coef_[0, 1]) / 2
    assert both.n_copies_ == (~np.isnan(copies[:, 0, 0])).sum()


@pytest.mark.more
@pytest.mark.parametrize("grouped", [False, True])
def test_the_choice_follows_its_rule(grouped):
    X, y, copies, mark = data(6, n=300, n_copies=2, bias=0.5)
    penalties, alphas, folds = [0, 10, 1000], [1.0, 0.01], np.arange(len(y)) % 4
    groups = mark if grouped else None
    clf = InvariantClassifier(
        penalties=penalties[::-1], alphas=alphas[::-1], originals=True, tol=1e-9
    )
    clf.fit(X, y, X_changed=copies, folds=folds, groups=groups)
    has = ~np.isnan(copies[:, :, 0])
    cells = [y == c for c in (0, 1)]
    if grouped:
        cells = [cell & (mark == m) for cell in cells for m in (0, 1)]
    scores, errors = np.zeros((2, 3, 2))
    for i, k in np.ndindex(3, 2):
        right, right_copy = np.zeros(len(y)), np.zeros(len(y))
        for fold in range(4):
            rule = {"gamma": penalties[i], "alpha": alphas[k], "groups": groups}
            stated = Stated(X, y, copies, np.ones(len(y)), train=folds != fold, **rule)
            *W, b = stated.fitted().x
            logit = ((X - stated.mean) / stated.std) @ W + b
            of_copies = ((copies - stated.mean) / stated.std) @ W + b
            test = folds == fold
            right[test] = ((logit > 0) == y)[test]
            hits = (has & ((of_copies > 0) == y[:, None])).sum(axis=1)
            right_copy[test] = (hits / np.maximum(1, has.sum(axis=1)))[test]
        halves = []
        for kept, value in ((has.any(axis=1) | True, right), (has.any(axis=1), right_copy)):
            shares, of_row = [], np.zeros(len(y))
            for cell in cells:
                of_cell = cell & kept
                shares.append(value[of_cell].mean())
                of_row[of_cell] += (value[of_cell] - shares[-1]) / of_cell.sum()
            halves.append((np.mean(shares), np.sqrt((of_row**2).sum()) / len(shares)))
        scores[i, k], errors[i, k] = min(halves)
    assert clf.scores_ == pytest.approx(scores, abs=1e-6)
    assert clf.score_error_ == pytest.approx(errors, abs=1e-6)
    best = np.unravel_index(scores.argmax(), scores.shape)
    good = scores.max(axis=1) >= scores[best] - errors[best]
    largest = np.flatnonzero(good)[-1]
    assert clf.penalty_ == penalties[largest]
    assert clf.alpha_ == alphas[scores[largest].argmax()]


def test_real_samples_of_complete_groups_are_fitted_unless_told_otherwise():
    X, y, copies, mark = data(20, bias=0.5)
    options = {"penalties": [1.0], "C": 1.0, "tol": 1e-10}

    def fitted(groups, **more):
        return InvariantClassifier(**options, **more).fit(X, y, X_changed=copies, groups=groups)

    few = np.where((y == 1) & (mark == 0), -1, mark)
    few[np.flatnonzero((y == 1) & (mark == 0))[:4]] = 0  # one less than enough
    some = np.where(np.arange(len(y)) % 3, mark, -1)
    for groups, expected in (
        (None, False), (np.zeros(len(y)), False), (few, False), (some, True), (mark, True),
    ):  # fmt: skip
        clf = fitted(groups)
        assert clf.originals_ is expected
        assert np.array_equal(clf.coef_, fitted(groups, originals=expected).coef_)
        other = fitted(groups, originals=not expected)
        assert other.originals_ is not expected
        assert not np.allclose(clf.coef_, other.coef_)


def test_validation_samples_only_help_to_choose():
    X, y, copies, mark = data(8, n=600)
    X_val, y_val, _, _ = data(9, n=600, bias=0)
    given = {"X_changed": copies[:, 0], "X_val": X_val, "y_val": y_val}
    clf = InvariantClassifier(random_state=0).fit(X, y, **given)
    # They are originals: turned labels make these the worse half.
    turned = InvariantClassifier(random_state=0).fit(X, y, **(given | {"y_val": 1 - y_val}))
    assert (turned.scores_ < clf.scores_).mean() > 0.5
    fixed = InvariantClassifier(penalties=[clf.penalty_], alphas=[clf.alpha_])
    assert fixed.fit(X, y, X_changed=copies).coef_ == pytest.approx(clf.coef_, abs=1e-4)
    InvariantClassifier(random_state=0).fit(X, y, groups=mark, **given)


def test_a_study_gives_copies_folds_and_values_of_all_rows():
    X, y, copies, mark = data(10, n=600)
    train, val = np.arange(400), np.arange(400, 600)
    folds = np.arange(600) % 3
    rows = [Rows.of(X[part], y[part]) for part in (train, val)]
    study = Study(*rows, mark[:, None], copies, folds)
    clf = InvariantClassifier().fit_study(study.on("both"))
    same = InvariantClassifier().fit(X, y, X_changed=copies, folds=folds, groups=mark)
    assert np.array_equal(clf.scores_, same.scores_)
    assert clf.coef_ == pytest.approx(same.coef_)
    # Copies of validation rows judge: without them it scores differently.
    judged = InvariantClassifier().fit_study(study)
    blank = copies.copy()
    blank[val] = np.nan
    fewer = InvariantClassifier().fit_study(Study(*rows, mark[:, None], blank, folds))
    assert not np.array_equal(judged.scores_, fewer.scores_)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_scale_of_weights_does_not_matter_and_weight_0_is_absent(grouped):
    X, y, copies, mark = data(18)
    weight = np.random.default_rng(1).integers(0, 3, len(y))
    present = weight > 0
    clf = InvariantClassifier(random_state=0, tol=1e-8, alphas=[0.1], penalties=[10])
    groups = mark if grouped else np.zeros(len(y))
    fits = [
        clf.fit(X, y, scale * weight, X_changed=copies, groups=groups).coef_ for scale in (1, 1e3)
    ]
    kept = {"X_changed": copies[present], "groups": groups[present]}
    fits.append(clf.fit(X[present], y[present], weight[present], **kept).coef_)
    assert fits[1] == pytest.approx(fits[0], abs=1e-6)
    assert fits[2] == pytest.approx(fits[0], abs=1e-6)
    assert clf.n_copies_ == (~np.isnan(copies[present, 0, 0])).sum()


def test_scikit_learn_cuts_and_scales_copies_with_X():
    X, y, copies, _ = data(13)
    X, copies = 100 * X, 100 * copies[:, 0]
    with sklearn.config_context(enable_metadata_routing=True):
        clf = InvariantClassifier(C=1.0, penalties=[1.0], random_state=0).set_fit_request(
            X_changed=True
        )
        pipeline = Pipeline(
            [("scale", StandardScaler()), ("clf", clf)], transform_input=["X_changed"]
        )
        pipeline.fit(X, y, X_changed=copies)
        told = r"X_changed does not have the scale of X.*\['X_changed'\]"
        with pytest.warns(UserWarning, match=told):
            clone(pipeline).set_params(transform_input=None).fit(X, y, X_changed=copies)
        scaler = StandardScaler().fit(X)
        by_hand = InvariantClassifier(C=1.0, penalties=[1.0], random_state=0)
        by_hand.fit(scaler.transform(X), y, X_changed=scaler.transform(copies))
        assert pipeline[-1].coef_ == pytest.approx(by_hand.coef_)
        params = {"X_changed": copies}
        scored = cross_validate(pipeline, X, y, params=params, return_estimator=True)
        assert 0 < scored["estimator"][0][-1].n_copies_ < pipeline[-1].n_copies_
        search = GridSearchCV(pipeline, {"clf__penalties": [[0], [100]]}, error_score="raise")
        search.fit(X, y, X_changed=copies)
        assert search.best_estimator_[-1].n_copies_ == pipeline[-1].n_copies_


def with_value(copies, value):
    copies = copies.copy()
    copies[3, 0, 2] = value
    return copies


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_changed": lambda X, c: c[:-1]}, "a row for each row of X"),
        ({"X_changed": lambda X, c: c[:, :, 1:]}, "got shape (240, 1, 4)"),
        ({"X_changed": lambda X, c: c[None]}, "R copies"),
        ({"X_changed": lambda X, c: c[:, :0]}, "got shape (240, 0, 5)"),
        ({"X_changed": lambda X, c: [["a"] * 5] * 240}, "does not contain numbers"),
        ({"X_changed": lambda X, c: with_value(X[:, None], np.nan)}, "Row 3 of X_changed is NaN"),
        ({"X_changed": lambda X, c: with_value(c, np.inf)}, "infinite"),
        ({"groups": lambda X, c: np.zeros(3)}, "groups has 3 labels for 240 samples"),
        ({"folds": lambda X, c: np.zeros(3, int)}, "folds must have 240 whole numbers"),
        ({"folds": lambda X, c: np.zeros(240)}, "folds must have 240 whole numbers"),
        ({"folds": lambda X, c: np.zeros(240, int)}, "Without fold 0 of folds no sample of class"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    X, y, copies, _ = data()
    given = {name: make(X, copies) for name, make in given.items()}
    with pytest.raises(InputError, match=re.escape(message)):
        InvariantClassifier().fit(X, y, **given)
    for penalties in ([], [-1.0], [np.nan], ["a"]):
        with pytest.raises(InputError, match="penalties must be numbers >= 0"):
            InvariantClassifier(penalties=penalties).fit(X, y, X_changed=copies)


@pytest.mark.more
@pytest.mark.parametrize("n", [6, 240])
@pytest.mark.parametrize("which", ["none", "one class", "one row", "gaps"])
def test_few_copies_and_few_samples_are_no_reason_to_fail(which, n):
    X, y, copies, mark = data(16, n=n, n_copies=3)
    y[:2] = 0, 1
    X[:, 4], copies[:, :, 4] = 7.0, np.where(np.isnan(copies[:, :, 4]), np.nan, 7.0)  # constant
    copies[:, 2][y == 1] = np.nan
    copies[
        {"none": y < 2, "one class": y == 1, "one row": np.arange(n) > 0, "gaps": y < 0}[which]
    ] = np.nan
    if which == "one row":
        copies[0] = X[0] + np.eye(5)[1]
    known = [{}, {"groups": np.where(np.arange(n) % 3, mark, -1)}, {"folds": np.arange(n) % 2}]
    for given in known[: 2 if n == 6 else 3]:
        clf = InvariantClassifier(originals="folds" in given, random_state=0)
        clf.fit(X, y, X_changed=copies, **given)
        assert np.isfinite(clf.coef_).all()
        assert clf.penalty_ in clf.penalties
        assert clf.alpha_ in ALPHAS
        assert clf.coef_[0, 4] == pytest.approx(0, abs=1e-5)


def test_too_few_samples_for_folds_take_the_smallest_penalty():
    X, y, copies, _ = data(17, n=6)
    y[:] = [0, 1, 1, 1, 1, 1]
    copies[:] = X[:, None] + 1
    clf = InvariantClassifier().fit(X, y, X_changed=copies)
    assert (clf.penalty_, clf.alpha_) == (0, 1.0)
    assert np.isnan(clf.scores_).all()
