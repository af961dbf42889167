"""Who got what wrong: outcomes of a head on samples it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import covariance_of, passes_over, rows_per_chunk

__all__ = [
    "Rows",
    "cross_fitted_logits",
    "folds_of",
    "hold_out",
    "require_every_class",
    "scaler_of",
    "split_in_two",
]

Array = NDArray[Any]
Fold = tuple[Array, Array]


@dataclass(frozen=True)
class Rows:
    """Labelled embeddings: X (N, D), class index (N,), weight (N,)."""

    X: Array
    y_index: Array
    weight: Array

    @cached_property
    def covariance(self) -> Array:
        """Weighted covariance (D, D), from a sample: all fits to these rows start from it."""
        weight = self.weight / self.weight.sum()
        data = passes_over(self.X, self.y_index, weight, kept=np.arange(self.X.shape[1]))
        return covariance_of(data, data.mean())

    @cached_property
    def deviations(self) -> Array:
        """Weighted standard deviation of each neuron, (D,); 1 for a constant one."""
        return np.asarray(scaler_of(self).scale_)

    def take(self, index: Array) -> Rows:
        """Return the rows with these indices."""
        return Rows(self.X[index], self.y_index[index], self.weight[index])


def folds_of(identification: Any, rows: Rows, random_state: Any) -> list[Fold] | None:
    """Cross-fitting folds for an int or a splitter; None where the samples are too few to split.

    Raises
    ------
    InputError
        If a splitter tests a sample twice.
    """
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
    fit: Callable[[Rows, Array], LinearHead],
    n_classes: int,
    n_jobs: int | None,
) -> tuple[Array, Array]:
    """Logits of every tested row from a head that gave that row weight 0.

    Returns
    -------
    logits : ndarray of shape (N, n_classes)
    tested : ndarray of bool, shape (N,)
        Rows that some fold tests; the others have no logits.
    """

    def one(test: Array, train: Array) -> Array:
        fold_weight = np.zeros_like(weight)
        fold_weight[train] = weight[train]
        head = fit(rows, fold_weight)
        step = rows_per_chunk(rows.X, n_classes)
        chunks = [test[start : start + step] for start in range(0, len(test), step)]
        return np.concatenate([head.logits(rows.X[chunk]) for chunk in chunks])

    folds = list(folds)
    # Threads of this process whatever joblib's back end: starting workers takes longer than a fit.
    parts = Parallel(n_jobs=n_jobs, require="sharedmem")(
        delayed(one)(test, train) for train, test in folds
    )
    logits = np.zeros((len(rows.X), n_classes))
    tested = np.zeros(len(rows.X), dtype=bool)
    for (_, test), part in zip(folds, parts, strict=True):
        logits[test], tested[test] = part, True
    return logits, tested


def scaler_of(rows: Rows) -> StandardScaler:
    """A StandardScaler fitted to weighted rows, some at a time, at any scale of the weights.

    Scikit-learn's own takes their sum for the number of samples, and the larger that is, the
    larger a variance it takes for rounding.
    """
    scaler, relative = StandardScaler(), rows.weight / rows.weight.mean()
    step, present = rows_per_chunk(rows.X, 1), np.flatnonzero(rows.weight > 0)
    for start in range(0, len(present), step):
        chunk = present[start : start + step]
        scaler.partial_fit(rows.X[chunk], sample_weight=relative[chunk])
    return scaler


def split_in_two(share: float, rows: Rows, random_state: Any) -> tuple[Array, Array] | None:
    """Indices of a stratified split, (rest, share), of the rows of positive weight.

    None where they are too few to split.
    """
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
