"""ntkit fit: NeuronTune on an embedding store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ntkit.cli import _options as o
from ntkit.estimators import NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.export import to_onnx, write_onnx
from ntkit.extraction import EmbeddingStore


def command(
    store: Annotated[Path, typer.Argument(help="Embedding store of the training set.")],
    out: o.Out,
    heldout: Annotated[
        Path | None, typer.Option(help="Embedding store of the identification set.")
    ] = None,
    threshold: o.Threshold = None,
    standardize: o.Standardize = None,
    max_suppressed: o.MaxSuppressed = None,
    aggregation: o.Aggregation = None,
    statistic: o.Statistic = None,
    error_weight: o.ErrorWeight = None,
    C: o.InversePenalty = None,
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Find the spurious neurons in embeddings and retrain the head without them.

    Works on the embeddings as they are, from the original head in the store.

    Example: ntkit fit train.store --heldout heldout.store -o head.onnx
    """
    if out.exists() and not force:
        raise InputError(f"{out} exists; choose another name or pass --force.")
    train = EmbeddingStore.open(store)
    parameters = o.neurontune_parameters(
        threshold=threshold,
        standardize=standardize,
        max_suppressed=max_suppressed,
        aggregation=aggregation,
        statistic=statistic,
        error_weight=error_weight,
        C=C,
    )
    clf = NeuronTuneClassifier(head=train.head, random_state=seed, **parameters)
    if heldout is None:
        clf.fit(train.X, train.y)
    else:
        held = EmbeddingStore.open(heldout)
        clf.fit(train.X, train.y, X_val=held.X, y_val=held.y)
    write_onnx(to_onnx(clf), out, force=force)
    if json:
        o.print_json({
            "head": str(out),
            "suppressed_neurons": np.flatnonzero(clf.suppressed_).tolist(),
            "n_live": int(clf.live_.sum()),
            "n_errors": dict(zip(map(str, clf.classes_), clf.n_errors_.tolist(), strict=True)),
            "sfit": clf.sfit_,
        })  # fmt: skip
        return
    errors = ", ".join(f"{c}: {n}" for c, n in zip(clf.classes_, clf.n_errors_, strict=True))
    typer.echo(
        f"{out}: {clf.suppressed_.sum()} of {clf.live_.sum()} live neurons suppressed "
        f"(misclassified identification samples: {errors})."
    )
