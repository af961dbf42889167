"""A plot of the results of evidence.py: the worst group of each data set, by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from evidence_tables import ORIGINAL

# Okabe and Ito's colours, which people with any colour vision tell apart; shapes for print.
METHODS = {
    ORIGINAL: ("ERM", "#000000", "o"),
    "class-balanced-{same}-tuned-C": ("class-balanced, C tuned", "#999999", "s"),
    "random mask": ("random mask", "#56B4E9", "v"),
    "neurontune": ("NeuronTune, optimum", "#D55E00", "D"),
    "auto": ("auto", "#009E73", "P"),
    "DFR-{same} †": ("DFR, with group labels", "#CC79A7", "*"),
}
TITLES = {
    "balanced": "Validation set balanced over the groups",
    "i.i.d.": "Validation set as biased",
}


def plot(cells: Mapping[tuple[str, str], Sequence[dict[str, Any]]], path: Path) -> None:
    """Draw mean ± standard deviation over the runs; one panel for each setting."""
    mpl.rcParams["svg.hashsalt"] = "ntkit"  # the same plot, the same file
    settings = list(dict.fromkeys(setting for _, setting in cells))
    data = list(dict.fromkeys(name for name, _ in cells))
    size = (4.8, 1.3 + len(settings) * (0.5 + 0.42 * len(data)))
    figure, axes = plt.subplots(len(settings), 1, figsize=size, sharex=True, squeeze=False)
    for ax, setting in zip(axes[:, 0], settings, strict=True):
        same = "both" if setting == "i.i.d." else "validation"
        for j, (row, (label, colour, marker)) in enumerate(METHODS.items()):
            offsets = np.arange(len(data)) + 0.11 * (j - (len(METHODS) - 1) / 2)
            values = [
                [100 * run["rows"][row.format(same=same)]["worst_group"] for run in runs]
                for runs in (cells[name, setting] for name in data)
            ]
            ax.errorbar(
                [np.mean(v) for v in values],
                offsets,
                xerr=[np.std(v) for v in values],
                fmt=marker,
                color=colour,
                label=label,
                markersize=7 if marker == "*" else 5,
                elinewidth=1,
            )
        ax.set_yticks(range(len(data)), data)
        ax.set_ylim(len(data) - 0.5, -0.5)
        ax.set_title(TITLES[setting], loc="left", fontsize=10)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        for line in np.arange(len(data) - 1) + 0.5:
            ax.axhline(line, color="0.85", linewidth=0.8)
    axes[-1, 0].set_xlabel("worst-group accuracy, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=2, fontsize=9, frameon=False)
    top = 1 - 0.75 / size[1]
    figure.tight_layout(rect=(0, 0, 1, top))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)
