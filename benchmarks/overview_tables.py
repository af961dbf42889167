"""Tables and plot of the results of overview.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overview_data import kind_of, problems
from rows import Fit, average
from rows import worst as worst_group
from runner import mean_std, table
from tuned_alike import RULES

Findings = dict[str, Any]
NAMES = {
    "0 | ERM": "ERM",
    "0 | class-balanced": "class-balanced retraining",
    "0 | ERM, training rows": "ERM on the training set",
    "0 | class-balanced, validation rows": "class-balanced retraining on the validation set",
    "0 | NeuronTune": "NeuronTune, as described",
    "0 | random mask": "random mask of its size",
    "0 | NeuronTune, default": "NeuronTune, ntkit's default",
    "balanced, by class": "class-balanced ‡",
    "neurontune, by class": "NeuronTune, optimum ‡",
    "afr, wider, by class": "AFR ‡",
    "jtt, by class": "JTT ‡",
    "self, wider, by class": "SELF ‡",
    "evals, by class": "EVaLS ‡",
    "leace, by class": "LEACE on errors ‡",
    "leia, wider, by class": "LEIA ‡",
    "0 | afr": "AFR ◊",
    "0 | jtt": "JTT ◊",
    "0 | self": "SELF ◊",
    "0 | evals": "EVaLS ◊",
    "0 | leace": "LEACE on errors ◊",
    "0 | leia": "LEIA ◊",
    "0 | auto": "ntkit, `auto`",
    "0 | --method auto": "ntkit, `--method auto`",
    "1 | balanced over it": "ntkit, group-balanced",
    "1 | debias": "ntkit, `debias`",
    "48 | DFR, random labels": "DFR on as many random labels",
    "48 | SSA": "SSA",
    "48 | GSR": "GSR",
    "48 | ntkit": "ntkit, `GroupInference` and DFR",
    "48 | debias": "ntkit, `debias`",
    "96 | DFR, random labels": "DFR on as many random labels",
    "96 | SSA": "SSA",
    "96 | GSR": "GSR",
    "96 | ntkit": "ntkit, `GroupInference` and DFR",
    "96 | debias": "ntkit, `debias`",
    "balanced, by group": "class-balanced ‡†",
    "neurontune, by group": "NeuronTune, optimum ‡†",
    "afr, wider, by group": "AFR ‡†",
    "jtt, by group": "JTT ‡†",
    "self, wider, by group": "SELF ‡†",
    "evals, by group": "EVaLS ‡†",
    "leace, by group": "LEACE on errors ‡†",
    "leia, wider, by group": "LEIA ‡†",
    "groupdro, by group": "group DRO ‡†",
    "all | group DRO †": "group DRO, C not tuned †",
    "all | DFR as published †": "DFR as published, validation set †",
    "all | DFR, validation rows †": "DFR, weighted, validation set †",
    "all | DFR †": "DFR, weighted, all rows †",
}
"""Row to what it is called, in the order of the tables."""
DEFAULTS = tuple(name for name, shown in NAMES.items() if "◊" in shown)
"""Rows that say what defaults do: not in the short table, where the same methods are tuned."""
TUNED = {
    "erm": "ERM",
    "balanced": "class-balanced, rows tuned",
    "masked": "NeuronTune's mask, optimum, rows tuned",
    "random": "random mask of its size, rows tuned",
    "neurontune": "NeuronTune, optimum, threshold tuned",
    "afr, wider": "AFR",
    "jtt": "JTT",
    "self, wider": "SELF",
    "evals": "EVaLS",
    "leace": "LEACE on errors",
    "leia, wider": "LEIA",
    "groupdro": "group DRO, rows tuned †",
    "dfr": "DFR, weighted, rows tuned †",
}
"""Methods with 24 configurations each, by the names that overview.py gives them."""
REFERENCE = "all | DFR †"
ORIGINAL = "0 | ERM"
KINDS = {"injected": "injected", "natural": "natural", "none": "no shortcut"}
BALANCED = "balanced"
"""Kind of the problems with a balanced validation set, which have tables of their own."""
Runs = dict[str, list[dict[str, Findings]]]


def runs_of(rows: Sequence[Fit]) -> Runs:
    """Rows of every seed by data set; seeds without ERM or DFR only if no seed has it."""
    fits: dict[tuple[str, int], dict[str, list[Fit]]] = {}
    for row in rows:
        found = fits.setdefault((row["data"], row["seed"]), {})
        found.setdefault(row["method"], []).append(row)
    needed = [n for n in (ORIGINAL, REFERENCE) if any(n in found for found in fits.values())]
    runs: Runs = {}
    for (data, _), found in sorted(fits.items(), key=lambda item: item[0][1]):
        if all(name in found for name in needed):
            figures = {
                name: {
                    "worst": float(np.mean([worst_group(row) for row in each])),
                    "average": float(np.mean([average(row) for row in each])),
                }
                for name, each in found.items()
            }
            runs.setdefault(data, []).append(figures)
    kinds, known = [*KINDS, BALANCED], [*problems(Path(), [Path()])]
    return dict(sorted(runs.items(), key=lambda x: (kinds.index(kind_of(x[0])), known.index(x[0]))))


def values(rows: Sequence[dict[str, Findings]], name: str, key: str) -> list[float]:
    """A figure of a row in every draw that has it."""
    return [row[name][key] for row in rows if name in row]


def gaps(rows: Sequence[dict[str, Findings]], name: str) -> list[float]:
    """Points of worst-group accuracy below DFR, in every draw that has both rows."""
    both = [row for row in rows if {name, REFERENCE} <= set(row)]
    return [row[REFERENCE]["worst"] - row[name]["worst"] for row in both]


def accuracy_costs(rows: Sequence[dict[str, Findings]], name: str) -> list[float]:
    """Points of average accuracy below ERM by training shares, in draws that have both rows."""
    both = [row for row in rows if {name, ORIGINAL} <= set(row)]
    return [row[ORIGINAL]["average"] - row[name]["average"] for row in both]


def tables(rows: Sequence[Fit]) -> str:
    """All tables of what was run, as Markdown."""
    every = runs_of(rows)
    balanced = {data: found for data, found in every.items() if kind_of(data) == BALANCED}
    runs = {data: found for data, found in every.items() if data not in balanced}
    seen = {name for found in runs.values() for row in found for name in row}
    parts = [LEGEND.format("; ".join(runs))] if runs else []
    if {ORIGINAL, REFERENCE} <= seen:
        parts += ["### In short", summary(runs)]
    if {name for name, *_ in ASKED.values()} <= seen:
        parts += ["### Goals set before the runs", goals(runs)]
    if any(f"{method}, by class" in seen for method in TUNED):
        parts += ["### Who chooses among 24 configurations", by_rule(runs)]
    for title, some in (("", runs), (", balanced validation set", balanced)):
        if some:
            parts += [f"### Worst group{title}, %", figures(some, "worst")]
            parts += [f"### Average by training shares{title}, %", figures(some, "average")]
    counted = "; ".join(f"{data}: {len(found)}" for data, found in every.items())
    return "\n\n".join([*parts, f"Seeds of {counted}.\n"])


LEGEND = """Means over the data sets that were run: {}.

