"""Plot of one neuron: its activations on correctly classified and on misclassified samples."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import by_names
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.inspection import _draw as draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 4  # classes
_BINS = 24
_HEIGHT = 0.42  # of the highest bar; rows are 1 apart


@dataclass(frozen=True)
class ClassActivations:
    """Activations of a neuron over the samples of one class."""

    label: Any
    correct: Array
    misclassified: Array

    @property
    def medians(self) -> tuple[float, float]:
        """Median of the correct and of the misclassified ones; NaN if there are none."""
        sides = (self.correct, self.misclassified)
        correct, wrong = (float(np.median(side)) if len(side) else np.nan for side in sides)
        return correct, wrong

    @property
    def score(self) -> float:
        """Spuriousness score: median of the misclassified minus median of the correct ones."""
        correct, wrong = self.medians
        return wrong - correct


@documented
@dataclass(eq=False, repr=False)
class NeuronDisplay(draw.Display):
    r"""Activations of one neuron on correctly classified and on misclassified samples.

    Each class has a row: the correctly classified samples upwards, the misclassified ones
    downwards. They are histograms with the same bins and the same scale, so areas are shares of the
    correct, or of the misclassified samples. The two medians are marked. The step from the first to
    the second is the spuriousness score
    :math:`\delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)` (arXiv 2505.24048, Sec.
    4), in units of the activation. Of more than four classes, those with the most errors are drawn.

    Make it with :meth:`from_estimator`, or from your own predictions with :meth:`plot`; the
    parameters become attributes.

    Parameters
    ----------
    activations : ndarray of shape (N,)
        Activation of the neuron on each sample.
    y_true, y_pred : ndarray of shape (N,)
        True classes, and predictions of the original head.
    name : str, default=""
        Name of the neuron, for the title.

    Attributes
    ----------
    by_class : list of ClassActivations
        For each class, in the order of the labels: ``label``, activations ``correct`` and
        ``misclassified``, ``medians`` and ``score``.
    shown_ : list of ClassActivations
        Classes in the plot, from top to bottom.
    {ax_, figure_}
    histograms_ : list of (StepPatch or None, StepPatch or None)
        Histograms of the correct and the misclassified samples of each class in the plot.
    medians_ : list of (Line2D or None, Line2D or None)
        Marks of their medians.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.inspection import NeuronDisplay
    >>> display = NeuronDisplay(
    ...     np.array([0.1, 0.3, 2.0, 0.2, 1.9, 2.1]),
    ...     np.array(["cat"] * 3 + ["dog"] * 3),
    ...     np.array(["cat", "cat", "dog", "cat", "dog", "dog"]),
    ... ).plot()
    >>> [(part.label, round(part.score, 2)) for part in display.by_class]
    [('cat', 1.8), ('dog', -1.8)]
    """

    activations: Array
    y_true: Array
    y_pred: Array
    _: KW_ONLY
    name: str = ""

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        neuron: int | str,
        ax: Axes | None = None,
    ) -> Self:
        """Draw a neuron, with the errors of a fitted estimator's original head.

        Parameters
        ----------
        estimator : estimator with ``erm_head_``
            Fitted estimator with an original head: a NeuronTuneClassifier, a search over it, or
            another.
        X : array-like of shape (N, D)
            Embeddings, preferably of samples that the original head was not fitted to. With the
            validation set ``X_val`` of ``fit``, the steps are the scores of NeuronTune's default
            statistic, times the neuron's standard deviation.
        {y}
        neuron : int or str
            Column of the neuron, or its name if the estimator was fitted to named columns.
        {ax}

        {drawn}
        """
        head = draw.original_head_of(estimator)
        names = draw.neuron_names_of(estimator)
        X = X if names is None else by_names(X, names, "X")
        Z, labels = draw.check_samples(X, y, head)
        y_pred = head.predict(Z)
        i = draw.neuron_index(neuron, head.n_neurons, names)
        lost = getattr(estimator, "suppressed_", None)
        name = str(i) if names is None else names[i]
        return cls(
            Z[:, i],
            labels,
            y_pred,
            name=f"{name} (suppressed)" if lost is not None and lost[i] else name,
        ).plot(ax)

    @property
    def by_class(self) -> list[ClassActivations]:
        """Activations of each class, in the order of the labels."""
        right = self.y_pred == self.y_true
        of_class = [(label, self.y_true == label) for label in np.unique(self.y_true)]
        return [
            ClassActivations(
                label.item(), self.activations[mine & right], self.activations[mine & ~right]
            )
            for label, mine in of_class
        ]

    def _draw(self, ax: Axes) -> None:
        parts = self.by_class
        self.shown_ = draw.first_of(parts, _MOST, lambda part: -len(part.misclassified))
        sides = [(part.correct, part.misclassified) for part in self.shown_]
        everything = np.concatenate([side for pair in sides for side in pair]).astype(float)
        low, high = float(everything.min()), float(everything.max())
        pad = _BINS * float(np.spacing(max(-low, high, 1e-300)))  # NumPy refuses narrower bins
        wider = (low - pad, high + pad) if low < high < low + pad else None
        edges = np.histogram_bin_edges(everything, _BINS, wider)
        shares = [[np.histogram(v, edges)[0] / max(1, len(v)) for v in pair] for pair in sides]
        scale = _HEIGHT / max(float(side.max()) for pair in shares for side in pair)
        self.histograms_, self.medians_ = list[Any](), list[Any]()
        for row, (part, pair) in enumerate(zip(self.shown_, shares, strict=True)):
            self._draw_row(ax, row, part, edges, [scale * side for side in pair])
        self._label(ax, len(parts))

    def _draw_row(
        self, ax: Axes, row: int, part: ClassActivations, edges: Array, heights: list[Array]
    ) -> None:
        ax.axhline(row, color=draw.GREY, linewidth=0.5, zorder=1)
        patches, marks = list[Any](), list[Any]()
        sides = (part.correct, part.misclassified)
        for side, height, median, color, up in zip(
            sides, heights, part.medians, (draw.BLUE, draw.VERMILLION), (-1, 1), strict=True
        ):
            if not len(side):  # the axis points down, because rows are numbered from the top
                patches.append(None)
                marks.append(None)
                continue
            patches.append(
                ax.stairs(row + up * height, edges, baseline=row, fill=True, color=color, alpha=0.6)
            )
            marks += ax.plot(
                [median, median], [row, row + up * _HEIGHT], color=color, linewidth=2, zorder=3
            )
        self.histograms_.append(tuple(patches))
        self.medians_.append(tuple(marks))
        text = "no errors" if len(part.correct) else "none correct"
        if all(map(len, sides)):
            text = f"δ = {part.score:+.3g}".replace("-", "−") if part.score else "δ = 0"
            ax.plot(
                part.medians,
                [row, row],
                color=draw.BLACK,
                linewidth=1.6,
                marker=">" if part.score >= 0 else "<",
                markevery=[1],
                markersize=5,
                zorder=4,
            )
        ax.annotate(
            text,
            (1, row - 0.25),
            xycoords=ax.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=draw.font_size(ax),
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
            zorder=5,
        )

    def _label(self, ax: Axes, n_classes: int) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        n = len(self.shown_)
        title = f"neuron {draw.short(self.name, 36)}" if self.name else ""
        if n < n_classes:
            title += f"{': ' if title else ''}{n} of {n_classes} classes, most errors first"
        draw.label_axes(ax, xlabel="activation", title=title)
        ax.spines["left"].set_visible(False)
        draw.name_rows(
            ax,
            [
                f"{draw.short(p.label, 18)}\n{len(p.correct)} right\n{len(p.misclassified)} wrong"
                for p in self.shown_
            ],
        )
        handles = [
            Patch(color=draw.BLUE, alpha=0.6, label="correct"),
            Patch(color=draw.VERMILLION, alpha=0.6, label="misclassified"),
            Line2D([], [], color=draw.BLACK, linewidth=1.6, label="medians, step δ"),
        ]
        draw.show_legend(ax, handles, "upper right", ncols=3)
