"""ntkit check: whether a model may take another one's place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.exceptions import InputError
from ntkit.jobs.check import KINDS, check_read, limits_of, summary_of, write_check
from ntkit.jobs.predict import Asked, asked_pair, reading_notes


@o.with_options
def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[OLD] NEW DATA",
            help="The model in place, the one to take its place, labelled samples; or one alone.",
            show_default=False,
        ),
    ],
    *,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Points that the average, a class, group or slice may lose."),
    ] = None,
    max_new_errors: Annotated[
        float | None, typer.Option(help="Most samples that were right and are wrong, in percent.")
    ] = None,
    average: Annotated[float | None, typer.Option(help="Least average accuracy, in percent.")] = (
        None
    ),
    worst_class: Annotated[
        float | None, typer.Option(help="Least accuracy of every class, in percent.")
    ] = None,
    worst_group: Annotated[
        float | None, typer.Option(help="Least accuracy of every group, in percent.")
    ] = None,
    over: Annotated[
        str | None, typer.Option(help=f"What --max-drop is for: some of {','.join(KINDS)}.")
    ] = None,
    limits: Annotated[
        Path | None, typer.Option(help="TOML file of limits; options go before it.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            help="A slice to hold to the limits: word:film, column:age>=40, metadata:site=B; or "
            "column:site, all its values; again for more.",
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="answers.json of an audit's page: class × what is spurious there."),
    ] = None,
    metadata: o.Metadata = None,
    id_column: o.IdColumn = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Largest chance of a wrong pass, and of a wrong failure; 0.05."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write it as JUnit's XML.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write it as Markdown, for a pull request.")
    ] = None,
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
    --max-drop 5.

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
    held = limits_of(
        limits,
        max_drop=max_drop,
        max_new_errors=max_new_errors,
        average=average,
        worst_class=worst_class,
        worst_group=worst_group,
        over=None if over is None else tuple(o.names(over) or ()),
        alpha=alpha,
    )
    read = data_options.reader(data, "required")
    if len(models) == 1:
        frozen = model_options.load(models[0])
        samples = read(frozen)
        asked = [Asked(frozen, samples, reading_notes(samples))]
    else:
        asked = [*asked_pair(*model_options.load_pair(*models), read)]
    result = check_read(
        asked,
        limits=held,
        slices=slices or (),
        answers=answers,
        metadata=metadata,
        key=id_column,
        device=device,
        batch_size=o.batch_size_of(batch_size),
        verbose=not quiet,
        sure_of_classes=model_options.classes is not None,
    )
    for note in result.notes:
        typer.echo(f"Note: {note}", err=True)
    write_check(result, json=json_file, junit=junit, markdown=markdown, force=force)
    if json:
        o.print_json(result.as_dict())
    else:
        typer.echo(summary_of(result))
    raise typer.Exit(result.exit_code)
