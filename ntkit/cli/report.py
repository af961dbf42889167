"""ntkit report: what changed from one model to the other, as a page."""

from __future__ import annotations

from pathlib import Path

import typer

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.jobs.report import started_by, write_report


@o.with_options
def command(
    *,
    original: o.Model,
    debiased: Path = o.argument("The same model with another head.", default=...),
    data: Path = o.argument("DATA: labelled samples that trained neither.", default=...),
    out: o.Out,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    batch_size: o.BatchSize = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Write a report on two models.

    The models differ in their head; the page shows who gained, who lost, and which neurons.

    ntkit debias writes one by itself; this is for other samples, or for models made otherwise.

    Example: ntkit report classifier.onnx debiased.onnx images/test -o report.html
    """
    check_file(out, inputs=[original, debiased, data, *data_options.files], force=force)
    frozen, second = model_options.load_pair(original, debiased)
    with started_by(o.command_line()):
        page = write_report(
            frozen,
            second,
            data_options.read(data, frozen).as_recorded(second),
            out,
            device=device,
            batch_size=o.batch_size_of(batch_size),
            force=force,
            verbose=not quiet,
        )
    if json:
        o.print_json({"report": str(page)})
    else:
        typer.echo(f"Written: {page}")
