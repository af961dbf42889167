"""NeuronTuneClassifier against the method, step by step, on arrays nobody tuned to."""

import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.utils.class_weight import compute_sample_weight

from ntkit import LinearHead, NeuronTuneClassifier
from ntkit.estimators import retrain_head
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.study import Rows, Study, identification_sets, seed_of
from tests.estimators.samples import biased, labelled

data = partial(labelled, width=10, relu=True)

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")

by_sgd = NeuronTuneClassifier.as_described
published = partial(by_sgd, solver="optimum", C=1.0)


def optimum(X, y, weight, suppressed, C=1.0):
    """scikit-learn's own optimum with the suppressed neurons zeroed."""
    lr = LogisticRegression(C=C, tol=1e-10, max_iter=20_000)
    return lr.fit(np.where(suppressed, 0, X), y, sample_weight=weight)


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
@settings(max_examples=5, deadline=None)
def test_the_whole_method_by_the_papers_formulas(seed, n_classes):
    X, y = data(seed, n=700, n_classes=n_classes)
    X, X_val, y, y_val = X[:400], X[400:], y[:400], y[400:]
    clf = published(threshold=0.05).fit(X, y, X_val=X_val, y_val=y_val)

    erm = LogisticRegression(tol=1e-10, max_iter=20_000).fit(X, y)
    wrong = erm.predict(X_val) != y_val
    assert clf.n_errors_.tolist() == [(wrong & (y_val == c)).sum() for c in range(n_classes)]
    if any(not (wrong & (y_val == c)).any() for c in range(n_classes)):
        return
    scale = np.where(np.ptp(X_val, axis=0) > 0, X_val.std(axis=0), 1)
    scores = np.array([
        np.median(X_val[(y_val == c) & wrong], axis=0)
        - np.median(X_val[(y_val == c) & ~wrong], axis=0)
        for c in range(n_classes)
    ]) / scale  # fmt: skip
    assert np.allclose(clf.spuriousness_scores_, scores, atol=1e-6)
    suppressed = (scores > 0.05).any(axis=0)
    if suppressed.all():  # then the smallest score is spared
        suppressed[scores.max(axis=0).argmin()] = False
    assert np.array_equal(clf.suppressed_, suppressed)
    expected = optimum(X, y, compute_sample_weight("balanced", y), suppressed)
    assert np.allclose(
        clf.predict_proba(X_val), expected.predict_proba(np.where(suppressed, 0, X_val)), atol=1e-3
    )
    assert (clf.coef_[:, suppressed] == 0).all()


def test_cross_fitted_identification_is_cross_val_predict():
    X, y = data(3)
    folds = StratifiedKFold(4, shuffle=True, random_state=1)
    clf = published(identification=folds).fit(X, y)
    pred = cross_val_predict(LogisticRegression(tol=1e-10, max_iter=20_000), X, y, cv=folds)
    wrong = pred != y
    assert clf.n_errors_.tolist() == [(wrong & (y == c)).sum() for c in (0, 1)]
    for c in (0, 1):
        bad, good = X[(y == c) & wrong], X[(y == c) & ~wrong]
        expected = np.median(bad, axis=0) - np.median(good, axis=0)
        assert np.allclose(clf.spuriousness_scores_[c], expected / X.std(axis=0))


def test_a_float_holds_out_the_identification_set_from_retraining():
    X, y = data(5)
    rest, held_out, _ = identification_sets(Study(Rows.of(X, y)), 0.25, seed_of(0))
    assert (len(rest), len(held_out)) == (300, 100)
    for make in (published, by_sgd):
        clf = make(identification=0.25, random_state=0).fit(X, y)
        again = make(identification=0.25, random_state=0).fit(X, y)
        assert np.array_equal(clf.coef_, again.coef_)
        both = make(random_state=0).fit(rest.X, rest.y, X_val=held_out.X, y_val=held_out.y)
        assert np.array_equal(clf.coef_, both.coef_)


