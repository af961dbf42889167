"""Class-balanced last-layer retraining: the baseline every neuron result stands beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ntkit._doc import documented
from ntkit.estimators._base import StudyClassifier
from ntkit.study import Study, class_weighted


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class BalancedClassifier(StudyClassifier):
    r"""Class-balanced last-layer retraining.

    Needs embeddings and class labels; no group labels.

    .. math:: \min_{W, b} \; C \sum_n \frac{N}{K n_{y_n}} \ell(W z_n + b, y_n) + \tfrac12 \|W\|^2

    With ``class_weight=None`` it is plain (ERM) last-layer retraining. The paper that named it as
    the free baseline samples class-balanced minibatches (arXiv 2309.08534); this is the optimum
    of the same objective.

    Parameters
    ----------
    {C, class_weight, tol, max_iter, device}

    Attributes
    ----------
    {classes_, coef_, intercept_, head_, n_iter_, n_features_in_, feature_names_in_}

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = StudyClassifier._shared_constraints

    C: float = 1.0
    class_weight: Any = "balanced"
    tol: float = 1e-5
    max_iter: int = 1000
    device: str = "cpu"

    def _learn(self, study: Study) -> None:
        rows = study.train
        weight = class_weighted(rows.weight, rows.y_index, self.classes_, self.class_weight)
        self._set_head(self._fit_head(rows, weight))
