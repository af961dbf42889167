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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cholesky, solve_triangular
from sklearn.exceptions import ConvergenceWarning

from ntkit._extras import install_extra
from ntkit._need_ray import import_ray
from ntkit._types import Array
from ntkit._warn import warn
from ntkit.exceptions import DeviceError, InputError, MissingDependencyError
from ntkit.head import LinearHead
from ntkit.solver._blas_threads import one_scipy_thread
from ntkit.solver._loss import NumpyPasses, Passes, passes_over

_ROWS_PER_NEURON = 2  # with fewer, the Hessian at W = 0 is not useful
_SAMPLE_PER_NEURON = 4  # rows that estimate the covariance accurately enough for preconditioning
_SAMPLE = 1000  # and at least these, for any number of neurons
_OWN_SHARE = 100  # neurons with less than a hundredth of the mean variance are far below the others


class Dense:
    """Variables U = W L for H = L Lᵀ, the same for every logit of a head."""

    def __init__(self, factors: Sequence[Array], which: Array) -> None:
        self.factors, self.which = factors, which

    def weights(self, U: Array, at: Array) -> Array:
        return self._each(U, at, partial(solve_triangular, lower=True, trans="T"))

    def gradient(self, G: Array, at: Array) -> Array:
        return self._each(G, at, partial(solve_triangular, lower=True))

    def variables(self, W: Array, at: Array) -> Array:
        return self._each(W, at, lambda factor, rows: factor.T @ rows)

    def _each(self, rows: Array, at: Array, function: Callable[[Array, Array], Array]) -> Array:
        found, of = np.empty_like(rows), self.which[at]
        for number in np.unique(of):
            some = rows[of == number]
            columns = function(self.factors[number], some.reshape(len(some) * some.shape[1], -1).T)
            found[of == number] = columns.T.reshape(some.shape)
        return found


class Diagonal:
    """Variables U = W d; an infinite d fixes the weight at zero."""

    def __init__(self, hessian: Array) -> None:
        self.inverse = 1 / np.sqrt(hessian)

    def weights(self, U: Array, at: Array) -> Array:
        return np.asarray(U * self.inverse[at])

    def gradient(self, G: Array, at: Array) -> Array:
        return np.asarray(G * self.inverse[at])

    def variables(self, W: Array, at: Array) -> Array:
        inverse = self.inverse[at]
        return np.divide(W, inverse, out=np.zeros_like(W), where=inverse > 0)


def preconditioner(
    data: Passes,
    mean: Array,
    inner: float,
    alphas: Array,
    gains: Array,
    covariance: Callable[[], Array] | None = None,
) -> Dense | Diagonal:
    """The Hessian of each head at W = 0, factored if that saves time."""
    # With few rows per neuron the classes are nearly separable, the Hessian at the optimum differs
    # from the one at W = 0, and factoring costs more than it saves. Then, and if each class has its
    # own gains, the average variance of the neurons times their gains is used.
    rounding = 10 * np.finfo(data.dtype).eps
    if not factored(data, gains):
        sample, weight = data.sample(_SAMPLE_PER_NEURON * data.width + _SAMPLE)
        squares = (sample - mean.astype(data.dtype)) ** 2
        variance = (weight / weight.sum()).astype(data.dtype) @ squares
        average = (variance * gains**2).sum(axis=1, keepdims=True) / max(1, data.width)
        with np.errstate(divide="ignore"):
            own = alphas[:, None, None] + np.maximum(inner * average, rounding)
            return Diagonal(own / gains**2)
    known = inner * (covariance_of(data, mean) if covariance is None else covariance())
    diagonal = np.diag(known)
    # A share of the sum alone would hide neurons of a much smaller scale than the others.
    floor = np.maximum(diagonal, inner * (rounding * mean) ** 2)
    most = np.minimum(diagonal.sum(), _OWN_SHARE * data.width * floor)
    # Heads of one ridge weight, except for rounding, share a factor.
    _, first, which = np.unique(np.round(np.log(alphas), 9), return_index=True, return_inverse=True)
    factors = list[Array]()
    for alpha in alphas[first]:
        hessian = known + np.diag(alpha / gains[0] ** 2 + rounding * np.maximum(most, 1e-30))
        factors.append(cholesky(hessian, lower=True, check_finite=False, overwrite_a=True))
    return Dense(factors, which)


