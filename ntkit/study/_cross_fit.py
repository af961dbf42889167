"""Who got what wrong: outcomes of a head on samples it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.utils import check_random_state

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import rows_per_chunk
from ntkit.study._rows import Rows, Study

Fold = tuple[Array, Array]


def identification_sets(
    study: Study, identification: Any, seed: int
) -> tuple[Rows, Rows, list[Fold] | None]:
    """Tuning rows, identification rows, and the folds where the two are the same."""
    rows = study.train
    if study.held is not None:
        return rows, study.held, None
    if identification == "train":
        return rows, rows, None
    if isinstance(identification, Real) and not isinstance(identification, Integral):
        split = hold_out(float(identification), rows, seed)
        return (*split, None) if split else (rows, rows, None)
    return rows, rows, folds_of(identification, rows, seed)


def identified(
    head: LinearHead,
    tune: Rows,
    weight: Array,
    identify: Rows,
    folds: list[Fold] | None,
    fit: Callable[[Rows, Sequence[Array]], Sequence[LinearHead]],
) -> tuple[Array, Rows]:
    """Logits on the identification rows, by ``head`` or cross-fitted over ``folds``."""
    # Rows that no fold predicts get the weight 0.
    if folds is None:
        return head.logits(identify.X), identify
    logits, tested = cross_fitted_logits(tune, weight, folds, fit)
    return logits, Rows(identify.X, identify.y_index, np.where(tested, identify.weight, 0.0))


def misclassified(logits: Array, rows: Rows) -> Array:
    """Whether the largest logit of each row is of another class than its own."""
    return np.asarray(logits.argmax(axis=1) != rows.y_index)


def class_error_rates(rows: Rows, wrong: Array) -> Array:
    """Error rate of each class that has rows of positive weight."""
    mass = np.bincount(rows.y_index, weights=rows.weight)
    errors = np.bincount(rows.y_index, weights=rows.weight * wrong)
    return np.asarray(errors[mass > 0] / mass[mass > 0])


def folds_of(identification: Any, rows: Rows, random_state: Any) -> list[Fold] | None:
    """Cross-fitting folds for an int or a splitter; None where the samples are too few to split."""
    if not isinstance(identification, int | np.integer):
        folds = [(train, test) for train, test in identification.split(rows.X, rows.y_index)]
        times = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(rows.X))
        if times.max() > 1:
            raise InputError(
                "The identification splitter tests a sample more than once; use a partition such "
                "as StratifiedKFold."
            )
        return folds
    smallest = int(np.bincount(rows.y_index).min())
    n_splits = min(int(identification), smallest)
    if n_splits < 2:
        return None
    splitter = StratifiedKFold(n_splits, shuffle=True, random_state=random_state)
    return list(splitter.split(np.zeros(len(rows.y_index)), rows.y_index))


def hold_out(share: float, rows: Rows, random_state: Any) -> tuple[Rows, Rows] | None:
    """Split into (tuning, identification) rows, stratified; None where they are too few."""
    n_held = int(np.ceil(share * len(rows.X)))
    counts = np.bincount(rows.y_index)
    if counts.min() < 2 or n_held < len(counts) or len(rows.X) - n_held < len(counts):
        return None
    kept, held = train_test_split(
        np.arange(len(rows.X)),
        test_size=n_held,
        stratify=rows.y_index,
        random_state=random_state,
    )
    return rows.take(np.sort(kept)), rows.take(np.sort(held))


def cross_fitted_logits(
    rows: Rows,
    weight: Array,
    folds: Iterable[Fold],
    fit: Callable[[Rows, Sequence[Array]], Sequence[LinearHead]],
) -> tuple[Array, Array]:
    """Logits of every tested row from a head that gave that row weight 0."""
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
    """Logits of the rows each fold tests by its head, and which rows are tested by any."""
    n_classes = len(heads[0].classes)
    logits = np.zeros((len(rows.X), n_classes))
    tested = np.zeros(len(rows.X), dtype=bool)
    step = rows_per_chunk(rows.X, n_classes)
    for (_, test), head in zip(folds, heads, strict=True):
        for start in range(0, len(test), step):
            chunk = test[start : start + step]
            logits[chunk] = head.logits(rows.X[chunk])
        tested[test] = True
    return logits, tested


def split_in_two(share: float, rows: Rows, random_state: Any) -> tuple[Array, Array] | None:
    """Indices of a stratified split, (rest, share), of the rows of positive weight."""
    # None where they are too few to split.
    present = np.flatnonzero(rows.weight > 0)
    labels = Rows(present[:, None], rows.y_index[present], rows.weight[present])
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    split = hold_out(share, labels, seed)
    return None if split is None else (split[0].X[:, 0], split[1].X[:, 0])


def require_every_class(rows: Rows, classes: Array) -> None:
    """Refuse a held-out set in which a class has no sample of positive weight."""
    mass = np.bincount(rows.y_index, weights=rows.weight, minlength=len(classes))
    if (mass <= 0).any():
        raise InputError(
            f"X_val holds no sample of class {classes[mass <= 0].tolist()[0]!r} with positive "
            "weight; the held-out set needs samples of every class."
        )
