r"""The one optimiser: weighted logistic regression with an L2 penalty, to its optimum.

With the mean loss over weights :math:`s_n`, :math:`S = \sum_n s_n`, it minimises

.. math::

    f(W, b) = \frac1S \sum_n s_n\, \ell(W z_n + b,\, y_n)
              + \frac{1}{2 C S} \sum_{k,i} \frac{W_{ki}^2}{g_i^2}

which is scikit-learn's ``LogisticRegression`` objective divided by :math:`C S`, on embeddings
whose neuron i was multiplied by the gain :math:`g_i` (0 removes it), in terms of the folded
weights. Two classes have one logit, as in scikit-learn.

Embeddings are ill-conditioned, so plain L-BFGS needs hundreds of passes. Here it runs on
:math:`U = L^\top W`, where
:math:`L L^\top = \alpha\, \mathrm{Cov}(z) + \mathrm{diag}(g^{-2}) / (C S)` is the Hessian of f
at W = 0 (:math:`\alpha = 1/4` for one logit, 1/K for K). The data are never transformed: W and
its gradient are, and centring is folded into the bias. Where that Hessian is no guide (few rows
per neuron), its average diagonal takes its place. The covariance comes from a sample of the rows;
fits to the same rows (folds, thresholds, rounds, penalties, error weights) share it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from ntkit._need_ray import import_ray
from ntkit.exceptions import DeviceError, InputError, MissingDependencyError
from ntkit.head import LinearHead
from ntkit.solver._blas_threads import one_scipy_thread
from ntkit.solver._passes import passes_over
from ntkit.solver._preconditioner import preconditioner

__all__ = ["FittedHead", "fit_linear_head", "resolve_device", "stepped_head"]

Array = NDArray[Any]


class FittedHead(LinearHead):
    """A head, and how many iterations it took to find it."""

    n_iter: int

    def __init__(
        self, coef: ArrayLike, intercept: ArrayLike, classes: ArrayLike, n_iter: int
    ) -> None:
        super().__init__(coef, intercept, classes)  # type: ignore[arg-type]
        object.__setattr__(self, "n_iter", n_iter)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.coef, self.intercept, self.classes, self.n_iter)


def stepped_head(W: Array, b: Array, classes: Array, dtype: Any, n_iter: int) -> FittedHead:
    """Head of one row per class, as gradient steps leave it; two classes get one logit."""
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
    fit_intercept: bool = True,
    device: str = "cpu",
    must_converge: bool = True,
) -> FittedHead:
    """Fit a linear head to its optimum.

    Parameters
    ----------
    X : ndarray or memory map of float32 or float64, shape (N, D)
        Embeddings; products run in this precision. What is mapped is read once per pass, a chunk
        at a time, and never copied as a whole.
    y_index : ndarray of int, shape (N,)
        Class index of each row.
    sample_weight : ndarray of shape (N,)
        Non-negative weights.
    classes : ndarray of shape (C,)
        Class labels by index; two of them give one logit.
    C : float
        Inverse strength of the penalty; ``inf`` for none.
    gains : ndarray of shape (D,) or (C, D), optional
        Factor on each neuron before the head; 0 silences it. One row per class is possible for
        three classes or more.
    tol : float
        Stop when no entry of the preconditioned gradient of f is larger.
    max_iter : int
        Most iterations; a ConvergenceWarning when they do not suffice.
    start : LinearHead, optional
        Where to start from; of as many logits.
    offset : ndarray of shape (N, K), optional
        Fixed logits that the head's are added to.
    covariance : callable, optional
        Gives the covariance (D, D) of the embeddings, where it is known from another fit to the
        same rows; its weights may differ.
    fit_intercept : bool
        Whether there is a (never penalised) bias; without one it is 0.
    device : {"cpu", "cuda", "ray"}
        Where a pass runs.
    must_converge : bool
        Whether to warn where it stops early.

    Returns
    -------
    FittedHead
    """
    n_logits = 1 if len(classes) == 2 else len(classes)
    gains = np.ones(X.shape[1]) if gains is None else np.asarray(gains, dtype=float)
    kept = np.flatnonzero(gains if gains.ndim == 1 else gains.any(axis=0))
    weight = np.asarray(sample_weight, dtype=np.float64)
    total = weight.sum()
    weight = weight / total

    data = passes_over(X, y_index, weight, kept=kept, offset=offset, device=device)
    mean = data.mean() if fit_intercept else np.zeros(len(kept))
    inner = 0.25 if n_logits == 1 else 1 / n_logits
    gains = np.atleast_2d(gains[..., kept])
    silenced = np.full_like(gains, np.inf)
    penalty = np.divide(1 / (C * total), gains**2, out=silenced, where=gains != 0)
    known = None if covariance is None else lambda: covariance()[np.ix_(kept, kept)]
    basis = preconditioner(data, mean, inner, penalty, gains, known)
    penalty = np.where(gains != 0, penalty, 0.0)

    def objective(flat: Array) -> tuple[float, Array]:
        U = flat.reshape(n_logits, -1)
        W = basis.weights(U[:, :-1])
        value, slope, gradient = data.loss(W, U[:, -1] / np.sqrt(inner) - W @ mean)
        if not fit_intercept:
            slope = np.zeros(n_logits)
        gradient = gradient - slope[:, None] * mean + penalty * W
        value += 0.5 * float((penalty * W**2).sum())
        return value, np.column_stack([basis.gradient(gradient), slope / np.sqrt(inner)]).ravel()

    x0 = np.zeros((n_logits, len(kept) + 1))
    if start is not None:
        W0 = start.coef[:, kept].astype(np.float64)
        x0 = np.column_stack([basis.variables(W0), np.sqrt(inner) * (start.intercept + W0 @ mean)])
    with one_scipy_thread(X.shape[0] * X.shape[1]):
        result = minimize(
            objective,
            x0.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": max_iter,
                "maxfun": 20 * max_iter,
                "gtol": tol,
                "ftol": 1e-3 * np.finfo(X.dtype).eps,  # the rounding of the products ends it
                "maxcor": 20,
            },
        )
    if must_converge and result.nit >= max_iter and np.abs(result.jac).max() > tol:
        warnings.warn(
            f"The head did not converge in max_iter={max_iter} iterations; raise max_iter, "
            "lower C, or standardise the embeddings.",
            ConvergenceWarning,
            stacklevel=2,
        )
    final = _past_rounding(objective, result, tol).reshape(n_logits, -1)
    W = basis.weights(final[:, :-1])
    coef = np.zeros((n_logits, X.shape[1]), dtype=X.dtype)
    coef[:, kept] = W
    intercept = final[:, -1] / np.sqrt(inner) - W @ mean
    return FittedHead(coef, intercept.astype(X.dtype), classes, int(result.nit))


def _past_rounding(objective: Callable[[Array], Any], result: Any, tol: float) -> Array:
    """Go on by the gradient alone where the objective no longer shows which point is lower."""
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
    """Turn "auto" into the device there is; refuse "cuda" and "ray" where they are not.

    Raises
    ------
    InputError
        If the name is none of these.
    MissingDependencyError
        If "cuda" is asked for and torch is not installed, or "ray" and Ray is not.
    DeviceError
        If torch sees no CUDA device.
    """
    if device not in ("cpu", "cuda", "auto", "ray"):
        raise InputError(f"device is one of auto, cpu, cuda, ray; got {device!r}.")
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
            "device='cuda' needs PyTorch; install it with: pip install 'ntkit[torch]'"
        ) from error
    if torch.cuda.is_available():
        return "cuda"
    if device == "auto":
        return "cpu"
    raise DeviceError(
        "device='cuda' was asked for, but PyTorch sees no CUDA device; use device='cpu' or 'auto'."
    )
