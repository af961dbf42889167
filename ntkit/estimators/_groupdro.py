"""GroupDRO: retrain the last layer for the group with the largest loss."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._group_inference import GroupInference
from ntkit.estimators._partial_groups import GroupedClassifier
from ntkit.head import LinearHead
from ntkit.solver import FittedHead
from ntkit.study import Rows

_ERM_TOL = 1e-6  # the head to start from is fitted this closely at most


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class GroupDROClassifier(GroupedClassifier):
    r"""Last-layer retraining for the worst group (group distributionally robust optimisation).

    Needs embeddings, class labels and group labels; those that are not known (-1, None or NaN)
    are inferred by :class:`GroupInference`. It minimises the largest mean loss of a
    group, with an L2 penalty (arXiv 1911.08731, Sec. 2 and Algorithm 1):

    .. math::

        \min_{W, b}\ \max_{q \in \Delta_G}\ \sum_g q_g L_g(W, b) + \frac{1}{2 C S} \|W\|^2 ,
        \qquad L_g = \frac{1}{S_g} \sum_{n \in g} s_n\, \ell(W z_n + b,\, y_n) ,

    where :math:`S_g = \sum_{n \in g} s_n` and :math:`S = \sum_g S_g`. From the ERM head and equal
    weights of the groups it repeats

    1. :math:`q_g \leftarrow q_g \exp(\eta L_g)`, normalised;
    2. a gradient step on :math:`\sum_g q_g L_g` and the penalty, over all samples.

    The problem is convex in the head. It ends when :math:`\max_g L_g - \sum_g q_g L_g` is below
    ``tol`` and the decrease that the gradient still promises below a tenth of it. The head with
    the smallest objective on the way is the result, so it is never worse than the ERM head.

    Parameters
    ----------
    eta : float, default=0.01
        η, the step of the group weights, as published. A convex full-batch problem stands larger
        steps: 0.1 needs a tenth of the iterations.
    {C}
        The paper's point is that the penalty must be strong for a network that fits every sample.
    tol : float, default=1e-3
        How far the mean loss of the worst group may be from the optimum, in nats.
    max_iter : int, default=50000
        Most gradient steps; a ConvergenceWarning when they do not suffice. The published η takes
        thousands.
    device : {"cpu", "cuda", "auto", "ray"}, default="cpu"
        Where the ERM head is fitted; the steps run on the CPU.
    {group_inference}
        None is ``GroupInference(random_state=0)``.

    Attributes
    ----------
    {classes_, coef_, intercept_, head_, groups_}
    group_weights_ : ndarray of shape (G,)
        q, in the order of ``groups_``.
    group_losses_ : ndarray of shape (G,)
        Mean loss of each group under the head, in nats.
    {group_inference_}
    erm_head_ : LinearHead
        The ERM head it started from, of the same C.
    n_iter_ : ndarray of shape (1,)
        Gradient steps.
    {n_features_in_, feature_names_in_}

    Notes
    -----
    The gradient step is taken in the metric of a matrix that bounds the Hessian of the equally
    weighted loss everywhere, :math:`a\,\mathrm{Cov}(z) + I / (C S)` with a = 1/4 for one logit
    and 1/2 for several (Böhning, 1992), times :math:`1 / \max(1, G \max_g q_g)`. Such a step never
    increases the weighted loss, so no step size is left to choose.

    References
    ----------
    Sagawa, Koh, Hashimoto, Liang: Distributionally Robust Neural Networks for Group Shifts: On
    the Importance of Regularization for Worst-Case Generalization. ICLR 2020, arXiv 1911.08731.

    Böhning: Multinomial Logistic Regression Algorithm. Annals of the Institute of Statistical
    Mathematics 44, 1992.

    Examples
    --------
    >>> from ntkit.estimators import GroupDROClassifier
    {marked}
    >>> clf = GroupDROClassifier(eta=0.1).fit(X, y, groups=2 * y + mark)
    >>> bool(abs(clf.coef_[0, 0]) > 2 * abs(clf.coef_[0, 1]))
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "eta": [Interval(Real, 0, None, closed="neither")],
        "group_inference": [GroupInference, None],
        **GroupedClassifier._shared_constraints,
    }

    eta: float = 0.01
    C: float = 1.0
    tol: float = 1e-3
    max_iter: int = 50_000
    device: str = "cpu"
    group_inference: GroupInference | None = None

    def _learn(self, rows: Rows, group: Array) -> None:
        tol = min(self.tol, _ERM_TOL)
        erm = self._solved(rows.X, rows.y_index, rows.weight, C=self.C, tol=tol)
        self.erm_head_ = LinearHead(erm.coef, erm.intercept, self.classes_)
        best, n_iter, converged = self._mirror_ascent(rows, group, erm)
        if not converged:
            warnings.warn(
                f"The worst group's loss is not within tol={self.tol} of its optimum after "
                f"max_iter={self.max_iter} steps; raise eta or max_iter, or lower C.",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.group_weights_, self.group_losses_ = best.q, best.losses
        dtype = rows.X.dtype
        self._set_head(
            FittedHead(best.W.astype(dtype), best.b.astype(dtype), self.classes_, n_iter)
        )

    def _mirror_ascent(
        self, rows: Rows, group: Array, start: LinearHead
    ) -> tuple[_Point, int, bool]:
        """Alternate the two steps; return the best point, the steps taken, and whether it ended."""
        mass = np.bincount(group, weights=rows.weight)
        n_groups, share = len(mass), rows.weight / mass[group]
        penalty = 1 / (self.C * rows.weight.sum())
        loss = _sigmoid_losses if len(start.coef) == 1 else _softmax_losses
        mean, inverse, curvature = _metric(rows.X, share / n_groups, penalty, len(start.coef))

        W, b = start.coef.astype(np.float64), start.intercept.astype(np.float64)
        q = np.full(n_groups, 1 / n_groups)
        best = _Point(np.inf, W, b, q, q)
        for n_iter in range(self.max_iter + 1):
            values, residual = loss(rows.X @ W.astype(rows.X.dtype).T + b, rows.y_index)
            losses = np.bincount(group, weights=share * values)
            objective = float(losses.max()) + 0.5 * penalty * float((W**2).sum())
            if objective < best.objective:
                best = _Point(objective, W, b, q, losses)
            gap = losses.max() - q @ losses
            q = q * np.exp(self.eta * (losses - losses.max()))
            q = q / q.sum()

            residual *= (share * q[group])[:, None]
            slope = residual.sum(axis=0)
            gradient = (residual.T.astype(rows.X.dtype) @ rows.X).astype(np.float64)
            centered = gradient - slope[:, None] * mean + penalty * W
            step_W, step_b = centered @ inverse, slope / curvature
            promise = float((centered * step_W).sum() + slope @ step_b)
            # The metric bounds the curvature from above, so the promise is a lower bound.
            if gap <= self.tol and promise <= 0.1 * self.tol:
                return best, n_iter, True
            rate = 1 / max(1.0, n_groups * float(q.max()))
            # b is the bias of centred embeddings minus W mean: both of its parts move.
            W, b = W - rate * step_W, b - rate * (step_b - step_W @ mean)
        return best, self.max_iter, False


@dataclass(frozen=True)
class _Point:
    objective: float
    W: Array
    b: Array
    q: Array
    losses: Array


def _metric(X: Array, weight: Array, penalty: float, n_logits: int) -> tuple[Array, Array, float]:
    """Mean of the embeddings, inverse of a bound on the Hessian, and its entry for the bias."""
    curvature = 0.25 if n_logits == 1 else 0.5
    mean = (X.T @ weight.astype(X.dtype)).astype(np.float64)
    root = (X - mean.astype(X.dtype)) * np.sqrt(weight)[:, None].astype(X.dtype)
    bound = curvature * (root.T @ root).astype(np.float64)
    diagonal = np.einsum("ii->i", bound)
    diagonal += penalty + 10 * np.finfo(X.dtype).eps * max(float(diagonal.sum()), 1e-30)
    factor = cho_factor(bound, lower=True, check_finite=False, overwrite_a=True)
    # Solved once: SciPy's threads and NumPy's, taking turns in every step, wait for each other.
    inverse = cho_solve(factor, np.eye(len(bound)), check_finite=False, overwrite_b=True)
    return mean, inverse, curvature


def _sigmoid_losses(logits: Array, y_index: Array) -> tuple[Array, Array]:
    """Loss of each row and its derivative by the logit."""
    sign = np.where(y_index == 1, 1.0, -1.0)
    margin = sign * logits[:, 0]
    return np.logaddexp(0, -margin), (-sign * expit(-margin))[:, None]


def _softmax_losses(logits: Array, y_index: Array) -> tuple[Array, Array]:
    """Loss of each row and its derivative by the logits."""
    at = np.arange(len(logits)), y_index
    log_sum = logsumexp(logits, axis=1)
    residual = np.exp(logits - log_sum[:, None])
    values = log_sum - logits[at]
    residual[at] -= 1
    return values, residual
