"""Automatic feature reweighting (AFR): retrain, near the old head, on what that head doubts."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._base import OriginalHead, ValidatedClassifier
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import FittedHead, stepped_head
from ntkit.study import Rows, Study, require_every_class, split_in_two


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class AFRClassifier(ValidatedClassifier):
    r"""Last-layer retraining on samples weighted by the original head's doubt (AFR).

    Needs embeddings and class labels; no group labels.

    1. An ERM head :math:`(W_0, b_0)` is fitted on one part of the training set, or given.
    2. On the other part, the reweighting set, sample i gets the weight
       :math:`\mu_i \propto \beta_{y_i} \exp(-\gamma\, p_i(y_i))` with :math:`\sum_i \mu_i = 1`,
       where :math:`p_i(y_i)` is the probability that the ERM head gives the true class and
       :math:`\beta_y = 1 / n_y`.
    3. The head is retrained near the ERM head, on the reweighting set:

    .. math::

        \min_{W, b}\; \sum_i \mu_i\, \mathrm{CE}(W z_i + b,\, y_i)
        + \lambda \left( \lVert W - W_0 \rVert^2 + \lVert b - b_0 \rVert^2 \right)

    (arXiv 2306.11074). W has one row per class in the paper, and so has the penalty here, with
    two classes as well: there the two rows move by opposite amounts, so with the one logit
    :math:`w = W_1 - W_0` that is stored the same penalty reads
    :math:`\tfrac{\lambda}{2} (\lVert w - w_0 \rVert^2 + (b - b_0)^2)`, and the probabilities are
    the paper's. The bias is penalised like the weights.

    Parameters
    ----------
    gamma : float, default=1.44
        γ; 0 leaves class-balanced weights. The default is what the authors' README uses for
        CelebA. For Waterbirds it uses 10, with ``reg_coeff=0``: on the embeddings tried here that
        leaves most worst groups below the original head's (see the page "Fidelity"). The authors'
        grids run from 1 to 20 for images and from 100 to 1e5 for MultiNLI.
    reg_coeff : float, default=0.001
        λ, the pull toward the original head; the README's for CelebA, from a grid of 0.001 to 0.1
        there and {0, 0.1, 0.2, 0.3} for Waterbirds. 0, its choice for Waterbirds, needs
        ``solver="gd"``: the number of steps then does what the penalty does otherwise.
    solver : {"lbfgs", "gd"}, default="lbfgs"
        "lbfgs" finds the optimum. "gd" is the published procedure: full-batch gradient steps at
        a constant rate from the ERM head, stopped after ``n_steps``; it runs on the CPU.
    reweighting : float or "train", default=0.2
        Reweighting set when ``fit`` gets neither ``X_val`` nor a ``head``: the share of the
        training set, stratified, on which the head is retrained and not fitted first (published:
        0.2). "train" uses all samples for both, so the doubt is in-sample; classes with fewer
        than two samples fall back to it. ``X_val`` takes the place of that set: the training set
        then only fits the ERM head, or with a given ``head`` only names the classes.
    learning_rate : float, default=0.01
        Rate of "gd".
    n_steps : int, default=500
        Steps of "gd".
    max_grad_norm : float or None, default=1.0
        Longest gradient of "gd", over weights and bias together; a longer one is shortened.
    {head, erm.C}
        Retraining knows ``reg_coeff`` only.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_, intercept_, head_, erm_head_}
    weights_ : ndarray of shape (N,), or (M,) with ``X_val``
        μ of each sample, with its sample weight a factor; 0 for samples outside the reweighting
        set. They sum to 1.
    effective_sample_size_ : float
        :math:`1 / \sum_i \mu_i^2`: how many equally weighted samples the weights are worth.
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
    >>> import numpy as np
    >>> from ntkit.estimators import AFRClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 1000)
    >>> mark = np.where(rng.random(1000) < 0.9, y, 1 - y)  # a spurious mark, 90 % correlated
    >>> X = np.column_stack([y + rng.normal(0, 0.5, 1000), 2 * mark])
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
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        **ValidatedClassifier._shared_constraints,
    }

    gamma: float = 1.44
    reg_coeff: float = 0.001
    solver: str = "lbfgs"
    reweighting: float | str = 0.2
    learning_rate: float = 0.01
    n_steps: int = 500
    max_grad_norm: float | None = 1.0
    head: OriginalHead = None
    C: float = 1.0
    tol: float = 1e-5
    max_iter: int = 1000
    device: str = "cpu"
    random_state: Any = None

    def _learn(self, study: Study) -> None:
        if self.solver == "lbfgs" and self.reg_coeff == 0:
            raise InputError(
                "With reg_coeff=0 the optimum that solver='lbfgs' looks for need not exist; use "
                "reg_coeff > 0, or solver='gd', which stops after n_steps."
            )
        rows, held = study.train, study.held
        erm, reweight, chosen = self._sets(study)
        original = self._original_head(erm)

        doubt = softmax(original.logits(reweight.X).astype(np.float64), axis=1)
        p_true = doubt[np.arange(len(doubt)), reweight.y_index]
        prior = self._balanced(reweight)
        with np.errstate(divide="ignore"):  # in logarithms, so that no γ underflows every weight
            mu = softmax(np.log(prior) - self.gamma * p_true)

        self.weights_ = np.zeros(len(rows.X) if held is None else len(reweight.X))
        self.weights_[chosen] = mu
        self.effective_sample_size_ = float(1 / (mu**2).sum())
        self.weight_per_class_ = np.bincount(
            reweight.y_index, weights=mu, minlength=len(self.classes_)
        )
        retrain = self._optimum if self.solver == "lbfgs" else self._descent
        self._set_head(retrain(reweight, mu))

    def _sets(self, study: Study) -> tuple[Rows, Rows, Array | slice]:
        """Rows of the ERM head, rows to reweight, and where these are among the rows given."""
        everything, rows = slice(None), study.train
        if study.held is not None:
            require_every_class(study.held, self.classes_)
            return rows, study.held, everything
        split = None
        if self.head is None and self.reweighting != "train":
            split = split_in_two(float(self.reweighting), rows, self.random_state)
        if split is None:
            return rows, rows, everything
        held_index = split[1]
        weight = rows.weight.copy()
        weight[held_index] = 0  # absent, without a copy of the embeddings
        return Rows(rows.X, rows.y_index, weight), rows.take(held_index), held_index

    def _optimum(self, rows: Rows, mu: Array) -> FittedHead:
        """Solve for the difference to the original head, whose logits are fixed."""
        # A constant neuron is a bias that the solver penalises.
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
        """The original head, and the head on the features whose logits are best added to its."""
        head = self.erm_head_
        if len(head.classes) == 2:
            head = head.with_logits(1)
        penalty = self.reg_coeff / 2 if head.n_logits == 1 else self.reg_coeff
        offset = rows.X @ head.coef.T + head.intercept
        options = {"C": 1 / (2 * penalty), "offset": offset, "fit_intercept": False}
        return head, self._solved(features, rows.y_index, mu, **options)

    def _rate(self, norm: float) -> float:
        """Learning rate, less where the gradient is longer than ``max_grad_norm``."""
        if self.max_grad_norm is None:
            return self.learning_rate
        return self.learning_rate * min(1.0, self.max_grad_norm / max(norm, np.finfo(float).tiny))

    def _descent(self, rows: Rows, mu: Array) -> FittedHead:
        """Take the published gradient steps, on one row of weights per class."""
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
