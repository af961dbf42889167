"""Candidate heads side by side: fitted, scored without group labels, rated on the same samples."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from ntkit.estimators import (
    LABEL_FREE,
    AutoDebiasClassifier,
    BalancedClassifier,
    NeuronTuneClassifier,
    head_of,
    retrain_head,
)
from ntkit.estimators._penalty import ALPHAS
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.head import LinearHead
from ntkit.metrics import (
    accuracy_by,
    label_free_score,
    worst_class_accuracy,
    worst_group_accuracy,
)

__all__ = [
    "CANDIDATES",
    "DEFAULT_SCORE",
    "OTHER_METHODS",
    "Candidate",
    "Comparison",
    "LabelledEmbeddings",
    "Setting",
    "is_degenerate",
    "n_suppressed",
]

Array = NDArray[Any]
DEFAULT_SCORE = "worst_class_cell_accuracy"


@dataclass(frozen=True)
class Setting:
    """A candidate before it is fitted.

    Attributes
    ----------
    estimator : estimator
        What is fitted, on standardised embeddings.
    rows : {"train", "heldout", "both"}
        What it is fitted on. Estimators that take ``X_val`` get the held-out set there when
        fitted on "train".
    as_is : bool
        Whether its ``C`` and ``random_state`` are its own rather than the comparison's.
    """

    estimator: Any
    rows: str = "train"
    as_is: bool = False


def default_settings() -> dict[str, Setting]:
    """Candidates of :func:`ntkit.debias` by name, in the order of the table.

    "cells" balances correct and misclassified samples within each class; "neurontune" is the
    paper's method, and the others single out its highest scores.
    """
    cells: dict[str, Any] = {"error_weight": "balanced"}
    rules: dict[str, dict[str, Any]] = {
        "": {},
        "-0.25sd": {"threshold": 0.25, "standardize": True},
        "-0.5sd": {"threshold": 0.5, "standardize": True},
        "-half": {"max_suppressed": 0.5, "standardize": True},
    }
    settings = {
        "class-balanced": Setting(BalancedClassifier()),
        "class-balanced-heldout": Setting(BalancedClassifier(), rows="heldout"),
        "class-balanced-both": Setting(BalancedClassifier(), rows="both"),
        "cell-balanced": Setting(NeuronTuneClassifier(suppression=0.0, **cells)),
    }
    for suffix, extra in (("", {}), ("-cells", cells)):
        for rule, parameters in rules.items():
            estimator = NeuronTuneClassifier(**parameters, **extra)
            settings[f"neurontune{rule}{suffix}"] = Setting(estimator)
    settings["auto"] = Setting(AutoDebiasClassifier())
    return settings


CANDIDATES = default_settings()
"""Candidates of :func:`ntkit.debias` by name; the table of every run holds them all."""

OTHER_METHODS = {name: LABEL_FREE[name]() for name in ("afr", "jtt", "self", "evals", "leace")}
"""Estimators that join the table when they are asked for by name."""


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Embeddings (N, D), class labels (N,) and perhaps group labels (N,)."""

    Z: Array
    y: Array
    groups: Array | None = None


@dataclass(frozen=True)
class Candidate:
    """One row of the table.

    Attributes
    ----------
    name : str
        What it is.
    score : float
        Label-free score on the held-out set, larger is better; by default worst class + half
        the worst class × correctness cell (:func:`ntkit.metrics.worst_class_cell_accuracy`).
    average, worst_class : float
        Accuracies on the evaluation set, in [0, 1].
    worst_group : float or None
        Accuracy of the worst group there, where group labels are given.
    n_suppressed : int
        Suppressed neurons.
    spread : dict of str to float
        Standard deviation of the figures over draws (random masks).
    note : str
        What the estimator warned of.
    chosen : bool
        Whether this is the head that was written.

    Examples
    --------
    >>> from ntkit import Candidate
    >>> row = Candidate(
    ...     "class-balanced",
    ...     score=1.2,
    ...     average=0.9,
    ...     worst_class=0.8,
    ...     worst_group=None,
    ...     n_suppressed=0,
    ... )
    >>> row.name, row.average, row.chosen
    ('class-balanced', 0.9, False)
    """

    name: str
    score: float
    average: float
    worst_class: float
    worst_group: float | None
    n_suppressed: int
    spread: dict[str, float] = field(default_factory=dict)
    note: str = ""
    chosen: bool = False


