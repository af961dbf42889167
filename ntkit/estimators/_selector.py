"""NeuronTune's suppression as a feature selector, in front of any classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import _fit_context
from sklearn.feature_selection import SelectorMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ntkit.estimators._base import KeepsHead, OriginalHead
from ntkit.estimators._neurontune import NeuronTuneClassifier


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
    max_suppressed : float in [0, 1], default=1.0
        Largest share of live (non-constant) neurons to drop; the highest scores go first.
    aggregation : {"union", "intersection"}, default="union"
        Drop what any class flags, or what every scored class flags.
    statistic : {"median", "mean", "contribution"}, default="median"
        What is compared between misclassified and correct samples.
    standardize : bool, default=False
        Divide scores by the neuron's standard deviation over the identification set.
    activation : {"signed", "magnitude"}, default="signed"
        Compare activations as they are, or their absolute values.
    min_misclassified : int, default=1
        A class with fewer misclassified identification samples is not scored.
    min_neurons : int, default=None
        Live neurons to keep: where the rule leaves fewer, those with the smallest scores are
        spared. None: a rule that flags more than 95 % of them singles out none, so it drops none.
    identification : int, splitter, float or "train", default=5
        Identification set when ``fit`` gets no ``X_val``, as in :class:`NeuronTuneClassifier`.
    head : LinearHead or fitted linear classifier, default=None
        The original head, such as ``FrozenModel.head``. None fits an ERM head on the training
        samples.
    C : float, default=1.0
        Inverse strength of the L2 penalty of the ERM head.
    tol : float, default=1e-5
        Tolerance of the head solver.
    max_iter : int, default=1000
        Most iterations of the head solver.
    random_state : int, RandomState instance or None, default=None
        Decides the folds and splits.

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
    n_iter_ : ndarray of shape (1,)
        Iterations of its last head fit.
    n_features_in_ : int
        D.
    feature_names_in_ : ndarray of shape (D,)
        Names of the neurons, where ``X`` has column names.

    References
    ----------
    Zheng, Ye, Zhang: NeuronTune: Towards Self-Guided Spurious Bias Mitigation. ICML 2025,
    arXiv 2505.24048.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import LinearSVC
    >>> from ntkit.estimators import SpuriousNeuronSelector
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 400)
    >>> mark = np.where(rng.random(400) < 0.9, y, 1 - y)  # a spurious mark, 90 % correlated
    >>> X = np.column_stack([y + rng.normal(0, 1, 400), 2 * mark, rng.normal(0, 1, 400)])
    >>> selector = SpuriousNeuronSelector(threshold=0.5, standardize=True, random_state=0)
    >>> pipeline = make_pipeline(selector, LinearSVC(class_weight="balanced")).fit(X, y)
    >>> pipeline[0].get_support()
    array([ True, False,  True])
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 - scikit-learn's own protocol
        **NeuronTuneClassifier._parameter_constraints,
        "aggregation": [StrOptions({"union", "intersection"})],
    }

    def __init__(
        self,
        *,
        threshold: float = 0.0,
        max_suppressed: float = 1.0,
        aggregation: str = "union",
        statistic: str = "median",
        standardize: bool = False,
        activation: str = "signed",
        min_misclassified: int = 1,
        min_neurons: int | None = None,
        identification: Any = 5,
        head: OriginalHead = None,
        C: float = 1.0,
        tol: float = 1e-5,
        max_iter: int = 1000,
        random_state: Any = None,
    ) -> None:
        self.threshold = threshold
        self.max_suppressed = max_suppressed
        self.aggregation = aggregation
        self.statistic = statistic
        self.standardize = standardize
        self.activation = activation
        self.min_misclassified = min_misclassified
        self.min_neurons = min_neurons
        self.identification = identification
        self.head = head
        self.C = C
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

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
        X : array-like of shape (N, D)
            Embeddings of the training set.
        y : array-like of shape (N,)
            Class labels.
        sample_weight : array-like of shape (N,), optional
            Weights; 0 leaves a sample out.
        X_val, y_val : array-like of shape (M, D) and (M,), optional
            Held-out set: the identification set, in place of ``identification``.
        sample_weight_val : array-like of shape (M,), optional
            Its weights.

        Returns
        -------
        SpuriousNeuronSelector
            Itself, fitted.

        Raises
        ------
        InputError
            If labels do not match the head's classes, or a class has no sample of positive
            weight.
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
