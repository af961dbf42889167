"""Class-balanced last-layer retraining: the baseline every neuron result stands beside."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike
from sklearn.base import _fit_context

from ntkit.estimators._base import StudyClassifier
from ntkit.study import Study, class_weighted


class BalancedClassifier(StudyClassifier):
    r"""Class-balanced last-layer retraining.

    Needs embeddings and class labels; no group labels.

    .. math:: \min_{W, b} \; C \sum_n \frac{N}{K n_{y_n}} \ell(W z_n + b, y_n) + \tfrac12 \|W\|^2

    With ``class_weight=None`` it is plain (ERM) last-layer retraining. The paper that named it as
    the free baseline samples class-balanced minibatches (arXiv 2309.08534); this is the optimum
    of the same objective.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the L2 penalty, as in scikit-learn's ``LogisticRegression``.
    class_weight : "balanced", dict or None, default="balanced"
        As in scikit-learn's ``LogisticRegression``.
    tol : float, default=1e-5
        Tolerance of the head solver.
    max_iter : int, default=1000
        Most iterations of the head solver.
    device : {"cpu", "cuda", "auto", "ray"}, default="cpu"
        Where the head is fitted.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Class labels.
    coef_ : ndarray of shape (1, D) or (C, D)
        Weights.
    intercept_ : ndarray of shape (1,) or (C,)
        Bias.
    head_ : LinearHead
        The two as one value.
    n_iter_ : ndarray of shape (1,)
        Iterations of the head solver.
    n_features_in_ : int
        D.
    feature_names_in_ : ndarray of shape (D,)
        Names of the neurons, where ``X`` has column names.

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

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 - scikit-learn's own protocol
        name: StudyClassifier._shared_constraints[name]
        for name in ("C", "class_weight", "tol", "max_iter", "device")
    }

    def __init__(
        self,
        *,
        C: float = 1.0,
        class_weight: Any = "balanced",
        tol: float = 1e-5,
        max_iter: int = 1000,
        device: str = "cpu",
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> BalancedClassifier:
        """Retrain the head.

        Parameters
        ----------
        X : array-like of shape (N, D)
            Embeddings.
        y : array-like of shape (N,)
            Class labels.
        sample_weight : array-like of shape (N,), optional
            Weights.

        Returns
        -------
        BalancedClassifier
            Itself, fitted.
        """
        self._learn(self._study(X, y, sample_weight))
        return self

    def _learn(self, study: Study) -> None:
        rows = study.train
        weight = class_weighted(rows.weight, rows.y_index, self.classes_, self.class_weight)
        self._set_head(self._fit_head(rows, weight))
