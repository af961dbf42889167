"""ntkit check: whether a model may replace another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.exceptions import InputError

if TYPE_CHECKING:
    from ntkit.samples.samples import Match

_COMPARED = 8  # samples, to tell whether two models have the same body


@dataclass(frozen=True)
class Rates:
    """Limits of classes."""

    min_recall: list[str] | None = o.of_limits(
        "Least recall of the positive or a named class; repeatable.", "[CLASS=]PERCENT"
    )
    max_recall_drop: list[str] | None = o.of_limits(
        "Most points of recall to lose.", "[CLASS=]POINTS"
    )
    max_false_positive_rate: list[str] | None = o.of_limits(
        "Most samples of other classes predicted as it.", "[CLASS=]PERCENT"
    )
    max_false_positive_increase: list[str] | None = o.of_limits(
        "Most points that this rate may rise.", "[CLASS=]POINTS"
    )
    min_precision: list[str] | None = o.of_limits("Least precision.", "[CLASS=]PERCENT")
    max_precision_drop: list[str] | None = o.of_limits(
        "Most points of precision to lose.", "[CLASS=]POINTS"
    )

    @property
    def limits(self) -> dict[str, Any]:
        """Percentages, by limit and class."""
        named = vars(self).items()
        return {name: o.by_class(value, f"--{name.replace('_', '-')}") for name, value in named}


_KEYS = o.KEYS | {
    *("label", "classes", "embedding", "text_column", "label_column", "columns", "id_column"),
    *("device", "quiet", "threshold", "over", "alpha"),
}


@o.with_options(_KEYS, without={"preprocessing"})
def command(
    *,
    paths: list[Path] | None = o.argument(
        "Model in use, its replacement, labelled samples; or one model.", "[OLD] NEW DATA", None
    ),
    predictions: Path | None = o.option(
        "Check this table of predictions, without a model.", "TABLE"
    ),
    before: Path | None = o.option("Table of the predictions of the model in use.", "TABLE"),
    max_drop: float | None = o.option(
        "Most percentage points of accuracy to lose, anywhere.", "POINTS"
    ),
    max_new_errors: float | None = o.option("Most samples that become wrong.", "PERCENT"),
    average: float | None = o.option("Least average accuracy.", "PERCENT"),
    worst_class: float | None = o.option("Least accuracy of every class.", "PERCENT"),
    worst_group: float | None = o.option("Least accuracy of every group.", "PERCENT"),
    limits: Path | None = o.option("TOML file of limits; options override it.", "FILE"),
    slices: list[str] | None = o.option(
        "Slice to hold to the limits: word:film, column:site; repeatable.", "SLICE", "--slice"
    ),
    invariant: list[str] | None = o.option(
        "Change that must not flip predictions: image:jpeg=75; repeatable.", "CHANGE"
    ),
    answers: Path | None = o.option(
        "answers.json of audit or label; adds its groups as slices.", "FILE"
    ),
    prediction_column: str | None = o.of_tables(
        "Column of predicted classes; of both models: NEW,OLD.", "COLUMN"
    ),
    score_columns: str | None = o.of_tables(
        "Columns of scores, named like classes or in their order.", "A,B,…"
    ),
    metadata: o.Metadata = None,
    id_column: o.IdColumn = None,
    rates: Rates,
    max_flip_rate: float | None = o.of_limits(
        "Most predictions that a change may flip.", "PERCENT"
    ),
    over: str | None = o.of_limits(
        "Where drops are limited: average, class, group, slice.", "A,B,…"
    ),
    threshold: str | None = o.of_limits(
        "Probability above which the positive class is predicted.", "NUMBER[,NEW]"
    ),
    alpha: float | None = o.of_limits(
        "Largest chance of a wrong pass or failure; default 0.05.", "SHARE"
    ),
    min_samples: int | None = o.of_limits(
        "Only list slices with fewer samples, unless one surely lost.", "N"
    ),
    allow_too_few: bool = o.switch(
        "--allow-too-few", "Exit with 0 if samples are too few to say.", o.LIMITS
    ),
    report: Path | None = o.of_output("Write an HTML report on the two models.", "FILE"),
    json_file: Path | None = o.of_output("Write the result as JSON.", "FILE"),
    junit: Path | None = o.of_output("Write the result as JUnit XML.", "FILE"),
    markdown: Path | None = o.of_output("Write the result as Markdown.", "FILE"),
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    batch_size: o.BatchSize = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Check whether a model may replace another.

    Use it as an acceptance check in continuous integration.

    Example: ntkit check old.onnx new.onnx images/test --max-drop 2 --worst-group 70

    Both models predict the same labelled samples. Each limit passes, fails, or has too few
    samples. In that case the output says how many samples would be enough.

    Exit codes: 0 all limits pass, 1 a limit fails, 2 an error, 3 none fails but one has too few
    samples (0 with --allow-too-few).

    Without any limit, ntkit holds two models to --max-drop 5. It holds NEW alone to --average,
    --worst-class and --worst-group. --max-new-errors and --max-flip-rate are in percent of the
    samples.

    A slice is an attribute: word:film, column:age>=40, metadata:site=B. The slice column:site
    stands for all its values. With --answers, each class with and without the shortcut is
    a slice.

    With --predictions no model is needed, so any model can be checked. DATA is a table of labels,
    an image folder or arrays, or left out if the predictions have the labels. Samples are matched
    by file_name or id.

    Of a model that gives every sample several labels, ntkit checks all labels with one correction.
    DATA has a column of 0, 1 or nothing for each label.

    Recall, precision and false positive rate are of the second of two classes, of each label, or
    of the class that you name: --min-recall toxic=80. They hold for all samples, and drops also
    for each group and slice. --limits FILE sets them for groups and slices.

    Without --limits, ntkit reads the table tool.ntkit.check of pyproject.toml, if there is one.
    Without any limit, slice or answers, it reads the repair-limits.toml that ntkit debias wrote
    next to NEW. Where CI is set, it does not.

    With --invariant, changed samples must not flip predictions more often than --max-flip-rate.
    With two models, they must not flip NEW's predictions more often than OLD's.

    With --report ntkit writes a page: which samples gain, which lose, and which neurons matter.
    The two models may differ only in their head. Of tables of predictions the page has no neurons.
    """
    from ntkit.jobs.check import (
        REPAIR_LIMITS,
        check_tables,
        limits_of,
        limits_of_project,
        limits_of_repair,
        limits_with,
        summary_of,
        write_check,
    )

    paths = _checked(paths or [], predictions, before)
    if report is not None and len(paths) != 3 and before is None:
        raise InputError("--report compares two models; give OLD, NEW and DATA, or --before.")
    own_file = limits is not None
    if limits is None:
        limits, notes = limits_of_project()
        o.tell_notes(notes)
    read_files = [*paths, predictions, before, limits, answers, metadata, *data_options.files]
    for file in (json_file, junit, markdown):
        if file is not None:
            check_file(file, inputs=read_files, force=force)
    if report is not None:
        from ntkit.jobs.report import (
            PAGE,
            started_by,
            write_report,
            write_report_of_predictions,
        )
        from ntkit.samples.samples import input_paths

        check_file(report, inputs=read_files, force=force, size=PAGE)
    limit, notes = limits_with(
        limits,
        max_drop=max_drop,
        max_new_errors=max_new_errors,
        average=average,
        worst_class=worst_class,
        worst_group=worst_group,
        max_flip_rate=max_flip_rate,
        **rates.limits,
        over=None if over is None else tuple(o.names(over) or ()),
        alpha=alpha,
        min_samples=min_samples,
    )
    o.tell_notes(notes)
    shown: dict[str, Any] = {"slices": slices or (), "answers": answers, "metadata": metadata}
    shown |= {"limits": limit, "threshold": o.numbers(threshold, "--threshold")}
    held_to = None
    running: dict[str, Any] = {"device": device, "batch_size": batch_size, "verbose": not quiet}
    if predictions is not None:
        if invariant:
            raise InputError("--invariant needs a model; drop it, or drop --predictions.")
        if data_options.columns is not None:
            raise InputError("--columns needs a model; drop it, or drop --predictions.")
        roles = data_options.roles(prediction_column, score_columns, id_column, model_options)
        tables: list[Any] = []
        data = [*paths, predictions][0]
        result = check_tables(predictions, data, roles, before=before, tables=tables, **shown)
        if report is not None and tables[0].labels:
            raise InputError("--report of tables is on classes, not on labels. Leave it out.")
    else:
        from ntkit.jobs.check import check_read
        from ntkit.jobs.predict import labels_compared, matches_of

        o.refuse_of_tables(prediction_column, score_columns)
        embedders: list[Any] = []
        read = partial(data_options.read, paths[-1], tell=False, every_label=True)
        matches = matches_of(model_options.load_all(paths[:-1]), read)
        if len(matches) == 2 and not (own_file or limit.stated or over):
            sha_of = [match.model.sha256() for match in matches]
            pair = {"old": sha_of[0], "new": sha_of[1], "label": matches[1].model.label}
            folder = paths[1] if paths[1].is_dir() else paths[1].parent
            came, notes = limits_of_repair(folder, pair)
            if came is not None and (slices or answers):  # these may not be of its groups
                file, came = folder / REPAIR_LIMITS, None
                notes = [
                    f"{file} may have no limit for --slice and --answers, so ntkit goes on without "
                    f"it. To use it, add: --limits {file}"
                ]
            o.tell_notes(notes)
            if came is not None:  # a project or options may say how sure, and of how many samples
                held_to, sure = str(folder / REPAIR_LIMITS), {"alpha", "min_samples"}
                said = {n: getattr(limit, n) for n in sure if getattr(limit, n) != getattr(came, n)}
                shown["limits"] = limits_of(came, **said)
                if matches[1].samples.groups is not None:
                    other = "They hold no group that the data name. To hold these: --worst-group N."
                    o.tell_notes([other])
        if report is not None:
            if labels_compared([each.model for each in matches]):
                raise InputError(
                    "--report is on one label. Name it with --label, or leave --report out."
                )
            read_parts = (part for match in matches for part in (match.model, match.samples))
            check_file(report, inputs=input_paths(*read_parts), force=force, size=PAGE)
            _refuse_other_bodies(matches, paths[:-1], device)
        shown |= {"invariant": invariant or (), "key": id_column, "embedders": embedders}
        shown["sure_of_classes"] = model_options.classes is not None
        result = replace(check_read(matches, **shown, **running), held_to=held_to)
    result = replace(result, allow_too_few=allow_too_few)
    write_check(result, json=json_file, junit=junit, markdown=markdown, force=force)
    if report is not None and before is not None:
        (of,), names = tables, [str(before), str(predictions)]
        parts = of.samples.y, of.predictions, of.samples, names, result.notes
        with started_by(o.command_line()):
            write_report_of_predictions(*parts, report, force=force)
    elif report is not None:
        old, new = matches
        with started_by(o.command_line()):
            running |= {"force": force}
            if embedders[0].frozen_model.scores is None:  # else it computes scores
                running |= {"embedder": embedders[0]}
            write_report(old.model, new.model, old.samples, report, **running)
    o.tell_notes(result.notes)
    if json:
        o.print_json(result.as_dict() | ({} if report is None else {"report": str(report)}))
    else:
        o.say(summary_of(result) + (f"\n\nReport: {report}" if report is not None else ""))
    raise typer.Exit(result.exit_code)


