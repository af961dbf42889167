"""The solver against scikit-learn's optimum of the same objective; many heads are one by one."""

import re
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ntkit.exceptions import DeviceError, InputError, MissingDependencyError
from ntkit.head import LinearHead
from ntkit.solver.fit_head import fit_linear_head, fit_linear_heads, resolve_device
from ntkit.solver.loss import NumpyPasses


def problem(seed=0, n=300, width=12, n_classes=2, relu=False, dtype=np.float64):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)
    logits = 0.3 * X[:, :n_classes] + rng.gumbel(size=(n, n_classes))
    X = np.maximum(X, 0) if relu else X
    return X.astype(dtype), logits.argmax(axis=1), rng.random(n) + 0.1


def objective(X, y, weight, C, W, b):
    """scikit-learn's: C Σ s ℓ + ½ ‖W‖²."""
    logits = X.astype(float) @ W.T.astype(float) + b
    if len(W) == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    top = logits.max(axis=1, keepdims=True)
    log_z = (top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True)))[:, 0]
    loss = log_z - logits[np.arange(len(y)), y]
    return C * (weight @ loss) + 0.5 * (W.astype(float) ** 2).sum()


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("shape", [(300, 12), (60, 80)])
def test_reaches_scikit_learns_optimum(n_classes, C, shape):
    X, y, weight = problem(n=shape[0], width=shape[1], n_classes=n_classes)
    found = fit_linear_head(
        X, y, weight, classes=np.arange(n_classes), C=C, tol=1e-9, max_iter=5000
    )
    theirs = LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(X, y, sample_weight=weight)
    ours, reference = (
        objective(X, y, weight, C, W, b)
        for W, b in ((found.coef, found.intercept), (theirs.coef_, theirs.intercept_))
    )
    assert ours <= reference * (1 + 1e-6)
    assert np.allclose(found.coef, theirs.coef_, rtol=1e-2, atol=1e-3 * np.abs(found.coef).max())


@pytest.mark.parametrize("n_classes", [2, 5])
def test_float32_stays_float32_and_near_the_optimum(n_classes):
    X, y, weight = problem(n=2000, width=40, n_classes=n_classes, relu=True, dtype=np.float32)
    found = fit_linear_head(X, y, weight, classes=np.arange(n_classes))
    assert found.coef.dtype == np.float32
    theirs = LogisticRegression(tol=1e-10, max_iter=10_000).fit(
        X.astype(float), y, sample_weight=weight
    )
    reference = objective(X, y, weight, 1, theirs.coef_, theirs.intercept_)
    assert objective(X, y, weight, 1, found.coef, found.intercept) <= reference * (1 + 1e-5)


def test_scales_that_differ_widely_take_no_more_iterations():
    """Separable classes and a weak penalty, neurons from thousandths to thousands."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 2000)
    X = (3 * rng.normal(size=(5, 48))[y] + rng.normal(size=(2000, 48))).astype(np.float32)
    weight, fits = np.ones(len(X)), []
    for scale in (np.ones(48), np.logspace(-3, 3, 48)):
        scaled = (X * scale).astype(np.float32)
        gains = 1 / scaled.std(axis=0, dtype=np.float64)
        fits.append(fit_linear_head(scaled, y, weight, classes=np.arange(5), C=0.1, gains=gains))
        assert (fits[-1].predict(scaled) == y).all()
    plain, wide = fits
    assert wide.n_iter < 2 * plain.n_iter
    assert np.allclose(wide.coef * scale, plain.coef, atol=1e-2 * np.abs(plain.coef).max())


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_a_gain_is_the_same_as_a_scaled_column(seed):
    X, y, weight = problem(seed, n=120, width=6, n_classes=3)
    gains = np.random.default_rng(seed).choice([0.0, 0.3, 1.0, 2.0], 6)
    gains[0] = 1.0
    found = fit_linear_head(X, y, weight, classes=np.arange(3), gains=gains, tol=1e-9)
    scaled = fit_linear_head(X * gains, y, weight, classes=np.arange(3), tol=1e-9)
    assert np.allclose(found.coef, scaled.coef * gains, atol=1e-4)
    assert np.allclose(found.intercept, scaled.intercept, atol=1e-4)
    assert (found.coef[:, gains == 0] == 0).all()


@pytest.mark.parametrize(("C", "s"), [(0.01, 0.1), (1.0, 0.5), (1.0, 3.0)])
def test_a_neuron_times_s_has_its_penalty_over_s_squared(C, s):
    """There the derivative of scikit-learn's objective with such a penalty is 0."""
    X, y, weight = problem(width=5)
    gains = np.array([s, 1, 1, 1, 1])
    head = fit_linear_head(X, y, weight, classes=np.arange(2), C=C, gains=gains, tol=1e-10)
    residual = C * weight * (expit(head.decision_function(X)) - y)
    assert residual.sum() == pytest.approx(0, abs=1e-4)
    assert head.coef[0] / gains**2 == pytest.approx(-X.T @ residual, rel=1e-3, abs=1e-3)


