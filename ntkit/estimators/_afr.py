"""AFR and LEIA: retrain near the original head on samples that it is unsure about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import eigh, svd
from scipy.special import softmax
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._base import FromHead
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver.fit_head import FittedHead, stepped_head
from ntkit.study import Rows, Study, require_every_class, split_in_two


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class AFRClassifier(FromHead):
    r"""Last-layer retraining on samples weighted by the original head's uncertainty (AFR).

    Needs embeddings and class labels; no group labels.

    1. An ERM head :math:`(W_0, b_0)` is fitted on one part of the training set, unless you pass
       one.
    2. On the other part, the validation set, sample i gets the weight
       :math:`\mu_i \propto \beta_{y_i} \exp(-\gamma\, p_i(y_i))` with :math:`\sum_i \mu_i = 1`,
       where :math:`p_i(y_i)` is the probability that the ERM head gives the true class and
       :math:`\beta_y = 1 / n_y`.
    3. The head is retrained near the ERM head, on the validation set:

    .. math::

        \min_{W, b}\; \sum_i \mu_i\, \mathrm{CE}(W z_i + b,\, y_i)
        + \lambda \left( \lVert W - W_0 \rVert^2 + \lVert b - b_0 \rVert^2 \right)

    (arXiv 2306.11074). In the paper W has one row per class, and so has the penalty here, also with
    two classes. The two rows then move by opposite amounts. With the one stored logit
    :math:`w = W_1 - W_0` the same penalty is
    :math:`\tfrac{\lambda}{2} (\lVert w - w_0 \rVert^2 + (b - b_0)^2)`, and the probabilities are
    the paper's. The bias is penalised like the weights.

    Parameters
    ----------
    gamma : float, default=1.44
        γ; 0 gives class-balanced weights. The default is the value in the authors' README for
        CelebA. Their value for Waterbirds is 10, with ``reg_coeff=0``; on our embeddings it leaves
        most worst groups below the original head's (see the page "Fidelity"). The authors' grids
        run from 1 to 20 for images and from 100 to 1e5 for MultiNLI.
    reg_coeff : float, default=0.001
        λ, the pull toward the original head. The default is the README's for CelebA. The authors'
        grids are 0.001 to 0.1 for CelebA and {0, 0.1, 0.2, 0.3} for Waterbirds. 0, their choice for
        Waterbirds, needs ``solver="gd"``: the number of steps then replaces the penalty.
    solver : {"lbfgs", "gd"}, default="lbfgs"
        "lbfgs" finds the optimum. "gd" is the published procedure: full-batch gradient steps at a
        constant rate from the ERM head, with gradients shortened to a norm of at most 1. It stops
        after ``n_steps`` and runs on the CPU.
    reweighting : float or "train", default=0.2
        Validation share if ``fit`` gets neither ``X_val`` nor a ``head``: this stratified share of
        the training set retrains the head and is not used to fit it first (published: 0.2). "train"
        uses all samples for both, so the predictions are in-sample; classes with fewer than two
        samples fall back to it. If you pass ``X_val``, the training set only fits the ERM head. If
        you pass a ``head`` as well, the training set only names the classes.
    learning_rate : float, default=0.01
        Learning rate of "gd".
    n_steps : int, default=500
        Number of steps of "gd".
    {head, erm.C}
        Retraining uses only ``reg_coeff``.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_, intercept_, head_, erm_head_}
    weights_ : ndarray of shape (N,), or (M,) with ``X_val``
        μ of each sample, including its sample weight; 0 for samples outside the validation set.
        They sum to 1.
    effective_sample_size_ : float
        :math:`1 / \sum_i \mu_i^2`: the number of equally weighted samples with the same
        information.
    weight_per_class_ : ndarray of shape (C,)
        Sum of μ over each class.
    n_iter_ : ndarray of shape (1,)
        Iterations or steps of retraining.
    {n_features_in_, feature_names_in_}

    References
    ----------
    Qiu, Potapczynski, Izmailov, Wilson: Simple and Fast Group Robustness by Automatic Feature
    Reweighting. ICML 2023, arXiv 2306.11074.

    Examples
    --------
    >>> from ntkit.estimators import AFRClassifier
    {marked}
    >>> clf = AFRClassifier(gamma=4.0, reg_coeff=0.01, random_state=0).fit(X, y)
    >>> rare = mark != y
    >>> bool(clf.score(X[rare], y[rare]) > (clf.erm_head_.predict(X[rare]) == y[rare]).mean())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gamma": [Interval(Real, 0, None, closed="left")],
        "reg_coeff": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"lbfgs", "gd"})],
        "reweighting": [Interval(Real, 0, 1, closed="neither"), StrOptions({"train"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
    }

    gamma: float = 1.44
    reg_coeff: float = 0.001
    solver: str = "lbfgs"
    reweighting: float | str = 0.2
    learning_rate: float = 0.01
    n_steps: int = 500

    def _learn(self, study: Study) -> None:
        if self.solver == "lbfgs" and self.reg_coeff == 0:
            raise InputError(
                "With reg_coeff=0, solver='lbfgs' may have no optimum to find; use reg_coeff > 0, "
                "or solver='gd', which stops after n_steps."
            )
        rows, validation = study.train, study.validation
        erm, reweight, chosen = self._sets(study)
        original = self._original_head(erm)

        doubt = softmax(original.logits(reweight.X).astype(np.float64), axis=1)
        p_true = doubt[np.arange(len(doubt)), reweight.y_index]
        prior = reweight.balanced()
        with np.errstate(divide="ignore"):  # logarithms, so that weights do not underflow for any γ
            mu = softmax(np.log(prior) - self.gamma * p_true)

        self.weights_ = np.zeros(len(rows.X) if validation is None else len(reweight.X))
        self.weights_[chosen] = mu
        self.effective_sample_size_ = float(1 / (mu**2).sum())
        self.weight_per_class_ = np.bincount(
            reweight.y_index, weights=mu, minlength=len(self.classes_)
        )
        retrain = self._optimum if self.solver == "lbfgs" else self._descent
        self._set_head(retrain(reweight, mu))

    def _counts_rows(self) -> bool:
        return self.head is None and self.reweighting != "train"

    def _sets(self, study: Study) -> tuple[Rows, Rows, Array | slice]:
        """Rows of the ERM head, rows to reweight, and the positions of the latter."""
        everything, rows = slice(None), study.train
        if study.validation is not None:
            require_every_class(study.validation)
            return rows, study.validation, everything
        split = None
        if self.head is None and self.reweighting != "train":
            split = split_in_two(float(self.reweighting), rows, self.random_state)
        if split is None:
            return rows, rows, everything
        held_index = split[1]
        weight = rows.weight.copy()
        weight[held_index] = 0  # weight 0, without a copy of the embeddings
        return replace(rows, weight=weight), rows.take(held_index), held_index

    def _optimum(self, rows: Rows, mu: Array) -> FittedHead:
        """Solve for the difference from the original head, whose logits are fixed."""
        # A constant neuron acts as a bias that the solver penalises.
        with_bias = np.column_stack([rows.X, np.ones(len(rows.X), dtype=rows.X.dtype)])
        head, change = self._changed(rows, mu, with_bias)
        dtype = rows.X.dtype
        return FittedHead(
            (head.coef + change.coef[:, :-1]).astype(dtype),
            (head.intercept + change.coef[:, -1]).astype(dtype),
            self.classes_,
            change.n_iter,
        )

    def _changed(self, rows: Rows, mu: Array, features: Array) -> tuple[LinearHead, FittedHead]:
        """The original head, and a head on the features whose logits are best added to its own."""
        head = self.erm_head_
        if len(head.classes) == 2:
            head = head.with_logits(1)
        penalty = self.reg_coeff / 2 if head.n_logits == 1 else self.reg_coeff
        offset = rows.X @ head.coef.T + head.intercept
        options = {"C": 1 / (2 * penalty), "offset": offset}  # so that no intercept is fitted
        return head, self._solved(features, rows.y_index, mu, **options)

    def _rate(self, norm: float) -> float:
        """Learning rate for a gradient of this norm, which is shortened to 1."""
        return self.learning_rate / max(1.0, norm)

    def _descent(self, rows: Rows, mu: Array) -> FittedHead:
        """Take the published gradient steps, with one row of weights per class."""
        start = self.erm_head_.with_logits(len(self.classes_))
        W0, b0 = start.coef.astype(np.float64), start.intercept.astype(np.float64)
        W, b = W0.copy(), b0.copy()
        one_hot = np.eye(len(self.classes_))[rows.y_index]
        dtype = rows.X.dtype
        for _ in range(self.n_steps):
            logits = rows.X @ W.T.astype(dtype) + b
            residual = mu[:, None] * (softmax(logits, axis=1) - one_hot)
            slope_W = residual.T.astype(dtype) @ rows.X + 2 * self.reg_coeff * (W - W0)
            slope_b = residual.sum(axis=0) + 2 * self.reg_coeff * (b - b0)
            rate = self._rate(np.sqrt((slope_W**2).sum() + (slope_b**2).sum()))
            W -= rate * slope_W
            b -= rate * slope_b
        return stepped_head(W, b, self.classes_, dtype, self.n_steps)


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class LEIAClassifier(AFRClassifier):
    r"""Adapt the original head within the few directions along which errors spread (LEIA).

    Needs embeddings and class labels; no group labels. The method is AFR with the change of the
    head confined to a subspace. It has no pull to the original head unless you set ``reg_coeff``.

    1. An ERM head :math:`(W_0, b_0)` is fitted on one part of the training set, unless you pass
       one.
    2. On the other part, the validation set, sample i gets the weight
       :math:`\mu_i \propto \beta_{y_i} \exp(\gamma\, (1 - p_i(y_i)))` with
       :math:`\sum_i \mu_i = 1`, where :math:`p_i(y_i)` is the probability that the ERM head gives
       the true class and :math:`\beta_y = 1 / n_y`. These are AFR's weights.
    3. The columns of V are the ``rank`` leading eigenvectors of the error-weighted covariance
       :math:`\sum_i \mu_i (z_i - \bar z)(z_i - \bar z)^\top`, :math:`\bar z = \sum_i \mu_i z_i`.
    4. A matrix A of one row per direction and one column per class is fitted, from A = 0:

    .. math::

        \min_A\; \sum_i \mu_i\, \mathrm{CE}(W_0 z_i + b_0 + A^\top V^\top z_i,\, y_i)
        + \lambda \lVert A \rVert^2

    The result is the head :math:`(W_0 + A^\top V^\top,\, b_0)`: the bias and the effect of
    directions outside the subspace do not change.

    This follows the authors' code (github.com/abinithago/LEIA, commit 196b532) and the paper's
    abstract. The page "Methods" lists the differences.

    Parameters
    ----------
    gamma, reweighting, learning_rate
        As in :class:`AFRClassifier`. The authors' code uses 10 for γ, and names 5, 10, 15, 20 as an
        example of a sweep. Without tuning, 10 makes most heads much worse (see the page
        "Fidelity").
    rank : int, default=10
        Number of directions; at most the rank of the samples. 0 keeps the original head. The
        default is that of the authors' training script; their example of a sweep is 1, 5, 10, 20.
    reg_coeff : float, default=0.0
        λ. The published default is 0: the number of steps replaces the penalty.
    solver : {"gd", "lbfgs"}, default="gd"
        "gd" is the published procedure: full-batch gradient steps at a constant rate, which stop
        after ``n_steps``. Their result depends on the scale of the embeddings. "lbfgs" finds the
        optimum and needs ``reg_coeff`` > 0.
    adjustment_size : float or None, default=None
        Stratified share of the validation set that A is fitted on; the other samples give the
        subspace (authors' code: 0.2). None uses all samples for both, and so do classes with fewer
        than two samples.
    n_steps : int, default=1000
        Number of steps of "gd".
    {head, erm.C, tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_, intercept_}
        Bias of the original head.
    {head_, erm_head_}
    subspace_ : ndarray of shape (D, R)
        V, of at most ``rank`` orthonormal columns, the direction of the largest weighted variance
        first.
    variances_ : ndarray of shape (R,)
        Error-weighted variance along each direction.
    weights_, effective_sample_size_, weight_per_class_
        As in :class:`AFRClassifier`.
    n_iter_ : ndarray of shape (1,)
        Iterations or steps of the adaptation.
    {n_features_in_, feature_names_in_}

    See Also
    --------
    AFRClassifier : The same weights, with a change of the head in all directions.

    References
    ----------
    Gourabathina, Jeong, Bergamaschi, Ghassemi, Stultz: Robustness Beyond Known Groups with
    Low-rank Adaptation. 2026, arXiv 2602.06924.

    Examples
    --------
    >>> from ntkit.estimators import LEIAClassifier
    {marked}
    >>> clf = LEIAClassifier(gamma=4.0, rank=1, random_state=0).fit(X, y)
    >>> rare = mark != y
    >>> bool(clf.score(X[rare], y[rare]) > (clf.erm_head_.predict(X[rare]) == y[rare]).mean())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "rank": [Interval(Integral, 0, None, closed="left")],
        "solver": [StrOptions({"gd", "lbfgs"})],
        "adjustment_size": [Interval(Real, 0, 1, closed="neither"), None],
    }

    rank: int = 10
    reg_coeff: float = 0.0
    solver: str = "gd"
    adjustment_size: float | None = None
    n_steps: int = 1000

    def _counts_rows(self) -> bool:
        return super()._counts_rows() or self.adjustment_size is not None

    def _optimum(self, rows: Rows, mu: Array) -> FittedHead:
        """Solve for A, whose logits are added to the fixed logits of the original head."""
        rows, mu = self._set_subspace(rows, mu)
        dtype = rows.X.dtype
        if not self.subspace_.size:  # rank 0 has no parameters
            head = self.erm_head_.with_logits(1 if len(self.classes_) == 2 else len(self.classes_))
            return FittedHead(head.coef, head.intercept, self.classes_, 1)
        head, change = self._changed(rows, mu, rows.X @ self.subspace_.astype(dtype))
        coef = head.coef + change.coef @ self.subspace_.T
        return FittedHead(
            coef.astype(dtype), head.intercept.astype(dtype), self.classes_, change.n_iter
        )

    def _descent(self, rows: Rows, mu: Array) -> FittedHead:
        """Take the published gradient steps on A."""
        rows, mu = self._set_subspace(rows, mu)
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

    def _set_subspace(self, rows: Rows, mu: Array) -> tuple[Rows, Array]:
        """Set the subspace; return the rows that A is fitted on, and their weights."""
        split = None
        if self.adjustment_size is not None:
            split = split_in_two(float(self.adjustment_size), rows, self.random_state)
        among, on = (slice(None), slice(None)) if split is None else split
        rank = min(int(self.rank), rows.X.shape[1])
        weight = mu[among] / mu[among].sum()
        self.subspace_, self.variances_ = _leading_directions(rows.X[among], weight, rank)
        return (rows, mu) if split is None else (rows.take(split[1]), mu[on] / mu[on].sum())


def _leading_directions(X: Array, weight: Array, rank: int) -> tuple[Array, Array]:
    """Leading eigenvectors (D, R) of the weighted covariance, and their positive eigenvalues."""
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
    # The samples do not vary along the other directions, so their choice would be arbitrary.
    spread = values > max(n, width) * np.finfo(float).eps * values.max(initial=0.0)
    return vectors[:, spread], values[spread]
