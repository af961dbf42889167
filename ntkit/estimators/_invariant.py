"""Retraining with changed copies of samples, of which the right answer is the originals'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import _fit_context
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from ntkit._disk import scratch
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.estimators._base import ValidatedClassifier
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import FittedHead, is_mapped, rows_per_chunk
from ntkit.study import (
    ALPHAS,
    Fold,
    Rows,
    Study,
    checked_alphas,
    class_weighted,
    folds_over_cells,
    group_balanced,
    judged_groups,
    logits_of_folds,
    middle_of,
    misclassified,
    scaler_of,
    without,
)


@dataclass(frozen=True, eq=False)
class RowsAndCopies:
    """All rows of a study, then their changed copies, which share the weight of their row."""

    rows: Rows
    of: Array  # number of the row that each is, or is a copy of
    changed: Array

    @classmethod
    def of_study(cls, study: Study) -> RowsAndCopies:
        """Join the copies of training and validation rows to the rows."""
        both = study.both
        n = len(both.weight)
        alone = cls(both, np.arange(n), np.zeros(n, dtype=bool))
        if study.changed is None:
            return alone
        of, copy = np.nonzero(~np.isnan(study.changed[:n, :, 0]))
        if not len(of):
            return alone
        mass = both.weight[of] / np.bincount(of)[of]
        copies = Rows(study.changed[of, copy], both.y_index[of], mass)
        return cls(both.and_then(copies), np.append(alone.of, of), np.arange(n + len(of)) >= n)

    @cached_property
    def n_copies(self) -> Array:
        """Copies of each row."""
        n = int((~self.changed).sum())
        return np.bincount(self.of[self.changed], minlength=n)

    def which(self, rows: Array) -> Array:
        """Indices of some rows and of their copies."""
        chosen = np.zeros(len(self.n_copies), dtype=bool)
        chosen[rows] = True
        return np.flatnonzero(chosen[self.of])

    def weight(self, study: Study, *, originals: bool) -> Array:
        """Balance the classes, and the groups in them, over training rows and their copies."""
        n, n_copies = len(study.train.weight), self.n_copies
        parts = np.where(n_copies > 0, originals + 1, 1)  # a row, and its copies together
        mass, y_index = study.train.weight * parts[:n], study.train.y_index
        if study.values is None:
            balanced = class_weighted(mass, y_index, study.classes, "balanced")
        else:
            balanced = group_balanced(mass, y_index, study.values[:n])
        each = np.zeros(len(n_copies))
        each[:n] = balanced / parts[:n]
        weight = each[self.of]
        weight[self.changed] /= n_copies[self.of[self.changed]]
        if not originals:
            weight[: len(n_copies)][n_copies > 0] = 0
        return weight

    def cells(self, values: Array | None) -> Array:
        """Class, and group, × {original, changed} of each; −1 where they are too few to judge."""
        side = self.changed[:, None].astype(np.int64)
        if values is not None:
            side = np.hstack([values[self.of], side])
        # Several copies of a row are one sample: they are alike.
        _, first = np.unique(self.of + len(self.n_copies) * self.changed, return_index=True)
        counted = np.zeros(len(self.of))
        counted[first] = self.rows.weight[first]
        return judged_groups(counted, self.rows.y_index, side)

    def accuracy(self, right: Array, cells: Array) -> tuple[float, float]:
        """Mean accuracy over the cells, of the worse of {original, changed}, and its error."""
        # Where copies take a part of another sample, originals alone carry the bias, and a head
        # that uses it is best on them; where words are swapped, either half is biased.
        halves = [np.where(self.changed == half, cells, -1) for half in (False, True)]
        classes = [np.unique(self.rows.y_index[half >= 0]) for half in halves]
        if not np.array_equal(classes[0], classes[1]):
            return self._mean(right, cells)
        return min(self._mean(right, half) for half in halves)

    def _mean(self, right: Array, cells: Array) -> tuple[float, float]:
        # Each cell's share of right answers has the variance p(1 − p) / n. Copies of one row are
        # one draw, so that their parts are added before they are squared.
        judged = np.flatnonzero((cells >= 0) & (self.rows.weight > 0))
        _, cell = np.unique(cells[judged], return_inverse=True)
        mass, hit = self.rows.weight[judged], right[judged]
        total = np.bincount(cell, weights=mass)
        shares = np.bincount(cell, weights=mass * hit) / total
        part = mass / (total * len(total))[cell]
        of_row = np.bincount(self.of[judged], weights=part * (hit - shares[cell]))
        # A tie is a tie, whatever the order of the sum.
        return round(float(shares.mean()), 12), float(np.sqrt((of_row**2).sum()))


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class InvariantClassifier(ValidatedClassifier):
    r"""Last-layer retraining with changed copies, on which the right answer is the same.

    Needs embeddings and class labels, and embeddings of changed inputs; no group labels. Whoever
    knows that a change must not matter, such as another word for the same thing or another
    background, can make copies of the training samples and embed them.

    1. The copies take the place of their originals, with their labels. (With ``originals=True``
       they join them: an original has as much weight as its copies together.) Classes have equal
       weight, and with ``groups=`` the groups of each class as well.
    2. The head is penalised for what a change does to its logits, on standardised embeddings z:

       .. math::

           \min_{W, b} \; \frac{1}{S} \sum_n s_n\, \ell(W z_n + b, y_n) + \frac{\alpha}{2} \left(
           \|W\|^2 + \gamma \, \frac{1}{N'} \sum_{n'} \frac{1}{R_{n'}} \sum_r
           \|W (z_{n'r}' - z_{n'})\|^2 \right)

       where :math:`n'` runs over the samples with copies :math:`z_{n'r}'`, weighted by
       ``sample_weight``.
    3. γ and α are chosen together by cross-validated accuracy: the mean over the classes (with
       ``groups=`` over the groups) of the originals, or of the copies, whichever is lower. The
       originals alone carry a bias that copies may lack, and copies by swapped words carry its
       reverse. (If one half lacks a class, the mean over all is taken.) A sample and its copies
       are in one fold. The largest γ is taken whose accuracy is within one standard error of
       the best, for the change is known not to matter; then the best α for it.

    Without copies it is class-balanced retraining with a tuned penalty.

    Parameters
    ----------
    penalties : array-like, default=(0, 1, 100, 10_000)
        Values of γ to choose from.
    originals : bool, default=False
        Whether samples that have copies are fitted as well. Their copies alone lack the bias where
        a part comes from another sample; where words are swapped they reverse it, and γ keeps the
        head from using that. Samples without copies are always fitted.
    alphas : array-like, default=(1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
        Ridge weights α on the mean loss to choose from; of equally good ones the largest is taken.
    C : float or None, default=None
        Instead of ``alphas``: inverse strength of the L2 penalty, as in scikit-learn's
        ``LogisticRegression`` on standardised embeddings, :math:`\alpha = 1 / (C S)`. With a single
        one of ``penalties`` nothing is tuned.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_}
        They read the embeddings as they are.
    {intercept_, head_, n_iter_}
    penalty_ : float
        γ of the head.
    alpha_ : float
        Its ridge weight on the mean loss.
    scores_ : ndarray of shape (n_penalties, n_alphas)
        Cross-validated accuracies as above, by rising γ and falling α; NaN where nothing is tuned
        or the samples are too few for folds. Then the smallest γ is taken and the α nearest to 1.
    score_error_ : ndarray of shape (n_penalties, n_alphas)
        Their standard errors: the root of the summed variances p(1 − p) / n of the K accuracies,
        divided by K, where the copies of one sample are one draw.
    n_copies_ : int
        Training samples with at least one copy.
    {n_features_in_, feature_names_in_}

    References
    ----------
    Kaushik, Hovy, Lipton: Learning the Difference that Makes a Difference with
    Counterfactually-Augmented Data. ICLR 2020, arXiv 1909.12434.

    Bai, Ji, Zhou, Inouye: From Invariant Representations to Invariant Data: Provable Robustness to
    Spurious Correlations via Noisy Counterfactual Matching. 2025, arXiv 2505.24843. It projects the
    largest changes out of the embeddings; here they are penalised.

    Examples
    --------
    >>> from ntkit.estimators import InvariantClassifier
    {marked}
    >>> X_changed = X.copy()
    >>> X_changed[:, 1] = 2 - X[:, 1]  # embeddings of the same samples with the other mark
    >>> clf = InvariantClassifier(random_state=0).fit(X, y, X_changed=X_changed)
    >>> bool(abs(clf.coef_[0, 1]) < 0.1 * abs(clf.coef_[0, 0]))
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "penalties": ["array-like"],
        "originals": ["boolean"],
        "alphas": ["array-like"],
        **ValidatedClassifier._shared_constraints,
        "C": [*ValidatedClassifier._shared_constraints["C"], None],
    }

    penalties: Any = (0, 1, 100, 10_000)
    originals: bool = False
    alphas: Any = ALPHAS
    C: float | None = None  # type: ignore[assignment]  # None is resolved for each fit
    tol: float = 1e-5
    max_iter: int = 1000
    device: str = "cpu"
    random_state: Any = None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_changed: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        folds: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Choose the penalties and retrain the head.

        Parameters
        ----------
        {X, y, sample_weight, X_changed}
        groups : array-like of shape (N,), optional
            Group of each sample, such as the value of an attribute; -1, None or NaN where it is not
            known. Groups are crossed with the class. Copies count in the group of their original.
        folds : array-like of int, shape (N,), optional
            Fold of each sample, for cross-validation: copies that take a part of another sample,
            such as its background, take it from the same fold. None: five stratified folds.
        {X_val, y_val, sample_weight_val}
            They only help to choose γ and α: the head of all training samples is judged on them
            next to the cross-validated training samples. With ``groups=`` their classes are groups
            of their own.

        {fitted}

        Raises
        ------
        {fit.InputError, DeviceError}
        """
        study = self._study(
            X, y, sample_weight, X_val, y_val, sample_weight_val, X_changed=X_changed
        )
        n, n_val = len(study.train.weight), len(study.both.weight) - len(study.train.weight)
        if groups is not None:
            group = Attribute.from_labels("groups", groups)
            if len(group.value) != n:
                raise InputError(
                    f"groups holds {len(group.value)} labels for {n} samples; give one each."
                )
            value = np.append(group.value, np.full(n_val, len(group.names)))
            study = replace(study, values=value[:, None])
        if folds is not None:
            fold = np.asarray(folds)
            if fold.shape != (n,) or fold.dtype.kind not in "iu":
                raise InputError(
                    f"folds must hold {n} whole numbers, one per sample; got {fold.dtype} of shape "
                    f"{fold.shape}."
                )
            study = replace(study, folds=np.append(fold, np.full(n_val, -1)))
        self._learn(study)
        return self

    def _learn(self, study: Study) -> None:
        joined = RowsAndCopies.of_study(study)
        self._scaler = scaler_of(study.train)
        present = study.train.weight > 0
        self.n_copies_ = int((joined.n_copies[: len(present)][present] > 0).sum())
        weight = joined.weight(study, originals=self.originals)
        penalties = _checked_penalties(self.penalties)
        alphas = checked_alphas(self.alphas)
        if self.C is not None:
            alphas = [1 / (self.C * float(weight.sum()))]
        self.scores_ = np.full((len(penalties), len(alphas)), np.nan)
        self.score_error_ = self.scores_.copy()
        self.penalty_, self.alpha_ = penalties[0], middle_of(alphas)
        differing = penalties if self.n_copies_ else penalties[:1]  # else all are the same
        if len(differing) * len(alphas) > 1:
            self._choose(study, joined, weight, differing, alphas)
        self._set_head(self._heads(joined, weight, [self.penalty_], [self.alpha_])[0][0])

    def _choose(
        self,
        study: Study,
        joined: RowsAndCopies,
        weight: Array,
        penalties: Sequence[float],
        alphas: Sequence[float],
    ) -> None:
        """Cross-validate all pairs of penalties, and choose one by the one-standard-error rule."""
        cells = joined.cells(study.values)
        folds = [
            (joined.which(train), joined.which(test)) for train, test in self._folds(study, cells)
        ]
        if not folds:
            return
        heads = [
            self._heads(joined, without(weight, train), penalties, alphas) for train, _ in folds
        ]
        for i, k in np.ndindex(len(penalties), len(alphas)):
            logits, tested = logits_of_folds(joined.rows, folds, [each[i][k] for each in heads])
            right = ~misclassified(logits, joined.rows)
            score, error = joined.accuracy(right, np.where(tested, cells, -1))
            same = slice(i, None) if len(penalties) == 1 else i
            self.scores_[same, k], self.score_error_[same, k] = score, error
        best = np.unravel_index(self.scores_.argmax(), self.scores_.shape)
        within = self.scores_.max(axis=1) >= self.scores_[best] - self.score_error_[best]
        chosen = int(np.flatnonzero(within[: len(penalties)])[-1])
        self.penalty_ = penalties[chosen]
        self.alpha_ = alphas[int(self.scores_[chosen].argmax())]

    def _folds(self, study: Study, cells: Array) -> list[Fold]:
        """Folds of the training rows, and the validation rows, which the head of all is for."""
        n, n_all = len(study.train.weight), len(study.both.weight)
        folds: list[Fold] | None
        if study.folds is None:
            rng = check_random_state(self.random_state)
            seed = int(rng.randint(np.iinfo(np.int32).max))
            folds = folds_over_cells(study.train, cells[:n], 5, seed)
        else:
            fold = study.folds[:n]
            folds = [
                (np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)
            ]
            for train, test in folds:
                _check_every_class(study, train, int(fold[test[0]]))
        also = [(np.arange(n), np.arange(n, n_all))] if n_all > n else []
        return (folds or []) + also

    def _heads(
        self,
        joined: RowsAndCopies,
        weight: Array,
        penalties: Sequence[float],
        alphas: Sequence[float],
    ) -> list[list[FittedHead]]:
        """Fit heads for all pairs of penalties, on the rows of positive weight."""
        scale = self._scaler.scale_
        part = np.flatnonzero(weight > 0)
        copies = part[joined.changed[part]]
        if not len(copies) or not max(penalties):
            weights = [weight] * len(alphas)
            heads = self._ridge_heads(joined.rows, weights, alphas, 1 / scale)
            return [heads] * len(penalties)
        # A ridge does not change under a rotation. Along the eigenvectors of the mean of
        # (z' − z)(z' − z)ᵀ the penalty is one of the single features, which gains stand for.
        values, vectors = np.linalg.eigh(_second_moments(joined, copies, scale))
        rotated = Rows(
            _rotated(joined.rows.X, part, self._scaler, vectors),
            joined.rows.y_index[part],
            weight[part],
        )
        path = list[list[FittedHead]]()
        for penalty in penalties:
            gains = 1 / np.sqrt(1 + penalty * np.maximum(values, 0))
            weights = [rotated.weight] * len(alphas)
            heads = self._ridge_heads(rotated, weights, alphas, gains)
            path.append([_turned_back(head, self._scaler, vectors) for head in heads])
        return path


def _second_moments(joined: RowsAndCopies, copies: Array, scale: Array) -> Array:
    """Mean of (z' − z)(z' − z)ᵀ over rows, of standardised embeddings."""
    X, mass = joined.rows.X, joined.rows.weight
    moments = np.zeros((X.shape[1], X.shape[1]))
    step = rows_per_chunk(X, 0)
    for start in range(0, len(copies), step):
        some = copies[start : start + step]
        change = (X[some] - X[joined.of[some]].astype(np.float64)) / scale
        moments += (change * mass[some][:, None]).T @ change
    return np.asarray(moments / mass[copies].sum())


def _rotated(X: Array, part: Array, scaler: StandardScaler, vectors: Array) -> Array:
    """Some rows, standardised and rotated, in their own precision."""
    shape = (len(part), X.shape[1])
    rotated = scratch(shape, X.dtype) if is_mapped(X) else np.empty(shape, X.dtype)
    vectors, step = vectors.astype(X.dtype), rows_per_chunk(X, 0)
    for start in range(0, len(part), step):
        chunk = slice(start, start + step)
        standardized = (X[part[chunk]] - scaler.mean_) / scaler.scale_
        rotated[chunk] = standardized.astype(X.dtype) @ vectors
    return rotated


def _turned_back(head: FittedHead, scaler: StandardScaler, vectors: Array) -> FittedHead:
    """The head on embeddings as they are, of one on rotated standardised embeddings."""
    turned = LinearHead(head.coef @ vectors.T, head.intercept.astype(np.float64), head.classes)
    raw = turned.scaled(1 / scaler.scale_, scaler.mean_).astype(head.coef.dtype)
    return FittedHead(raw.coef, raw.intercept, raw.classes, head.n_iter)


def _check_every_class(study: Study, train: Array, fold: int) -> None:
    mass = np.bincount(
        study.train.y_index[train],
        weights=study.train.weight[train],
        minlength=len(study.classes),
    )
    if (mass <= 0).any():
        label = study.classes[mass <= 0].tolist()[0]
        raise InputError(
            f"Without fold {fold} of folds no sample of class {label!r} is left; give every class "
            "samples in two folds at least."
        )


def _checked_penalties(penalties: Any) -> list[float]:
    """Weights of the penalty on changes, the smallest first."""
    try:
        values = np.asarray(penalties, dtype=float).ravel()
    except (TypeError, ValueError) as error:
        raise InputError(f"penalties must be numbers >= 0; got {penalties!r}.") from error
    if not values.size or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(f"penalties must be numbers >= 0, at least one; got {penalties!r}.")
    return sorted(values.tolist())
