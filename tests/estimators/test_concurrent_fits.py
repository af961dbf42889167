"""Fits in several threads at a time: the same heads as one after another, and nothing left."""

import warnings

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.base import clone

from ntkit.estimators import LABEL_FREE, DFRClassifier, GroupDROClassifier, retrain_head
from ntkit.exceptions import SuppressionWarning

ALL = {**LABEL_FREE, "dfr": DFRClassifier, "groupdro": GroupDROClassifier}
QUICK = {"random_state": 0, "alphas": (1.0,), "cv": 2, "n_retrains": 3, "n_selected": (30,),
         "thresholds": (0.0, 0.5), "Cs": (1.0, 0.1), "identification": 2}  # fmt: skip


def data(seed, n_classes):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, 400)
    mark = np.where(rng.random(400) < 0.85, y, rng.integers(0, n_classes, 400))
    X = rng.normal(size=(400, 40))
    X[np.arange(400), y] += 1.5
    X[np.arange(400), 4 + mark] += 2
    return X, y, n_classes * y + mark


def fitted(name, seed, n_classes):
    X, y, groups = data(seed, n_classes)
    clf = ALL[name]()
    values = QUICK | ({"n_selected": 100} if name == "self" else {})
    values["tol"] = 1e-2 if name == "groupdro" else 1e-3
    clf.set_params(**{k: v for k, v in values.items() if k in clf.get_params()})
    extra = {"groups": groups} if name in ("dfr", "groupdro") else {}
    return clone(clf).fit(X, y, **extra).head_


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ALL)
def test_the_same_heads_as_in_one_thread(name, n_classes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuppressionWarning)
        before = list(warnings.filters)
        serial = [fitted(name, seed, n_classes) for seed in range(3)]
        jobs = (delayed(fitted)(name, seed % 3, n_classes) for seed in range(6))
        assert Parallel(n_jobs=6, backend="threading")(jobs) == serial * 2
        assert list(warnings.filters) == before


def test_heads_fitted_at_a_time():
    sets = [data(seed, 2)[:2] for seed in range(6)]
    serial = [retrain_head(*some) for some in sets]
    jobs = (delayed(retrain_head)(*some) for some in sets)
    assert Parallel(n_jobs=6, backend="threading")(jobs) == serial
