"""Fit the candidates, score them without group labels, rate them, and choose one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from ntkit._disk import scratch
from ntkit._types import Array
from ntkit.attributes import FEWEST, Attribute
from ntkit.estimators import (
    AutoDebiasClassifier,
    DFRClassifier,
    InvariantClassifier,
    StudyClassifier,
    head_of,
    retrain_head,
)
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.head import LinearHead
from ntkit.jobs.debias._accuracy_cost import (
    MAX_COST,
    AccuracyCost,
    accuracy_cost_of,
    mixed,
    steps,
    taken,
)
from ntkit.jobs.debias._candidates import (
    BY_CHANGE,
    DEFAULT_SCORE,
    GROUP_BALANCED,
    Candidate,
    LabelledEmbeddings,
    Setting,
    is_degenerate,
    n_suppressed,
)
from ntkit.jobs.debias._invariance import CopiesOf, Invariance
from ntkit.jobs.debias._judge import Judge, Likeness, judge_of, likeness_of
from ntkit.jobs.debias._named_attributes import CompletedGroups
from ntkit.metrics import group_report, named_score, worst_class_accuracy, worst_group_accuracy
from ntkit.solver import is_mapped, rows_per_chunk
from ntkit.study import ERM_ALPHA, LARGE, Rows, Study, digest

AT_A_COST = "Accepted at a cost."
_SAME = 1e-9
_TRAIN_FOLDS = 3


@dataclass(frozen=True)
class Decision:
    """A candidate's head, interpolated with the original one, and its accuracy cost."""

    accuracy_costs: tuple[AccuracyCost, ...]
    accuracy_cost: AccuracyCost
    helped: bool
    head: LinearHead


