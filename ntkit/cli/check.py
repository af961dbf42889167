"""ntkit check: whether a model may replace another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.exceptions import InputError

if TYPE_CHECKING:
    from ntkit.extraction import OnnxEmbedder
    from ntkit.jobs.check import CheckResult, Limits
    from ntkit.jobs.tables import Predicted, TableRoles
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
    *("device", "quiet", "threshold", "alpha", "min_samples"),
}


@dataclass(frozen=True)
class LimitOptions:
    """Limits, and what they are on."""

    max_drop: float | None = o.option(
        "Most percentage points of accuracy to lose, anywhere.", "POINTS"
    )
    max_new_errors: float | None = o.option("Most samples that become wrong.", "PERCENT")
    average: float | None = o.option("Least average accuracy.", "PERCENT")
    worst_class: float | None = o.option("Least accuracy of every class.", "PERCENT")
    worst_group: float | None = o.option("Least accuracy of every group.", "PERCENT")
    limits: Path | None = o.option("TOML file of limits; options override it.", "FILE")
    slices: list[str] | None = o.option(
        "Slice to hold to the limits: word:film, column:site; repeatable.", "SLICE", "--slice"
    )
    invariant: list[str] | None = o.option(
        "Change that must not flip predictions: image:jpeg=75; repeatable.", "CHANGE"
    )
    answers: Path | None = o.option(
        "answers.json of audit or label; adds its groups as slices.", "FILE"
    )
    rates: Rates = field(default_factory=Rates)
    max_flip_rate: float | None = o.of_limits("Most predictions that a change may flip.", "PERCENT")
    additions: str | None = o.of_limits(
        "Lines next to texts that must not flip predictions.",
        "FILE|neutral",
    )
    new_reliance: bool = o.switch(
        "--new-reliance", "Report changes that flip more predictions of NEW.", o.LIMITS
    )
    threshold: str | None = o.of_limits(
        "Probability above which the positive class is predicted.", "NUMBER[,NEW]"
    )
    alpha: float | None = o.of_limits(
        "Largest chance of a wrong pass or failure; default 0.05.", "SHARE"
    )
    min_samples: int | None = o.of_limits(
        "Only list slices with fewer samples, unless one surely lost.", "N"
    )

    @property
    def on_subsets(self) -> dict[str, Any]:
        """What a check takes besides limits and changes."""
        threshold = o.numbers(self.threshold, "--threshold")
        return {"slices": self.slices or (), "answers": self.answers, "threshold": threshold}

    def in_place_of(self, base: Path | None) -> tuple[Limits, list[str]]:
        """Limits of a file or project with those of the options in their place, and notes."""
        from ntkit.jobs.check import limits_with

        alike: tuple[str, ...] = (
            "max_drop",
            "max_new_errors",
            "average",
            "worst_class",
            "worst_group",
        )
        alike += ("max_flip_rate", "alpha", "min_samples")
        said = {name: getattr(self, name) for name in alike} | self.rates.limits
        return limits_with(base, **said)


@dataclass(frozen=True)
class Written:
    """Files that the command writes."""

    report: Path | None = o.of_output("Write an HTML report on the two models.", "FILE")
    json_file: Path | None = o.of_output("Write the result as JSON.", "FILE")
    junit: Path | None = o.of_output("Write the result as JUnit XML.", "FILE")
    markdown: Path | None = o.of_output("Write the result as Markdown.", "FILE")

    def check(self, inputs: Sequence[Any], *, force: bool) -> None:
        """Refuse files that exist or are inputs."""
        for file in (self.json_file, self.junit, self.markdown):
            if file is not None:
                check_file(file, inputs=inputs, force=force)
        if self.report is not None:
            from ntkit.jobs.report import PAGE

            check_file(self.report, inputs=inputs, force=force, size=PAGE)


@o.with_options(_KEYS, without={"preprocessing", "seed"})
def command(
    *,
    paths: list[Path] | None = o.argument(
        "Model in use, its replacement, labelled samples; or one model.", "[OLD] NEW DATA", None
    ),
    tables: o.PredictionOptions,
    limit_options: LimitOptions,
    allow_too_few: bool = o.switch(
        "--allow-too-few", "Exit with 0 if samples are too few to say.", o.LIMITS
    ),
    written: Written,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    run: o.RunOptions,
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
    With --additions, ntkit finds the lines that flip most predictions of NEW before or after texts.
    A part of the samples chooses them, and the others measure them. --new-reliance reports, without
    a limit, which parts of the inputs change predictions of NEW more often than of OLD.

    With --report ntkit writes a page: which samples gain, which lose, and which neurons matter.
    The two models may differ only in their head. Of tables of predictions the page has no neurons.
    """
    from ntkit.jobs.check import limits_of_project
    from ntkit.jobs.check.files import summary_of, write_check

    paths, report = _checked(paths or [], tables), written.report
    if report is not None and len(paths) != 3 and tables.before is None:
        raise InputError("--report compares two models; give OLD, NEW and DATA, or --before.")
    base: Any = limit_options.limits
    if base is None:
        base, notes = limits_of_project()
        o.tell_notes(notes)
    files = [tables.predictions, tables.before, base, limit_options.answers, tables.metadata]
    written.check([*paths, *files, *data_options.files], force=run.force)
    limits, notes = limit_options.in_place_of(base)
    o.tell_notes(notes)
    if tables.predictions is not None:
        data = [*paths, tables.predictions][0]
        for option in ("invariant", "additions", "new_reliance"):
            if getattr(limit_options, option):
                named = option.replace("_", "-")
                raise InputError(f"--{named} needs a model; drop it, or drop --predictions.")
        if data_options.columns is not None:
            raise InputError("--columns needs a model; drop it, or drop --predictions.")
        roles = tables.roles(data_options, model_options)
        result, page = _of_tables(
            tables, data, limits, limit_options, roles, paged=report is not None
        )
    else:
        from ntkit.jobs.matching import matches_of

        tables.refuse_columns()
        read = partial(data_options.read, paths[-1], tell=False, every_label=True)
        matches = matches_of(model_options.load_all(paths[:-1]), read)
        if report is not None:
            _check_report(report, matches, paths, run)
        sure = model_options.classes is not None
        beside = tables.metadata, tables.id_column
        result, page = _of_models(matches, paths, limits, limit_options, beside, run, sure=sure)
    result = replace(result, allow_too_few=allow_too_few)
    write_check(
        result,
        json=written.json_file,
        junit=written.junit,
        markdown=written.markdown,
        force=run.force,
    )
    if report is not None:
        from ntkit.jobs.command_line import started_by

        with started_by(o.command_line()):
            page(report, force=run.force)
    o.tell_notes(result.notes)
    if run.json:
        o.print_json(result.as_dict() | ({} if report is None else {"report": str(report)}))
    else:
        o.say(summary_of(result) + (f"\n\nReport: {report}" if report is not None else ""))
    raise typer.Exit(result.exit_code)