def factored(data: Passes, gains: Array) -> bool:
    """Whether the Hessian is worth a factorisation: enough rows, and one Hessian for all logits."""
    return len(gains) == 1 and data.n_rows >= _ROWS_PER_NEURON * data.width


def covariance_of(data: Passes, mean: Array) -> Array:
    """Weighted covariance (D, D), from a sample of the rows."""
    sample, weight = data.sample(_SAMPLE_PER_NEURON * data.width + _SAMPLE)
    root = np.sqrt(weight / weight.sum())[:, None].astype(data.dtype)
    centered = (sample - mean.astype(data.dtype)) * root
    return np.asarray((centered.T @ centered).astype(np.float64))


CORRECTIONS = 10
"""Number of steps that L-BFGS remembers."""
_ABOVE = 0.01  # relative excess of the objective over its minimum; a larger one gives a warning
_STALLED = 1e-3  # gradient above which an end by rounding gives a warning
_SMALL = 10  # factor on tolerances for a larger objective
_ENOUGH = 1e-4  # share of the linear decrease that a step must reach (Armijo)
_SHORTEST = 1e-8  # step, as a share of the quasi-Newton step


class FittedHead(LinearHead):
    """A head, and the number of iterations of its fit."""

    n_iter: int

    def __init__(
        self, coef: ArrayLike, intercept: ArrayLike, classes: ArrayLike, n_iter: int
    ) -> None:
        super().__init__(coef, intercept, classes)  # type: ignore[arg-type]
        object.__setattr__(self, "n_iter", n_iter)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.coef, self.intercept, self.classes, self.n_iter)


def stepped_head(W: Array, b: Array, classes: Array, dtype: Any, n_iter: int) -> FittedHead:
    """Head from one row per class, as gradient steps leave it; two classes get one logit."""
    head = LinearHead(W.astype(np.float64), b, classes)
    head = head.with_logits(1 if len(classes) == 2 else len(classes)).astype(dtype)
    return FittedHead(head.coef, head.intercept, classes, n_iter)


def fit_linear_head(
    X: Array, y_index: Array, sample_weight: Array, *, C: float = 1.0, **options: Any
) -> FittedHead:
    """Fit a linear head to its optimum."""
    return _together(X, y_index, [sample_weight], [C], **options)[0]


def kept_neurons(gains: Array | None, width: int) -> tuple[Array, Array]:
    """Gains of the neurons that any logit may use, and a mask of these neurons."""
    gains = np.ones(width) if gains is None else np.asarray(gains, dtype=float)
    kept = np.flatnonzero(gains if gains.ndim == 1 else gains.any(axis=0))
    return np.atleast_2d(gains[..., kept]), kept


