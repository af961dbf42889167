"""ntkit audit: what a model leans on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkit._output import check_folder
from ntkit.auditing import Asked, audit_tables, write_audit
from ntkit.cli import _options as o


@o.with_options
def command(
    data: Annotated[
        Path,
        typer.Argument(help="Table of the inputs; that of the predictions, if they are in it."),
    ],
    out: o.Out,
    *,
    predictions: Annotated[
        Path, typer.Option(help="Table with labels, and predictions or scores.", show_default=False)
    ],
    label_column: Annotated[str, typer.Option(help="Label column, in either table.")] = "label",
    prediction_column: Annotated[
        str | None, typer.Option(help="Column of predicted classes; found if called prediction.")
    ] = None,
    score_columns: Annotated[
        str | None,
        typer.Option(help="Columns of scores instead, in the order of the sorted classes: a,b,…"),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of texts; found if there is only one.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns to look at: age,site,…; by default all others.")
    ] = None,
    group_column: Annotated[
        str, typer.Option(help="Column of group labels, which is not looked at.")
    ] = "group",
    metadata: Annotated[
        Path | None,
        typer.Option(help="Another table of the samples: site, device, date; it may lack some."),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Column that names the samples; else id where all have it, or row by row."
        ),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Between cells of a CSV, or tab; found from the header.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Chance of any suspicion where there is nothing.", min=0, max=1)
    ] = 0.05,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Find what a model leans on: attributes that go with a class, and on which its errors depend.

    The samples must not be among those the model was trained on. Words of texts, categories and
    cuts of columns, and what is missing are looked at, tested, corrected for their number (Holm),
    and ranked. OUT holds audit.html, a page for somebody who knows the subject to answer on (it
    saves answers.json), audit.json and table.md.

    Example: ntkit audit --predictions predictions.csv reviews.csv -o audit/
    """
    check_folder(out, inputs=[predictions, data, metadata], force=force)
    asked = Asked(
        label=label_column,
        prediction=prediction_column,
        scores=o.names(score_columns) or (),
        text=text_column,
        columns=o.names(columns),
        group=group_column,
        key=id_column,
        delimiter=delimiter,
    )
    found, notes = audit_tables(predictions, data, asked, metadata_file=metadata, alpha=alpha)
    for note in notes:
        typer.echo(f"Note: {note}", err=True)
    write_audit(found, out, force=force)
    if json:
        o.print_json(found.as_dict())
    else:
        typer.echo(f"{found}\n\nWritten: {out}")
