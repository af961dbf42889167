"""What all estimators promise alike: types, weights, heads, validation sets, refusals, warnings."""

import linecache
import warnings
from threading import Thread

import numpy as np
import pytest
import sklearn
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import LinearHead, NeuronTuneClassifier, NeuronTuneClassifierCV
from ntkit.estimators import (
    AFRClassifier,
    AutoDebiasClassifier,
    BalancedClassifier,
    DFRClassifier,
    EVaLSClassifier,
    GroupDROClassifier,
    InvariantClassifier,
    JTTClassifier,
    LEACEClassifier,
    LEIAClassifier,
    SELFClassifier,
    SpuriousNeuronSelector,
    head_of,
    retrain_head,
)
from ntkit.exceptions import InputError, SuppressionWarning
from tests.estimators.samples import biased, misled, random_head

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
SEED = {"random_state": 0}
METHODS = {
    "neurontune": NeuronTuneClassifier(**SEED),
    "neurontune-mean": NeuronTuneClassifier(C=1.0, statistic="mean", **SEED),
    "neurontune-sgd": NeuronTuneClassifier.as_described(epochs=5, **SEED),
    "neurontune-cv": NeuronTuneClassifierCV((0.0, 0.5), cv=3, C=1.0, **SEED),
    "balanced": BalancedClassifier(tol=1e-7),
    "auto": AutoDebiasClassifier(alphas=(1.0, 0.1), cv=3, tol=1e-7, **SEED),
    "afr": AFRClassifier(tol=1e-7, **SEED),
    "jtt": JTTClassifier(tol=1e-7, **SEED),
    "self": SELFClassifier(n_selected=60, tol=1e-7, **SEED),
    "evals": EVaLSClassifier(n_selected=(20, 40), Cs=(1.0, 0.1), tol=1e-4, **SEED),
    "leace": LEACEClassifier(tol=1e-7, **SEED),
    "leace-concepts": LEACEClassifier(tol=1e-7, **SEED),
    "leia": LEIAClassifier(tol=1e-7, **SEED),
    "invariant": InvariantClassifier(alphas=(1.0, 0.1), tol=1e-7, **SEED),
    "dfr": DFRClassifier(Cs=(1.0, 0.1), n_retrains=3, tol=1e-4, **SEED),
    "dfr-weighted": DFRClassifier(variant="weighted", C=1.0, tol=1e-7, **SEED),
    "groupdro": GroupDROClassifier(eta=0.1),
    "selector": SpuriousNeuronSelector(**SEED),
}
GROUPED = {"dfr", "dfr-weighted", "groupdro"}


def fitted(name, X, y, mark, weight=None, clf=None, **known):
    """A method fitted to samples, with the mark where it takes groups or concepts."""
    clf = clone(METHODS[name] if clf is None else clf)
    if name in GROUPED:
        known["attribute"] = mark
    if name == "leace-concepts":
        known["concepts"] = mark
    return clf.fit(X, y, weight, **known)


def learned(clf):
    return clf.suppressed_ if isinstance(clf, SpuriousNeuronSelector) else clf.coef_


@pytest.mark.more
@pytest.mark.parametrize("name", METHODS)
def test_single_precision_stays_and_labels_and_seeds_decide_nothing_else(name):
    X, y, mark = biased(n=300, dtype=np.float32)
    clf = fitted(name, X, y, mark)
    named = fitted(name, X, np.array(["ant", "bee"])[y], mark)
    assert np.array_equal(learned(clf), learned(named))
    if name != "selector":
        assert clf.coef_.dtype == clf.intercept_.dtype == np.float32
        assert clf.decision_function(X).dtype == np.float32
        assert set(named.predict(X)) <= {"ant", "bee"}
        assert named.head_.classes.tolist() == named.classes_.tolist() == ["ant", "bee"]
        assert clf.n_iter_.tolist() >= [1]