class Comparison:
    """Fits candidates on the same data and rates them all alike.

    Embeddings are standardised on the training set, so that the penalty means the same for
    every neuron; :meth:`on_raw_embeddings` folds the scale back into a head.

    The held-out set identifies neurons, retrains some candidates, and scores all of them. So
    that none is scored on what it has seen, the score is two-fold: fitted with one half of the
    held-out set, predicting the other.

    Parameters
    ----------
    train, heldout : LabelledEmbeddings
        Training set; held-out set.
    test : LabelledEmbeddings or None
        The set of the table; None for the held-out set, by the two-fold predictions.
    head : LinearHead or None
        The original head on raw embeddings; None fits an ERM head on the training set.
    C : float or None
        Inverse penalty; None for 1 / N, a ridge of weight 1 on the mean loss.
    select : str
        Label-free score, a name that :func:`ntkit.metrics.label_free_score` knows.
    seed : int
        Decides folds, halves and random masks.
    """

    def __init__(
        self,
        train: LabelledEmbeddings,
        heldout: LabelledEmbeddings,
        test: LabelledEmbeddings | None,
        *,
        head: LinearHead | None,
        C: float | None = None,
        select: str = DEFAULT_SCORE,
        seed: int = 0,
    ) -> None:
        self.mean = train.Z.mean(axis=0, dtype=np.float64)
        std = train.Z.std(axis=0, dtype=np.float64)
        self.std = np.where(std > 0, std, 1.0)
        self.train, self.heldout = self._standardized(train), self._standardized(heldout)
        self.test = None if test is None else self._standardized(test)
        self.C = C
        self.select = select
        self.seed = seed
        C_train = self._C(len(self.train.y))
        if head is None:
            self.original = retrain_head(self.train.Z, self.train.y, class_weight=None, C=C_train)
        else:
            self.original = head.scaled(self.std, -self.mean / self.std)
        reference = retrain_head(self.train.Z, self.train.y, C=C_train)
        self.reference_proba = reference.predict_proba(self.heldout.Z)
        self.classes = reference.classes
        self.halves = self._halves()

    def fit(self, setting: Setting, heldout: Array | None = None) -> tuple[Any, str]:
        """Fit a copy of a candidate's estimator; also what it warned of.

        Parameters
        ----------
        setting : Setting
            The candidate.
        heldout : ndarray of int, optional
            Rows of the held-out set that it may see; all of them by default.
        """
        rows = np.arange(len(self.heldout.y)) if heldout is None else heldout
        X_val, y_val = self.heldout.Z[rows], self.heldout.y[rows]
        X, y = self.train.Z, self.train.y
        if setting.rows == "heldout":
            X, y = X_val, y_val
        elif setting.rows == "both":
            X, y = np.concatenate([X, X_val]), np.concatenate([y, y_val])
        clf = clone(setting.estimator)
        own: dict[str, Any] = {"head": self.original}
        if not setting.as_is:
            own |= {"random_state": self.seed, "C": self._C(len(y))}
        clf.set_params(**{k: v for k, v in own.items() if k in clf.get_params(deep=False)})
        held = {}
        if setting.rows == "train" and "X_val" in signature(clf.fit).parameters:
            held = {"X_val": X_val, "y_val": y_val}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SuppressionWarning)
            clf.fit(X, y, **held)
        for warning in caught:
            if not issubclass(warning.category, SuppressionWarning):
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        own_words = [str(w.message) for w in caught if issubclass(w.category, SuppressionWarning)]
        return clf, " ".join(own_words) if n_suppressed(clf) or is_degenerate(clf) else ""

    def row(self, name: str, setting: Setting, clf: Any, note: str = "") -> Candidate:
        """Rate a fitted candidate; it is fitted twice more for its held-out score."""
        return Candidate(
            name=name,
            n_suppressed=n_suppressed(clf),
            note=note,
            **self._rated(head_of(clf), self.heldout_predictions(setting)),
        )

    def heldout_predictions(self, setting: Setting) -> Array:
        """Predict each half of the held-out set by a fit that saw only the other half of it."""
        pred = np.empty_like(self.heldout.y)
        for seen, scored in self.halves:
            half, _ = self.fit(setting, seen)
            pred[scored] = half.predict(self.heldout.Z[scored])
        return pred

    def original_row(self, name: str) -> Candidate:
        """Rate the original head."""
        pred = self.original.predict(self.heldout.Z)
        return Candidate(name=name, n_suppressed=0, **self._rated(self.original, pred))

    def random_mask_row(self, clf: Any, n_draws: int) -> Candidate:
        """Rate random masks of a candidate's size, retrained with the candidate's own weights."""
        rng = np.random.default_rng(self.seed)
        live, size = np.flatnonzero(clf.live_), int(clf.suppressed_.sum())
        draws = []
        for _ in range(n_draws):
            mask = np.zeros(len(clf.live_), dtype=bool)
            mask[rng.choice(live, size, replace=False)] = True
            head = retrain_head(
                self.train.Z,
                self.train.y,
                sample_weight=clf.tuning_weight_,
                class_weight=None,
                suppressed=mask,
                C=clf.C,
            )
            rated = self._rated(head, head.predict(self.heldout.Z))
            draws.append({k: v for k, v in rated.items() if v is not None})
        mean: dict[str, Any] = {k: float(np.mean([draw[k] for draw in draws])) for k in draws[0]}
        spread = {k: float(np.std([draw[k] for draw in draws])) for k in draws[0]}
        return Candidate(
            name=f"random mask of {size}",
            n_suppressed=size,
            spread=spread,
            **({"worst_group": None} | mean),
        )

    def tuned_C(self) -> float:
        """The C of class-balanced retraining with the best cross-validated mean class accuracy.

        A fixed penalty can make the control weak; this one is given its best chance, on the
        training set, among the penalties that "auto" chooses from.
        """
        Z, y = self.train.Z, self.train.y
        n_splits = min(5, int(np.unique(y, return_counts=True)[1].min()))
        C = self._C(len(y))
        if n_splits < 2:
            return C
        splitter = StratifiedKFold(n_splits, shuffle=True, random_state=self.seed)
        folds = list(splitter.split(np.zeros(len(y)), y))

        def mean_class_accuracy(C: float) -> float:
            pred = np.empty_like(y)
            for fit, scored in folds:
                pred[scored] = retrain_head(Z[fit], y[fit], C=C).predict(Z[scored])
            return float(np.mean(list(accuracy_by(y, pred, y).values())))

        return max((C / alpha for alpha in sorted(ALPHAS, reverse=True)), key=mean_class_accuracy)

    def on_raw_embeddings(self, head: LinearHead) -> LinearHead:
        """Fold the standardisation into a head."""
        return head.scaled(1 / self.std, self.mean)

    def _C(self, n_rows: int) -> float:
        return 1 / n_rows if self.C is None else self.C

    def _halves(self) -> list[tuple[Array, Array]]:
        """Two halves of the held-out set, stratified by class."""
        y = self.heldout.y
        _, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            raise InputError(
                "The held-out set needs at least 2 samples of each class, half to find neurons "
                "and half to choose."
            )
        splitter = StratifiedKFold(2, shuffle=True, random_state=self.seed)
        return [(seen, scored) for seen, scored in splitter.split(np.zeros(len(y)), y)]

    def _standardized(self, samples: LabelledEmbeddings) -> LabelledEmbeddings:
        Z = np.asarray((samples.Z - self.mean) / self.std, dtype=samples.Z.dtype)
        return LabelledEmbeddings(Z, samples.y, samples.groups)

    def _score(self, pred: Array) -> float:
        return label_free_score(
            self.select,
            self.heldout.y,
            pred,
            Z=self.heldout.Z,
            reference_pred=self.classes[self.reference_proba.argmax(axis=1)],
            reference_proba=self.reference_proba,
            classes=self.classes,
        )

    def _rated(self, head: LinearHead, heldout_pred: Array) -> dict[str, Any]:
        rows = self.heldout if self.test is None else self.test
        pred = heldout_pred if self.test is None else head.predict(rows.Z)
        y, groups = rows.y, rows.groups
        return {
            "score": self._score(heldout_pred),
            "average": float((pred == y).mean()),
            "worst_class": worst_class_accuracy(y, pred),
            "worst_group": None if groups is None else worst_group_accuracy(y, pred, groups=groups),
        }


def is_degenerate(clf: Any) -> bool:
    """Whether the rule of a fitted estimator flagged too much to mean anything."""
    return bool(getattr(clf, "suppression", 0.0) and clf.spared_)


def n_suppressed(clf: Any) -> int:
    """Neurons a fitted estimator suppresses."""
    if not getattr(clf, "suppression", 1.0):
        return 0
    return int(np.sum(getattr(clf, "suppressed_", 0)))
