"""ntkit predict: what a model, or two of them, say of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.jobs.predict import Asked, asked_pair, check_kind, reading_notes, write_asked


@o.with_options
def command(
    model: o.Model,
    data: Annotated[
        Path, typer.Argument(help="Samples, labelled or not: images, table, arrays or store.")
    ],
    out: o.Out,
    *,
    before: Annotated[
        Path | None, typer.Option(help="Another model, such as the original, to stand beside it.")
    ] = None,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    batch_size: o.BatchSize = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Write a model's predictions as a table.

    OUT is a .csv or .tsv file: the file name, id or row of each sample, its label where it has one,
    prediction, margin (the largest logit less the second largest) and prob_CLASS for each class;
    with --before, those of the other model, and whether the class changed. Rows are written as
    they are computed. ntkit audit --predictions reads it.

    Example: ntkit predict classifier.onnx images/val -o predictions.csv
    """
    check_kind(out)
    check_file(out, inputs=[model, data, before, *data_options.files], force=force)
    read = data_options.reader(data, "optional")
    if before is None:
        frozen, first = model_options.load(model), None
        samples = read(frozen)
        second = Asked(frozen, samples, reading_notes(samples))
    else:
        first, second = asked_pair(*model_options.load_pair(before, model), read)
    done = write_asked(
        out,
        second,
        first,
        force=force,
        device=device,
        batch_size=o.batch_size_of(batch_size),
        verbose=not quiet,
    )
    for note in done.notes:
        typer.echo(f"Note: {note}", err=True)
    if json:
        o.print_json(done.as_dict())
    else:
        typer.echo(str(done))
