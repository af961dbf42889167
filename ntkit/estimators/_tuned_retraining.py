"""How a masked head is retrained: the mask, weights of the samples, the penalty, the cost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.estimators._base import ValidatedClassifier
from ntkit.head import LinearHead
from ntkit.solver import FittedHead
from ntkit.spuriousness import spuriousness_scores, strongest_wrong
from ntkit.study import (
    ALPHAS,
    AS_GOOD,
    CellsTried,
    Mask,
    PenaltyPath,
    Rows,
    Study,
    class_weighted,
    correctness_balanced,
    correctness_groups,
    cross_fitted_logits,
    folds_of,
    hold_out,
    make_mask,
    penalty_path,
    warn_about,
    warn_of_cost,
)

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
    """Logits on the identification rows, by ``head`` or cross-fitted over ``folds``."""
    # Rows that no fold predicts get the weight 0.
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


_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """What stage one found: sets, folds (where the two sets are one), original head, scores."""

    # `also` are identification samples that are not for retraining, to judge penalties by, and
    # `plain` the penalties of class-balanced retraining, where one is to be chosen.

    tune: Rows
    identify: Rows
    folds: list[tuple[Array, Array]] | None
    seed: int
    also: Rows | None
    plain: PenaltyPath | None
    original: LinearHead
    scores: Array


@dataclass(frozen=True)
class Tuning:
    """How the head is retrained: weights, the cells they balance, and the ridge weight."""

    weight: Array
    cells: Array
    alpha: float


class TunedClassifier(ValidatedClassifier):
    """What the two stages need besides their order.

    A subclass has the parameters of ``NeuronTuneClassifier``; its ``C`` may be None.
    """

    threshold: float
    max_suppressed: float
    aggregation: str
    statistic: str
    standardize: bool
    activation: str
    suppression: float
    min_misclassified: int
    min_neurons: int | None
    error_weight: float | str
    max_cost: float | None
    class_weight: Any
    verbose: bool
    non_constant_: Array
    mask_cost_: float
    _alpha: float
    _units: Array

    def _fit_head(self, rows: Rows, weight: Array, **options: Any) -> FittedHead:
        """With ``C``, or with the ridge weight that was chosen, on standardised neurons."""
        if self.C is None and options.get("start") is not None:
            options["gains"] = self._in_units(options.get("gains"))
            options["C"] = 1 / (float(weight.sum()) * self._alpha)
        return super()._fit_head(rows, weight, **options)

    def _fit_heads(
        self,
        rows: Rows,
        weights: Sequence[Array],
        *,
        gains: Array | None = None,
        Cs: Sequence[float] | None = None,
    ) -> list[FittedHead]:
        if self.C is None:
            gains = self._in_units(gains)
            Cs = [1 / (float(weight.sum()) * self._alpha) for weight in weights]
        return super()._fit_heads(rows, weights, gains=gains, Cs=Cs)

    def _in_units(self, gains: Array | None) -> Array:
        return self._units if gains is None else self._units * gains

    def _gains_of(self, mask: Mask) -> Array:
        return np.asarray(1 - self.suppression * mask.columns)

    def _fits_on(self, mask: Mask) -> Callable[[Rows, Sequence[Array]], list[FittedHead]]:
        """Return what fits heads on rows with given weights, on masked neurons."""
        return partial(self._fit_heads, gains=self._gains_of(mask))

    def _path(
        self,
        rows: Rows,
        also: Rows | None,
        weight: Array,
        seed: int,
        cells: Array | None = None,
    ) -> PenaltyPath:
        """Penalties to choose from, or the one that is given, by the classes or by cells."""

        def fit(some: Rows, weights: Sequence[Array], alphas: Sequence[float]) -> list[FittedHead]:
            if self.C is not None:
                return self._fit_heads(some, weights)
            Cs = [1 / (float(w.sum()) * alpha) for w, alpha in zip(weights, alphas, strict=True)]
            return super(TunedClassifier, self)._fit_heads(some, weights, gains=self._units, Cs=Cs)

        return penalty_path(
            fit,
            rows,
            weight,
            2 * _joined(rows, also)[0] if cells is None else cells,
            also=also,
            alphas=ALPHAS if self.C is None else (1.0,),
            worse_half=cells is None,
            seed=seed,
        )

    def _balanced(self, rows: Rows, class_weight: Any = "balanced") -> Array:
        return class_weighted(rows.weight, rows.y_index, self.classes_, class_weight)

    def _tuning(self, stage: Stage) -> Tuning:
        """Sample weight times class weight times error weight, and the penalty for them."""
        tune = stage.tune
        balanced, by_class = self._balanced(tune, self.class_weight), 2 * tune.y_index
        if self.error_weight == 1:
            alpha = 1.0 if stage.plain is None else stage.plain.alpha
            if stage.plain is not None and self.class_weight != "balanced":
                alpha = self._path(tune, stage.also, balanced, stage.seed).alpha
            return Tuning(balanced, by_class, alpha)
        if self.error_weight in ("balanced", "auto"):
            return self._tuning_by_cells(stage, balanced)
        if self.head is not None:
            logits = stage.original.logits(tune.X)
        else:
            logits = self._unseen_logits(stage, tune.weight)
        weight = np.where(wrong(logits, tune), self.error_weight, 1.0) * balanced
        if stage.plain is None:
            return Tuning(weight, by_class, 1.0)
        return Tuning(weight, by_class, self._path(tune, stage.also, weight, stage.seed).alpha)

    def _tuning_by_cells(self, stage: Stage, balanced: Array) -> Tuning:
        """Balanced cells, with "auto" only where that learns the errors."""
        tune, seed = stage.tune, stage.seed
        plain = stage.plain or self._path(tune, stage.also, self._balanced(tune), seed)
        y_index, mass = _joined(tune, stage.also)
        alpha = plain.strongest(y_index, mass, most=1.0, within=AS_GOOD)
        reference = plain.outcomes.get(alpha)
        if reference is None:  # too few samples for folds
            return Tuning(balanced, 2 * tune.y_index, plain.alpha)
        weight = correctness_balanced(balanced, tune.y_index, reference.wrong[: len(balanced)])
        cells = correctness_groups(y_index, reference.wrong, mass)
        path = PenaltyPath(plain.alpha, {})
        if self.C is None or self.error_weight == "auto":
            path = self._path(tune, stage.also, weight, seed, cells)
        if self.error_weight == "auto":
            if plain.outcome is None or path.outcome is None:
                return Tuning(balanced, 2 * tune.y_index, plain.alpha)
            tried = CellsTried.of(y_index, mass, reference, plain.outcome, path.outcome)
            if not tried.worth_it:
                return Tuning(balanced, 2 * tune.y_index, plain.alpha)
        return Tuning(weight, cells[: len(balanced)], path.alpha)

    def _unseen_logits(self, stage: Stage, weight: Array) -> Array:
        """Logits of the retraining samples, each from a head that was fitted without it."""
        folds = stage.folds or folds_of(5, stage.tune, stage.seed)
        if folds is None:
            return self._fit_head(stage.tune, weight).logits(stage.tune.X)
        return cross_fitted_logits(stage.tune, weight, folds, self._fit_heads)[0]

    def _keep(self, mask: Mask | None) -> None:
        if mask is not None:
            nobody = np.zeros_like(mask.everywhere)
            self.suppressed_ = mask.everywhere if self.suppression == 1 else nobody
            self.attenuated_ = mask.everywhere if 0 < self.suppression < 1 else nobody
            self.suppressed_per_class_ = mask.per_class
            self.spared_ = mask.spared
            self.gains_ = 1 - self.suppression * mask.everywhere

    def _score(self, identify: Rows, logits: Array, head: LinearHead) -> Array:
        return scores_by(
            identify,
            logits,
            head,
            statistic=self.statistic,
            activation=self.activation,
            standardize=self.standardize,
            min_misclassified=self.min_misclassified,
        )

    def _mask(self, scores: Array, before: Mask | None) -> Mask:
        mask = make_mask(
            scores,
            self.non_constant_,
            threshold=self.threshold,
            aggregation=self.aggregation,  # type: ignore[arg-type]
            max_suppressed=self.max_suppressed,
            min_neurons=self.min_neurons,
            before=before,
        )
        warn_about(
            mask,
            scores,
            self.non_constant_,
            min_misclassified=self.min_misclassified,
            min_neurons=self.min_neurons,
        )
        return mask

    def _worth_its_cost(self, mask: Mask, stage: Stage, tuning: Tuning) -> Mask:
        """The mask, or none where it costs too much accuracy on samples a head has not seen."""
        folds = folds_of(5, stage.tune, stage.seed)
        if self.max_cost is None or not self.suppression or folds is None:
            return mask
        if not mask.columns.any():
            return mask

        def accuracy(fit: Callable[[Rows, Sequence[Array]], list[FittedHead]]) -> float:
            logits, _ = cross_fitted_logits(stage.tune, tuning.weight, folds, fit)
            mass = np.bincount(tuning.cells, weights=stage.tune.weight)
            right = stage.tune.weight * ~wrong(logits, stage.tune)
            hits = np.bincount(tuning.cells, weights=right)
            return float((hits[mass > 0] / mass[mass > 0]).mean())

        self.mask_cost_ = accuracy(self._fit_heads) - accuracy(self._fits_on(mask))
        if self.mask_cost_ <= self.max_cost:
            return mask
        warn_of_cost(int(mask.everywhere.sum()), self.mask_cost_, self.max_cost)
        return replace(mask, columns=np.zeros_like(mask.columns), spared=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # On data of two features a rule may suppress a useful one.
        tags.classifier_tags.poor_score = True
        return tags

    def _log(self, message: str, *values: object) -> None:
        _logger.log(logging.INFO if self.verbose else logging.DEBUG, message, *values)


def _joined(rows: Rows, also: Rows | None) -> tuple[Array, Array]:
    """Classes and weights of rows, and of others after them."""
    if also is None:
        return rows.y_index, rows.weight
    return (
        np.concatenate([rows.y_index, also.y_index]),
        np.concatenate([rows.weight, also.weight]),
    )
