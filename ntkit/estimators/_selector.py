"""SpuriousNeuronSelector: a feature selector that removes the neurons of NeuronTune's mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import SelectorMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ntkit._doc import documented
from ntkit.estimators._base import VALIDATION_SET, OriginalHead
from ntkit.estimators._neurontune import NeuronMaskRule, NeuronTuneClassifier
from ntkit.study import Study


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class SpuriousNeuronSelector(SelectorMixin, NeuronMaskRule):
    r"""Feature selector that removes spurious neurons (NeuronTune's first stage).

    Needs embeddings and class labels; no group labels.

    Removes the neurons :math:`S = \{i : \delta_i^y > \lambda \text{ for any } y\}`, so any
    scikit-learn classifier can follow in a pipeline. The spuriousness score
    :math:`\delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)` is the median
    activation on misclassified minus correctly classified samples of class y (arXiv 2505.24048).
    With a class-balanced ``LogisticRegression`` as the next step, the pipeline equals
    :class:`NeuronTuneClassifier` with the same ``C``. Export the latter, because it keeps the width
    of the embedding.

    Parameters
    ----------
    threshold : float, default=0.0
        λ, in standard deviations of the neuron.
    max_suppressed, statistic, min_misclassified
        As in :class:`NeuronTuneClassifier`, but ``min_misclassified`` is 1 by default.
    aggregation : {"union", "intersection"}, default="union"
        Remove the neurons that any class flags, or that every scored class flags.
    {identification, head, erm.C, random_state}

    Attributes
    ----------
    {spuriousness_scores_, suppressed_, n_errors_}
    estimator_ : NeuronTuneClassifier
        The classifier that scored the neurons.
    {n_features_in_, feature_names_in_}

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
    >>> selector = SpuriousNeuronSelector(threshold=0.5, random_state=0)
    >>> pipeline = make_pipeline(selector, LinearSVC(class_weight="balanced")).fit(X, y)
    >>> pipeline[0].get_support()
    array([ True, False,  True])
    """

    _takes: ClassVar[tuple[str, ...]] = ("X_changed", *VALIDATION_SET)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeuronTuneClassifier._parameter_constraints,
        "aggregation": [StrOptions({"union", "intersection"})],
    }

    threshold: float = 0.0
    min_misclassified: int = 1
    head: OriginalHead = None
    C: float = 1.0
    random_state: Any = None

    def _study(self, X: Any, y: Any, sample_weight: Any = None, **known: Any) -> Study:
        self.estimator_ = NeuronTuneClassifier(**self.get_params(deep=False), max_cost=None)
        study = self.estimator_._study(X, y, sample_weight, **known)
        validate_data(self, X, skip_check_array=True)
        return study

    def _learn(self, study: Study) -> None:
        clf = self.estimator_
        clf._mask(clf._identify(study))
        self.suppressed_, self.n_errors_ = clf.suppressed_, clf.n_errors_
        self.spuriousness_scores_ = clf.spuriousness_scores_

    def _counts_rows(self) -> bool:
        return bool(self.identification != "train")

    def _get_support_mask(self) -> NDArray[Any]:
        check_is_fitted(self, "suppressed_")
        return np.asarray(~self.suppressed_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
