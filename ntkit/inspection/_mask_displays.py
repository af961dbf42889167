"""Plots of the scores of all neurons, and of the stability of the mask."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators import NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.inspection import _draw as draw
from ntkit.spuriousness import Aggregation, non_constant_neurons, severity, suppressed_neurons
from ntkit.study import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@documented
@dataclass(eq=False, repr=False)
class SpuriousnessDisplay(draw.Display):
    r"""Spuriousness scores of all neurons, the threshold, and the suppressed neurons.

    Neurons are in the order of the score that the rule compares with the threshold λ: the largest
    over the classes, or the smallest with ``aggregation="intersection"``. Suppressed neurons have a
    grey background. A few classes have a colour each. For many classes, the smallest, the largest
    and the middle half of their scores are drawn.

    Make it with :meth:`from_estimator` or :meth:`from_scores`; the parameters become attributes.

    Parameters
    ----------
    scores : ndarray of shape (C, D)
        Spuriousness scores :math:`\delta_i^y` (arXiv 2505.24048, Sec. 4); a row of NaN for a
        class that is not scored.
    suppressed : ndarray of bool, shape (D,) or (C, D)
        Suppressed neurons, or those suppressed in each class's weights.
    threshold : float, default=0.0
        λ, in the units of the scores.
    aggregation : {"union", "intersection", "per_class"}, default="union"
        Combination of the classes by the rule.
    classes : array-like of shape (C,), optional
        Class labels; by default numbers.
    neuron_names : sequence of str, optional
        Names of the neurons; by default the numbers of their columns.
    unit : str, default=""
        Unit of the scores, for the axis.

    Attributes
    ----------
    order : ndarray of int, shape (D,)
        Neurons from left to right.
    {ax_, figure_}
    points_ : list of matplotlib Line2D
        Scores of each scored class, left to right; with many classes one line of the scores that
        are compared with λ.
    bands_ : list of matplotlib artists
        With many classes: the range from the smallest to the largest score, and the middle half;
        else empty.
    threshold_line_ : matplotlib Line2D
        Line of λ.
    ground_ : matplotlib artist
        Background of the suppressed neurons.

    See Also
    --------
    ntkit.spuriousness.spuriousness_scores : The scores. NeuronDisplay : One neuron.
    MaskStabilityDisplay : Stability of the mask under resampling.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.inspection import SpuriousnessDisplay
    >>> scores = np.array([[0.5, -1.0, 0.2], [-0.1, -2.0, 0.3]])
    >>> display = SpuriousnessDisplay.from_scores(scores, threshold=0.25, classes=["cat", "dog"])
    >>> display.order
    array([0, 2, 1])
    >>> display.suppressed
    array([ True, False,  True])
    """

    scores: Array
    _: KW_ONLY
    suppressed: Array
    threshold: float = 0.0
    aggregation: str = "union"
    classes: ArrayLike | None = None
    neuron_names: Sequence[str] | None = None
    unit: str = ""

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Axes | None = None, max_classes: int = 6
    ) -> Self:
        """Draw the scores of a fitted estimator.

        Parameters
        ----------
        estimator : NeuronTuneClassifier, NeuronTuneClassifierCV or SpuriousNeuronSelector
            Fitted estimator. For a search, the refitted choice is drawn.
        {ax, max_classes}

        {drawn}

        Raises
        ------
        InputError
            If it is an estimator of another kind.
        NotFittedError
            If it is not fitted.
        {MissingDependencyError}
        """
        clf = draw.neurontune_of(estimator, cls)
        aggregation, suppressed = clf.aggregation, clf.suppressed_
        if aggregation == "per_class" and len(clf.classes_) == 2:
            aggregation = "intersection"  # as the estimator reads it
        elif aggregation == "per_class":
            suppressed = clf.suppressed_per_class_
        if clf.standardize:
            unit = "standard deviations"
        else:
            unit = "logits" if clf.statistic == "contribution" else ""
        return cls(
            clf.spuriousness_scores_,
            suppressed=suppressed,
            threshold=clf.threshold,
            aggregation=aggregation,
            classes=clf.classes_,
            neuron_names=draw.neuron_names_of(clf),
            unit=unit,
        ).plot(ax, max_classes=max_classes)

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        *,
        threshold: float = 0.0,
        aggregation: Aggregation = "union",
        suppressed: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        neuron_names: Sequence[str] | None = None,
        unit: str = "",
        ax: Axes | None = None,
        max_classes: int = 6,
    ) -> Self:
        """Draw scores, and the effect of a threshold on them.

        Parameters
        ----------
        scores : array-like of shape (C, D)
            From :func:`ntkit.spuriousness.spuriousness_scores`.
        {threshold, aggregation}
        suppressed : array-like of bool, shape (D,) or (C, D), optional
            Suppressed neurons; by default the result of
            :func:`ntkit.spuriousness.suppressed_neurons`.
        {classes, neuron_names, unit, ax, max_classes}

        {drawn}

        Raises
        ------
        InputError
            If shapes do not fit each other.
        {MissingDependencyError}
        """
        draw.require_matplotlib(f"{cls.__name__}.from_scores")
        scores = np.asarray(scores, dtype=float)
        if scores.ndim != 2 or 0 in scores.shape:
            raise InputError(
                f"scores must have shape (C, D), a row for each class; got {scores.shape}."
            )
        n_classes, n_neurons = scores.shape
        if suppressed is None:
            mask = suppressed_neurons(scores, threshold=threshold, aggregation=aggregation)
        else:
            mask = np.asarray(suppressed, dtype=bool)
        if mask.shape not in ((n_neurons,), scores.shape):
            raise InputError(
                f"suppressed must have shape ({n_neurons},) or {scores.shape}; got {mask.shape}."
            )
        for name, names, n in (
            ("classes", classes, n_classes),
            ("neuron_names", neuron_names, n_neurons),
        ):
            if names is not None and len(np.asarray(names)) != n:
                raise InputError(f"{name} must have {n} names; got {len(np.asarray(names))}.")
        return cls(
            scores,
            suppressed=mask,
            threshold=threshold,
            aggregation=aggregation,
            classes=classes,
            neuron_names=neuron_names,
            unit=unit,
        ).plot(ax, max_classes=max_classes)

    @property
    def order(self) -> Array:
        """Neurons by the score compared with λ, the highest first."""
        return np.argsort(-self._compared, kind="stable")

    @property
    def _compared(self) -> Array:
        one = "intersection" if self.aggregation == "intersection" else "union"
        return severity(self.scores, one)

    def plot(self, ax: Axes | None = None, *, max_classes: int = 6) -> Self:
        """Draw.

        Parameters
        ----------
        {ax}
        max_classes : int, default=6
            Most classes with a colour of their own, up to 6.

        {drawn}

        Raises
        ------
        {MissingDependencyError}
        """
        ax = self._axes(ax)
        order, n_neurons = self.order, self.scores.shape[1]
        scored = np.flatnonzero(~np.isnan(self.scores).all(axis=1))
        lost = np.atleast_2d(self.suppressed).any(axis=0)
        by_any = "" if self.suppressed.ndim == 1 else " by a class"

        self.ground_ = ax.broken_barh(
            draw.runs(np.asarray(lost)[order]),
            (0, 1),
            transform=ax.get_xaxis_transform(),
            color=draw.PALE,
            linewidth=0,
            zorder=0,
            label=f"suppressed{by_any}: {lost.sum()} of {n_neurons}",
        )
        self.points_, self.bands_ = list[Any](), list[Any]()
        if 0 < len(scored) <= min(max_classes, len(draw.CLASS_COLORS)):
            self._draw_each_class(ax, scored, order)
        elif len(scored):
            self._draw_all_classes(ax, scored, order)
        self.threshold_line_ = ax.axhline(
            self.threshold, color=draw.BLACK, linestyle="--", linewidth=1, zorder=3
        )
        self.threshold_line_.set_label(f"threshold λ = {self.threshold:.3g}")
        ax.set_xlim(-0.5, n_neurons - 0.5)
        self._label(ax, order, len(scored))
        handles = [*self.points_, *self.bands_, self.threshold_line_, self.ground_]
        ncols = 1 if self._corner_is_free(ax, scored, len(handles)) else 2
        if ncols == 2:
            draw.headroom(ax, -(-len(handles) // 2))
        scale = max(1.0, 4 / draw.marker_size(ax, n_neurons))
        draw.show_legend(ax, handles, "upper right", ncols=ncols, markerscale=scale)
        return self

    def _corner_is_free(self, ax: Axes, scored: Array, n_lines: int) -> bool:
        """Whether the place for a legend of so many lines is empty."""
        low, high = ax.get_ylim()
        right = self.scores[np.ix_(scored, self.order[len(self.order) // 3 :])]
        top = max([self.threshold, *right.ravel()])
        return bool(top < high - draw.legend_share(ax, n_lines) * (high - low))

    def _draw_each_class(self, ax: Axes, scored: Array, order: Array) -> None:
        labels = range(len(self.scores)) if self.classes is None else np.asarray(self.classes)
        size, letters = (
            draw.marker_size(ax, len(order)),
            int(np.clip(3 * draw.width_of(ax), 12, 24)),
        )
        for row, color, marker in zip(scored, draw.CLASS_COLORS, draw.CLASS_MARKERS, strict=False):
            (points,) = ax.plot(
                self.scores[row, order],
                marker,
                color=color,
                markersize=size,
                markeredgewidth=0,
                label=f"class {draw.short(labels[row], letters)}",
                zorder=2,
            )
            self.points_.append(points)
            if self.suppressed.ndim == 2:  # a ring around neurons that this class's weights lose
                here = np.flatnonzero(self.suppressed[row, order])
                ax.plot(
                    here,
                    self.scores[row, order][here],
                    marker,
                    markerfacecolor="none",
                    markeredgecolor=draw.BLACK,
                    markersize=size + 1.5,
                    markeredgewidth=0.7,
                    zorder=2.1,
                )

    def _draw_all_classes(self, ax: Axes, scored: Array, order: Array) -> None:
        values = self.scores[np.ix_(scored, order)]
        x, n = np.arange(len(order)), len(scored)
        self.bands_ = [
            ax.fill_between(
                x, low, high, step="mid", linewidth=0, color=draw.BLUE, alpha=alpha, label=label
            )
            for low, high, alpha, label in (
                (values.min(axis=0), values.max(axis=0), 0.22, f"all {n} scored classes"),
                (*np.quantile(values, [0.25, 0.75], axis=0), 0.5, "middle half of them"),
            )
        ]
        which = "smallest" if self.aggregation == "intersection" else "largest"
        self.points_ = ax.plot(
            self._compared[order],
            color=draw.BLUE,
            linewidth=1.3,
            drawstyle="steps-mid",
            label=f"{which}, compared with λ",
        )

    def _label(self, ax: Axes, order: Array, n_scored: int) -> None:
        n = len(self.scores)
        draw.label_axes(
            ax,
            xlabel="neurons, highest score first",
            ylabel=f"spuriousness score δ [{self.unit}]" if self.unit else "spuriousness score δ",
            title="" if n_scored == n else f"{n_scored or 'None'} of {n} classes could be scored",
        )
        draw.name_neurons(ax, order, self.neuron_names)


_logger = logging.getLogger(__name__)


@documented
@dataclass(eq=False, repr=False)
class MaskStabilityDisplay(draw.Display):
    """Share of resamplings of the scored samples that suppress each neuron.

    Neurons are in the order of the share of bootstrap samples in which the rule suppresses them. A
    mask without randomness is a step from 1 to 0; a slope shows neurons whose suppression depends
    on the samples. The fitted mask has its own colour.

    Make it with :meth:`from_estimator`; the parameters become attributes.

    Parameters
    ----------
    frequency : ndarray of shape (D,)
        Share of the bootstrap samples in which a neuron is suppressed, in [0, 1].
    suppressed : ndarray of bool, shape (D,)
        The fitted mask.
    n_draws : int
        Number of bootstrap samples.
    neuron_names : sequence of str, optional
        Names of the neurons; by default the numbers of their columns.

    Attributes
    ----------
    order : ndarray of int, shape (D,)
        Neurons from left to right.
    n_always, n_sometimes, n_never : int
        Neurons suppressed in all bootstrap samples, in some, in none.
    {ax_, figure_}
    bars_ : matplotlib StepPatch
        Frequencies of all neurons, left to right.
    fitted_bars_ : matplotlib StepPatch
        Frequencies of the fitted mask, drawn over the others; 0 for neurons outside it.
    fitted_marks_ : matplotlib Line2D
        Marks under the neurons of the fitted mask.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.inspection import MaskStabilityDisplay
    >>> display = MaskStabilityDisplay(
    ...     np.array([0.0, 1.0, 0.4]), suppressed=np.array([False, True, False]), n_draws=10
    ... ).plot()
    >>> display.order, display.n_always, display.n_sometimes, display.n_never
    (array([1, 2, 0]), 1, 1, 1)
    """

    frequency: Array
    _: KW_ONLY
    suppressed: Array
    n_draws: int
    neuron_names: Sequence[str] | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_draws: int = 200,
        random_state: Any = 0,
        verbose: bool = False,
        ax: Axes | None = None,
    ) -> Self:
        """Resample the scored samples with replacement, and apply the estimator's rule to each.

        The original head (``erm_head_``) does not change: only the samples that evaluate it are
        drawn again. All are drawn at once, so a class may have no errors in some bootstrap samples.
        A neuron counts as suppressed if the first round of the rule flags it; with
        ``aggregation="per_class"``, if any class's weights lose it. The accuracy cost
        (``max_cost``) does not count, because it does not depend on these samples.

        Parameters
        ----------
        estimator : NeuronTuneClassifier, NeuronTuneClassifierCV or SpuriousNeuronSelector
            Fitted estimator.
        X : array-like of shape (N, D)
            Samples for the scores: the ``X_val`` of ``fit``. On samples that the original head was
            fitted to, it makes fewer errors than the cross-fitted heads of ``fit``, and the result
            need not agree with the fitted mask.
        {y, n_draws, random_state}
        verbose : bool, default=False
            Log the progress at level INFO rather than DEBUG.
        {ax}

        {drawn}

        Raises
        ------
        InputError
            If it is an estimator of another kind, the samples do not fit it, or ``n_draws`` is less
            than 1.
        {NotFittedError, MissingDependencyError}
        """
        clf = draw.neurontune_of(estimator, cls)
        if n_draws < 1:
            raise InputError(f"n_draws must be at least 1; got {n_draws}.")
        Z, labels = draw.check_samples(X, y, clf.erm_head_)
        return cls(
            _frequency(clf, Z, labels, n_draws, random_state, verbose),
            suppressed=draw.lost_neurons(clf),
            n_draws=n_draws,
            neuron_names=draw.neuron_names_of(clf),
        ).plot(ax)

    @property
    def order(self) -> Array:
        """Neurons by frequency; among equal ones, those of the fitted mask first."""
        return np.lexsort([np.logical_not(self.suppressed), -self.frequency])

    @property
    def n_always(self) -> int:
        """Neurons suppressed in every bootstrap sample."""
        return int((self.frequency == 1).sum())

    @property
    def n_never(self) -> int:
        """Neurons suppressed in no bootstrap sample."""
        return int((self.frequency == 0).sum())

    @property
    def n_sometimes(self) -> int:
        """Neurons suppressed in some bootstrap samples."""
        return len(self.frequency) - self.n_always - self.n_never

    def _draw(self, ax: Axes) -> None:
        order = self.order
        value, fitted = self.frequency[order], self.suppressed[order]
        edges = np.arange(len(order) + 1) - 0.5
        n_fitted = int(fitted.sum())
        # Those of the mask are drawn over all others, because thin bars of two colours would show
        # gaps.
        self.bars_, self.fitted_bars_ = (
            ax.stairs(np.where(kind, value, 0), edges, fill=True, color=color, label=label)
            for kind, color, label in (
                (np.ones_like(fitted), draw.SKY, f"not in it: {len(order) - n_fitted}"),
                (fitted, draw.VERMILLION, f"in the fitted mask: {n_fitted}"),
            )
        )
        at = np.flatnonzero(fitted)
        (self.fitted_marks_,) = ax.plot(
            at, np.full(len(at), -0.03), "|", color=draw.VERMILLION, markersize=5, markeredgewidth=1
        )
        ax.set_xlim(-0.5, len(order) - 0.5)
        ax.set_ylim(-0.06, 1.04)
        self._label(ax, order)
        handles = [self.fitted_bars_, self.bars_]
        if value[len(value) // 3] > 1 - draw.legend_share(ax, 2):
            draw.headroom(ax, 1)
            draw.show_legend(ax, handles, "upper right", ncols=2)
        else:
            draw.show_legend(ax, handles, "upper right")

    def _label(self, ax: Axes, order: Array) -> None:
        draw.label_axes(
            ax,
            xlabel="neurons, most often suppressed first",
            ylabel=f"share of {self.n_draws} draws",
            title=f"suppressed always {self.n_always}, sometimes {self.n_sometimes}, "
            f"never {self.n_never}",
        )
        ax.set_yticks(np.linspace(0, 1, 6))
        ax.yaxis.set_major_formatter(draw.percent_tick)
        draw.show_grid(ax, "y")
        draw.name_neurons(ax, order, self.neuron_names)


def _frequency(
    clf: NeuronTuneClassifier,
    Z: Array,
    labels: Array,
    n_draws: int,
    random_state: Any,
    verbose: bool,
) -> Array:
    """Share of the bootstrap samples in which each neuron is suppressed, (D,)."""
    original = clf.erm_head_.astype(Z.dtype)
    logits, y_index = original.logits(Z), np.searchsorted(clf.classes_, labels)
    wrong = logits.argmax(axis=1) != y_index
    random, n = check_random_state(random_state), len(Z)
    times = np.zeros(Z.shape[1], dtype=int)
    for number in range(1, n_draws + 1):
        # Rows are repeated, not weighted: medians of equal weights take a tenth of the time.
        counts = random.multinomial(n, np.full(n, 1 / n))
        rows = np.repeat(np.arange(n), counts)
        sample = Rows(Z[rows], y_index[rows], np.ones(n))
        scores = clf._score(sample, logits[rows], original)
        # But a sample that is drawn twice is still one sample.
        errors = np.bincount(y_index[wrong & (counts > 0)], minlength=len(clf.classes_))
        scores[errors < clf.min_misclassified] = np.nan
        mask = clf._flagged(scores, non_constant_neurons(sample.X))
        times += np.atleast_2d(mask.columns).any(axis=0)
        _logger.log(
            logging.INFO if verbose else logging.DEBUG,
            "draw %d of %d: %d neurons suppressed",
            *(number, n_draws, int(mask.everywhere.sum())),
        )
    return times / n_draws
