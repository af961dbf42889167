"""NeuronTune: suppress the neurons behind spurious predictions, retrain the head on the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import SelectorMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ntkit._checks import rates
from ntkit._doc import documented
from ntkit._types import Array
from ntkit._warn import warn
from ntkit.estimators._base import (
    OPTIONAL_C,
    VALIDATION_SET,
    FitsRows,
    FromHead,
    OriginalHead,
)
from ntkit.estimators._mask import Mask, make_mask, warn_about, warn_of_cost
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.head import LinearHead
from ntkit.solver import FittedHead
from ntkit.spuriousness import (
    change_scores,
    non_constant_neurons,
    sfit,
    spuriousness_scores,
)
from ntkit.study import (
    ERM_ALPHA,
    LEAST_ERRORS,
    Fold,
    Rows,
    Study,
    Tuned,
    correctness_balanced,
    correctness_groups,
    cross_fitted_logits,
    errors_are_evidence,
    folds_of,
    identification_sets,
    identified,
    seed_of,
    without,
)

_logger = logging.getLogger(__name__)
_LEAST_LEAD = 0.25  # share of the lead over chance that even a good head loses on biased samples


@dataclass(frozen=True)
class Stage:
    """Result of stage one: sets, folds (if the two sets are the same), original head, scores."""

    # `also`: validation samples that are not for retraining, which evaluate penalties.
    # `changed`: copies that evaluate a mask, because a loss on biased samples is not a cost.
    # `plain`: penalties of class-balanced retraining, if one is to be chosen.

    tune: Rows
    identify: Rows
    folds: list[Fold] | None
    seed: int
    also: Rows | None
    plain: Tuned | None
    original: LinearHead
    scores: Array
    changed: Array | None = None


@dataclass(frozen=True)
class Tuning:
    """Settings of retraining: weights, balanced groups, and ridge weight."""

    weight: Array
    cells: Array
    alpha: float


@dataclass(eq=False, repr=False, kw_only=True)
class NeuronMaskRule(FitsRows):
    """Parameters of the rule that suppresses neurons, and how NeuronTune reads them by default."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, None, None, closed="neither")],
        "max_suppressed": [Interval(Real, 0, 1, closed="both")],
        "aggregation": [StrOptions({"union", "intersection", "per_class"})],
        "statistic": [StrOptions({"median", "mean", "contribution", "change"})],
        "standardize": ["boolean"],
        "activation": [StrOptions({"signed", "magnitude"})],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "min_misclassified": [Interval(Integral, 1, None, closed="left")],
        "min_neurons": [Interval(Integral, 1, None, closed="left"), None],
    }

    max_suppressed: float = 1.0
    aggregation: str = "union"
    statistic: str = "median"
    standardize: bool = True
    activation: str = "signed"
    min_misclassified: int = LEAST_ERRORS
    min_neurons: int | None = None
    identification: Any = 5


