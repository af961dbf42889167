"""Plot of the effect of the threshold on accuracies, score and number of neurons."""

from __future__ import annotations

import logging
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators import NeuronTuneClassifier, NeuronTuneClassifierCV
from ntkit.exceptions import InputError
from ntkit.inspection import _draw as draw
from ntkit.metrics import get_scorer, worst_class_accuracy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_logger = logging.getLogger(__name__)


@dataclass
class _Figures:
    """Scorer of a fit's results: accuracy, worst-class accuracy, mask size and the score."""

    scorer: Any
    verbose: bool

    def for_samples(self, X: Array, y: Array) -> _Figures:
        """Scorer of one fold."""
        if not hasattr(self.scorer, "for_samples"):
            return self
        return _Figures(self.scorer.for_samples(X, y), self.verbose)

    def __call__(self, clf: NeuronTuneClassifier, X: Array, y: Array) -> Array:
        predicted = clf.predict(X)
        figures = (
            float(accuracy_score(y, predicted)),
            float(worst_class_accuracy(y, predicted)),
            int(draw.lost_neurons(clf).sum()),
            float(self.scorer(clf, X, y)),
        )
        _logger.log(
            logging.INFO if self.verbose else logging.DEBUG,
            "threshold %g: accuracy %.3f, worst class %.3f, %d neurons suppressed, score %.3g",
            *(clf.threshold, *figures),
        )
        return np.array(figures)