def test_a_partial_splitter_scores_the_tested_samples_only():
    X, y = data(6)
    fold = np.where(np.arange(len(y)) < 100, -1, np.arange(len(y)) % 3)
    clf = published(identification=PredefinedSplit(fold)).fit(X, y)
    kept = fold >= 0
    pred = np.full(len(y), -1)
    for f in range(3):
        erm = LogisticRegression(tol=1e-8, max_iter=5000).fit(X[fold != f], y[fold != f])
        pred[fold == f] = erm.predict(X[fold == f])
    wrong = (pred != y) & kept
    assert clf.n_errors_.tolist() == [(wrong & (y == c)).sum() for c in (0, 1)]
    with pytest.raises(InputError, match="more than once"):
        published(identification=ShuffleSplit(4, random_state=0)).fit(X, y)


def test_a_given_head_is_the_original_head():
    X, y = data(7)
    head = LinearHead(np.random.default_rng(0).normal(size=(2, 10)), [0.0, 0.1], [1, 0])
    clf = published(head=head).fit(X, y)
    wrong = head.predict(X) != y
    assert clf.n_errors_.tolist() == [(wrong & (y == c)).sum() for c in (0, 1)]
    assert np.allclose(clf.erm_head_.predict_proba(X), head.predict_proba(X)[:, [1, 0]])


@pytest.mark.parametrize("none", [{"max_suppressed": 0.0}, {"threshold": np.inf}])
def test_without_a_mask_it_is_class_balanced_retraining(none):
    X, y = data(8, n_classes=3)
    clf = published(**none).fit(X, y)
    expected = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=20_000).fit(X, y)
    assert np.allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-3)
    assert np.allclose(retrain_head(X, y).coef, clf.coef_, atol=1e-3)


def test_the_penalty_is_chosen_with_the_mask_on_the_rows_that_are_retrained():
    X, y = data(9, n=900)
    X, X_val, y, y_val = X[:400], X[400:], y[:400], y[400:]
    clf = by_sgd(solver="optimum", random_state=3)
    clf.fit(X, y, X_val=X_val, y_val=y_val)
    assert 0 < clf.suppressed_.sum() < 9
    kept = np.where(clf.suppressed_, 0, 1 / X.std(axis=0))
    alphas = [10.0**k for k in range(-4, 3)]
    folds = StratifiedKFold(5, shuffle=True, random_state=seed_of(3))
    score = {}
    for alpha in alphas:
        lr = LogisticRegression(
            C=1 / (alpha * 320), class_weight="balanced", tol=1e-8, max_iter=9999
        )
        right = cross_val_predict(lr, X * kept, y, cv=folds) == y
        score[alpha] = min(right[y == c].mean() for c in (0, 1))
    best = max(score.values())
    assert score[round(1 / (400 * clf.C_), 10)] == pytest.approx(best, abs=0.01)
    # The validation set has no say: other labels that leave the mask leave the penalty.
    fixed = LogisticRegression(C=clf.C_, class_weight="balanced", tol=1e-9, max_iter=9999)
    assert np.allclose(
        clf.predict_proba(X), fixed.fit(X * kept, y).predict_proba(X * kept), atol=1e-3
    )


def test_aggregations():
    X, y = data(13, n_classes=3, width=20)
    fits = {
        a: published(aggregation=a, random_state=0).fit(X, y)
        for a in ("union", "intersection", "per_class")
    }
    scores = fits["union"].spuriousness_scores_
    assert np.array_equal(fits["union"].suppressed_, (scores > 0).any(axis=0))
    assert np.array_equal(fits["intersection"].suppressed_, (scores > 0).all(axis=0))
    per_class = fits["per_class"]
    assert np.array_equal(per_class.suppressed_per_class_, scores > 0)
    assert (per_class.coef_[scores > 0] == 0).all()
    assert (per_class.coef_[scores <= 0] != 0).all()


