"""Fit candidates on the same data, score them without group labels, and measure their costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import clone
from tqdm import tqdm

from ntkit._types import Array
from ntkit.attributes import FEWEST, Attribute
from ntkit.estimators import (
    AutoDebiasClassifier,
    DFRClassifier,
    HeadClassifier,
    InvariantClassifier,
    NeuronTuneClassifier,
    head_of,
)
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.head import LinearHead
from ntkit.jobs.debias._accuracy_cost import (
    STEPS,
    AccuracyCost,
    accuracy_cost_of,
    mixed,
    taken,
)
from ntkit.jobs.debias._candidates import (
    BY_CHANGE,
    COPIES,
    DEFAULT_SCORE,
    GROUP_BALANCED,
    LABELLED,
    YOURS,
    Candidate,
    Unfitted,
    is_degenerate,
    n_suppressed,
)
from ntkit.jobs.debias._invariance import CopiesOf, Invariance
from ntkit.jobs.debias._judge import Judge, Likeness, judge_of, likeness_of
from ntkit.jobs.debias._labelled import Labelled, Told
from ntkit.jobs.debias._named_attributes import CompletedGroups
from ntkit.jobs.debias._order import Order
from ntkit.jobs.debias._outcome import (
    TEST,
    Cell,
    NamedGroups,
    RepairOutcome,
    Source,
    crossed_groups,
    deciding_groups,
    helped_groups,
    named_groups,
    outcome_of,
)
from ntkit.metrics import (
    Row,
    compare,
    mean_of_rows,
    named_score,
    worst_class_accuracy,
    worst_group_accuracy,
)
from ntkit.solver import is_mapped, rows_per_chunk
from ntkit.study import ERM_ALPHA, LARGE, Rows, Study, digest, seed_of, stratified_folds, tuned

_TRAIN_FOLDS = 3
FOLDS_OF_ONE = 5
"""Folds of a single labelled set."""
_ORIGINAL = "original"
_METHODS = ("neurontune", "auto", YOURS, "copies", "groups and copies")


class Comparison:
    """Fits candidates on the same data and rates them in the same way."""

    # Embeddings are standardised on the training set, so that the penalty has the same effect on
    # every neuron. on_raw_embeddings folds the scale back into a head. The validation set
    # identifies neurons, retrains some candidates, and scores all of them. To score candidates on
    # unseen samples, ntkit fits with one half of the validation set and predicts the other half.
    # Without training rows (one labelled set), the validation set does all of this, in five folds.

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        test: Rows | None,
        *,
        head: LinearHead | None,
        C: float | None = None,
        select: str = DEFAULT_SCORE,
        seed: int = 0,
        named: Sequence[Attribute] = (),
        known: CompletedGroups | None = None,
        invariance: Invariance | None = None,
        named_on_test: Sequence[Attribute] = (),
    ) -> None:
        self.one_set = not len(train)
        most = validation.X if self.one_set else train.X
        self.mean, self.std = _moments(most)
        self._mapped = is_mapped(most) and most.nbytes > LARGE
        self.train = train.scaled(self.mean, self.std)
        self.validation = validation.scaled(self.mean, self.std)
        self.test = None if test is None else test.scaled(self.mean, self.std)
        self.evaluated = self.validation if self.test is None else self.test
        self.named, self.known, self.invariance = named, known, None
        # What no sample of the other sets tells apart makes no group of the test set either.
        self.named_on_test = named_on_test if len(named_on_test) == len(named) else ()
        values = np.stack([each.value for each in named], axis=1) if named else None
        self.study = self.with_copies = Study(self.train, self.validation, values)
        if invariance is not None:
            self.invariance = invariance.scaled(self.mean, self.std)
            n, m = len(self.train), len(self.validation)
            self.with_copies = replace(
                self.study,
                changed=self.invariance.changed(n, m),
                folds=invariance.folds,
                changed_values=invariance.values_of_copies(n, m, len(named)),
            )
        self.C, self.select, self.seed = C, select, seed
        self._chosen_C: dict[str, float] = {}
        self.fitted: dict[str, Any] = {}
        self.rows_of: dict[str, str] = {}
        self.candidates: dict[str, Candidate] = {}
        self._half_heads: dict[str, list[LinearHead]] = {}
        self._of_halves: dict[Any, Study] = {}
        both = self.study.both
        self._scale = (
            self.validation.X if self.one_set else self.train.X
        )  # of logits that are mixed
        n = len(self.train)
        if head is None:
            # Without class weights, a head with a strong penalty predicts only the larger class.
            C_erm = max(self._C("train"), 1 / (ERM_ALPHA * n)) if C is None else C
            self.original: LinearHead = self.train.heads([self.train.weight], C_erm)[0]
        else:
            self.original = head.scaled(self.std, -self.mean / self.std)
        rows = both if self.one_set else self.train
        reference = rows.heads([rows.balanced()], 1 / len(rows) if C is None else C)[0]
        self.reference_proba = reference.predict_proba(self.validation.X)
        self.classes = reference.classes
        # Two halves of the validation set, stratified by class; more folds of a single set.
        y, contents = self.validation.y_index, self.validation.contents
        self.halves = stratified_folds(y, FOLDS_OF_ONE if self.one_set else 2, seed, contents)
        if not self.halves:
            raise InputError(
                "The validation set needs at least 2 samples of each class: half of them score "
                "neurons, half choose. Add samples."
            )

    # -- fits --------------------------------------------------------------------------------

    def fit(
        self,
        estimator: Any,
        rows: str = "train",
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
            if rows in (COPIES, LABELLED):
                decided["C"] = self.C or known.get("C")
            elif "C" in known:
                decided["C"] = self.C if isinstance(clf, NeuronTuneClassifier) else self._C(rows)
        clf.set_params(**{name: decided[name] for name in decided if name in known})
        study = self.with_copies if rows == COPIES else self.study
        if validation is not None:
            key = digest(validation), rows == COPIES
            if key not in self._of_halves:
                self._of_halves[key] = study.take(validation=validation)
            study = self._of_halves[key]
        if rows == COPIES and validation is None and not self.one_set:
            # Validation rows judge, so they do not tune.
            none = np.zeros(0, dtype=np.intp)
            of_train = replace(study.take(validation=none), validation=None)
            clf = _decided(self._fitted(clf, rows, of_train)[0], rows)
        if rows == LABELLED and self.known is not None:
            return self.known.fit(clf, study, validation), ""
        return self._fitted(clf, rows, study)

    def _fitted(self, clf: Any, rows: str, study: Study) -> tuple[Any, str]:
        """Fit an estimator on a study; returns it with its warnings."""
        study = self.study_of(clf, rows, study)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SuppressionWarning)
            if isinstance(clf, HeadClassifier):
                clf.fit_study(study)
            else:
                validation = {}
                if study.validation is not None and "X_val" in signature(clf.fit).parameters:
                    validation = {"X_val": study.validation.X, "y_val": study.validation.y}
                clf.fit(study.train.X, study.train.y, **validation)
        notes = list[str]()
        for warning in caught:
            if issubclass(warning.category, SuppressionWarning):
                notes.append(str(warning.message))
            else:
                place = warning.category, warning.filename, warning.lineno
                warnings.warn_explicit(warning.message, *place)
        return clf, " ".join(notes) if n_suppressed(clf) or is_degenerate(clf) else ""

    def study_of(self, clf: Any, rows: str, study: Study) -> Study:
        """The part of a study for fitting a candidate."""
        study = study.on("both" if self.one_set or rows in (COPIES, LABELLED) else rows)
        if rows != COPIES:
            return study
        if not isinstance(clf, AutoDebiasClassifier):  # the only one that balances groups
            study = replace(study, values=None)
        return study if isinstance(clf, InvariantClassifier) else _with_copies_as_rows(study)

    def _C(self, rows: str) -> float:
        """The user's penalty, or the one that class-balanced retraining has on these rows."""
        if self.C is not None:
            return self.C
        if rows not in self._chosen_C:
            if self.one_set or rows == "validation":
                study = self.study.on("both" if self.one_set else rows)
            else:  # "both" in the units of the training set, like "auto"
                study = replace(self.study, validation=None) if rows == "train" else self.study
            both, gains = study.both, study.train.gains
            weight, seed = both.balanced(), seed_of(self.seed)
            alpha = tuned(both, weight, gains=gains, seed=seed).alpha
            self._chosen_C[rows] = 1 / (alpha * len(study.both))
        return self._chosen_C[rows]

    # -- predictions and rows of the table ----------------------------------------------------

    def row(self, name: str, clf: Any, rows: str = "train", note: str = "") -> Candidate:
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
        if groups is None and self.named_on_test:
            right = pred == y
            of = deciding_groups(self._groups(self.named_on_test, y, (right, right)))
            worst_group = min((row.value for each in of for row in each.filled), default=None)
        return {
            "score": named_score(
                self.select,
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

    def random_mask_row(self, clf: Any, n_masks: int, rows_of: str = "train") -> Candidate:
        """Rate random masks of a candidate's size, retrained with the candidate's weights."""
        study = self.with_copies if rows_of == COPIES else self.study
        study = self.study_of(clf, rows_of, study)
        size, masks = n_suppressed(clf), []
        control = _decided(clf, rows_of).set_params(
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
            head = mixed(self.original, half, t, self._scale)
            pred[scored] = head.predict(self.validation.X[scored])
        return pred

    def copy_predictions(self, name: str, t: float = 1.0) -> Array:
        """Predict each copy of the validation set by a fit without its original."""
        copies = self.judge.copies
        pred = np.empty_like(self.validation.y, shape=len(copies.of))
        for half, (_, scored) in zip(self._half_heads[name], self.halves, strict=True):
            head = mixed(self.original, half, t, self._scale)
            rows = np.isin(copies.of, scored)
            pred[rows] = head.predict(copies.Z[rows])
        return pred

    def _train_heads(self, name: str) -> Iterator[tuple[LinearHead, Array]]:
        """Cross-fitted heads of a candidate, and the training rows left out of each fit."""
        # With copies, a row and the donor of its copy are in the same fold.
        clf, rows = self.fitted[name], self.rows_of[name]
        whole = self.with_copies if rows == COPIES else self.study
        y, contents = self.train.y_index, self.train.contents
        folds = stratified_folds(y, _TRAIN_FOLDS, self.seed, contents)
        if self.with_copies.folds is not None:
            part = self.with_copies.folds[: len(self.train)]
            numbers = np.unique(part)
            folds = [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in numbers]
        for seen, unseen in folds:
            decided = _decided(clf, rows)
            if rows == LABELLED and self.known is not None:
                study = whole.take(train=seen)
                yield head_of(self.known.fit(decided, study, train=seen)), unseen
            else:
                yield head_of(self._fitted(decided, rows, whole.take(train=seen))[0]), unseen

    def right(self, name: str, t: float) -> tuple[Array, Array]:
        """Correct training and validation predictions of the original and of the new head."""
        # Training rows are cross-fitted. For large mapped embeddings and partly known groups, the
        # candidate itself predicts them.
        old, X = self.original, self.train.X
        parts = (self.validation,) if self.one_set else (self.train, self.validation)
        y = np.concatenate([part.y for part in parts])
        of_train = np.empty_like(self.train.y)
        if self.one_set:
            pass  # there are no training rows
        elif self.rows_of[name] in ("validation", LABELLED) or self._mapped:
            of_train = mixed(old, head_of(self.fitted[name]), t, X).predict(X)
        else:
            for head, unseen in self._train_heads(name):
                of_train[unseen] = mixed(old, head, t, X).predict(X[unseen])
        after = np.concatenate([of_train, self.validation_predictions(name, t)])
        return self._original_is_right, after == y

    def on_raw_embeddings(self, head: LinearHead) -> LinearHead:
        """Fold the standardisation into a head."""
        return head.scaled(1 / self.std, self.mean)

    # -- accuracy costs -----------------------------------------------------------------------

    def costs_of(self, name: str, share: float | None = None) -> tuple[AccuracyCost, ...]:
        """Accuracy costs of a rated candidate, and of its interpolations with the original."""
        # An interpolation would use suppressed neurons again. So there is none for a candidate
        # with a mask.
        validation, old, clf = self.validation, self.original, self.fitted[name]
        judged, groups = self.judges_by_change(clf), self.groups_of(clf)
        costs, masked = list[AccuracyCost](), bool(n_suppressed(clf))
        if masked and share not in (None, 1):
            raise InputError(
                f"{name} suppresses neurons, which an interpolation would use again; leave "
                "--interpolation (interpolation=) out, or order another method."
            )
        for t in (0.0, 1.0) if masked else sorted({*STEPS, share or 1.0}):
            copies = None
            if judged:
                y_copies = validation.y[self.judge.copies.of]
                before = old.predict(self.judge.copies.Z) == y_copies
                copies = before, self.copy_predictions(name, t) == y_copies
            cost = accuracy_cost_of(
                t,
                validation.y,
                old.logits(validation.X),
                self.validation_predictions(name, t),
                old.classes,
                validation.groups,
                groups,
                by_groups=self.known is None or self.known.is_read,
                copies=copies,
                reported=self.judge.reported if judged else groups,
            )
            costs.append(cost)
        return tuple(costs)

    def groups_of(self, clf: Any) -> Attribute | None:
        """Validation groups that a fitted candidate is balanced over; None without any."""
        if isinstance(clf, DFRClassifier) and self.known is not None:
            return self.known.judging()
        if self.judges_by_change(clf):
            return self.judge.groups
        if getattr(clf, "values_", None) is None or not self.named:
            return None
        rows = np.arange(len(self.train), len(self.named[0]))
        first, *others = (each.take(rows) for each in self.named)
        return first.crossed(self.validation.y, *others, fewest=FEWEST)

    # -- candidates by change ----------------------------------------------------------------

    def judges_by_change(self, clf: Any) -> bool:
        """Whether real groups and copies judge a candidate."""
        return self.invariance is not None and not isinstance(clf, DFRClassifier)

    @cached_property
    def judge(self) -> Judge:
        """The groups that judge a repair by change on validation samples."""
        return self._judge("validation")

    def _judge(self, which: str) -> Judge:
        assert self.invariance is not None
        n, rows = len(self.train), self.train if which == "train" else self.validation
        part = slice(0, n) if which == "train" else slice(n, None)
        values = None if self.study.values is None else self.study.values[part]
        titles = [change.name for change in self.invariance.changes]
        copies = getattr(self.invariance, which)
        return judge_of(rows.y, values, self.named, copies, titles, self._likeness)

    @cached_property
    def _likeness(self) -> dict[str, Likeness]:
        """For each change, whether copies are similar to the real samples of their groups."""
        inv, values = self.invariance, self.study.values
        if inv is None or values is None:
            return {}
        later = replace(inv.validation, of=len(self.train) + inv.validation.of)
        joined = CopiesOf.joined([inv.train, later])
        both = self.study.both
        titles = [change.name for change in inv.changes]
        return likeness_of(both.y, both.X[:], values, self.named, joined, titles, self.seed)

    def veto(self, name: str, t: float) -> str:
        """Reason for rejecting a head if small groups lose real samples; else an empty text."""
        small = self.judge.small
        y = self.validation.y[small]
        before = self.original.predict(self.validation.X[small]) == y
        after = self.validation_predictions(name, t)[small] == y
        (row,) = compare((after, before), [("group", "small groups", np.arange(len(y)))])
        lost = int(row.lost or 0) - int(row.gained or 0)
        if lost <= 0:
            return ""
        return (
            f"{name} loses accuracy in small groups: {row.right + lost} → {row.right} of "
            f"{len(y)} real validation samples are right. Write it anyway: --even-if-worse"
        )

    def _chosen_by_change(self, names: Sequence[str]) -> tuple[str, dict[str, float]]:
        """The best candidate by cross-fitted predictions of training rows and their copies."""
        # Among candidates within one standard error of the best, the predictions of the chosen one
        # flip least, because a person said that the changes do not matter.
        judge, rows = (
            (self.judge, self.validation) if self.one_set else (self._judge("train"), self.train)
        )
        X, y = rows.X, rows.y
        copies = judge.copies
        scores, errors, flips = dict[str, float](), dict[str, float](), dict[str, float]()
        for name in names:
            pred, of_copies = np.empty_like(y), np.empty_like(y, shape=len(copies.of))
            heads = self._train_heads(name)
            if self.one_set:
                unseen_rows = (scored for _, scored in self.halves)
                heads = zip(self._half_heads[name], unseen_rows, strict=True)
            for head, unseen in heads:
                pred[unseen] = head.predict(X[unseen])
                of_unseen = np.isin(copies.of, unseen)
                of_copies[of_unseen] = head.predict(copies.Z[of_unseen])
            right = np.concatenate([pred == y, of_copies == y[copies.of]])
            scores[name], errors[name] = judge.score(right)
            same, every = of_copies == pred[copies.of], np.arange(len(copies.of))
            (kept,) = compare([same], [("change", name, every)])
            flips[name] = kept.value
        best = max(scores, key=lambda name: scores[name])
        good = [name for name in scores if scores[name] >= scores[best] - errors[best]]
        return min(good, key=lambda name: flips[name]), scores

    # -- the chosen candidate -----------------------------------------------------------------

    def choose(self, candidates: Mapping[str, Unfitted], name: str | None, order: Order) -> None:
        """Fit every candidate and choose one: by name, or by the best label-free score."""
        hidden = None if order.verbose else True
        for each in tqdm(candidates, desc="candidates", delay=1, disable=hidden, leave=False):
            estimator, rows = candidates[each]
            clf, note = self.fit(estimator, rows, as_is=each == YOURS)
            self.candidates[each] = self.row(each, clf, rows, note)
        fitted, rows_of, self.scores = self.fitted, self.rows_of, dict[str, float]()
        if name == BY_CHANGE:
            among = [each for each in candidates if rows_of[each] == COPIES]
            among += [GROUP_BALANCED] * (rows_of.get(GROUP_BALANCED, LABELLED) != LABELLED)
            name, self.scores = self._chosen_by_change(
                [each for each in candidates if each in among]
            )
        if name is None:  # candidates whose rule flags too many neurons cannot be chosen
            sound = [each for each in candidates if not is_degenerate(fitted[each])]
            name = max(sound, key=lambda each: self.candidates[each].score)
        self.chosen, self.max_cost = name, order.max_cost
        self.candidates[name] = replace(self.candidates[name], chosen=True)
        masked = isinstance(fitted[name], NeuronTuneClassifier) and n_suppressed(fitted[name])
        of = name if masked else "neurontune"
        self.random = self.random_mask_row(fitted[of], order.n_random, rows_of[of])
        # Of groups that a person labelled, the labels may be unrelated to the errors.
        by_labels = rows_of[name] == LABELLED and self.known is not None and self.known.is_read
        learnable = fitted["auto"].recipe_ == "cell-balanced"
        self.share = order.interpolation
        self._judge_chosen(learnable and not (rows_of[name] == COPIES or by_labels))

    def _judge_chosen(self, learnable: bool) -> None:
        """Measure the accuracy cost of the chosen candidate, and choose its interpolation."""
        name = self.chosen
        self.clf = self.fitted[name]
        self.groups = self.reported = self.groups_of(self.clf)
        named: Sequence[Attribute] = ()
        if self.judges_by_change(self.clf):
            # With copies only where too few validation samples are in a group.
            named, self.reported = self.named, self.judge.reported
        self.balanced_over = None  # names of the attributes of these groups
        if self.groups is not None:
            self.balanced_over = " and ".join(each.name for each in named) or self.groups.name
        costs = self.costs_of(name, self.share)
        self.accuracy_costs = tuple(replace(each, named=self._named(each.t)) for each in costs)
        # Whether it balances groups that too few validation samples judge. Only the classes, or
        # groups that a shortcut helps, would then judge it.
        if self.rows_of[name] == LABELLED:
            read = self.known is not None and self.known.is_read
            self.unjudged = read and self.groups is None
        else:
            few = self.groups is not None and len(self.groups.names) <= len(self.classes)
            self.unjudged = few
        options = {"learnable": learnable, "largest_gain": self.one_set}
        among = [each for each in self.accuracy_costs if self.share in (None, each.t)]
        best = taken(() if self.unjudged else among, self.max_cost, **options)
        self.helped = best is not None
        self.accuracy_cost = best or among[-1]  # else of the whole new head
        t = self.accuracy_cost.t
        self.head = mixed(self.original, head_of(self.clf), t, self._scale)
        # Predictions of the evaluation set; cross-fitted on the validation set.
        self.after = (
            self.validation_predictions(name, t)
            if self.test is None
            else self.head.predict(self.test.X)
        )

    def outcome(self) -> RepairOutcome:
        """How the new head compares with the original one, by the groups of what was named."""
        where, read, t = "validation set", self.said, self.accuracy_cost.t
        rows = np.arange(len(self.train), len(self.train) + len(self.validation))
        y, before = self.validation.y, self.original.predict(self.validation.X) == self.validation.y
        after = self.validation_predictions(self.chosen, t) == y
        if self.known is not None and not self.one_set:  # training samples have labels as well
            of_train = np.empty_like(self.train.y)
            if self._mapped:
                of_train = self.head.predict(self.train.X)
            for head, unseen in () if self._mapped else self._train_heads(self.chosen):
                X = self.train.X[unseen]
                of_train[unseen] = mixed(self.original, head, t, self._scale).predict(X)
            y, rows = np.concatenate([self.train.y, y]), np.arange(len(self.train) + len(y))
            before, after = self._original_is_right, np.append(of_train == self.train.y, after)
        read = [each.take(rows) for each in read]
        by_copies = list[NamedGroups]()
        if self.invariance is not None and self.known is None:
            by_copies = [self._originals_and_copies((after, before), t)]
        named_on_test = self.known is None and (self.named_on_test or not self.named)
        if self.test is not None and named_on_test and (read or self.invariance is None):
            where, y, read = TEST, self.test.y, [*self.named_on_test]
            before, after = self.original.predict(self.test.X) == y, self.after == y
        right = after, before
        groups = self._groups(read, y, right, by_copies, rows)
        if not groups:
            of_classes = compare(right, [("class", str(k), y == k) for k in self.classes.tolist()])
            groups = [NamedGroups("class", tuple(of_classes), source="classes")]
        first = 0 if where == TEST else len(y) - len(self.validation)
        (average,) = compare(right, [("average", "average", np.arange(len(y)) >= first)])
        instead = by_copies[0].mean if by_copies else None
        fresh = self.share is None  # else a person may have chosen it by these samples
        return outcome_of(groups, average, where, self.max_cost, instead, fresh=fresh)

    def _groups(
        self,
        read: Sequence[Attribute],
        y: Array,
        right: tuple[Array, Array],
        by_copies: Sequence[NamedGroups] = (),
        rows: Array | None = None,
    ) -> list[NamedGroups]:
        """The groups of each named attribute and of all, or else of originals and copies.

        With labels of single samples, ``rows`` are the numbers of the samples in both sets.
        """
        copied = self.invariance is not None and self.known is None
        classes, fewest = self.classes.tolist(), FEWEST if copied else 1
        source: Source = "labelled" if self._estimated else "read"
        options: Any = {"source": source, "fewest": fewest, "told": self._told(y, rows)}
        pairs = zip(read, self.helped_cells, strict=True)
        groups = [named_groups(each, y, right, of, classes, **options) for each, of in pairs]
        if len(read) > 1:
            crossed = crossed_groups(read, y, right, self.helped_cells, classes)
            groups += [] if crossed.first is None else [crossed]
        if all(each.first is None for each in groups):
            groups += by_copies
        return groups

    @cached_property
    def _estimated(self) -> bool:
        """Whether labels tell groups that not every sample shows."""
        if self.known is None:
            return False
        values, label = self.known.attribute.value, self.study.both.y
        pairs = {*zip(label.tolist(), values.tolist(), strict=True)}
        of_one_class = len(pairs) == len({value for _, value in pairs})
        return of_one_class or not self.known.known.all()

    def _told(self, y: Array, rows: Array | None, *, of_train: bool = False) -> Told:
        """How groups are told: by their samples, or by labels of single ones among these rows.

        Labels tell the groups of the validation samples, or those ``of_train``.
        """
        if self.known is None or rows is None:
            return compare
        value = np.where(self.known.known, self.known.attribute.value, -1)
        # The model may know training samples by heart.
        counted = (rows >= len(self.train)) != of_train
        return Labelled(y, self.known.probabilities[rows], value[rows], counted).rows

    def _named(self, t: float) -> float | None:
        """The first number on validation samples at a share of the new head."""
        y, rows = self.validation.y, np.arange(len(self.train), len(self.study.both))
        after = self.validation_predictions(self.chosen, t) == y
        right = after, self.original.predict(self.validation.X) == y
        by_copies = list[NamedGroups]()
        if self.invariance is not None and self.known is None:
            by_copies = [self._originals_and_copies(right, t)]
        said = [each.take(rows) for each in self.said]
        if not all((each.value >= 0).any() for each in said):  # labels of training samples alone
            return None
        groups = deciding_groups(self._groups(said, y, right, by_copies, rows))
        means = [each.first or each.mean for each in groups if each.filled]
        return min((mean.value for mean in means), default=None)

    def validation_rows(
        self, *, cross_fitted: bool = True
    ) -> tuple[Row, list[Row], list[NamedGroups]]:
        """The average, the classes and the named groups on validation samples."""
        y, classes = self.validation.y, self.classes.tolist()
        after = self.head.predict(self.validation.X) == y
        if cross_fitted:
            after = self.validation_predictions(self.chosen, self.accuracy_cost.t) == y
        right = after, self.original.predict(self.validation.X) == y
        average, *of_classes = compare(
            right,
            [("average", "average", y == y), *(("class", str(k), y == k) for k in classes)],
        )
        rows, said = np.arange(len(self.train), len(self.study.both)), list[NamedGroups]()
        if self.known is None:
            for each, helped in zip(self.named, self.helped_cells, strict=True):
                said.append(named_groups(each.take(rows), y, right, helped, classes))
        return average, of_classes, said

    def sizes_on_test(self) -> dict[str, int]:
        """Samples of the test set, of its classes and named groups; empty without one."""
        if self.test is None:
            return {}
        y, none = self.test.y, np.zeros(len(self.test.y), dtype=bool)
        groups = self._groups(self.named_on_test, y, (none, none)) if self.named_on_test else []
        rows = [row for each in groups for row in each.rows]
        sizes = {str(k): int((y == k).sum()) for k in self.classes.tolist()}
        return sizes | {str(row.name): row.n for row in rows} | {"average": len(y)}

    @cached_property
    def said(self) -> list[Attribute]:
        """What a person named, as samples show it or as labels say it; not what is inferred."""
        if self.known is None:
            return [*self.named]
        labels = self.known.attribute
        return [replace(labels, value=np.where(self.known.known, labels.value, -1))]

    @cached_property
    def helped_cells(self) -> list[frozenset[Cell]]:
        """For each of these attributes, the groups in which the shortcut helps the original."""
        # Of a rare value there may be too few validation samples to tell. Changed copies show it,
        # and the training samples have more of it. A model that knows these by heart is right on
        # all, so they are not joined with the others.
        n, both, found = len(self.train), self.study.both, list[frozenset[Cell]]()
        for at, each in enumerate(self.said):
            helped = frozenset[Cell]()
            for of_train in (True, False)[not n :]:
                rows = np.arange(n) if of_train else np.arange(n, len(both))
                of, y, right = each.take(rows), both.y[rows], self._original_is_right[rows]
                if self.known is not None:  # labels of both sets tell of each
                    of, y, right = each, both.y, self._original_is_right
                elif self.invariance is not None and not of_train:
                    copies = self.invariance.validation.one_of_each(at)
                    of = replace(of, value=np.append(of.value, copies.values[:, at]))
                    of_copies = self.original.predict(copies.Z) == y[copies.of]
                    y, right = np.append(y, y[copies.of]), np.append(right, of_copies)
                told = self._told(y, np.arange(len(both)), of_train=of_train)
                helped |= helped_groups(of, y, right, told)
            found.append(helped)
        return found

    @cached_property
    def _original_is_right(self) -> Array:
        """Whether the original head is right on each training and validation sample."""
        parts = (self.validation,) if self.one_set else (self.train, self.validation)
        return np.concatenate([self.original.predict(part.X) == part.y for part in parts])

    def is_helped(self) -> Array:
        """Whether a shortcut helps the group of each training and validation sample."""
        y, helped = self.study.both.y, np.zeros(len(self.study.both), dtype=bool)
        said = self.said if self.known is None else [self.known.attribute]  # inferred ones as well
        if not said and self.invariance is not None:
            of_class = [label for label, which in self._with_copies[2] if which == _ORIGINAL]
            return np.isin(y, of_class)
        for each, cells in zip(said, self.helped_cells, strict=True):
            for label, value in cells:
                helped |= (y == label) & (each.value == each.names.index(value))
        return helped

    @cached_property
    def _with_copies(self) -> tuple[CopiesOf, Attribute, frozenset[Cell]]:
        """A copy of each validation sample, which samples are copies, and the helped groups."""
        assert self.invariance is not None
        copies, y = self.invariance.validation.one_of_each(), self.validation.y
        number = np.repeat([0, 1], [len(y), len(copies.of)])
        which = Attribute("copies", number, (_ORIGINAL, "changed"))
        X, labels = (self.validation.X[:], copies.Z), np.append(y, y[copies.of])
        right = np.concatenate([self.original.predict(part) for part in X]) == labels
        return copies, which, helped_groups(which, labels, right)

    def _originals_and_copies(self, right: tuple[Array, Array], t: float) -> NamedGroups:
        """Validation samples of each class, and one copy of each, as groups."""
        copies, which, helped = self._with_copies
        y, of = self.validation.y, copies.of
        pred = np.empty_like(y, shape=len(of))
        for half, (_, scored) in zip(self._half_heads[self.chosen], self.halves, strict=True):
            rows = np.isin(of, scored)
            pred[rows] = mixed(self.original, half, t, self._scale).predict(copies.Z[rows])
        outcomes = pred == y[of], self.original.predict(copies.Z) == y[of]
        after, before = map(np.append, right, outcomes)
        labels, classes = np.append(y, y[of]), self.classes.tolist()
        groups = named_groups(which, labels, (after, before), helped, classes, "copies")
        assert self.invariance is not None
        if all(change.unrelates for change in self.invariance.changes):
            of_class = compare(outcomes, [("class", str(k), y[of] == k) for k in classes])
            groups = replace(groups, of_parts=mean_of_rows([row for row in of_class if row.n]))
        return groups

    def table(self, original: str) -> tuple[Candidate, ...]:
        """All rows: the original head, controls, random masks, then the methods."""
        old, pred = self.original, self.original.predict(self.validation.X)
        first = Candidate(name=original, n_suppressed=0, **self.rated(old, pred))
        first = self._with_named(first, pred, lambda: old.predict(self.judge.copies.Z))
        rows = list[Candidate]()
        for name, row in self.candidates.items():
            t = self.accuracy_cost.t if name == self.chosen else 1.0
            pred = self.validation_predictions(name, t)
            if t != 1:  # the row of the head that is written
                row = replace(row, share=t, **self.rated(self.head, pred))
            rows.append(self._with_named(row, pred, partial(self.copy_predictions, name, t)))
        controls = [row for row in rows if not row.name.startswith(_METHODS)]
        return (first, *controls, self.random, *(r for r in rows if r.name.startswith(_METHODS)))

    def _with_named(self, row: Candidate, pred: Array, of_copies: Callable[[], Array]) -> Candidate:
        groups = self.reported
        if groups is None:
            return row
        y = self.validation.y
        right = pred == y
        if len(groups) > len(y):
            right = np.append(right, of_copies() == y[self.judge.copies.of])
        return replace(row, worst_named=min(each.value for each in groups.rows(right)))


def _moments(X: Array) -> tuple[Array, Array]:
    """Mean and deviation of each neuron; 1 for a constant one."""
    mean, squares, varies = X.mean(axis=0, dtype=np.float64), 0.0, False
    step = max(1, rows_per_chunk(X, 0) // 8)  # each block is in float64
    for start in range(0, len(X), step):
        block = X[start : start + step]
        squares += ((block - mean) ** 2).sum(axis=0)
        varies |= (block != X[0]).any(axis=0)
    std = np.sqrt(squares / len(X))
    # The computed deviation of a constant neuron may be a rounding error above 0.
    return mean, np.where(varies & (std > 0), std, 1.0)


def _with_copies_as_rows(study: Study) -> Study:
    """A study with the copies as further rows; row and copy are changed forms of each other."""
    assert study.changed is not None
    train, n = study.train, len(study.train)
    rows, change = np.nonzero(~np.isnan(study.changed[:, :, 0]))
    copies = study.changed[rows, change]
    n_copies = np.bincount(rows, minlength=n)[rows]  # all copies of a row weigh as much as the row
    more = Rows(copies, train.y_index[rows], train.weight[rows] / n_copies, train.classes)
    of_copies = np.full((len(copies), *study.changed.shape[1:]), np.nan, study.changed.dtype)
    of_copies[:, 0] = train.X[rows]
    values = study.values
    if values is not None and study.changed_values is not None:
        values = np.concatenate([values[:n], study.changed_values[rows, change]])
    changed = np.concatenate([study.changed[:n], of_copies])
    folds = None if study.folds is None else np.append(study.folds[:n], study.folds[rows])
    return Study(train.and_then(more), values=values, changed=changed, folds=folds)


def _decided(clf: Any, rows: str) -> Any:
    """An unfitted candidate for other rows, with the decisions of its first fit."""
    chosen: dict[str, Any] = {}
    if isinstance(clf, AutoDebiasClassifier):
        chosen = {"recipe": clf.recipe_, "alphas": (clf.alpha_,)}
    elif isinstance(clf, InvariantClassifier) and rows == COPIES:
        chosen = {"penalties": (clf.penalty_,), "alphas": (clf.alpha_,)}
    elif isinstance(clf, NeuronTuneClassifier) and clf.solver == "optimum":
        chosen = {"C": clf.C_}  # on standardised embeddings
    return clone(clf).set_params(**chosen)
