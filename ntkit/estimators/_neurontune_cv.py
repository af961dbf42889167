"""NeuronTune over a path of thresholds, chosen by cross-validation without group labels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils._param_validation import HasMethods, Interval

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._base import VALIDATION_SET, HeadClassifier, OriginalHead
from ntkit.estimators._neurontune import NeuronMaskRule, NeuronTuneClassifier, without_words
from ntkit.exceptions import InputError
from ntkit.metrics import get_scorer
from ntkit.study import Rows, Study, stratified_folds

_logger = logging.getLogger(__name__)


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
        A name of :data:`ntkit.metrics.SCORERS` without group labels, one of scikit-learn's, or a
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
    ntkit.metrics.CorrectnessGroupScorer : The default scoring, for other searches.
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
