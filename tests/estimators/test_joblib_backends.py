"""Searches give the same results on joblib's Ray and Dask back ends as in one process."""

import gc
import os
import warnings

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from ntkit import NeuronTuneClassifier
from ntkit.estimators import DFRClassifier

pytestmark = pytest.mark.more  # tests/solver fits on Ray in make test


@pytest.fixture(scope="module")
def on_ray(ray):
    """Ray on two cores of this machine, known to joblib."""
    from ray.util.joblib import register_ray

    register_ray()
    return {"backend": "ray", "n_jobs": 2}


@pytest.fixture(scope="module")
def on_dask():
    """Two worker processes of Dask on this machine."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    before = dict(os.environ)
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=":0"):
        os.environ.clear()  # it leaves its workers' PYTHONHASHSEED and more to later processes
        os.environ.update(before)
        yield {"backend": "dask"}
    with warnings.catch_warnings(action="ignore"):  # sockets that it leaves to the collector
        gc.collect()


@pytest.fixture(params=["ray", "dask"])
def backend(request):
    return request.getfixturevalue(f"on_{request.param}")


@pytest.fixture(scope="module")
def data():
    """Embeddings of two classes and four groups, large enough to be shared rather than sent."""
    rng = np.random.default_rng(0)
    n, width = 6000, 64
    y = rng.integers(0, 2, n)
    mark = np.where(rng.random(n) < 0.9, y, 1 - y)
    Z = rng.normal(size=(n, width)).astype(np.float32)
    Z[:, :4] += y[:, None]
    Z[:, 4:8] += 2 * mark[:, None]
    return Z, y, 2 * y + mark


def fit(estimator, data, **parameters):
    with warnings.catch_warnings(), joblib.parallel_config(**parameters):
        # scikit-learn takes the filters along, and threads of a Dask worker mix them up.
        warnings.simplefilter("ignore")
        return estimator.fit(data[0], data[1])


def search(**options):
    grid = {"max_suppressed": [0.05, 0.2], "solver": ["optimum", "sgd"]}
    classifier = NeuronTuneClassifier.as_described(C=1.0, random_state=0)
    return GridSearchCV(classifier, grid, scoring="balanced_accuracy", cv=3, **options)


def test_a_grid_search_on_a_memory_mapped_store(backend, data, tmp_path):
    np.save(tmp_path / "Z.npy", data[0])
    mapped = np.load(tmp_path / "Z.npy", mmap_mode="r"), data[1]
    one = fit(search(n_jobs=1), mapped, backend="sequential")
    other = fit(search(n_jobs=2), mapped, **backend)
    assert one.best_params_ == other.best_params_
    for name in one.cv_results_:
        if "time" not in name:
            assert_array_equal(one.cv_results_[name], other.cv_results_[name])
    assert one.best_estimator_.head_ == other.best_estimator_.head_


def test_heads_that_share_memory(backend, data):
    Z, y, groups = data
    head = DFRClassifier(random_state=0).fit(Z[:600], y[:600], groups=groups[:600]).head_
    with joblib.parallel_config(**backend):
        clf = DFRClassifier(random_state=0, n_jobs=2)
        assert clf.fit(Z[:600], y[:600], groups=groups[:600]).head_ == head
