"""NeuronTune over a path of thresholds, chosen by cross-validation without group labels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, check_cv
from sklearn.utils._param_validation import HasMethods, Interval

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._base import VALIDATION_SET, FromHead
from ntkit.estimators._mask import without_words
from ntkit.estimators._neurontune import NeuronMaskRule, NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.metrics import get_scorer
from ntkit.study import Rows, Study, stratified_folds

_logger = logging.getLogger(__name__)


@documented
@dataclass(eq=False, repr=False)
class NeuronTuneClassifierCV(NeuronMaskRule, FromHead):
    r"""NeuronTune with the threshold chosen by cross-validation.

    Needs embeddings and class labels; no group labels, neither to fit nor to choose.

    The choice and the head are those of ``GridSearchCV`` over :class:`NeuronTuneClassifier` with
    the same grid, folds and scoring, but several times faster. The original head, its predictions
    and the spuriousness scores do not depend on the threshold, so each fold computes them once.
    Each retraining starts from the one before. The default scoring is
    ``worst_class_correctness_group_accuracy``.

    ``max_cost`` is not applied: a mask may cost any accuracy. To allow "no mask" as well, pass
    ``suppressions=(0, 1)``.

    Parameters
    ----------
    thresholds : array-like, default=(0.0, 0.25, 0.5, 0.75, 1.0)
        Candidate values of ``threshold``; in standard deviations with ``standardize=True``.
    error_weights : array-like, default=("auto",)
        Candidate values of ``error_weight``: numbers, "balanced" or "auto".
    suppressions : array-like, default=(1.0,)
        Candidate values of ``suppression``; 0 suppresses nothing.
    cv : int, splitter or iterable, default=5
        Folds, as in scikit-learn's ``LogisticRegressionCV``; an int is reduced to the size of the
        smallest class.
    scoring : str or callable, default="worst_class_correctness_group_accuracy"
        A name of :data:`ntkit.metrics.SCORERS` without group labels, one of scikit-learn's, or a
        scorer.
    max_suppressed, aggregation, statistic, standardize, activation, n_rounds, min_misclassified
        As in :class:`NeuronTuneClassifier`.
    min_neurons, identification, head, C, class_weight, tol, max_iter, device, random_state
        As in :class:`NeuronTuneClassifier`.
    {n_jobs}

    Attributes
    ----------
    threshold_, error_weight_, suppression_
        Chosen values.
    candidates_ : list of dict
        All candidates, in the order of scikit-learn's ``ParameterGrid``.
    scores_ : ndarray of shape (n_candidates, n_folds)
        Scores, larger is better.
    best_score_ : float
        Mean score of the chosen candidate.
    best_estimator_ : NeuronTuneClassifier
        The chosen classifier, refitted to all samples.
    classes_, coef_, intercept_, head_, erm_head_, spuriousness_scores_, suppressed_, n_iter_
        Attributes of the refitted classifier, as in :class:`NeuronTuneClassifier`.
    {n_features_in_, feature_names_in_}

    See Also
    --------
    NeuronTuneClassifier : The same with a fixed threshold.
    BalancedClassifier : The same retraining without suppression, as the baseline.
    ntkit.metrics.CorrectnessGroupScorer : The default scoring, for other searches.
    ntkit.export.to_onnx : Converts a fitted estimator to ONNX.

    Examples
    --------
    >>> import warnings
    >>> from ntkit import NeuronTuneClassifierCV
    >>> from ntkit.exceptions import SuppressionWarning
    {marked}
    >>> clf = NeuronTuneClassifierCV(thresholds=[0.5, 2.5], error_weights=[1.0], C=1.0)
    >>> with warnings.catch_warnings():  # that accuracy is lost where the mark goes with the class
    ...     warnings.simplefilter("ignore", SuppressionWarning)
    ...     clf = clf.set_params(random_state=0).fit(X, y)
    >>> clf.threshold_, clf.suppressed_.tolist()
    (0.5, [False, True, False])
    """

    _takes: ClassVar[tuple[str, ...]] = ("X_changed", *VALIDATION_SET)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeuronTuneClassifier._parameter_constraints,
        "thresholds": ["array-like"],
        "error_weights": ["array-like"],
        "suppressions": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"]), Iterable],
        "scoring": [str, callable],
    }

    thresholds: Any = (0.0, 0.25, 0.5, 0.75, 1.0)
    _: KW_ONLY
    error_weights: Any = ("auto",)
    suppressions: Any = (1.0,)
    cv: Any = 5
    scoring: Any = "worst_class_correctness_group_accuracy"
    n_rounds: int = 1
    C: float | None = None  # type: ignore[assignment]  # None is resolved for each fit
    class_weight: Any = "balanced"
    n_jobs: int | None = None

    def _learn(self, study: Study) -> None:
        """Score the path on every fold, choose, and refit the choice to all samples."""
        self.candidates_, scorer = self._candidates(), get_scorer(self.scoring)
        splits = list(self._splits(study.train))
        of_fold = partial(_with_config, get_config(), self._scores_of_fold)
        folds = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            delayed(of_fold)(study, train, test, scorer) for train, test in splits
        )
        self.scores_ = np.stack(folds, axis=1)
        mean = self.scores_.mean(axis=1)
        best = int(np.argmax(mean))
        chosen, self.best_score_ = self.candidates_[best], float(mean[best])
        self.threshold_, self.error_weight_ = chosen["threshold"], chosen["error_weight"]
        self.suppression_ = chosen["suppression"]
        _logger.debug("chosen: %s", chosen)
        self.best_estimator_ = clf = self._estimator(**chosen).fit_study(study)
        if hasattr(self, "feature_names_in_"):
            clf.feature_names_in_ = self.feature_names_in_
        self.coef_, self.intercept_, self.n_iter_ = clf.coef_, clf.intercept_, clf.n_iter_
        self.erm_head_, self.suppressed_ = clf.erm_head_, clf.suppressed_
        self.spuriousness_scores_ = clf.spuriousness_scores_

    def _candidates(self) -> list[dict[str, Any]]:
        grid = {
            "threshold": list(self.thresholds),
            "error_weight": list(self.error_weights),
            "suppression": list(self.suppressions),
        }
        empty = [name for name, values in grid.items() if not values]
        if empty:
            raise InputError(f"There is no {empty[0]} to try; pass at least one.")
        return list(ParameterGrid(grid))

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
        # The scoring already measures the cost of a mask.
        shared = {*self._get_param_names()} & {*NeuronTuneClassifier._get_param_names()}
        values = {name: getattr(self, name) for name in shared}
        clf: NeuronTuneClassifier = clone(
            NeuronTuneClassifier(**(values | {"max_cost": None} | parameters))
        )
        return clf

    def _scores_of_fold(self, study: Study, train: Array, test: Array, scorer: Any) -> Array:
        """Scores of all candidates on one fold: stage one once, then the path."""
        clf, rows = self._estimator(), study.train
        clf.classes_, clf.n_features_in_ = rows.classes, rows.X.shape[1]
        stage = clf._identify(study.take(train=train))
        X_test, y_test = rows.X[test], rows.y[test]
        if hasattr(scorer, "for_samples"):
            scorer = scorer.for_samples(X_test, y_test)
        scores, current = list[Any](), None
        tunings: dict[Any, Any] = {}
        for candidate in self.candidates_:
            clf.set_params(**candidate)
            tuning = tunings.get(candidate["error_weight"])
            if tuning is None:
                tuning = tunings[candidate["error_weight"]] = clf._tuning(stage)
            current = clf._retrain(stage, tuning, start=current)
            scores.append(scorer(clf, X_test, y_test))
        return np.array(scores, dtype=float)

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
