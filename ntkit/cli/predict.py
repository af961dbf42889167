"""ntkit predict: the predictions of a model, or of two, as a table."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ntkit._output import check_file
from ntkit.cli import _options as o


@o.with_options(o.KEYS - {"batch_size"}, without={"seed"})
def command(
    *,
    model: o.Model,
    data: Path = o.argument("Samples, labelled or not: images, table, arrays or store.", "DATA"),
    out: Path = o.output("Output table, .csv or .tsv."),
    before: Path | None = o.option("Another model to compare with, such as the original.", "MODEL"),
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    id_column: o.IdColumn = None,
    run: o.RunOptions,
) -> None:
    """Write a model's predictions as a table.

    Each row has the file name, id or row of a sample, its label if known, and the prediction.

    Example: ntkit predict classifier.onnx images/val -o predictions.csv

    A row also has the margin (the largest logit less the second largest) and prob_CLASS for each
    class. With --before it has the same columns of the other model, and whether the class changed.

    Of a model that gives every sample several labels, each label has the columns label_NAME,
    prediction_NAME (1 or 0) and prob_NAME. With --label the table is on that label alone, and the
    margin is the distance of its logit from that of the threshold.

    ntkit writes each row as soon as it is computed. ntkit audit --predictions reads the table.
    """
    from ntkit.jobs.matching import matches_of
    from ntkit.jobs.predict import check_kind, write_rows

    check_kind(out)
    check_file(out, inputs=[model, data, before, *data_options.files], force=run.force)
    several: Any = {"every_label": True, "keep_unknown": True}
    read = partial(data_options.read, data, labels="some", tell=False, **several)
    done = write_rows(
        out,
        matches_of(model_options.load_all([model] if before is None else [before, model]), read),
        force=run.force,
        key=id_column,
        **run.running,
    )
    o.show(done, json=run.json, notes=done.notes)
