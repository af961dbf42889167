"""NeuronTune: suppress the neurons behind spurious predictions, retrain the head on the rest."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import rankdata
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.feature_selection import SelectorMixin
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ntkit._checks import rates
from ntkit._doc import documented
from ntkit._process import warn
from ntkit._types import Array
from ntkit.estimators._base import (
    OPTIONAL_C,
    VALIDATION_SET,
    FitsRows,
    HeadClassifier,
    OriginalHead,
    call_of_scikit_learn,
)
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.head import LinearHead
from ntkit.scorers import get_scorer
from ntkit.solver.fit_head import FittedHead
from ntkit.solver.sgd import fit_by_sgd
from ntkit.spuriousness import (
    change_scores,
    non_constant_neurons,
    sfit,
    spare_neurons,
    spuriousness_scores,
    suppressed_neurons,
)
from ntkit.study import (
    ALPHAS,
    ERM_ALPHA,
    LEAST_ERRORS,
    Rows,
    Study,
    Tuned,
    identification_sets,
    identified,
    seed_of,
    stratified_folds,
)

_logger = logging.getLogger(__name__)

_ALPHAS = (*ALPHAS, 100.0)  # with few neurons left, the best penalty is strong
_SGD = {"momentum": 0.9, "weight_decay": 1e-4}  # of the authors' other last-layer code
_STATISTICS = {"median", "mean", "magnitude", "contribution", "change", "random"}
_LEAST_LEAD = 0.25  # share of the lead over chance that even a good head loses on biased samples
_MUCH = 0.7  # share of non-constant neurons above which a mask is not selective
_SILENT = ContextVar("silent", default=False)


@dataclass(eq=False, repr=False, kw_only=True)
class NeuronMaskRule(FitsRows):
    """Parameters of the rule that suppresses neurons."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, None, None, closed="both")],
        "max_suppressed": [Interval(Real, 0, 1, closed="both")],
        "aggregation": [StrOptions({"union", "intersection", "per_class"})],
        "statistic": [StrOptions(_STATISTICS)],
        "min_misclassified": [Interval(Integral, 1, None, closed="left")],
        "max_cost": [Interval(Real, 0, 1, closed="both"), None],
    }

    max_suppressed: float = 1.0
    aggregation: str = "union"
    statistic: str = "median"
    min_misclassified: int = LEAST_ERRORS
    identification: Any = 5


@dataclass(frozen=True)
class Scoring:
    """Result of the first step: rows for retraining, scored rows, original head, scores (C, D)."""

    tune: Rows
    scored: Rows
    original: LinearHead
    scores: Array
    seed: int


