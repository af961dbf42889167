"""Nothing is decided by the scale of sample_weight."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ntkit.estimators import (
    LABEL_FREE,
    DFRClassifier,
    GroupDROClassifier,
    LEACEClassifier,
    NeuronTuneClassifier,
    SpuriousNeuronSelector,
    head_of,
    retrain_head,
)
from ntkit.exceptions import SuppressionWarning
from ntkit.spuriousness import spuriousness_scores

ALL = {
    **LABEL_FREE,
    "dfr": DFRClassifier,
    "dfr-weighted": lambda: DFRClassifier(variant="weighted"),
    "groupdro": GroupDROClassifier,
    "selector": SpuriousNeuronSelector,
    "neurontune-mean": lambda: NeuronTuneClassifier(statistic="mean", error_weight="balanced"),
    "leace-concepts": LEACEClassifier,
}
# Where the penalty is on the mean loss, C plays no part; else C times the sum is what counts.
QUICK = {
    "random_state": 0,
    "alphas": (1.0, 0.1),
    "cv": 3,
    "n_retrains": 3,
    "Cs": (1.0, 0.1),
    "n_selected": (20, 40),
    "thresholds": (0.0, 0.5),
    "tol": 1e-7,
}
DECISIONS = (
    "suppressed_", "n_errors_", "error_set_", "selected_", "recipe_", "alpha_", "threshold_",
    "n_selected_", "group_counts_",
)  # fmt: skip


def data(n_classes=2, n=240, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    mark = np.where(rng.random(n) < 0.85, y, rng.integers(0, n_classes, n))
    X = rng.normal(size=(n, 8))
    X[np.arange(n), y] += 1.5
    X[np.arange(n), 4 + mark] += 2
    return X, y, n_classes * y + mark, rng.integers(1, 6, n) / 7


def make(name, scale, **given):
    estimator = ALL[name]()
    own = estimator.get_params()
    values = dict(QUICK) | given
    if name == "self":
        values["n_selected"] = 60
    if "C" in own and name != "auto":
        values["C"] = 1.0 / scale
    if "Cs" in own:
        values["Cs"] = tuple(C / scale for C in QUICK["Cs"])
    if name == "groupdro":
        values["tol"] = 1e-3
    if "dfr" in name or name == "evals":
        values["tol"] = 1e-4
    return estimator.set_params(**{k: v for k, v in values.items() if k in own})


def fit(estimator, name, X, y, groups, weight):
    extra = {}
    if name.startswith(("dfr", "groupdro")):
        extra["groups"] = groups
    if name == "leace-concepts":
        extra["concepts"] = groups % len(np.unique(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuppressionWarning)
        return estimator.fit(X, y, sample_weight=weight, **extra)


def same_decisions(one, other):
    for decision in DECISIONS:
        if hasattr(one, decision):
            a, b = getattr(one, decision), getattr(other, decision)
            nan = isinstance(a, float)  # that nothing was chosen
            assert np.array_equal(a, b, equal_nan=nan), decision
    if hasattr(one, "spuriousness_scores_"):
        assert one.spuriousness_scores_ == pytest.approx(other.spuriousness_scores_, nan_ok=True)


@pytest.mark.parametrize("scale", [1000.0, 1e-6, 1e12])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ALL)
def test_a_scale_is_only_a_scale_of_the_penalty(name, n_classes, scale):
    """Weights times a and C by a: the same decisions, and the same head."""
    X, y, groups, weight = data(n_classes)
    one = fit(make(name, 1.0), name, X, y, groups, weight)
    other = fit(make(name, scale), name, X, y, groups, scale * weight)
    same_decisions(one, other)
    if name != "selector":
        found, expected = head_of(other), head_of(one)
        size = np.abs(expected.coef).max()
        assert found.coef == pytest.approx(expected.coef, rel=1e-3, abs=1e-3 * size)
        assert (found.predict(X) == expected.predict(X)).all()


@pytest.mark.parametrize("scale", [1000.0, 1e-6])
@pytest.mark.parametrize(
    "name", ["neurontune", "neurontune-mean", "selector", "jtt", "self", "afr", "leace", "leia"]
)
def test_what_a_given_head_decides_depends_on_no_scale(name, scale):
    """At the same C, and with a validation set of its own scale."""
    X, y, groups, weight = data()
    head = head_of(LogisticRegression(C=0.01).fit(X, y))
    options = {"head": head, "identification": "train", "selection": "misclassification"}
    options["max_cost"] = None  # that is a matter of the retrained head, and so of C
    fits = []
    for factor in (1.0, scale):
        estimator = make(name, 1.0, **options)
        fits.append(fit(estimator, name, X, y, groups, factor * weight))
    same_decisions(*fits)
    for fitted in ("weights_", "eraser_", "scores_"):
        if hasattr(fits[0], fitted):
            a, b = (getattr(one, fitted) for one in fits)
            assert a == pytest.approx(b, rel=1e-6, abs=1e-9)


def test_retrain_head():
    X, y, _, weight = data(3)
    one = retrain_head(X, y, sample_weight=weight, tol=1e-8)
    other = retrain_head(X, y, sample_weight=1000 * weight, C=0.001, tol=1e-8)
    assert other.coef == pytest.approx(one.coef, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_a_score_of_0_is_0_at_any_scale(statistic):
    """Equal activations on both sides: no rounding of weighted sums may flag the neuron."""
    rng = np.random.default_rng(0)
    Z, y = np.full((60, 20), 0.1) * np.arange(1, 21), np.zeros(60, dtype=int)
    wrong = np.arange(60) % 3 == 0
    for scale in (1.0, 1000.0, 1 / 3, 1e-7):
        weight = scale * rng.random(60)
        scores = spuriousness_scores(
            Z, y, wrong, np.array([0]), sample_weight=weight, statistic=statistic
        )
        assert (scores == 0).all()
