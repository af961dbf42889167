"""ntkit embed: embeddings of samples into a store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ntkit._output import refuse_folder_of_inputs
from ntkit.cli import _options as o
from ntkit.exceptions import InputError


@o.with_options(o.KEYS - {"batch_size"})
def command(
    *,
    model: o.Model,
    data: Path = o.argument("Model inputs: image folder, .npz, X.npy or table.", "DATA"),
    out: Path = o.output("Output store, a folder."),
    change: str | None = o.option(
        "Embed changed copies instead: image:border, word:please.", "CHANGE"
    ),
    shard: str | None = o.option("Embed part I of N; ntkit merge joins them.", "I/N"),
    engine: str = o.option("local, or ray for many machines.", "NAME", default="local"),
    dtype: str | None = o.option("Store float16 or float32; default: as computed.", "NAME"),
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    run: o.RunOptions,
) -> None:
    """Compute the embeddings of samples.

    Samples need no labels.

    Example: ntkit embed classifier.onnx images/train -o train.store

    Run the same command again to finish a store that was interrupted. On a finished store of the
    same samples and model the command does nothing.

    With --change ntkit embeds a copy of each sample that the change applies to. The copy has the
    name of its sample.

    With --json ntkit prints progress and the result as JSON lines.

    For several machines, run one command per part: --shard 1/4 to --shard 4/4. Then join the
    parts with ntkit merge.
    """
    from ntkit.changes.change import change_named, file_notes
    from ntkit.changes.embedded import copies_to_store
    from ntkit.changes.images import range_notes
    from ntkit.extraction import OnnxEmbedder
    from ntkit.samples.stored import is_finished, read_manifest
    from ntkit.store import EmbeddingStore

    refuse_folder_of_inputs(out, [model, data, *data_options.files])
    frozen = model_options.load(model)
    keep = {"keep_table": change is not None, "every_label": True}
    samples = data_options.read_inputs(data, frozen, **keep)
    if change is None and run.seed:
        raise InputError("--seed is the seed of changed copies; name a --change as well.")
    if change is not None:
        originals, skipped = len(samples), samples.skipped
        made = change_named(change)
        o.tell_notes([*(range_notes(samples) if made.of_pixels else ()), *file_notes([made])])
        samples, _ = copies_to_store(samples, made, seed=run.seed)
        samples = replace(samples, skipped=skipped)
        if not len(samples):
            raise InputError(
                f"{change} changes none of the {originals} samples, so there are no copies to "
                "embed; name another change."
            )
    embedder = OnnxEmbedder(frozen, **run.running | {"verbose": not (run.quiet or run.json)})
    before = None if run.force else read_manifest(out)
    store = EmbeddingStore.write(
        out,
        embedder,
        samples,
        part=None if shard is None else _part(shard),
        dtype=dtype,  # type: ignore[arg-type]
        engine=engine,  # type: ignore[arg-type]
        force=run.force,
        progress=_lines_of_json() if run.json and not run.quiet else None,
    )
    (rows, neurons), where = store.X.shape, store.manifest["device"]
    already = before is not None and is_finished(before)
    if run.json:
        facts = {"store": out, "rows": rows, "neurons": neurons, "device": where}
        facts |= {"already_complete": already, "run": store.manifest["run"], "change": change}
        facts["skipped"] = [str(path) for path in samples.skipped]
        o.print_json({"event": "finished", **facts}, indent=None)
        return
    for path in samples.skipped:
        o.say(f"Left out, does not decode: {path}", err=True)
    prefix = "already complete, " * already
    copies = "" if change is None else f" of copies by {change}"
    if change is not None and shard is None:
        copies += f" (of {originals} samples)"
    o.say(f"{out}: {prefix}{rows} embeddings of {neurons} neurons{copies}, computed on {where}.")


def _part(shard: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", shard)
    if match is None:
        raise InputError(f"--shard is I/N, such as 1/4, not {shard!r}.")
    return int(match[1]), int(match[2])


def _lines_of_json(every: float = 1.0) -> Callable[[int, int], None]:
    """A function that prints the progress once a second; the rate is of this run."""
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
            left = round((rows - finished) / rate, 1)
            facts = {"event": "progress", "finished_rows": finished, "rows": rows}
            facts |= {"rows_per_second": round(rate, 1), "seconds_left": left}
            o.print_json(facts, indent=None)

    return progress
