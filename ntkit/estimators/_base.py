"""What every last-layer estimator shares: the prediction side, and ``head_``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ntkit.head import LinearHead

__all__ = ["LinearHeadClassifier"]


class LinearHeadClassifier(ClassifierMixin, BaseEstimator):
    """Base of the estimators: predicts with ``X @ coef_.T + intercept_`` and nothing else.

    A subclass's ``fit`` sets ``classes_``, ``coef_`` and ``intercept_``, shaped as scikit-learn
    shapes them: one row for two classes, else one row per class.
    """

    classes_: NDArray[Any]
    coef_: NDArray[Any]
    intercept_: NDArray[Any]

    @property
    def head_(self) -> LinearHead:
        """The fitted :class:`~ntkit.LinearHead`, ready to be written into a model."""
        check_is_fitted(self, "coef_")
        return LinearHead(self.coef_, self.intercept_, self.classes_)

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Logits of embeddings: shape (N,) for two classes, else (N, C)."""
        return self.head_.decision_function(self._embeddings(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class label of each embedding, shape (N,)."""
        return self.head_.predict(self._embeddings(X))

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Class probabilities, shape (N, C)."""
        return self.head_.predict_proba(self._embeddings(X))

    def _embeddings(self, X: ArrayLike) -> NDArray[Any]:
        check_is_fitted(self, "coef_")
        return np.asarray(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))
