r"""The optimiser: weighted logistic regression with an L2 penalty, to its optimum.

With the mean loss over weights :math:`s_n`, :math:`S = \sum_n s_n`, it minimises

.. math::

    f(W, b) = \frac1S \sum_n s_n\, \ell(W z_n + b,\, y_n)
              + \frac{1}{2 C S} \sum_{k,i} \frac{W_{ki}^2}{g_i^2}

which is scikit-learn's ``LogisticRegression`` objective divided by :math:`C S`. The embedding of
neuron i is multiplied by the gain :math:`g_i` (0 removes the neuron), and the weights include the
gains. Two classes have one logit, as in scikit-learn.

Embeddings are ill-conditioned, so plain L-BFGS needs hundreds of passes. Here L-BFGS runs on
:math:`U = L^\top W`, where
:math:`L L^\top = \alpha\, \mathrm{Cov}(z) + \mathrm{diag}(g^{-2}) / (C S)` is the Hessian of f at W
= 0 (:math:`\alpha = 1/4` for one logit, 1/K for K). The data are never transformed: W and its
gradient are, and centring is folded into the bias. If that Hessian is not useful (few rows per
neuron), its average diagonal is used. The covariance comes from a sample of the rows; fits to the
same rows (folds, thresholds, rounds, penalties, error weights) share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import scipy
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import OpenBLASController, ThreadpoolController

from ntkit._extras import import_ray, install_extra
from ntkit._process import SharedSwitch, warn
from ntkit._types import Array
from ntkit.exceptions import DeviceError, InputError, MissingDependencyError
from ntkit.head import LinearHead
from ntkit.solver.loss import NumpyPasses, Passes, passes_over

_ROWS_PER_NEURON = 2  # with fewer, the Hessian at W = 0 is not useful
_SAMPLE_PER_NEURON = 4  # rows that estimate the covariance accurately enough for preconditioning
_SAMPLE = 1000  # and at least these, for any number of neurons
_OWN_SHARE = 100  # neurons with less than a hundredth of the mean variance are far below the others


@dataclass(frozen=True, eq=False)
class Dense:
    """Variables U = W L for a Hessian H = L Lᵀ with this factor, the same for every logit."""

    factor: Array

    def weights(self, U: Array) -> Array:
        """Weights of variables."""
        solved = solve_triangular(self.factor, U.T, lower=True, trans="T", check_finite=False)
        return np.asarray(solved.T)

    def gradient(self, G: Array) -> Array:
        """Gradient by the variables, from that by the weights."""
        solved = solve_triangular(self.factor, G.T, lower=True, check_finite=False)
        return np.asarray(solved.T)

    def variables(self, W: Array) -> Array:
        """Variables of weights."""
        return np.asarray(W @ self.factor)


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Variables U = W d, with the inverse of d; an infinite d fixes the weight at zero."""

    inverse: Array

    def weights(self, U: Array) -> Array:
        """Weights of variables."""
        return np.asarray(U * self.inverse)

    def gradient(self, G: Array) -> Array:
        """Gradient by the variables, from that by the weights."""
        return np.asarray(G * self.inverse)

    def variables(self, W: Array) -> Array:
        """Variables of weights."""
        return np.divide(W, self.inverse, out=np.zeros_like(W), where=self.inverse > 0)


def preconditioner(
    data: Passes,
    mean: Array,
    inner: float,
    penalty: Array,
    gains: Array,
    covariance: Callable[[], Array] | None = None,
    variance: Array | None = None,
) -> Dense | Diagonal:
    """The Hessian at W = 0, factored if that saves time."""
    # With few rows per neuron the classes are nearly separable, the Hessian at the optimum differs
    # from the one at W = 0, and factoring costs more than it saves. Then, and if each class has its
    # own gains, the average variance of the neurons times their gains is used.
    rounding = 10 * np.finfo(data.dtype).eps
    if not factored(data, gains):
        if variance is None:
            centered = _centered(data, mean)
            variance = np.einsum("ij,ij->j", centered, centered, dtype=np.float64)
        average = (variance * gains**2).sum(axis=1, keepdims=True) / max(1, data.width)
        with np.errstate(divide="ignore"):
            hessian = penalty + np.maximum(inner * average, rounding) / gains**2
            return Diagonal(1 / np.sqrt(hessian))
    hessian = inner * (covariance_of(data, mean) if covariance is None else covariance())
    diagonal = np.einsum("ii->i", hessian)
    # A share of the sum alone would hide neurons of a much smaller scale than the others.
    floor = np.maximum(diagonal, inner * (rounding * mean) ** 2)
    most = np.minimum(diagonal.sum(), _OWN_SHARE * data.width * floor)
    diagonal += penalty[0] + rounding * np.maximum(most, 1e-30)
    try:
        return Dense(cholesky(hessian, lower=True, check_finite=False, overwrite_a=True))
    except LinAlgError:
        raise InputError(
            "Some embeddings are so much larger than the others that no head can be fitted. Look "
            "for a filler value, such as 1e9, in the inputs."
        ) from None