def _of_tables(
    tables: o.PredictionOptions,
    data: Path,
    limits: Limits,
    asked: LimitOptions,
    roles: TableRoles,
    *,
    paged: bool,
) -> tuple[CheckResult, Callable[..., object]]:
    """Check tables of predictions; also what writes the page of two of them."""
    from ntkit.jobs.check.from_tables import check_tables

    assert tables.predictions is not None
    read: list[Predicted] = []
    result = check_tables(
        tables.predictions,
        data,
        roles,
        before=tables.before,
        metadata=tables.metadata,
        tables=read,
        limits=limits,
        **asked.on_subsets,
    )

    (of,) = read
    if paged and of.labels:
        raise InputError("--report of tables is on classes, not on labels. Leave it out.")

    def page(report: Path, *, force: bool) -> None:
        from ntkit.jobs.report import write_report_of_predictions

        names = [str(tables.before), str(tables.predictions)]
        parts = of.samples.y, of.predictions, of.samples, names, result.notes
        write_report_of_predictions(*parts, report, force=force)

    return result, page


def _of_models(
    matches: Sequence[Match],
    paths: Sequence[Path],
    limits: Limits,
    asked: LimitOptions,
    beside: tuple[Path | None, str | None],
    run: o.RunOptions,
    *,
    sure: bool,
) -> tuple[CheckResult, Callable[..., object]]:
    """Check one model or two; also what writes the page of two."""
    from ntkit.jobs.check import check_read
    from ntkit.jobs.report import write_report

    held_to = None
    if len(matches) == 2 and not (asked.limits or limits.stated):
        limits, held_to = _those_of_repair(limits, asked, matches, paths[1])
    metadata, key = beside
    embedders: list[OnnxEmbedder] = []
    result = check_read(
        matches,
        limits=limits,
        invariant=asked.invariant or (),
        additions=asked.additions,
        new_reliance=asked.new_reliance,
        metadata=metadata,
        key=key,
        embedders=embedders,
        sure_of_classes=sure,
        **asked.on_subsets,
        **run.running,
    )

    def page(report: Path, *, force: bool) -> None:
        old, new = matches
        again = embedders[0] if embedders[0].frozen_model.scores is None else None
        options: dict[str, Any] = {**run.running, "force": force, "embedder": again}
        write_report(old.model, new.model, old.samples, report, **options)

    return replace(result, held_to=held_to), page


