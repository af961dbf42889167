"""NeuronTune: suppress the neurons behind spurious predictions, retrain the head on the rest."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._checks import rates
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._base import (
    OPTIONAL_C,
    VALIDATION_SET,
    HeadClassifier,
    OriginalHead,
)
from ntkit.estimators._mask import (
    Mask,
    NeuronMaskRule,
    error_scores,
    make_mask,
    sfit_of,
    warn_about,
    warn_of_cost,
    warn_of_guessing,
)
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import FittedHead, fit_by_sgd
from ntkit.spuriousness import (
    change_scores,
    non_constant_neurons,
)
from ntkit.study import (
    ALPHAS,
    ERM_ALPHA,
    Rows,
    Study,
    Tuned,
    identification_sets,
    identified,
    seed_of,
)

_ALPHAS = (*ALPHAS, 100.0)  # with few neurons left, the best penalty is strong
_SGD = {"momentum": 0.9, "weight_decay": 1e-4}  # of the authors' other last-layer code


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
        every mask, as "change" and "random" always do.
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
    ntkit.metrics.CorrectnessGroupScorer : Scorer for a search without group labels.
    ntkit.export.to_onnx : Converts a fitted estimator to ONNX.

    Notes
    -----
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
    >>> from ntkit.metrics import CorrectnessGroupScorer
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
        after = 1 - float(np.nanmean(rates(wrong, scored.y_index, scored.weight)[0]))
        warn_of_guessing(1 - float(self._erm_errors.mean()), after, len(self.classes_))

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
        """Scores (C, D) by the chosen statistic."""
        if self.statistic not in ("change", "random"):
            return error_scores(scored, logits, head, self.statistic, self.min_misclassified)
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

    def _mask(self, found: Scoring) -> Mask:
        r"""The neurons :math:`S = \{i : \delta_i^y > \lambda\}` to suppress."""
        mask = make_mask(
            found.scores,
            self.non_constant_,
            threshold=self.threshold,
            aggregation=self.aggregation,  # type: ignore[arg-type]
            max_suppressed=self.max_suppressed,
        )
        warn_about(mask, found.scores, self.non_constant_, self.min_misclassified)
        by_errors = self.statistic not in ("change", "random")
        if self.max_cost is not None and by_errors and mask.columns.any():
            cost = self._cost(found, mask)
            if cost > self.max_cost:
                warn_of_cost(int(mask.everywhere.sum()), cost, self.max_cost)
                mask = replace(mask, columns=np.zeros_like(mask.columns))
        self.spuriousness_scores_ = found.scores
        self.suppressed_, self.suppressed_per_class_ = mask.everywhere, mask.per_class
        return mask

    def _cost(self, found: Scoring, mask: Mask) -> float:
        """Cross-validated mean class accuracy that a mask loses; 0 with too few samples."""
        accuracy = list[float]()
        for path in (self._path(found, None), self._path(found, mask)):
            if path.margin is None:
                return 0.0
            of_classes = rates(path.margin > 0, path.y_index, path.weight)[0]
            accuracy.append(float(np.nanmean(of_classes)))
        return accuracy[0] - accuracy[1]

    def _path(self, found: Scoring, mask: Mask | None) -> Tuned:
        """Class-balanced heads of masked neurons, with the penalty chosen for them."""
        rows = found.tune
        gains = np.ones(rows.X.shape[1]) if mask is None else 1.0 - mask.columns
        how: dict[str, Any] = {"gains": gains, "C": self.C}
        if self.C is None:
            how = {"gains": rows.gains * gains, "alphas": _ALPHAS}
        return self._tuned(rows, rows.balanced(), seed=found.seed, **how)

    # -- 3. retrain: a class-balanced head on the remaining neurons ---------------------------

    def _retrain(self, found: Scoring, mask: Mask) -> FittedHead:
        r"""Minimise :math:`\mathbb{E}_B \, \mathrm{CE}(h_\theta(\tilde v), y)` for balanced B."""
        rows, self.C_, self.best_epoch_ = found.tune, float("nan"), 0
        if self.solver == "sgd":
            head, self.best_epoch_ = fit_by_sgd(
                rows.X,
                rows.y_index,
                rows.weight,
                rows.classes,
                gains=1.0 - mask.columns,
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
