"""Many heads at once are the heads fitted one by one."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning

from ntkit.solver import fit_linear_head, fit_linear_heads
from ntkit.solver._loss import NumpyPasses


def problem(seed, n, width, n_classes):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    X = rng.normal(size=(n, width)) + 0.7 * rng.normal(size=(n_classes, width))[y] + 3
    return X, y, rng


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 99),
    n_classes=st.sampled_from([2, 3]),
    shape=st.sampled_from([(40, 30), (200, 5)]),
    n_heads=st.integers(1, 7),
    masked=st.sampled_from([None, "neurons", "per class"]),
    known=st.booleans(),
)
def test_many_are_the_same_as_one_by_one(seed, n_classes, shape, n_heads, masked, known):
    X, y, rng = problem(seed, *shape, n_classes)
    weights = [rng.random(len(y)) * (rng.random(len(y)) < 0.8) + 1e-3 for _ in range(n_heads)]
    Cs = 10.0 ** rng.integers(-3, 1, n_heads)
    rows = (shape[1],) if masked == "neurons" or n_classes == 2 else (n_classes, shape[1])
    gains = None if masked is None else rng.integers(0, 2, rows) * rng.random(rows)
    options = {"classes": np.arange(n_classes), "gains": gains, "tol": 1e-8, "max_iter": 5000}
    options["covariance"] = (lambda: np.cov(X.T)) if known else None
    together = fit_linear_heads(X, y, weights, Cs=Cs.tolist(), **options)
    for weight, C, head in zip(weights, Cs, together, strict=True):
        alone = fit_linear_head(X, y, weight, C=C, **options)
        assert_allclose(head.coef, alone.coef, atol=1e-5)
        assert_allclose(head.intercept, alone.intercept, atol=1e-5)
        assert head.classes.tolist() == alone.classes.tolist()


def test_a_pass_serves_them_all(monkeypatch):
    X, y, rng = problem(0, 300, 6, 2)
    weights = [rng.random(300) for _ in range(10)]
    passes, losses = [], NumpyPasses.losses

    def counted(self, weights, which, W, b):
        passes.append(len(W))
        return losses(self, weights, which, W, b)

    monkeypatch.setattr(NumpyPasses, "losses", counted)
    heads = fit_linear_heads(X, y, weights, classes=np.arange(2), Cs=[1.0] * 10)
    assert passes[0] == 10
    assert len(passes) <= 2 * max(head.n_iter for head in heads) + 5


def test_mapped_rows_in_chunks(tmp_path):
    X, y, rng = problem(1, 500, 8, 3)
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    weights, gains = [rng.random(500) for _ in range(4)], np.array([1, 0, 1, 1, 0, 1, 1, 1.0])
    options = {"classes": np.arange(3), "Cs": [1.0, 0.1, 1.0, 10.0], "gains": gains}
    with config_context(working_memory=0.01):
        found = fit_linear_heads(mapped, y, weights, **options)
    wanted = fit_linear_heads(np.asarray(mapped), y, weights, **options)
    for one, other in zip(found, wanted, strict=True):
        assert_allclose(one.coef, other.coef, atol=1e-3)


def test_an_error_in_a_pass_ends_all(monkeypatch):
    X, y, rng = problem(2, 100, 4, 2)

    def broken(self, weights, which, W, b):
        raise KeyboardInterrupt

    monkeypatch.setattr(NumpyPasses, "losses", broken)
    with pytest.raises(KeyboardInterrupt):
        fit_linear_heads(X, y, [rng.random(100)] * 3, classes=np.arange(2), Cs=[1.0] * 3)


def test_one_that_does_not_converge_is_warned_of():
    X, y, rng = problem(3, 100, 30, 2)
    options = {"classes": np.arange(2), "Cs": [1e3] * 3, "max_iter": 2}
    with (
        warnings.catch_warnings(action="default", category=ConvergenceWarning),
        pytest.warns(ConvergenceWarning, match="max_iter=2 "),
    ):
        fit_linear_heads(X, y, [rng.random(100)] * 3, **options)


def test_penalties_share_weights():
    """The heads of two folds and three penalties, whose weights are given three times."""
    X, y, rng = problem(4, 200, 6, 3)
    folds, Cs = [rng.random(200), rng.random(200)], [0.1, 1.0, 10.0]
    classes = np.arange(3)
    shared = fit_linear_heads(X, y, folds * 3, classes=classes, Cs=np.repeat(Cs, 2).tolist())
    alone = [
        fit_linear_head(X, y, weight, classes=classes, C=C) for C in Cs for weight in folds
    ]  # fmt: skip
    rows = fit_linear_heads(X, y, np.array(folds * 3), classes=classes, Cs=np.repeat(Cs, 2))
    for one, other, third in zip(shared, alone, rows, strict=True):
        assert_allclose(one.coef, other.coef, atol=1e-5)
        assert_allclose(third.coef, other.coef, atol=1e-5)