class Problem:
    """The objectives of heads in well-conditioned variables, and the conversion to heads."""

    # The heads, one for each row of `means` and ridge weight, differ in weights and penalty alone.

    def __init__(
        self,
        data: Passes,
        classes: Array,
        kept: Array,
        width: int,
        *,
        means: Array,
        alphas: Array,
        gains: Array,
        covariance: Callable[[], Array] | None = None,
        fit_intercept: bool = True,
    ) -> None:
        self.classes, self.kept, self.width, self.means = classes, kept, width, means[:, None]
        self.dtype, self.fit_intercept = data.dtype, fit_intercept
        self.n_logits = 1 if len(classes) == 2 else len(classes)
        self.inner = 0.25 if self.n_logits == 1 else 1 / self.n_logits
        known = None if covariance is None else lambda: covariance()[np.ix_(kept, kept)]
        mean = means.mean(axis=0)
        self.basis = preconditioner(data, mean, self.inner, alphas, gains, known)
        self.penalty = np.zeros((len(alphas), *gains.shape))
        np.divide(alphas[:, None, None], gains**2, out=self.penalty, where=gains != 0)

    def solved(
        self,
        losses: Callable[[Array, Array, Array], tuple[Array, Array, Array]],
        *,
        tol: float,
        max_iter: int,
        start: LinearHead | None = None,
        must_converge: bool = True,
    ) -> list[FittedHead]:
        """Minimise with a function that returns losses and their derivatives, for some heads."""

        def objective(flat: Array, at: Array) -> tuple[Array, Array]:
            W, b = self._heads_of(flat, at)
            values, slopes, gradients = losses(W, b, at)
            if not self.fit_intercept:
                slopes = np.zeros_like(slopes)
            penalty = self.penalty[at]
            gradients = gradients - slopes[:, :, None] * self.means[at] + penalty * W
            values = values + 0.5 * (penalty * W**2).sum(axis=(1, 2))
            slopes = slopes[:, :, None] / np.sqrt(self.inner)
            parts = self.basis.gradient(gradients, at), slopes
            return values, np.concatenate(parts, axis=2).reshape(len(flat), -1)

        everything = np.arange(len(self.means))
        x0 = np.zeros((len(everything), self.n_logits, len(self.kept) + 1))
        if start is not None:
            W0 = np.tile(start.coef[:, self.kept].astype(np.float64), (len(everything), 1, 1))
            x0[:, :, :-1] = self.basis.variables(W0, everything)
            x0[:, :, -1] = np.sqrt(self.inner) * (start.intercept + (W0 * self.means).sum(axis=2))
        heads = list[FittedHead]()
        rounding = 1e-3 * np.finfo(self.dtype).eps  # of products, which ends the iteration
        minima = minimised(
            objective, x0.reshape(len(x0), -1), tol=tol, rounding=rounding, max_iter=max_iter
        )
        for i, found in enumerate(minima):
            if must_converge:
                _warn_if_not_minimised(partial(_one_of, objective, i), found, tol, max_iter)
            W, b = self._heads_of(found.x[None], everything[[i]])
            coef = np.zeros((self.n_logits, self.width), dtype=self.dtype)
            coef[:, self.kept] = W[0]
            heads.append(FittedHead(coef, b[0].astype(self.dtype), self.classes, found.n_iter))
        return heads

    def _heads_of(self, flat: Array, at: Array) -> tuple[Array, Array]:
        """Weights of the kept neurons and biases, from the variables."""
        U = flat.reshape(len(flat), self.n_logits, -1)
        W = self.basis.weights(U[:, :, :-1], at)
        return W, U[:, :, -1] / np.sqrt(self.inner) - (W * self.means[at]).sum(axis=2)


@dataclass(frozen=True)
class Minimum:
    """Where L-BFGS ended: the point, the value, its gradient, and the next step."""

    x: Array
    value: float
    gradient: Array
    step: Array
    n_iter: int


