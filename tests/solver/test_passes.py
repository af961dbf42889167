"""A pass over the rows is the same sum, however the rows are held and cut."""

import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn import config_context

from ntkit.estimators import BalancedClassifier
from ntkit.exceptions import MissingDependencyError
from ntkit.solver.fit_head import fit_linear_head
from ntkit.solver.loss import NumpyPasses, RayPasses, TorchPasses, is_mapped


def problem(n=500, width=7, n_logits=3, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, width)) + rng.normal(size=width)).astype(dtype)
    weight = rng.random(n)
    y = rng.integers(0, max(2, n_logits), n)
    W, b = rng.normal(size=(n_logits, width)), rng.normal(size=n_logits)
    return X, y, weight / weight.sum(), W, b


def by_hand(X, y, weight, W, b, offset=0.0):
    """Loss and its derivatives, in double precision, in one piece."""
    logits = X.astype(float) @ W.T + b + offset
    if len(W) == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = odds / odds.sum(axis=1, keepdims=True)
    residual = weight[:, None] * (shares - np.eye(logits.shape[1])[y])
    residual = residual[:, 1:] if len(W) == 1 else residual
    value = -weight @ np.log(shares[np.arange(len(y)), y])
    return value, residual.sum(axis=0), residual.T @ X.astype(float)


def same(found, wanted, rtol=1e-5, atol=1e-6):
    for one, other in zip(found, wanted, strict=True):
        assert_allclose(one, other, rtol=rtol, atol=atol)


@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(1, 400),
    n_logits=st.sampled_from([1, 3]),
    memory=st.sampled_from([0.0, 0.001, 0.01, 64]),
    shifted=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_chunks_add_up(n, n_logits, memory, shifted, dtype):
    X, y, weight, W, b = problem(n, n_logits=n_logits, dtype=dtype)
    offset = np.random.default_rng(1).normal(size=(n, n_logits)) if shifted else None
    with config_context(working_memory=memory):
        data = NumpyPasses(X, y, weight, np.arange(7), offset)
        same(data.loss(W, b), by_hand(X, y, weight, W, b, 0.0 if offset is None else offset))
        assert_allclose(data.mean(), weight @ X, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mapped", [False, True])
def test_some_columns_are_as_if_there_were_no_others(mapped, tmp_path):
    X, y, weight, W, b = problem()
    kept = np.array([0, 2, 5])
    np.save(tmp_path / "X.npy", X)
    held = np.load(tmp_path / "X.npy", mmap_mode="r") if mapped else X
    data = NumpyPasses(held, y, weight, kept)
    assert data.width == 3
    same(data.loss(W[:, kept], b), by_hand(X[:, kept], y, weight, W[:, kept], b))
    assert_allclose(data.mean(), weight @ X[:, kept], rtol=1e-5, atol=1e-6)
    sample, share = data.sample(100)
    assert_allclose(sample, X[::5][:, kept])
    assert_allclose(share, weight[::5])


def test_a_mapped_file_is_known_through_its_views(tmp_path):
    np.save(tmp_path / "X.npy", np.zeros((4, 3)))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert is_mapped(mapped)
    assert is_mapped(np.asarray(mapped)[1:].T)
    assert not is_mapped(mapped + 1)
    assert not is_mapped(np.zeros(3)[1:])
    assert not is_mapped([1])


@pytest.mark.parametrize("n_silent", [0, 40])
def test_a_mapped_file_is_never_in_memory(n_silent, tmp_path):
    X, y, *_ = problem(n=60_000, width=64)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    gains = np.arange(64) >= n_silent
    tracemalloc.start()
    with config_context(working_memory=1):
        found = fit_linear_head(mapped, y, np.ones(len(y)), classes=np.arange(3), gains=gains)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2
    whole = fit_linear_head(X, y, np.ones(len(y)), classes=np.arange(3), gains=gains)
    assert_allclose(found.coef, whole.coef, atol=1e-4)


@pytest.mark.parametrize("n_logits", [1, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("resident", [True, False])
def test_torch_computes_the_same(n_logits, dtype, resident, monkeypatch):
    pytest.importorskip("torch", reason="needs the extra torch")
    if not resident:
        monkeypatch.setattr("ntkit.solver.loss._free_memory", lambda torch, device: 0)
    X, y, weight, W, b = problem(n_logits=n_logits, dtype=dtype)
    offset = np.random.default_rng(1).normal(size=(len(X), n_logits))
    for kept in (np.arange(7), np.array([1, 6])):
        with config_context(working_memory=0.005):
            torch_passes = TorchPasses(X, y, weight, kept, offset, device="cpu")
            numpy_passes = NumpyPasses(X, y, weight, kept, offset)
            same(torch_passes.loss(W[:, kept], b), numpy_passes.loss(W[:, kept], b))


@pytest.mark.more
@pytest.mark.parametrize("held", ["array", "view of a map"])
def test_ray_computes_the_same(held, ray, tmp_path):
    X, y, weight, W, b = problem()
    offset = np.random.default_rng(1).normal(size=(len(X), 3))
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    kept = np.array([1, 4, 6])
    rows = X if held == "array" else mapped[:400]
    n = len(rows)
    on_ray = RayPasses(rows, y[:n], weight[:n], kept, offset[:n])
    here = NumpyPasses(X[:n], y[:n], weight[:n], kept, offset[:n])
    same(on_ray.loss(W[:, kept], b), here.loss(W[:, kept], b))
    assert_allclose(on_ray.mean(), here.mean(), rtol=1e-5)
    sample, share = on_ray.sample(100)
    assert sample.shape == (len(share), 3)
    assert 90 <= len(sample) <= 120


@pytest.mark.more
def test_a_head_fitted_on_ray_is_the_head_fitted_here(ray, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    X = rng.normal(size=(3000, 20)).astype(np.float32)
    X[:, 1:6] += 1.5 * y[:, None]
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    here = BalancedClassifier().fit(mapped, y)
    there = BalancedClassifier(device="ray").fit(mapped, y)
    assert_allclose(here.coef_, there.coef_, atol=1e-4)


def test_ray_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    X, y, *_ = problem()
    with pytest.raises(MissingDependencyError, match="pip install ray"):
        BalancedClassifier(device="ray").fit(X, y)
