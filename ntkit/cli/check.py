"""ntkit check: whether a model may take another one's place."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import typer

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.exceptions import InputError
from ntkit.jobs.check import KINDS, check_read, limits_of, summary_of, write_check
from ntkit.jobs.predict import matches_of


@o.with_options
def command(
    *,
    paths: list[Path] = o.argument(
        "The model in place, the one to take its place, labelled samples; or one alone.",
        default=...,
        metavar="[OLD] NEW DATA",
    ),
    max_drop: float | None = o.option("Points that the average, a class, group or slice may lose."),
    max_new_errors: float | None = o.option(
        "Most samples that were right and are wrong, in percent."
    ),
    average: float | None = o.option("Least average accuracy, in percent."),
    worst_class: float | None = o.option("Least accuracy of every class, in percent."),
    worst_group: float | None = o.option("Least accuracy of every group, in percent."),
    over: str | None = o.option(f"What --max-drop is for: some of {','.join(KINDS)}."),
    limits: Path | None = o.option("TOML file of limits; options go before it."),
    slices: list[str] | None = o.option(
        "A slice to hold to the limits: word:film, column:age>=40, metadata:site=B; or "
        "column:site, all its values; again for more.",
        "--slice",
    ),
    invariant: list[str] | None = o.option(
        "Name a change that must not flip predictions: image:jpeg=75.",
        "--invariant",
    ),
    max_flip_rate: float | None = o.option(
        "Limit the predictions that such a change flips, in percent."
    ),
    answers: Path | None = o.option(
        "answers.json of an audit's page: class × what is spurious there."
    ),
    metadata: o.Metadata = None,
    id_column: o.IdColumn = None,
    alpha: float | None = o.option("Largest chance of a wrong pass, and of a wrong failure; 0.05."),
    json_file: Path | None = o.option("Write the result as JSON."),
    junit: Path | None = o.option("Write it as JUnit's XML."),
    markdown: Path | None = o.option("Write it as Markdown, for a pull request."),
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

    Both models predict the same labelled samples. Each limit passes, fails, or has too few samples
    to say; then it is said how many would do. Exit code 0: all pass. 1: one fails. 3: none fails,
    but there are too few samples for one. (2 is an error.) With NEW and DATA alone a model is held
    to --average, --worst-class and --worst-group. Without any limit, two models are held to
    --max-drop 5. With --invariant predictions of changed samples must not flip more often than
    --max-flip-rate, nor than those of OLD.

    Example: ntkit check old.onnx new.onnx images/test --max-drop 2 --worst-group 70
    """
    if len(paths) not in (2, 3):
        raise InputError(
            f"{len(paths)} path(s) are given; the usage is ntkit check OLD NEW DATA, or "
            "ntkit check MODEL DATA."
        )
    *models, data = paths
    read_files = [*paths, limits, answers, metadata, *data_options.files]
    for file in (json_file, junit, markdown):
        if file is not None:
            check_file(file, inputs=read_files, force=force)
    limit = limits_of(
        limits,
        max_drop=max_drop,
        max_new_errors=max_new_errors,
        average=average,
        worst_class=worst_class,
        worst_group=worst_group,
        max_flip_rate=max_flip_rate,
        over=None if over is None else tuple(o.names(over) or ()),
        alpha=alpha,
    )
    read = partial(data_options.read, data, tell=False)
    result = check_read(
        matches_of(model_options.load_all(models), read),
        limits=limit,
        slices=slices or (),
        invariant=invariant or (),
        answers=answers,
        metadata=metadata,
        key=id_column,
        device=device,
        batch_size=o.batch_size_of(batch_size),
        verbose=not quiet,
        sure_of_classes=model_options.classes is not None,
    )
    write_check(result, json=json_file, junit=junit, markdown=markdown, force=force)
    o.show(result, json=json, text=summary_of(result), notes=result.notes)
    raise typer.Exit(result.exit_code)
