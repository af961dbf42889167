"""What a model makes of samples: true and predicted class, and how much each sample counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Predictions"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Predictions:
    """True and predicted classes of N samples that the model was not trained on.

    Attributes
    ----------
    classes : ndarray of shape (C,)
        Labels; those that are predicted are among them.
    y_index, pred_index : ndarray of int, shape (N,)
        Index of the true and of the predicted class.
    weight : ndarray of shape (N,)
        Weights; a sample of weight 0 counts as absent, and their scale does not matter.
    """

    classes: Array
    y_index: Array
    pred_index: Array
    weight: Array

    @property
    def wrong(self) -> Array:
        """Whether another class is predicted: bool, (N,)."""
        return np.asarray(self.pred_index != self.y_index)