def factored(data: Passes, gains: Array) -> bool:
    """Whether the Hessian is worth a factorisation: enough rows, and one Hessian for all logits."""
    return len(gains) == 1 and data.n_rows >= _ROWS_PER_NEURON * data.width


def covariance_of(data: Passes, mean: Array) -> Array:
    """Weighted covariance (D, D), from a sample of the rows."""
    centered = _centered(data, mean)
    return np.asarray((centered.T @ centered).astype(np.float64))


def _centered(data: Passes, mean: Array) -> Array:
    """Rows whose product with themselves is a covariance."""
    sample, weight = data.sample(_SAMPLE_PER_NEURON * data.width + _SAMPLE)
    root = np.sqrt(weight / weight.sum())[:, None].astype(data.dtype)
    return np.asarray((sample - mean.astype(data.dtype)) * root)


CORRECTIONS = 20
"""Number of steps that L-BFGS remembers."""
_ABOVE = 0.01  # relative excess of the objective over its minimum; a larger one gives a warning
_SMALL = 10  # factor on tolerances for a larger objective


@dataclass(frozen=True, eq=False, repr=False)
class FittedHead(LinearHead):
    """A head, and the number of iterations of its fit."""

    n_iter: int

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.coef, self.intercept, self.classes, self.n_iter)


def stepped_head(W: Array, b: Array, classes: Array, dtype: Any, n_iter: int) -> FittedHead:
    """Head from one row per class, as gradient steps leave it; two classes get one logit."""
    head = LinearHead(W.astype(np.float64), b, classes)
    head = head.with_logits(1 if len(classes) == 2 else len(classes)).astype(dtype)
    return FittedHead(head.coef, head.intercept, classes, n_iter)


def fit_linear_head(
    X: Array,
    y_index: Array,
    sample_weight: Array,
    *,
    classes: Array,
    C: float = 1.0,
    gains: Array | None = None,
    tol: float = 1e-5,
    max_iter: int = 1000,
    start: LinearHead | None = None,
    offset: Array | None = None,
    covariance: Callable[[], Array] | None = None,
    device: str = "cpu",
    must_converge: bool = True,
) -> FittedHead:
    """Fit a linear head to its optimum; with an offset of the logits, without an intercept."""
    weight = np.asarray(sample_weight, dtype=np.float64)
    total = float(weight.sum())
    gains, kept = kept_neurons(gains, X.shape[1])
    data = passes_over(X, y_index, weight / total, kept=kept, offset=offset, device=device)
    mean = data.mean() if offset is None else np.zeros(len(kept))
    problem = Problem(
        data,
        classes,
        mean,
        1 / (C * total),
        gains,
        covariance=covariance,
        fit_intercept=offset is None,
    )
    with one_scipy_thread(X.shape[0] * X.shape[1]):
        return problem.solved(
            data.loss, tol=tol, max_iter=max_iter, start=start, must_converge=must_converge
        )


def kept_neurons(gains: Array | None, width: int) -> tuple[Array, Array]:
    """Gains of the neurons that any logit may use, and a mask of these neurons."""
    gains = np.ones(width) if gains is None else np.asarray(gains, dtype=float)
    kept = np.flatnonzero(gains if gains.ndim == 1 else gains.any(axis=0))
    return np.atleast_2d(gains[..., kept]), kept