def minimised(
    objective: Callable[[Array, Array], tuple[Array, Array]],
    x: Array,
    *,
    tol: float,
    rounding: float,
    max_iter: int,
) -> list[Minimum]:
    """Minimise a function for each row of x with L-BFGS; one call serves all rows that are left."""
    # A step that decreases the value too little is shortened. Where rounding hides the decrease, a
    # step counts if it halves the gradient; if it does not, the iteration ends.
    found = dict[int, Minimum]()
    at, n_iter = np.arange(len(x)), np.zeros(len(x), dtype=int)
    value, gradient = objective(x, at)
    largest = np.abs(gradient).max(axis=1)
    step = -gradient / np.maximum(1, np.linalg.norm(gradient, axis=1))[:, None]
    share = np.ones(len(x))
    memory = _Memory(*x.shape)
    done = ~(largest > tol)  # or not a number
    while True:
        for i in np.flatnonzero(done):
            found[at[i]] = Minimum(x[i], float(value[i]), gradient[i], step[i], int(n_iter[i]))
        if done.all():
            return [found[i] for i in range(len(found))]
        if done.any():
            state = at, n_iter, x, value, gradient, largest, step, share
            at, n_iter, x, value, gradient, largest, step, share = (each[~done] for each in state)
            memory.keep(~done)
        move = share[:, None] * step
        expected = np.einsum("bn,bn->b", gradient, move)  # below 0
        new_value, new_gradient = objective(x + move, at)
        new_largest, gain = np.abs(new_gradient).max(axis=1), value - new_value
        unit = rounding * np.maximum(1, np.abs(value))
        good = gain >= -_ENOUGH * expected - 100 * unit
        halved = new_largest <= largest / 2
        # Minimum of the parabola through both values
        shorter = np.clip(expected / (2 * np.minimum(expected + gain, -1e-300)), 0.1, 0.5)
        change = np.where(good[:, None], new_gradient - gradient, 0.0)
        move = np.where(good[:, None], move, 0.0)
        x, gradient = x + move, gradient + change
        value, largest = np.where(good, new_value, value), np.where(good, new_largest, largest)
        step = memory.step(move, change, gradient)
        share = np.where(good, 1.0, share * shorter)
        n_iter = n_iter + good
        done = ~(largest > tol) | (n_iter >= max_iter) | ~(share >= _SHORTEST)
        done |= good & (gain <= unit) & ~halved


class _Memory:
    """Past steps and changes of gradients for each row, and L-BFGS's steps from them."""

    # The inverse Hessian is in the compact form of Byrd, Nocedal and Schnabel (1994), theorem 2.2:
    # a few products for all rows.

    def __init__(self, n_rows: int, width: int) -> None:
        self.moves, self.changes = np.zeros((2, n_rows, CORRECTIONS, width))
        self.upper, self.squares = np.zeros((2, n_rows, CORRECTIONS, CORRECTIONS))
        self.upper[:] = np.eye(CORRECTIONS)
        self.scale, self.n = np.ones(n_rows), np.zeros(n_rows, dtype=int)

    def keep(self, rows: Array) -> None:
        """Forget the other rows."""
        for name in ("moves", "changes", "upper", "squares", "scale", "n"):
            setattr(self, name, getattr(self, name)[rows])

    def step(self, move: Array, change: Array, gradient: Array) -> Array:
        """Remember a step, and return the next one; a step of zeros adds nothing."""
        new = np.flatnonzero((move * change).sum(axis=1) > 0)
        at = self.n[new] % CORRECTIONS
        self.n[new] += 1
        self.moves[new, at], self.changes[new, at] = move[new], change[new]
        both = np.stack([change, gradient], axis=2)
        (with_moves, along), (with_changes, across) = (
            np.moveaxis(each @ both, 2, 0) for each in (self.moves, self.changes)
        )
        self.upper[new, at], self.upper[new, :, at] = 0, with_moves[new]
        self.squares[new, at] = self.squares[new, :, at] = with_changes[new]
        self.scale[new] = with_moves[new, at] / with_changes[new, at]
        scale = self.scale[:, None]
        first = np.linalg.solve(self.upper, along[:, :, None])[:, :, 0]
        middle = np.einsum("bii->bi", self.upper) * first - scale * across
        middle += scale * np.einsum("bij,bj->bi", self.squares, first)
        second = np.linalg.solve(self.upper.swapaxes(1, 2), middle[:, :, None])[:, :, 0]
        step = (scale * first)[:, None] @ self.changes - second[:, None] @ self.moves
        return np.asarray(step[:, 0] - scale * gradient)


def _one_of(objective: Callable[[Array, Array], tuple[Array, Array]], i: int, x: Array) -> float:
    return float(objective(x[None], np.array([i]))[0][0])