@pytest.mark.parametrize("name", ["afr", "leia", "dfr", "dfr-weighted", "groupdro", "balanced"])
def test_a_sample_of_weight_zero_is_absent(name):
    X, y, mark = biased(n=300)
    weight = np.where(np.arange(300) % 7, 1.0, 0.0)
    one = fitted(name, X, y, mark, weight)
    kept = weight > 0
    other = fitted(name, X[kept], y[kept], mark[kept])
    assert one.coef_ == pytest.approx(other.coef_, abs=1e-4)


@pytest.mark.parametrize("name", ["afr", "leia", "evals", "self"])
def test_a_validation_set_takes_the_place_of_the_training_set(name):
    X, y, mark = biased(n=600)
    clf = clone(METHODS[name]).set_params(head=random_head())
    if name == "self":
        clf.set_params(selection="misclassification")
    val = {"X_val": X[200:], "y_val": y[200:]}
    one = fitted(name, X[:200], y[:200], mark[:200], clf=clf, **val)
    other = fitted(name, X[200:], y[200:], mark[200:], clf=clf)
    assert np.array_equal(one.coef_, other.coef_)


@pytest.mark.parametrize(
    "clf",
    [
        AFRClassifier(gamma=6.0, **SEED),
        LEIAClassifier(gamma=6.0, rank=1, **SEED),
        SELFClassifier(selection="misclassification", learning_rate=0.1, n_selected=200, C=0.1),
        SELFClassifier(learning_rate=0.1, C=0.1, n_selected=200, **SEED),
        EVaLSClassifier(n_selected=(20, 40), C=0.001, **SEED),
        JTTClassifier(C=0.01, **SEED),
    ],
    ids=lambda clf: type(clf).__name__,
)
def test_it_helps_where_a_mark_misleads(clf):
    X, y, mark = misled()
    clf.fit(X, y)
    rare = mark != y
    before = (clf.erm_head_.predict(X[rare]) == y[rare]).mean()
    assert clf.score(X[rare], y[rare]) > before + 0.1


# -- weights, threads ---------------------------------------------------------------------------

DECISIONS = (
    "suppressed_", "n_errors_", "error_set_", "selected_", "recipe_", "alpha_", "threshold_",
    "n_selected_", "group_counts_",
)  # fmt: skip


@pytest.mark.more
@pytest.mark.parametrize(("n_classes", "scale"), [(2, 1e12), (3, 1e-6)])
@pytest.mark.parametrize("name", METHODS)
def test_a_scale_of_weights_is_only_a_scale_of_the_penalty(name, n_classes, scale):
    """Weights times a and C by a: the same decisions, and the same head."""
    X, y, mark = biased(n=240, width=8, n_classes=n_classes, share=0.7)
    weight = np.random.default_rng(0).integers(1, 6, 240) / 7
    one, scaled = clone(METHODS[name]), clone(METHODS[name])
    if scaled.get_params().get("C") is not None:
        scaled.set_params(C=scaled.C / scale)
    if "Cs" in scaled.get_params():
        scaled.set_params(Cs=tuple(C / scale for C in scaled.Cs))
    one = fitted(name, X, y, mark, weight, clf=one)
    other = fitted(name, X, y, mark, scale * weight, clf=scaled)
    for decision in DECISIONS:
        if hasattr(one, decision):
            a, b = getattr(one, decision), getattr(other, decision)
            assert np.array_equal(a, b, equal_nan=isinstance(a, float)), decision
    if name != "selector":
        size = np.abs(one.coef_).max()
        assert other.coef_ == pytest.approx(one.coef_, rel=1e-3, abs=2e-3 * size)
        assert (other.predict(X) == one.predict(X)).mean() > 0.99


@pytest.mark.parametrize("name", ["neurontune", "auto", "evals", "dfr"])
def test_heads_fitted_in_several_threads_at_a_time(name):
    """The same heads as one after another, and no filter of warnings stays."""
    before = list(warnings.filters)
    samples = [biased(seed, n=200, n_classes=2 + seed % 2) for seed in range(3)]
    serial = [fitted(name, *some).head_ for some in samples]
    jobs = (delayed(fitted)(name, *some) for some in samples * 2)
    together = Parallel(n_jobs=6, backend="threading")(jobs)
    assert [clf.head_ for clf in together] == serial * 2
    assert list(warnings.filters) == before


