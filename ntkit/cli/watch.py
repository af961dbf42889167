"""ntkit watch: what a deployed model relies on, from its traffic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer

from ntkit.cli import _options as o

_KEYS = o.KEYS | {
    *("label", "classes", "embedding", "text_column", "label_column", "columns", "id_column"),
    *("device", "quiet"),
}


@dataclass(frozen=True)
class WatchOptions:
    """What a run begins with, or adds."""

    start: Path | None = o.option("Begin: predictions on validation samples.", "TABLE")
    limits: Path | None = o.option("TOML file of limits, to begin with.", "FILE")
    labels: Path | None = o.option("True labels of some of the samples.", "TABLE")
    inputs: Path | None = o.option("Samples of the predictions: images, table, arrays.", "DATA")
    model: Path | None = o.option("Deployed model; with --inputs it predicts changes.", "MODEL")
    ask: int = o.option("Write N samples to label to STATE/ask.csv.", "N", default=0, min=0)
    copies: int = o.option("Samples of a batch to change, at most.", "N", default=200, min=1)


@o.with_options(_KEYS, without={"preprocessing", "seed", "force", "before", "skip_bad"})
def command(
    *,
    state: Path = o.argument("Folder of the stream.", "STATE"),
    stream: WatchOptions,
    tables: o.PredictionOptions,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    run: o.RunOptions,
) -> None:
    """Watch a deployed model by its traffic.

    Run it once for each batch, from cron or CI. All alarms together are false with a probability
    of at most 5 % (alpha), however often you look.

    Example: ntkit watch state/ --start validation.csv --limits limits.toml

    Example: ntkit watch state/ --predictions today.csv --labels few.csv

    Without labels, ntkit compares the shares of the named slices and groups, and of the predictions
    in them, with those at the start. With labels of some samples, it holds accuracies to the
    limits. These are a random part of the batch, or those that --ask 20 writes to STATE/ask.csv.

    With --inputs and --model, changes of the inputs must not flip more predictions than the limits
    allow. Another model begins a new epoch: all streams begin anew.

    A batch that is given twice counts once. STATE/watch.html shows all streams.

    Exit codes: 0 nothing yet, 1 an alarm, 2 an error.
    """
    from ntkit.jobs.tables import TableRoles
    from ntkit.jobs.watch import watch_read

    model = None if stream.model is None else model_options.load(stream.model, any_scores=True)
    reads: Any = None
    if model is not None and stream.inputs is not None:
        reads = partial(data_options.read_inputs, stream.inputs, tell=False, keep_table=True)
    roles = TableRoles(
        label=data_options.label_column,
        prediction=o.names(tables.prediction_column) or (),
        scores=o.names(tables.score_columns) or (),
        text=data_options.text_column,
        group=data_options.group_column,
        key=tables.id_column,
        delimiter=data_options.delimiter,
        classes=model_options.named_classes(),
    )
    result = watch_read(
        state,
        tables.predictions,
        start=stream.start,
        limits=stream.limits,
        labels=stream.labels,
        inputs=stream.inputs,
        model=model,
        reads=reads,
        copies=stream.copies,
        ask=stream.ask,
        metadata=tables.metadata,
        roles=roles,
        options=run.running,
    )
    o.show(result, json=run.json, text=result.summary(), notes=result.notes)
    raise typer.Exit(result.exit_code)