* *gap*: points of worst-group accuracy below DFR; *worst set*: the largest mean gap of a data set.
* *accuracy cost*: points of average accuracy below ERM. Negative numbers are gains.
* ‡ is tuned by half of the validation set. † sees group labels. ◊ has ntkit's defaults.
* "half of validation": the group labels of half of the validation set choose the configuration."""


def names_of(runs: Runs) -> list[str]:
    """Rows that were run, in the order of the tables; of your methods last of their labels."""
    seen = {name for rows in runs.values() for row in rows for name in row}
    yours = sorted(seen - {*NAMES, "0 | original"})
    free, told = ([n for n in yours if n.startswith(labels)] for labels in ("0 | ", "all | "))
    known = list(NAMES)
    first = known.index("1 | balanced over it")
    order = [*known[:first], *free, *known[first:], *told]
    return [name for name in order if name in seen]


def answers_and_name(name: str) -> list[str]:
    """Number of labels, and method; of who is tuned, whether group labels choose."""
    if " | " in name:
        n = name.partition(" | ")[0]
        return ["one yes" if n == "1" else n, NAMES.get(name, name.partition(" | ")[2])]
    if name.startswith("groupdro"):  # it is fitted with groups as well
        return ["all", NAMES[name]]
    return ["half of validation" if name.endswith("by group") else "0", NAMES[name]]


def summary(runs: Runs) -> str:
    """Mean and worst gap to DFR, and the mean accuracy cost, by kind of shortcut."""
    header = ["labels", "method"]
    names = [name for name in names_of(runs) if name not in DEFAULTS]
    lines = [answers_and_name(name) for name in names]
    for kind, title in KINDS.items():
        of_kind = [data for data in runs if kind_of(data) == kind]
        sets = [runs[data] for data in of_kind]
        if not sets:
            continue
        several = len(sets) > 1
        header += [f"{title if several else of_kind[0]}: gap", *["worst set"] * several]
        header += ["accuracy cost"]
        for line, name in zip(lines, names, strict=True):
            of_sets = [np.mean(gaps(rows, name)) for rows in sets if gaps(rows, name)]
            cost = [
                np.mean(accuracy_costs(rows, name)) for rows in sets if accuracy_costs(rows, name)
            ]
            shown = [np.mean(of_sets), *[max(of_sets)] * several, np.mean(cost)] if of_sets else []
            line += [f"{value:.1f}" for value in shown] or ["–"] * (2 + several)
    return table(header, lines)


ASKED = {
    "no labels, `auto`": ("0 | auto", 6.0, 15.0),
    "no labels, `--method auto`": ("0 | --method auto", 6.0, 15.0),
    "one yes, balanced over it": ("1 | balanced over it", 1.5, 4.0),
    "one yes, `debias`": ("1 | debias", 1.5, 4.0),
    "48 labels, `debias`": ("48 | debias", 4.0, 10.0),
    "96 labels, `debias`": ("96 | debias", 2.5, 7.0),
}
"""Mean gap to DFR, and the worst, that were asked for beforehand where there is a shortcut."""


def goals(runs: Runs) -> str:
    """What was asked for beforehand, what came, and the worst set and run."""
    with_one = [data for data in runs if kind_of(data) != "none"]
    lines = []
    for title, (name, mean, worst) in ASKED.items():
        sets = {data: gaps(runs[data], name) for data in with_one if gaps(runs[data], name)}
        means = {data: float(np.mean(found)) for data, found in sets.items()}
        if not means:
            continue
        last = max(means, key=lambda data: means[data])
        came, run = np.mean(list(means.values())), max(map(max, sets.values()))
        lines.append(
            [
                f"{title}: gap to DFR",
                f"{mean:g}, worst {worst:g}",
                f"{came:.1f} ({reached(came <= mean)}), worst set {means[last]:.1f}, {last} "
                f"({reached(means[last] <= worst)}), worst seed {run:.1f}; {len(means)} sets",
            ]
        )
    for title, name in (("`auto`", "0 | auto"), ("`--method auto`", "0 | --method auto")):
        below = {
            data: np.mean(values(rows, "0 | class-balanced", "worst"))
            - np.mean(values(rows, name, "worst"))
            for data, rows in runs.items()
            if values(rows, name, "worst")
        }
        if not below:
            continue
        last = max(below, key=lambda data: below[data])
        lines.append(
            [
                f"{title}, no labels: below class-balanced on the same rows, all sets",
                "never more than 2",
                f"at most {below[last]:.1f}, {last} ({reached(below[last] <= 2)})",
            ]
        )
    lost = [
        tuple(
            row["0 | original"]["average"] - row[name]["average"]
            for name in ("0 | --method auto", REFERENCE)
        )
        for rows in runs.values()
        for row in rows
        if "0 | original" in row
    ]
    if lost:
        kept, cheap = sum(own <= 5 for own, _ in lost), [own for own, dfr in lost if dfr <= 3]
        some = sum(own <= 3 for own in cheap)
        lines += [
            [
                "`--method auto`: average accuracy lost, within 5 points",
                "95 % of seeds",
                f"{kept} of {len(lost)} ({reached(kept >= 0.95 * len(lost))})",
            ],
            [
                "the same, within 3 points if DFR's cost is",
                "all seeds",
                f"{some} of {len(cheap)} ({reached(some == len(cheap))})",
            ],
        ]
    return table(["goal", "asked", "came"], lines)


def reached(yes: bool) -> str:
    """In a word."""
    return "reached" if yes else "**missed**"


def by_rule(runs: Runs) -> str:
    """Mean gap to DFR of the configurations that each rule chooses, by kind of shortcut."""
    header, lines = [""], [[title] for title in TUNED.values()]
    for kind, title in KINDS.items():
        sets = [rows for data, rows in runs.items() if kind_of(data) == kind]
        for rule, chooser in RULES.items() if sets else ():
            header.append(f"{title}: {chooser}")
            for line, method in zip(lines, TUNED, strict=True):
                found = [gaps(rows, f"{method}, by {rule}") for rows in sets]
                of_sets = [np.mean(each) for each in found if each]
                line.append(f"{np.mean(of_sets):.1f}" if of_sets else "–")
    return table(header, lines)


def figures(runs: Runs, key: str) -> str:
    """A figure of all rows and data sets, mean and deviation over the draws."""
    lines = [
        [
            *answers_and_name(name),
            *(
                mean_std(values(rows, name, key)) if values(rows, name, key) else "–"
                for rows in runs.values()
            ),
        ]
        for name in names_of(runs)
    ]
    return table(["labels", "method", *runs], lines)


# -- the plot --------------------------------------------------------------------------------

SHOWN = {
    ORIGINAL: ("ERM", "#000000", "X"),
    "0 | class-balanced": ("class-balanced", "#999999", "s"),
    "0 | NeuronTune": ("NeuronTune, as described", "#D55E00", "D"),
    "0 | afr": ("AFR, defaults", "#56B4E9", "P"),
    "0 | jtt": ("JTT, defaults", "#0072B2", "p"),
    "48 | SSA": ("SSA, 48 labels", "#E69F00", "v"),
    "0 | --method auto": ("--method auto, no labels", "#8FD3BF", "^"),
    "1 | debias": ("debias, one yes", "#2CA25F", "d"),
    "48 | debias": ("debias, 48 labels", "#004733", "o"),
    REFERENCE: ("DFR, weighted", "#CC79A7", "*"),
}


def plot(rows: Sequence[Fit], path: Path) -> None:
    """A line for every data set, from ERM to DFR, with what ntkit writes between them."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "ntkit"  # the same plot, the same file
    runs = {data: run for data, run in runs_of(rows).items() if kind_of(data) != BALANCED}
    figure, ax = plt.subplots(figsize=(7, 1.4 + 0.5 * len(runs)))
    for j, (row, (label, colour, marker)) in enumerate(SHOWN.items()):
        offset = 0.085 * (j - (len(SHOWN) - 1) / 2)
        found = [values(of_set, row, "worst") for of_set in runs.values()]
        kept = [(np.mean(v), i + offset) for i, v in enumerate(found) if v]
        size = {"*": 11, "X": 8}.get(marker, 6.5)
        x, y = zip(*kept, strict=True)
        look = {"color": colour, "markersize": size, "markeredgecolor": "white"}
        ax.plot(x, y, marker, label=label, **look, markeredgewidth=0.7, zorder=3 - 0.01 * j)
    for i, of_set in enumerate(runs.values()):
        ends = [np.mean(values(of_set, row, "worst")) for row in (ORIGINAL, REFERENCE)]
        ax.fill_betweenx([i - 0.4, i + 0.4], *ends, color="0.94", zorder=0, linewidth=0)
    kinds = [kind_of(data) for data in runs]
    for i in range(1, len(kinds)):
        if kinds[i] != kinds[i - 1]:
            ax.axhline(i - 0.5, color="0.5", linewidth=0.8)
    ax.set_yticks(range(len(runs)), list(runs))
    ax.set_ylim(len(runs) - 0.5, -0.5)
    ax.set_xlabel("worst-group accuracy, %")
    ax.grid(axis="x", color="0.92")
    ax.set_axisbelow(True)
    figure.legend(loc="upper center", ncols=3, fontsize=10, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.95 / figure.get_figheight()))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)
