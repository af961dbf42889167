"""ntkit fit: NeuronTune on an embedding store."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.estimators import LABEL_FREE
from ntkit.exceptions import InputError
from ntkit.export import to_onnx, write_onnx
from ntkit.extraction import EmbeddingStore
from ntkit.extraction._origin import check_alike, facts_of, origin_of


def command(
    store: Annotated[Path, typer.Argument(help="Embedding store of the training set.")],
    out: o.Out,
    heldout: Annotated[
        Path | None, typer.Option(help="Embedding store of the identification set.")
    ] = None,
    method: Annotated[
        str, typer.Option(help=f"Estimator: {', '.join(LABEL_FREE)}.")
    ] = "neurontune",
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

    Starts from the original head in the store. NeuronTune works on the embeddings as they are;
    other estimators are chosen with --method.

    Example: ntkit fit train.store --heldout heldout.store -o head.onnx
    """
    check_file(out, inputs=[store, heldout], force=force)
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
    clf = _estimator(method, parameters, train.head, seed)
    origin = origin_of(train.manifest)
    held = {}
    if heldout is not None:
        if "X_val" not in signature(clf.fit).parameters:
            raise InputError(f"--method {method} has no use for a held-out set; drop --heldout.")
        second = EmbeddingStore.open(heldout)
        check_alike((str(store), str(heldout)), origin, origin_of(second.manifest))
        held = {"X_val": second.X, "y_val": second.y}
    clf.fit(train.X, train.y, **held)
    head = to_onnx(clf)
    for key, text in facts_of(origin).items():
        head.metadata_props.add(key=key, value=text)
    write_onnx(head, out, force=force)
    suppressed = getattr(clf, "suppressed_", np.zeros(train.X.shape[1], dtype=bool))
    if json:
        o.print_json({
            "head": str(out),
            "method": method,
            "suppressed_neurons": np.flatnonzero(suppressed).tolist(),
            "classes": clf.classes_.tolist(),
        })  # fmt: skip
        return
    typer.echo(f"{out}: {type(clf).__name__}, {suppressed.sum()} of {len(suppressed)} suppressed.")
    if hasattr(clf, "reason_"):
        typer.echo(clf.reason_)


def _estimator(method: str, parameters: dict[str, Any], head: Any, seed: int) -> Any:
    if method not in LABEL_FREE:
        raise InputError(f"There is no method {method!r}; choose from {', '.join(LABEL_FREE)}.")
    clf = LABEL_FREE[method]()
    known = clf.get_params()
    foreign = [name for name in parameters if name not in known]
    if foreign:
        raise InputError(f"--method {method} has no --{foreign[0].replace('_', '-')}.")
    own = {"head": head, "random_state": seed}
    return clf.set_params(**parameters, **{k: v for k, v in own.items() if k in known})
