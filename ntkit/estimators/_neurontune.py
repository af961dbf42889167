"""NeuronTune: suppress the neurons behind spurious predictions, retrain the head on the rest."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._doc import documented
from ntkit.estimators._base import LastLayerClassifier, OriginalHead
from ntkit.estimators._tuned_retraining import (
    Stage,
    TunedClassifier,
    Tuning,
    class_rates,
    predicted,
    scores_of_errors,
    sets_of,
    wrong,
)
from ntkit.head import LinearHead
from ntkit.solver import FittedHead
from ntkit.spuriousness import non_constant_neurons, sfit
from ntkit.study import (
    ERM_ALPHA,
    LEAST_ERRORS,
    Study,
    warn_if_worse,
)


@documented
@dataclass(eq=False, repr=False)
class NeuronTuneClassifier(TunedClassifier):
    r"""Last-layer retraining on the neurons that are not spurious (NeuronTune).

    Needs embeddings and class labels; no group labels.

    1. The original head (``head``, or an ERM head fitted here) predicts an identification set.
    2. Every neuron i gets a spuriousness score per class y,
       :math:`\delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)`: median activation
       on misclassified minus on correctly classified samples of the class.
    3. The neurons :math:`S = \{i : \delta_i^y > \lambda \text{ for any } y\}` are suppressed.
    4. A class-balanced linear head is retrained on the remaining neurons. Its weights on S are
       exact zeros, so it works on unmasked embeddings and exports as a plain linear layer.

    The defaults are what works on data at hand, biased or not: scores in standard deviations with
    a positive threshold, few errors are not scored, the penalty is chosen by cross-validation,
    errors are given more weight where a head is shown to learn them, and a mask that costs
    accuracy is not applied. :meth:`as_published` gives the paper's method.

    Parameters
    ----------
    threshold : float, default=0.5
        λ; in standard deviations of the neuron with ``standardize=True``. At 0, the paper's, it
        flags most neurons of most models.
    max_suppressed : float in [0, 1], default=1.0
        Largest share of live (non-constant) neurons to suppress; the highest scores go first.
    aggregation : {"union", "intersection", "per_class"}, default="union"
        Suppress what any class flags, what every scored class flags, or in each class's weights
        what that class flags. With two classes only the difference of the two weight rows
        matters, so there "per_class" is the same as "intersection".
    statistic : {"median", "mean", "contribution"}, default="median"
        What is compared between misclassified and correct samples: the median or mean
        activation, or the median contribution (activation times its push toward the strongest
        wrong logit).
    standardize : bool, default=True
        Divide scores by the neuron's standard deviation over the identification set.
    activation : {"signed", "magnitude"}, default="signed"
        Compare activations as they are, or their absolute values.
    suppression : float in [0, 1], default=1.0
        1 zeroes a suppressed neuron, less scales it by ``1 - suppression`` before retraining.
        Without a penalty the retrained weights undo any scaling, so values below 1 act through
        ``C`` alone; 0 is class-balanced retraining.
    n_rounds : int, default=1
        Rounds of identification; each starts from the head of the last, and masks accumulate.
    min_misclassified : int, default=10
        A class with fewer misclassified identification samples is not scored.
    min_neurons : int, default=None
        Live neurons to keep: where the rule leaves fewer, those with the smallest scores are
        spared. None: a rule that flags more than 95 % of them singles out none, so it suppresses
        none.
    {identification}
    error_weight : float, "balanced" or "auto", default="auto"
        Factor on the weight of training samples that the original head misclassifies
        (cross-fitted where the head is fitted here). "balanced" gives correct and misclassified
        samples of each class equal weight, judged by a cross-fitted class-balanced head; a class
        with fewer than 10 errors keeps its weights. "auto" does so where a head is shown to learn
        the errors, by the learned share of :class:`AutoDebiasClassifier`, and else takes 1.
    max_cost : float or None, default=0.03
        Most of mean class accuracy (mean cell accuracy, where cells are balanced) that
        suppression may cost on the training samples, cross-validated. A mask that costs more is
        not applied, with a warning. None applies every mask.
    {head}
    C : float or None, default=None
        Inverse strength of the L2 penalty, as in scikit-learn's ``LogisticRegression``. None
        chooses the penalty, on standardised neurons, by cross-validated accuracy over the worse
        half of the classes (over the cells, where these are balanced), as
        :class:`AutoDebiasClassifier` does; that takes some 60 fits.
    {class_weight, tol, max_iter, device, random_state}
    verbose : bool, default=False
        Log each step at level INFO rather than DEBUG.

    Attributes
    ----------
    {classes_, coef_}
        Zero on suppressed neurons.
    {intercept_, head_}
    spuriousness_scores_ : ndarray of shape (C, D)
        Scores of the last round; NaN rows for classes that could not be scored.
    suppressed_ : ndarray of bool, shape (D,)
        Neurons whose weights are zero for every class because the rule says so.
    attenuated_ : ndarray of bool, shape (D,)
        Neurons scaled by ``1 - suppression``, where that is neither 0 nor 1.
    suppressed_per_class_ : ndarray of bool, shape (C, D)
        What each class flags (with "per_class": suppresses).
    gains_ : ndarray of shape (D,)
        Factor on each neuron, ``1 - suppression`` on those the rule flags.
    mask_cost_ : float
        What suppression costs, as ``max_cost`` counts it; NaN where that is None, nothing is
        flagged, or the samples are too few for folds.
    alpha_ : float
        Ridge weight on the mean loss chosen; NaN where ``C`` is given.
    non_constant_ : ndarray of bool, shape (D,)
        Neurons that vary on the identification set.
    spared_ : bool
        Whether the rule flagged too many live neurons, and some or all of them were spared.
    {erm_head_}
    n_errors_ : ndarray of shape (C,)
        Misclassified identification samples of each class, by the original head.
    sfit_ : float
        The paper's SFit of the retrained head on the identification set (in-sample when that is
        the training set): a diagnostic, see :func:`ntkit.spuriousness.sfit`.
    tuning_weight_ : ndarray
        Weight of each retraining sample: sample, class and error weight multiplied.
    {n_iter_, n_features_in_, feature_names_in_}

    References
    ----------
    Zheng, Ye, Zhang: NeuronTune: Towards Self-Guided Spurious Bias Mitigation. ICML 2025,
    arXiv 2505.24048.

    Examples
    --------
    >>> import numpy as np
    >>> import warnings
    >>> from ntkit import NeuronTuneClassifier
    >>> from ntkit.exceptions import SuppressionWarning
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 400)
    >>> mark = np.where(rng.random(400) < 0.9, y, 1 - y)  # a spurious mark, 90 % correlated
    >>> X = np.column_stack([y + rng.normal(0, 1, 400), 2 * mark, rng.normal(0, 1, 400)])
    >>> clf = NeuronTuneClassifier(C=1.0, max_cost=None, random_state=0)
    >>> with warnings.catch_warnings():  # that accuracy is lost where the mark goes with the class
    ...     warnings.simplefilter("ignore", SuppressionWarning)
    ...     clf = clf.fit(X, y)
    >>> clf.suppressed_
    array([False,  True, False])
    >>> clf.head_
    LinearHead(n_neurons=3, 1 silent, classes=[0, 1], one sigmoid logit, float64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, None, None, closed="neither")],
        "max_suppressed": [Interval(Real, 0, 1, closed="both")],
        "aggregation": [StrOptions({"union", "intersection", "per_class"})],
        "statistic": [StrOptions({"median", "mean", "contribution"})],
        "standardize": ["boolean"],
        "activation": [StrOptions({"signed", "magnitude"})],
        "suppression": [Interval(Real, 0, 1, closed="both")],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "min_misclassified": [Interval(Integral, 1, None, closed="left")],
        "min_neurons": [Interval(Integral, 1, None, closed="left"), None],
        "error_weight": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"balanced", "auto"}),
        ],
        "max_cost": [Interval(Real, 0, 1, closed="both"), None],
        **LastLayerClassifier._shared_constraints,
        "C": [*LastLayerClassifier._shared_constraints["C"], None],
    }

    threshold: float = 0.5
    _: KW_ONLY
    max_suppressed: float = 1.0
    aggregation: str = "union"
    statistic: str = "median"
    standardize: bool = True
    activation: str = "signed"
    suppression: float = 1.0
    n_rounds: int = 1
    min_misclassified: int = LEAST_ERRORS
    min_neurons: int | None = None
    identification: Any = 5
    error_weight: float | str = "auto"
    max_cost: float | None = 0.03
    head: OriginalHead = None
    C: float | None = None  # type: ignore[assignment]  # None is resolved for each fit
    class_weight: Any = "balanced"
    tol: float = 1e-5
    max_iter: int = 1000
    device: str = "cpu"
    random_state: Any = None
    verbose: bool = False

    @classmethod
    def as_published(cls, **parameters: Any) -> NeuronTuneClassifier:
        """The paper's method: λ = 0 on activations as they are, every class scored, no gate.

        However much the rule flags is silenced, but for the last live neuron.

        Parameters
        ----------
        **parameters
            Over the paper's.

        Returns
        -------
        NeuronTuneClassifier
            With ``C=1`` where the paper stops stochastic gradient descent early.

        Examples
        --------
        >>> from ntkit import NeuronTuneClassifier
        >>> NeuronTuneClassifier.as_published(C=0.1)
        NeuronTuneClassifier(C=0.1, error_weight=1.0, max_cost=None, min_misclassified=1,
                             min_neurons=1, standardize=False, threshold=0.0)
        """
        paper: dict[str, Any] = {
            **{"threshold": 0.0, "standardize": False, "min_misclassified": 1},
            **{"error_weight": 1.0, "max_cost": None, "min_neurons": 1, "C": 1.0},
        }
        return cls(**(paper | parameters))

    def _learn(self, study: Study) -> None:
        stage = self._identify(study)
        current = self._retrain(stage, self._tuning(stage))
        final = wrong(current.logits(stage.identify.X), stage.identify)
        n_classes, least = len(self.classes_), self.min_misclassified
        self.sfit_ = sfit(scores_of_errors(stage.identify, final, n_classes, least))
        warn_if_worse(self._erm_errors, class_rates(stage.identify, final))

    def _identify(self, study: Study) -> Stage:
        """Stage one: the original head and its scores. Nothing here depends on the threshold."""
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        tune, identify, folds = sets_of(study, self.identification, seed)
        also, plain = (None if identify is tune else identify), None
        if self.C is None:
            self._units = 1 / tune.deviations
            plain = self._path(tune, also, self._balanced(tune), seed)
            # Without class weights a strong penalty leaves a head the larger class.
            self._alpha = min(plain.alpha, ERM_ALPHA)
        original = self._original_head(tune)
        first_folds = None if self.head is not None else folds
        logits, identify = predicted(
            original, tune, tune.weight, identify, first_folds, self._fit_heads
        )
        self._erm_errors = class_rates(identify, wrong(logits, identify))
        self.n_errors_ = np.bincount(
            identify.y_index[wrong(logits, identify) & (identify.weight > 0)],
            minlength=len(self.classes_),
        )
        self.non_constant_ = non_constant_neurons(identify.X, identify.weight)
        scores = self._score(identify, logits, original)
        return Stage(tune, identify, folds, seed, also, plain, original, scores)

    def _retrain(self, stage: Stage, tuning: Tuning, start: LinearHead | None = None) -> FittedHead:
        """Stage two: masks, and the head retrained on what they leave."""
        self.tuning_weight_ = weight = tuning.weight
        self._alpha = tuning.alpha
        self.alpha_ = float("nan") if self.C is not None else tuning.alpha
        self.mask_cost_ = float("nan")
        scores, identify, mask = stage.scores, stage.identify, None
        current: LinearHead = stage.original
        for round_ in range(self.n_rounds):
            if mask is not None:
                logits, identify = predicted(
                    current, stage.tune, weight, identify, stage.folds, self._fits_on(mask)
                )
                scores = self._score(identify, logits, current)
            found = self._mask(scores, mask)
            if mask is not None and np.array_equal(found.columns, mask.columns):
                break
            mask = self._worth_its_cost(found, stage, tuning)
            current = fitted = self._fit_head(
                stage.tune, weight, gains=self._gains_of(mask), start=start
            )
            self._log("round %d: %d neurons suppressed", round_ + 1, mask.everywhere.sum())
        self.spuriousness_scores_ = scores
        self._keep(mask)
        self._set_head(fitted)
        return fitted
