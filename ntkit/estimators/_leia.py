"""Low-rank error-informed adaptation (LEIA): the old head, changed where errors spread most."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import eigh, svd
from scipy.special import softmax
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._afr import AFRClassifier
from ntkit.solver import FittedHead, stepped_head
from ntkit.study import Rows, split_in_two


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class LEIAClassifier(AFRClassifier):
    r"""The original head, adapted within the few directions along which errors spread (LEIA).

    Needs embeddings and class labels; no group labels. It is AFR with the change of the head
    confined to a subspace, and without a pull unless ``reg_coeff`` gives one:

    1. An ERM head :math:`(W_0, b_0)` is fitted on one part of the training set, or given.
    2. On the other part, the reweighting set, sample i gets the weight
       :math:`\mu_i \propto \beta_{y_i} \exp(\gamma\, (1 - p_i(y_i)))` with
       :math:`\sum_i \mu_i = 1`, where :math:`p_i(y_i)` is the probability that the ERM head gives
       the true class and :math:`\beta_y = 1 / n_y`. These are AFR's weights.
    3. The columns of V are the ``rank`` leading eigenvectors of the error-weighted covariance
       :math:`\sum_i \mu_i (z_i - \bar z)(z_i - \bar z)^\top`, :math:`\bar z = \sum_i \mu_i z_i`.
    4. A matrix A of one row per direction and one column per class is fitted, from A = 0:

    .. math::

        \min_A\; \sum_i \mu_i\, \mathrm{CE}(W_0 z_i + b_0 + A^\top V^\top z_i,\, y_i)
        + \lambda \lVert A \rVert^2

    The result is the head :math:`(W_0 + A^\top V^\top,\, b_0)`: the bias stays, and so does what
    the head makes of directions outside the subspace.

    This follows the authors' code (github.com/abinithago/LEIA, as of commit 196b532) and the
    paper's abstract; the page "Methods" says what differs.

    Parameters
    ----------
    gamma, reweighting, learning_rate, max_grad_norm
        As in :class:`AFRClassifier`. The authors' code has 10 for γ, and 5, 10, 15, 20 as the
        example of a sweep; untuned, 10 ruins most heads (see the page "Fidelity").
    rank : int, default=10
        Directions, at most as many as the samples differ along; 0 leaves the original head.
        Default of the authors' training script; their example of a sweep is 1, 5, 10, 20.
    reg_coeff : float, default=0.0
        λ. The published default is none: the number of steps does what it would.
    solver : {"gd", "lbfgs"}, default="gd"
        "gd" is the published procedure: full-batch gradient steps at a constant rate, stopped
        after ``n_steps``; what they reach depends on the scale of the embeddings. "lbfgs" finds
        the optimum, which needs ``reg_coeff`` > 0.
    adjustment_size : float or None, default=None
        Share of the reweighting set, stratified, that A is fitted on, while the others give the
        subspace (authors' code: 0.2). None, and classes with fewer than two samples, use all
        samples for both.
    n_steps : int, default=1000
        Steps of "gd".
    {head, erm.C, tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_, intercept_}
        That of the original head.
    {head_, erm_head_}
    subspace_ : ndarray of shape (D, R)
        V, of ``rank`` orthonormal columns or less, the direction of the largest weighted
        variance first.
    variances_ : ndarray of shape (R,)
        Error-weighted variance along each of them.
    weights_, effective_sample_size_, weight_per_class_
        As in :class:`AFRClassifier`.
    n_iter_ : ndarray of shape (1,)
        Iterations or steps of the adaptation.
    {n_features_in_, feature_names_in_}

    See Also
    --------
    AFRClassifier : The same weights, and a change of the head in all directions.

    References
    ----------
    Gourabathina, Jeong, Bergamaschi, Ghassemi, Stultz: Robustness Beyond Known Groups with
    Low-rank Adaptation. 2026, arXiv 2602.06924.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.estimators import LEIAClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 1000)
    >>> mark = np.where(rng.random(1000) < 0.9, y, 1 - y)  # a spurious mark, 90 % correlated
    >>> X = np.column_stack([y + rng.normal(0, 0.5, 1000), 2 * mark])
    >>> clf = LEIAClassifier(gamma=4.0, rank=1, random_state=0).fit(X, y)
    >>> bool(abs(clf.subspace_[1, 0]) > 0.9)  # what the errors differ by is the mark
    True
    >>> rare = mark != y
    >>> bool(clf.score(X[rare], y[rare]) > (clf.erm_head_.predict(X[rare]) == y[rare]).mean())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **AFRClassifier._parameter_constraints,
        "rank": [Interval(Integral, 0, None, closed="left")],
        "solver": [StrOptions({"gd", "lbfgs"})],
        "adjustment_size": [Interval(Real, 0, 1, closed="neither"), None],
    }

    rank: int = 10
    reg_coeff: float = 0.0
    solver: str = "gd"
    adjustment_size: float | None = None
    n_steps: int = 1000

    def _optimum(self, rows: Rows, mu: Array) -> FittedHead:
        """Solve for A, whose logits are added to the fixed ones of the original head."""
        rows, mu = self._found_subspace(rows, mu)
        dtype = rows.X.dtype
        if not self.subspace_.size:  # of rank 0 there is nothing to solve for
            head = self.erm_head_.with_logits(1 if len(self.classes_) == 2 else len(self.classes_))
            return FittedHead(head.coef, head.intercept, self.classes_, 1)
        head, change = self._changed(rows, mu, rows.X @ self.subspace_.astype(dtype))
        coef = head.coef + change.coef @ self.subspace_.T
        return FittedHead(
            coef.astype(dtype), head.intercept.astype(dtype), self.classes_, change.n_iter
        )

    def _descent(self, rows: Rows, mu: Array) -> FittedHead:
        """Take the published gradient steps on A."""
        rows, mu = self._found_subspace(rows, mu)
        start = self.erm_head_.with_logits(len(self.classes_))
        projected = (rows.X @ self.subspace_.astype(rows.X.dtype)).astype(np.float64)
        fixed = start.logits(rows.X).astype(np.float64)
        one_hot = np.eye(len(self.classes_))[rows.y_index]
        A = np.zeros((projected.shape[1], len(self.classes_)))
        for _ in range(self.n_steps):
            residual = mu[:, None] * (softmax(fixed + projected @ A, axis=1) - one_hot)
            slope = projected.T @ residual + 2 * self.reg_coeff * A
            A -= self._rate(float(np.linalg.norm(slope))) * slope
        W = start.coef + (self.subspace_ @ A).T
        return stepped_head(W, start.intercept, self.classes_, rows.X.dtype, self.n_steps)

    def _found_subspace(self, rows: Rows, mu: Array) -> tuple[Rows, Array]:
        """Set the subspace; the rows that A is fitted on, and their weights."""
        split = None
        if self.adjustment_size is not None:
            split = split_in_two(float(self.adjustment_size), rows, self.random_state)
        among, on = (slice(None), slice(None)) if split is None else split
        rank = min(int(self.rank), rows.X.shape[1])
        weight = mu[among] / mu[among].sum()
        self.subspace_, self.variances_ = _leading_directions(rows.X[among], weight, rank)
        return (rows, mu) if split is None else (rows.take(split[1]), mu[on] / mu[on].sum())


def _leading_directions(X: Array, weight: Array, rank: int) -> tuple[Array, Array]:
    """Leading eigenvectors (D, R) of the weighted covariance, and their eigenvalues, above 0."""
    n, width = X.shape
    if rank == 0:
        return np.zeros((width, 0)), np.zeros(0)
    centred = X.astype(np.float64)
    centred -= weight @ centred
    centred *= np.sqrt(weight)[:, None]
    if n < width:
        _, singular, rows = svd(centred, full_matrices=False)
        values, vectors = singular[:rank] ** 2, rows[:rank].T
    else:
        values, vectors = eigh(centred.T @ centred, subset_by_index=(width - rank, width - 1))
        values, vectors = values[::-1], vectors[:, ::-1]
    # Along the others the samples do not differ, and which of those come out is chance.
    spread = values > max(n, width) * np.finfo(float).eps * values.max(initial=0.0)
    return vectors[:, spread], values[spread]
