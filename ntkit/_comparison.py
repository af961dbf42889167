"""Candidate heads side by side: fitted, scored without group labels, rated on the same samples."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from ntkit.estimators import NeuronTuneClassifier, retrain_head
from ntkit.exceptions import SuppressionWarning
from ntkit.head import LinearHead
from ntkit.metrics import (
    accuracy_by,
    worst_class_accuracy,
    worst_class_cell_accuracy,
    worst_group_accuracy,
)

__all__ = ["CANDIDATES", "Candidate", "Comparison", "LabelledEmbeddings"]

Array = NDArray[Any]
_C_FACTORS = (1.0, 10.0, 100.0, 1000.0)

CANDIDATES: dict[str, dict[str, Any]] = {
    "class-balanced": {"suppression": 0.0},
    "cell-balanced": {"suppression": 0.0, "error_weight": "balanced"},
    "neurontune": {},
    "neurontune-0.25sd": {"threshold": 0.25, "standardize": True},
    "neurontune-0.5sd": {"threshold": 0.5, "standardize": True},
    "neurontune-half": {"max_suppressed": 0.5, "standardize": True},
    "neurontune-cells": {"error_weight": "balanced"},
    "neurontune-0.25sd-cells": {"threshold": 0.25, "standardize": True, "error_weight": "balanced"},
    "neurontune-0.5sd-cells": {"threshold": 0.5, "standardize": True, "error_weight": "balanced"},
    "neurontune-half-cells": {
        "max_suppressed": 0.5,
        "standardize": True,
        "error_weight": "balanced",
    },
}
"""Candidates of :func:`debias`: parameters of NeuronTuneClassifier by name. The first two suppress
nothing ("cells" balances correct and misclassified samples within each class), "neurontune" is the
paper's method."""


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
        Label-free score on the held-out set: worst class + half the worst class × correctness
        cell (:func:`ntkit.metrics.worst_class_cell_accuracy`).
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
    """Fits heads on one training set and rates them all alike.

    Embeddings are standardised on the training set, so that the penalty means the same for
    every neuron; :meth:`on_raw_embeddings` folds the scale back into a head.

    Parameters
    ----------
    train, heldout, evaluation : LabelledEmbeddings
        Retraining set; identification and selection set; the set of the table.
    head : LinearHead or None
        The original head on raw embeddings; None fits an ERM head on the training set.
    C : float or None
        Inverse penalty; None for 1 / N, a ridge of weight 1 on the mean loss.
    seed : int
        Decides folds and random masks.
    """

    def __init__(
        self,
        train: LabelledEmbeddings,
        heldout: LabelledEmbeddings,
        evaluation: LabelledEmbeddings,
        *,
        head: LinearHead | None,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        self.mean = train.Z.mean(axis=0, dtype=np.float64)
        std = train.Z.std(axis=0, dtype=np.float64)
        self.std = np.where(std > 0, std, 1.0)
        self.train, self.heldout, self.evaluation = (
            LabelledEmbeddings(self._standardized(s.Z), s.y, s.groups)
            for s in (train, heldout, evaluation)
        )
        self.C = 1 / len(train.y) if C is None else C
        self.seed = seed
        if head is None:
            self.original = retrain_head(self.train.Z, self.train.y, class_weight=None, C=self.C)
        else:
            self.original = head.scaled(self.std, -self.mean / self.std)
        balanced = retrain_head(self.train.Z, self.train.y, C=self.C)
        self.reference_pred = balanced.predict(self.heldout.Z)

    def fit(self, setting: NeuronTuneClassifier) -> tuple[NeuronTuneClassifier, str]:
        """Fit a copy of an estimator; also what it warned of."""
        clf = clone(setting).set_params(head=self.original)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SuppressionWarning)
            clf.fit(self.train.Z, self.train.y, X_val=self.heldout.Z, y_val=self.heldout.y)
        for warning in caught:
            if not issubclass(warning.category, SuppressionWarning):
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        own = [str(w.message) for w in caught if issubclass(w.category, SuppressionWarning)]
        return clf, " ".join(own) if clf.suppression else ""

    def tuned_C(self) -> float:
        """The C of class-balanced retraining with the best mean class accuracy on held-out data.

        A fixed penalty can make the control weak; this one is given its best chance.
        """

        def mean_class_accuracy(C: float) -> float:
            head = retrain_head(self.train.Z, self.train.y, C=C)
            pred = head.predict(self.heldout.Z)
            return float(np.mean(list(accuracy_by(self.heldout.y, pred, self.heldout.y).values())))

        return max((self.C * factor for factor in _C_FACTORS), key=mean_class_accuracy)

    def row(self, name: str, clf: NeuronTuneClassifier, note: str = "") -> Candidate:
        """Rate a fitted candidate."""
        n_suppressed = int(clf.suppressed_.sum()) if clf.suppression else 0
        return Candidate(name=name, n_suppressed=n_suppressed, note=note, **self._rated(clf.head_))

    def original_row(self, name: str) -> Candidate:
        """Rate the original head."""
        return Candidate(name=name, n_suppressed=0, **self._rated(self.original))

    def random_mask_row(self, clf: NeuronTuneClassifier, n_draws: int) -> Candidate:
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
            draws.append({k: v for k, v in self._rated(head).items() if v is not None})
        mean: dict[str, Any] = {k: float(np.mean([draw[k] for draw in draws])) for k in draws[0]}
        spread = {k: float(np.std([draw[k] for draw in draws])) for k in draws[0]}
        return Candidate(
            name=f"random mask of {size}",
            n_suppressed=size,
            spread=spread,
            **({"worst_group": None} | mean),
        )

    def on_raw_embeddings(self, head: LinearHead) -> LinearHead:
        """Fold the standardisation into a head."""
        return head.scaled(1 / self.std, self.mean)

    def _standardized(self, Z: Array) -> Array:
        return np.asarray((Z - self.mean) / self.std, dtype=Z.dtype)

    def _rated(self, head: LinearHead) -> dict[str, Any]:
        y, groups = self.evaluation.y, self.evaluation.groups
        pred = head.predict(self.evaluation.Z)
        return {
            "score": worst_class_cell_accuracy(
                self.heldout.y, head.predict(self.heldout.Z), reference_pred=self.reference_pred
            ),
            "average": float((pred == y).mean()),
            "worst_class": worst_class_accuracy(y, pred),
            "worst_group": None if groups is None else worst_group_accuracy(y, pred, groups=groups),
        }
