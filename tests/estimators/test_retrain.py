"""retrain_head refuses what the estimators refuse, in one sentence."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from ntkit.estimators import BalancedClassifier, retrain_head

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 2
NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": np.r_[-1.0, np.ones(19)]}, "sample_weight contains negative"),
        ({"sample_weight": np.r_[NAN, np.ones(19)]}, "sample_weight contains NaN"),
        ({"sample_weight": np.ones(3)}, "sample_weight.shape"),
        ({"sample_weight": np.where(Y == 1, 0.0, 1.0)}, "class 1 has no sample of positive weight"),
        ({"C": 0}, "'C' parameter of retrain_head must be"),
        ({"C": -1.0}, "'C' parameter"),
        ({"C": NAN}, "'C' parameter"),
        ({"C": "1"}, "'C' parameter"),
        ({"tol": 0.0}, "'tol' parameter"),
        ({"tol": NAN}, "'tol' parameter"),
        ({"max_iter": 0}, "'max_iter' parameter"),
        ({"max_iter": 1.5}, "'max_iter' parameter"),
        ({"device": "gpu"}, "'device' parameter"),
        ({"class_weight": "even"}, "'class_weight' parameter"),
        ({"class_weight": {0: 1.0, 1: 2.0, 7: 1.0}}, "names the class 7, which is not in y"),
        ({"class_weight": {"0": 1.0, "1": 2.0}}, "names the class '0'"),
        ({"class_weight": {0: 1.0, 1: -2.0}}, "class 1 must be a positive number; got -2.0"),
        ({"class_weight": {0: 1.0, 1: NAN}}, "class 1 must be a positive number; got nan"),
        ({"suppressed": [True, False]}, r"shape \(3,\)"),
        ({"suppressed": [0, 2, 1]}, "must hold True or False for each neuron; got int64"),
        ({"suppressed": [0.5, 0.0, 1.0]}, "must hold True or False"),
        ({"suppressed": [NAN, 0.0, 1.0]}, "must hold True or False"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message) as error:
        retrain_head(X, Y, **options)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, np.zeros(20), "1 class"),
        (X, Y[:5], "inconsistent numbers of samples"),
        (X, np.array([1, "a"] * 10, dtype=object), "mixes labels of types that do not compare"),
        (X, np.array([None, "a"] * 10, dtype=object), "mixes labels of types that do not compare"),
        (X, np.linspace(0, 1, 20), "Unknown label type"),
        (X[:, 0], Y, "2D"),
        (np.where(X > 1, NAN, X), Y, "NaN"),
    ],
)
def test_samples_that_cannot_be_fitted(x, y, message):
    for fit in (retrain_head, BalancedClassifier().fit):
        with pytest.raises(ValueError, match=message):
            fit(x, y)


def test_sparse_embeddings_are_refused():
    with pytest.raises(TypeError, match="dense data is required"):
        retrain_head(csr_array(X), Y)


def test_object_labels_and_a_dict_of_weights():
    y = np.array(["a", "b"], dtype=object)[Y]
    head = retrain_head(X, y, class_weight={"a": 1.0, "b": 3.0})
    same = retrain_head(X, Y, sample_weight=np.where(Y == 1, 3.0, 1.0), class_weight=None)
    assert head.classes.tolist() == ["a", "b"]
    assert np.array_equal(head.coef, same.coef)
    masked = retrain_head(X, Y, suppressed=[True, False, False])
    assert masked.coef[0, 0] == 0
