"""Any linear classifier of scikit-learn as a candidate of a repair."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from ntkit import FrozenModel, OnnxEmbedder, debias
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError


@pytest.fixture(scope="module")
def sets():
    digits = load_marked_digits()
    return (digits.X_train, digits.y_train), (digits.X_validation, digits.y_validation)


@pytest.mark.parametrize(
    "own",
    [
        LogisticRegression(C=0.01),
        GridSearchCV(make_pipeline(MinMaxScaler(), RidgeClassifier()),
                     {"ridgeclassifier__alpha": [0.1, 10.0]}),
    ],
    ids=["logistic regression", "search over a pipeline"],
)  # fmt: skip
def test_the_file_decides_as_the_estimator(own, sets, tmp_path):
    train, validation = sets
    out = tmp_path / "out"
    debias(
        marked_digits_model_path(),
        train,
        validation,
        method=own,
        out=out,
        device="cpu",
        even_if_worse=True,
        max_cost=1.0,
    )
    model = FrozenModel.load(marked_digits_model_path())
    Z, Z_val = (OnnxEmbedder(model, device="cpu").transform(X) for X, _ in sets)
    mean, std = Z.mean(axis=0, dtype=float), Z.std(axis=0, dtype=float)
    std[std == 0] = 1
    clf = clone(own).fit(((Z - mean) / std).astype(Z.dtype), train[1])
    by_hand = clf.predict(((Z_val - mean) / std).astype(Z.dtype))
    written = FrozenModel.load(out / "debiased.onnx").head.predict(Z_val)
    assert np.mean(written == by_hand) > 0.995  # but for ties
    found = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert found["chosen"] == "yours"
    assert found["suppressed_neurons"] == []


def test_what_is_not_linear_is_refused(sets, tmp_path):
    train, validation = sets
    out = tmp_path / "out"
    with pytest.raises(
        InputError, match="GaussianNB is not one linear layer; use a classifier that"
    ):
        debias(marked_digits_model_path(), train, validation, method=GaussianNB(), out=out)
    assert not out.exists()
