r"""Shared parts of all methods: rows, folds, tuned penalties, cross-fitted errors, weights.

The errors of a head may come from a shortcut or from noise. The part of them that another head can
learn tells which. Wrong labels, and samples where the classes overlap, cannot be learned without
losing as many correct samples. Errors that come from a shortcut can be learned.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from hashlib import blake2b
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight

from ntkit._checks import rates
from ntkit._contents import contents_by_label, distinct
from ntkit._disk import scratch
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver.fit_head import FittedHead, covariance_of, fit_linear_heads
from ntkit.solver.loss import is_mapped, passes_over, rows_per_chunk, stacked

LARGE = 1 << 25  # bytes of memory-mapped rows; a copy of more is not kept in memory
_FEW = 1 << 22  # bytes of selected rows of a memory map; as many are kept in memory
_REMEMBERED = 64 << 20  # bytes of heads


@dataclass(frozen=True, eq=False)
class Rows:
    """Embeddings X (N, D), class index (N,), weight (N,), and the labels of classes and groups."""

    # Rows of one content are one sample: no fold separates them. `known_contents` are those of the
    # raw samples; without them, rows that are equal to the bit have one content, unless they are
    # too coarse to tell samples apart.

    # Estimators that share rows share their heads: nothing is fitted twice.

    X: Array
    y_index: Array
    weight: Array
    classes: Array
    groups: Array | None = None
    known_contents: Array | None = None
    _heads: dict[Hashable, FittedHead] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        X: Array,
        y: ArrayLike | None = None,
        groups: Array | None = None,
        *,
        weight: Array | None = None,
        classes: Array | None = None,
        contents: Array | None = None,
    ) -> Rows:
        """Rows with labels y (N,), all of one class and of weight 1 unless told otherwise."""
        y = np.zeros(len(X), dtype=int) if y is None else np.asarray(y)
        classes = np.unique(y) if classes is None else classes
        weight = np.ones(len(X)) if weight is None else weight
        return cls(X, np.searchsorted(classes, y), weight, classes, groups, contents)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def y(self) -> Array:
        """Class labels (N,)."""
        return np.asarray(self.classes[self.y_index])

    @cached_property
    def contents(self) -> Array:
        """Content of each row, (N,)."""
        if self.known_contents is not None:
            return self.known_contents
        return contents_by_label(self.X, self.y_index)

    @cached_property
    def covariance(self) -> Array:
        """Weighted covariance (D, D), from some of the rows: all fits to the rows start from it."""
        weight = self.weight / self.weight.sum()
        data = passes_over(self.X, self.y_index, weight, kept=np.arange(self.X.shape[1]))
        return covariance_of(data, data.mean())

    @cached_property
    def gains(self) -> Array:
        """Factor that gives each neuron the weighted standard deviation 1, (D,)."""
        return np.asarray(1 / scaler_of(self).scale_)

    def take(self, index: Array) -> Rows:
        """Return the rows with these indices; many rows of a memory map go into a file."""
        numbers = np.arange(len(self))[index]
        shape = (len(numbers), self.X.shape[1])
        if not is_mapped(self.X) or int(np.prod(shape)) * self.X.itemsize <= _FEW:
            X = self.X[numbers]
        else:
            X = scratch(shape, self.X.dtype)
            step = rows_per_chunk(self.X, 0)
            for start in range(0, len(X), step):
                X[start : start + step] = self.X[numbers[start : start + step]]
        groups = None if self.groups is None else self.groups[numbers]
        contents = self.__dict__.get("contents", self.known_contents)
        contents = None if contents is None else contents[numbers]
        return Rows(X, self.y_index[numbers], self.weight[numbers], self.classes, groups, contents)

    def scaled(self, mean: Array, std: Array, out: Array | None = None) -> Rows:
        """Standardised rows, in ``out`` if it is passed; of a large memory map, in a file."""
        large = is_mapped(self.X) and self.X.nbytes > LARGE
        if large:
            X = scratch(self.X.shape, self.X.dtype)
        else:
            X = np.empty(self.X.shape, self.X.dtype) if out is None else out
        step = max(1, rows_per_chunk(self.X, 0) // 8)  # each block is in float64
        for start in range(0, len(X), step):
            X[start : start + step] = (self.X[start : start + step] - mean) / std
        return replace(self, X=X)

    def and_then(self, other: Rows) -> Rows:
        """These rows followed by others; memory-mapped ones are not copied."""
        both = self.groups is not None and other.groups is not None
        contents = None
        if self.known_contents is not None and other.known_contents is not None:
            contents = np.concatenate([self.known_contents, other.known_contents])
        return Rows(
            stacked(self.X, other.X),
            np.concatenate([self.y_index, other.y_index]),
            np.concatenate([self.weight, other.weight]),
            self.classes,
            np.concatenate([self.groups, other.groups]) if both else None,
            contents,
        )

    def balanced(self, class_weight: Any = "balanced") -> Array:
        """Weights times scikit-learn's ``class_weight`` ("balanced", a dict or None)."""
        if class_weight is None:
            return self.weight
        if isinstance(class_weight, dict):
            _check_class_weight(class_weight, self.classes.tolist())
        factor = compute_class_weight(
            class_weight, classes=self.classes, y=self.y, sample_weight=self.weight
        )
        return np.asarray(self.weight * factor[self.y_index])

    def heads(
        self,
        weights: Sequence[Array],
        C: float | None = None,
        *,
        alphas: Sequence[float] = (),
        gains: Array | None = None,
        tol: float = 1e-5,
        max_iter: int = 1000,
        device: str = "cpu",
    ) -> list[FittedHead]:
        """Fit a head for each row of weights, all at once, unless it is already known."""
        # The penalty is one C for all, or for each a ridge weight on the mean loss.
        Cs = [C] * len(weights) if C is not None else []
        if C is None:
            Cs = [1 / (float(w.sum()) * alpha) for w, alpha in zip(weights, alphas, strict=True)]
        options = (digest(gains), tol, max_iter, device)
        keys = [(digest(w), float(C), *options) for w, C in zip(weights, Cs, strict=True)]
        known: dict[Hashable, FittedHead] = {k: self._heads[k] for k in keys if k in self._heads}
        new = {key: i for i, key in enumerate(keys) if key not in known}
        if new:
            fitted = fit_linear_heads(
                self.X,
                self.y_index,
                [weights[i] for i in new.values()],
                classes=self.classes,
                Cs=[Cs[i] for i in new.values()],
                gains=gains,
                tol=tol,
                max_iter=max_iter,
                covariance=lambda: self.covariance,
                device=device,
            )
            known |= dict(zip(new, fitted, strict=True))
            if (len(self._heads) + len(new)) * fitted[0].coef.nbytes < _REMEMBERED:
                self._heads.update(zip(new, fitted, strict=True))
        return [known[key] for key in keys]