# -- the original head ----------------------------------------------------------------------------

WITH_HEAD = ["afr", "evals", "jtt", "leace", "leia", "neurontune", "neurontune-cv", "self",
             "selector"]  # fmt: skip


@pytest.mark.parametrize("name", WITH_HEAD)
def test_a_fitted_linear_classifier_is_a_head(name):
    X, y, mark = biased(n=300)
    own = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:200], y[:200])
    results = []
    for head in (own, head_of(own)):
        clf = clone(clone(METHODS[name]).set_params(head=head))
        assert clf.get_params(deep=False)["head"] is head
        results.append(learned(fitted(name, X, y, mark, clf=clf)))
    assert np.array_equal(*results)


def test_any_of_scikit_learns_linear_classifiers_is_a_head_and_a_search_keeps_it():
    X, y, _ = biased(n=300)
    for head in (RidgeClassifier(), SGDClassifier(random_state=0)):
        head = make_pipeline(StandardScaler(), head).fit(X, y)
        clf = NeuronTuneClassifier(head=head, C=1.0, random_state=0)
        assert np.allclose(clf.fit(X, y).erm_head_.coef, head_of(head).coef)
        search = GridSearchCV(clf, {"threshold": [0.5]}, cv=2, error_score="raise").fit(X, y)
        assert search.best_estimator_.head is head


