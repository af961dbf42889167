"""The plots of the pages once more, from the committed tables: nothing is run.

python benchmarks/redraw.py
"""

from __future__ import annotations

from typing import Any

import answers_tables
import evidence_plot
from committed import DOCS, rows_under

HEADING = "## Worst-group accuracy on the test set, %"
BELOW = "### Points below DFR with all groups on the same rows: mean / worst"


def main() -> None:
    """Draw evidence.svg, checks.svg and answers.svg; results_csv.py draws overview.svg."""
    evidence_plot.plot(of_evidence("evidence"), DOCS / "evidence.svg")
    evidence_plot.plot(of_evidence("checks"), DOCS / "checks.svg")
    answers_tables.plot([of_answers()], DOCS / "answers.svg")


def of_evidence(name: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Two runs for each data set and setting, which have its mean and deviation."""
    (header, *lines) = rows_under(name, HEADING)
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for column, title in enumerate(header[1:], 1):
        data, _, setting = title.rpartition(", ")
        runs: list[dict[str, Any]] = [{"rows": {}}, {"rows": {}}]
        for line in lines:
            mean, _, deviation = line[column].partition(" ± ")
            for run, sign in zip(runs, (1, -1), strict=True):
                value = float(mean) + sign * float(deviation or 0) if mean != "–" else float("nan")
                run["rows"][line[0]] = {"worst_group": value / 100}
        cells[data, setting] = runs
    return cells


def of_answers() -> dict[str, Any]:
    """One run that has the means of the table, with DFR at 0."""
    (header, *lines) = rows_under("answers", BELOW)
    counts = [title.split()[0] for title in header[1:-1]]
    run: dict[str, Any] = {"data": "all", "seed": 0, answers_tables.DFR_ALL: 0.0}
    for name, *cells, _ in lines:
        means = {n: {"worst": -float(c.split()[0])} for n, c in zip(counts, cells, strict=True)}
        run[name] = means
    return run


if __name__ == "__main__":
    main()
