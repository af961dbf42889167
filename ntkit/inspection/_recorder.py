"""A scorer that keeps what else there is to see of every fit: for a path of thresholds."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score

from ntkit.estimators import NeuronTuneClassifier
from ntkit.inspection._fitted import lost_neurons
from ntkit.metrics import worst_class_accuracy

__all__ = ["Recorder"]

Array = NDArray[Any]
_logger = logging.getLogger(__name__)


@dataclass
class Recorder:
    """Scorer that also keeps the other figures of every fit it is shown."""

    scorer: Any
    verbose: bool
    folds: list[dict[float, tuple[float, float, int, float]]] = field(default_factory=list)

    def __call__(self, estimator: Any, X: Array, y: Array) -> float:
        return float(self.for_samples(X, y)(estimator, X, y))

    def for_samples(self, X: Array, y: Array) -> Any:
        """Scorer of one fold."""
        scorer = self.scorer
        if hasattr(scorer, "for_samples"):
            scorer = scorer.for_samples(X, y)
        fold: dict[float, tuple[float, float, int, float]] = {}
        self.folds.append(fold)

        def score(clf: NeuronTuneClassifier, X: Array, y: Array) -> float:
            predicted, value = clf.predict(X), float(scorer(clf, X, y))
            found = (
                float(accuracy_score(y, predicted)),
                float(worst_class_accuracy(y, predicted)),
                int(lost_neurons(clf).sum()),
                value,
            )
            fold[clf.threshold] = found
            _logger.log(
                logging.INFO if self.verbose else logging.DEBUG,
                "threshold %g: accuracy %.3f, worst class %.3f, %d neurons suppressed, score %.3g",
                *(clf.threshold, *found),
            )
            return value

        return score

    def figures(self, thresholds: Array, scores: Array) -> list[Array]:
        """Accuracy, worst-class accuracy and mask size (T, F), folds as in the scores (T, F)."""
        table = np.array([[fold[t] for fold in self.folds] for t in thresholds.tolist()])
        # Threads may begin the folds in another order than they return in.
        left, order = list(range(len(self.folds))), list[int]()
        for column in scores.T:
            same = [i for i in left if np.array_equal(table[:, i, 3], column, equal_nan=True)]
            order.append(same[0])
            left.remove(same[0])
        table = table[:, order]
        return [table[..., 0], table[..., 1], table[..., 2].astype(int)]
