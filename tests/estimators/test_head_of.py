"""Heads read out of scikit-learn's classifiers decide as they do."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC

from ntkit import LinearHead
from ntkit.estimators import BalancedClassifier, head_of
from ntkit.exceptions import InputError

LINEAR = [
    LogisticRegression(),
    LogisticRegression(fit_intercept=False),
    LogisticRegression(solver="saga", l1_ratio=1.0, C=0.1, max_iter=5000, random_state=0),
    LogisticRegressionCV(Cs=3, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False,
                         max_iter=5000),
    RidgeClassifier(),
    RidgeClassifier(fit_intercept=False),
    RidgeClassifierCV(),
    LinearSVC(),
    LinearSVC(multi_class="crammer_singer", max_iter=100_000),
    SGDClassifier(random_state=0),
    SGDClassifier(loss="log_loss", random_state=0),
    Perceptron(random_state=0),
    LinearDiscriminantAnalysis(),
    LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
    BalancedClassifier(),
    make_pipeline(StandardScaler(), LogisticRegression()),
    make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
    make_pipeline(StandardScaler(with_std=False), LogisticRegression()),
    make_pipeline(MinMaxScaler((-1, 3)), LinearSVC()),
    make_pipeline(MaxAbsScaler(), RidgeClassifier()),
    make_pipeline(StandardScaler(), SelectKBest(k=3), MinMaxScaler(), LogisticRegression()),
    make_pipeline(make_pipeline(StandardScaler(), "passthrough"), BalancedClassifier()),
    GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()),
                 {"logisticregression__C": [0.1, 1.0]}),
    make_pipeline(MaxAbsScaler(), GridSearchCV(RidgeClassifier(), {"alpha": [0.1, 1.0]})),
]  # fmt: skip


def data(n_classes, dtype=np.float64, names=False):
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, 240)
    X = rng.normal(size=(240, 6)) * [1, 5, 0.1, 1, 1, 1] + [0, 3, 0, -2, 0, 0]
    X[np.arange(240), y] += 2
    return X.astype(dtype), (np.array(["ant", "bee", "cat", "dog"])[y] if names else y)


@pytest.mark.parametrize(("n_classes", "dtype"), [(2, np.float64), (4, np.float32)])
@pytest.mark.parametrize("estimator", LINEAR, ids=lambda e: repr(e).replace("\n", "")[:50])
def test_decides_as_the_estimator(estimator, n_classes, dtype):
    X, y = data(n_classes, dtype, names=n_classes == 2)
    clf = estimator.fit(X, y)
    head = head_of(clf)
    assert isinstance(head, LinearHead)
    assert head.classes.tolist() == clf.classes_.tolist()
    logits = clf.decision_function(X)
    scale = np.abs(logits).max()
    assert np.abs(head.decision_function(X) - logits).max() <= 1e-4 * scale
    ordered = np.sort(np.column_stack([-logits, logits]) if logits.ndim == 1 else logits, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-3 * scale
    assert (head.predict(X)[clear] == clf.predict(X)[clear]).all()


def test_a_head_is_its_own():
    head = LinearHead([[1.0]], [0.0], [0, 1])
    assert head_of(head) is head


@pytest.mark.parametrize("sparse", [False, True])
def test_columns_with_names_and_sparse_weights(sparse):
    pd = pytest.importorskip("pandas")
    X, y = data(3)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    clf = LogisticRegression().fit(frame, y)
    clf = clf.sparsify() if sparse else clf
    assert (head_of(clf).predict(X) == clf.predict(frame)).all()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RandomForestClassifier(n_estimators=2), "RandomForestClassifier is not one linear layer"),
        (LinearRegression(), "LinearRegression is not one linear layer"),
        (SVC(), "SVC is not one linear layer"),
        (make_pipeline(PolynomialFeatures(), LogisticRegression(max_iter=9999)),
         "The step PolynomialFeatures cannot be folded"),
        (make_pipeline(MinMaxScaler(clip=True), LogisticRegression()),
         r"MinMaxScaler cannot be folded .* \(without clip\)"),
    ],
)  # fmt: skip
def test_what_is_no_linear_layer_is_refused(estimator, message, n_classes):
    X, y = data(n_classes)
    with pytest.raises(InputError, match=message) as error:
        head_of(estimator.fit(X, y))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", ["ovr", "ovo"])
def test_a_machine_that_decides_by_pairs_is_refused(shape):
    X, y = data(4)
    clf = SVC(kernel="linear", decision_function_shape=shape).fit(X, y)
    with pytest.raises(InputError, match="decides by coef_ and intercept_ with one row"):
        head_of(clf)


def test_what_is_not_fitted_or_no_classifier_is_refused():
    plain = LogisticRegression()
    for clf in (plain, make_pipeline(StandardScaler(), plain), GridSearchCV(plain, {"C": [1.0]})):
        with pytest.raises(InputError, match="is not fitted; call its fit first"):
            head_of(clf)
    with pytest.raises(InputError, match="is not a classifier"):
        head_of("LogisticRegression")
    with pytest.raises(InputError, match="no classifier at its end"):
        head_of(Pipeline([("nothing", "passthrough")]))
    X, y = data(2)
    with pytest.raises(InputError, match="does not decide by the largest"):
        head_of(RidgeClassifier().fit(X, np.column_stack([y, 1 - y])))