class Comparison:
    """Fits candidates on the same data and rates them in the same way."""

    # Embeddings are standardised on the training set, so that the penalty has the same effect on
    # every neuron. on_raw_embeddings folds the scale back into a head. The validation set
    # identifies neurons, retrains some candidates, and scores all of them. To score candidates on
    # unseen samples, ntkit fits with one half of the validation set and predicts the other half.

    def __init__(
        self,
        train: LabelledEmbeddings,
        validation: LabelledEmbeddings,
        test: LabelledEmbeddings | None,
        *,
        head: LinearHead | None,
        C: float | None = None,
        select: str = DEFAULT_SCORE,
        seed: int = 0,
        named: Sequence[Attribute] = (),
        known: CompletedGroups | None = None,
        invariance: Invariance | None = None,
        judged_by: Sequence[Attribute] = (),
    ) -> None:
        self.mean = train.Z.mean(axis=0, dtype=np.float64)
        std = np.sqrt(
            sum(((Z - self.mean) ** 2).sum(axis=0) for Z in _parts(train.Z)) / len(train.Z)
        )
        # The computed deviation of a constant neuron may be a rounding error above 0.
        varies = train.Z.max(axis=0) > train.Z.min(axis=0)
        self.std = np.where(varies & (std > 0), std, 1.0)
        self._mapped = is_mapped(train.Z) and train.Z.nbytes > LARGE
        self.train, self.validation = self._standardized(train), self._standardized(validation)
        self.test = None if test is None else self._standardized(test)
        classes = np.unique(self.train.y)
        train_rows, validation_rows = (
            Rows.of(part.Z, part.y, classes=classes) for part in (self.train, self.validation)
        )
        sides = np.stack([each.value for each in named], axis=1) if named else None
        self.named, self.known = named, known
        self.invariance, self.judged_by = None, tuple(judged_by)
        self.study = self.with_copies = Study(train_rows, validation_rows, sides)
        if invariance is not None:
            self.invariance = replace(
                invariance,
                train=replace(invariance.train, Z=self._scaled(invariance.train.Z)),
                validation=replace(invariance.validation, Z=self._scaled(invariance.validation.Z)),
            )
            self.with_copies = replace(
                self.study,
                changed=self.invariance.changed(len(self.train.y), len(self.validation.y)),
                folds=self.invariance.folds,
                changed_values=self._values_of_copies(),
            )
        self.C = C
        self.select = select
        self.seed = seed
        self._chosen_C: dict[tuple[str, bool], float] = {}
        self._half_heads: dict[str, list[LinearHead]] = {}
        self._of_halves: dict[Any, Study] = {}
        n = len(self.train.y)
        if head is None:
            # Without class weights, a head with a strong penalty predicts only the larger class.
            C_erm = self._C("train", cells=False)
            if C is None:
                C_erm = max(C_erm, 1 / (ERM_ALPHA * n))
            self.original = retrain_head(self.train.Z, self.train.y, class_weight=None, C=C_erm)
        else:
            self.original = head.scaled(self.std, -self.mean / self.std)
        reference = retrain_head(self.train.Z, self.train.y, C=1 / n if C is None else C)
        self.reference_proba = reference.predict_proba(self.validation.Z)
        self.classes = reference.classes
        self.halves = self._halves()

    def fit(self, setting: Setting, validation: Array | None = None) -> tuple[Any, str]:
        """Fit a copy of a candidate's estimator; returns it with its warnings."""
        study = self._study_with(validation, by_change=setting.by_change)
        if setting.by_change and validation is None:  # validation rows judge, so they do not tune
            none = np.zeros(0, dtype=np.intp)
            of_train = replace(study.take(validation=none), validation=None)
            tuned, _ = self._fitted(setting, of_train)
            setting = _decided(setting, tuned)
        if setting.partly_known and self.known is not None:
            return self.known.fit(self._set(setting), study, validation), ""
        return self._fitted(setting, study)

    def _set(self, setting: Setting) -> Any:
        """A copy of a candidate's estimator, with the parameters that the comparison sets."""
        clf = clone(setting.estimator)
        decided: dict[str, Any] = {"head": self.original}
        if not setting.as_is:
            decided |= {"random_state": self.seed, "C": self.C}
            if setting.partly_known or setting.by_change:
                decided["C"] = self.C or clf.get_params(deep=False).get("C")
            elif "C" in clf.get_params(deep=False):
                by_cells = getattr(clf, "error_weight", 1) == "balanced"
                decided["C"] = self._C(setting.rows, cells=by_cells)
        known = clf.get_params(deep=False)
        return clf.set_params(**{name: decided[name] for name in decided if name in known})

    def _fitted(self, setting: Setting, study: Study) -> tuple[Any, str]:
        """Fit a copy of a candidate's estimator on a study; returns it with its warnings."""
        clf, study = self._set(setting), self.study_of(setting, study)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SuppressionWarning)
            if isinstance(clf, StudyClassifier):
                clf.fit_study(study)
            else:
                validation = {}
                if study.validation is not None and "X_val" in signature(clf.fit).parameters:
                    y_val = study.classes[study.validation.y_index]
                    validation = {"X_val": study.validation.X, "y_val": y_val}
                clf.fit(study.train.X, study.classes[study.train.y_index], **validation)
        notes = []
        for warning in caught:
            if issubclass(warning.category, SuppressionWarning):
                notes.append(str(warning.message))
            else:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        return clf, " ".join(notes) if n_suppressed(clf) or is_degenerate(clf) else ""

    def study_of(self, setting: Setting, study: Study) -> Study:
        """The part of a study for fitting a candidate."""
        study = study.on(setting.rows)
        if not setting.by_change:
            return study
        if not setting.groups:
            study = replace(study, values=None)
        return _with_copies_as_rows(study) if setting.copies_as_rows else study

    def _study_with(self, validation: Array | None, *, by_change: bool = False) -> Study:
        """The study with all rows of the validation set, or with some."""
        whole = self.with_copies if by_change else self.study
        if validation is None:
            return whole
        key = digest(validation), by_change
        if key not in self._of_halves:
            self._of_halves[key] = whole.take(validation=validation)
        return self._of_halves[key]

    def row(self, name: str, setting: Setting, clf: Any, note: str = "") -> Candidate:
        """Rate a fitted candidate; its validation score needs two more fits."""
        decided = _decided(setting, clf)
        self._half_heads[name] = [head_of(self.fit(decided, seen)[0]) for seen, _ in self.halves]
        return Candidate(
            name=name,
            n_suppressed=n_suppressed(clf),
            note=note,
            **self._rated(head_of(clf), self.validation_predictions(name)),
        )

    def interpolated_row(
        self, row: Candidate, head: LinearHead, validation_pred: Array, t: float
    ) -> Candidate:
        """Row of a candidate after its head was interpolated with the original one."""
        return replace(row, share=t, **self._rated(head, validation_pred))

    def validation_predictions(self, name: str, t: float = 1.0) -> Array:
        """Predict each half of the validation set by a fit with the other half."""
        pred = np.empty_like(self.validation.y)
        for half, (_, scored) in zip(self._half_heads[name], self.halves, strict=True):
            head = mixed(self.original, half, t, self.train.Z)
            pred[scored] = head.predict(self.validation.Z[scored])
        return pred

    def copy_predictions(self, name: str, t: float = 1.0) -> Array:
        """Predict each copy of the validation set by a fit without its original."""
        copies = self.judge.copies
        pred = np.empty_like(self.validation.y, shape=len(copies.of))
        for half, (_, scored) in zip(self._half_heads[name], self.halves, strict=True):
            head = mixed(self.original, half, t, self.train.Z)
            rows = np.isin(copies.of, scored)
            pred[rows] = head.predict(copies.Z[rows])
        return pred

    def copies_right(self, name: str, t: float = 1.0) -> Array:
        """Whether the prediction of each copy is right."""
        return np.asarray(self.copy_predictions(name, t) == self.validation.y[self.judge.copies.of])

    def train_predictions(self, setting: Setting, clf: Any, t: float) -> Array:
        """Cross-fitted predictions of training rows, with the candidate's interpolation."""
        # For large mapped embeddings and partly known groups, the candidate itself predicts them.
        old, train = self.original, self.train
        if setting.rows == "validation" or setting.partly_known or self._mapped:
            return mixed(old, head_of(clf), t, train.Z).predict(train.Z)
        pred = np.empty_like(train.y)
        for head, unseen in self._train_heads(setting, clf):
            pred[unseen] = mixed(old, head, t, train.Z).predict(train.Z[unseen])
        return pred

    def _train_heads(self, setting: Setting, clf: Any) -> Iterator[tuple[LinearHead, Array]]:
        """Cross-fitted heads of a candidate, and the training rows left out of each fit."""
        # With copies, a row and the donor of its copy are in the same fold.
        n = len(self.train.y)
        whole = self.with_copies if setting.by_change else self.study
        if self.with_copies.folds is not None:
            part = self.with_copies.folds[:n]
            folds = [
                (np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in np.unique(part)
            ]
        else:
            splitter = StratifiedKFold(_TRAIN_FOLDS, shuffle=True, random_state=self.seed)
            folds = list(splitter.split(np.zeros(n), self.train.y))
        for seen, unseen in folds:
            study = whole.take(train=seen)
            yield head_of(self._fitted(_decided(setting, clf), study)[0]), unseen

    # -- candidates by change ----------------------------------------------------------------

    @cached_property
    def _likeness(self) -> dict[str, Likeness]:
        """For each change, whether copies are similar to the real samples of their groups."""
        inv = self.invariance
        if inv is None or not self.judged_by:
            return {}
        n = len(self.train.y)
        parts = (inv.train, inv.validation)
        joined = CopiesOf(
            np.concatenate([part.Z for part in parts]),
            np.concatenate([inv.train.of, n + inv.validation.of]),
            np.concatenate([part.change for part in parts]),
            np.concatenate([part.values for part in parts]),
        )
        y = np.concatenate([self.train.y, self.validation.y])
        Z = np.concatenate([self.train.Z, self.validation.Z])
        titles = [change.name for change in inv.changes]
        values = self._judging_values
        return likeness_of(y, Z, values, self.judged_by, joined, titles, self.seed)

    @property
    def _judging_values(self) -> Array:
        n = len(self.train.y) + len(self.validation.y)
        each = [attribute.value for attribute in self.judged_by]
        return np.stack(each, axis=1) if each else np.zeros((n, 0), dtype=int)

    def _values_of_copies(self) -> Array:
        """Value of each named attribute of each row's copies, −1 if unknown."""
        inv, n = self.invariance, len(self.train.y)
        assert inv is not None
        shape = (n + len(self.validation.y), len(inv.changes), len(self.named))
        values = np.full(shape, -1)
        for part, first in ((inv.train, 0), (inv.validation, n)):
            values[first + part.of, part.change] = part.values[:, : len(self.named)]
        return values

    def _judge(self, which: str) -> Judge:
        assert self.invariance is not None
        n = len(self.train.y)
        rows = slice(0, n) if which == "train" else slice(n, None)
        y = self.train.y if which == "train" else self.validation.y
        values = self._judging_values[rows] if self.judged_by else None
        titles = [change.name for change in self.invariance.changes]
        copies = getattr(self.invariance, which)
        return judge_of(y, values, self.judged_by, copies, titles, self._likeness)

    @cached_property
    def judge(self) -> Judge:
        """The groups that judge a repair by change on validation samples."""
        return self._judge("validation")

    def veto(self, name: str, t: float) -> str:
        """Reason for rejecting a head if small groups lose real samples; else an empty text."""
        small = self.judge.small
        y = self.validation.y[small]
        before = self.original.predict(self.validation.Z[small]) == y
        after = self.validation_predictions(name, t)[small] == y
        if after.sum() >= before.sum():
            return ""
        return (
            f"{name} loses accuracy in small groups: {int(before.sum())} → {int(after.sum())} of "
            f"{len(y)} real validation samples are right. Write it anyway: --even-if-worse"
        )

    def chosen_by_change(
        self, settings: Mapping[str, Setting], fitted: Mapping[str, Any]
    ) -> tuple[str, dict[str, float]]:
        """The best candidate by cross-fitted predictions of training rows and their copies."""
        # Among candidates within one standard error of the best, the predictions of the chosen one
        # flip least, because a person said that the changes do not matter.
        judge, train = self._judge("train"), self.train
        copies, y = judge.copies, train.y
        scores, errors, flips = dict[str, float](), dict[str, float](), dict[str, float]()
        for name, setting in settings.items():
            pred, of_copies = np.empty_like(y), np.empty_like(y, shape=len(copies.of))
            for head, unseen in self._train_heads(setting, fitted[name]):
                pred[unseen] = head.predict(train.Z[unseen])
                rows = np.isin(copies.of, unseen)
                of_copies[rows] = head.predict(copies.Z[rows])
            right = np.concatenate([pred == y, of_copies == y[copies.of]])
            scores[name], errors[name] = judge.score(right)
            flips[name] = float((of_copies != pred[copies.of]).mean())
        best = max(scores, key=lambda name: scores[name])
        good = [name for name in scores if scores[name] >= scores[best] - errors[best]]
        return min(good, key=lambda name: flips[name]), scores

    def right(self, name: str, train_predictions: Array, t: float) -> tuple[Array, Array]:
        """Correct training and validation predictions of the original and of the new head."""
        parts = (self.train, self.validation)
        y = np.concatenate([part.y for part in parts])
        before = np.concatenate([self.original.predict(part.Z) for part in parts])
        after = np.concatenate([train_predictions, self.validation_predictions(name, t)])
        return before == y, after == y

    def accuracy_costs(self, name: str, clf: Any) -> tuple[AccuracyCost, ...]:
        """Accuracy costs of a rated candidate, and of its interpolations with the original."""
        # An interpolation would use suppressed neurons again. So there is none for a candidate
        # with a mask.
        validation, old = self.validation, self.original
        cost_of = partial(
            accuracy_cost_of,
            y=validation.y,
            old_logits=old.logits(validation.Z),
            classes=old.classes,
            groups=validation.groups,
            balanced=self.groups_of(clf),
            by_groups=self.known is None or self.known.is_read,
        )
        shares = (0.0, 1.0) if n_suppressed(clf) else steps()
        costs = list[AccuracyCost]()
        for t in shares:
            copies = None
            if self.judges_by_change(clf):
                copies = (self._copies_right_before, self.copies_right(name, t))
            costs.append(cost_of(t, pred=self.validation_predictions(name, t), copies=copies))
        return tuple(costs)

    @cached_property
    def _copies_right_before(self) -> Array:
        copies = self.judge.copies
        return np.asarray(self.original.predict(copies.Z) == self.validation.y[copies.of])

    def judges_by_change(self, clf: Any) -> bool:
        """Whether real groups and copies judge a candidate."""
        return self.invariance is not None and not isinstance(clf, DFRClassifier)

    def groups_of(self, clf: Any) -> Attribute | None:
        """Validation groups that a fitted candidate is balanced over; None without any."""
        if isinstance(clf, DFRClassifier) and self.known is not None:
            return self.known.judging()
        if self.judges_by_change(clf):
            return self.judge.groups
        if getattr(clf, "values_", None) is None or not self.named:
            return None
        rows = np.arange(len(self.train.y), len(self.named[0]))
        first, *others = (each.take(rows) for each in self.named)
        return first.crossed(self.validation.y, *others, fewest=FEWEST)

    def decided(
        self, name: str, clf: Any, *, max_cost: float = MAX_COST, learnable: bool
    ) -> Decision:
        """Interpolate a rated candidate with the original head, up to the last share that helps."""
        accuracy_costs = self.accuracy_costs(name, clf)
        accuracy_cost = taken(accuracy_costs, max_cost, learnable=learnable)
        used = accuracy_cost or accuracy_costs[-1]
        head = mixed(self.original, head_of(clf), used.t, self.train.Z)
        return Decision(accuracy_costs, used, helped=accuracy_cost is not None, head=head)

    def original_row(self, name: str) -> Candidate:
        """Rate the original head."""
        pred = self.original.predict(self.validation.Z)
        return Candidate(name=name, n_suppressed=0, **self._rated(self.original, pred))

    def random_mask_row(self, clf: Any, n_masks: int, setting: Setting) -> Candidate:
        """Rate random masks of a candidate's size, retrained with the candidate's weights."""
        study = self._study_with(None, by_change=setting.by_change)
        rows = self.study_of(setting, study).train
        rng = np.random.default_rng(self.seed)
        non_constant, size = np.flatnonzero(clf.non_constant_), int(clf.suppressed_.sum())
        masks = []
        for _ in range(n_masks):
            mask = np.zeros(len(clf.non_constant_), dtype=bool)
            mask[rng.choice(non_constant, size, replace=False)] = True
            head = retrain_head(
                rows.X,
                self.study.classes[rows.y_index],
                sample_weight=clf.tuning_weight_,
                class_weight=None,
                suppressed=mask,
                C=clf.C or 1 / (float(clf.tuning_weight_.sum()) * clf.alpha_),
            )
            rated = self._rated(head, head.predict(self.validation.Z))
            masks.append({k: v for k, v in rated.items() if v is not None})
        mean: dict[str, Any] = {k: float(np.mean([each[k] for each in masks])) for k in masks[0]}
        spread = {k: float(np.std([each[k] for each in masks])) for k in masks[0]}
        return Candidate(
            name=f"random mask of {size}",
            n_suppressed=size,
            spread=spread,
            **({"worst_group": None} | mean),
        )

    def on_raw_embeddings(self, head: LinearHead) -> LinearHead:
        """Fold the standardisation into a head."""
        return head.scaled(1 / self.std, self.mean)

    def _C(self, rows: str, *, cells: bool) -> float:
        """The user's penalty, or the one that "auto" would choose for these rows and weights."""
        if self.C is not None:
            return self.C
        if (rows, cells) not in self._chosen_C:
            recipe = "cell-balanced" if cells else "class-balanced"
            study = self.study.on(rows)
            if rows == "train":  # without the validation set
                study = replace(study, validation=None)
            clf = AutoDebiasClassifier(recipe=recipe, random_state=self.seed).fit_study(study)
            n = len(study.train.weight)
            self._chosen_C[rows, cells] = 1 / (clf.alpha_ * n)
        return self._chosen_C[rows, cells]

    def _halves(self) -> list[tuple[Array, Array]]:
        """Two halves of the validation set, stratified by class."""
        y = self.validation.y
        _, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            raise InputError(
                "The validation set needs at least 2 samples of each class: half of them score "
                "neurons, half choose. Add samples."
            )
        splitter = StratifiedKFold(2, shuffle=True, random_state=self.seed)
        return [(seen, scored) for seen, scored in splitter.split(np.zeros(len(y)), y)]

    def _scaled(self, Z: Array) -> Array:
        """Embeddings of copies, standardised like the training set."""
        return np.asarray((Z - self.mean) / self.std, dtype=Z.dtype)

    def _standardized(self, samples: LabelledEmbeddings) -> LabelledEmbeddings:
        large = self._mapped or (is_mapped(samples.Z) and samples.Z.nbytes > LARGE)
        Z = scratch(samples.Z.shape, samples.Z.dtype) if large else np.empty_like(samples.Z)
        for part, raw in zip(_parts(Z), _parts(samples.Z), strict=True):
            part[:] = (raw - self.mean) / self.std
        return LabelledEmbeddings(Z, samples.y, samples.groups)

    def _rated(self, head: LinearHead, validation_pred: Array) -> dict[str, Any]:
        rows = self.validation if self.test is None else self.test
        pred = validation_pred if self.test is None else head.predict(rows.Z)
        y, groups = rows.y, rows.groups
        return {
            "score": named_score(
                self.select,
                self.validation.y,
                validation_pred,
                Z=self.validation.Z,
                reference_pred=self.classes[self.reference_proba.argmax(axis=1)],
                reference_proba=self.reference_proba,
                classes=self.classes,
            ),
            "average": float((pred == y).mean()),
            "worst_class": worst_class_accuracy(y, pred),
            "worst_group": None if groups is None else worst_group_accuracy(y, pred, groups=groups),
        }


def _with_copies_as_rows(study: Study) -> Study:
    """A study with the copies as further rows; row and copy are changed forms of each other."""
    assert study.changed is not None
    n = len(study.train.weight)
    rows, change = np.nonzero(~np.isnan(study.changed[:, :, 0]))
    copies = study.changed[rows, change]
    n_copies = np.bincount(rows, minlength=n)[rows]  # all copies of a row weigh as much as the row
    of_copy = study.train.weight[rows] / n_copies
    train = study.train.and_then(Rows(copies, study.train.y_index[rows], of_copy, study.classes))
    of_copies = np.full((len(copies), *study.changed.shape[1:]), np.nan, study.changed.dtype)
    of_copies[:, 0] = study.train.X[rows]
    values = study.values
    if values is not None and study.changed_values is not None:
        values = np.concatenate([values[:n], study.changed_values[rows, change]])
    changed = np.concatenate([study.changed[:n], of_copies])
    folds = None if study.folds is None else np.append(study.folds[:n], study.folds[rows])
    return Study(train, values=values, changed=changed, folds=folds)


def _decided(setting: Setting, clf: Any) -> Setting:
    """A candidate for fits on other rows, with the decisions of "auto" fixed."""
    if setting.by_change:
        if isinstance(clf, InvariantClassifier):
            chosen: dict[str, Any] = {"penalties": (clf.penalty_,), "alphas": (clf.alpha_,)}
        elif isinstance(clf, AutoDebiasClassifier):
            chosen = {"alphas": (clf.alpha_,), "baseline_alpha": clf.baseline_alpha_}
        else:  # on standardised embeddings
            C = clf.C or 1 / (clf.alpha_ * float(clf.tuning_weight_.sum()))
            chosen = {"C": C}
        return replace(setting, estimator=clone(clf).set_params(**chosen))
    if not isinstance(clf, AutoDebiasClassifier):
        return setting
    decided = clone(clf).set_params(
        recipe=clf.recipe_, alphas=(clf.alpha_,), baseline_alpha=clf.baseline_alpha_
    )
    return replace(setting, estimator=decided)


def _parts(Z: Array) -> Iterator[Array]:
    """Views of some rows at a time, to limit the memory of computations."""
    step = max(1, rows_per_chunk(Z, 0) // 8)
    for start in range(0, len(Z), step):
        yield Z[start : start + step]


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracies of the original and the new head, in [0, 1]."""

    where: str
    what: str
    worst_before: float
    worst_after: float
    average_before: float
    average_after: float
    sure: bool

    @property
    def verdict(self) -> str:
        """The change in a few words; "Better" only if worst group and average did not fall."""
        worst = self.worst_after - self.worst_before
        average = self.average_after - self.average_before
        if min(worst, average) >= -_SAME and max(worst, average) > _SAME:
            return "Better." if self.sure else "Better, but chance may explain the difference."
        if worst > _SAME:
            return AT_A_COST
        if max(abs(worst), abs(average)) <= _SAME:
            return f"Written, with equal accuracies on the {self.where}."
        return f"Written, but accuracies are lower on the {self.where}."

    def sentence(self, by: str = "") -> str:
        """The accuracies in a sentence; ``by`` names the head if it is not the written one."""
        return (
            f"{self.where.capitalize()}{by}, {self.what}: {100 * self.worst_before:.1f} → "
            f"{100 * self.worst_after:.1f} %; average: {100 * self.average_before:.1f} → "
            f"{100 * self.average_after:.1f} %."
        )


@dataclass(frozen=True)
class Choice:
    """The candidates of a run, and the chosen one."""

    comparison: Comparison
    fitted: Mapping[str, Any]
    rows: Mapping[str, Candidate]
    random: Candidate
    name: str
    setting: Setting
    decision: Decision
    groups: Attribute | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def clf(self) -> Any:
        """The chosen estimator."""
        return self.fitted[self.name]

    @property
    def rated(self) -> LabelledEmbeddings:
        """The evaluation set: test samples, or validation samples without a test set."""
        return self.comparison.test or self.comparison.validation

    @cached_property
    def after(self) -> Array:
        """Predictions of the evaluation set; cross-fitted by halves on the validation set."""
        if self.comparison.test is None:
            return self.comparison.validation_predictions(self.name, self.decision.accuracy_cost.t)
        return self.decision.head.predict(self.rated.Z)

    def change(self) -> AccuracyChange:
        """Accuracies of the worst group or class, and averages, before and after."""
        # Without a test set, these are the groups of the validation set that judge the head.
        rated, before = self.rated, self.comparison.original.predict(self.rated.Z)
        where, groups = "test set", rated.groups
        y, after = rated.y, self.after
        average = group_report(y, after, y_pred_before=before).summary("average")
        if self.comparison.test is None:
            where = "validation set"
            if self.groups is not None:
                groups = self.groups.labels
                y, before, after = self._with_copies(y, before, after)
        report = group_report(y, after, groups=groups, y_pred_before=before)
        worst = report.worst_group
        low, high = worst.change_interval or (0.0, 0.0)
        return AccuracyChange(
            where,
            str(worst.label),
            float(worst.accuracy_before or 0.0),
            worst.accuracy,
            float(average.accuracy_before or 0.0),
            average.accuracy,
            low > 0 or high < 0,
        )

    def _with_copies(self, y: Array, before: Array, after: Array) -> tuple[Array, Array, Array]:
        """Labels and predictions of validation samples, and of copies with groups."""
        comparison, groups = self.comparison, self.groups
        if groups is None or len(groups) == len(y) or comparison.invariance is None:
            return y, before, after
        copies = comparison.judge.copies
        t = self.decision.accuracy_cost.t
        return (
            np.concatenate([y, y[copies.of]]),
            np.concatenate([before, comparison.original.predict(copies.Z)]),
            np.concatenate([after, comparison.copy_predictions(self.name, t)]),
        )

    def notes_on_groups(self) -> list[str]:
        """Sentences on partly known groups."""
        comparison, known = self.comparison, self.comparison.known
        if known is None:
            return []
        notes = [known.source_note(), known.partly.left]
        if isinstance(self.clf, DFRClassifier):
            train_predictions = self.decision.head.predict(comparison.train.Z)
            t = self.decision.accuracy_cost.t
            notes.append(known.worst_known(*comparison.right(self.name, train_predictions, t)))
        return [*filter(None, notes)]

    def table(self, original: str) -> tuple[Candidate, ...]:
        """All rows: the original head, controls, random masks, then the methods."""
        comparison, methods = (
            self.comparison,
            ("neurontune", "auto", "yours", "copies", "groups and copies"),
        )
        first = self._with_named(
            comparison.original_row(original),
            comparison.original.predict(comparison.validation.Z),
            lambda: comparison.original.predict(comparison.judge.copies.Z),
        )
        rows = list[Candidate]()
        for name, row in self.rows.items():
            t = self.decision.accuracy_cost.t if name == self.name else 1.0
            pred = comparison.validation_predictions(name, t)
            if t != 1:  # the row of the head that is written
                row = comparison.interpolated_row(row, self.decision.head, pred, t)
            rows.append(self._with_named(row, pred, partial(comparison.copy_predictions, name, t)))
        controls = [row for row in rows if not row.name.startswith(methods)]
        return (first, *controls, self.random, *(r for r in rows if r.name.startswith(methods)))

    def _with_named(self, row: Candidate, pred: Array, of_copies: Callable[[], Array]) -> Candidate:
        if self.groups is None:
            return row
        y = self.comparison.validation.y
        right = pred == y
        if len(self.groups) > len(y):
            right = np.append(right, of_copies() == y[self.comparison.judge.copies.of])
        return replace(row, worst_named=self.groups.worst(right).accuracy)


def chosen_among(
    comparison: Comparison,
    settings: Mapping[str, Setting],
    name: str | None,
    max_cost: float,
    n_random: int,
    verbose: bool,
) -> Choice:
    """Fit every candidate and choose one: by name, or by the best label-free score."""
    fitted, rows = {}, {}
    for each in tqdm(
        settings, desc="candidates", delay=1, disable=None if verbose else True, leave=False
    ):
        fitted[each], note = comparison.fit(settings[each])
        rows[each] = comparison.row(each, settings[each], fitted[each], note)
    scores = dict[str, float]()
    if name == BY_CHANGE:
        among = {
            each: setting
            for each, setting in settings.items()
            if setting.by_change or (each == GROUP_BALANCED and not setting.partly_known)
        }
        name, scores = comparison.chosen_by_change(among, fitted)
    if name is None:  # candidates whose rule flags too many neurons cannot be chosen
        sound = [each for each in rows if not is_degenerate(fitted[each])]
        name = max(sound, key=lambda each: rows[each].score)
    rows[name] = replace(rows[name], chosen=True)
    clf = fitted[name]
    masked = n_suppressed(clf) > 0 and hasattr(clf, "tuning_weight_")
    of = name if masked else "neurontune"
    random = comparison.random_mask_row(fitted[of], n_random, settings[of])
    learnable = fitted["auto"].recipe_ not in ("class-balanced", "group-balanced")
    known = comparison.known
    learnable &= not settings[name].by_change
    if settings[name].partly_known and known is not None and known.is_read:
        learnable = False  # the labels may be unrelated to the errors, so the groups decide
    decision = comparison.decided(name, clf, max_cost=max_cost, learnable=learnable)
    groups = comparison.groups_of(clf)
    chosen = settings[name]
    return Choice(comparison, fitted, rows, random, name, chosen, decision, groups, scores)
