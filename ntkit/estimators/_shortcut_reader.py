"""ShortcutReader: read a shortcut from copies that have a part of another sample."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from numbers import Integral, Number
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax
from scipy.stats import norm
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import validate_data

from ntkit._checks import check_index, check_magnitude, rates
from ntkit._contents import distinct
from ntkit._doc import documented
from ntkit._text import percent
from ntkit._types import Array
from ntkit.estimators._base import StudyClassifier, kept_dtypes
from ntkit.estimators._invariant import checked_folds
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.study import (
    Fold,
    Rows,
    Study,
    checked_numbers,
    folds_of,
    logits_of_folds,
    seed_of,
    stratified_folds,
    without,
)

_N_FOLDS = 5
_HALF = float(norm.ppf(0.975))  # half of a 95 % interval, in standard errors
MOST_GAP = 0.05
"""Largest gap of a reader that is used."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Values of a shortcut that a :class:`ShortcutReader` read from samples.

    Attributes
    ----------
    values : ndarray of shape (N,)
        Class that the part of each sample looks like, by a head that has not seen the sample.
    probabilities : ndarray of shape (N, C)
        Probability of each class, by the same head.
    agreement : float
        Share of the samples whose value is their own class, the mean over the classes.
    balanced_accuracy : float
        Cross-fitted accuracy on copies, ``ShortcutReader.balanced_accuracy_``.
    balanced_accuracy_interval, gap_interval : tuple of float
        95 % intervals of ``balanced_accuracy`` and of ``gap``.
    """

    values: Array
    probabilities: Array
    agreement: float
    balanced_accuracy: float
    balanced_accuracy_interval: tuple[float, float]
    gap_interval: tuple[float, float]

    @property
    def log_odds(self) -> Array:
        """ndarray: log-odds of each class but the first against the first, (N, C - 1).

        A feature set for :class:`GroupInference`.
        """
        logs = np.log(np.maximum(self.probabilities, np.finfo(np.float64).tiny))
        return np.asarray(logs[:, 1:] - logs[:, :1])

    @property
    def gap(self) -> float:
        """float: accuracy on copies minus agreement; near 0 if the part alone is read."""
        return self.balanced_accuracy - self.agreement

    @property
    def reads(self) -> bool:
        """bool: whether the accuracy on copies is above guessing, by its interval."""
        return bool(self.balanced_accuracy_interval[0] > 1 / self.probabilities.shape[1])

    @property
    def doubt(self) -> str:
        """str: why the values should not be used; empty if the guards have no objection.

        They have one if the accuracy on copies is not above guessing, by its interval, or if the
        gap is larger than 0.05. Gaps of parts around the subject were up to 0.04, and that of the
        centre of marked digits was 0.09. Centres of other images had gaps below 0.04, so a small
        gap proves nothing.
        """
        if np.isnan(self.balanced_accuracy):
            return "too few copies tell how well it reads"
        told = f"{percent(self.balanced_accuracy, 0)} of the copies"
        if not self.reads:
            low, high = self.balanced_accuracy_interval
            guessing = 1 / self.probabilities.shape[1]
            return (
                f"the class of the donor can be told from {told} (95 % interval "
                f"{100 * low:.0f} to {100 * high:.0f}), which may be guessing "
                f"({percent(guessing, 0)})"
            )
        if abs(self.gap) > MOST_GAP:
            return (
                f"a head tells the class of the donor from {told}, but from the samples "
                f"themselves it tells their own class in {percent(self.agreement, 0)}: it reads "
                "more than this part"
            )
        return ""


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class ShortcutReader(StudyClassifier):
    r"""Read a shortcut from copies that have a part of another sample.

    Needs embeddings of copies and class labels; no group labels. A copy has the subject of one
    sample, and a part of another one, its *donor*. The part may be the border of an image, or a
    column of a table. Draw the donor's class uniformly, whatever the class of the subject.

    1. A linear head predicts the donor's class from the embedding of the copy. The subject does
       not help, so the head reads the part alone.
    2. For a real sample, the head predicts the class that the part of the sample looks like. That
       is the value of the shortcut. Class × value are groups for :class:`DFRClassifier`.

    The head minimises the class-balanced mean loss plus an L2 penalty, on standardised embeddings
    of the copies. The penalty is chosen by cross-fitted accuracy on the donors' classes. Of all
    penalties within one standard error of the best, the strongest is used.

    Donors and subjects are kept apart: a head that judges a copy, or reads a sample, has seen
    neither the donor nor the subject in any copy. Copies whose donor and subject are in two folds
    are neither fitted nor judged there. So take donors from the fold of the subject, if you can.

    The accuracy tells how much of the class is in the part. It does not tell that the part is a
    shortcut, because the subject tells more. Only use it for a part that must not matter, and do
    not judge a repair by groups that were read. If ``Reading.gap`` is far from 0, the head reads
    something else from real samples.

    Parameters
    ----------
    alphas : array-like, default=(1e-5, 1e-4, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
        Candidate ridge weights on the mean loss.
    min_donors : int, default=20
        Smallest number of donors of a class; with fewer, ``fit`` raises an error.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_}
        For embeddings without standardisation.
    {intercept_, head_, n_iter_}
    alpha_ : float
        Chosen ridge weight.
    balanced_accuracy_ : float
        Cross-fitted accuracy on the donors' classes with this penalty: the mean over the copies of
        a donor, then over the donors of a class, then over the classes. NaN if there are too few
        donors for folds.
    balanced_accuracy_interval_ : tuple of float
        Its 95 % interval, by the spread of the donors in each class. One copy more of a donor does
        not make it narrower.
    reads_ : bool
        Whether this interval is above guessing, which is right for 1 / C.
    scores_ : dict of float
        Accuracy with each of ``alphas``.
    n_donors_ : ndarray of shape (C,)
        Number of donors of each class.
    {n_features_in_, feature_names_in_}

    See Also
    --------
    DFRClassifier : Balances groups.
    InvariantClassifier : Retrains on such copies with the labels of their subjects.
    GroupInference : Infers an attribute from labels of a few samples.

    Notes
    -----
    The method is ntkit's own. On Waterbirds (frozen EfficientNet-Lite0), copies had the border of
    another image. ``DFRClassifier`` reached 82 % in the worst group of the test set with the values
    that were read, and 82 % with all group labels. Very weak penalties read worse.

    Examples
    --------
    >>> from ntkit.estimators import DFRClassifier, ShortcutReader
    {marked}
    >>> subject = np.arange(400)
    >>> donor = (subject + 5 * rng.integers(1, 80, 400)) % 400  # of the same fold
    >>> X_changed = X.copy()
    >>> X_changed[:, 1] = X[donor, 1]  # embeddings of copies with the mark of another sample
    >>> reader = ShortcutReader(random_state=0)
    >>> reading = reader.read(X, y, X_changed, donor=donor, subject=subject, folds=subject % 5)
    >>> bool(np.mean(reading.values == mark) > 0.95), bool(abs(reading.gap) < 0.05)
    (True, True)
    >>> clf = DFRClassifier(random_state=0).fit(X, y, attribute=reading.values)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alphas": ["array-like"],
        "min_donors": [Interval(Integral, 1, None, closed="left")],
    }

    alphas: Any = (1e-5, 1e-4, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    min_donors: int = 20
    random_state: Any = None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X_changed: ArrayLike,
        y_donor: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        donor: ArrayLike | None = None,
        subject: ArrayLike | None = None,
    ) -> ShortcutReader:
        """Learn to read the part from copies.

        Parameters
        ----------
        X_changed : array-like of shape (N, D)
            Embeddings of copies.
        y_donor : array-like of shape (N,)
            Class of the donor of each copy.
        sample_weight : array-like of shape (N,), optional
            Weights of the copies; a copy of weight 0 counts as absent.
        donor, subject : array-like of shape (N,), optional
            Names or numbers of the samples that a copy has its part and its subject from. Equal
            ones are one sample, also if it is a donor in one copy and the subject of another.
            Without ``donor``, each copy has its own.

        {fitted}

        Raises
        ------
        InputError
            If a class has fewer than ``min_donors`` donors, a donor has two classes, or ``donor``
            has texts where ``subject`` has numbers.
        DeviceError
            If ``device="cuda"`` and there is no GPU.
        """
        samples = {"donor": donor, "subject": subject}
        check_index(X_changed=X_changed, y_donor=y_donor, sample_weight=sample_weight, **samples)
        copies = self._rows(X_changed, y_donor, sample_weight)
        numbers, present = _numbered(samples, len(copies)), np.flatnonzero(copies.weight > 0)
        copies, numbers = copies.take(present), {k: v[present] for k, v in numbers.items()}
        # Without donors, each copy has its own. Equal copies of one class are one copy.
        own = distinct(copies.contents)[1] * len(copies.classes) + copies.y_index
        donors = numbers.get("donor", own)
        apart = donors if donor is not None else numbers.get("subject", own)
        subjects = numbers.get("subject", apart)
        # Folds are stratified by class. A sample that is only a subject joins one of its donors.
        fold = np.full(max(apart.max(), subjects.max()) + 1, -1)
        parts = stratified_folds(copies.y_index, _N_FOLDS, seed_of(self.random_state), apart)
        for number, (_, tested) in enumerate(parts):
            fold[apart[tested]] = number
        only = fold[subjects] < 0
        fold[subjects[only]] = fold[apart[only]]
        self._cross_fit(copies, donors, np.stack([fold[apart], fold[subjects]]))
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def read(
        self,
        X: ArrayLike,
        y: ArrayLike,
        X_changed: ArrayLike,
        *,
        donor: ArrayLike,
        subject: ArrayLike,
        folds: ArrayLike | None = None,
    ) -> Reading:
        """Fit to copies, and read each original by a head that has not seen it in any copy.

        Parameters
        ----------
        X : array-like of shape (N, D)
            Embeddings of the originals.
        y : array-like of shape (N,)
            Their class labels.
        X_changed : array-like of shape (M, D)
            Embeddings of copies.
        donor, subject : array-like of int, shape (M,)
            Rows of ``X`` that a copy has its part and its subject from.
        folds : array-like of int, shape (N,), optional
            Fold of each original, the same for the donor and the subject of a copy. None means
            five stratified folds.

        Returns
        -------
        Reading
            Values of the originals, and how far to trust them.

        Raises
        ------
        InputError
            As for ``fit``, or if ``donor``, ``subject`` or ``folds`` do not fit the rows.
        """
        check_index(X=X, y=y, folds=folds)
        check_index(X_changed=X_changed, donor=donor, subject=subject)
        originals = self._rows(X, y, None)
        changed = validate_data(self, X_changed, dtype=kept_dtypes(X_changed), reset=False)
        check_magnitude(changed, "X_changed")
        shape = len(changed), len(originals)
        donors = _row_numbers("donor", donor, *shape)
        subjects = _row_numbers("subject", subject, *shape)
        if folds is None:
            seed = seed_of(self.random_state)
            tested = [test for _, test in folds_of(_N_FOLDS, originals, seed) or []]
        else:
            given = checked_folds(folds, len(originals))
            tested = [np.flatnonzero(given == each) for each in np.unique(given)]
        if len(tested) < 2:
            raise InputError(
                "No sample can be read by a head that has not seen it; pass two folds or more, "
                "and at least two samples of each class."
            )
        return self._read(
            originals, np.asarray(changed, originals.X.dtype), donors, subjects, tested
        )

    def read_study(self, study: Study, change: int) -> Reading:
        """Read the rows of a study by their copies by one of its changes."""
        assert study.changed is not None
        assert study.donors is not None
        assert study.folds is not None
        self.classes_, self.n_features_in_ = study.train.classes, study.train.X.shape[1]
        donors, Z = study.donors[:, change], study.changed[:, change]
        at = np.flatnonzero((donors >= 0) & ~np.isnan(Z[:, 0]))
        tested = [np.flatnonzero(study.folds == number) for number in np.unique(study.folds)]
        return self._read(study.both, Z[at], donors[at], at, tested)

    def tells_more(self, study: Study, values: Array) -> bool:
        """Whether it tells the donor's class among donors of equal value, by its 95 % interval.

        Else the values (N,) hold all that the part tells of the class. After ``read_study``.
        """
        donors, tested = self._donors, self._told >= 0
        y_index, value = (of[donors[tested]] for of in (study.both.y_index, values))
        first, number = distinct(donors[tested])
        right = self._told[tested] == y_index
        of_donor, _ = rates(right, number, np.ones(len(right)))
        y_index, value = y_index[first], value[first]
        above = variance = 0.0  # above guessing, which is right for one class of those there
        for each in np.unique(value):
            there = np.unique(y_index[value == each])
            if len(there) > 1:
                parts = [_share(of_donor[(value == each) & (y_index == k)]) for k in there]
                share, error = np.mean(parts, axis=0).tolist()
                above += share - 1 / len(there)
                variance += error / len(there)
        return bool(above > _HALF * np.sqrt(variance))

    def _read(
        self, originals: Rows, Z: Array, donors: Array, subjects: Array, tested: Sequence[Array]
    ) -> Reading:
        """Fit to copies, and read the originals of each fold by the head of the others."""
        fold = np.empty(len(originals), dtype=np.intp)
        for number, rows in enumerate(tested):
            fold[rows] = number
        copies = Rows.of(Z, originals.y[donors], classes=originals.classes)
        heads = self._cross_fit(copies, donors, np.stack([fold[donors], fold[subjects]]))
        self._donors = donors
        logits, _ = logits_of_folds(originals, [(rows, rows) for rows in tested], heads)
        values = logits.argmax(axis=1)
        own = values == originals.y_index
        same, _ = rates(own, originals.y_index, originals.weight)
        gap, agreement = self.balanced_accuracy_ - float(same.mean()), float(same.mean())
        of_copies = np.ptp(self.balanced_accuracy_interval_) / 2
        n = np.bincount(originals.y_index, minlength=len(same))
        reach = float(np.hypot(of_copies, _HALF * np.sqrt((same * (1 - same) / n).sum()) / len(n)))
        return Reading(
            originals.classes[values],
            softmax(logits, axis=1),
            agreement,
            self.balanced_accuracy_,
            self.balanced_accuracy_interval_,
            (gap - reach, gap + reach),
        )

    def _counts_rows(self) -> bool:
        return np.size(self.alphas) > 1

    def _cross_fit(self, copies: Rows, donors: Array, fold: Array) -> Sequence[LinearHead]:
        """Fit the head and choose its penalty; return the heads of the folds with that penalty.

        ``fold`` has the folds of the donor and of the subject of each copy, (2, N); -1 for none.
        """
        self.n_donors_ = self._count_donors(copies, donors)
        folds, weights = list[Fold](), list[Array]()
        for number in range(int(fold.max()) + 1):
            has = fold == number
            folds.append((np.flatnonzero(~has.any(axis=0)), np.flatnonzero(has.all(axis=0))))
            weights.append(_balanced_without(copies, folds[-1][0], number))
        alphas = sorted(checked_numbers("alphas", self.alphas), reverse=True)
        options = {"gains": copies.gains, **self._solver_options()}
        penalties = [alpha for alpha in alphas for _ in folds]
        heads = copies.heads(weights * len(alphas), alphas=penalties, **options)
        of_folds = [heads[i * len(folds) : (i + 1) * len(folds)] for i in range(len(alphas))]
        told = [_told(copies, folds, each) for each in of_folds]
        scores, errors = np.transpose([_score(copies, donors, each) for each in told])
        if np.isnan(scores).any():  # nothing to choose by: the penalty nearest to 1
            chosen = int(np.abs(np.log(alphas)).argmin())
        else:
            best = int(scores.argmax())
            chosen = int(np.flatnonzero(scores >= scores[best] - errors[best])[0])
        self.alpha_, self.scores_ = alphas[chosen], dict(zip(alphas, scores.tolist(), strict=True))
        self.balanced_accuracy_ = self.scores_[self.alpha_]
        half = _HALF * errors[chosen]
        low, high = np.clip(scores[chosen] + [-half, half], 0, 1).tolist()
        self.balanced_accuracy_interval_ = low, high
        self.reads_ = low > 1 / len(copies.classes)
        self._told = told[chosen]
        self._set_head(copies.heads([copies.balanced()], alphas=[self.alpha_], **options)[0])
        return of_folds[chosen]

    def _count_donors(self, copies: Rows, donor: Array) -> Array:
        """Number of donors of each class; an error if it is too small."""
        first, number = distinct(donor)
        of_class = copies.y_index[first]
        if (of_class[number] != copies.y_index).any():
            raise InputError(
                "A donor has copies of two classes in y_donor; give each donor its own class."
            )
        counts = np.bincount(of_class, minlength=len(copies.classes))
        if counts.min() < self.min_donors:
            label = copies.classes.tolist()[int(counts.argmin())]
            raise InputError(
                f"The class {label!r} has {counts.min()} donors, and {self.min_donors} are needed; "
                "add donors, give it a label together with another class, or lower min_donors."
            )
        return counts


