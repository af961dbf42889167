"""The model card: what the model written is, for whoever finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from ntkit.metrics import GroupReport
from ntkit.pages._offline import without_controls
from ntkit.pages._report_page import Report, outcome
from ntkit.pages._usage import Usage

_MARKS = re.compile(r"[\\`*\[\]<#~$|]|&(?=[#a-zA-Z])|(?<![^\W_])_|_(?![^\W_])|:(?=//)")
_ENTITIES = {"<": "&lt;", "&": "&amp;", "|": "&#124;"}  # a backslash is not enough everywhere


def model_card(report: Report, usage: Usage) -> str:
    """Write a model card in Markdown, with the front matter of the Hugging Face Hub."""
    figures = report.shown.figures()
    title = _text(report.title)
    n_suppressed = int(report.suppressed.sum())
    parts = [
        _front_matter(usage.task),
        f"# {title}, debiased",
        f"{outcome(figures)} Figures are for the {report.evaluated_on} "
        f"({len(report.shown.y)} samples).",
        "## What it is",
        f"The classifier {title} with another last linear layer, written by "
        "[ntkit](https://pypi.org/project/ntkit/): "
        + (
            f"{n_suppressed} of {report.Z.shape[1]} neurons of the last embedding are silenced, "
            "and "
            "the layer is retrained."
            if n_suppressed
            else "the layer is retrained, no neuron is silenced."
        )
        + f" {_text(usage.change)}",
        "## What goes in and comes out",
        _list(usage.facts),
        "## How to use it",
        "This program predicts the class of the files or texts that follow its name on the "
        "command line; run it beside the model.",
        _code(usage.snippet, "python"),
        "## Evaluation",
        *([_text(usage.before)] if usage.before else []),
        _table(figures),
        "Intervals are of 95 %: Wilson's of an accuracy, Bonett and Price's of a change.",
        "## Limits",
        _limits(figures),
        *map(_text, report.sentences),
        "## How it was made",
        _list(report.asked),
        _list(report.facts),
        *([_code("\n".join(report.commands))] if report.commands else []),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(task: str | None) -> str:
    """What is known: no licence, no language, no name of a data set."""
    tags = "\n".join(f"- {tag}" for tag in ("onnx", "ntkit", "debiased", "spurious-correlations"))
    known = "" if task is None else f"pipeline_tag: {task}\n"
    return f"---\nlibrary_name: onnx\n{known}tags:\n{tags}\nmetrics:\n- accuracy\n---"


def _table(figures: GroupReport, most: int = 30) -> str:
    """The table of accuracies; of many classes the summaries and the largest losses."""
    rows = [
        replace(row, label=_text(row.label), which=None if row.which is None else _text(row.which))
        for row in figures.rows
    ]
    figures = replace(figures, rows=tuple(rows))
    if len(rows) <= most:
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
        f"{row.kind} {_text(row.label)} ({100 * row.change:+.1f} points)"
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


def _list(values: Mapping[str, str]) -> str:
    return "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in values.items())


def _text(value: object) -> str:
    """Any text as a line of Markdown that shows it: names may hold mark-up that is not to act."""
    line = " ".join(without_controls(str(value)).split())
    return _MARKS.sub(lambda mark: _ENTITIES.get(mark[0], f"\\{mark[0]}"), line)


def _code(text: str, language: str = "") -> str:
    """A block of code that no backticks within it end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
