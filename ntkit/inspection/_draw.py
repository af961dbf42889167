"""Matplotlib on demand, and shared parts of the Displays: axes, colours, text sizes, names."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ntkit._checks import check_embeddings, check_labels, positions_of
from ntkit._doc import documented
from ntkit._extras import install_extra
from ntkit._types import Array
from ntkit.estimators import NeuronTuneClassifier, NeuronTuneClassifierCV, SpuriousNeuronSelector
from ntkit.exceptions import InputError, MissingDependencyError
from ntkit.head import LinearHead
from ntkit.metrics import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")

# Okabe and Ito's colours, which people with a colour vision deficiency can distinguish.
BLACK, GREY, PALE = "#000000", "#767676", "#dddddd"
BLUE, VERMILLION = "#0072b2", "#d55e00"
CLASS_COLORS = (BLUE, VERMILLION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P")  # for prints in black and white

_NAMED = 40  # neurons that may have their names under an axis


@documented
class Display:
    """A plot that can be drawn again; its fields hold the plotted values."""

    ax_: Axes
    figure_: Any

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        {ax}

        {drawn}
        """
        try:
            importlib.import_module("matplotlib")
        except ImportError as error:
            raise MissingDependencyError(
                f"{type(self).__name__} needs the package matplotlib; install it with: "
                f"{install_extra('report')}"
            ) from error
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(layout="constrained")[1]
        from matplotlib.axes import Axes

        if not isinstance(ax, Axes):
            raise InputError(f"ax must be one Axes of matplotlib; got {type(ax).__name__}.")
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax)
        return self

    def _draw(self, ax: Axes) -> None:
        raise NotImplementedError


def width_of(ax: Axes) -> float:
    """Width of the axes in inches."""
    return float(ax.get_window_extent().width / ax.figure.dpi)


def height_of(ax: Axes) -> float:
    """Height of the axes in inches."""
    return float(ax.get_window_extent().height / ax.figure.dpi)


def first_of(rows: Sequence[T], most: int, key: Callable[[T], float]) -> list[T]:
    """All rows in their order, or those with the smallest keys, smallest first."""
    return list(rows) if len(rows) <= most else sorted(rows, key=key)[: max(1, most)]


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Give each row its name, the first one at the top, and space for one line of a legend."""
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(max(1, len(names)) - 0.5, -0.5)
    headroom(ax, 1)


def font_size(ax: Axes) -> float:
    """Size of text, in points, that is readable in axes of this width."""
    return float(np.clip(5.2 + 0.55 * width_of(ax), 7, 12))


def label_axes(ax: Axes, *, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Write the labels in sizes that fit, and remove axis lines without a scale."""
    size = font_size(ax)
    ax.set_xlabel(xlabel, fontsize=size)
    ax.set_ylabel(_wrapped(ylabel, height_of(ax), size), fontsize=size)
    ax.set_title(_wrapped(title, width_of(ax), size + 1), fontsize=size + 1, loc="left")
    ax.tick_params(labelsize=size)
    ax.spines[["top", "right"]].set_visible(False)


def _wrapped(text: str, inches: float, size: float) -> str:
    # Long tick labels will take some space from the axes in the layout of the figure.
    return "\n".join(textwrap.wrap(text, max(16, int(0.85 * inches * 72 / (0.5 * size)))))


def show_legend(
    ax: Axes,
    handles: Sequence[Any],
    loc: Literal["upper left", "upper center", "upper right"],
    *,
    ncols: int = 1,
    markerscale: float = 1.0,
) -> None:
    """Show a legend inside the axes."""
    ax.legend(
        handles=list(handles),
        loc=loc,
        ncols=ncols,
        markerscale=markerscale,
        fontsize=font_size(ax),
        framealpha=0.9,
        edgecolor="none",
        borderaxespad=0.2,
        handlelength=1.6,
        columnspacing=1.2,
    )


Entry = tuple[str, str, str, str]
"""Marker, colour, colour of its face, and text of an entry of a legend."""


