"""Matplotlib on demand, and what the pictures share: colours, sizes of text, names that fit."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkit._extras import install_extra
from ntkit.exceptions import InputError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "BLACK",
    "BLUE",
    "CLASS_COLORS",
    "CLASS_MARKERS",
    "GREEN",
    "GREY",
    "PALE",
    "SKY",
    "VERMILLION",
    "axes_for",
    "font_size",
    "headroom",
    "label_axes",
    "legend_share",
    "marker_size",
    "name_neurons",
    "percent",
    "require_matplotlib",
    "runs",
    "short",
    "show_legend",
    "spread_out",
    "width_of",
]

# Okabe and Ito's colours, which people with a colour vision deficiency tell apart as well.
BLACK, GREY, PALE = "#000000", "#767676", "#dddddd"
BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"
SKY = "#56b4e9"
CLASS_COLORS = (BLUE, VERMILLION, GREEN, "#cc79a7", "#e69f00", SKY)
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P")  # for prints in black and white

_NAMED = 40  # neurons that can have their names under an axis


def require_matplotlib(caller: str) -> None:
    """Raise MissingDependencyError, which names what to install, without matplotlib."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise MissingDependencyError(
            f"{caller} needs the package matplotlib; install it with: {install_extra('report')}"
        ) from error


def axes_for(ax: Axes | None, caller: str) -> Axes:
    """Return the axes given, or those of a new figure."""
    require_matplotlib(caller)
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.subplots(layout="constrained")[1]
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise InputError(f"ax must be one Axes of matplotlib; got {type(ax).__name__}.")
    return ax


def width_of(ax: Axes) -> float:
    """Width of the axes in inches."""
    return float(ax.get_window_extent().width / ax.figure.dpi)


def font_size(ax: Axes) -> float:
    """Size of text, in points, that is read in axes of this width."""
    return float(np.clip(5.2 + 0.55 * width_of(ax), 7, 12))


def label_axes(ax: Axes, *, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Write the labels in sizes that fit, and drop the lines of the box that carry no scale."""
    size = font_size(ax)
    ax.set_xlabel(xlabel, fontsize=size)
    ax.set_ylabel(_wrapped(ylabel, height_of(ax), size), fontsize=size)
    ax.set_title(_wrapped(title, width_of(ax), size + 1), fontsize=size + 1, loc="left")
    ax.tick_params(labelsize=size)
    ax.spines[["top", "right"]].set_visible(False)


def _wrapped(text: str, inches: float, size: float) -> str:
    # Long tick labels will take some of the room from the axes once the figure is laid out.
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


def height_of(ax: Axes) -> float:
    """Height of the axes in inches."""
    return float(ax.get_window_extent().height / ax.figure.dpi)


def legend_share(ax: Axes, n_lines: int) -> float:
    """Share of the axes' height that a legend of so many lines takes, at most a half."""
    return min(0.5, (1.7 * n_lines * font_size(ax) + 8) / 72 / max(height_of(ax), 1e-6))


def headroom(ax: Axes, n_lines: int) -> None:
    """Move the data down, so that a legend of so many lines has room above it."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, low + (high - low) / (1 - legend_share(ax, n_lines)))


def percent(value: float, _: object = None) -> str:
    """Return a share as percent, for the ticks of an axis."""
    return f"{100 * value:.4g} %"


def short(name: object, most: int = 24) -> str:
    """Return a name of at most so many letters, on one line, as plain text to matplotlib.

    The middle goes first: names of groups often differ at their ends only.
    """
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
    """Write the names of the neurons, or else their numbers, under an axis of few of them."""
    if len(order) > _NAMED:
        return
    shown = [str(i) if names is None else short(names[i], 12) for i in order]
    long, x = max(map(len, shown)) > 3, np.arange(len(order))
    kept = spread_out(ax, x, ["" if long else name for name in shown])
    ax.set_xticks(x[kept], [shown[i] for i in kept], rotation=90 if long else 0)


def spread_out(ax: Axes, x: NDArray[Any], labels: Sequence[str]) -> NDArray[np.intp]:
    """Indices of labels that do not touch when written beside each other at ``x`` (ascending).

    The axes' limits must be set.
    """
    low, high = ax.get_xlim()
    letters = max((len(label) for label in labels), default=0) + 2
    gap = letters * 0.6 * font_size(ax) / 72 * (high - low) / max(width_of(ax), 1e-6)
    chosen = list[int]()
    for i, position in enumerate(x):
        if not chosen or position - x[chosen[-1]] >= gap:
            chosen.append(i)
    return np.array(chosen, dtype=np.intp)


def marker_size(ax: Axes, n_points: int) -> float:
    """In points: as large as points beside each other allow, roughly."""
    width = width_of(ax)
    return float(np.clip(32 * np.sqrt(width / n_points), 1.5, 4 + 0.25 * width))