@documented
@dataclass(eq=False, repr=False)
class NeuronTuneClassifier(NeuronMaskRule, HeadClassifier):
    r"""Last-layer retraining on the neurons that are not spurious (NeuronTune).

    Needs embeddings and class labels; no group labels.

    1. Identify. The original head (``head``, or an ERM head fitted here) predicts a validation set,
       or cross-fits the training set. Every neuron i gets a spuriousness score per class y,
       :math:`\delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)`: its median
       activation on misclassified samples minus that on correctly classified samples of the class.
    2. Mask. The neurons :math:`S = \{i : \delta_i^y > \lambda \text{ for any } y\}` are suppressed.
    3. Retrain. A fresh linear head is trained on the remaining neurons, with classes drawn equally
       often: :math:`\min_\theta \mathbb{E}_{B} \, \mathrm{CE}(h_\theta(\tilde v), y)`, where
       :math:`\tilde v` is the embedding with zeros on S. Its weights on S are exact zeros, so it
       reads unmasked embeddings and exports as a plain linear layer.

    Parameters
    ----------
    threshold : float, default=0.5
        λ, in standard deviations of the neuron. The paper's value, 0, flags most neurons of most
        models; infinity suppresses none.
    max_suppressed : float in [0, 1], default=1.0
        Largest share of non-constant neurons to suppress; the highest scores are suppressed first.
        0 suppresses none.
    aggregation : {"union", "intersection", "per_class"}, default="union"
        Neurons to suppress: those that any class flags, those that every scored class flags, or in
        each class's weights those that this class flags. With two classes only the difference of
        the two weight rows matters, so "per_class" equals "intersection".
    statistic : str, default="median"
        Statistic that is compared between misclassified and correct samples: the "median" or "mean"
        activation, or the median "magnitude" (absolute activation) or "contribution". The
        contribution is the activation times its push toward the strongest wrong logit. "change"
        scores a neuron by the effect of a change that must not matter, instead of by errors: the
        root mean square of its change from ``X`` to ``X_changed``, the same for every class.
        "random" is the control: random scores, so a random mask of the size that ``max_suppressed``
        gives. Only "median" is the paper's.
    min_misclassified : int, default=10
        A class with fewer misclassified samples is not scored.
    max_cost : float or None, default=0.05
        Largest accepted loss of cross-validated mean class accuracy of a class-balanced head, on
        the rows for retraining. A mask that costs more is not applied, with a warning. None applies
        every mask, as "change" and "random" always do. A search needs None: candidates whose masks
        are not applied have the same score.
    {identification}
    {head}
    solver : {"optimum", "sgd"}, default="optimum"
        How the head is retrained. "sgd" draws batches with equally many samples of each class, and
        keeps the best epoch: momentum 0.9, weight decay 1e-4, weights that start uniformly in
        ±1/√D. "optimum" is the optimum of class-balanced logistic regression.
    C : float or None, default=None
        Inverse strength of the L2 penalty of "optimum", and of an ERM head that is fitted here, as
        in scikit-learn's ``LogisticRegression``. None chooses it for standardised neurons by
        cross-validated accuracy over the worse half of the classes. The penalty of "optimum" is
        chosen with the mask; that takes about 40 fits.
    selection : {"worst_class", "average", "sfit"}, default="worst_class"
        With "sgd", the epoch that is kept has the best accuracy of the worst class, average
        accuracy or SFit on the samples that scored the neurons. SFit is
        :math:`\sum_{i, y} |\delta_i^y|` with the errors of the new head.
    epochs, batch_size : int, default=50, 128
        With "sgd": epochs, and samples of a batch.
    learning_rate : float, default=0.001
        With "sgd": learning rate, for embeddings as they are.
    {random_state}

    Attributes
    ----------
    {classes_, coef_}
        Zero on suppressed neurons.
    {intercept_, head_}
    {spuriousness_scores_, suppressed_}
    suppressed_per_class_ : ndarray of bool, shape (C, D)
        Neurons that each class flags (with "per_class": suppresses).
    non_constant_ : ndarray of bool, shape (D,)
        Neurons that vary on the scored samples.
    {erm_head_, n_errors_}
    C_ : float
        ``C``, or the chosen penalty for standardised neurons; NaN with "sgd".
    best_epoch_ : int
        Epoch that "sgd" keeps, from 1; 0 with "optimum".
    sfit_ : float
        SFit of the retrained head on the scored samples, in-sample if these are the training set.
    {n_iter_, n_features_in_, feature_names_in_}

    See Also
    --------
    BalancedClassifier : The same retraining without suppression, as the baseline.
    NeuronTuneClassifierCV : Chooses the threshold by cross-validation.
    AutoDebiasClassifier : Balances errors instead of suppressing neurons.
    ntkit.scorers.CorrectnessGroupScorer : Scorer for a search without group labels.
    ntkit.export.to_onnx : Converts a fitted estimator to ONNX.

    Notes
    -----
    To search, pass ``max_cost=None`` and ``scoring=CorrectnessGroupScorer()``, as in the example,
    because plain accuracy prefers the head that relies most on a shortcut. The path of
    :class:`NeuronTuneClassifierCV` does both. A search warns once, of the candidate it chose.

    From the paper: δ, S, λ = 0, and retraining of the last layer with balanced classes, chosen by
    SFit. From its authors' code for other methods: batches, fresh head, momentum and weight decay.
    Ours: flags of any class, no score of a class with too few errors, λ in standard deviations, at
    least one neuron that is kept, ``max_cost``, and "optimum".

    References
    ----------
    Zheng, Ye, Zhang: NeuronTune: Towards Self-Guided Spurious Bias Mitigation. ICML 2025,
    arXiv 2505.24048.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from ntkit import NeuronTuneClassifier
    >>> from ntkit.scorers import CorrectnessGroupScorer
    {marked}
    >>> clf = NeuronTuneClassifier(max_cost=None, C=1.0, random_state=0).fit(X, y)
    >>> clf.suppressed_
    array([False,  True, False])
    >>> clf.head_
    LinearHead(n_neurons=3, 1 silent, classes=[0, 1], one sigmoid logit, float64)
    >>> search = GridSearchCV(clf, {"threshold": [0.5, 2.5]}, scoring=CorrectnessGroupScorer())
    >>> search.fit(X, y).best_params_
    {'threshold': 0.5}
    """

    _takes: ClassVar[tuple[str, ...]] = ("X_changed", *VALIDATION_SET)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "solver": [StrOptions({"optimum", "sgd"})],
        "C": OPTIONAL_C,
        "selection": [StrOptions({"worst_class", "average", "sfit"})],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
    }

    threshold: float = 0.5
    _: KW_ONLY
    head: OriginalHead = None
    max_cost: float | None = 0.05
    solver: str = "optimum"
    C: float | None = None  # type: ignore[assignment]  # None is resolved for each fit
    selection: str = "worst_class"
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    random_state: Any = None

    @classmethod
    def as_described(cls, **parameters: Any) -> NeuronTuneClassifier:
        """NeuronTune as described: λ = 0, every class with an error, any cost, SGD.

        Parameters
        ----------
        **parameters
            Parameters that replace these.

        Returns
        -------
        NeuronTuneClassifier
            Fitted with ``X_val``, it retrains on ``X``. With ``identification=0.5`` it retrains on
            half of a validation set that is passed as ``X``, and the other half identifies (†).

        Examples
        --------
        >>> from ntkit import NeuronTuneClassifier
        >>> NeuronTuneClassifier.as_described(batch_size=32)
        NeuronTuneClassifier(batch_size=32, max_cost=None, min_misclassified=1,
                             solver='sgd', threshold=0.0)
        """
        described: dict[str, Any] = {"threshold": 0.0, "min_misclassified": 1, "max_cost": None}
        return cls(**(described | {"solver": "sgd"} | parameters))

    @classmethod
    def as_published(cls, **parameters: Any) -> NeuronTuneClassifier:
        """Deprecated: :meth:`as_described`.

        Parameters
        ----------
        **parameters
            Parameters of :meth:`as_described`.

        Returns
        -------
        NeuronTuneClassifier
            As of :meth:`as_described`; before, its head was the optimum with ``C=1``.
        """
        warnings.warn(
            "NeuronTuneClassifier.as_published() became as_described(), which retrains by SGD as "
            "described; for the optimum pass solver='optimum' to that.",
            FutureWarning,
            stacklevel=2,
        )
        return cls.as_described(**parameters)

    def _learn(self, study: Study) -> None:
        found = self._identify(study)
        mask = self._mask(found)
        head = self._retrain(found, mask)
        self._set_head(head)
        scored = found.scored
        wrong = head.logits(scored.X).argmax(axis=1) != scored.y_index
        self.sfit_ = sfit_of(scored, wrong, self.min_misclassified)
        before, chance = 1 - float(self._erm_errors.mean()), 1 / len(self.classes_)
        after = 1 - float(np.nanmean(rates(wrong, scored.y_index, scored.weight)[0]))
        if after < before and after - chance < _LEAST_LEAD * (before - chance):
            _warn(
                f"Mean class accuracy fell from {100 * before:.0f} to {100 * after:.0f} %, near "
                f"guessing ({100 * chance:.0f} %). Raise threshold or keep the original head."
            )

    # -- 1. identify: the errors of the original head, and the scores of the neurons ----------

    def _identify(self, study: Study) -> Scoring:
        r"""Scores :math:`\delta_i^y` of the neurons by the errors of the original head."""
        seed = seed_of(self.random_state)
        tune, scored, folds = identification_sets(study, self.identification, seed)
        if self.C is None and self.head is None:
            penalties = [alpha for alpha in ALPHAS if alpha <= ERM_ALPHA]
            self._alpha = self._tuned(tune, tune.weight, alphas=penalties, seed=seed).alpha
        original = self._original_head(tune)
        folds = None if self.head is not None else folds
        logits, scored = identified(original, tune, tune.weight, scored, folds, self._fit_heads)
        wrong = logits.argmax(axis=1) != scored.y_index
        errors, mass = rates(wrong, scored.y_index, scored.weight)
        self._erm_errors = errors[mass > 0]
        self.n_errors_ = np.bincount(
            scored.y_index[wrong & (scored.weight > 0)], minlength=len(self.classes_)
        )
        self.non_constant_ = non_constant_neurons(scored.X, scored.weight)
        scores = self._scores(study, scored, logits, original, seed)
        return Scoring(tune, scored, original, scores, seed)

    def _scores(
        self, study: Study, scored: Rows, logits: Array, head: LinearHead, seed: int
    ) -> Array:
        """Scores (C, D) by the chosen statistic, in standard deviations."""
        if self.statistic not in ("change", "random"):
            coef = head.coef if len(head.coef) > 1 else np.vstack([0 * head.coef, head.coef])
            label, others = scored.y_index, logits.astype(float)
            others[np.arange(len(others)), label] = -np.inf
            rival = others.argmax(axis=1)  # the strongest wrong class

            def read(values: Array, rows: Array, neurons: slice) -> Array:
                if self.statistic == "contribution":
                    values = values * (coef[rival[rows], neurons] - coef[label[rows], neurons]).T
                return np.abs(values) if self.statistic == "magnitude" else values

            return spuriousness_scores(
                scored.X,
                label,
                logits.argmax(axis=1) != label,
                np.arange(len(scored.classes)),
                sample_weight=scored.weight,
                statistic="mean" if self.statistic == "mean" else "median",
                standardize=True,
                min_misclassified=self.min_misclassified,
                transform=read,
            )
        X, weight = study.train.X, study.train.weight
        if self.statistic == "random":
            scores = np.asarray(np.random.default_rng(seed).uniform(size=X.shape[1]))
        elif study.changed is None:
            raise InputError(
                "statistic='change' scores neurons by changed copies of the samples; pass "
                "X_changed, or use another statistic."
            )
        else:
            scores = change_scores(X, study.changed[: len(weight)], weight)
        return np.tile(scores, (len(self.classes_), 1))

    # -- 2. mask: the neurons whose score exceeds the threshold -------------------------------

    def _mask(self, found: Scoring) -> Array:
        r"""The neurons :math:`S = \{i : \delta_i^y > \lambda\}` to suppress.

        For every class, (D,), or for each, (C, D). If the rule flags every neuron, the one with the
        smallest score is kept.
        """
        scores, non_constant, aggregation = found.scores, self.non_constant_, self.aggregation
        if aggregation == "per_class" and len(scores) == 2:
            # Two classes have one weight row, the difference of two; a neuron has no effect only if
            # both rows suppress it.
            aggregation = "intersection"
        rule: dict[str, Any] = {"aggregation": aggregation, "non_constant": non_constant}
        most: dict[str, Any] = {"threshold": self.threshold, "max_suppressed": self.max_suppressed}
        flagged = suppressed_neurons(scores, **most, **rule)
        columns = per_class = spare_neurons(flagged, scores, **rule)
        if columns.ndim == 1:
            rule["aggregation"] = "per_class"
            per_class = suppressed_neurons(scores, threshold=self.threshold, **rule)
        n_suppressed = int(np.atleast_2d(columns).all(axis=0).sum())
        cost, limit = 0.0, self.max_cost
        by_errors = self.statistic not in ("change", "random")
        if limit is not None and by_errors and columns.any():
            cost = self._cost(found, columns)
        if limit is None or cost <= limit:
            self._warn_about(scores, n_suppressed, spared=bool((columns != flagged).any()))
        else:
            ones = "flagged one" if n_suppressed == 1 else f"{n_suppressed} flagged ones"
            _warn(
                f"Kept all neurons: suppressing the {ones} would cost {100 * cost:.1f} points "
                f"of cross-validated accuracy (limit {100 * limit:g}). ",
                "If that accuracy comes from a shortcut, set max_cost=None and compare with "
                "BalancedClassifier.",
                in_search="Candidates whose masks are not applied tie. Search with max_cost=None "
                "and scoring=CorrectnessGroupScorer(), because accuracy prefers a shortcut.",
            )
            columns = np.zeros_like(columns)
        self.spuriousness_scores_, self.suppressed_per_class_ = scores, per_class
        self.suppressed_ = np.asarray(np.atleast_2d(columns).all(axis=0))
        return columns

    def _warn_about(self, scores: Array, n_suppressed: int, *, spared: bool) -> None:
        """Warn if a mask suppresses nothing for lack of errors, or suppresses nearly everything."""
        n_non_constant, least = int(self.non_constant_.sum()), self.min_misclassified
        fix = "raise threshold or lower max_suppressed"
        if np.isnan(scores).all():
            errors = "an error" if least == 1 else f"{least} errors"
            _warn(
                f"No class has {errors} and a correct sample, so no neuron is scored or "
                "suppressed. Pass more validation samples as X_val."
            )
        elif spared:
            _warn(
                f"The rule flags all {n_non_constant} non-constant neurons; the one with the "
                f"smallest score was kept. To keep more, {fix}."
            )
        elif n_suppressed > _MUCH * n_non_constant:
            _warn(
                f"{n_suppressed} of {n_non_constant} non-constant neurons are suppressed; to "
                f"suppress only the strongest, {fix}."
            )

    def _cost(self, found: Scoring, mask: Array) -> float:
        """Cross-validated mean class accuracy that a mask loses; 0 with too few samples."""
        accuracy = list[float]()
        for path in (self._path(found, None), self._path(found, mask)):
            if path.margin is None:
                return 0.0
            of_classes = rates(path.margin > 0, path.y_index, path.weight)[0]
            accuracy.append(float(np.nanmean(of_classes)))
        return accuracy[0] - accuracy[1]

    def _path(self, found: Scoring, mask: Array | None) -> Tuned:
        """Class-balanced heads of masked neurons, with the penalty chosen for them."""
        rows = found.tune
        gains = np.ones(rows.X.shape[1]) if mask is None else 1.0 - mask
        how: dict[str, Any] = {"gains": gains, "C": self.C}
        if self.C is None:
            how = {"gains": rows.gains * gains, "alphas": _ALPHAS}
        return self._tuned(rows, rows.balanced(), seed=found.seed, **how)

    # -- 3. retrain: a class-balanced head on the remaining neurons ---------------------------

    def _retrain(self, found: Scoring, mask: Array) -> FittedHead:
        r"""Minimise :math:`\mathbb{E}_B \, \mathrm{CE}(h_\theta(\tilde v), y)` for balanced B."""
        rows, self.C_, self.best_epoch_ = found.tune, float("nan"), 0
        if self.solver == "sgd":
            head, self.best_epoch_ = fit_by_sgd(
                rows.X,
                rows.y_index,
                rows.weight,
                rows.classes,
                gains=1.0 - mask,
                epochs=self.epochs,
                batch_size=self.batch_size,
                rng=check_random_state(found.seed),
                fitness=partial(self._fitness, found.scored),
                learning_rate=self.learning_rate,
                **_SGD,
            )
            return head
        path = self._path(found, mask)
        self.C_ = self.C or 1 / (float(rows.balanced().sum()) * path.alpha)
        return path.head

    def _fitness(self, scored: Rows, head: FittedHead) -> float:
        """Label-free score of an epoch, by ``selection``."""
        wrong = head.logits(scored.X).argmax(axis=1) != scored.y_index
        if self.selection == "sfit":
            return sfit_of(scored, wrong, self.min_misclassified)
        of = scored.y_index if self.selection == "worst_class" else np.zeros_like(scored.y_index)
        errors, mass = rates(wrong, of, scored.weight)
        return -float(errors[mass > 0].max())

    def _fit_heads(
        self, rows: Rows, weights: Sequence[Array], gains: Array | None = None
    ) -> list[FittedHead]:
        """Fit ERM heads, with ``C`` or the chosen ridge weight on standardised neurons."""
        if self.C is not None:
            return super()._fit_heads(rows, weights, gains)
        return rows.heads(weights, alphas=[self._alpha] * len(weights), gains=rows.gains)

    def _counts_rows(self) -> bool:
        by_draws = self.solver == "sgd" or self.C is None
        return bool(by_draws or self.identification != "train")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # With two features a rule may suppress a useful one.
        tags.classifier_tags.poor_score = True
        return tags


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

    def _get_support_mask(self) -> Array:
        check_is_fitted(self, "suppressed_")
        return np.asarray(~self.suppressed_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def sfit_of(scored: Rows, wrong: Array, min_misclassified: int) -> float:
    r""":math:`\sum_{i,y} |\delta_i^y|` of a head's errors, in units of the activation."""
    scores = spuriousness_scores(
        scored.X,
        scored.y_index,
        wrong,
        np.arange(len(scored.classes)),
        sample_weight=scored.weight,
        min_misclassified=min_misclassified,
    )
    return sfit(scores)


@contextmanager
def without_words() -> Iterator[None]:
    """Suppress warnings of masks in this thread, as along a path of thresholds."""
    # A filter of warnings would affect all threads, and overlapping filters would leave one behind.
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def _warn(message: str, fix: str = "", *, in_search: str = "") -> None:
    """Warn of a mask, unless :func:`without_words` keeps this thread silent."""
    # A search of scikit-learn's tries masks like a path, so only its chosen candidate warns, and
    # says `in_search` in place of `fix`.
    call = call_of_scikit_learn()
    if _SILENT.get() or (call and call.f_locals.get("candidate_progress")):
        return
    is_chosen = call is not None and call.f_code.co_name == "fit"
    warn(message + (in_search or fix if is_chosen else fix), SuppressionWarning)


@documented
@dataclass(eq=False, repr=False)
class NeuronTuneClassifierCV(NeuronMaskRule, HeadClassifier):
    r"""NeuronTune with the threshold chosen by cross-validation.

    Needs embeddings and class labels; no group labels, neither to fit nor to choose.

    The choice and the head are those of ``GridSearchCV`` over :class:`NeuronTuneClassifier` with
    the same thresholds, folds and scoring, but faster: the original head, its predictions and the
    spuriousness scores do not depend on the threshold, so each fold computes them once. The default
    scoring is ``worst_class_correctness_group_accuracy``. Masks may cost any accuracy
    (``max_cost=None``), since the scoring measures it.

    Parameters
    ----------
    thresholds : array-like, default=(0.0, 0.25, 0.5, 0.75, 1.0)
        Candidate values of ``threshold``, in standard deviations. Infinity suppresses nothing.
    cv : int, splitter or iterable, default=5
        Folds, as in scikit-learn's ``LogisticRegressionCV``; an int is reduced to the size of the
        smallest class.
    scoring : str or callable, default="worst_class_correctness_group_accuracy"
        A name of :data:`ntkit.scorers.SCORERS` without group labels, one of scikit-learn's, or a
        scorer.
    max_suppressed, aggregation, statistic, min_misclassified, identification
        As in :class:`NeuronTuneClassifier`.
    head, solver, C, random_state
        As in :class:`NeuronTuneClassifier`.
    {n_jobs}

    Attributes
    ----------
    threshold_ : float
        Chosen threshold.
    scores_ : ndarray of shape (n_thresholds, n_folds)
        Scores, larger is better.
    cv_results_ : dict of str to ndarray
        The same as a table, in the form of scikit-learn's ``GridSearchCV``, without times: its
        thresholds share a fit.
    best_params_ : dict
        Chosen threshold, as ``{"threshold": 0.5}``.
    best_score_ : float
        Mean score of the chosen threshold.
    best_estimator_ : NeuronTuneClassifier
        The chosen classifier, refitted to all samples.
    classes_, coef_, intercept_, head_, erm_head_, spuriousness_scores_, suppressed_, n_iter_
        Attributes of the refitted classifier, as in :class:`NeuronTuneClassifier`.
    {n_features_in_, feature_names_in_}

    See Also
    --------
    NeuronTuneClassifier : The same with a fixed threshold.
    BalancedClassifier : The same retraining without suppression, as the baseline.
    ntkit.scorers.CorrectnessGroupScorer : The default scoring, for other searches.
    ntkit.export.to_onnx : Converts a fitted estimator to ONNX.

    Examples
    --------
    >>> from ntkit import NeuronTuneClassifierCV
    {marked}
    >>> clf = NeuronTuneClassifierCV(thresholds=[0.5, 2.5], C=1.0, random_state=0).fit(X, y)
    >>> clf.threshold_, clf.suppressed_.tolist()
    (0.5, [False, True, False])
    """

    _takes: ClassVar[tuple[str, ...]] = ("X_changed", *VALIDATION_SET)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeuronTuneClassifier._parameter_constraints,
        "thresholds": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"]), Iterable],
        "scoring": [str, callable],
    }

    thresholds: Any = (0.0, 0.25, 0.5, 0.75, 1.0)
    _: KW_ONLY
    cv: Any = 5
    scoring: Any = "worst_class_correctness_group_accuracy"
    head: OriginalHead = None
    solver: str = "optimum"
    C: float | None = None  # type: ignore[assignment]  # None is resolved for each fit
    n_jobs: int | None = None
    random_state: Any = None

    def _learn(self, study: Study) -> None:
        """Score the path on every fold, choose, and refit the choice to all samples."""
        if not len(self.thresholds):
            raise InputError("There is no threshold to try; pass at least one.")
        for threshold in self.thresholds:
            if not isinstance(threshold, Real) or threshold != threshold:
                raise InputError(
                    f"thresholds holds {threshold!r}, which is not a number; write 0.5, for "
                    "example."
                )
        scorer, splits = get_scorer(self.scoring), list(self._splits(study.train))
        of_fold = partial(_with_config, get_config(), self._scores_of_fold)
        folds = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            delayed(of_fold)(study, train, test, scorer) for train, test in splits
        )
        self.scores_ = np.stack(folds, axis=1)
        mean = self.scores_.mean(axis=1)
        best = int(np.argmax(mean))
        self.threshold_, self.best_score_ = self.thresholds[best], float(mean[best])
        self.best_params_ = {"threshold": self.threshold_}
        self.cv_results_ = self._results()
        _logger.debug("chosen: %s", self.threshold_)
        self.best_estimator_ = clf = self._estimator(threshold=self.threshold_).fit_study(study)
        if hasattr(self, "feature_names_in_"):
            clf.feature_names_in_ = self.feature_names_in_
        self.coef_, self.intercept_, self.n_iter_ = clf.coef_, clf.intercept_, clf.n_iter_
        self.erm_head_, self.suppressed_ = clf.erm_head_, clf.suppressed_
        self.spuriousness_scores_ = clf.spuriousness_scores_

    def _splits(self, rows: Rows) -> Iterable[tuple[Array, Array]]:
        cv = self.cv
        if isinstance(cv, int | np.integer):
            folds = stratified_folds(rows.y_index, int(cv), None, rows.contents, shuffle=False)
            if not folds:
                raise InputError(
                    "Folds need 2 samples of each class, but the smallest has 1; add samples."
                )
        else:
            folds = check_cv(cv, rows.y, classifier=True).split(rows.X, rows.y)
        for train, test in folds:
            if len(np.unique(rows.y_index[train])) < len(self.classes_):
                raise InputError("A training fold lacks a class; use stratified folds or lower cv.")
            yield train, test

    def _estimator(self, **parameters: Any) -> NeuronTuneClassifier:
        shared = {*self._get_param_names()} & {*NeuronTuneClassifier._get_param_names()}
        values = {name: getattr(self, name) for name in shared}
        clf = NeuronTuneClassifier(**values, **parameters, max_cost=None)
        return clone(clf)  # type: ignore[no-any-return]

    def _scores_of_fold(self, study: Study, train: Array, test: Array, scorer: Any) -> Array:
        """Scores of all thresholds on one fold, which identifies once."""
        clf, rows = self._estimator(), study.train
        clf.classes_, clf.n_features_in_ = rows.classes, rows.X.shape[1]
        found = clf._identify(study.take(train=train))
        X_test, y_test = rows.X[test], rows.y[test]
        if hasattr(scorer, "for_samples"):
            scorer = scorer.for_samples(X_test, y_test)
        scores = list[Any]()
        for threshold in self.thresholds:
            clf.set_params(threshold=threshold)
            clf._set_head(clf._retrain(found, clf._mask(found)))
            scores.append(scorer(clf, X_test, y_test))
        return np.array(scores, dtype=float)

    def _results(self) -> dict[str, Any]:
        """The scores as the table that GridSearchCV makes of them."""
        of_folds = {f"split{i}_test_score": score for i, score in enumerate(self.scores_.T)}
        mean = self.scores_.mean(axis=1)
        return {
            "param_threshold": np.ma.MaskedArray(np.array(self.thresholds, dtype=float)),
            "params": [{"threshold": threshold} for threshold in self.thresholds],
            **of_folds,
            "mean_test_score": mean,
            "std_test_score": self.scores_.std(axis=1),
            "rank_test_score": rankdata(-mean, method="min").astype(np.int32),
        }

    def _counts_rows(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # like NeuronTuneClassifier, with two features
        return tags


def _with_config(config: dict[str, Any], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in another thread, with this thread's scikit-learn configuration."""
    # Extreme thresholds of a path suppress nearly all neurons on purpose, so warnings are off.
    with config_context(**config), without_words():
        return function(*args)
