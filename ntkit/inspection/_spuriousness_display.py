"""Plot of the scores of all neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.inspection import _draw as draw
from ntkit.spuriousness import severity

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@documented
@dataclass(eq=False, repr=False)
class SpuriousnessDisplay(draw.Display):
    r"""Spuriousness scores of all neurons, the threshold, and the suppressed neurons.

    Neurons are in the order of the score that the rule compares with the threshold λ: the largest
    over the classes, or the smallest with ``aggregation="intersection"``. Suppressed neurons have a
    grey background. Up to six classes have a colour each. For more, the smallest, the largest and
    the middle half of their scores are drawn.

    Make it with :meth:`from_estimator`, or from your own scores with :meth:`plot`; the parameters
    become attributes.

    Parameters
    ----------
    scores : ndarray of shape (C, D)
        Spuriousness scores :math:`\delta_i^y` (arXiv 2505.24048); a row of NaN for a
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

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.inspection import SpuriousnessDisplay
    >>> scores = np.array([[0.5, -1.0, 0.2], [-0.1, -2.0, 0.3]])
    >>> display = SpuriousnessDisplay(
    ...     scores, suppressed=np.array([True, False, True]), classes=["cat", "dog"]
    ... ).plot()
    >>> display.order
    array([0, 2, 1])
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
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> Self:
        """Draw the scores of a fitted estimator.

        Parameters
        ----------
        estimator : NeuronTuneClassifier, NeuronTuneClassifierCV or SpuriousNeuronSelector
            Fitted estimator. For a search, the refitted choice is drawn.
        {ax}

        {drawn}
        """
        clf = draw.neurontune_of(estimator)
        aggregation, suppressed = clf.aggregation, clf.suppressed_
        if aggregation == "per_class" and len(clf.classes_) == 2:
            aggregation = "intersection"  # as the estimator reads it
        elif aggregation == "per_class":
            suppressed = clf.suppressed_per_class_
        return cls(
            clf.spuriousness_scores_,
            suppressed=suppressed,
            threshold=clf.threshold,
            aggregation=aggregation,
            classes=clf.classes_,
            neuron_names=draw.neuron_names_of(clf),
            unit="standard deviations",
        ).plot(ax)

    @property
    def order(self) -> Array:
        """Neurons by the score compared with λ, the highest first."""
        return np.argsort(-self._compared, kind="stable")

    @property
    def _compared(self) -> Array:
        one = "intersection" if self.aggregation == "intersection" else "union"
        return severity(self.scores, one)

    def _draw(self, ax: Axes) -> None:
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
        if 0 < len(scored) <= len(draw.CLASS_COLORS):
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
        draw.headroom(ax, -(-len(handles) // 2))
        scale = max(1.0, 4 / draw.marker_size(ax, n_neurons))
        draw.show_legend(ax, handles, "upper right", ncols=2, markerscale=scale)

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
