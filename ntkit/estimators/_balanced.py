"""Class-balanced last-layer retraining, as an estimator and as a function with a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import validate_parameter_constraints

from ntkit._checks import check_index
from ntkit._doc import documented
from ntkit.estimators._base import StudyClassifier
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.study import Study


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class BalancedClassifier(StudyClassifier):
    r"""Class-balanced last-layer retraining.

    Needs embeddings and class labels; no group labels.

    .. math:: \min_{W, b} \; C \sum_n \frac{N}{K n_{y_n}} \ell(W z_n + b, y_n) + \tfrac12 \|W\|^2

    With ``class_weight=None`` it is plain (ERM) last-layer retraining. The paper that introduced it
    as a free baseline samples class-balanced minibatches (arXiv 2309.08534). This class finds the
    optimum of the same objective. Fit it first: every other estimator should beat it.

    Parameters
    ----------
    {C, class_weight, tol, max_iter, device}

    Attributes
    ----------
    {classes_, coef_, intercept_, head_, n_iter_, n_features_in_, feature_names_in_}

    See Also
    --------
    NeuronTuneClassifier : Suppresses neurons before the same retraining.
    retrain_head : The same as a function, with a mask.
    ntkit.export.to_onnx : Converts a fitted estimator to ONNX.

    References
    ----------
    LaBonte, Muthukumar, Kumar: Towards Last-layer Retraining for Group Robustness with Fewer
    Annotations. NeurIPS 2023, arXiv 2309.08534.

    Examples
    --------
    >>> from ntkit.estimators import BalancedClassifier
    >>> X, y = [[0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [3.0, 0.0]], ["a", "a", "b", "b"]
    >>> BalancedClassifier().fit(X, y).predict([[2.5, 0.0]])
    array(['b'], dtype='<U1')
    """

    C: float = 1.0
    class_weight: Any = "balanced"

    def _learn(self, study: Study) -> None:
        rows = study.train
        self._set_head(self._fit_heads(rows, [rows.balanced(self.class_weight)])[0])


@documented
def retrain_head(
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: Any = "balanced",
    suppressed: ArrayLike | None = None,
    C: float = 1.0,
    tol: float = 1e-5,
    max_iter: int = 1000,
    device: str = "cpu",
) -> LinearHead:
    """Retrain a linear head, with some neurons suppressed or none.

    This is the second stage of NeuronTune alone. Without ``suppressed`` it is class-balanced
    retraining. With a random mask it is the random-mask control. With ``class_weight=None`` it is
    an ERM head.

    Parameters
    ----------
    {X, y, sample_weight, class_weight}
    suppressed : array-like of bool, shape (D,), optional
        Mask of the neurons that get zero weights.
    {C, tol, max_iter, device}

    Returns
    -------
    LinearHead
        With the sorted labels as its classes.

    Raises
    ------
    {fit.InputError, DeviceError}

    Examples
    --------
    >>> from ntkit.estimators import retrain_head
    >>> X, y = [[0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [3.0, 0.0]], [0, 0, 1, 1]
    >>> retrain_head(X, y, suppressed=[False, True])
    LinearHead(n_neurons=2, 1 silent, classes=[0, 1], one sigmoid logit, float64)
    """
    parameters = {"C": C, "class_weight": class_weight, "tol": tol, "max_iter": max_iter}
    parameters["device"] = device
    constraints = BalancedClassifier._parameter_constraints
    validate_parameter_constraints(constraints, parameters, "retrain_head")
    clf = BalancedClassifier(**parameters)
    check_index(X=X, y=y, sample_weight=sample_weight)
    rows = clf._rows(X, y, sample_weight)
    gains = None if suppressed is None else 1.0 - _mask(suppressed, rows.X.shape[1])
    weight = rows.balanced(class_weight)
    fitted = clf._solved(rows.X, rows.y_index, weight, C=C, gains=gains)
    return LinearHead(fitted.coef, fitted.intercept, clf.classes_)


def _mask(suppressed: ArrayLike, width: int) -> NDArray[Any]:
    mask = np.asarray(suppressed)
    if mask.shape != (width,) or mask.dtype != bool:
        raise InputError(
            f"suppressed must have True or False for each of {width} neurons; got {mask.dtype} of "
            f"shape {mask.shape}. Turn indices into a mask with np.isin(np.arange(n_neurons), "
            "indices)."
        )
    return mask.astype(float)