def _checked(paths: list[Path], predictions: Path | None, before: Path | None) -> list[Path]:
    """Paths, if they fit together."""
    from ntkit.samples.table import TABLES

    usage = "ntkit check --predictions NEW --before OLD DATA"
    if predictions is not None:
        if len(paths) > 1 or any(path.suffix.lower() == ".onnx" for path in paths):
            shown = " and ".join(map(str, paths))
            raise InputError(
                f"With --predictions no model is run, and {shown} is given. Name the samples "
                f"alone: {usage}."
            )
    else:
        for path in [before, *paths[: max(1, len(paths) - 1)]]:
            if path is not None and path.suffix.lower() in TABLES:
                raise InputError(f"{path} is a table. To check predictions: {usage}.")
        if before is not None:
            raise InputError(
                "--before is a table of predictions. Compare models with: ntkit check OLD NEW DATA."
            )
        if len(paths) not in (2, 3):
            raise InputError(
                f"{len(paths)} path(s) are given; the usage is ntkit check OLD NEW DATA, ntkit "
                f"check MODEL DATA, or {usage}."
            )
    return paths


def _refuse_other_bodies(matches: Sequence[Match], paths: Sequence[Path], device: str) -> None:
    """Refuse two models that differ in more than their head, from a few samples."""
    from ntkit.extraction import OnnxEmbedder
    from ntkit.samples.kinds import first_rows
    from ntkit.verification.comparison import relative_difference, tolerance_of

    old, new = matches
    for each, path in zip(matches, paths, strict=True):
        if each.model.scores is not None:
            raise InputError(
                f"{path} has no linear last layer, so --report cannot show its neurons; leave "
                "--report out, or write the tables with --markdown FILE."
            )
    problem = ""
    if old.samples is not new.samples:
        problem = f"names other preprocessing or columns than {paths[0]}"
    elif not old.samples.embedded:
        X = first_rows(old.samples.X, _COMPARED)
        before, after = (OnnxEmbedder(m.model, device=device).transform(X) for m in matches)
        if relative_difference(after, before) > tolerance_of(old.model):
            problem = f"differs from {paths[0]} in more than its head"
    if problem:
        raise InputError(
            f"{paths[1]} {problem}, so --report cannot compare their neurons; leave --report out."
        )
