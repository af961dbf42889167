"""Picture of the worst group's accuracy against the number of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inspection._display import Display
from ntkit.inspection._matplotlib import (
    BLACK,
    CLASS_COLORS,
    CLASS_MARKERS,
    font_size,
    label_axes,
    percent_tick,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@documented
@dataclass(eq=False, repr=False)
class AnswersCurveDisplay(Display):
    """Accuracy of the worst group against the number of answers, by how these are used.

    Make it with :meth:`from_results`; the parameters are kept as attributes.

    Parameters
    ----------
    curves : dict of str to (ndarray of int, shape (P,), ndarray, shape (P, R))
        Numbers of answers, ascending, and the accuracies in [0, 1] of R repetitions.
    reference : float, optional
        An accuracy to reach, such as that with all group labels.
    reference_name : str
        What the reference is.

    Attributes
    ----------
    {ax_, figure_}
    lines_ : dict of str to matplotlib Line2D
        The curves, the mean over the repetitions.
    reference_ : matplotlib Line2D or None
        The reference.

    Examples
    --------
    >>> from ntkit.inspection import AnswersCurveDisplay
    >>> display = AnswersCurveDisplay.from_results(
    ...     {"errors first": {12: [0.61, 0.64], 24: [0.70, 0.72], 48: [0.74, 0.77]},
    ...      "at random": {12: 0.40, 24: 0.55, 48: 0.63}},
    ...     reference=0.78,
    ... )
    >>> display.lines_["errors first"].get_ydata().round(3).tolist()
    [0.625, 0.71, 0.755]
    """

    curves: dict[str, tuple[Array, Array]]
    reference: float | None
    reference_name: str

    @classmethod
    def from_results(
        cls,
        results: Mapping[str, Mapping[int, ArrayLike]],
        *,
        reference: float | None = None,
        reference_name: str = "all groups known",
        ax: Axes | None = None,
    ) -> Self:
        """Draw what was measured.

        Parameters
        ----------
        results : dict of str to dict of int to float or array-like of shape (R,)
            Name of a curve to: number of answers to worst-group accuracy in [0, 1], or to those
            of several repetitions; a band then shows the standard deviation.
        {reference, reference_name}
        {ax}

        {drawn}

        Raises
        ------
        InputError
            If there is no curve, a number of answers is not positive, or an accuracy is not in
            [0, 1].
        {MissingDependencyError}
        """
        if not results:
            raise InputError("There is no curve to draw; pass at least one.")
        curves = {str(name): _curve(name, points) for name, points in results.items()}
        if reference is not None and not 0 <= reference <= 1:
            raise InputError(f"reference must be in [0, 1]; got {reference!r}.")
        display = cls(curves, None if reference is None else float(reference), reference_name)
        return display.plot(ax)

    def _draw(self, ax: Axes) -> None:
        self.lines_ = dict[str, Any]()
        self.reference_: Any = None
        for i, (name, (counts, accuracies)) in enumerate(self.curves.items()):
            colour = CLASS_COLORS[i % len(CLASS_COLORS)]
            mean, spread = accuracies.mean(axis=1), accuracies.std(axis=1)
            marker = CLASS_MARKERS[i % len(CLASS_MARKERS)]
            (line,) = ax.plot(counts, mean, color=colour, marker=marker, label=short(name))
            if accuracies.shape[1] > 1:
                ax.fill_between(counts, mean - spread, mean + spread, color=colour, alpha=0.15)
            self.lines_[name] = line
        if self.reference is not None:
            self.reference_ = ax.axhline(
                self.reference, color=BLACK, linestyle="--", label=short(self.reference_name)
            )
        ticks = sorted({int(n) for counts, _ in self.curves.values() for n in counts})
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.minorticks_off()
        ax.yaxis.set_major_formatter(percent_tick)
        label_axes(ax, xlabel="answers", ylabel="accuracy of the worst group")
        ax.legend(fontsize=font_size(ax), loc="best", frameon=False)


def _curve(name: str, points: Mapping[int, ArrayLike]) -> tuple[Array, Array]:
    """Numbers of answers, ascending, and accuracies, (P,) and (P, R)."""
    counts = np.array(sorted(points))
    if not len(counts) or counts.dtype.kind not in "iu" or counts[0] < 1:
        raise InputError(f"The curve {name!r} needs positive numbers of answers.")
    rows = [np.atleast_1d(np.asarray(points[n], dtype=float)) for n in counts.tolist()]
    if len({row.shape for row in rows}) > 1 or rows[0].ndim != 1 or not len(rows[0]):
        raise InputError(f"The curve {name!r} needs as many repetitions of every point.")
    accuracies = np.stack(rows)
    if not ((accuracies >= 0) & (accuracies <= 1)).all():
        raise InputError(f"The curve {name!r} holds accuracies that are not in [0, 1].")
    return counts, accuracies
