"""Fit candidates on the same data, score them without group labels, and measure their costs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import clone

from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.feature_set import FEWEST
from ntkit.estimators import (
    AutoDebiasClassifier,
    HeadClassifier,
    InvariantClassifier,
    NeuronTuneClassifier,
    head_of,
)
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.head import LinearHead
from ntkit.jobs.debias._accuracy_cost import STEPS, AccuracyCost, accuracy_cost_of, mixed
from ntkit.jobs.debias._candidates import Candidate, FittedOn, n_suppressed
from ntkit.jobs.debias._invariance import CopiesOf, part_of
from ntkit.jobs.debias._judge import Judge, Likeness, judge_of, likeness_of
from ntkit.jobs.debias._outcome import deciding_groups
from ntkit.jobs.debias._plan import Plan
from ntkit.jobs.debias._pool import Pool
from ntkit.jobs.debias._scorecard import Scorecard
from ntkit.metrics import worst_class_accuracy, worst_group_accuracy
from ntkit.scorers import named_score
from ntkit.solver.loss import is_mapped, rows_per_chunk
from ntkit.study import ERM_ALPHA, LARGE, Rows, Study, digest, seed_of, stratified_folds, tuned

_TRAIN_FOLDS = 3
# Copies of a group that is read weigh as much as so many real samples of it: real samples are
# better, and of a rare group there may be none.
_COPIES_OF_GROUP = 50
FOLDS_OF_ONE = 5
"""Folds of a single labelled set."""


class Comparison:
    """Fits candidates on the same data and rates them in the same way."""

    # Embeddings are standardised on the training set, so that the penalty has the same effect on
    # every neuron. on_raw_embeddings folds the scale back into a head. The validation set
    # identifies neurons, retrains some candidates, and scores all of them. To score candidates on
    # unseen samples, ntkit fits with one half of the validation set and predicts the other half.
    # A single set is both the training set and the validation set, and its halves are five folds.

    def __init__(
        self,
        pool: Pool,
        test: Rows | None,
        *,
        head: LinearHead | None,
        C: float | None = None,
        seed: int = 0,
        plan: Plan | None = None,
    ) -> None:
        self.plan = plan = plan or Plan()
        X = pool.train.X
        self.mean, self.std = _moments(X)
        self._mapped = is_mapped(X) and X.nbytes > LARGE
        self.pool = pool = pool.scaled(self.mean, self.std)
        self.train, self.validation = pool.train, pool.validation
        self.test = None if test is None else test.scaled(self.mean, self.std)
        self.evaluated = self.validation if self.test is None else self.test
        named = plan.said.read
        values = np.stack([each.value for each in named], axis=1) if named else None
        validation = None if pool.one_set else pool.validation
        self.study = self.with_copies = Study(pool.train, validation, values)
        self.copies: CopiesOf | None = None  # of validation samples
        if plan.invariance is not None:
            invariance = plan.invariance.scaled(self.mean, self.std)
            self.plan = replace(plan, invariance=invariance)
            self.with_copies = invariance.added_to(self.study)
            self.copies = invariance.of(pool.of_validation)
        self.C, self.seed = C, seed
        self._chosen_C: dict[FittedOn, float] = {}
        self.fitted: dict[str, Any] = {}
        self.rows_of: dict[str, FittedOn] = {}
        self._half_heads: dict[str, list[LinearHead]] = {}
        self.of_halves: dict[Any, Study] = {}  # free it when every candidate is fitted
        if head is None:
            # Without class weights, a head with a strong penalty predicts only the larger class.
            C_erm = max(self._C(FittedOn.TRAIN), 1 / (ERM_ALPHA * len(X))) if C is None else C
            self.original: LinearHead = self.train.heads([self.train.weight], C_erm)[0]
        else:
            self.original = head.scaled(self.std, -self.mean / self.std)
        weights = [self.train.balanced()]
        reference = self.train.heads(weights, 1 / len(X) if C is None else C)[0]
        self.reference_proba = reference.predict_proba(self.validation.X)
        self.classes = reference.classes
        # Two halves of the validation set, stratified by class; more folds of a single set.
        y, contents = self.validation.y_index, self.validation.contents
        self.halves = stratified_folds(y, FOLDS_OF_ONE if pool.one_set else 2, seed, contents)
        if not self.halves:
            raise InputError(
                "The validation set needs at least 2 samples of each class: half of them score "
                "neurons, half choose. Add samples."
            )
        self.scorecard = Scorecard(pool, self.original, self.plan)

    # -- fits --------------------------------------------------------------------------------

    def fit(
        self,
        estimator: Any,
        rows: FittedOn = FittedOn.TRAIN,
        validation: Array | None = None,
        *,
        as_is: bool = False,
    ) -> tuple[Any, str]:
        """Fit a copy of an estimator, with its own parameters if ``as_is``; returns warnings, too.

        Without ``validation``, it is fitted on all rows of the validation set.
        """
        clf = clone(estimator)
        known = clf.get_params(deep=False)
        decided: dict[str, Any] = {"head": self.original}
        if not as_is:
            decided |= {"random_state": self.seed, "C": self.C}
            if rows.tunes_itself:
                decided["C"] = self.C or known.get("C")
            elif "C" in known:
                decided["C"] = self.C if isinstance(clf, NeuronTuneClassifier) else self._C(rows)
            if self.C is not None and known.get("recipe") == "group-balanced":
                n = len(self.study_of(clf, rows, validation=validation).both)
                decided["alphas"] = [1 / (self.C * n)]  # of the mean loss
        clf.set_params(**{name: decided[name] for name in decided if name in known})
        if rows.by_change and validation is None and not self.pool.one_set:
            # Validation rows judge, so they do not tune.
            none = np.zeros(0, dtype=np.intp)
            clf = _decided(self._fitted(clf, rows, validation=none)[0], rows)
        return self._fitted(clf, rows, validation=validation)

    def _fitted(
        self,
        clf: Any,
        rows: FittedOn,
        *,
        train: Array | None = None,
        validation: Array | None = None,
    ) -> tuple[Any, str]:
        """Fit an estimator on some or all samples of both sets; returns it with its warnings."""
        study = self.study_of(clf, rows, train, validation)
        if rows is FittedOn.LABELS:
            assert self.plan.known is not None
            numbers = self.pool.numbers(train, validation)
            return self.plan.known.fit(clf, study.train, numbers), ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SuppressionWarning)
            if isinstance(clf, HeadClassifier):
                clf.fit_study(study)
            else:
                more = {}
                if study.validation is not None and "X_val" in signature(clf.fit).parameters:
                    more = {"X_val": study.validation.X, "y_val": study.validation.y}
                clf.fit(study.train.X, study.train.y, **more)
        notes = list[str]()
        for warning in caught:
            if issubclass(warning.category, SuppressionWarning):
                notes.append(str(warning.message))
            else:
                place = warning.category, warning.filename, warning.lineno
                warnings.warn_explicit(warning.message, *place)
        return clf, " ".join(notes) if n_suppressed(clf) else ""

    def study_of(
        self,
        clf: Any,
        rows: FittedOn,
        train: Array | None = None,
        validation: Array | None = None,
    ) -> Study:
        """The study that a candidate is fitted on, of some or all samples of both sets."""
        study = self.with_copies if rows.by_change else self.study
        if train is not None:
            study = study.take(train=train)
        elif validation is not None:  # the same halves for all candidates
            key = digest(validation), study is self.study
            if key not in self.of_halves:
                one_set = self.pool.one_set  # a part of it fits
                self.of_halves[key] = (
                    study.take(train=validation) if one_set else study.take(validation=validation)
                )
            study = self.of_halves[key]
        study = study.on(rows.part)
        if not rows.by_change:
            return study
        if rows is FittedOn.READ:
            return _with_copies_as_rows(self._read(study), _COPIES_OF_GROUP)
        if not isinstance(clf, AutoDebiasClassifier):  # the only one that balances groups
            study = replace(study, values=None)
        return study if isinstance(clf, InvariantClassifier) else _with_copies_as_rows(study)

    def _read(self, study: Study) -> Study:
        """A study with the values that are read from its copies as further attributes."""
        invariance = self.plan.invariance
        assert invariance is not None
        assert study.donors is not None
        if "read" not in study._with:
            n_changes, n_named = study.donors.shape[1], len(self.plan.said.read)
            values, of_copies = dict[int, Array](), dict[int, Array]()
            for at in self._not_read():  # what a part does not tell stays in a copy
                assert study.values is not None
                assert study.changed_values is not None
                values[at] = study.values[:, at]
                known = study.changed_values[:, :, at]
                of_copies[at] = np.where(known < 0, values[at][:, None], known)
            for change, reading in invariance.readings(study, again=False).items():
                at = n_named + change
                values[at] = np.searchsorted(study.train.classes, reading.values)
                of_copies[at] = np.repeat(values[at][:, None], n_changes, axis=1)
            for change in invariance.alphas:
                at = invariance.known.get(change, n_named + change)
                donors = study.donors[:, change]
                of_copies[at][:, change] = np.where(donors >= 0, values[at][donors], -1)
            study._with["read"] = replace(
                study,
                values=np.column_stack([*values.values()]),
                changed_values=np.stack([*of_copies.values()], axis=2),
            )
        return study._with["read"]

    def _not_read(self) -> list[int]:
        """Numbers of the named attributes, but for properties of images that a reader tells."""
        # A reader tells the part better than the brightness in it, so only what it tells balances.
        invariance = self.plan.invariance
        assert invariance is not None
        read = {invariance.changes[number].name for number in invariance.alphas}
        known, parts = {*invariance.known.values()}, map(part_of, self.plan.said.judging)
        return [at for at, part in enumerate(parts) if part not in read or at in known]

    def _C(self, rows: FittedOn) -> float:
        """The user's penalty, or the one that class-balanced retraining has on these rows."""
        if self.C is not None:
            return self.C
        if rows not in self._chosen_C:
            study = self.study  # of both sets in the units of the training set, like "auto"
            if rows is FittedOn.VALIDATION:
                study = study.on(rows.part)
            elif rows is FittedOn.TRAIN:
                study = replace(study, validation=None)
            both, gains = study.both, study.train.gains
            weight, seed = both.balanced(), seed_of(self.seed)
            alpha = tuned(both, weight, gains=gains, seed=seed).alpha
            self._chosen_C[rows] = 1 / (alpha * len(study.both))
        return self._chosen_C[rows]

    # -- predictions and rows of the table ----------------------------------------------------

    def row(
        self, name: str, clf: Any, rows: FittedOn = FittedOn.TRAIN, note: str = ""
    ) -> Candidate:
        """Rate a fitted candidate; its validation score needs two more fits."""
        self.fitted[name], self.rows_of[name] = clf, rows
        decided = _decided(clf, rows)
        fits = (self.fit(decided, rows, seen, as_is=True)[0] for seen, _ in self.halves)
        self._half_heads[name] = [*map(head_of, fits)]
        rated = self.rated(head_of(clf), self.validation_predictions(name))
        return Candidate(name=name, n_suppressed=n_suppressed(clf), note=note, **rated)

    def rated(self, head: LinearHead, validation_pred: Array) -> dict[str, Any]:
        """Score by predictions of the validation set, and accuracies on the evaluation set."""
        # Without group labels of its own, a test set has the groups that tell the outcome.
        y, groups = self.evaluated.y, self.evaluated.groups
        pred = validation_pred if self.test is None else head.predict(self.test.X)
        worst_group = None if groups is None else worst_group_accuracy(y, pred, groups=groups)
        if groups is None and self.plan.on_test:
            right = pred == y
            of = deciding_groups(self.scorecard.groups(self.plan.on_test, y, (right, right)))
            worst_group = min((r.value for each in of for r in each.rows if r.n), default=None)
        return {
            "score": named_score(
                self.plan.score,
                self.validation.y,
                validation_pred,
                Z=self.validation.X,
                reference_pred=self.classes[self.reference_proba.argmax(axis=1)],
                reference_proba=self.reference_proba,
                classes=self.classes,
            ),
            "average": float((pred == y).mean()),
            "worst_class": worst_class_accuracy(y, pred),
            "worst_group": worst_group,
        }

    def random_mask_row(self, clf: Any, n_masks: int, rows: FittedOn = FittedOn.TRAIN) -> Candidate:
        """Rate random masks of a candidate's size, retrained with the candidate's weights."""
        study = self.study_of(clf, rows)
        size, masks = n_suppressed(clf), []
        control = _decided(clf, rows).set_params(
            **{"statistic": "random", "threshold": 0.0, "aggregation": "union"},
            max_suppressed=min(1.0, (size + 0.5) / int(clf.non_constant_.sum())),
        )
        for number in range(n_masks):
            with warnings.catch_warnings(action="ignore", category=SuppressionWarning):
                fitted = clone(control).set_params(random_state=self.seed + number)
                head = head_of(fitted.fit_study(study))
            rated = self.rated(head, head.predict(self.validation.X))
            masks.append({k: v for k, v in rated.items() if v is not None})
        mean: dict[str, Any] = {k: float(np.mean([each[k] for each in masks])) for k in masks[0]}
        spread = {k: float(np.std([each[k] for each in masks])) for k in masks[0]}
        rated = {"worst_group": None, "spread": spread} | mean
        return Candidate(name=f"random mask of {size}", n_suppressed=size, **rated)

    def validation_predictions(self, name: str, t: float = 1.0) -> Array:
        """Predict each half of the validation set by a fit with the other half."""
        pred = np.empty_like(self.validation.y)
        for half, (_, scored) in zip(self._half_heads[name], self.halves, strict=True):
            head = mixed(self.original, half, t, self.train.X)
            pred[scored] = head.predict(self.validation.X[scored])
        return pred

    def copy_predictions(self, name: str, t: float = 1.0) -> Array:
        """Predict each copy of the validation set by a fit without its original."""
        copies = self.copies
        assert copies is not None
        pred = np.empty_like(self.validation.y, shape=len(copies.of))
        for half, (_, scored) in zip(self._half_heads[name], self.halves, strict=True):
            head = mixed(self.original, half, t, self.train.X)
            rows = np.isin(copies.of, scored)
            pred[rows] = head.predict(copies.Z[rows])
        return pred

    def right_copies(self, name: str, t: float) -> tuple[Array, Array] | None:
        """Correct predictions of validation copies, by the new and by the original head."""
        if self.copies is None:
            return None
        y = self.validation.y[self.copies.of]
        return self.copy_predictions(name, t) == y, self.original.predict(self.copies.Z) == y

    def cross_fitted(self, name: str) -> Iterator[tuple[LinearHead, Array]]:
        """Heads of a candidate, and the training rows (or of a single set) left out of each fit."""
        if self.pool.one_set:
            yield from zip(self._half_heads[name], (out for _, out in self.halves), strict=True)
            return
        # With copies, a row and the donor of its copy are in the same fold.
        clf, rows = self.fitted[name], self.rows_of[name]
        y, contents = self.train.y_index, self.train.contents
        folds = stratified_folds(y, _TRAIN_FOLDS, self.seed, contents)
        if self.with_copies.folds is not None:
            part = self.with_copies.folds[self.pool.of_train]
            numbers = np.unique(part)
            folds = [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in numbers]
        for seen, unseen in folds:
            fitted, _ = self._fitted(_decided(clf, rows), rows, train=seen)
            yield head_of(fitted), unseen

    def train_predictions(self, name: str, t: float, *, cross_fitted: bool = True) -> Array:
        """Predict training rows by fits with the others, or by the candidate itself."""
        X, old = self.train.X, self.original
        if self._mapped or not cross_fitted:  # fits of mapped ones take long
            return mixed(old, head_of(self.fitted[name]), t, X).predict(X)
        pred = np.empty_like(self.train.y)
        for head, unseen in self.cross_fitted(name):
            pred[unseen] = mixed(old, head, t, X).predict(X[unseen])
        return pred

    def right(self, name: str, t: float) -> tuple[Array, Array]:
        """Correct training and validation predictions of the original and of the new head."""
        after = self.validation_predictions(name, t)
        if not self.pool.one_set:
            cross_fitted = self.rows_of[name] not in (FittedOn.VALIDATION, FittedOn.LABELS)
            of_train = self.train_predictions(name, t, cross_fitted=cross_fitted)
            after = np.concatenate([of_train, after])
        return self.scorecard.before, after == self.pool.y

    def on_raw_embeddings(self, head: LinearHead) -> LinearHead:
        """Fold the standardisation into a head."""
        return head.scaled(1 / self.std, self.mean)

    # -- accuracy costs -----------------------------------------------------------------------

    def costs_of(self, name: str, share: float | None = None) -> tuple[AccuracyCost, ...]:
        """Accuracy costs of a rated candidate, and of its interpolations with the original."""
        # An interpolation would use suppressed neurons again. So there is none for a candidate
        # with a mask.
        validation, old, known = self.validation, self.original, self.plan.known
        masked, (groups, reported, averaged) = (
            bool(n_suppressed(self.fitted[name])),
            self.groups_of(name),
        )
        if masked and share not in (None, 1):
            raise InputError(
                f"{name} suppresses neurons, which an interpolation would use again; leave "
                "--interpolation (interpolation=) out, or order another method."
            )
        costs, y, old_logits = list[AccuracyCost](), validation.y, old.logits(validation.X)
        for t in (0.0, 1.0) if masked else sorted({*STEPS, share or 1.0}):
            pred, of_copies = self.validation_predictions(name, t), self.right_copies(name, t)
            cost = accuracy_cost_of(
                t,
                y,
                old_logits,
                pred,
                old.classes,
                validation.groups,
                groups,
                by_groups=known is None or known.is_read,
                copies=of_copies if self.judges_by_change(name) else None,
                reported=reported,
                averaged=averaged,
            )
            first = self.scorecard.first_number(pred == y, of_copies)
            if first is not None:
                cost = replace(cost, named=first.value, named_is=str(first.name))
            costs.append(cost)
        return tuple(costs)

    def groups_of(self, name: str) -> tuple[Attribute | None, ...]:
        """Validation groups that judge a rated candidate, those to report, and all to average."""
        # Copies are reported only where too few validation samples are in a group.
        if self.judges_by_change(name):
            return self.judge.groups, self.judge.reported, self.judge.averaged
        groups, averaged, known, named = None, None, self.plan.known, self.plan.said.read
        if known is not None and self.rows_of[name] is FittedOn.LABELS:
            groups = known.judging()
            averaged = None if groups is None else known.judging(1)
        elif getattr(self.fitted[name], "values_", None) is not None and named:
            first, *others = (each.take(self.pool.of_validation) for each in named)
            groups = first.crossed(self.validation.y, *others, fewest=FEWEST)
            averaged = first.crossed(self.validation.y, *others, fewest=1)
        return groups, groups, averaged

    def estimated_groups(self, rows: slice) -> list[Attribute]:
        """What readers of changed copies tell of the samples of a set, cross-fitted."""
        invariance = self.plan.invariance
        if invariance is None or not invariance.alphas:
            return []
        values = self._read(self.with_copies.on("both")).values
        assert values is not None
        changes = [number for number in invariance.alphas if number not in invariance.known]
        of_readers = values[rows].T[values.shape[1] - len(changes) :]
        return [
            Attribute(name, value, tuple(f"{name} of class {label}" for label in self.classes))
            for change, value in zip(changes, of_readers, strict=True)
            for name in [invariance.changes[change].name]
        ]

    # -- candidates by change ----------------------------------------------------------------

    def judges_by_change(self, name: str) -> bool:
        """Whether real groups and copies judge a candidate; not one fitted on labels."""
        return self.copies is not None and self.rows_of[name] is not FittedOn.LABELS

    @cached_property
    def judge(self) -> Judge:
        """The groups that judge a repair by change on validation samples."""
        return self.judge_of_set(self.pool.of_validation)

    def judge_of_set(self, rows: slice) -> Judge:
        """The groups of a set and its copies; ``rows`` is its place in the pool."""
        invariance, values = self.plan.invariance, self.study.values
        assert invariance is not None
        values, copies = None if values is None else values[rows], invariance.of(rows)
        titles = [change.name for change in invariance.changes]
        named, y = self.plan.said.read, self.pool.y[rows]
        return judge_of(y, values, named, copies, titles, self._likeness)

    @cached_property
    def _likeness(self) -> dict[str, Likeness]:
        """For each change, whether copies are similar to the real samples of their groups."""
        inv, values = self.plan.invariance, self.study.values
        if inv is None or values is None:
            return {}
        y, X, named = self.pool.y, self.study.both.X[:], self.plan.said.read
        titles = [change.name for change in inv.changes]
        return likeness_of(y, X, values, named, inv.copies, titles, self.seed)