class Problem:
    """The objective in well-conditioned variables, and the conversion from them to a head."""

    def __init__(
        self,
        data: Passes,
        classes: Array,
        mean: Array,
        alpha: float,
        gains: Array,
        *,
        covariance: Callable[[], Array] | None = None,
        variance: Array | None = None,
        basis: Dense | Diagonal | None = None,
        fit_intercept: bool = True,
    ) -> None:
        self.classes, self.kept, self.width = classes, data.kept, data.n_columns
        self.mean, self.dtype, self.fit_intercept = mean, data.dtype, fit_intercept
        self.n_logits = 1 if len(classes) == 2 else len(classes)
        self.inner = 0.25 if self.n_logits == 1 else 1 / self.n_logits
        penalty = np.divide(alpha, gains**2, out=np.full_like(gains, np.inf), where=gains != 0)
        if basis is None:
            known = (
                None if covariance is None else lambda: covariance()[np.ix_(data.kept, data.kept)]
            )
            basis = preconditioner(data, mean, self.inner, penalty, gains, known, variance)
        self.basis = basis
        self.penalty = np.where(gains != 0, penalty, 0.0)

    def solved(
        self,
        loss: Callable[[Array, Array], tuple[float, Array, Array]],
        *,
        tol: float,
        max_iter: int,
        start: LinearHead | None = None,
        must_converge: bool = True,
    ) -> FittedHead:
        """Minimise with a function that returns the loss and its derivatives."""

        def objective(flat: Array) -> tuple[float, Array]:
            W, b = self._head_of(flat)
            value, slope, gradient = loss(W, b)
            if not self.fit_intercept:
                slope = np.zeros(self.n_logits)
            gradient = gradient - slope[:, None] * self.mean + self.penalty * W
            value += 0.5 * float((self.penalty * W**2).sum())
            slope = slope / np.sqrt(self.inner)
            return value, np.column_stack([self.basis.gradient(gradient), slope]).ravel()

        x0 = np.zeros((self.n_logits, len(self.kept) + 1))
        if start is not None:
            W0 = start.coef[:, self.kept].astype(np.float64)
            b0 = np.sqrt(self.inner) * (start.intercept + W0 @ self.mean)
            x0 = np.column_stack([self.basis.variables(W0), b0])
        result = minimize(
            objective,
            x0.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": max_iter,
                "maxfun": 20 * max_iter,
                "gtol": tol,
                "ftol": 1e-3 * np.finfo(self.dtype).eps,  # rounding of products ends the iteration
                "maxcor": CORRECTIONS,
            },
        )
        if must_converge and result.nit >= max_iter and np.abs(result.jac).max() > tol:
            warn(
                f"The head did not converge in max_iter={max_iter} iterations; raise max_iter, "
                "lower C, or standardise the embeddings.",
                ConvergenceWarning,
            )
        elif (
            must_converge
            and result.fun <= _SMALL * tol
            and (above := _above_minimum(objective, result)) > _ABOVE
        ):
            warn(
                f"The head's objective, {result.fun:.1e}, is at least {100 * above:.0f} % above "
                f"its minimum, although its gradient is below tol={tol:g}: the penalty is weak and "
                "the loss small. Lower tol, or lower C for a stronger penalty.",
                ConvergenceWarning,
            )
        W, b = self._head_of(_past_rounding(objective, result, tol))
        coef = np.zeros((self.n_logits, self.width), dtype=self.dtype)
        coef[:, self.kept] = W
        return FittedHead(coef, b.astype(self.dtype), self.classes, int(result.nit))

    def _head_of(self, flat: Array) -> tuple[Array, Array]:
        """Weights of the kept neurons and bias, from the variables."""
        U = flat.reshape(self.n_logits, -1)
        W = self.basis.weights(U[:, :-1])
        return W, U[:, -1] / np.sqrt(self.inner) - W @ self.mean


def _above_minimum(objective: Callable[[Array], Any], result: Any) -> float:
    """Lower bound of the objective's excess over its minimum, as a share of the minimum."""
    # If classes are separable and the penalty is weak, the loss goes to zero together with its
    # gradient, so a small gradient does not mean that the loss is near its minimum. The next step
    # of L-BFGS tells how far it is. Only if that is far, the step is taken, followed by longer
    # ones.
    step = result.hess_inv.matvec(result.jac)
    lowest = result.fun
    if 0.5 * float(result.jac @ step) <= 0.01 * _ABOVE * lowest:
        return 0.0
    for doubling in range(10):
        value = objective(result.x - 2**doubling * step)[0]
        if not value < lowest:
            break
        lowest = value
    return float(result.fun / max(lowest, np.finfo(float).tiny) - 1)