def test_gains_of_their_own_for_each_class():
    X, y, weight = problem(n_classes=3, width=8)
    gains = np.ones((3, 8))
    gains[0, :3], gains[2, 5] = 0, 0
    found = fit_linear_head(
        X, y, weight, classes=np.arange(3), gains=gains, tol=1e-8, max_iter=5000
    )
    assert (found.coef[gains == 0] == 0).all()
    base = objective(X, y, weight, 1, found.coef, found.intercept)
    rng = np.random.default_rng(1)
    for _ in range(30):  # the objective is convex: no feasible step may lower it
        step = 1e-3 * rng.normal(size=gains.shape) * (gains > 0)
        assert objective(X, y, weight, 1, found.coef + step, found.intercept) >= base - 1e-9


def test_a_warm_start_at_the_optimum_has_nothing_left_to_do():
    X, y, weight = problem(n=1000, n_classes=3)
    cold = fit_linear_head(X, y, weight, classes=np.arange(3), tol=1e-6)
    warm = fit_linear_head(X, y, weight, classes=np.arange(3), tol=1e-5, start=cold)
    assert warm.n_iter <= 1
    far = LinearHead(cold.coef + 1, cold.intercept - 1, cold.classes)
    again = fit_linear_head(X, y, weight, classes=np.arange(3), tol=1e-8, start=far)
    assert np.allclose(again.coef, cold.coef, atol=1e-4)


