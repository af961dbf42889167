"""Tables and plot of the results of answers.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runner import table

COUNTS = (12, 24, 48, 96, 192)
DFR_ALL, BALANCED = "DFR, all groups †", "class-balanced"
ROWS = (
    "asked",
    "asked, embedding alone",
    "random",
    "DFR, random labels",
    "SSA",
    "GSR",
)
CURVES = {
    "asked": ("#009E73", "o"),
    "asked, embedding alone": ("#56B4E9", "s"),
    "random": ("#E69F00", "^"),
    "DFR, random labels": ("#999999", "v"),
    "SSA": ("#D55E00", "D"),
    "GSR": ("#CC79A7", "P"),
}
Result = dict[str, Any]


def tables(results: Sequence[Result]) -> str:
    """All tables, as Markdown."""
    runs = merged(results)
    sets = list(dict.fromkeys(run["data"] for run in runs))
    seeds = sorted({run["seed"] for run in runs})
    return "\n".join(
        [
            f"{len(runs)} runs: {len(sets)} data sets, seeds {', '.join(map(str, seeds))}.",
            "",
            "### Points below DFR with all groups on the same rows: mean / worst",
            "",
            table(
                ["", *(f"{n} labels" for n in COUNTS), "runs"],
                [[row, *(gap(runs, row, n) for n in COUNTS), n_runs(runs, row)] for row in ROWS],
            ),
            "",
            "### Area under the curve: mean worst-group accuracy over 24–192 labels",
            "",
            "The labels on a logarithmic scale; over the runs that have all of the rows.",
            "",
            table(["", "area"], [[row, f"{value:.1f}"] for row, value in areas(runs)]),
            "",
            "### By data set: worst-group accuracy in %, mean over the seeds",
            "",
            table(
                ["", "balanced", "24", "48", "96", "192", "feature set at 48", "DFR †"],
                [by_set([run for run in runs if run["data"] == name], name) for name in sets],
            ),
            "",
            "### What wrong labels cost: points below right ones, mean / worst set / worst run",
            "",
            wrong_answers(runs),
            "",
        ]
    )


def merged(results: Sequence[Result]) -> list[Result]:
    """One run for each data set and draw, whatever lines it stands in."""
    runs: dict[tuple[str, int], Result] = {}
    for result in results:
        runs.setdefault((result["data"], result["seed"]), {}).update(result)
    return [run for run in runs.values() if DFR_ALL in run]


def worst(run: Result, row: str, n: int) -> float | None:
    """Worst-group accuracy of a row at so many answers; None where it was not run.

    Where the embedding is the only feature set, reading it alone is the same.
    """
    if row == "asked, embedding alone" and row not in run:
        row = "asked"
    cell = run.get(row, {}).get(str(n))
    return None if cell is None else float(cell["worst"])


def values(runs: Iterable[Result], row: str, n: int) -> list[float]:
    """Points below DFR of all runs that have the row."""
    found = [(run[DFR_ALL], worst(run, row, n)) for run in runs]
    return [dfr - own for dfr, own in found if own is not None]


def gap(runs: Sequence[Result], row: str, n: int) -> str:
    """Mean / worst points below DFR."""
    gaps = values(runs, row, n)
    return f"{np.mean(gaps):.1f} / {max(gaps):.1f}" if gaps else "–"


def n_runs(runs: Sequence[Result], row: str) -> str:
    """Runs that have the row."""
    return str(len(values(runs, row, 48)))


def areas(runs: Sequence[Result]) -> list[tuple[str, float]]:
    """Mean over the curve of each row, by the trapezoidal rule in the logarithm of the answers."""
    counts = COUNTS[1:]
    rows = [row for row in CURVES if any(values(runs, row, n) for n in counts)]
    whole = [
        run for run in runs if all(worst(run, row, n) is not None for row in rows for n in counts)
    ]
    found = []
    for row in rows:
        curves = np.array([[worst(run, row, n) for n in counts] for run in whole], dtype=float)
        steps = (curves[:, 1:] + curves[:, :-1]) / 2
        found.append((row, float(steps.mean()) if whole else float("nan")))
    return found


def by_set(runs: Sequence[Result], name: str) -> list[str]:
    """A line of the table by data set."""

    def mean(row: str, n: int) -> str:
        found = [worst(run, row, n) for run in runs]
        return f"{np.mean([v for v in found if v is not None]):.1f}"

    feature_sets = sorted({str(run["asked"]["48"]["feature_set"]) for run in runs})
    return [
        name,
        f"{np.mean([run[BALANCED] for run in runs]):.1f}",
        *(mean("asked", n) for n in (24, 48, 96, 192)),
        ", ".join(feature_sets),
        f"{np.mean([run[DFR_ALL] for run in runs]):.1f}",
    ]


def wrong_answers(runs: Sequence[Result]) -> str:
    """What answers cost of which so many are wrong, over five people for each set and draw."""
    rows = []
    for share in ("5% wrong", "10% wrong"):
        cells = [share.replace("%", " %")]
        for n in ("24", "48", "96"):
            costs = dict[str, list[float]]()
            for run in (run for run in runs if share in run):
                right = run["0% wrong"][0][n]["worst"]
                costs.setdefault(run["data"], []).extend(
                    right - person[n]["worst"] for person in run[share]
                )
            means = [float(np.mean(c)) for c in costs.values()]
            most = max((max(c) for c in costs.values()), default=float("nan"))
            cells.append(f"{np.mean(means):.1f} / {max(means):.1f} / {most:.1f}" if means else "–")
        rows.append(cells)
    return table(["", "24 labels", "48 labels", "96 labels"], rows)


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw the curves, the mean over all runs that have them."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "ntkit"  # the same plot, the same file
    runs = merged(results)
    figure, ax = plt.subplots(figsize=(5.2, 3.6))
    for row, (colour, marker) in CURVES.items():
        points = [(n, values(runs, row, n)) for n in COUNTS]
        points = [(n, gaps) for n, gaps in points if gaps]
        if points:
            ax.plot(
                [n for n, _ in points],
                [-float(np.mean(gaps)) for _, gaps in points],
                color=colour,
                marker=marker,
                markersize=5,
                label=row,
            )
    ax.axhline(0, color="black", linewidth=1)
    ax.set_xscale("log", base=2)
    ax.set_xticks(COUNTS, [str(n) for n in COUNTS])
    ax.minorticks_off()
    ax.set_xlabel("labels")
    ax.set_ylabel("worst group: points from\nDFR with all groups")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.legend(fontsize=7, frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
