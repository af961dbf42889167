"""Retraining with changed copies of samples, whose right answer is that of the originals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from sklearn.preprocessing import StandardScaler

from ntkit._checks import rates
from ntkit._disk import scratch
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.attribute import judged_groups
from ntkit.attributes.feature_set import FEWEST
from ntkit.estimators._base import OPTIONAL_C, VALIDATION_SET, StudyClassifier
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver.fit_head import FittedHead
from ntkit.solver.loss import is_mapped, rows_per_chunk
from ntkit.study import (
    ALPHAS,
    LEAST_ERRORS,
    Fold,
    Rows,
    Study,
    checked_numbers,
    folds_of,
    group_balanced,
    logits_of_folds,
    scaler_of,
    seed_of,
    without,
)


@dataclass(frozen=True, eq=False)
class RowsAndCopies:
    """All rows of a study, then their changed copies, which share the weight of their row."""

    rows: Rows
    of: Array  # index of the original row
    changed: Array

    @classmethod
    def of_study(cls, study: Study) -> RowsAndCopies:
        """Append the copies of training and validation rows to the rows."""
        both = study.both
        n = len(both.weight)
        alone = cls(both, np.arange(n), np.zeros(n, dtype=bool))
        if study.changed is None:
            return alone
        of, copy = np.nonzero(~np.isnan(study.changed[:n, :, 0]))
        if not len(of):
            return alone
        mass = both.weight[of] / np.bincount(of)[of]
        copies = Rows(study.changed[of, copy], both.y_index[of], mass, both.classes)
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
        parts = np.where(n_copies > 0, originals + 1, 1)  # a row and its copies together
        rows = replace(study.train, weight=study.train.weight * parts[:n])
        if study.values is None:
            balanced = rows.balanced()
        else:
            balanced = group_balanced(rows.weight, rows.y_index, study.values[:n])
        each = np.zeros(len(n_copies))
        each[:n] = balanced / parts[:n]
        weight = each[self.of]
        weight[self.changed] /= n_copies[self.of[self.changed]]
        if not originals:
            weight[: len(n_copies)][n_copies > 0] = 0
        return weight

    def cells(self, values: Array | None) -> Array:
        """Class, and group, × {original, changed} of each row; −1 if there are too few rows."""
        side = self.changed[:, None].astype(np.int64)
        if values is not None:
            side = np.hstack([values[self.of], side])
        # Several copies of a row count as one sample, because they are alike.
        _, first = np.unique(self.of + len(self.n_copies) * self.changed, return_index=True)
        counted = np.zeros(len(self.of))
        counted[first] = self.rows.weight[first]
        return judged_groups(counted, self.rows.y_index, side, LEAST_ERRORS)

    def accuracy(self, right: Array, cells: Array) -> tuple[float, float]:
        """Mean accuracy over the groups, of the worse of {original, changed}, and its error."""
        # If copies take a part of another sample, only originals have the bias, and a head that
        # uses it is best on them. If words are swapped, originals and copies have opposite biases.
        halves = [np.where(self.changed == half, cells, -1) for half in (False, True)]
        classes = [np.unique(self.rows.y_index[half >= 0]) for half in halves]
        if not np.array_equal(classes[0], classes[1]):
            return self._mean(right, cells)
        return min(self._mean(right, half) for half in halves)

    def _mean(self, right: Array, cells: Array) -> tuple[float, float]:
        # The accuracy of each group has the variance p(1 − p) / n. The copies of one row are one
        # draw, so their parts are added before they are squared.
        judged = np.flatnonzero((cells >= 0) & (self.rows.weight > 0))
        _, cell = np.unique(cells[judged], return_inverse=True)
        mass, hit = self.rows.weight[judged], right[judged]
        shares, total = rates(hit, cell, mass)
        part = mass / (total * len(total))[cell]
        of_row = np.bincount(self.of[judged], weights=part * (hit - shares[cell]))
        # The order of a sum must not break a tie.
        return round(float(shares.mean()), 12), float(np.sqrt((of_row**2).sum()))


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class InvariantClassifier(StudyClassifier):
    r"""Last-layer retraining with changed copies, which have the same right answer.

    Needs embeddings and class labels, and embeddings of changed inputs; no group labels. If you
    know a change that must not matter, such as a synonym or another background, make copies of the
    training samples and embed them.

    1. The copies replace their originals, with the same labels. With ``originals=True``, or if
       ``groups=`` are complete, they are added, and an original has as much weight as its copies
       together. Classes have equal weight, and with ``groups=`` the groups of each class as well.
    2. The head is penalised for the effect of a change on its logits, on standardised embeddings z:

       .. math::

           \min_{W, b} \; \frac{1}{S} \sum_n s_n\, \ell(W z_n + b, y_n) + \frac{\alpha}{2} \left(
           \|W\|^2 + \gamma \, \frac{1}{N'} \sum_{n'} \frac{1}{R_{n'}} \sum_r
           \|W (z_{n'r}' - z_{n'})\|^2 \right)

       where :math:`n'` runs over the samples with copies :math:`z_{n'r}'`, weighted by
       ``sample_weight``.
    3. γ and α are chosen together by cross-validated accuracy. It is the mean over the classes
       (with ``groups=`` over the groups) of the originals or of the copies, whichever is lower.
       Both are needed: originals may have a bias that copies lack, and copies with swapped words
       have the opposite bias. If either part lacks a class, the mean over all is used. A sample and
       its copies are in one fold. The largest γ within one standard error of the best is used,
       because the change is known not to matter; then the best α for it.

    Without copies it is class-balanced retraining with a tuned penalty.

    Parameters
    ----------
    penalties : array-like, default=(0, 1, 100, 10_000)
        Values of γ to choose from.
    originals : bool or None, default=None
        Whether samples with copies are fitted as well. Copies alone lack the bias if a part comes
        from another sample; if words are swapped they have the opposite bias, and γ keeps the head
        from using it. Balanced groups of real samples are better. So None means True if you pass
        ``groups`` and every class has at least 5 samples of each group, else False. Samples
        without copies are always fitted.
    alphas : array-like, default=(1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
        Candidate ridge weights α on the mean loss; if several are equally good, the largest is
        used.
    C : float or None, default=None
        Inverse strength of the L2 penalty instead of ``alphas``, as in scikit-learn's
        ``LogisticRegression`` on standardised embeddings, :math:`\alpha = 1 / (C S)`. With a single
        one of ``penalties`` nothing is tuned.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_}
        For embeddings without standardisation.
    {intercept_, head_, n_iter_}
    penalty_ : float
        Chosen γ.
    alpha_ : float
        Chosen ridge weight on the mean loss.
    scores_ : ndarray of shape (n_penalties, n_alphas)
        Cross-validated accuracies, by rising γ and falling α; NaN without tuning, or with too few
        samples for folds. Then the smallest γ is used, and the α nearest to 1.
    score_error_ : ndarray of shape (n_penalties, n_alphas)
        Their standard errors: the root of the summed variances p(1 − p) / n of the K accuracies,
        divided by K. The copies of one sample are one draw.
    n_copies_ : int
        Number of training samples with at least one copy.
    originals_ : bool
        Whether samples with copies were fitted as well.
    {n_features_in_, feature_names_in_}

    References
    ----------
    Kaushik, Hovy, Lipton: Learning the Difference that Makes a Difference with
    Counterfactually-Augmented Data. ICLR 2020, arXiv 1909.12434.

    Bai, Ji, Zhou, Inouye: From Invariant Representations to Invariant Data: Provable Robustness to
    Spurious Correlations via Noisy Counterfactual Matching. 2025, arXiv 2505.24843. The paper
    projects the largest changes out of the embeddings; this class penalises them.

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

    _takes: ClassVar[tuple[str, ...]] = ("X_changed", "groups", "folds", *VALIDATION_SET)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "penalties": ["array-like"],
        "originals": ["boolean", None],
        "alphas": ["array-like"],
        "C": OPTIONAL_C,
    }

    penalties: Any = (0, 1, 100, 10_000)
    originals: bool | None = None
    alphas: Any = ALPHAS
    C: float | None = None  # type: ignore[assignment]  # None is resolved for each fit
    random_state: Any = None

    def _with_known(self, study: Study, groups: Any = None, folds: Any = None) -> Study:
        """Add the groups and the folds of the samples.

        groups : array-like of shape (N,), optional
            Group of each sample, such as the value of an attribute; -1, None or NaN if it is
            unknown. Groups are crossed with the class. A copy belongs to the group of its original.
        folds : array-like of int, shape (N,), optional
            Fold of each sample, for cross-validation. Copies that take a part of another sample,
            such as its background, must take it from the same fold. None means five stratified
            folds.
        X_val : array-like of shape (M, D), optional
            Embeddings of a validation set. They only help to choose γ and α: the head of all
            training samples is evaluated on them, next to the cross-validated training samples.
            With ``groups=`` their classes are groups of their own.
        """
        n, n_val = len(study.train), len(study.both) - len(study.train)
        if groups is not None:
            group = Attribute.from_labels("groups", groups)
            if len(group.value) != n:
                raise InputError(
                    f"groups has {len(group.value)} labels for {n} samples; pass one for each."
                )
            value = np.append(group.value, np.full(n_val, len(group.names)))
            study = replace(study, values=value[:, None])
        if folds is not None:
            fold = checked_folds(folds, n)
            study = replace(study, folds=np.append(fold, np.full(n_val, -1)))
        return study

    def _learn(self, study: Study) -> None:
        joined = RowsAndCopies.of_study(study)
        self._scaler = scaler_of(study.train)
        present = study.train.weight > 0
        self.n_copies_ = int((joined.n_copies[: len(present)][present] > 0).sum())
        complete = _has_every_group(study)
        self.originals_ = complete if self.originals is None else bool(self.originals)
        weight = joined.weight(study, originals=self.originals_)
        penalties = sorted(checked_numbers("penalties", self.penalties, "numbers >= 0"))
        alphas = sorted(checked_numbers("alphas", self.alphas), reverse=True)
        if self.C is not None:
            alphas = [1 / (self.C * float(weight.sum()))]
        self.scores_ = np.full((len(penalties), len(alphas)), np.nan)
        self.score_error_ = self.scores_.copy()
        # With too few samples to choose, the ridge weight nearest to 1.
        self.penalty_, self.alpha_ = penalties[0], min(alphas, key=lambda a: abs(np.log(a)))
        differing = penalties if self.n_copies_ else penalties[:1]  # else all are equal
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
            right = logits.argmax(axis=1) == joined.rows.y_index
            score, error = joined.accuracy(right, np.where(tested, cells, -1))
            same = slice(i, None) if len(penalties) == 1 else i
            self.scores_[same, k], self.score_error_[same, k] = score, error
        best = np.unravel_index(self.scores_.argmax(), self.scores_.shape)
        within = self.scores_.max(axis=1) >= self.scores_[best] - self.score_error_[best]
        chosen = int(np.flatnonzero(within[: len(penalties)])[-1])
        self.penalty_ = penalties[chosen]
        self.alpha_ = alphas[int(self.scores_[chosen].argmax())]

    def _folds(self, study: Study, cells: Array) -> list[Fold]:
        """Folds of the training rows, and the validation rows for the head of all training rows."""
        n, n_all = len(study.train.weight), len(study.both.weight)
        folds: list[Fold] | None
        if study.folds is None:
            folds = folds_of(5, study.train, seed_of(self.random_state), cells[:n])
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
        """Fit heads for all pairs of penalties, to the rows of positive weight."""
        scale, solver = self._scaler.scale_, self._solver_options()
        part = np.flatnonzero(weight > 0)
        copies = part[joined.changed[part]]
        if not len(copies) or not max(penalties):
            weights = [weight] * len(alphas)
            heads = joined.rows.heads(weights, alphas=alphas, gains=1 / scale, **solver)
            return [heads] * len(penalties)
        # A rotation does not change a ridge penalty. Along the eigenvectors of the mean of (z' −
        # z)(z' − z)ᵀ the penalty is a sum over single features, which can be expressed by gains.
        values, vectors = np.linalg.eigh(_second_moments(joined, copies, scale))
        rotated = Rows(
            _rotated(joined.rows.X, part, self._scaler, vectors),
            joined.rows.y_index[part],
            weight[part],
            joined.rows.classes,
        )
        path = list[list[FittedHead]]()
        for penalty in penalties:
            gains = 1 / np.sqrt(1 + penalty * np.maximum(values, 0))
            weights = [rotated.weight] * len(alphas)
            heads = rotated.heads(weights, alphas=alphas, gains=gains, **solver)
            path.append([_turned_back(head, self._scaler, vectors) for head in heads])
        return path


def checked_folds(folds: Any, n: int) -> Array:
    """Fold of each sample, as a user passes them."""
    fold = np.asarray(folds)
    if fold.shape != (n,) or fold.dtype.kind not in "iu":
        raise InputError(
            f"folds must have {n} whole numbers, one per sample; got {fold.dtype} of shape "
            f"{fold.shape}."
        )
    return fold


def _has_every_group(study: Study) -> bool:
    """Whether groups are known, and every class has enough training samples of each of them."""
    if study.values is None:
        return False
    values = study.values[: len(study.train)]
    known = (values >= 0).all(axis=1) & (study.train.weight > 0)
    if not known.any():
        return False
    _, group = np.unique(values[known], axis=0, return_inverse=True)
    counts = np.zeros((len(study.train.classes), int(group.max()) + 1))
    np.add.at(counts, (study.train.y_index[known], group.ravel()), 1)
    return counts.shape[1] > 1 and bool(counts.min() >= FEWEST)


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
    """Convert a head for rotated standardised embeddings into one for unscaled embeddings."""
    turned = LinearHead(head.coef @ vectors.T, head.intercept.astype(np.float64), head.classes)
    raw = turned.scaled(1 / scaler.scale_, scaler.mean_).astype(head.coef.dtype)
    return FittedHead(raw.coef, raw.intercept, raw.classes, head.n_iter)


def _check_every_class(study: Study, train: Array, fold: int) -> None:
    mass = np.bincount(
        study.train.y_index[train],
        weights=study.train.weight[train],
        minlength=len(study.train.classes),
    )
    if (mass <= 0).any():
        label = study.train.classes[mass <= 0].tolist()[0]
        raise InputError(
            f"Without fold {fold} of folds no sample of class {label!r} remains; give every class "
            "samples in at least two folds."
        )