X, Y, MARK = biased(n=60)
VAL = {"X_val": X, "y_val": Y}
OTHER = {"X_val": X, "y_val": np.where(Y, "Dog", "cat")}
ONE_CLASS = {"X_val": X[Y == 0], "y_val": Y[Y == 0]}
HEAD_3 = {"head": random_head(width=3)}
FOREST = RandomForestClassifier(2, random_state=0).fit(X, Y)
REFUSED = [
    ("neurontune", HEAD_3, {}, "reads 3 neurons"),
    ("selector", HEAD_3, {}, "reads 3 neurons"),
    ("afr", HEAD_3, {}, "reads 3 neurons"),
    ("neurontune", {"head": LinearHead(np.ones((2, 6)), [0, 0], [0, 5])}, {}, "same labels"),
    ("jtt", {"head": random_head(3)}, {}, "no sample of class 2"),
    ("neurontune", {"head": LogisticRegression()}, {}, "head must be .*not fitted; call its fit"),
    ("selector", {"head": FOREST}, {}, "head must be .*RandomForestClassifier is not one linear"),
    ("self", {"early_head": FOREST}, {}, "early_head must be .*is not one linear layer"),
    ("self", {"early_head": random_head(width=3)}, {}, "early head reads 3"),
    ("afr", {}, {"X_val": X}, "pass y_val"),
    ("afr", {}, ONE_CLASS, "no sample of class 1 with positive weight"),
    ("evals", {}, ONE_CLASS, "no sample of class 1 with positive weight"),
    ("self", {}, {"X_val": X, "y_val": Y + 1}, r"y_val \(1, 2\) has the class 2, which y \(0, 1\)"),
    ("neurontune", {}, VAL | {"sample_weight_val": -np.ones(60)}, "sample_weight_val contains neg"),
    ("balanced", {}, {"y": np.zeros(60)}, "1 class: 0.0"),
    ("balanced", {}, {"sample_weight": 1.0 - 2 * (np.arange(60) == 9)}, "contains negative"),
    ("balanced", {}, {"sample_weight": (Y == 1) * 1.0}, "class 0 has no sample of positive"),
    ("balanced", {}, {"X": np.where(X > 2, np.nan, X)}, "NaN"),
    ("balanced", {}, {"groups": Y}, "unexpected keyword argument 'groups'"),
    ("afr", {"reg_coeff": 0.0}, {}, "solver='gd'"),
    ("leia", {"solver": "lbfgs"}, {}, "solver='gd'"),
    ("evals", {"Cs": ()}, {}, "Cs must be positive numbers, at least one"),
    ("evals", {"Cs": (0.1, -1.0)}, {}, "Cs must be positive numbers"),
    ("evals", {"Cs": (np.nan,)}, {}, "Cs must be positive numbers"),
    ("evals", {"n_selected": (0, 5)}, {}, "n_selected must be positive whole numbers"),
    ("evals", {"n_selected": (2.5,)}, {}, "whole numbers"),
    ("dfr", {"Cs": [[1.0]]}, {}, "Cs must be"),
    ("dfr", {"Cs": [0.0]}, {}, "Cs must be"),
    ("afr", {"reweighting": 1.5}, {}, "reweighting"),
    ("evals", {"selection_size": 1.0}, {}, "selection_size"),
    ("jtt", {"up_weight": 0}, {}, "up_weight"),
    ("leia", {"rank": -1}, {}, "rank"),
    ("leia", {"adjustment_size": 1.5}, {}, "adjustment_size"),
    ("neurontune", {"aggregation": "any"}, {}, "aggregation"),
    ("neurontune", {"identification": 1.5}, {}, "identification"),
    ("neurontune", {"threshold": "low"}, {}, "threshold"),
    ("selector", {"aggregation": "per_class"}, {}, "aggregation"),
    ("self", {"selection": "random"}, {}, "selection"),
    ("neurontune-cv", {"thresholds": []}, {}, "no threshold to try"),
    ("neurontune-cv", {"thresholds": ["0.5", "a"]}, {}, "thresholds holds '0.5', which is not a n"),
    ("neurontune-cv", {"thresholds": [0.5, None]}, {}, "thresholds holds None, which is not a num"),
    ("neurontune", {}, VAL | {"X_val": 1e160 * X}, "X_val has values up to"),
    ("neurontune", {"solver": "adam"}, {}, "solver"),
    ("neurontune", {"selection": "oracle"}, {}, "selection"),
    ("neurontune", {"learning_rate": 0.0}, {}, "learning_rate"),
    ("neurontune-cv", {"scoring": "best"}, {}, "best"),
    ("neurontune-cv", {"cv": [(np.arange(5), np.arange(5))]}, {"y": np.sort(Y)}, "lacks a class"),
    ("neurontune-cv", {}, {"y": (np.arange(60) == 0) * 1}, "2 samples of each class"),
    ("leace", {}, {"concepts": np.zeros(60)}, "All concepts are 0.0"),
    ("leace", {}, {"concepts": np.full(60, "a", dtype=object)}, "All concepts are 'a'"),
    ("leace", {}, {"concepts": np.zeros(3)}, r"concepts must have one .*got shape \(3,\)"),
    ("leace", {}, {"concepts": [None, *["a"] * 59]}, "concepts contains NaN or missing"),
    ("leace", {}, {"concepts": MARK, **VAL}, "either concepts or X_val"),
    ("leace", {}, {"concepts": MARK, "sample_weight": MARK * 1.0}, "All concepts are 1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters", "change", "message"), REFUSED)
def test_what_does_not_fit_is_refused(name, parameters, change, message):
    clf = clone(METHODS[name]).set_params(**parameters)
    known = {"attribute": MARK} if name in GROUPED else {}
    with pytest.raises((ValueError, TypeError), match=message) as error:
        clf.fit(**({"X": X, "y": Y} | known | change))
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("dtype", "factor"), [(np.float64, 1e160), (np.float32, 1e20)])
def test_embeddings_whose_squares_overflow_are_refused(name, dtype, factor):
    """Else variances are infinite, and the head predicts one class without a word."""
    large = X.astype(dtype) * dtype(factor)
    for sign in (1, -1):
        with pytest.raises(InputError, match=f"^X has .*too large for {dtype.__name__}"):
            fitted(name, sign * large, Y, MARK)


