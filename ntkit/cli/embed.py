"""ntkit embed: embeddings of labelled samples into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkit.cli import _options as o
from ntkit.extraction import EmbeddingStore, OnnxEmbedder
from ntkit.frozen_model import FrozenModel


def command(
    model: o.Model,
    data: Annotated[Path, typer.Argument(help="Model inputs: image folder, .npz, X.npy or .csv.")],
    out: o.Out,
    logits: o.Logits = None,
    embedding: o.Embedding = None,
    preprocessor: o.Preprocessor = None,
    resize: o.Resize = None,
    crop: o.Crop = None,
    scale: o.Scale = None,
    mean: o.Mean = None,
    std: o.Std = None,
    layout: o.Layout = None,
    label_column: o.LabelColumn = "label",
    group_column: o.GroupColumn = "group",
    skip_bad: o.SkipBad = False,
    device: o.Device = "auto",
    batch_size: o.BatchSize = 64,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Compute the embeddings of labelled samples; run again to finish after an interruption.

    Example: ntkit embed classifier.onnx images/train -o train.store
    """
    frozen = FrozenModel.load(model, logits=logits, embedding=embedding)
    preprocessing = o.preprocessing_for(
        frozen,
        preprocessor=preprocessor,
        resize=resize,
        crop=crop,
        scale=scale,
        mean=mean,
        std=std,
        layout=layout,
    )
    samples = o.read(data, preprocessing, label_column, group_column, skip_bad)
    embedder = OnnxEmbedder(frozen, device=device, batch_size=batch_size, verbose=not quiet)
    store = EmbeddingStore.write(out, embedder, samples, force=force)
    rows, neurons = store.X.shape
    if json:
        o.print_json({
            "store": str(out), "rows": rows, "neurons": neurons, "device": embedder.device_,
            "skipped": [str(path) for path in samples.skipped],
        })  # fmt: skip
        return
    for path in samples.skipped:
        typer.echo(f"Left out, does not decode: {path}", err=True)
    typer.echo(f"{out}: {rows} embeddings of {neurons} neurons, computed on {embedder.device_}.")