def _check_class_weight(class_weight: dict[Any, Any], labels: list[Any]) -> None:
    for label, value in class_weight.items():
        if label not in labels:
            raise InputError(
                f"class_weight names the class {label!r}, which is not in y; its classes are "
                f"{labels[:5]}{' and more' if len(labels) > 5 else ''}."
            )
        if not (isinstance(value, Real) and 0 < float(value) < np.inf):
            raise InputError(
                f"class_weight of class {label!r} must be a positive number; got {value!r}."
            )


def digest(array: Array | None) -> bytes | None:
    """Digest of an array."""
    if array is None:
        return None
    kind = f"{array.dtype} {array.shape}".encode()
    return blake2b(np.ascontiguousarray(array).data, digest_size=16, key=kind[:64]).digest()


def scaler_of(rows: Rows) -> StandardScaler:
    """A StandardScaler fitted to weighted rows in blocks, at any scale of the weights."""
    # Scikit-learn's own interprets the sum of weights as the number of samples; the larger that is,
    # the larger a variance it attributes to rounding.
    scaler, relative = StandardScaler(), rows.weight / rows.weight.mean()
    present = np.flatnonzero(rows.weight > 0)
    step = max(1, rows_per_chunk(rows.X, 1) // 8)  # each block becomes several in float64
    for start in range(0, len(present), step):
        chunk = present[start : start + step]
        with np.errstate(invalid="ignore"):  # a constant's variance may be a rounding error below 0
            scaler.partial_fit(rows.X[chunk], sample_weight=relative[chunk])
    return scaler


@dataclass(frozen=True, eq=False)
class Study:
    """Training rows and validation rows, shared by all methods that use them."""

    # The data of each row are in the order of the training rows, then the validation rows. `values`
    # (N, A): the value of each attribute. `changed` (N, R, D): its changed copies, NaN if there is
    # none. `folds` (N,): the fold that the donors of its copies came from. `changed_values` (N, R,
    # A): the values of its copies. `donors` (N, R): the row that a part of each copy comes from, −1
    # if there is none.

    train: Rows
    validation: Rows | None = None
    values: Array | None = None
    changed: Array | None = None
    folds: Array | None = None
    changed_values: Array | None = None
    donors: Array | None = None
    _with: dict[Any, Study] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def both(self) -> Rows:
        """The training rows, followed by the validation rows, if there are any."""
        return self.train if self.validation is None else self.train.and_then(self.validation)

    def on(self, rows: str) -> Study:
        """The study whose training rows are "train", "validation" or "both" of this one."""
        if rows == "train":
            return self
        if rows not in self._with:
            if rows == "both" or self.validation is None:
                self._with[rows] = replace(self, train=self.both, validation=None)
            else:
                alone = self.take(train=np.arange(0))
                self._with[rows] = replace(alone, train=self.validation, validation=None)
        return self._with[rows]

    def take(self, *, train: Array | None = None, validation: Array | None = None) -> Study:
        """The study of some training rows, or of some validation rows, by their indices."""
        held_out, n = self.validation, len(self.train)
        n_held_out = 0 if held_out is None else len(held_out)
        kept = [np.arange(n)[slice(None) if train is None else train]]
        kept += [n + np.arange(n_held_out)[slice(None) if validation is None else validation]]
        index, known = np.concatenate(kept), dict[str, Any]()
        for name in ("values", "changed", "folds", "changed_values"):
            each = getattr(self, name)
            known[name] = None if each is None else each[index]
        if self.donors is not None:  # the rows have new numbers
            place = np.full(n + n_held_out + 1, -1)
            place[index] = np.arange(len(index))
            known["donors"] = place[self.donors[index]]
        if held_out is not None and validation is not None:
            held_out = held_out.take(validation)
        return replace(
            self,
            train=self.train if train is None else self.train.take(train),
            validation=held_out,
            **known,
        )


Fold = tuple[Array, Array]


def seed_of(random_state: Any) -> int:
    """A seed drawn from scikit-learn's ``random_state``."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def n_distinct(strata: Array, contents: Array) -> Array:
    """Number of distinct contents of each stratum; a content counts in its lowest stratum."""
    of_contents = _lowest(strata, distinct(contents)[1])
    return np.bincount(of_contents, minlength=int(strata.max(initial=-1)) + 1)


def _lowest(strata: Array, which: Array) -> Array:
    """The lowest stratum of each content."""
    lowest = np.full(int(which.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, which, strata)
    return lowest


def stratified_folds(
    strata: Array, n_splits: int, seed: Any, contents: Array, *, shuffle: bool = True
) -> list[Fold]:
    """Folds with the same share of every stratum, and all copies of a sample in one of them.

    There are fewer folds if a stratum has fewer distinct contents, and none if it has only one.
    """
    _, which = distinct(contents)
    of_contents = _lowest(strata, which)
    sizes = np.bincount(of_contents)
    n_splits = min(n_splits, int(sizes[sizes > 0].min()))
    if n_splits < 2:
        return []
    splitter = StratifiedKFold(n_splits, shuffle=shuffle, random_state=seed if shuffle else None)
    fold = np.empty(len(of_contents), dtype=np.intp)
    for number, (_, tested) in enumerate(splitter.split(of_contents, of_contents)):
        fold[tested] = number
    numbers, of_rows = range(n_splits), fold[which]
    return [(np.flatnonzero(of_rows != k), np.flatnonzero(of_rows == k)) for k in numbers]


def folds_of(splits: Any, rows: Rows, seed: Any, groups: Array | None = None) -> list[Fold] | None:
    """Folds by a splitter, or so many by class or group; None if the smallest is too small."""
    if not isinstance(splits, int | np.integer):
        folds = [(train, test) for train, test in splits.split(rows.X, rows.y_index)]
        if np.bincount(np.concatenate([test for _, test in folds])).max() > 1:
            raise InputError(
                "The splitter in identification tests a sample more than once; use a partition "
                "such as StratifiedKFold."
            )
        return folds
    groups = rows.y_index if groups is None else groups
    counted = (groups >= 0) & (rows.weight > 0)
    sizes = n_distinct(groups[counted], rows.contents[counted])
    n_splits = min(int(splits), int(sizes[sizes > 0].min()))
    if n_splits < 2:
        return None
    strata = groups.copy()  # samples in no group join one of their class
    for label in np.unique(rows.y_index[groups < 0]):
        of_class = rows.y_index == label
        strata[of_class & (groups < 0)] = groups[of_class].max()
    return stratified_folds(strata, n_splits, seed, rows.contents) or None


def split_in_two(share: float, rows: Rows, random_state: Any) -> tuple[Array, Array] | None:
    """Indices of a stratified split, (rest, share), of the rows of positive weight."""
    # None if there are too few samples to split.
    present = np.flatnonzero(rows.weight > 0)
    split = _hold_out(share, rows.y_index[present], rows.contents[present], seed_of(random_state))
    return None if split is None else (present[split[0]], present[split[1]])


def _hold_out(
    share: float, y_index: Array, contents: Array, seed: int
) -> tuple[Array, Array] | None:
    """Indices of a stratified split, (rest, share), with all copies of a sample on one side."""
    _, which = distinct(contents)
    of_contents = _lowest(y_index, which)
    n, counts = int(np.ceil(share * len(of_contents))), np.bincount(of_contents)
    if counts.min() < 2 or n < len(counts) or len(of_contents) - n < len(counts):
        return None
    _, held_out = train_test_split(
        np.arange(len(of_contents)), test_size=n, stratify=of_contents, random_state=seed
    )
    is_held_out = np.isin(which, held_out)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def identification_sets(
    study: Study, identification: Any, seed: int
) -> tuple[Rows, Rows, list[Fold] | None]:
    """Tuning rows, scored rows, and the folds if the two are the same."""
    rows = study.train
    if study.validation is not None:
        return rows, study.validation, None
    if identification == "train":
        return rows, rows, None
    if isinstance(identification, Real) and not isinstance(identification, Integral):
        split = _hold_out(float(identification), rows.y_index, rows.contents, seed)
        return (
            (rows, rows, None)
            if split is None
            else (rows.take(split[0]), rows.take(split[1]), None)
        )
    return rows, rows, folds_of(identification, rows, seed)


def identified(
    head: LinearHead,
    tune: Rows,
    weight: Array,
    identify: Rows,
    folds: list[Fold] | None,
    fit: Callable[[Rows, Sequence[Array]], Sequence[LinearHead]],
) -> tuple[Array, Rows]:
    """Logits on the scored rows, by ``head`` or cross-fitted over ``folds``."""
    # Rows that no fold predicts get weight 0.
    if folds is None:
        return head.logits(identify.X), identify
    logits, tested = cross_fitted_logits(tune, weight, folds, fit)
    return logits, replace(identify, weight=np.where(tested, identify.weight, 0.0))


def cross_fitted_logits(
    rows: Rows,
    weight: Array,
    folds: Iterable[Fold],
    fit: Callable[[Rows, Sequence[Array]], Sequence[LinearHead]],
) -> tuple[Array, Array]:
    """Logits of every tested row from a head that gave this row weight 0."""
    folds = list(folds)
    heads = fit(rows, [without(weight, train) for train, _ in folds])
    return logits_of_folds(rows, folds, heads)


def without(weight: Array, train: Array) -> Array:
    """Weights of the rows of a fold's training part; the others are 0."""
    fold_weight = np.zeros_like(weight)
    fold_weight[train] = weight[train]
    return fold_weight


def logits_of_folds(
    rows: Rows, folds: Sequence[Fold], heads: Sequence[LinearHead]
) -> tuple[Array, Array]:
    """Logits of the rows that each fold tests, by its head, and a mask of the tested rows."""
    n_classes = len(heads[0].classes)
    logits = np.zeros((len(rows), n_classes))
    tested = np.zeros(len(rows), dtype=bool)
    step = rows_per_chunk(rows.X, n_classes)
    for (_, test), head in zip(folds, heads, strict=True):
        for start in range(0, len(test), step):
            chunk = test[start : start + step]
            logits[chunk] = head.logits(rows.X[chunk])
        tested[test] = True
    return logits, tested


def require_every_class(rows: Rows) -> None:
    """Raise an error if a class has no sample of positive weight in the validation set."""
    mass = np.bincount(rows.y_index, weights=rows.weight, minlength=len(rows.classes))
    if (mass <= 0).any():
        raise InputError(
            f"X_val has no sample of class {rows.classes[mass <= 0].tolist()[0]!r} with positive "
            "weight; a validation set needs samples of every class."
        )


ALPHAS = (1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
"""Candidate ridge weights, in a wide range.

Networks keep what they neglect in directions of little variance, which a head can use only with a
weak penalty.
"""
ERM_ALPHA = 0.1
"""Without class weights a stronger penalty makes a head predict the larger class."""
AS_GOOD = 0.04
"""A baseline has the strongest penalty whose mean class error is within this of the best.

A stronger penalty makes errors that say nothing about the data. A weaker one memorises exceptions
to the shortcut.
"""
_MOST_ALPHA = 1.0  # a stronger penalty causes errors that do not come from the data


def checked_numbers(name: str, values: Any, kind: str = "positive numbers") -> list[Any]:
    """Candidates of a parameter: "positive numbers", "positive whole numbers" or "numbers >= 0"."""
    numbers = np.asarray(values)
    if numbers.ndim == 0:
        numbers = numbers[None]
    allowed = "iu" if "whole" in kind else "iuf"
    good = numbers.ndim == 1 and numbers.size and numbers.dtype.kind in allowed
    if not good or not np.isfinite(numbers).all() or numbers.min() < 0:
        raise InputError(f"{name} must be {kind}, at least one; got {values!r}.")
    if ">= 0" not in kind and numbers.min() <= 0:
        raise InputError(f"{name} must be {kind}; got {values!r}.")
    return list((numbers if "whole" in kind else numbers.astype(float)).tolist())


@dataclass(frozen=True, eq=False)
class Tuned:
    """A ridge weight on the mean loss, its head, and what its cross-fitted heads predict."""

    alpha: float
    y_index: Array  # of the evaluated rows
    weight: Array
    _fit: Callable[[float], FittedHead]
    _outcomes: Callable[[], dict[float, tuple[Array, Array]]]

    @cached_property
    def head(self) -> FittedHead:
        """The head of all rows."""
        return self._fit(self.alpha)

    @property
    def margin(self) -> Array | None:
        """:func:`margins` of heads that have not seen the sample; None without folds."""
        return self._outcomes().get(self.alpha, (None, None))[0]

    @property
    def predicted(self) -> Array | None:
        """Class indices that such heads predict; None without folds."""
        return self._outcomes().get(self.alpha, (None, None))[1]

    def strongest(self, within: float = AS_GOOD, most: float = _MOST_ALPHA) -> Tuned:
        """The same with the largest penalty whose mean class error is near the smallest."""
        mass = np.bincount(self.y_index, weights=self.weight)
        errors = {
            alpha: float((np.bincount(self.y_index, self.weight * (margin <= 0)) / mass).mean())
            for alpha, (margin, _) in self._outcomes().items()
        }
        if not errors:
            return self
        limit = min(errors.values()) + within
        good = [alpha for alpha, error in errors.items() if error <= limit]
        return replace(self, alpha=max((a for a in good if a <= most), default=min(good)))


def tuned(
    rows: Rows,
    weight: Array,
    groups: Array | None = None,
    *,
    also: Rows | None = None,
    alphas: Any = ALPHAS,
    C: float | None = None,
    worse_half: bool | None = None,
    n_splits: int = 5,
    seed: int = 0,
    **solver: Any,
) -> Tuned:
    """Choose the ridge weight with the best cross-validated accuracy over groups."""
    # `groups` are the classes by default, of which the worse half counts; -1 is not a group. `also`
    # are further rows that only evaluate, by heads of all rows. They come last in `groups`. The
    # penalty is on weights times `gains`, by default on those of standardised neurons; with `C` it
    # is fixed, in scikit-learn's units. Candidates that tie: the strongest penalty wins.
    alphas = [1.0] if C is not None else sorted(checked_numbers("alphas", alphas), reverse=True)
    y_index, mass = rows.y_index, rows.weight
    if also is not None:
        y_index = np.concatenate([y_index, also.y_index])
        mass = np.concatenate([mass, also.weight])
    worse_half = groups is None if worse_half is None else worse_half
    groups = y_index if groups is None else groups
    folds = folds_of(n_splits, rows, seed, groups[: len(rows)])
    if C is None and "gains" not in solver:
        solver["gains"] = rows.gains

    @cache
    def outcomes() -> dict[float, tuple[Array, Array]]:
        """Margins and predictions of unseen rows for each candidate."""
        if folds is None:
            return {}
        tried = [without(weight, train) for train, _ in folds]
        tried += [weight] if also is not None else []  # the head of all rows evaluates the others
        penalties = [alpha for alpha in alphas for _ in tried]
        heads = rows.heads(tried * len(alphas), C, alphas=penalties, **solver)
        found = dict[float, tuple[Array, Array]]()
        for i, alpha in enumerate(alphas):
            of_folds = heads[i * len(tried) :][: len(folds)]
            logits, _ = logits_of_folds(rows, folds, of_folds)
            if also is not None:
                last = heads[(i + 1) * len(tried) - 1]
                logits = np.concatenate([logits, last.logits(also.X)])
            predicted = logits.argmax(axis=1).astype(np.min_scalar_type(logits.shape[1] - 1))
            found[alpha] = margins(logits, y_index), predicted
        return found

    # Mean cross-validated accuracy of the groups, or of the worse half. If there is nothing to
    # compare, the penalty nearest to 1 is taken.
    judged, scores = groups >= 0, {alpha: -abs(float(np.log(alpha))) for alpha in alphas}
    for alpha in alphas if folds is not None and len(alphas) > 1 else ():
        right = outcomes()[alpha][0] > 0
        of_groups, total = rates(right[judged], groups[judged], mass[judged])
        shares = np.sort(of_groups[total > 0])
        mean = shares[: max(1, len(shares) // 2)].mean() if worse_half else shares.mean()
        scores[alpha] = round(float(mean), 12)  # the order of a sum must not break a tie
    return Tuned(
        max(alphas, key=lambda alpha: scores[alpha]),
        y_index,
        mass,
        lambda alpha: rows.heads([weight], C, alphas=[alpha], **solver)[0],
        outcomes,
    )


LEAST_ERRORS = 10
"""Smallest number of errors of a class that counts as evidence."""
ERROR_RECOVERY = 0.08
"""Error recovery rate (lower bound) that neither wrong labels nor overlapping classes reach."""
BESIDE = 0.12
"""The same for the errors of a well-tuned head, of which moving the boundary fixes some."""
_NEIGHBOURS = 10
_CONFIDENCE = 0.99


def margins(logits: Array, y_index: Array) -> Array:
    """Logit of the true class minus the largest other one; above 0 only for right predictions."""
    rows, others = np.arange(len(logits)), np.array(logits, dtype=float)
    others[rows, y_index] = -np.inf
    margin = logits[rows, y_index] - others.max(axis=1)
    right = logits.argmax(axis=1) == y_index  # of equal logits, the first is predicted
    return np.asarray(np.where(right, np.maximum(margin, np.finfo(float).tiny), margin))


def errors_are_evidence(
    y_index: Array, weight: Array, reference: Array, plain: Array, balanced: Array
) -> tuple[bool, float, float]:
    """Whether errors are evidence of bias, and the error recovery rates that tell so."""
    # Margins of three heads on samples that none of them saw: of a baseline, of class-balanced
    # retraining with its own penalty, and of balancing the baseline's errors.
    of_reference = error_recovery_rate(y_index, reference, balanced, weight)
    of_plain = error_recovery_rate(y_index, plain, balanced, weight, matched=False)
    return of_reference >= ERROR_RECOVERY and of_plain >= BESIDE, of_reference, of_plain


def error_recovery_rate(
    y_index: Array, before: Array, after: Array, weight: Array, *, matched: bool = True
) -> float:
    r"""Share of a head's errors that another fixes, minus the share that it loses: 99 % bound."""
    # For each class, with errors E and correct samples R of the first head: 1/|E| Σ over n in E of
    # ( a_n - b_n ). Here a_n says whether the second head is right, and b_n is the share of samples
    # of R that it gets wrong. With `matched`, only samples of R as far from the first head's
    # boundary as n count. A head that only moves the boundary, or changes at random, changes
    # samples near the boundary alike on both sides, so matching counts that as nothing. The result
    # is the mean over the classes with at least `LEAST_ERRORS` errors, minus 2.3 standard errors.
    # There must be two such classes, and half of all; else all samples count as one class, without
    # matching. If that has too few errors, too, the result is NaN.
    shares, variances = list[float](), list[float]()
    n_classes = int(y_index.max()) + 1
    for label in range(n_classes):
        of_class = (y_index == label) & (weight > 0)
        wrong, right = (
            np.flatnonzero(of_class & (before <= 0)),
            np.flatnonzero(of_class & (before > 0)),
        )
        if min(len(wrong), len(right)) < LEAST_ERRORS:
            continue
        lost = after[right] <= 0
        if matched:  # the share lost among those whose distance is nearest to that of each error
            order = np.argsort(before[right], kind="stable")
            mass = np.concatenate([[0.0], np.cumsum(weight[right][order])])
            sums = np.concatenate([[0.0], np.cumsum((weight[right] * lost)[order])])
            width = min(_NEIGHBOURS, len(order))
            place = np.searchsorted(before[right][order], -before[wrong]) - width // 2
            low = np.clip(place, 0, len(order) - width)
            lost_for = (sums[low + width] - sums[low]) / (mass[low + width] - mass[low])
        else:
            lost_for = np.full(len(wrong), np.average(lost, weights=weight[right]))
        fixed = float(np.average(after[wrong] > 0, weights=weight[wrong]))
        given_up = float(np.average(lost_for, weights=weight[wrong]))
        n_wrong, n_right = (  # Kish's effective numbers of samples
            float(some.sum() ** 2 / (some**2).sum()) for some in (weight[wrong], weight[right])
        )
        n_lost = min(n_wrong, n_right) if matched else n_right
        shares.append(fixed - given_up)
        variance = 0.0
        for share, n in ((fixed, n_wrong), (given_up, n_lost)):
            share = (share * n + 1) / (n + 2)  # with one more of each kind (Agresti and Coull)
            variance += share * (1 - share) / (n + 2)
        variances.append(variance)
    if len(shares) < max(min(2, n_classes), n_classes / 2):
        if not matched and n_classes > 1:
            return error_recovery_rate(np.zeros_like(y_index), before, after, weight, matched=False)
        return float("nan")
    deviation = float(np.sqrt(np.sum(variances)) / len(shares))
    return float(np.mean(shares)) - float(norm.ppf(_CONFIDENCE)) * deviation


MOST_WEIGHT = 50.0


def correctness_groups(y_index: Array, misclassified: Array, sample_weight: Array) -> Array:
    """Index of the class × correctness group of each sample: 2 y, or 2 y + 1 for an error."""
    # A class with fewer than `LEAST_ERRORS` errors, or correct samples, of positive weight is one
    # group.
    cells = 2 * y_index + misclassified
    sizes = np.bincount(cells[sample_weight > 0], minlength=2 * (int(y_index.max()) + 1))
    told_apart = sizes.reshape(-1, 2).min(axis=1) >= LEAST_ERRORS
    return np.asarray(np.where(told_apart[y_index], cells, 2 * y_index))


def correctness_balanced(sample_weight: Array, y_index: Array, misclassified: Array) -> Array:
    """Share each class's weight equally between its correct and its misclassified samples."""
    # Every class keeps its total. A class with fewer than `LEAST_ERRORS` errors, or correct
    # samples, keeps its weights. No weight grows by more than the factor `MOST_WEIGHT`, because a
    # few wrong labels must not outweigh thousands of right ones.
    cells = correctness_groups(y_index, misclassified, sample_weight)
    n_cells = 2 * (int(y_index.max()) + 1)
    mass = np.bincount(cells, weights=sample_weight, minlength=n_cells).reshape(-1, 2)
    total, lesser = mass.sum(axis=1, keepdims=True), mass.min(axis=1, keepdims=True)
    share = np.minimum(total / 2, MOST_WEIGHT * lesser)
    target = np.where(mass == lesser, share, total - share)
    target = np.where(mass[:, :1] == mass[:, 1:], mass, target)  # nothing to balance
    factor = np.divide(target, mass, out=np.ones_like(mass), where=(mass > 0) & (lesser > 0))
    return np.asarray(sample_weight * factor.ravel()[cells])


def group_balanced(sample_weight: Array, y_index: Array, sides: Array) -> Array:
    """Equal mass for every class, and within it for every value of each attribute."""
    # Samples without a known value keep their share of the class. With several attributes, all
    # combinations of values that occur in a class count alike. No weight grows by more than the
    # factor `MOST_WEIGHT` compared with balanced classes, because a few samples must not outweigh
    # thousands.
    weight = np.asarray(sample_weight, dtype=np.float64)
    balanced = np.zeros(len(weight))
    classes = np.unique(y_index[weight > 0])
    for label in classes:
        rows = np.flatnonzero((y_index == label) & (weight > 0))
        share = weight[rows] / weight[rows].sum()
        combinations, at = np.unique(sides[rows], axis=0, return_inverse=True)
        mass = np.bincount(at.ravel(), weights=share)
        # Each combination gets its share by a factor; what exceeds the limit goes to the others.
        shares = np.ones(len(mass))
        for side in combinations.T:
            unknown = float(mass[side < 0].sum())
            n_sides = len(np.unique(side[side >= 0]))
            shares *= np.where(side < 0, unknown, (1 - unknown) / max(1, n_sides))
        shares /= shares.sum()
        free, factor = np.ones(len(mass), dtype=bool), shares / mass
        while (factor[free] > MOST_WEIGHT).any():
            free &= factor <= MOST_WEIGHT
            left = 1 - MOST_WEIGHT * mass[~free].sum()
            factor = np.where(free, left * shares / (shares[free].sum() * mass), MOST_WEIGHT)
        balanced[rows] = share * factor[at.ravel()]
    return np.asarray(balanced * weight.sum() / len(classes))
