"""The model card: what the model written is, for whoever finds it."""

from __future__ import annotations

from typing import Any

from ntkit.metrics import GroupReport
from ntkit.report._page import Report, outcome
from ntkit.report._usage import Usage

__all__ = ["model_card"]


def model_card(report: Report, usage: Usage) -> str:
    """Write a model card in Markdown, with the front matter of the Hugging Face Hub.

    Parameters
    ----------
    report : Report
        What the job did.
    usage : Usage
        What the model is, takes and gives.

    Returns
    -------
    str
        A README.md.
    """
    figures = report.shown.figures()
    n_silenced = int(report.silenced.sum())
    parts = [
        _front_matter(usage.task),
        f"# {report.title}, debiased",
        f"{outcome(figures)} Figures are for the {report.evaluated_on} "
        f"({len(report.shown.y)} samples).",
        "## What it is",
        f"The classifier {report.title} with another last linear layer, written by "
        "[ntkit](https://pypi.org/project/ntkit/): "
        + (
            f"{n_silenced} of {report.Z.shape[1]} neurons of the last embedding are silenced, and "
            "the layer is retrained."
            if n_silenced
            else "the layer is retrained, no neuron is silenced."
        )
        + f" {usage.change}",
        "## What goes in and comes out",
        _list(usage.facts),
        "## How to use it",
        "This program predicts the class of the files or texts that follow its name on the "
        "command line; run it beside the model.",
        f"```python\n{usage.snippet}\n```",
        "## Evaluation",
        *([usage.before] if usage.before else []),
        _table(figures),
        "Intervals are of 95 %: Wilson's of an accuracy, Bonett and Price's of a change.",
        "## Limits",
        _limits(figures),
        *report.sentences,
        "## How it was made",
        _list(report.asked),
        _list(report.facts),
        *(["```\n" + "\n".join(report.commands) + "\n```"] if report.commands else []),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(task: str | None) -> str:
    """What is known: no licence, no language, no name of a data set."""
    tags = "\n".join(f"- {tag}" for tag in ("onnx", "ntkit", "debiased", "spurious-correlations"))
    known = "" if task is None else f"pipeline_tag: {task}\n"
    return f"---\nlibrary_name: onnx\n{known}tags:\n{tags}\nmetrics:\n- accuracy\n---"


def _table(figures: GroupReport, most: int = 30) -> str:
    """The table of accuracies; of many classes the summaries and the largest losses."""
    if len(figures.rows) <= most:
        return figures.table()
    kept = [row for row in figures.rows if row.kind != "class"]
    losses = sorted(
        (row for row in figures.rows if row.kind == "class" and row.count),
        key=lambda row: row.change or 0.0,
    )
    shown = GroupReport(
        (*losses[: max(0, most - len(kept))], *kept), figures.confidence, figures.grouped
    )
    left_out = len(figures.rows) - len(shown.rows)
    return f"{shown.table()}\n\n{left_out} classes with smaller losses are left out."


def _limits(figures: GroupReport) -> str:
    worse = [
        f"{row.kind} {row.label} ({100 * row.change:+.1f} points)"
        for row in figures.rows
        if row.kind != "summary" and row.change_interval and row.change_interval[1] < 0
        and row.change is not None
    ]  # fmt: skip
    lost = f"Clearly worse than the original: {', '.join(worse)}." if worse else (
        "No class or group is clearly worse than with the original."
    )  # fmt: skip
    return (
        f"{lost} The figures hold for data like those above. Debiasing the last layer helps with "
        "shortcuts that some held-out samples contradict; it cannot restore what the layers "
        "before it do not see."
    )


def _list(values: Any) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in values.items())
