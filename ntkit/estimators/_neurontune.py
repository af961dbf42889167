"""NeuronTune: suppress the neurons behind spurious predictions, retrain the head on the rest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._checks import rates
from ntkit._doc import documented
from ntkit._types import Array
from ntkit._warn import warn
from ntkit.estimators._base import (
    OPTIONAL_C,
    VALIDATION_SET,
    FitsRows,
    HeadClassifier,
    OriginalHead,
)
from ntkit.estimators._mask import Mask, make_mask, warn_about
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.head import LinearHead
from ntkit.solver import FittedHead, balanced_batches, sgd_steps, stepped_head
from ntkit.spuriousness import (
    change_scores,
    non_constant_neurons,
    sfit,
    spuriousness_scores,
)
from ntkit.study import (
    ALPHAS,
    ERM_ALPHA,
    LEAST_ERRORS,
    Rows,
    Study,
    identification_sets,
    identified,
    seed_of,
)

_LEAST_LEAD = 0.25  # share of the lead over chance that even a good head loses on biased samples
_ALPHAS = (*ALPHAS, 100.0)  # with few neurons left, the best penalty is strong
_MOMENTUM, _WEIGHT_DECAY = 0.9, 1e-4  # of the authors' other last-layer code


@dataclass(frozen=True)
class Identified:
    """Result of the first step: rows for retraining, scored rows, original head, scores (C, D)."""

    tune: Rows
    scored: Rows
    original: LinearHead
    scores: Array
    seed: int


@dataclass(eq=False, repr=False, kw_only=True)
class NeuronMaskRule(FitsRows):
    """Parameters of the rule that suppresses neurons."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, None, None, closed="both")],
        "max_suppressed": [Interval(Real, 0, 1, closed="both")],
        "aggregation": [StrOptions({"union", "intersection", "per_class"})],
        "statistic": [StrOptions({"median", "mean", "contribution", "change", "random"})],
        "activation": [StrOptions({"signed", "magnitude"})],
        "min_misclassified": [Interval(Integral, 1, None, closed="left")],
    }

    max_suppressed: float = 1.0
    aggregation: str = "union"
    statistic: str = "median"
    activation: str = "signed"
    min_misclassified: int = LEAST_ERRORS
    identification: Any = 5


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
    statistic : {"median", "mean", "contribution", "change", "random"}, default="median"
        Statistic that is compared between misclassified and correct samples: the median or mean
        activation, or the median contribution. The contribution is the activation times its push
        toward the strongest wrong logit. "change" scores a neuron by the effect of a change that
        must not matter, instead of by errors: the root mean square of its change from ``X`` to
        ``X_changed``, the same for every class. "random" is the control: random scores, so a random
        mask of the size that ``max_suppressed`` gives. Only "median" is the paper's.
    activation : {"signed", "magnitude"}, default="signed"
        Compare plain activations, or their absolute values.
    min_misclassified : int, default=10
        A class with fewer misclassified samples is not scored.
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
    spuriousness_scores_ : ndarray of shape (C, D)
        Scores; NaN rows for classes that could not be scored.
    suppressed_ : ndarray of bool, shape (D,)
        Neurons whose weights are zero for every class because of the rule.
    suppressed_per_class_ : ndarray of bool, shape (C, D)
        Neurons that each class flags (with "per_class": suppresses).
    non_constant_ : ndarray of bool, shape (D,)
        Neurons that vary on the scored samples.
    {erm_head_}
    n_errors_ : ndarray of shape (C,)
        Misclassified samples of each class, by the original head.
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
    least one neuron that is kept, and "optimum".

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
    >>> clf = NeuronTuneClassifier(C=1.0, random_state=0).fit(X, y)
    >>> clf.suppressed_
    array([False,  True, False])
    >>> clf.head_
    LinearHead(n_neurons=3, 1 silent, classes=[0, 1], one sigmoid logit, float64)
    >>> search = GridSearchCV(clf, {{"threshold": [0.5, 2.5]}}, scoring=CorrectnessGroupScorer())
    >>> search.fit(X, y).best_params_
    {{'threshold': 0.5}}
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
    solver: str = "optimum"
    C: float | None = None  # type: ignore[assignment]  # None is resolved for each fit
    selection: str = "worst_class"
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    random_state: Any = None

    @classmethod
    def as_published(cls, **parameters: Any) -> NeuronTuneClassifier:
        """Deprecated: ``NeuronTuneClassifier(threshold=0, min_misclassified=1, solver="sgd")``.

        Parameters
        ----------
        **parameters
            Parameters that replace these.

        Returns
        -------
        NeuronTuneClassifier
            The method as it is described; before, its head was the optimum with ``C=1``.
        """
        warnings.warn(
            "NeuronTuneClassifier.as_published() will be removed; write NeuronTuneClassifier("
            "threshold=0, min_misclassified=1, solver='sgd'), which retrains as described.",
            FutureWarning,
            stacklevel=2,
        )
        described: dict[str, Any] = {"threshold": 0.0, "min_misclassified": 1, "solver": "sgd"}
        return cls(**(described | parameters))

    def _learn(self, study: Study) -> None:
        found = self._identify(study)
        mask = self._mask(found)
        head = self._retrain(found, mask)
        self._set_head(head)
        scored = found.scored
        wrong = head.logits(scored.X).argmax(axis=1) != scored.y_index
        self.sfit_ = self._sfit(scored, wrong)
        # Warn if the retrained head is hardly better than guessing.
        after = 1 - np.nanmean(rates(wrong, scored.y_index, scored.weight)[0])
        before, chance = 1 - self._erm_errors.mean(), 1 / len(self._erm_errors)
        if after - chance < _LEAST_LEAD * (before - chance):
            message = (
                f"Mean class accuracy fell from {100 * before:.0f} to {100 * after:.0f} %, near "
                f"guessing ({100 * chance:.0f} %). Raise threshold or keep the original head."
            )
            warn(message, SuppressionWarning)

    # -- 1. identify: the errors of the original head, and the scores of the neurons ----------

    def _identify(self, study: Study) -> Identified:
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
        if self.statistic == "random":
            drawn = np.random.default_rng(seed).uniform(size=tune.X.shape[1])
            scores = np.tile(drawn, (len(self.classes_), 1))
        elif self.statistic == "change":
            scores = self._change_scores(study)
        else:
            scores = self._score(scored, logits, original)
        return Identified(tune, scored, original, scores, seed)

    def _score(self, scored: Rows, logits: Array, head: LinearHead) -> Array:
        """Spuriousness scores (C, D) of a head's errors, in standard deviations."""
        coef = head.coef if len(head.coef) > 1 else np.vstack([0 * head.coef, head.coef])
        label, others = scored.y_index, logits.astype(float)
        others[np.arange(len(others)), label] = -np.inf
        rival = others.argmax(axis=1)  # the strongest wrong class

        def read(values: Array, rows: Array, neurons: slice) -> Array:
            if self.statistic == "contribution":
                values = values * (coef[rival[rows], neurons] - coef[label[rows], neurons]).T
            return np.abs(values) if self.activation == "magnitude" else values

        return spuriousness_scores(
            scored.X,
            label,
            logits.argmax(axis=1) != label,
            np.arange(len(self.classes_)),
            sample_weight=scored.weight,
            statistic="mean" if self.statistic == "mean" else "median",
            standardize=True,
            min_misclassified=self.min_misclassified,
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
        return np.tile(change_scores(X, changed, weight), (len(self.classes_), 1))

    # -- 2. mask: the neurons whose score exceeds the threshold -------------------------------

    def _mask(self, found: Identified) -> Mask:
        r"""The neurons :math:`S = \{i : \delta_i^y > \lambda\}` to suppress."""
        mask = make_mask(
            found.scores,
            self.non_constant_,
            threshold=self.threshold,
            aggregation=self.aggregation,  # type: ignore[arg-type]
            max_suppressed=self.max_suppressed,
        )
        warn_about(mask, found.scores, self.non_constant_, self.min_misclassified)
        self.spuriousness_scores_ = found.scores
        self.suppressed_, self.suppressed_per_class_ = mask.everywhere, mask.per_class
        return mask

    # -- 3. retrain: a class-balanced head on the remaining neurons ---------------------------

    def _retrain(self, found: Identified, mask: Mask) -> FittedHead:
        r"""Minimise :math:`\mathbb{E}_B \, \mathrm{CE}(h_\theta(\tilde v), y)` for balanced B."""
        self.C_, self.best_epoch_ = float("nan"), 0
        if self.solver == "sgd":
            return self._by_sgd(found, mask)
        rows, gains = found.tune, 1.0 - mask.columns
        weight = rows.balanced()
        if self.C is not None:
            self.C_ = self.C
            return rows.heads([weight], self.C, gains=gains)[0]
        how: dict[str, Any] = {"gains": rows.gains * gains, "alphas": _ALPHAS}
        path = self._tuned(rows, weight, seed=found.seed, **how)
        self.C_ = 1 / (float(weight.sum()) * path.alpha)
        return path.head

    def _by_sgd(self, found: Identified, mask: Mask) -> FittedHead:
        """Train a fresh head, and keep the epoch that is best on the scored samples."""
        rows, scored, rng = found.tune, found.scored, check_random_state(found.seed)
        shape = len(self.classes_), rows.X.shape[1]
        free = np.column_stack([np.broadcast_to(~mask.columns, shape), np.ones(shape[0])])
        bound = 1 / np.sqrt(shape[1])
        theta = free * np.column_stack([rng.uniform(-bound, bound, shape), np.zeros(shape[0])])
        n_batches = max(1, int((rows.weight > 0).sum()) // self.batch_size)

        def batches() -> Iterator[tuple[Array, Array, Array]]:
            drawn = balanced_batches(rows.y_index, rows.weight, self.batch_size, rng)
            for batch in islice(drawn, self.epochs * n_batches):
                yield rows.X[batch], rows.y_index[batch], np.full(len(batch), 1 / len(batch))

        steps = sgd_steps(
            theta,
            batches(),
            learning_rate=self.learning_rate,
            momentum=_MOMENTUM,
            weight_decay=_WEIGHT_DECAY,
            free=free,
        )
        best, best_score = None, -np.inf
        for epoch, theta in enumerate(islice(steps, n_batches - 1, None, n_batches), 1):
            head = stepped_head(
                theta[:, :-1], theta[:, -1], self.classes_, rows.X.dtype, epoch * n_batches
            )
            score = self._fitness(scored, head)
            if best is None or score > best_score:
                best, best_score, self.best_epoch_ = head, score, epoch
        assert best is not None
        return best

    def _fitness(self, scored: Rows, head: FittedHead) -> float:
        """Label-free score of an epoch, by ``selection``."""
        wrong = head.logits(scored.X).argmax(axis=1) != scored.y_index
        if self.selection == "sfit":
            return self._sfit(scored, wrong)
        if self.selection == "average":
            return -float(np.average(wrong, weights=scored.weight))
        errors, mass = rates(wrong, scored.y_index, scored.weight)
        return -float(errors[mass > 0].max())

    def _sfit(self, scored: Rows, wrong: Array) -> float:
        r""":math:`\sum_{i,y} |\delta_i^y|` of a head's errors, in units of the activation."""
        scores = spuriousness_scores(
            scored.X,
            scored.y_index,
            wrong,
            np.arange(len(self.classes_)),
            sample_weight=scored.weight,
            min_misclassified=self.min_misclassified,
        )
        return sfit(scores)

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
