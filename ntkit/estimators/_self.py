"""Selective last-layer fine-tuning (SELF): a few steps on the samples that matter most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import log_softmax
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._doc import documented
from ntkit._process import warn
from ntkit._types import Array
from ntkit.estimators._base import HEAD, FromHead, OriginalHead
from ntkit.estimators._scaled_head import read_head
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver.fit_head import FittedHead, stepped_head
from ntkit.solver.sgd import sgd_steps
from ntkit.study import Rows, Study

_SELECTIONS = {
    *("misclassification", "early_stop_misclassification"),
    *("dropout_disagreement", "early_stop_disagreement"),
}
_BLOCK = 4096  # rows whose dropout mask is drawn at a time


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class SELFClassifier(FromHead):
    r"""Short class-balanced fine-tuning on selected samples (SELF).

    Needs embeddings and class labels; no group labels.

    1. The ``n_selected`` samples with the highest score are taken from the validation set
       (``X_val``). Without it they are taken from the training set, but a head that fits the
       training set well leaves little to select by. With p the prediction of the original head, the
       score of a sample (z, y) is

       * misclassification: the loss :math:`\mathrm{CE}(p(z), y)`, so not only wrong samples are
         selected;
       * early_stop_misclassification: the same loss under an early head;
       * dropout_disagreement: :math:`\mathrm{KL}(q(z) \,\Vert\, p(z))`, q the original head's
         prediction with dropout on the embedding;
       * early_stop_disagreement: the same with q the early head's prediction.

    2. The original head :math:`\theta = (W, b)` is fine-tuned, not reset, on the selected samples,
       drawn class-balanced, by ``n_steps`` steps of SGD with momentum m and weight decay d, from v
       = 0:

    .. math::

        v \leftarrow m v + d\, \theta + \nabla_\theta \frac{1}{B} \sum_{i \in batch}
        \mathrm{CE}(W z_i + b, y_i) , \qquad \theta \leftarrow \theta - \eta v

    (arXiv 2309.08534). In the paper the early model is an early checkpoint of the whole *network*.
    Here it is a second *head* on the final network's embeddings, which you pass as ``early_head``,
    or which is fitted with ``early_iter`` solver iterations. So it disagrees less than an early
    network would. The page "Methods" lists the other differences.

    Parameters
    ----------
    selection : str, default="early_stop_disagreement"
        Score: this one, "misclassification", "early_stop_misclassification" or
        "dropout_disagreement".
    n_selected : int, default=100
        Number of samples to select (published grid: 20, 100, 500); all if there are fewer.
    n_steps : int, default=250
        Number of fine-tuning steps (published: 250 for images, 500 for text).
    learning_rate : float, default=0.01
        η. The default is the largest value of the published grid for images (1e-4, 1e-3, 1e-2);
        text uses 1e-6 to 1e-4.
    momentum : float in [0, 1), default=0.0
        m. The authors' configuration has 0.9, which PyTorch does not read there, so the published
        results use none (see the page "Fidelity").
    weight_decay : float, default=1e-4
        d, for weights and bias alike, with one row of weights per class, as published.
    batch_size : int or None, default=32
        Samples per step, drawn with replacement, with equal probability for every class present.
        Within a class the probability is proportional to the weight. None uses all selected samples
        in every step, weighted so that the classes have equal weight: the expectation of the same
        step, without randomness.
    dropout : float, default=0.5
        Dropout probability of a neuron for dropout_disagreement (published: 0.5, 0.7, 0.9).
    early_head : LinearHead or fitted linear classifier, default=None
        Early head of the two early_stop scores. None fits one.
    early_iter : int, default=1
        Solver iterations for fitting an early head to the training set.
    {head, erm.C}
        Inverse strength of the L2 penalty of the ERM head and the early head; fine-tuning has
        ``weight_decay``.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_, intercept_, head_, erm_head_}
    early_head_ : LinearHead or None
        The early head; None if the score does not use it.
    scores_ : ndarray of shape (N,), or (M,) with ``X_val``
        Score of each sample of the validation set.
    selected_ : ndarray of int, shape (n,)
        Indices of the selected samples, the highest score first.
    n_iter_ : ndarray of shape (1,)
        Number of fine-tuning steps.
    {n_features_in_, feature_names_in_}

    References
    ----------
    LaBonte, Muthukumar, Kumar: Towards Last-layer Retraining for Group Robustness with Fewer
    Annotations. NeurIPS 2023, arXiv 2309.08534.

    Examples
    --------
    >>> from ntkit.estimators import SELFClassifier
    {marked}
    >>> clf = SELFClassifier(selection="misclassification", n_selected=30, C=0.1, random_state=0)
    >>> clf = clf.fit(X, y)
    >>> bool((mark != y)[clf.selected_].mean() > 0.9)  # it selects where the mark misleads
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "selection": [StrOptions(_SELECTIONS)],
        "n_selected": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "dropout": [Interval(Real, 0, 1, closed="neither")],
        "early_head": HEAD,
        "early_iter": [Interval(Integral, 1, None, closed="left")],
    }

    selection: str = "early_stop_disagreement"
    n_selected: int = 100
    n_steps: int = 250
    learning_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 1e-4
    batch_size: int | None = 32
    dropout: float = 0.5
    early_head: OriginalHead = None
    early_iter: int = 1

    def _learn(self, study: Study) -> None:
        rows, validation = study.train, study.validation or study.train
        rng = check_random_state(self.random_state)
        original = self._original_head(rows)
        self.early_head_ = (
            self._early_head(rows) if self.selection.startswith("early_stop") else None
        )

        self.scores_ = self._scores(validation, original, rng)
        present = np.flatnonzero(validation.weight > 0)
        ranked = present[np.argsort(-self.scores_[present], kind="stable")]
        self.selected_ = ranked[: self.n_selected]
        selected = validation.take(self.selected_)
        if len(np.unique(selected.y_index)) < 2:
            warn(
                "All selected samples are of class "
                f"{self.classes_.tolist()[selected.y_index[0]]!r}, so fine-tuning can only favour "
                "it; raise n_selected.",
                UserWarning,
            )
        self._set_head(self._fine_tuned(selected, rng))

    def _counts_rows(self) -> bool:
        return True

    def _early_head(self, rows: Rows) -> LinearHead:
        if self.early_head is not None:
            head = read_head(self.early_head, self, "early_head").aligned_to(self.classes_)
            if head.n_neurons != rows.X.shape[1]:
                raise InputError(
                    f"The early head reads {head.n_neurons} neurons, but X has {rows.X.shape[1]} "
                    "columns; pass an early head of the same model."
                )
            return head
        # An early head stops early on purpose.
        options = {"C": self.C, "max_iter": self.early_iter, "must_converge": False}
        early = self._solved(rows.X, rows.y_index, rows.weight, **options)
        return LinearHead(early.coef, early.intercept, self.classes_)

    def _scores(self, rows: Rows, original: LinearHead, rng: np.random.RandomState) -> Array:
        final = log_softmax(original.logits(rows.X).astype(np.float64), axis=1)
        if self.selection == "misclassification":
            return np.asarray(-final[np.arange(len(final)), rows.y_index])
        if self.selection == "dropout_disagreement":
            other = log_softmax(self._logits_with_dropout(original, rows.X, rng), axis=1)
        else:
            assert self.early_head_ is not None
            other = log_softmax(self.early_head_.logits(rows.X).astype(np.float64), axis=1)
        if self.selection == "early_stop_misclassification":
            return np.asarray(-other[np.arange(len(other)), rows.y_index])
        return np.asarray((np.exp(other) * (other - final)).sum(axis=1))

    def _logits_with_dropout(self, head: LinearHead, X: Array, rng: np.random.RandomState) -> Array:
        keep = 1 - self.dropout
        parts = []
        for start in range(0, len(X), _BLOCK):
            block = X[start : start + _BLOCK]
            kept = rng.random_sample(block.shape) < keep
            parts.append(head.logits(block * kept / X.dtype.type(keep)))
        return np.concatenate(parts).astype(np.float64)

    def _fine_tuned(self, rows: Rows, rng: np.random.RandomState) -> FittedHead:
        """Take SGD steps from the original head, with one row of weights per class."""
        start = self.erm_head_.with_logits(len(self.classes_))
        mass = np.bincount(rows.y_index, weights=rows.weight, minlength=len(self.classes_))
        # The classes are equally likely.
        share = rows.weight / mass[rows.y_index] / (mass > 0).sum()

        def batches() -> Iterator[tuple[Array, Array, Array]]:
            batch, weight = np.arange(len(share)), share
            for _ in range(self.n_steps):
                if self.batch_size is not None:
                    batch = rng.choice(len(share), size=self.batch_size, p=share)
                    weight = np.full(self.batch_size, 1 / self.batch_size)
                yield rows.X[batch], rows.y_index[batch], weight

        how = {n: getattr(self, n) for n in ("learning_rate", "momentum", "weight_decay")}
        theta = np.column_stack([start.coef, start.intercept]).astype(np.float64)
        *_, theta = theta, *sgd_steps(theta, batches(), **how)
        return stepped_head(theta[:, :-1], theta[:, -1], self.classes_, rows.X.dtype, self.n_steps)