def _moments(X: Array) -> tuple[Array, Array]:
    """Mean and deviation of each neuron; 1 for a constant one."""
    mean: Array = X.mean(axis=0, dtype=np.float64)
    squares, varies = np.zeros(len(mean)), np.zeros(len(mean), dtype=bool)
    step = max(1, rows_per_chunk(X, 0) // 8)  # each block is in float64
    for start in range(0, len(X), step):
        block = X[start : start + step]
        squares += ((block - mean) ** 2).sum(axis=0)
        varies |= (block != X[0]).any(axis=0)
    std = np.sqrt(squares / len(X))
    # The computed deviation of a constant neuron may be a rounding error above 0.
    return mean, np.where(varies & (std > 0), std, 1.0)


def _with_copies_as_rows(study: Study, of_group: float | None = None) -> Study:
    """A study with the copies as further rows; row and copy are changed forms of each other.

    The copies of a row weigh as much as the row, or those of a group as ``of_group`` rows.
    """
    assert study.changed is not None
    train, n = study.train, len(study.train)
    rows, change = np.nonzero(~np.isnan(study.changed[:, :, 0]))
    copies = study.changed[rows, change]
    weight = train.weight[rows] / np.bincount(rows, minlength=n)[rows]
    values = study.values
    if values is not None and study.changed_values is not None:
        values = np.concatenate([values[:n], study.changed_values[rows, change]])
    if of_group is not None:
        assert values is not None
        cells = np.column_stack([train.y_index[rows], values[n:]])
        _, cell = np.unique(cells, axis=0, return_inverse=True)
        weight *= of_group * train.weight.mean() / np.bincount(cell.ravel(), weight)[cell.ravel()]
    # A row and its copies are in one fold.
    train = replace(train, known_contents=train.contents)
    more = Rows(copies, train.y_index[rows], weight, train.classes, None, train.contents[rows])
    of_copies = np.full((len(copies), *study.changed.shape[1:]), np.nan, study.changed.dtype)
    of_copies[:, 0] = train.X[rows]
    changed = np.concatenate([study.changed[:n], of_copies])
    folds = None if study.folds is None else np.append(study.folds[:n], study.folds[rows])
    return Study(train.and_then(more), values=values, changed=changed, folds=folds)


def _decided(clf: Any, rows: FittedOn) -> Any:
    """An unfitted candidate for other rows, with the decisions of its first fit."""
    chosen: dict[str, Any] = {}
    if isinstance(clf, AutoDebiasClassifier):
        chosen = {"recipe": clf.recipe_, "alphas": (clf.alpha_,)}
    elif isinstance(clf, InvariantClassifier) and rows.by_change:
        chosen = {"penalties": (clf.penalty_,), "alphas": (clf.alpha_,)}
    elif isinstance(clf, NeuronTuneClassifier) and clf.solver == "optimum":
        chosen = {"C": clf.C_}  # on standardised embeddings
    return clone(clf).set_params(**chosen)
