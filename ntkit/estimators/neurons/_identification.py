"""Stage one of NeuronTune: the samples looked at, what a head makes of them, and the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.head import LinearHead
from ntkit.solver import FittedHead
from ntkit.spuriousness import spuriousness_scores, strongest_wrong
from ntkit.study import Rows, Study, cross_fitted_logits, folds_of, hold_out

__all__ = ["class_rates", "predicted", "scores_by", "scores_of_errors", "sets_of", "wrong"]

Array = NDArray[Any]
Folds = list[tuple[Array, Array]] | None


def sets_of(study: Study, identification: Any, seed: int) -> tuple[Rows, Rows, Folds]:
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


def predicted(
    head: LinearHead,
    tune: Rows,
    weight: Array,
    identify: Rows,
    folds: Folds,
    fit: Callable[[Rows, Sequence[Array]], list[FittedHead]],
) -> tuple[Array, Rows]:
    """Logits on the identification rows, by ``head`` or cross-fitted over ``folds``.

    Rows that no fold predicts get the weight 0.
    """
    if folds is None:
        return head.logits(identify.X), identify
    logits, tested = cross_fitted_logits(tune, weight, folds, fit)
    if tested.all():
        return logits, identify
    return logits, Rows(identify.X, identify.y_index, np.where(tested, identify.weight, 0.0))


def scores_of_errors(
    identify: Rows, errors: Array, n_classes: int, min_misclassified: int, **options: Any
) -> Array:
    """Spuriousness scores (C, D) of errors; ``options`` as of ``spuriousness_scores``."""
    return spuriousness_scores(
        identify.X,
        identify.y_index,
        errors,
        np.arange(n_classes),
        sample_weight=identify.weight,
        min_misclassified=min_misclassified,
        **options,
    )


def scores_by(
    identify: Rows,
    logits: Array,
    head: LinearHead,
    *,
    statistic: str,
    activation: str,
    standardize: bool,
    min_misclassified: int,
) -> Array:
    """Spuriousness scores (C, D) of a head's errors, as ``NeuronTuneClassifier`` names them."""
    coef = head.coef if len(head.coef) > 1 else np.vstack([0 * head.coef, head.coef])
    own, rival = identify.y_index, strongest_wrong(logits, identify.y_index)

    def read(values: Array, rows: Array, neurons: slice) -> Array:
        if statistic == "contribution":
            values = values * (coef[rival[rows], neurons] - coef[own[rows], neurons]).T
        return np.abs(values) if activation == "magnitude" else values

    return scores_of_errors(
        identify,
        wrong(logits, identify),
        len(head.classes),
        min_misclassified,
        statistic="mean" if statistic == "mean" else "median",
        standardize=standardize,
        transform=read,
    )


def wrong(logits: Array, rows: Rows) -> Array:
    return np.asarray(logits.argmax(axis=1) != rows.y_index)


def class_rates(rows: Rows, wrong: Array) -> Array:
    """Error rate of each class that has samples of positive weight."""
    mass = np.bincount(rows.y_index, weights=rows.weight)
    errors = np.bincount(rows.y_index, weights=rows.weight * wrong)
    return np.asarray(errors[mass > 0] / mass[mass > 0])