def _balanced_without(copies: Rows, fit: Array, number: int) -> Array:
    """Weights that balance the classes of the copies that a fold fits; the others have none."""
    weight = without(copies.weight, fit)
    lacking = np.bincount(copies.y_index, weight, minlength=len(copies.classes)) <= 0
    if lacking.any():
        raise InputError(
            f"Without fold {number} no donor of class {copies.classes[lacking].tolist()[0]!r} "
            "remains; add copies, or take each donor from the fold of the subject."
        )
    return replace(copies, weight=weight).balanced()


def _told(copies: Rows, folds: Sequence[Fold], heads: Sequence[LinearHead]) -> Array:
    """The class that the head of its fold tells of each copy, by its number; −1 without one."""
    told = np.full(len(copies), -1)
    if folds:
        logits, tested = logits_of_folds(copies, folds, heads)
        told[tested] = logits[tested].argmax(axis=1)
    return told


def _score(copies: Rows, donors: Array, told: Array) -> tuple[float, float]:
    """Accuracy of what heads tell of the donors' classes, and its standard error."""
    tested = np.flatnonzero(told >= 0)
    if not len(tested):
        return np.nan, np.nan
    right = told[tested] == copies.y_index[tested]
    first, number = distinct(donors[tested])
    of_donor, _ = rates(right, number, copies.weight[tested])
    y_index, n_classes = copies.y_index[tested][first], len(copies.classes)
    shares, variance = np.full(n_classes, np.nan), np.zeros(n_classes)
    for label in np.unique(y_index):
        shares[label], variance[label] = _share(of_donor[y_index == label])
    # The order of a sum must not break a tie.
    return round(float(shares.mean()), 12), float(np.sqrt(variance.sum())) / n_classes


