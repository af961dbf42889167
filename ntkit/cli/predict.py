"""ntkit predict: what a model, or two of them, say of samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.jobs.predict import check_kind, matches_of, write_rows


@o.with_options
def command(
    *,
    model: o.Model,
    data: Path = o.argument(
        "Samples, labelled or not: images, table, arrays or store.", default=...
    ),
    out: o.Out,
    before: Path | None = o.option("Another model, such as the original, to stand beside it."),
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
    read = partial(data_options.read, data, labels="optional", tell=False)
    done = write_rows(
        out,
        matches_of(model_options.load_all([model] if before is None else [before, model]), read),
        force=force,
        device=device,
        batch_size=o.batch_size_of(batch_size),
        verbose=not quiet,
    )
    o.show(done, json=json, notes=done.notes)