def _past_rounding(objective: Callable[[Array], Any], result: Any, tol: float) -> Array:
    """Continue by the gradient alone if the objective no longer shows which point is lower."""
    x, gradient = result.x, result.jac
    for _ in range(5):
        if not result.success or np.abs(gradient).max() <= tol:
            break
        step = x - result.hess_inv.matvec(gradient)
        new = objective(step)[1]
        if np.abs(new).max() > np.abs(gradient).max() / 2:
            break
        x, gradient = step, new
    return np.asarray(x)


def resolve_device(device: str) -> str:
    """Turn "auto" into an available device; raise an error for unavailable "cuda" and "ray"."""
    if device not in ("cpu", "cuda", "auto", "ray"):
        raise InputError(f"device must be one of auto, cpu, cuda, ray; got {device!r}.")
    if device == "ray":
        import_ray("device='ray'")
    if device in ("cpu", "ray"):
        return device
    try:
        import torch
    except ImportError as error:
        if device == "auto":
            return "cpu"
        raise MissingDependencyError(
            f"device='cuda' needs PyTorch; install it with: {install_extra('torch')}"
        ) from error
    if torch.cuda.is_available():
        return "cuda"
    if device == "auto":
        return "cpu"
    raise DeviceError(
        "device='cuda' needs a GPU, but PyTorch sees no CUDA device; use device='cpu' or 'auto'."
    )


_MOST = 32  # threads, which mostly wait
_MEMORY = 256 << 20  # bytes of remembered steps, or of weights