def label_shares(
    ax: Axes, names: Sequence[tuple[str, str]], xlabel: str, title: str, entries: Sequence[Entry]
) -> None:
    """Write names of rows, a percent axis and a legend; a name has an end that is never cut."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    label_axes(ax, xlabel=xlabel, title=title)
    letters = int(np.clip(6 * width_of(ax), 16, 40))
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    name_rows(ax, [f"{short(name, letters)}{end}" for name, end in names])
    handles = [
        Line2D([], [], linestyle="none", marker=m, color=color, markerfacecolor=face, label=text)
        for m, color, face, text in entries
    ]
    show_legend(ax, handles, "upper left", ncols=len(handles))


Point = tuple[float, float, float]
"""A value, and the two ends of its interval."""


def points_of(rows: Sequence[Row]) -> list[Point]:
    """The value of each row with its interval; NaN for a row without samples."""
    none = (np.nan, np.nan)
    return [(row.value, *(row.interval or none)) if row.n else (np.nan, *none) for row in rows]


def errorbar(
    ax: Axes, points: Sequence[Point], color: str, *, before: bool = False, offset: float = -0.16
) -> Any:
    """Draw values with their intervals, one below the other."""
    accuracy, low, high = np.array(points).reshape(-1, 3).T
    return ax.errorbar(
        accuracy,
        np.arange(len(points)) + offset,
        # Rounding may put the end of an interval on the wrong side of the observed value.
        xerr=np.maximum(0, [accuracy - low, high - accuracy]),
        fmt="o",
        color=color,
        markerfacecolor="white" if before else color,
        markersize=font_size(ax) * 0.65,
        elinewidth=1.4,
        capsize=0,
    )


def headroom(ax: Axes, n_lines: int) -> None:
    """Move the data down, so that a legend of so many lines has space above them."""
    low, high = ax.get_ylim()
    share = min(0.5, (1.7 * n_lines * font_size(ax) + 8) / 72 / max(height_of(ax), 1e-6))
    ax.set_ylim(low, low + (high - low) / (1 - share))


def short(name: object, most: int = 24) -> str:
    """Return a name of at most so many letters, on one line, as plain text for matplotlib."""
    # The middle is removed, because names of groups often differ only at their ends.
    line = " ".join(str(name).split())
    if len(line) > most:
        tail = (most - 1) // 2
        line = f"{line[: most - 1 - tail]}…{line[len(line) - tail :]}"
    return line.replace("$", r"\$")


def runs(mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Return (start, width) of each run of True, where element i covers i - 1/2 to i + 1/2."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(float(a) - 0.5, float(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def name_neurons(ax: Axes, order: NDArray[Any], names: Sequence[str] | None) -> None:
    """Write the names of the neurons, or else their numbers, under an axis with few neurons."""
    if len(order) > _NAMED:
        return
    shown = [str(i) if names is None else short(names[i], 12) for i in order]
    ax.set_xticks(range(len(order)), shown, rotation=90)


def marker_size(ax: Axes, n_points: int) -> float:
    """Marker size in points: about as large as the distance of points allows."""
    width = width_of(ax)
    return float(np.clip(32 * np.sqrt(width / n_points), 1.5, 4 + 0.25 * width))


def neurontune_of(estimator: Any) -> NeuronTuneClassifier:
    """Return the fitted NeuronTuneClassifier in an estimator, a selector or a search."""
    inner = _inner(estimator)
    if not isinstance(inner, NeuronTuneClassifier):
        raise InputError(
            "SpuriousnessDisplay.from_estimator needs a fitted NeuronTuneClassifier, "
            f"NeuronTuneClassifierCV or SpuriousNeuronSelector; got {type(inner).__name__}."
        )
    check_is_fitted(inner, "suppressed_")
    return inner


def original_head_of(estimator: Any) -> LinearHead:
    """Return the original head of a fitted estimator."""
    inner = _inner(estimator)
    if not hasattr(inner, "fit"):
        raise InputError(
            f"NeuronDisplay.from_estimator needs a fitted estimator; got {type(inner).__name__}."
        )
    check_is_fitted(inner)
    head = getattr(inner, "erm_head_", None)
    if not isinstance(head, LinearHead):
        raise InputError(
            f"{type(inner).__name__} keeps no original head (erm_head_), which NeuronDisplay needs."
        )
    return head


def _inner(estimator: Any) -> Any:
    """Return the estimator in a selector or a search."""
    for attribute, kind in (
        ("estimator_", SpuriousNeuronSelector),
        ("best_estimator_", NeuronTuneClassifierCV),
    ):
        if isinstance(estimator, kind):
            check_is_fitted(estimator, attribute)
            return getattr(estimator, attribute)
    return getattr(estimator, "best_estimator_", estimator)  # one of scikit-learn's searches


def check_samples(X: ArrayLike, y: ArrayLike, head: LinearHead) -> tuple[Array, Array]:
    """Embeddings (N, D) that the head reads, and one class label for each."""
    (labels,) = check_labels(y=y)
    Z = check_embeddings(X, len(labels))
    positions_of(labels, head.classes, what="y", where="the head", fix="use its labels.")
    return Z, labels


def neuron_names_of(estimator: Any) -> list[str] | None:
    """Column names of the samples of an estimator's fit, if they had any."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def neuron_index(neuron: Any, n_neurons: int, names: list[str] | None) -> int:
    """Return the column of a neuron from its index or name."""
    if names is not None and neuron in names:
        return names.index(neuron)
    if (
        isinstance(neuron, bool)
        or not isinstance(neuron, Integral)
        or not 0 <= int(neuron) < n_neurons
    ):
        raise InputError(
            f"neuron must be a column from 0 to {n_neurons - 1}, or one of the names in "
            f"feature_names_in_, if there are names; got {neuron!r}."
        )
    return int(neuron)