def test_statistics_and_activation():
    X, y = data(15)
    X = X - X.mean(axis=0)
    head = LinearHead(np.random.default_rng(2).normal(size=(1, 10)), [0.0], [0, 1])
    wrong = head.predict(X) != y

    def scores(**options):
        return published(head=head, **options).fit(X, y).spuriousness_scores_

    def difference(values, center=np.median):
        return [
            center(values[(y == c) & wrong], axis=0) - center(values[(y == c) & ~wrong], axis=0)
            for c in (0, 1)
        ]

    def scaled(values, center=np.median):
        return np.array(difference(values, center)) / values.std(axis=0)

    assert np.allclose(scores(), scaled(X))
    assert np.allclose(scores(statistic="mean"), scaled(X, np.mean))
    assert np.allclose(scores(statistic="magnitude"), scaled(np.abs(X)))
    toward_error = X * head.coef[0] * np.where(y == 1, -1, 1)[:, None]
    assert np.allclose(scores(statistic="contribution"), scaled(toward_error))


def test_random_scores_are_a_control_of_any_size():
    X, y = data(14, width=20)
    masks = [
        published(statistic="random", max_suppressed=0.45, random_state=seed).fit(X, y).suppressed_
        for seed in range(40)
    ]
    assert {mask.sum() for mask in masks} == {9}
    assert np.abs(np.mean(masks, axis=0) - 0.45).max() < 0.3  # four standard errors
    assert len({mask.tobytes() for mask in masks}) == 40


def test_the_published_mask_is_what_the_rule_flags_however_much_it_is():
    X, y = data(16)
    scores = published(random_state=0).fit(X, y).spuriousness_scores_.max(axis=0)
    for n_kept in (1, 2, 5):
        threshold = np.sort(scores)[n_kept - 1]
        clf = published(threshold=threshold, random_state=0).fit(X, y)
        assert np.array_equal(clf.suppressed_, scores > threshold)
        assert clf.suppressed_.sum() == 10 - n_kept
    with pytest.warns(SuppressionWarning, match="flags all 10 non-constant neurons; the one with"):
        everything = published(threshold=-1e9, random_state=0).fit(X, y)
    assert everything.suppressed_.sum() == 9  # never a constant model
    assert not everything.suppressed_[scores.argmin()]
    X[:, [2, 5]] = 0.0  # constant neurons are neither counted nor suppressed
    clf = published(threshold=-1e9, random_state=0).fit(X, y)
    assert clf.non_constant_.sum() == 8
    assert clf.suppressed_.sum() == 7
    assert not clf.suppressed_[[2, 5]].any()


def test_no_errors_means_no_mask_and_a_warning():
    X, y = data(17)
    X[:, 0] = 50 * y
    with pytest.warns(SuppressionWarning, match="No class has an error"):
        clf = published().fit(X, y)
    assert not clf.suppressed_.any()
    assert np.isnan(clf.spuriousness_scores_).all()
    assert clf.sfit_ == 0
    assert by_sgd(selection="sfit", epochs=2).fit(X, y).coef_.any()


def test_warns_when_most_neurons_go_and_is_quiet_otherwise():
    X, y = data(18)
    clf = published(threshold=-1e9, max_suppressed=0.9, random_state=0)
    with pytest.warns(SuppressionWarning, match="9 of 10 non-constant neurons are suppressed"):
        clf.fit(X, y)
    with warnings.catch_warnings(action="error"):
        published(max_suppressed=0.3, random_state=0).fit(X, y)


def test_sample_weights_of_the_identification_set():
    X, y = data(20, n=520)
    X, X_val, y, y_val = X[:400], X[400:], y[:400], y[400:]
    weight = np.random.default_rng(0).integers(0, 3, 120)
    head = LinearHead(np.random.default_rng(3).normal(size=(1, 10)), [0.0], [0, 1])
    clf = published(head=head)
    weighted = clone(clf).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    again = np.repeat(np.arange(120), weight)
    repeated = clone(clf).fit(X, y, X_val=X_val[again], y_val=y_val[again])
    assert np.allclose(weighted.spuriousness_scores_, repeated.spuriousness_scores_)
    assert weighted.sfit_ == pytest.approx(repeated.sfit_)


