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
from ntkit.estimators._mask import make_mask
from ntkit.exceptions import InputError, SuppressionWarning
from tests.estimators.samples import labelled

data = partial(labelled, width=10, relu=True)

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")

published = NeuronTuneClassifier.as_published


def optimum(X, y, weight, suppressed, C=1.0):
    """scikit-learn's own optimum with the suppressed neurons zeroed."""
    lr = LogisticRegression(C=C, tol=1e-10, max_iter=20_000)
    return lr.fit(np.where(suppressed, 0, X), y, sample_weight=weight)


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
@settings(max_examples=5, deadline=None)
def test_the_whole_method_by_the_papers_formulas(seed, n_classes):
    X, y = data(seed, n=700, n_classes=n_classes)
    X, X_val, y, y_val = X[:400], X[400:], y[:400], y[400:]
    clf = published(threshold=0.05, tol=1e-9, max_iter=5000)
    clf.fit(X, y, X_val=X_val, y_val=y_val)

    erm = LogisticRegression(tol=1e-10, max_iter=20_000).fit(X, y)
    wrong = erm.predict(X_val) != y_val
    assert clf.n_errors_.tolist() == [(wrong & (y_val == c)).sum() for c in range(n_classes)]
    if any(not (wrong & (y_val == c)).any() for c in range(n_classes)):
        return
    scores = np.array([
        np.median(X_val[(y_val == c) & wrong], axis=0)
        - np.median(X_val[(y_val == c) & ~wrong], axis=0)
        for c in range(n_classes)
    ])  # fmt: skip
    assert np.allclose(clf.spuriousness_scores_, scores, atol=1e-6)
    suppressed = (scores > 0.05).any(axis=0)
    if suppressed.all():  # then the smallest score is spared
        suppressed[scores.max(axis=0).argmin()] = False
    assert np.array_equal(clf.suppressed_, suppressed)
    expected = optimum(X, y, compute_sample_weight("balanced", y), suppressed)
    assert np.allclose(
        clf.predict_proba(X_val), expected.predict_proba(np.where(suppressed, 0, X_val)), atol=1e-4
    )
    assert (clf.coef_[:, suppressed] == 0).all()


def test_cross_fitted_identification_is_cross_val_predict():
    X, y = data(3)
    folds = StratifiedKFold(4, shuffle=True, random_state=1)
    clf = published(identification=folds, tol=1e-10).fit(X, y)
    pred = cross_val_predict(LogisticRegression(tol=1e-10, max_iter=20_000), X, y, cv=folds)
    wrong = pred != y
    assert clf.n_errors_.tolist() == [(wrong & (y == c)).sum() for c in (0, 1)]
    for c in (0, 1):
        bad, good = X[(y == c) & wrong], X[(y == c) & ~wrong]
        expected = np.median(bad, axis=0) - np.median(good, axis=0)
        assert np.allclose(clf.spuriousness_scores_[c], expected)


def test_a_float_holds_out_the_identification_set_from_retraining():
    X, y = data(5)
    clf = published(identification=0.25, random_state=0).fit(X, y)
    assert len(clf.tuning_weight_) == 300
    again = published(identification=0.25, random_state=0).fit(X, y)
    assert np.array_equal(clf.coef_, again.coef_)


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


def test_suppression_zero_is_class_balanced_retraining():
    X, y = data(8, n_classes=3)
    clf = published(suppression=0.0, tol=1e-10).fit(X, y)
    expected = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=20_000).fit(X, y)
    assert np.allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-5)
    assert np.allclose(retrain_head(X, y, tol=1e-10).coef, clf.coef_, atol=1e-6)


@pytest.mark.parametrize("suppression", [0.3, 0.9])
def test_partial_suppression_scales_before_retraining(suppression):
    X, y = data(9)
    clf = published(
        threshold=0.2, standardize=True, suppression=suppression, C=0.05, random_state=0, tol=1e-10
    ).fit(X, y)
    assert 0 < clf.attenuated_.sum() < 10
    assert not clf.suppressed_.any()  # these have weights of exactly zero
    assert np.allclose(clf.gains_, np.where(clf.attenuated_, 1 - suppression, 1))
    scaled = LogisticRegression(C=0.05, class_weight="balanced", tol=1e-10, max_iter=20_000)
    scaled.fit(X * clf.gains_, y)
    assert np.allclose(clf.predict_proba(X), scaled.predict_proba(X * clf.gains_), atol=1e-5)


def test_error_weight_multiplies_misclassified_samples():
    X, y = data(10)
    head = LinearHead(np.random.default_rng(1).normal(size=(1, 10)), [0.0], [0, 1])
    plain = published(head=head, error_weight=1.0).fit(X, y)
    heavy = published(head=head, error_weight=20.0).fit(X, y)
    wrong = head.predict(X) != y
    assert np.allclose(heavy.tuning_weight_, plain.tuning_weight_ * np.where(wrong, 20, 1))
    assert np.allclose(plain.tuning_weight_, compute_sample_weight("balanced", y))