def _warn_if_not_minimised(
    objective: Callable[[Array], float], found: Minimum, tol: float, max_iter: int
) -> None:
    steepest = np.abs(found.gradient).max()
    if found.n_iter >= max_iter and steepest > tol:
        message = (
            f"The head did not converge in max_iter={max_iter} iterations; raise max_iter, "
            "lower C, or standardise the embeddings."
        )
    elif steepest > max(tol, _STALLED):
        message = (
            "The head did not converge, because rounding hides the way to the minimum; "
            "standardise the embeddings, or use float64."
        )
    elif found.value <= _SMALL * tol and (above := _above_minimum(objective, found)) > _ABOVE:
        message = (
            f"The head's objective, {found.value:.1e}, is at least {100 * above:.0f} % above its "
            f"minimum, although its gradient is below tol={tol:g}: the penalty is weak and the "
            "loss small. Lower tol, or lower C for a stronger penalty."
        )
    else:
        return
    warn(message, ConvergenceWarning)


def _above_minimum(objective: Callable[[Array], float], found: Minimum) -> float:
    """Lower bound of the objective's excess over its minimum, as a share of the minimum."""
    # If classes are separable and the penalty is weak, the loss goes to zero together with its
    # gradient, so a small gradient does not mean that the loss is near its minimum. The next step
    # of L-BFGS tells how far it is. Only if that is far, the step is taken, followed by longer
    # ones.
    lowest = found.value
    if -0.5 * float(found.gradient @ found.step) <= 0.01 * _ABOVE * lowest:
        return 0.0
    for doubling in range(10):
        value = objective(found.x + 2**doubling * found.step)
        if not value < lowest:
            break
        lowest = value
    return float(found.value / max(lowest, np.finfo(float).tiny) - 1)


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


_MOST = 32  # heads at once
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
    # The heads of folds and penalties differ only in weights and penalty. Their optimisers run
    # side by side, so that one product of the rows with all heads replaces one for each.
    n_logits = 1 if len(classes) == 2 else len(classes)
    bytes_each = 8 * max(2 * CORRECTIONS * n_logits * X.shape[1], len(X))
    at_once = max(1, min(_MOST, _MEMORY // bytes_each)) if device == "cpu" else 1
    heads, weights = list[FittedHead](), list(weights)
    for first in range(0, len(weights), at_once):
        some = slice(first, first + at_once)
        heads += _together(
            X, y_index, weights[some], Cs[some], classes=classes, device=device, **options
        )
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
    start: LinearHead | None = None,
    offset: Array | None = None,
    covariance: Callable[[], Array] | None = None,
    fit_intercept: bool = True,
    device: str = "cpu",
    must_converge: bool = True,
) -> list[FittedHead]:
    """Fit some heads side by side; on other devices than the CPU, one."""
    distinct = {id(weight): weight for weight in weights}  # heads of several penalties share them
    which = np.array([[*distinct].index(id(weight)) for weight in weights])
    shares = np.stack([np.asarray(weight, dtype=np.float64) for weight in distinct.values()])
    totals = shares.sum(axis=1)
    shares /= totals[:, None]
    scales, kept = kept_neurons(gains, X.shape[1])
    data = passes_over(X, y_index, shares.mean(axis=0), kept=kept, offset=offset, device=device)
    if not fit_intercept:
        means = np.zeros((len(shares), len(kept)))
    else:
        means = data.means(shares) if isinstance(data, NumpyPasses) else data.mean()[None]
    problem = Problem(
        data,
        classes,
        kept,
        X.shape[1],
        means=means[which],
        alphas=1 / (np.asarray(Cs) * totals[which]),
        gains=scales,
        covariance=covariance,
        fit_intercept=fit_intercept,
    )

    def losses(W: Array, b: Array, at: Array) -> tuple[Array, Array, Array]:
        if isinstance(data, NumpyPasses) and device == "cpu":
            return data.losses(shares, which[at], W, b)
        value, slope, gradient = data.loss(W[0], b[0])
        return np.array([value]), slope[None], gradient[None]

    with one_scipy_thread(X.shape[0] * X.shape[1] * len(which)):
        return problem.solved(
            losses, tol=tol, max_iter=max_iter, start=start, must_converge=must_converge
        )