def fit_linear_heads(
    X: Array,
    y_index: Array,
    weights: Sequence[Array],
    *,
    classes: Array,
    Cs: Sequence[float],
    device: str = "cpu",
    **options: Any,
) -> list[FittedHead]:
    """Fit a head for each row of weights, as :func:`fit_linear_head` fits one."""
    # The heads of folds and penalties differ only in weights and penalty. Their optimisers run in
    # parallel and wait for each other at every step, so that one product of the rows with all heads
    # replaces one product for each.
    options["classes"] = classes
    n_logits = 1 if len(classes) == 2 else len(classes)
    bytes_each = 8 * max(2 * CORRECTIONS * n_logits * X.shape[1], len(X))
    at_once = min(_MOST, _MEMORY // bytes_each)
    if device != "cpu" or min(at_once, len(weights)) < 2:
        return [
            fit_linear_head(X, y_index, weight, C=C, device=device, **options)
            for weight, C in zip(weights, Cs, strict=True)
        ]
    heads, weights = list[FittedHead](), list(weights)
    for first in range(0, len(weights), at_once):
        some = slice(first, first + at_once)
        heads += _together(X, y_index, weights[some], Cs[some], **options)
    return heads


def _together(
    X: Array,
    y_index: Array,
    weights: Sequence[Array],
    Cs: Sequence[float],
    *,
    classes: Array,
    gains: Array | None = None,
    tol: float = 1e-5,
    max_iter: int = 1000,
    covariance: Callable[[], Array] | None = None,
) -> list[FittedHead]:
    distinct = {id(weight): weight for weight in weights}  # heads of several penalties share them
    which = np.array([[*distinct].index(id(weight)) for weight in weights])
    shares = np.stack([np.asarray(weight, dtype=np.float64) for weight in distinct.values()])
    totals = shares.sum(axis=1)
    shares /= totals[:, None]
    alphas = (1 / (np.asarray(Cs) * totals[which])).tolist()
    scales, kept = kept_neurons(gains, X.shape[1])
    data = NumpyPasses(X, y_index, shares[0], kept)
    means = data.mean(shares)
    variances: Any = [None] * len(shares)
    if not factored(data, scales):
        variances = data.variances(shares, means)
    bases: dict[float, Dense] = {}
    problems = list[Problem]()
    for i, alpha in zip(which, alphas, strict=True):
        near = next((a for a in bases if abs(a / alpha - 1) < 1e-9), alpha)
        weighted = copy(data)  # the same rows with other weights
        weighted.weight = shares[i]
        problem = Problem(
            weighted,
            classes,
            means[i],
            alpha,
            scales,
            covariance=covariance,
            variance=variances[i],
            basis=bases.get(near),
        )
        if covariance is not None and isinstance(problem.basis, Dense):
            bases[near] = problem.basis  # computed from the covariance and the penalty alone
        problems.append(problem)
    with one_scipy_thread(X.shape[0] * X.shape[1] * len(problems)):
        return _side_by_side(problems, data, shares, which, tol=tol, max_iter=max_iter)


def _side_by_side(
    problems: Sequence[Problem],
    data: NumpyPasses,
    shares: Array,
    which: Array,
    *,
    tol: float,
    max_iter: int,
) -> list[FittedHead]:
    """Run an optimiser for each problem in a thread; all wait for one pass over the rows."""
    requests: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    answers: list[SimpleQueue[Any]] = [SimpleQueue() for _ in problems]

    def solved(i: int) -> FittedHead:
        def loss(W: Array, b: Array) -> Any:
            requests.put((i, (W, b)))
            answer = answers[i].get()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            return problems[i].solved(loss, tol=tol, max_iter=max_iter)
        finally:
            requests.put((i, None))

    with ThreadPoolExecutor(len(problems)) as pool:
        heads = [pool.submit(solved, i) for i in range(len(problems))]
        try:
            # A pass computes the losses when all running optimisers have asked for one.
            running, asked = len(answers), dict[int, tuple[Array, Array]]()
            while running:
                number, point = requests.get()
                if point is None:
                    running -= 1
                else:
                    asked[number] = point
                if not asked or len(asked) < running:
                    continue
                order = sorted(asked)
                W, b = (np.stack([asked[each][part] for each in order]) for part in (0, 1))
                asked.clear()
                losses = data.losses(shares, which[order], W, b)
                for each, value, slope, gradient in zip(order, *losses, strict=True):
                    answers[each].put((float(value), slope, gradient))
        except BaseException as error:
            for answer in answers:
                answer.put(error)
            raise
        return [head.result() for head in heads]


LARGE = 4_000_000
"""Size of the embeddings above which threads speed up a pass.

With other programs running on two cores, 2 000 x 256 took 16 times as long with two threads as with
one."""


@contextmanager
def one_scipy_thread(size: int = LARGE + 1) -> Iterator[None]:
    """Keep SciPy's own BLAS to one thread while NumPy's computes the passes."""
    # The optimiser's vectors are short, and two alternating thread pools wait for each other: a fit
    # of 1600 x 1280 takes many times longer with both. Simultaneous fits share one limit: the first
    # fit sets it, and the last one restores the previous value.
    with _LIMIT(), nullcontext() if size > LARGE else _LIMIT_OF_ALL():
        yield


def paths_of_scipy(libraries: Iterable[str]) -> list[str]:
    """BLAS libraries that are part of SciPy's package and serve it alone."""
    # Names do not help: NumPy's own is called libscipy_openblas64_. If both use one library, as
    # from conda or the system, there is one pool, no waiting, and nothing to limit.
    package = Path(scipy.__file__).resolve().parent
    homes = (package, package.with_name("scipy.libs"))
    return [
        path
        for path in libraries
        if any(Path(path).resolve().is_relative_to(home) for home in homes)
    ]


@cache
def _blas(*, of_scipy: bool) -> ThreadpoolController:
    blas = ThreadpoolController().select(user_api="blas")
    # With OpenMP a limit belongs to the thread that sets it, so the last fit could not remove it.
    paths = [
        lib.filepath
        for lib in blas.lib_controllers
        if getattr(lib, "threading_layer", "") != "openmp"
    ]
    return blas.select(filepath=paths_of_scipy(paths) if of_scipy else paths)


@contextmanager
def _one_thread(*, of_scipy: bool) -> Iterator[None]:
    """Limit BLAS to one thread."""
    # Newer versions of threadpoolctl let only one thread set limits and ignore the others, so each
    # thread that sets or restores here takes over that right, and gives it up.
    take_over = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    take_over(force=True)
    limiter = _blas(of_scipy=of_scipy).limit(limits=1)
    take_over(force=True)
    yield
    take_over(force=True)
    limiter.restore_original_limits()
    take_over(force=True)


# One limit for all fits of the process. Each context of threadpoolctl restores the value that it
# saw on entry. If two overlap, the second saw the limit of the first, and would leave it in place.
_LIMIT_OF_ALL, _LIMIT = (
    SharedSwitch(partial(_one_thread, of_scipy=of_scipy)) for of_scipy in (False, True)
)