@documented
@dataclass(eq=False, repr=False)
class NeuronTuneClassifier(NeuronMaskRule, FromHead):
    r"""Last-layer retraining on the neurons that are not spurious (NeuronTune).

    Needs embeddings and class labels; no group labels.

    1. The original head (``head``, or an ERM head fitted here) predicts a validation set, or
       cross-fits the training set.
    2. Every neuron i gets a spuriousness score per class y,
       :math:`\delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)`: its median
       activation on misclassified samples minus that on correctly classified samples of the class.
    3. The neurons :math:`S = \{i : \delta_i^y > \lambda \text{ for any } y\}` are suppressed.
    4. A class-balanced linear head is retrained on the remaining neurons. Its weights on S are
       exact zeros, so it reads unmasked embeddings and exports as a plain linear layer.

    The defaults are cautious: a mask that costs over 3 percentage points of accuracy is not
    applied, even if a shortcut is the reason. Scores are in standard deviations with a positive
    threshold, and classes with few errors are not scored. Cross-validation chooses the penalty.
    Misclassified samples get more weight if cross-validation shows that this fixes errors.
    :meth:`as_published` gives the paper's method.

    Parameters
    ----------
    threshold : float, default=0.5
        λ; in standard deviations of the neuron with ``standardize=True``. The paper's value, 0,
        flags most neurons of most models.
    max_suppressed : float in [0, 1], default=1.0
        Largest share of non-constant neurons to suppress; the highest scores are suppressed first.
    aggregation : {"union", "intersection", "per_class"}, default="union"
        Neurons to suppress: those that any class flags, those that every scored class flags, or in
        each class's weights those that this class flags. With two classes only the difference of
        the two weight rows matters, so "per_class" equals "intersection".
    statistic : {"median", "mean", "contribution", "change"}, default="median"
        Statistic that is compared between misclassified and correct samples: the median or mean
        activation, or the median contribution. The contribution is the activation times its push
        toward the strongest wrong logit. "change" scores a neuron by the effect of a change that
        must not matter, instead of by errors: the root mean square of its change from ``X`` to
        ``X_changed``, the same for every class. Rounds after the first then have no effect.
    standardize : bool, default=True
        Divide scores by the neuron's standard deviation over the samples that are scored; with
        "change" over the training samples.
    activation : {"signed", "magnitude"}, default="signed"
        Compare plain activations, or their absolute values.
    suppression : float in [0, 1], default=1.0
        Strength of the suppression: flagged neurons are multiplied by ``1 - suppression`` before
        retraining. So 1 suppresses them, and 0 suppresses nothing. Values between 0 and 1 only
        strengthen the penalty on these neurons.
    n_rounds : int, default=1
        Rounds of scoring; each starts from the head of the last, and masks accumulate.
    min_misclassified : int, default=10
        A class with fewer misclassified samples is not scored.
    min_neurons : int, default=None
        Smallest number of non-constant neurons to keep: if the rule leaves fewer, those with the
        smallest scores are kept. None: if more than 95 % of neurons are flagged, none is
        suppressed.
    {identification}
    error_weight : float, "balanced" or "auto", default="auto"
        Factor on the weight of training samples that the original head misclassifies, cross-fitted
        if the head is fitted here. "balanced" gives correct and misclassified samples of each class
        equal weight, by the errors of a cross-fitted class-balanced head; a class with fewer than
        10 errors keeps its weights. "auto" does so if the error recovery rate shows that retraining
        fixes the errors (see :class:`AutoDebiasClassifier`), and else uses 1.
    max_cost : float or None, default=0.03
        Largest accepted loss of cross-validated mean class accuracy, on the training samples. If
        ``error_weight`` balances class × correctness groups: of mean accuracy over these groups. If
        changed copies scored the neurons, accuracy is measured on the copies. A mask that costs
        more is not applied, with a warning. None applies every mask.
    {head}
    C : float or None, default=None
        Inverse strength of the L2 penalty, as in scikit-learn's ``LogisticRegression``. None
        chooses the penalty on standardised neurons, by cross-validated accuracy over the worse half
        of the classes, or over class × correctness groups if these are balanced. That takes about
        60 fits.
    {class_weight, tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_}
        Zero on suppressed neurons.
    {intercept_, head_}
    spuriousness_scores_ : ndarray of shape (C, D)
        Scores of the last round; NaN rows for classes that could not be scored.
    suppressed_ : ndarray of bool, shape (D,)
        Neurons whose weights are zero for every class because of the rule.
    attenuated_ : ndarray of bool, shape (D,)
        Neurons scaled by ``1 - suppression``, if that is neither 0 nor 1.
    suppressed_per_class_ : ndarray of bool, shape (C, D)
        Neurons that each class flags (with "per_class": suppresses).
    gains_ : ndarray of shape (D,)
        Factor on each neuron; ``1 - suppression`` for flagged ones.
    mask_cost_ : float
        Accuracy cost of suppression, as for ``max_cost``; NaN if ``max_cost`` is None, nothing is
        flagged, or there are too few samples for folds.
    alpha_ : float
        Chosen ridge weight on the mean loss; NaN if ``C`` is a number. On standardised neurons,
        ``C = 1 / (N * alpha_)``.
    non_constant_ : ndarray of bool, shape (D,)
        Neurons that vary on the scored samples.
    spared_ : bool
        Whether the rule flagged too many non-constant neurons, so that some or all were not
        suppressed.
    {erm_head_}
    n_errors_ : ndarray of shape (C,)
        Misclassified samples of each class, by the original head.
    sfit_ : float
        The paper's SFit of the retrained head on the scored samples, in-sample if these are the
        training set. It is a diagnostic: it rewards heads with few, noisy errors.
    tuning_weight_ : ndarray
        Weight of each retraining sample: sample, class and error weight multiplied.
    {n_iter_, n_features_in_, feature_names_in_}

    See Also
    --------
    BalancedClassifier : The same retraining without suppression, as the baseline.
    NeuronTuneClassifierCV : Chooses the threshold by cross-validation.
    ntkit.metrics.CorrectnessGroupScorer : Scorer for a search without group labels.
    ntkit.export.to_onnx : Converts a fitted estimator to ONNX.

    References
    ----------
    Zheng, Ye, Zhang: NeuronTune: Towards Self-Guided Spurious Bias Mitigation. ICML 2025,
    arXiv 2505.24048.

    Examples
    --------
    >>> import warnings
    >>> from ntkit import NeuronTuneClassifier
    >>> from ntkit.exceptions import SuppressionWarning
    {marked}
    >>> clf = NeuronTuneClassifier(C=1.0, max_cost=None, random_state=0)
    >>> with warnings.catch_warnings():  # that accuracy is lost where the mark goes with the class
    ...     warnings.simplefilter("ignore", SuppressionWarning)
    ...     clf = clf.fit(X, y)
    >>> clf.suppressed_
    array([False,  True, False])
    >>> clf.head_
    LinearHead(n_neurons=3, 1 silent, classes=[0, 1], one sigmoid logit, float64)
    """

    _takes: ClassVar[tuple[str, ...]] = ("X_changed", *VALIDATION_SET)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "suppression": [Interval(Real, 0, 1, closed="both")],
        "error_weight": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"balanced", "auto"}),
        ],
        "max_cost": [Interval(Real, 0, 1, closed="both"), None],
        "C": OPTIONAL_C,
    }

    threshold: float = 0.5
    _: KW_ONLY
    suppression: float = 1.0
    n_rounds: int = 1
    error_weight: float | str = "auto"
    max_cost: float | None = 0.03
    C: float | None = None  # type: ignore[assignment]  # None is resolved for each fit
    class_weight: Any = "balanced"

    @classmethod
    def as_published(cls, **parameters: Any) -> NeuronTuneClassifier:
        """The paper's method: λ = 0 on unscaled activations, every class scored, any cost.

        All flagged neurons are suppressed, except for the last non-constant neuron.

        Parameters
        ----------
        **parameters
            Parameters that replace the paper's.

        Returns
        -------
        NeuronTuneClassifier
            With ``C=1`` instead of the paper's early stopping of stochastic gradient descent.

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
        identify = stage.identify
        wrong = current.logits(identify.X).argmax(axis=1) != identify.y_index
        self.sfit_ = sfit(self._scores_of(identify, wrong))
        # Warn if the retrained head is hardly better than guessing.
        after = 1 - np.nanmean(rates(wrong, identify.y_index, identify.weight)[0])
        before, chance = 1 - self._erm_errors.mean(), 1 / len(self._erm_errors)
        if after - chance < _LEAST_LEAD * (before - chance):
            message = (
                f"Mean class accuracy fell from {100 * before:.0f} to {100 * after:.0f} %, near "
                f"guessing ({100 * chance:.0f} %). Raise threshold, set max_cost, or keep the "
                "original head."
            )
            warn(message, SuppressionWarning)

    # -- stage one: the original head and its scores, whatever the threshold ----------------

    def _identify(self, study: Study) -> Stage:
        seed = seed_of(self.random_state)
        tune, identify, folds = identification_sets(study, self.identification, seed)
        also, plain = (None if identify is tune else identify), None
        if self.C is None:
            self._units = tune.gains
            plain = self._tuned(tune, tune.balanced(), also=also, seed=seed)
            # Without class weights, a strong penalty makes a head predict the larger class.
            self._alpha = min(plain.alpha, ERM_ALPHA)
        original = self._original_head(tune)
        first_folds = None if self.head is not None else folds
        logits, identify = identified(
            original, tune, tune.weight, identify, first_folds, self._fit_heads
        )
        wrong = logits.argmax(axis=1) != identify.y_index
        errors, mass = rates(wrong, identify.y_index, identify.weight)
        self._erm_errors = errors[mass > 0]
        self.n_errors_ = np.bincount(
            identify.y_index[wrong & (identify.weight > 0)], minlength=len(self.classes_)
        )
        self.non_constant_ = non_constant_neurons(identify.X, identify.weight)
        if self.statistic == "change":
            scores = self._change_scores(study)
        else:
            scores = self._score(identify, logits, original)
        changed = None
        if self.statistic == "change" and study.changed is not None and tune is study.train:
            changed = study.changed[: len(tune.weight)]
        return Stage(tune, identify, folds, seed, also, plain, original, scores, changed)

    def _score(self, identify: Rows, logits: Array, head: LinearHead) -> Array:
        """Spuriousness scores (C, D) of a head's errors."""
        coef = head.coef if len(head.coef) > 1 else np.vstack([0 * head.coef, head.coef])
        label, others = identify.y_index, logits.astype(float)
        others[np.arange(len(others)), label] = -np.inf
        rival = others.argmax(axis=1)  # the strongest wrong class

        def read(values: Array, rows: Array, neurons: slice) -> Array:
            if self.statistic == "contribution":
                values = values * (coef[rival[rows], neurons] - coef[label[rows], neurons]).T
            return np.abs(values) if self.activation == "magnitude" else values

        return self._scores_of(
            identify,
            logits.argmax(axis=1) != label,
            statistic="mean" if self.statistic == "mean" else "median",
            standardize=self.standardize,
            transform=read,
        )

    def _change_scores(self, study: Study) -> Array:
        """Scores (C, D) of the effect of a change on each neuron, on the training samples."""
        if study.changed is None:
            raise InputError(
                "statistic='change' scores neurons by changed copies of the samples; pass "
                "X_changed, or use another statistic."
            )
        X, weight = study.train.X, study.train.weight
        changed = study.changed[: len(weight)]
        if self.activation == "magnitude":
            X, changed = np.abs(X), np.abs(changed)
        scores = change_scores(X, changed, weight, self.standardize)
        return np.tile(scores, (len(self.classes_), 1))

    def _scores_of(self, identify: Rows, wrong: Array, **options: Any) -> Array:
        return spuriousness_scores(
            identify.X,
            identify.y_index,
            wrong,
            np.arange(len(self.classes_)),
            sample_weight=identify.weight,
            min_misclassified=self.min_misclassified,
            **options,
        )

    # -- stage two: masks, and the head retrained on the remaining neurons ----------------------

    def _retrain(self, stage: Stage, tuning: Tuning, start: LinearHead | None = None) -> FittedHead:
        self.tuning_weight_ = weight = tuning.weight
        self._alpha = tuning.alpha
        self.alpha_ = float("nan") if self.C is not None else tuning.alpha
        self.mask_cost_ = float("nan")
        scores, identify, mask = stage.scores, stage.identify, None
        current: LinearHead = stage.original
        for round_ in range(self.n_rounds):
            if mask is not None:
                logits, identify = identified(
                    current, stage.tune, weight, identify, stage.folds, self._fits_on(mask)
                )
                if self.statistic != "change":
                    scores = self._score(identify, logits, current)
            new_mask = make_mask(
                scores,
                self.non_constant_,
                threshold=self.threshold,
                aggregation=self.aggregation,  # type: ignore[arg-type]
                max_suppressed=self.max_suppressed,
                min_neurons=self.min_neurons,
                before=mask,
            )
            warn_about(
                new_mask,
                scores,
                self.non_constant_,
                min_misclassified=self.min_misclassified,
                min_neurons=self.min_neurons,
            )
            if mask is not None and np.array_equal(new_mask.columns, mask.columns):
                break
            mask = self._worth_its_cost(new_mask, stage, tuning)
            options: dict[str, Any] = {"gains": 1 - self.suppression * mask.columns, "start": start}
            if self.C is None and start is not None:  # the ridge weight on standardised neurons
                options["gains"] = self._in_units(options["gains"])
                options["C"] = 1 / (float(weight.sum()) * self._alpha)
            current = fitted = self._fit_head(stage.tune, weight, **options)
            n_suppressed = mask.everywhere.sum()
            _logger.debug("round %d: %d neurons suppressed", round_ + 1, n_suppressed)
        assert mask is not None
        nothing = np.zeros_like(mask.everywhere)
        self.spuriousness_scores_ = scores
        self.suppressed_ = mask.everywhere if self.suppression == 1 else nothing
        self.attenuated_ = mask.everywhere if 0 < self.suppression < 1 else nothing
        self.suppressed_per_class_, self.spared_ = mask.per_class, mask.spared
        self.gains_ = 1 - self.suppression * mask.everywhere
        self._set_head(fitted)
        return fitted

    def _worth_its_cost(self, mask: Mask, stage: Stage, tuning: Tuning) -> Mask:
        """The mask, or none if its accuracy cost on unseen samples is too high."""
        folds = folds_of(5, stage.tune, stage.seed)
        if self.max_cost is None or not self.suppression or folds is None:
            return mask
        if not mask.columns.any():
            return mask

        changed = stage.changed

        def accuracy(fit: Callable[[Rows, Sequence[Array]], list[FittedHead]]) -> float:
            if changed is not None:
                heads = fit(stage.tune, [without(tuning.weight, train) for train, _ in folds])
                return _accuracy_on_copies(stage.tune, changed, folds, heads)
            logits, _ = cross_fitted_logits(stage.tune, tuning.weight, folds, fit)
            right = logits.argmax(axis=1) == stage.tune.y_index
            return float(np.nanmean(rates(right, tuning.cells, stage.tune.weight)[0]))

        self.mask_cost_ = accuracy(self._fit_heads) - accuracy(self._fits_on(mask))
        if self.mask_cost_ <= self.max_cost:
            return mask
        warn_of_cost(int(mask.everywhere.sum()), self.mask_cost_, self.max_cost)
        return replace(mask, columns=np.zeros_like(mask.columns), spared=True)

    # -- heads, weights and penalties -------------------------------------------------------

    def _fit_heads(
        self, rows: Rows, weights: Sequence[Array], gains: Array | None = None
    ) -> list[FittedHead]:
        """Fit with ``C``, or with the chosen ridge weight on standardised neurons."""
        if self.C is not None:
            return super()._fit_heads(rows, weights, gains)
        options = {"gains": self._in_units(gains), **self._solver_options()}
        return rows.heads(weights, alphas=[self._alpha] * len(weights), **options)

    def _counts_rows(self) -> bool:
        return bool(self.C is None or self.error_weight != 1 or self.identification != "train")

    def _in_units(self, gains: Array | None) -> Array:
        return self._units if gains is None else self._units * gains

    def _fits_on(self, mask: Mask) -> Callable[[Rows, Sequence[Array]], list[FittedHead]]:
        """Return a function that fits heads to weighted rows of masked neurons."""
        return partial(self._fit_heads, gains=1 - self.suppression * mask.columns)

    def _tuning(self, stage: Stage) -> Tuning:
        """Sample weight times class weight times error weight, and the penalty for them."""
        tune = stage.tune
        balanced, by_class = tune.balanced(self.class_weight), 2 * tune.y_index
        options: dict[str, Any] = {"also": stage.also, "seed": stage.seed}
        if self.error_weight == 1:
            alpha = 1.0 if stage.plain is None else stage.plain.alpha
            if stage.plain is not None and self.class_weight != "balanced":
                alpha = self._tuned(tune, balanced, C=self.C, **options).alpha
            return Tuning(balanced, by_class, alpha)
        if self.error_weight in ("balanced", "auto"):
            return self._tuning_by_cells(stage, balanced)
        folds = stage.folds or folds_of(5, tune, stage.seed)
        if self.head is not None or folds is None:
            logits = stage.original.logits(tune.X)
        else:
            logits, _ = cross_fitted_logits(tune, tune.weight, folds, self._fit_heads)
        wrong = logits.argmax(axis=1) != tune.y_index
        weight = np.where(wrong, self.error_weight, 1.0) * balanced
        if stage.plain is None:
            return Tuning(weight, by_class, 1.0)
        return Tuning(weight, by_class, self._tuned(tune, weight, C=self.C, **options).alpha)

    def _tuning_by_cells(self, stage: Stage, balanced: Array) -> Tuning:
        """Balanced class × correctness groups; with "auto" only if that fixes the errors."""
        tune = stage.tune
        options: dict[str, Any] = {"also": stage.also, "C": self.C, "seed": stage.seed}
        plain = stage.plain or self._tuned(tune, tune.balanced(), **options)
        by_class = Tuning(balanced, tune.y_index, plain.alpha)
        reference = plain.strongest().margin
        if reference is None or plain.margin is None:  # too few samples for folds
            return by_class
        y_index, mass = plain.y_index, plain.weight
        weight = correctness_balanced(balanced, tune.y_index, reference[: len(balanced)] <= 0)
        cells = correctness_groups(y_index, reference <= 0, mass)
        path = self._tuned(tune, weight, cells, **options)
        if self.error_weight == "auto":
            balanced_margin = path.margin
            if balanced_margin is None:
                return by_class
            margins = reference, plain.margin, balanced_margin
            if not errors_are_evidence(y_index, mass, *margins)[0]:
                return by_class
        return Tuning(weight, cells[: len(balanced)], path.alpha)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # With two features a rule may suppress a useful one.
        tags.classifier_tags.poor_score = True
        return tags