def test_half_precision_is_fitted_in_single_and_not_in_double():
    X, y = data(25, dtype=np.float16)
    clf = published(random_state=0).fit(X, y, X_val=X, y_val=y)
    single = X.astype(np.float32)
    same = published(random_state=0).fit(single, y, X_val=single, y_val=y)
    assert clf.coef_.dtype == clf.decision_function(X).dtype == np.float32
    assert np.array_equal(clf.coef_, same.coef_)


# -- retraining by SGD


def test_sgd_keeps_the_epoch_that_is_best_on_the_scored_samples():
    X, y, _ = biased(30, n=1200, width=10, relu=True)
    X, X_val, y, y_val = X[:600], X[600:], y[:600], y[600:]
    options = {"batch_size": 32, "random_state": 0, "learning_rate": 0.01}

    def worst(clf):
        return min((clf.predict(X_val) == y_val)[y_val == c].mean() for c in (0, 1))

    def average(clf):
        return (clf.predict(X_val) == y_val).mean()

    fitted = lambda **more: by_sgd(**options, **more).fit(X, y, X_val=X_val, y_val=y_val)  # noqa: E731
    for selection, value in (
        ("worst_class", worst),
        ("average", average),
        ("sfit", lambda c: c.sfit_),
    ):
        # The first epochs of a longer run are those of a shorter one.
        values = [value(fitted(selection=selection, epochs=n)) for n in (1, 3, 6, 12)]
        assert values == sorted(values)
        best = fitted(selection=selection, epochs=12)
        again = fitted(selection=selection, epochs=best.best_epoch_)
        assert best.best_epoch_ == again.best_epoch_
        assert np.array_equal(best.coef_, again.coef_)
        assert best.n_iter_ == best.best_epoch_ * (600 // 32)


def test_sgd_ends_at_the_optimum_of_balanced_classes():
    rng = np.random.default_rng(31)
    y = rng.choice(3, 600, p=[0.7, 0.2, 0.1])
    X = np.eye(3, 10)[y] + rng.normal(size=(600, 10))  # overlapping classes
    clf = by_sgd(max_suppressed=0.0, epochs=400, learning_rate=0.02, selection="average")
    clf.set_params(random_state=0).fit(X, y)
    balanced = LogisticRegression(C=1e3, class_weight="balanced", max_iter=9999).fit(X, y)
    plain = LogisticRegression(C=1e3, max_iter=9999).fit(X, y)
    ours = clf.predict_proba(X)
    near = np.abs(ours - balanced.predict_proba(X)).mean()
    assert near < 0.05
    assert near < 0.5 * np.abs(ours - plain.predict_proba(X)).mean()


@pytest.mark.parametrize("aggregation", ["union", "per_class"])
def test_sgd_leaves_suppressed_weights_at_zero(aggregation):
    X, y = data(32, n_classes=3, width=20)
    clf = by_sgd(aggregation=aggregation, epochs=3, random_state=0).fit(X, y)
    lost = clf.suppressed_per_class_ if aggregation == "per_class" else clf.suppressed_
    lost = np.broadcast_to(lost, clf.coef_.shape)
    assert 0 < lost.sum() < lost.size
    assert (clf.coef_[lost] == 0).all()
    assert (clf.coef_[~lost] != 0).all()


def test_a_mask_is_the_same_whatever_retrains():
    X, y = data(33)
    assert np.array_equal(
        by_sgd(C=1.0, random_state=0).fit(X, y).suppressed_,
        published(random_state=0).fit(X, y).suppressed_,
    )


def test_the_former_preset_says_what_it_became():
    with pytest.warns(FutureWarning, match=r"became as_described\(\)"):
        clf = NeuronTuneClassifier.as_published(epochs=7)
    assert clf.get_params() == by_sgd(epochs=7).get_params()
    assert (clf.threshold, clf.min_misclassified, clf.max_cost, clf.solver) == (0, 1, None, "sgd")
