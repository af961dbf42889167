"""SpuriousNeuronSelector: the same neurons as the published method, dropped."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ntkit import LinearHead, NeuronTuneClassifier
from ntkit.estimators import SpuriousNeuronSelector
from tests.estimators.samples import labelled

data = partial(labelled, n=300, width=8, relu=True)

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")


@given(
    st.integers(0, 10_000),
    st.sampled_from([2, 3]),
    st.fixed_dictionaries({
        "threshold": st.sampled_from([0.0, 0.2]),
        "max_suppressed": st.sampled_from([0.3, 1.0]),
        "aggregation": st.sampled_from(["union", "intersection"]),
        "statistic": st.sampled_from(["median", "mean", "magnitude", "contribution"]),
        "identification": st.sampled_from([3, 0.4, "train"]),
    }),
)  # fmt: skip
@settings(max_examples=6, deadline=None)
def test_a_balanced_logistic_regression_behind_it_is_neurontune(seed, n_classes, rule):
    X, y = data(seed, n_classes=n_classes)
    if rule["identification"] == 0.4:  # the left-out share is not for retraining
        rule = {**rule, "identification": "train"}
    lr = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=5000)
    pipeline = make_pipeline(SpuriousNeuronSelector(random_state=1, **rule), lr)
    pipeline.fit(X, y)
    clf = NeuronTuneClassifier.as_described(solver="optimum", C=1.0, random_state=1, **rule).fit(
        X, y
    )
    assert np.array_equal(pipeline[0].get_support(), ~clf.suppressed_)
    assert np.array_equal(pipeline[0].spuriousness_scores_, clf.spuriousness_scores_, True)
    assert np.allclose(pipeline.predict_proba(X), clf.predict_proba(X), atol=1e-3)


def test_an_identification_set_and_a_head_are_passed_on():
    X, y = data(1, n=600)
    X, X_val, y, y_val = X[:300], X[300:], y[:300], y[300:]
    head = LinearHead(np.eye(1, 8), [-0.5], [0, 1])
    for given_head in (None, head):
        selector = SpuriousNeuronSelector(head=given_head).fit(X, y, X_val=X_val, y_val=y_val)
        clf = NeuronTuneClassifier.as_described(solver="optimum", C=1.0, head=given_head)
        clf.fit(X, y, X_val=X_val, y_val=y_val)
        assert np.array_equal(selector.suppressed_, clf.suppressed_)
        assert np.array_equal(selector.n_errors_, clf.n_errors_)
    weight = np.where(np.arange(300) % 5, 1.0, 0.0)
    selector = SpuriousNeuronSelector(identification="train").fit(X, y, weight)
    kept = SpuriousNeuronSelector(identification="train").fit(X[weight > 0], y[weight > 0])
    assert np.allclose(selector.spuriousness_scores_, kept.spuriousness_scores_, atol=1e-6)


def test_it_drops_columns_and_keeps_their_names():
    X, y = data(2, dtype=np.float32)
    frame = pd.DataFrame(X, columns=[f"n{i}" for i in range(8)])
    selector = SpuriousNeuronSelector(max_suppressed=0.5, random_state=0)
    selector.set_output(transform="pandas").fit(frame, y)
    assert 0 < selector.suppressed_.sum() <= 4
    kept = frame.loc[:, ~selector.suppressed_]
    pd.testing.assert_frame_equal(selector.transform(frame), kept)
    assert selector.get_feature_names_out().tolist() == kept.columns.tolist()
    assert selector.n_features_in_ == 8

    plain = clone(selector).set_output(transform="default").fit(X, y)
    assert np.array_equal(plain.transform(X), X[:, ~plain.suppressed_])
    assert plain.transform(X).dtype == np.float32
    masked = plain.inverse_transform(plain.transform(X))
    assert np.array_equal(masked, np.where(plain.suppressed_, 0, X))
    selector.fit(X, y)
    assert not hasattr(selector, "feature_names_in_")