def _share(of_donor: Array) -> tuple[float, float]:
    """Mean over donors, and its variance."""
    # With a donor more that is right and one that is wrong, so that a few donors that are all
    # right have a variance (Agresti and Coull, The American Statistician 52, 1998).
    return of_donor.mean(), np.append(of_donor, [0, 1]).var() / (len(of_donor) + 2)


def _numbered(samples: dict[str, Any], n: int) -> dict[str, Array]:
    """Numbers of the samples that are passed under some names; equal ones have one number."""
    numbers, found = dict[str, Array](), dict[Hashable, int]()
    texts, others = list[str](), list[str]()
    for name, values in samples.items():
        if values is None:
            continue
        each = np.asarray(values, dtype=object) if hasattr(values, "dtype") else values
        if len(each) != n:
            raise InputError(f"{name} has {len(each)} entries for {n} copies; pass one for each.")
        try:
            numbers[name] = np.array([found.setdefault(one, len(found)) for one in each], dtype=int)
        except TypeError as error:
            raise InputError(
                f"{name} must name a sample for each copy, as a number or a text; {error}."
            ) from error
        texts += [name] * any(isinstance(one, str) for one in each)
        others += [name] * any(isinstance(one, Number) and one == one for one in each)
    # "5" and 5 may mean one sample, and would be two.
    for text, number in product(texts, others):
        if text != number:
            raise InputError(
                f"{text} has texts and {number} has numbers; name a sample alike in both."
            )
    return numbers


def _row_numbers(name: str, values: ArrayLike, n_copies: int, n: int) -> Array:
    """Row numbers of originals, one for each copy."""
    rows = np.asarray(values)
    good = rows.shape == (n_copies,) and rows.dtype.kind in "iu"
    if not good or rows.min() < 0 or rows.max() >= n:
        raise InputError(
            f"{name} must have the row of X, from 0 to {n - 1}, for each of {n_copies} copies; got "
            f"{rows.dtype} of shape {rows.shape}."
        )
    return rows.astype(np.intp)