# -- validation sets in pipelines and searches ----------------------------------------------------


def scaled_data(seed, n=200, width=12, relu=True):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    X = rng.normal(size=(n, width)) + 0.3
    X[:, 0] += y
    X[:, 1] += 2 * np.where(rng.random(n) < 0.8, y, 1 - y)
    scale = np.exp(np.random.default_rng(99).normal(size=width))
    return (np.maximum(X, 0) if relu else X) * scale, y


@pytest.mark.parametrize("relu", [True, False])
def test_a_validation_set_on_another_scale_is_warned_of(relu):
    (X, y), (X_val, y_val) = scaled_data(0, relu=relu), scaled_data(1, relu=relu)
    scaler = StandardScaler().fit(X)
    clf = AFRClassifier(random_state=0)
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", clf)])
    told = r"does not have the scale of X.*transform_input=\['X_val'\]"
    if relu:
        with pytest.warns(UserWarning, match=told):
            pipeline.fit(X, y, clf__X_val=X_val, clf__y_val=y_val)
    for other in (255 * X_val, X_val / 255, scaler.transform(X_val), X_val + 100) if relu else ():
        with pytest.warns(UserWarning, match=told):
            clf.fit(X, y, X_val=other, y_val=y_val)
    # Warnings are errors elsewhere: the same scale, a shift of classes or marks, a few rows.
    clf.fit(X, y, X_val=X_val, y_val=y_val)
    clf.fit(X, y, X_val=99 * X_val[:8], y_val=y_val[:8])
    (X_val, y_val), Z = scaled_data(1, n=900, relu=relu), scaler.transform(X)
    for kept in (y_val == 1) | (np.arange(900) % 10 == 0), X_val[:, 1] > np.median(X_val[:, 1]):
        clf.fit(Z, y, X_val=scaler.transform(X_val[kept]), y_val=y_val[kept])


def test_a_pipeline_scales_the_validation_set_where_it_is_told_to():
    """scikit-learn's own way: transform_input, with metadata routing."""
    (X, y), (X_val, y_val) = scaled_data(0), scaled_data(1)
    scaler, clf = StandardScaler().fit(X), AFRClassifier(random_state=0)
    by_hand = clone(clf).fit(scaler.transform(X), y, X_val=scaler.transform(X_val), y_val=y_val)
    with sklearn.config_context(enable_metadata_routing=True):
        clf.set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), clf, transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
    assert pipeline[-1].head_ == by_hand.head_


@pytest.mark.parametrize("n_val", [200, 199, 100])
@pytest.mark.parametrize("routed", [True, False])
def test_a_validation_set_that_a_search_splits_like_X_is_warned_of(n_val, routed):
    """One of as many rows as X is split; one of another length, even a fold's, is passed whole."""
    (X, y), (X_val, y_val) = scaled_data(0), scaled_data(1, n=n_val)
    clf, options = AFRClassifier(random_state=0), {}
    with sklearn.config_context(enable_metadata_routing=routed):
        if routed:
            clf.set_fit_request(X_val=True, y_val=True)
            clf, options = make_pipeline(StandardScaler(), clf), {"transform_input": ["X_val"]}
            clf.set_params(**options)
        search = GridSearchCV(clf, {}, cv=2, error_score="raise")
        told = pytest.warns(UserWarning, match=r"split X_val into folds.*X_val\[1:\]")
        with told if n_val == 200 else warnings.catch_warnings():
            search.fit(X, y, X_val=X_val, y_val=y_val)
        if not routed and n_val != 199:
            with told if n_val == 200 else warnings.catch_warnings():
                cross_val_predict(clf, X, y, cv=2, params={"X_val": X_val, "y_val": y_val})
    AFRClassifier().fit(X, y, X_val=X, y_val=y)  # outside of a search the same length is fine


# -- warnings