def test_says_when_it_did_not_converge():
    X, y, weight = problem(n=60, width=80)
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        fit_linear_head(X, y, weight, classes=np.arange(2), max_iter=2)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_says_when_a_small_gradient_is_far_from_the_minimum(n_classes):
    """Separable classes and hardly a penalty: scikit-learn's Newton steps find a lower value."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, 300)
    X = rng.normal(size=(300, 12))
    X[np.arange(300), y] += 8
    weight, classes, C = np.ones(300), np.arange(n_classes), 1e6
    with pytest.warns(ConvergenceWarning, match="above its minimum, although its gradient") as said:
        found = fit_linear_head(X, y, weight, classes=classes, C=C)
    theirs = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y)
    minimum = objective(X, y, weight, C, theirs.coef_, theirs.intercept_)
    above = objective(X, y, weight, C, found.coef, found.intercept) / minimum - 1
    told = float(re.search(r"at least (\d+) %", str(said[0].message))[1]) / 100
    assert 0.1 < told < above
    closer = fit_linear_head(X, y, weight, classes=classes, C=C, tol=1e-10)  # and no warning
    assert objective(X, y, weight, C, closer.coef, closer.intercept) < minimum * 1.01


@given(st.integers(0, 10_000), st.sampled_from([0.01, 1.0, 100.0, 1e6]), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_no_word_where_the_minimum_is_near(seed, C, n_classes):
    """Warnings are errors here: none on problems that the optimum is reached of."""
    X, y, weight = problem(seed, n_classes=n_classes)
    if len(np.unique(y)) < n_classes:
        return
    found = fit_linear_head(X, y, weight, classes=np.arange(n_classes), C=C)
    tight = fit_linear_head(X, y, weight, classes=np.arange(n_classes), C=C, tol=1e-10)
    values = [objective(X, y, weight, C, head.coef, head.intercept) for head in (found, tight)]
    assert values[0] < values[1] * 1.001


def test_every_neuron_silenced_leaves_the_class_prior():
    X, y, weight = problem()
    found = fit_linear_head(
        X, y, weight, classes=np.arange(2), gains=np.zeros(X.shape[1]), tol=1e-10
    )
    share = weight[y == 1].sum() / weight.sum()
    assert (found.coef == 0).all()
    assert found.intercept[0] == pytest.approx(np.log(share / (1 - share)), abs=1e-6)


def test_devices(monkeypatch):
    assert resolve_device("cpu") == "cpu"
    monkeypatch.setitem(sys.modules, "torch", None)  # not installed
    assert resolve_device("auto") == "cpu"
    with pytest.raises(MissingDependencyError, match="pip install torch"):
        resolve_device("cuda")
    without_a_gpu = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", without_a_gpu)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(DeviceError, match="no CUDA device"):
        resolve_device("cuda")


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu():
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    X, y, weight = problem(n=3000, width=64, n_classes=3, dtype=np.float32)
    cpu = fit_linear_head(X, y, weight, classes=np.arange(3))
    gpu = fit_linear_head(X, y, weight, classes=np.arange(3), device="cuda")
    assert np.allclose(cpu.coef, gpu.coef, atol=1e-4)


# -- many heads at once --------------------------------------------------------------------------


def several(seed, n, width, n_classes):
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
    X, y, rng = several(seed, *shape, n_classes)
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
    X, y, rng = several(0, 300, 6, 2)
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
    X, y, rng = several(1, 500, 8, 3)
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
    X, y, rng = several(2, 100, 4, 2)

    def broken(self, weights, which, W, b):
        raise KeyboardInterrupt

    monkeypatch.setattr(NumpyPasses, "losses", broken)
    with pytest.raises(KeyboardInterrupt):
        fit_linear_heads(X, y, [rng.random(100)] * 3, classes=np.arange(2), Cs=[1.0] * 3)


def test_one_that_does_not_converge_is_warned_of():
    X, y, rng = several(3, 100, 30, 2)
    options = {"classes": np.arange(2), "Cs": [1e3] * 3, "max_iter": 2}
    with (
        warnings.catch_warnings(action="default", category=ConvergenceWarning),
        pytest.warns(ConvergenceWarning, match="max_iter=2 "),
    ):
        fit_linear_heads(X, y, [rng.random(100)] * 3, **options)


def test_penalties_share_weights():
    """The heads of two folds and three penalties, whose weights are given three times."""
    X, y, rng = several(4, 200, 6, 3)
    folds, Cs = [rng.random(200), rng.random(200)], [0.1, 1.0, 10.0]
    classes = np.arange(3)
    alone = [fit_linear_head(X, y, w, classes=classes, C=C) for C in Cs for w in folds]
    for weights in (folds * 3, np.array(folds * 3)):
        shared = fit_linear_heads(X, y, weights, classes=classes, Cs=np.repeat(Cs, 2))
        for one, other in zip(shared, alone, strict=True):
            assert_allclose(one.coef, other.coef, atol=1e-5)


def test_a_hessian_that_rounding_spoils_is_an_error_in_a_sentence(monkeypatch):
    """As with a filler value of 1e9 in one of thousands of rows."""

    def spoilt(*_, **__):
        raise np.linalg.LinAlgError("15-th leading minor of the array is not positive definite")

    monkeypatch.setattr("ntkit.solver.fit_head.cholesky", spoilt)
    X = np.random.default_rng(0).standard_normal((3000, 20))
    with pytest.raises(InputError, match="much larger than the others"):
        fit_linear_head(X, (X[:, 0] > 0).astype(int), np.ones(3000), classes=np.arange(2))
