"""``head`` of the estimators: a LinearHead, or a classifier that ``head_of`` reads."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from ntkit.estimators import (
    AFRClassifier,
    EVaLSClassifier,
    JTTClassifier,
    LEACEClassifier,
    LEIAClassifier,
    NeuronTuneClassifier,
    NeuronTuneClassifierCV,
    SELFClassifier,
    SpuriousNeuronSelector,
    head_of,
)
from ntkit.exceptions import InputError

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")

ESTIMATORS = [
    *(AFRClassifier, EVaLSClassifier, JTTClassifier, LEACEClassifier, LEIAClassifier),
    *(NeuronTuneClassifier, NeuronTuneClassifierCV, SELFClassifier, SpuriousNeuronSelector),
]
rng = np.random.default_rng(0)
y = np.where(rng.random(400) < 0.5, "yes", "no")
X = rng.normal(size=(400, 6)) * np.geomspace(1, 30, 6)
X[:, :2] += 1.5 * (y == "yes")[:, None]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_a_fitted_linear_classifier_is_a_head(cls):
    own = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:200], y[:200])
    val = {} if cls in (JTTClassifier, SELFClassifier) else {"X_val": X[200:], "y_val": y[200:]}
    results = []
    for head in (own, head_of(own)):
        clf = cls(head=head)
        if "random_state" in clf.get_params(deep=False):
            clf.set_params(random_state=0)
        clf = clone(clf)
        assert clf.get_params(deep=False)["head"] is head
        clf.fit(X[:200], y[:200], **val)
        results.append(clf.suppressed_ if cls is SpuriousNeuronSelector else clf.coef_)
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    "head", [LogisticRegression(), RidgeClassifier(), LinearSVC(), SGDClassifier(random_state=0)]
)
def test_any_of_scikit_learns_linear_ones_is_one_and_a_search_keeps_it(head):
    head = make_pipeline(StandardScaler(), head).fit(X, y)
    clf = NeuronTuneClassifier(head=head, random_state=0)
    assert np.allclose(clf.fit(X, y).erm_head_.coef, head_of(head).coef)
    search = GridSearchCV(clf, {"threshold": [0.0, 0.5]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.head is head


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (LogisticRegression(), "LogisticRegression is not fitted; call its fit first"),
        (RandomForestClassifier(5).fit(X, y), "RandomForestClassifier is not one linear layer"),
    ],
)
def test_what_is_no_head_is_one_sentence_with_the_fix(head, problem):
    for clf in (NeuronTuneClassifier(head=head), SpuriousNeuronSelector(head=head)):
        with pytest.raises(InputError, match=f"head must be .*head_of.*{problem}"):
            clf.fit(X, y)
    with pytest.raises(InputError, match=f"early_head must be .*{problem}"):
        SELFClassifier(early_head=head, selection="early_stop_disagreement").fit(X, y)
