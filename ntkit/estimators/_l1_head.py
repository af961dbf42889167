"""Heads with an L1 penalty, by scikit-learn, and the state that fits share between threads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ntkit._process import SharedSwitch
from ntkit._types import Array
from ntkit.head import LinearHead
from ntkit.solver.fit_head import FittedHead
from ntkit.study import Rows

_ENTRY = ("ignore", None, ConvergenceWarning, None, 0)


def l1_head(
    rows: Rows,
    C: float,
    *,
    classes: Array,
    tol: float,
    max_iter: int,
    seed: int,
    start: LinearHead | None = None,
) -> FittedHead:
    """Head with an L1 penalty: liblinear for two classes, saga with an optional start for more."""
    binary = len(classes) == 2
    # SAGA's step length assumes weights of at most 1; the objective is the same.
    largest = rows.weight.max()
    model = LogisticRegression(
        C=C * largest,
        l1_ratio=1.0,
        solver="liblinear" if binary else "saga",
        tol=tol,
        max_iter=max_iter,
        warm_start=not binary,
        random_state=seed,
    )
    if start is not None and not binary:
        model.coef_, model.intercept_ = np.array(start.coef), np.array(start.intercept)
    with alone_with_liblinear() if binary else nullcontext():
        model.fit(rows.X, rows.y_index, sample_weight=rows.weight / largest)
    return FittedHead(model.coef_, model.intercept_, classes, int(model.n_iter_.max()))


def on_raw_units(head: LinearHead, scaler: StandardScaler, dtype: Any, n_iter: int) -> FittedHead:
    """The head with the standardisation of its training data folded in."""
    head = head.scaled(1 / scaler.scale_, scaler.mean_)
    return FittedHead(head.coef.astype(dtype), head.intercept.astype(dtype), head.classes, n_iter)


def without_convergence_warnings() -> AbstractContextManager[None]:
    """Hide convergence warnings while any thread needs that."""
    # `warnings.catch_warnings` restores the list of filters that it saved. If two threads overlap,
    # the second saves the first one's list, and would leave it in place.
    return _HIDDEN()


@contextmanager
def alone_with_liblinear() -> Iterator[None]:
    """Fit with liblinear in one thread at a time: all fits use one random generator."""
    with _LIBLINEAR[0]:
        yield


@contextmanager
def _hidden() -> Iterator[None]:
    """Add a filter of convergence warnings, unless it is already there."""
    added = _ENTRY not in warnings.filters
    warnings.simplefilter("ignore", ConvergenceWarning)
    changed = warnings.filters
    yield
    # The list is another one while other code is inside catch_warnings.
    for filters in (changed, warnings.filters) if added else ():
        if _ENTRY in filters:
            filters.remove(_ENTRY)  # type: ignore[attr-defined]


_HIDDEN = SharedSwitch(_hidden)
_LIBLINEAR = [Lock()]


def _renew_lock() -> None:
    """In a child process no other thread is left to release the lock."""
    _LIBLINEAR[0] = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
