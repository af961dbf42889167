"""ntkit embed: embeddings of samples into a store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import typer

from ntkit._output import refuse_folder_of_inputs
from ntkit.changes import change_named
from ntkit.cli import _options as o
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, OnnxEmbedder
from ntkit.jobs.copies import copies_to_store
from ntkit.samples import is_finished, read_manifest


@o.with_options
def command(
    *,
    model: o.Model,
    data: Path = o.argument("Model inputs: image folder, .npz, X.npy or table.", default=...),
    out: o.Out,
    change: str | None = o.option("Embed changed copies instead: image:border, word:please."),
    seed: int | None = o.option("Seed of the copies; 0 by default.", min=0),
    shard: str | None = o.option("Embed part I of N only: I/N, from 1/N to N/N; see merge."),
    engine: str = o.option("local, or ray for many machines.", default="local"),
    dtype: str | None = o.option("Precision of the store: float16 or float32; as computed."),
    batch_size: o.BatchSize = None,
    device: o.Device = "auto",
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: bool = o.switch("--json", "Print progress and the result as lines of JSON."),
) -> None:
    """Compute the embeddings of samples.

    Samples need no labels. Run the same command again to finish what was stopped; on a finished
    store of the same samples and model it does nothing. With --change it embeds a copy of each
    sample that the change applies to, under its name.

    Example: ntkit embed classifier.onnx images/train -o train.store
    """
    refuse_folder_of_inputs(out, [model, data, *data_options.files])
    frozen = model_options.load(model)
    samples = data_options.read_inputs(data, frozen, keep_table=change is not None)
    if change is None and seed is not None:
        raise InputError("--seed is of copies, and none are asked for; name a --change as well.")
    if change is not None:
        originals, skipped = len(samples), samples.skipped
        samples, _ = copies_to_store(samples, change_named(change), seed=seed or 0)
        samples = replace(samples, skipped=skipped)
        if not len(samples):
            raise InputError(
                f"{change} changes none of the {originals} samples, so there are no copies to "
                "embed; name another change."
            )
    embedder = OnnxEmbedder(
        frozen,
        device=device,
        batch_size=o.batch_size_of(batch_size),
        verbose=not (quiet or json),
    )
    before = None if force else read_manifest(out)
    store = EmbeddingStore.write(
        out,
        embedder,
        samples,
        part=None if shard is None else _part(shard),
        dtype=dtype,  # type: ignore[arg-type]
        engine=engine,  # type: ignore[arg-type]
        force=force,
        progress=_lines_of_json() if json and not quiet else None,
    )
    (rows, neurons), where = store.X.shape, store.manifest["device"]
    already = before is not None and is_finished(before)
    if json:
        o.print_line({
            "event": "finished", "store": str(out), "rows": rows, "neurons": neurons,
            "device": where, "already_complete": already, "run": store.manifest["run"],
            "skipped": [str(path) for path in samples.skipped], "change": change,
        })  # fmt: skip
        return
    for path in samples.skipped:
        typer.echo(f"Left out, does not decode: {path}", err=True)
    prefix = "already complete, " * already
    copies = "" if change is None else f" of copies by {change} (of {originals} samples)"
    typer.echo(
        f"{out}: {prefix}{rows} embeddings of {neurons} neurons{copies}, computed on {where}."
    )


def _part(shard: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", shard)
    if match is None:
        raise InputError(f"--shard is I/N, such as 1/4, not {shard!r}.")
    return int(match[1]), int(match[2])


def _lines_of_json(every: float = 1.0) -> Callable[[int, int], None]:
    """Print how far it is, once a second; the rate is that of this run."""
    begun = told = time.monotonic()
    first: int | None = None

    def progress(finished: int, rows: int) -> None:
        nonlocal told, first
        now = time.monotonic()
        if first is None:
            first = finished  # of an earlier run, and of this run's first batch
        elif now - told >= every:
            told = now
            rate = (finished - first) / (now - begun)
            o.print_line({
                "event": "progress", "finished_rows": finished, "rows": rows,
                "rows_per_second": round(rate, 1),
                "seconds_left": round((rows - finished) / rate, 1),
            })  # fmt: skip

    return progress