rng = np.random.default_rng(0)
y300 = rng.integers(0, 2, 300)
EASY = np.column_stack([9 * y300, rng.normal(size=(300, 3))])  # without errors
MARK300 = np.where(rng.random(300) < 0.9, y300, 1 - y300)
HARD = np.column_stack([y300 + rng.normal(size=300), 2 * MARK300, rng.normal(size=300)])
FITS = {
    "Kept all neurons": lambda: NeuronTuneClassifier(C=1.0, max_cost=0.0).fit(HARD, y300),
    "flags all": lambda: NeuronTuneClassifier(-9.0, C=1.0, max_cost=None).fit(HARD, y300),
    "misclassifies no training sample": lambda: JTTClassifier().fit(EASY, y300),
    "did not converge": lambda: BalancedClassifier(max_iter=1, C=9.0, tol=1e-9).fit(HARD, y300),
    "or suppressed": lambda: GridSearchCV(
        NeuronTuneClassifier(C=1.0), {"threshold": [0.5]}, cv=2
    ).fit(EASY, y300),
}


@pytest.mark.parametrize("words", FITS)
def test_a_warning_points_at_the_line_that_calls_fit(words):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FITS[words]()
    (warning, *_) = [each for each in caught if words in str(each.message)]
    assert warning.filename == __file__
    line = linecache.getline(__file__, warning.lineno)
    assert "fit(" in line or "lambda" in line


def test_a_thread_without_a_caller_warns_as_well():
    clf = NeuronTuneClassifier(C=1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = Thread(target=clf.fit, args=(EASY, y300))
        thread.start()
        thread.join()
    assert SuppressionWarning in [each.category for each in caught]


# -- other packages


@pytest.mark.parametrize("name", ["neurontune-mean", "invariant"])
def test_skops_reads_a_fitted_pipeline_by_the_types_it_names(name):
    skops = pytest.importorskip("skops.io")
    fitted = make_pipeline(StandardScaler(), clone(METHODS[name])).fit(HARD, y300)
    content = skops.dumps(fitted)
    estimator = f"{type(METHODS[name]).__module__}.{type(METHODS[name]).__name__}"
    named = skops.get_untrusted_types(data=content)
    assert {estimator} <= set(named) <= {estimator, "ntkit.head.LinearHead"}
    again = skops.loads(content, trusted=named)
    assert np.array_equal(again.predict_proba(HARD), fitted.predict_proba(HARD))


def test_retrain_head_refuses_what_it_cannot_use():
    for options, message in (
        ({"C": 0}, "'C' parameter of retrain_head must be"),
        ({"tol": float("nan")}, "'tol' parameter"),
        ({"max_iter": 1.5}, "'max_iter' parameter"),
        ({"device": "gpu"}, "'device' parameter"),
        ({"class_weight": "even"}, "'class_weight' parameter"),
        ({"class_weight": {0: 1, 7: 2}}, "class_weight names the class 7, which is not in y"),
        *(({"class_weight": {0: 1, 1: w}}, "class_weight of class 1 must be a positive number")
          for w in (0, -1, np.inf, np.nan, "2")),
        ({"suppressed": [True, False]}, r"each of 6 neurons.*shape \(2,\)"),
        ({"suppressed": [0, 2, 1, 0, 0, 0]}, "True or False for each of 6 neurons; got int64"),
        ({"sample_weight": np.ones(3)}, "sample_weight.shape"),
        ({"y": np.array([1, "a"] * 30, dtype=object)}, "mixes labels of types"),
        ({"y": np.linspace(0, 1, 60)}, "Unknown label type"),
    ):  # fmt: skip
        with pytest.raises((InputError, ValueError), match=message):
            retrain_head(**({"X": X, "y": Y} | options))
    names = np.array(["a", "b"], dtype=object)[Y]
    head = retrain_head(X, names, class_weight={"a": 1.0, "b": 3.0})
    weight = np.where(Y == 1, 3.0, 1.0)
    same = retrain_head(X, Y, sample_weight=weight, class_weight=None)
    assert head.classes.tolist() == ["a", "b"]
    assert np.array_equal(head.coef, same.coef)