def _accuracy_on_copies(
    rows: Rows, changed: Array, folds: Sequence[Fold], heads: Sequence[LinearHead]
) -> float:
    """Mean class accuracy on the copies of rows that a head has not seen."""
    originals, outcomes = list[Array](), list[Array]()
    for (_, test), head in zip(folds, heads, strict=True):
        row, copy = np.nonzero(~np.isnan(changed[test][:, :, 0]))
        originals.append(of := test[row])
        outcomes.append(head.logits(changed[of, copy]).argmax(axis=1) == rows.y_index[of])
    of = np.concatenate(originals)
    return float(np.nanmean(rates(np.concatenate(outcomes), rows.y_index[of], rows.weight[of])[0]))


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class SpuriousNeuronSelector(SelectorMixin, NeuronMaskRule):
    r"""Feature selector that removes spurious neurons (NeuronTune's first stage).

    Needs embeddings and class labels; no group labels.

    Removes the neurons :math:`S = \{i : \delta_i^y > \lambda \text{ for any } y\}`, so any
    scikit-learn classifier can follow in a pipeline. The spuriousness score
    :math:`\delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)` is the median
    activation on misclassified minus correctly classified samples of class y (arXiv 2505.24048,
    Sec. 4). With ``min_neurons=1`` and a class-balanced ``LogisticRegression`` as the next step,
    the pipeline equals ``NeuronTuneClassifier.as_published()``. Export the latter, because it keeps
    the width of the embedding.

    Parameters
    ----------
    threshold : float, default=0.0
        λ; in standard deviations of the neuron with ``standardize=True``.
    max_suppressed, statistic, standardize, activation, min_misclassified, min_neurons
        As in :class:`NeuronTuneClassifier`, but ``standardize`` is False and ``min_misclassified``
        is 1 by default.
    aggregation : {"union", "intersection"}, default="union"
        Remove the neurons that any class flags, or that every scored class flags.
    {identification, head, erm.C, tol, max_iter, random_state}

    Attributes
    ----------
    spuriousness_scores_ : ndarray of shape (C, D)
        Scores; NaN rows for classes that could not be scored.
    suppressed_ : ndarray of bool, shape (D,)
        Neurons that ``transform`` removes.
    n_errors_ : ndarray of shape (C,)
        Misclassified samples of each class, by the original head.
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

    _takes: ClassVar[tuple[str, ...]] = ("X_changed", *VALIDATION_SET)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeuronTuneClassifier._parameter_constraints,
        "aggregation": [StrOptions({"union", "intersection"})],
    }

    threshold: float = 0.0
    standardize: bool = False
    min_misclassified: int = 1
    head: OriginalHead = None
    C: float = 1.0
    tol: float = 1e-5
    max_iter: int = 1000
    random_state: Any = None

    def _study(self, X: Any, y: Any, sample_weight: Any = None, **known: Any) -> Study:
        # The accuracy of the selector's own head does not matter for the classifier that follows.
        rule = self.get_params(deep=False) | {"max_cost": None, "error_weight": 1.0}
        self.estimator_ = NeuronTuneClassifier(**rule)
        study = self.estimator_._study(X, y, sample_weight, **known)
        validate_data(self, X, skip_check_array=True)
        return study

    def _learn(self, study: Study) -> None:
        clf = self.estimator_
        stage = clf._identify(study)
        clf._retrain(stage, clf._tuning(stage))
        self.spuriousness_scores_, self.suppressed_ = clf.spuriousness_scores_, clf.suppressed_
        self.n_errors_, self.n_iter_ = clf.n_errors_, clf.n_iter_

    def _counts_rows(self) -> bool:
        return bool(self.identification != "train")

    def _get_support_mask(self) -> NDArray[Any]:
        check_is_fitted(self, "suppressed_")
        return np.asarray(~self.suppressed_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
