"""EVaLS: an L1 head on the samples of highest and lowest loss, chosen by inferred environments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from ntkit._checks import rates
from ntkit._doc import documented
from ntkit._process import warn
from ntkit._types import Array
from ntkit.estimators._base import FromHead
from ntkit.estimators._l1_head import l1_head, on_raw_units, without_convergence_warnings
from ntkit.solver.fit_head import FittedHead
from ntkit.study import (
    Rows,
    Study,
    checked_numbers,
    require_every_class,
    scaler_of,
    seed_of,
    split_in_two,
)


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class EVaLSClassifier(FromHead):
    r"""Last-layer retraining on the samples of highest and lowest loss of each class (EVaLS).

    Needs embeddings and class labels; no group labels.

    1. A validation set (``X_val``) is split into :math:`D_{LL}`, for last-layer retraining, and
       :math:`D_{MS}`, for model selection. Without it the training set is split; a head that fits
       the training set well leaves low losses and few errors to use.
    2. Of every class of :math:`D_{LL}`, the k samples with the highest and the k with the lowest
       loss under the original head are selected: :math:`S_k`.
    3. On the standardised embeddings of :math:`S_k` an L1-penalised head is fitted:

    .. math::

        \min_{W, b}\; C \sum_{i \in S_k} \mathrm{CE}(W z_i + b,\, y_i) + \lVert W \rVert_1

    4. The chosen k and C have the best accuracy on the worst environment of :math:`D_{MS}`. The
       environments are the class × correctness groups of the original head. For a linear head that
       is the partition which EIIL (arXiv 2010.07249), the paper's environment inference, looks for.

    The method is that of arXiv 2410.05345, according to a secondary description and the authors'
    public code (github.com/sharif-ml-lab/EVaLS, commit 69444bb). **Fidelity to the paper is not
    claimed**; the page "Methods" lists the differences.

    Parameters
    ----------
    n_selected : sequence of int, default=(50, 100, 150, 200, 250)
        Candidates for k, as in the authors' public code. A k above half the smallest class of
        :math:`D_{LL}` is reduced to that half, so that classes stay balanced.
    Cs : sequence of float, default=(1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
        Candidates for C, as in scikit-learn's ``LogisticRegression`` (DFR's grid).
    selection_size : float, default=0.5
        Share of the validation set that is :math:`D_{MS}`, stratified by class. If a class has
        fewer than two samples, both parts are the whole set.
    {head, erm.C}
    tol : float, default=1e-3
        Tolerance of the solvers.
    max_iter : int, default=1000
        Most iterations of the solvers; a ConvergenceWarning if they do not suffice for the ERM head
        or the chosen head.
    {device}
        Device of the ERM head; scikit-learn fits the L1 heads.
    {random_state}

    Attributes
    ----------
    {classes_, coef_}
        Standardisation is folded in. A neuron that the L1 penalty left out has zero weights.
    {intercept_, head_, erm_head_}
    n_selected_ : int
        Chosen k: number of samples of each end, per class.
    C_ : float
        Chosen C.
    selected_ : ndarray of int
        Indices of the samples that the head was fitted to, in the training set or in ``X_val``.
    environment_accuracy_ : ndarray of shape (C, 2)
        Accuracy of the retrained head over the environments of :math:`D_{MS}`: for each class, the
        samples that the original head gets right, and wrong. NaN for an empty environment.
    candidates_ : list of dict
        All candidates: "n_selected", "C", and the "worst" and "mean" accuracy over environments.
    {n_iter_, n_features_in_, feature_names_in_}

    References
    ----------
    Ghaznavi, Asadollahzadeh, Noohdani, Vafaie Tabar, Hasani, Alvanagh, Rohban, Soleymani
    Baghshah: Trained Models Tell Us How to Make Them Robust to Spurious Correlation without
    Group Annotation. 2024, arXiv 2410.05345.

    Examples
    --------
    >>> from ntkit.estimators import EVaLSClassifier
    {marked}
    >>> clf = EVaLSClassifier(n_selected=(10, 20), C=0.01, random_state=0).fit(X, y)
    >>> clf.head_  # without the mark and the noise
    LinearHead(n_neurons=3, 2 silent, classes=[0, 1], one sigmoid logit, float64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_selected": ["array-like"],
        "Cs": ["array-like"],
        "selection_size": [Interval(Real, 0, 1, closed="neither")],
    }

    n_selected: Sequence[int] = (50, 100, 150, 200, 250)
    Cs: Sequence[float] = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
    selection_size: float = 0.5
    tol: float = 1e-3

    def _learn(self, study: Study) -> None:
        ks = checked_numbers("n_selected", self.n_selected, "positive whole numbers")
        Cs = checked_numbers("Cs", self.Cs)
        rows, validation = study.train, study.validation or study.train
        if study.validation is not None:
            require_every_class(validation)
        rng = check_random_state(self.random_state)
        original = self._original_head(rows)
        retrain_index, choose = self._halves(validation, rng)
        retrain = validation.take(retrain_index)

        log_p = log_softmax(original.logits(retrain.X).astype(np.float64), axis=1)
        loss = -log_p[np.arange(len(log_p)), retrain.y_index]
        scaler = scaler_of(retrain)
        wrong = original.logits(choose.X).argmax(axis=1) != choose.y_index
        environment, n_cells = 2 * choose.y_index + wrong, 2 * (int(choose.y_index.max()) + 1)
        seed = seed_of(rng)
        most = max(1, int(np.bincount(retrain.y_index).min()) // 2)

        self.candidates_ = []
        best: tuple[float, ...] = ()
        for k in sorted({min(k, most) for k in ks}):
            selected = _both_ends(loss, retrain.y_index, k)
            for C, solution, converged in self._l1_path(retrain.take(selected), Cs, scaler, seed):
                right = solution.logits(choose.X).argmax(axis=1) == choose.y_index
                accuracy, _ = rates(right, environment, choose.weight, n_cells)
                # Sums of weights differ in their last digits, which must not break a tie.
                worst = round(float(np.nanmin(accuracy)), 12)
                mean = round(float(np.nanmean(accuracy)), 12)
                self.candidates_.append({"n_selected": k, "C": C, "worst": worst, "mean": mean})
                if (worst, mean) > best:  # in a tie the smaller k wins, then the smaller C
                    best = (worst, mean)
                    kept, kept_converged = solution, converged
                    self.n_selected_, self.C_ = k, C
                    self.selected_ = np.sort(retrain_index[selected])
                    self.environment_accuracy_ = accuracy.reshape(-1, 2)
        if not kept_converged:
            warn(
                f"The chosen head (C={self.C_}) did not converge in max_iter={self.max_iter} "
                "iterations; raise max_iter.",
                ConvergenceWarning,
            )
        self._set_head(kept)

    def _counts_rows(self) -> bool:
        return True

    def _halves(self, validation: Rows, rng: np.random.RandomState) -> tuple[Array, Rows]:
        """Indices of the samples for retraining, and the rows for model selection."""
        split = split_in_two(float(self.selection_size), validation, rng)
        if split is None:
            present = np.flatnonzero(validation.weight > 0)
            return present, validation.take(present)
        return split[0], validation.take(split[1])

    def _l1_path(
        self, rows: Rows, Cs: list[float], scaler: StandardScaler, seed: int
    ) -> Iterator[tuple[float, FittedHead, bool]]:
        """Fit one L1 head per C, the strongest penalty first, and return whether it converged."""
        scaled = replace(rows, X=scaler.transform(rows.X))
        options: dict[str, Any] = {"classes": self.classes_, "tol": self.tol}
        options["max_iter"] = self.max_iter
        head: FittedHead | None = None
        for C in sorted(Cs):
            # Only the chosen candidate's convergence matters to the user.
            with without_convergence_warnings():
                head = l1_head(scaled, C, start=head, seed=seed, **options)
            folded = on_raw_units(head, scaler, rows.X.dtype, head.n_iter)
            yield C, folded, head.n_iter < self.max_iter


def _both_ends(loss: Array, y_index: Array, k: int) -> Array:
    """Indices of the k highest and k lowest losses of each class."""
    chosen = []
    for label in np.unique(y_index):
        members = np.flatnonzero(y_index == label)
        ranked = members[np.argsort(loss[members], kind="stable")]
        chosen.append(np.union1d(ranked[:k], ranked[-k:]))
    return np.concatenate(chosen)