def _those_of_repair(
    limits: Limits, asked: LimitOptions, matches: Sequence[Match], new: Path
) -> tuple[Limits, str | None]:
    """The limits that came with a repaired model and their file, else those that there are."""
    from ntkit.jobs.check import REPAIR_LIMITS, limits_of, limits_of_repair

    old_sha, new_sha = (match.model.sha256() for match in matches)
    pair = {"old": old_sha, "new": new_sha, "label": matches[1].model.label}
    folder = new if new.is_dir() else new.parent
    came, notes = limits_of_repair(folder, pair)
    if came is not None and (asked.slices or asked.answers):  # these may not be of its groups
        file, came = folder / REPAIR_LIMITS, None
        given = ["--slice"] * bool(asked.slices) + ["--answers"] * bool(asked.answers)
        notes = [
            f"{file} may have no limit for {' and '.join(given)}, so ntkit goes on without it. To "
            f"use it, add: --limits {file}"
        ]
    o.tell_notes(notes)
    if came is None:
        return limits, None
    if matches[1].samples.groups is not None:
        other = "They hold no group that the data name. To hold these: --worst-group N."
        o.tell_notes([other])
    # A project or options may say how sure, and of how many samples.
    sure = {"alpha", "min_samples"}
    said = {n: getattr(limits, n) for n in sure if getattr(limits, n) != getattr(came, n)}
    return limits_of(came, **said), str(folder / REPAIR_LIMITS)


def _check_report(
    report: Path, matches: Sequence[Match], paths: Sequence[Path], run: o.RunOptions
) -> None:
    """Refuse a page that is an input, or models that a page cannot compare."""
    from ntkit.jobs.matching import labels_compared
    from ntkit.jobs.report import PAGE
    from ntkit.samples.samples import input_paths

    if labels_compared([each.model for each in matches]):
        raise InputError("--report is on one label. Name it with --label, or leave --report out.")
    read_parts = (part for match in matches for part in (match.model, match.samples))
    check_file(report, inputs=input_paths(*read_parts), force=run.force, size=PAGE)
    _refuse_other_bodies(matches, paths[:-1], run)


def _checked(paths: list[Path], tables: o.PredictionOptions) -> list[Path]:
    """Paths, if they fit together."""
    predictions, before = tables.predictions, tables.before
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


def _refuse_other_bodies(
    matches: Sequence[Match], paths: Sequence[Path], run: o.RunOptions
) -> None:
    """Refuse two models that differ in more than their head, from a few samples."""
    from ntkit.extraction import OnnxEmbedder
    from ntkit.extraction.head_check import relative_difference, tolerance_of
    from ntkit.samples.kinds import first_rows

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
        silent = run.running | {"verbose": False}
        before, after = (OnnxEmbedder(m.model, **silent).transform(X) for m in matches)
        if relative_difference(after, before) > tolerance_of(old.model):
            problem = f"differs from {paths[0]} in more than its head"
    if problem:
        raise InputError(
            f"{paths[1]} {problem}, so --report cannot compare their neurons; leave --report out."
        )