def test_balanced_error_weight_gives_the_cells_equal_mass():
    X, y = data(11, n_classes=3, n=1500)
    y = np.where(np.random.default_rng(0).random(1500) < 0.1, (y + 1) % 3, y)
    clf = published(error_weight="balanced", random_state=4).fit(X, y)
    assert clf.tuning_weight_.sum() == pytest.approx(len(y))
    for c in range(3):
        weights, counts = np.unique(clf.tuning_weight_[y == c].round(9), return_counts=True)
        assert len(weights) == 2  # correct and misclassified
        assert weights[0] * counts[0] == pytest.approx(weights[1] * counts[1], rel=1e-6)


def test_more_rounds_only_add_to_the_mask():
    X, y = data(12, n=800, width=30)
    options = {"threshold": 0.3, "standardize": True, "random_state": 0}
    one = published(n_rounds=1, **options).fit(X, y)
    three = published(n_rounds=3, **options).fit(X, y)
    assert (three.suppressed_ >= one.suppressed_).all()


def test_aggregations():
    X, y = data(13, n_classes=3, width=20)
    fits = {
        a: published(aggregation=a, random_state=0, tol=1e-8).fit(X, y)
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

    assert np.allclose(scores(), difference(X))
    assert np.allclose(scores(statistic="mean"), difference(X, np.mean))
    assert np.allclose(scores(activation="magnitude"), difference(np.abs(X)))
    assert np.allclose(scores(standardize=True), difference(X) / X.std(axis=0))
    toward_error = X * head.coef[0] * np.where(y == 1, -1, 1)[:, None]
    assert np.allclose(scores(statistic="contribution"), difference(toward_error))


@pytest.mark.parametrize("aggregation", ["union", "per_class"])
def test_a_rule_that_flags_everything_suppresses_nothing(aggregation):
    X, y = data(16, n_classes=3)
    clf = published(
        threshold=-1e9, aggregation=aggregation, min_neurons=None, tol=1e-9, random_state=0
    )
    with pytest.warns(
        SuppressionWarning, match="more than 95 % of the 10 non-constant neurons, wh"
    ):
        clf.fit(X, y)
    assert clf.spared_
    assert not clf.suppressed_.any()
    plain = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=20_000).fit(X, y)
    assert np.allclose(clf.predict_proba(X), plain.predict_proba(X), atol=1e-4)


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
def test_the_published_mask_is_what_the_rule_flags_however_much_it_is():
    X, y = data(16)
    scores = published(random_state=0).fit(X, y).spuriousness_scores_.max(axis=0)
    for n_kept in (1, 2, 5):
        threshold = np.sort(scores)[n_kept - 1]
        clf = published(threshold=threshold, random_state=0).fit(X, y)
        assert np.array_equal(clf.suppressed_, scores > threshold)
        assert clf.suppressed_.sum() == 10 - n_kept
        assert not clf.spared_
    everything = published(threshold=-1e9, random_state=0).fit(X, y)
    assert everything.suppressed_.sum() == 9  # never a constant model
    assert not everything.suppressed_[scores.argmin()]


@pytest.mark.parametrize(("flagged", "min_neurons", "suppressed"), [
    (39, None, 0), (38, None, 38), (39, 1, 39), (40, 1, 39), (38, 5, 35), (40, None, 0),
])  # fmt: skip
def test_a_rule_that_leaves_few_neurons_by_chance(flagged, min_neurons, suppressed):
    scores = np.vstack([np.append(np.arange(40.0), 99.0), np.full(41, np.nan)])
    live = np.ones(41, dtype=bool)
    live[40] = False
    rule = {"aggregation": "union", "max_suppressed": 1.0, "min_neurons": min_neurons}
    mask = make_mask(scores, live, threshold=39.5 - flagged, **rule)
    assert mask.everywhere.sum() == suppressed
    assert mask.spared == (suppressed < flagged)
    assert not mask.everywhere[40]  # dead


def test_min_neurons_keeps_the_smallest_scores():
    X, y = data(16)
    X[:, [2, 5]] = 0.0  # constant neurons are neither counted nor suppressed
    with pytest.warns(
        SuppressionWarning, match="fewer than min_neurons=3 of 8 non-constant neurons"
    ):
        clf = published(threshold=-1e9, min_neurons=3, random_state=0).fit(X, y)
    assert clf.spared_
    assert clf.non_constant_.sum() == 8
    assert clf.suppressed_.sum() == 5
    assert not clf.suppressed_[[2, 5]].any()
    severity = clf.spuriousness_scores_.max(axis=0)
    kept = clf.non_constant_ & ~clf.suppressed_
    assert severity[kept].max() <= severity[clf.suppressed_].min()
    assert len(np.unique(clf.predict(X))) == 2


def test_no_errors_means_no_mask_and_a_warning():
    X, y = data(17)
    X[:, 0] = 50 * y
    with pytest.warns(SuppressionWarning, match="No class has an error"):
        clf = published().fit(X, y)
    assert not clf.suppressed_.any()
    assert np.isnan(clf.spuriousness_scores_).all()
    assert clf.sfit_ == 0


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
