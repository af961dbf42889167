"""NeuronTune's suppression as a feature selector, in front of any classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import _fit_context
from sklearn.feature_selection import SelectorMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ntkit._doc import documented
from ntkit.estimators._base import KeepsHead, OriginalHead
from ntkit.estimators._neurontune import NeuronTuneClassifier


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class SpuriousNeuronSelector(SelectorMixin, KeepsHead):
    r"""Feature selector that drops spurious neurons (NeuronTune's first stage).

    Needs embeddings and class labels; no group labels.

    Drops the neurons :math:`S = \{i : \delta_i^y > \lambda \text{ for any } y\}` with the
    spuriousness score :math:`\delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)`, the
    median activation on misclassified minus on correctly classified samples of class y
    (arXiv 2505.24048, Sec. 4), so that any scikit-learn classifier can follow in a pipeline.
    With ``min_neurons=1`` and a class-balanced ``LogisticRegression`` behind it, it is
    ``NeuronTuneClassifier.as_published()``, which keeps the width of the embedding and is the one
    to export.

    Parameters
    ----------
    threshold : float, default=0.0
        λ; in standard deviations of the neuron with ``standardize=True``.
    max_suppressed, statistic, standardize, activation, min_misclassified, min_neurons
        As in :class:`NeuronTuneClassifier`; the default of ``standardize`` is False here, and that
        of ``min_misclassified`` is 1.
    aggregation : {"union", "intersection"}, default="union"
        Drop what any class flags, or what every scored class flags.
    {identification, head, erm.C, tol, max_iter, random_state}

    Attributes
    ----------
    spuriousness_scores_ : ndarray of shape (C, D)
        Scores; NaN rows for classes that could not be scored.
    suppressed_ : ndarray of bool, shape (D,)
        Neurons that ``transform`` drops.
    n_errors_ : ndarray of shape (C,)
        Misclassified identification samples of each class, by the original head.
    estimator_ : NeuronTuneClassifier
        The fitted classifier that scored the neurons.
    {n_iter_, n_features_in_, feature_names_in_}

    References
    ----------
    Zheng, Ye, Zhang: NeuronTune: Towards Self-Guided Spurious Bias Mitigation. ICML 2025,
    arXiv 2505.24048.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import LinearSVC
    >>> from ntkit.estimators import SpuriousNeuronSelector
    {marked}
    >>> selector = SpuriousNeuronSelector(threshold=0.5, standardize=True, random_state=0)
    >>> pipeline = make_pipeline(selector, LinearSVC(class_weight="balanced")).fit(X, y)
    >>> pipeline[0].get_support()
    array([ True, False,  True])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeuronTuneClassifier._parameter_constraints,
        "aggregation": [StrOptions({"union", "intersection"})],
    }

    threshold: float = 0.0
    max_suppressed: float = 1.0
    aggregation: str = "union"
    statistic: str = "median"
    standardize: bool = False
    activation: str = "signed"
    min_misclassified: int = 1
    min_neurons: int | None = None
    identification: Any = 5
    head: OriginalHead = None
    C: float = 1.0
    tol: float = 1e-5
    max_iter: int = 1000
    random_state: Any = None

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> SpuriousNeuronSelector:
        """Find the spurious neurons.

        Parameters
        ----------
        {X, y, sample_weight}
        {X_val, y_val, sample_weight_val}

        {fitted}

        Raises
        ------
        {fit.InputError}
        """
        # What its own head would cost, or be worth, says nothing of the classifier that follows.
        rule = self.get_params(deep=False) | {"max_cost": None, "error_weight": 1.0}
        clf = NeuronTuneClassifier(**rule)
        stage = clf._identify(clf._study(X, y, sample_weight, X_val, y_val, sample_weight_val))
        clf._retrain(stage, clf._tuning(stage))
        self.estimator_ = clf
        validate_data(self, X, skip_check_array=True)
        self.spuriousness_scores_ = self.estimator_.spuriousness_scores_
        self.suppressed_ = self.estimator_.suppressed_
        self.n_errors_ = self.estimator_.n_errors_
        self.n_iter_ = self.estimator_.n_iter_
        return self

    def _get_support_mask(self) -> NDArray[Any]:
        check_is_fitted(self, "suppressed_")
        return np.asarray(~self.suppressed_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
