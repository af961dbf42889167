"""Threads of BLAS during fits, and after them."""

import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from ntkit.estimators import LABEL_FREE, retrain_head
from ntkit.exceptions import SuppressionWarning
from ntkit.solver.fit_head import one_scipy_thread, paths_of_scipy

SITE = Path(scipy.__file__).resolve().parent.parent
NUMPYS = SITE / "numpy.libs" / "libscipy_openblas64_-32a4b2a6.so"
SCIPYS = SITE / "scipy.libs" / "libscipy_openblas-6cdc3b4a.so"


def threads():
    """Threads of each BLAS library by its path."""
    return {lib["filepath"]: lib["num_threads"] for lib in threadpool_info()}


@pytest.fixture
def several():
    """Two threads or more for every library, as after an import on a machine of several cores."""
    before = threads()
    blas = ThreadpoolController().select(user_api="blas")
    for lib in blas.lib_controllers:
        lib.set_num_threads(3)
    yield threads()
    for lib in blas.lib_controllers:
        lib.set_num_threads(before[lib.filepath])


@pytest.fixture
def scipys(several):
    """SciPy's own library, and that it is not NumPy's."""
    own = paths_of_scipy(several)
    if not own or len(own) == len(several):
        pytest.skip("NumPy and SciPy share one BLAS here")
    return own


def data(n=400, width=30, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, width))
    return X, (X[:, 0] + rng.normal(size=n) > 0).astype(int)


def test_scipys_library_is_told_from_numpys_and_from_one_that_both_use():
    mac = [Path(scipy.__file__).resolve().parent / ".dylibs" / "libscipy_openblas.dylib"]
    mac.append(SITE / "numpy" / ".dylibs" / "libscipy_openblas64_.dylib")
    for paths, own in (
        ([NUMPYS, SCIPYS], [SCIPYS]),
        (mac, mac[:1]),
        (["/opt/conda/lib/libopenblasp-r0.3.30.so"], []),
        (["/usr/lib/openblas-pthread/libblas.so.3"], []),
    ):
        assert paths_of_scipy(map(str, paths)) == [*map(str, own)]


@pytest.mark.parametrize("small", [False, True])
def test_a_fit_limits_scipy_and_numpy_only_where_threads_gain_nothing(
    several, scipys, monkeypatch, small
):
    from ntkit.solver import fit_head
    from ntkit.solver.loss import NumpyPasses

    seen = []
    plain = NumpyPasses.loss

    def loss(self, W, b):
        seen.append(threads())
        return plain(self, W, b)

    monkeypatch.setattr(NumpyPasses, "loss", loss)
    monkeypatch.setattr(fit_head, "LARGE", 10**9 if small else 1)
    retrain_head(*data())
    assert seen
    for counts in seen:
        assert all(counts[path] == 1 for path in scipys)
        blas = {lib["filepath"] for lib in threadpool_info() if lib["user_api"] == "blas"}
        others = blas - set(scipys)
        assert all(counts[path] == (1 if small else several[path]) for path in others)
    assert threads() == several


def test_fits_in_eight_threads_leave_no_limit_behind(several):
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            heads = list(pool.map(lambda seed: retrain_head(*data(seed=seed)), range(8)))
            assert threads() == several
    assert heads == [retrain_head(*data(seed=seed)) for seed in range(8)]


def test_the_last_to_leave_need_not_be_the_first_to_enter_while_both_live(several, scipys):
    """The pool keeps the first thread alive, which newer threadpoolctl lets alone set limits."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        contexts = one_scipy_thread(), one_scipy_thread()
        one.submit(contexts[0].__enter__).result()
        other.submit(contexts[1].__enter__).result()
        one.submit(contexts[0].__exit__, None, None, None).result()
        other.submit(contexts[1].__exit__, None, None, None).result()
        assert threads() == several


def test_an_error_leaves_no_limit_behind(several):
    with pytest.raises(ZeroDivisionError), one_scipy_thread():
        raise ZeroDivisionError
    assert threads() == several
    with pytest.raises(ConvergenceWarning, match="max_iter"):  # warnings are errors here
        retrain_head(*data(n=60, width=80), max_iter=2)
    assert threads() == several


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_starts_without_the_limit(several, scipys):
    with one_scipy_thread():
        with warnings.catch_warnings(action="ignore"):  # of forking with other threads
            child = os.fork()
        if child == 0:
            os._exit(0 if threads() == several else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert all(threads()[path] == 1 for path in scipys)
    assert threads() == several


def test_a_limit_of_the_users_own_stays(several):
    with threadpool_limits(2, user_api="blas"):
        inside = threads()
        retrain_head(*data())
        assert threads() == inside
    assert threads() == several


@pytest.mark.parametrize("name", ["neurontune", "auto"])
def test_no_decision_depends_on_the_number_of_threads(name):
    """Sums in another order differ in their last digits: logits by 1e-3 of their spread at most."""
    rng = np.random.default_rng(0)
    y, n = rng.integers(0, 2, 800), 800
    mark = np.where(rng.random(n) < 0.9, y, 1 - y)
    X = rng.normal(size=(n, 128)).astype(np.float32)
    X[:, :2] += y[:, None]
    X[:, 2:4] += 2 * mark[:, None]

    def fitted(n_threads):
        clf = LABEL_FREE[name]()
        quick = {"random_state": 0, "alphas": (1.0,)}
        clf.set_params(**{key: quick[key] for key in quick if key in clf.get_params()})
        with (
            warnings.catch_warnings(action="ignore", category=SuppressionWarning),
            threadpool_limits(n_threads, user_api="blas"),
        ):
            return clf.fit(X, y)

    one, several = fitted(1), fitted(3)
    spread = np.std(one.decision_function(X))
    assert np.abs(one.decision_function(X) - several.decision_function(X)).max() <= 1e-3 * spread
    assert (one.predict(X) == several.predict(X)).all()
    for decision in ("suppressed_", "recipe_", "alpha_", "misclassified_"):
        if hasattr(one, decision):
            assert np.array_equal(getattr(one, decision), getattr(several, decision))
