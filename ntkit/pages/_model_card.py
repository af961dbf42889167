"""The model card: what the model written is, for whoever finds it."""

from __future__ import annotations

from dataclasses import replace

from ntkit.metrics import GroupReport
from ntkit.pages._offline import markdown, rendered
from ntkit.pages._report_page import Report, outcome
from ntkit.pages._usage import Usage

_MOST = 30  # rows of the table


def model_card(report: Report, usage: Usage) -> str:
    """Write a model card in Markdown, with the front matter of the Hugging Face Hub."""
    # The front matter has what is known: no licence, no language, no name of a data set.
    figures = report.shown.figures()
    worse = [
        f"{row.kind} {markdown(row.label)} ({100 * row.change:+.1f} points)"
        for row in figures.rows
        if row.kind != "summary" and row.change_interval and row.change_interval[1] < 0
        and row.change is not None
    ]  # fmt: skip
    return rendered(
        "card.md.jinja",
        report=report,
        usage=usage,
        verdict=outcome(figures),
        n_suppressed=int(report.suppressed.sum()),
        table=_table(figures),
        worse=worse,
    )


def _table(figures: GroupReport) -> str:
    """The table of accuracies; of many classes the summaries and the largest losses."""
    rows = [
        replace(
            row,
            label=markdown(row.label),
            which=None if row.which is None else markdown(row.which),
        )
        for row in figures.rows
    ]
    if len(rows) <= _MOST:
        return replace(figures, rows=tuple(rows)).table()
    kept = [row for row in rows if row.kind != "class"]
    losses = sorted(
        (row for row in rows if row.kind == "class" and row.count),
        key=lambda row: row.change or 0.0,
    )
    shown = (*losses[: max(0, _MOST - len(kept))], *kept)
    table = GroupReport(shown, figures.confidence, figures.grouped).table()
    return f"{table}\n\n{len(rows) - len(shown)} classes with smaller losses are left out."