@documented
@dataclass(eq=False, repr=False)
class ThresholdPathDisplay(draw.Display):
    """Accuracy, worst-class accuracy, a label-free score and the mask's size along thresholds.

    Lines are means over folds, on the samples that each fold left out. Bands are one standard
    deviation over the folds to either side. The score has the axis on the right, because its scale
    may be another one. The mean numbers of suppressed neurons are at the top, above their
    thresholds.

    Make it with :meth:`from_estimator`, or from your own results with :meth:`plot`; the parameters
    become attributes.

    Parameters
    ----------
    thresholds : ndarray of shape (T,)
        Values of λ, ascending.
    accuracy, worst_class_accuracy, score : ndarray of shape (T, F)
        Results by threshold and fold; accuracies in [0, 1].
    n_suppressed : ndarray of int, shape (T, F)
        Number of suppressed neurons; with ``aggregation="per_class"`` in any class's weights.
    score_name : str, default="score"
        Name of the score, for the axis.
    chosen : float, optional
        Threshold to mark.
    unit : str, default=""
        Unit of the thresholds, for the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    score_ax_ : matplotlib Axes
        The same axes, with the scale of the score.
    count_axis_ : matplotlib SecondaryAxis
        Axis at the top.
    accuracy_line_, worst_class_line_, score_line_ : matplotlib Line2D
        Means over the folds.
    chosen_line_ : matplotlib Line2D or None
        Mark of the chosen threshold.

    See Also
    --------
    ntkit.NeuronTuneClassifierCV : Chooses the threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.inspection import ThresholdPathDisplay
    >>> display = ThresholdPathDisplay(
    ...     np.array([0.0, 0.5]),
    ...     accuracy=np.array([[0.9, 0.8], [0.9, 1.0]]),
    ...     worst_class_accuracy=np.array([[0.8, 0.7], [0.6, 0.7]]),
    ...     score=np.array([[1.1, 1.2], [0.9, 1.0]]),
    ...     n_suppressed=np.array([[20, 22], [3, 4]]),
    ... ).plot()
    >>> display.accuracy_line_.get_ydata()
    array([0.85, 0.95])
    """

    thresholds: Array
    _: KW_ONLY
    accuracy: Array
    worst_class_accuracy: Array
    score: Array
    n_suppressed: Array
    score_name: str = "score"
    chosen: float | None = None
    unit: str = ""

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        thresholds: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        cv: Any = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
        ax: Axes | None = None,
    ) -> Self:
        """Cross-validate the path of an estimator's thresholds, and draw it.

        Each fold fits to the other samples with the estimator's parameters, and its results are
        from the samples that it left out. Only ``max_cost`` is not used, because the path shows the
        cost of each mask. A fitted ``NeuronTuneClassifierCV`` has its scores but not the other
        results, so its path is fitted again, to the samples that you pass. With the samples, the
        integer ``random_state`` and the ``cv`` of its ``fit``, this is the path that it chose from.
        The estimator itself does not change.

        Parameters
        ----------
        estimator : NeuronTuneClassifier, NeuronTuneClassifierCV or SpuriousNeuronSelector
            Fitted estimator. For a search, only the threshold of the choice varies.
        X : array-like of shape (N, D)
            Embeddings for fitting and evaluation, in turns. If the network was trained on some
            samples, others are more informative.
        {y, sample_weight}
        thresholds : array-like of shape (T,), optional
            Values of λ; by default those of a ``NeuronTuneClassifierCV``, else eleven from 0 to
            the highest score the estimator found.
        {X_val, y_val, sample_weight_val}
        cv : int, splitter or iterable, optional
            Folds; by default those of a ``NeuronTuneClassifierCV``, else 5.
        scoring : str or callable, optional
            A name of :data:`ntkit.metrics.SCORERS`, one of scikit-learn's, or a scorer; by default
            that of a ``NeuronTuneClassifierCV``, else "worst_class_correctness_group_accuracy".
        {n_jobs}
        verbose : bool, default=False
            Log each fit at level INFO rather than DEBUG.
        {ax}

        {drawn}

        Raises
        ------
        InputError
            If it is an estimator of another kind, a threshold is not a finite number, or the
            samples cannot be fitted.
        {NotFittedError, MissingDependencyError}
        """
        clf = draw.neurontune_of(estimator, cls)
        is_cv = isinstance(estimator, NeuronTuneClassifierCV)
        if thresholds is None:
            thresholds = estimator.thresholds if is_cv else _default_thresholds(clf)
        path = _checked(thresholds)
        if scoring is None:
            scoring = estimator.scoring if is_cv else "worst_class_correctness_group_accuracy"
        if cv is None:
            cv = estimator.cv if is_cv else 5
        search = NeuronTuneClassifierCV(
            path,
            error_weights=[clf.error_weight],
            suppressions=[clf.suppression],
            cv=cv,
            scoring=scoring,
            n_jobs=n_jobs,
            **NeuronTuneClassifierCV._shared_parameters(clf),
        )
        validation = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        study = search._study(X, y, sample_weight, **validation)
        figures = search._figures(study, _Figures(get_scorer(scoring), verbose))
        return cls(
            path,
            accuracy=figures[..., 0],
            worst_class_accuracy=figures[..., 1],
            score=figures[..., 3],
            n_suppressed=figures[..., 2].astype(int),
            score_name=_name_of(scoring),
            chosen=clf.threshold,
            unit="standard deviations" if clf.standardize else "",
        ).plot(ax)

    def _draw(self, ax: Axes) -> None:
        self.score_ax_ = ax.twinx()
        x = np.asarray(self.thresholds, dtype=float)
        self.accuracy_line_ = _line(ax, x, self.accuracy, draw.BLUE, "o", "-", "accuracy")
        self.worst_class_line_ = _line(
            ax, x, self.worst_class_accuracy, draw.VERMILLION, "^", "-", "worst-class accuracy"
        )
        name = draw.short(self.score_name.replace("_", " "), 40)
        self.score_line_ = _line(
            self.score_ax_, x, self.score, draw.GREEN, "s", "--", "score, right axis"
        )
        handles = [self.accuracy_line_, self.worst_class_line_, self.score_line_]
        self.chosen_line_ = None
        if self.chosen is not None:
            self.chosen_line_ = ax.axvline(
                self.chosen, color=draw.BLACK, linestyle=":", linewidth=1.3
            )
            self.chosen_line_.set_label(f"λ = {self.chosen:.3g}, as fitted")
            handles.append(self.chosen_line_)
        self._label(ax, x, name)
        draw.show_legend(self.score_ax_, handles, "upper center", ncols=2)

    def _label(self, ax: Axes, x: Array, score_name: str) -> None:
        from matplotlib.ticker import FixedLocator

        n_folds = self.score.shape[1]
        size, right = draw.font_size(ax), self.score_ax_
        draw.label_axes(
            ax,
            xlabel=f"threshold λ [{self.unit}]" if self.unit else "threshold λ",
            ylabel=f"accuracy, {n_folds} folds",
        )
        right.set_ylabel(score_name, fontsize=size, color=draw.GREEN)
        right.tick_params(axis="y", labelsize=size, colors=draw.GREEN)
        right.spines["top"].set_visible(False)
        for each in (ax, right):
            ticks = each.get_yticks()
            low, high = each.get_ylim()
            draw.headroom(each, 2)
            high = min(high, 1 + 1e-9) if each is ax else high
            each.yaxis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
        ax.yaxis.set_major_formatter(draw.percent_tick)
        draw.show_grid(ax, "y")
        counts = [f"{count:.0f}" for count in self.n_suppressed.mean(axis=1)]
        shown = draw.spread_out(ax, x, counts)
        top = self.count_axis_ = ax.secondary_xaxis("top")
        top.set_xticks(x[shown], [counts[i] for i in shown])
        top.set_xlabel("neurons suppressed", fontsize=size)
        top.tick_params(labelsize=size)


def _checked(thresholds: ArrayLike) -> Array:
    path = np.unique(np.asarray(thresholds, dtype=float))
    if not path.size or not np.isfinite(path).all():
        raise InputError("thresholds must be at least one finite number.")
    return path


def _default_thresholds(clf: NeuronTuneClassifier) -> Array:
    scores = clf.spuriousness_scores_
    highest = 0.0 if np.isnan(scores).all() else float(np.nanmax(scores))
    return np.linspace(0, max(highest, 1e-6), 11)


def _name_of(scoring: Any) -> str:
    if isinstance(scoring, str):
        return scoring
    return str(getattr(scoring, "score", getattr(scoring, "__name__", "score")))


def _line(
    ax: Axes, x: Array, values: Array, color: str, marker: str, style: str, label: str
) -> Any:
    mean, spread = values.mean(axis=1), values.std(axis=1)
    ax.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.13, linewidth=0)
    (line,) = ax.plot(
        x, mean, color=color, marker=marker, linestyle=style, markersize=4, label=label
    )
    return line
