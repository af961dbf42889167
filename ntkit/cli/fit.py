"""ntkit fit: NeuronTune on embeddings, of a store, a table or arrays."""

from __future__ import annotations

import warnings
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.exceptions import InputError

if TYPE_CHECKING:
    from ntkit.extraction import Samples
    from ntkit.head import LinearHead


@o.with_options((), without={"device", "batch_size", "quiet"})
def command(
    *,
    embeddings: Path = o.argument(
        "Training set: embedding store, .npz, X.npy or table.", "EMBEDDINGS"
    ),
    out: Path = o.output("Output head, an ONNX file."),
    validation: Path | None = o.option("Validation set, in any of these forms.", "EMBEDDINGS"),
    method: str = o.option(
        "Estimator: neurontune, balanced, auto, afr, …", "NAME", default="neurontune"
    ),
    max_cost: float | None = o.option(
        "Largest share of accuracy that suppression may cost.", "SHARE"
    ),
    neurontune: o.NeuronTuneOptions,
    solver: str | None = o.option("How NeuronTune retrains: optimum or sgd.", "NAME"),
    C: o.InversePenalty = None,
    table_options: o.TableOptions,
    run: o.RunOptions,
) -> None:
    """Retrain a head without spurious neurons.

    ntkit finds the spurious neurons in embeddings, suppresses them and retrains the head.

    Example: ntkit fit train.store --validation validation.store -o head.onnx

    Errors are those of the original head if the store holds it. By default NeuronTune chooses its
    penalty by cross-validation, and suppresses no neuron if that costs too much accuracy;
    --max-cost 1 allows any cost.

    Methods: neurontune, neurontune-cv, balanced, auto, afr, jtt, self, evals, leace, leia.

    A table holds embeddings in a column of lists (.parquet, .jsonl), or in one column per neuron.
    It also holds the label column.
    """
    import numpy as np

    from ntkit.export import to_onnx, write_onnx
    from ntkit.samples.samples import input_paths
    from ntkit.samples.stored import check_alike, facts_of

    check_file(out, inputs=[embeddings, validation], force=run.force)
    train, original = _embeddings(embeddings, table_options)
    others = {"C": C, "max_cost": max_cost, "solver": solver}
    parameters = neurontune.parameters
    parameters |= {name: value for name, value in others.items() if value is not None}
    clf = _estimator(method, parameters, original, run.seed)
    origin = train.origin or {"preprocessing": train.preprocessing}
    extra, read = {}, [train]
    if validation is not None:
        if "X_val" not in signature(clf.fit).parameters:
            raise InputError(f"--method {method} does not use a validation set; drop --validation.")
        second, _ = _embeddings(validation, table_options, width=train.X.shape[1])
        second = second.with_columns_as_in(train)
        check_alike((str(embeddings), str(validation)), origin, second.origin)
        extra, read = {"X_val": second.X, "y_val": second.y}, [train, second]
    check_file(out, inputs=input_paths(*read), force=run.force)
    _fit(clf, train, extra)
    head = to_onnx(clf)
    for key, text in facts_of(origin).items():
        head.metadata_props.add(key=key, value=text)
    write_onnx(head, out, force=run.force)
    suppressed = getattr(clf, "suppressed_", np.zeros(train.X.shape[1], dtype=bool))
    facts = {"head": str(out), "method": method, "classes": clf.classes_}
    facts["suppressed_neurons"] = np.flatnonzero(suppressed)
    text = "\n".join([f"{out}: {_done(clf)}.", *filter(None, [getattr(clf, "reason_", "")])])
    o.show(facts, json=run.json, text=text)


# The words of a warning in Python, and on the command line.
_WORDS = {
    "set max_cost=None and compare with BalancedClassifier": (
        "use --max-cost 1 and compare with --method balanced"
    ),
    "Pass more validation samples as X_val": "Pass more samples with --validation",
    "raise threshold or lower max_suppressed": "raise --threshold or lower --max-suppressed",
    "Raise threshold or": "Raise --threshold or",
}

_LEAST_LEAD = 0.05  # of the way from guessing to no error; below it a head is near guessing


def _fit(clf: Any, train: Samples, validation: dict[str, Any]) -> None:
    """Fit an estimator; its warnings name options of the command line."""
    from sklearn.metrics import balanced_accuracy_score

    from ntkit._process import warn
    from ntkit.exceptions import SuppressionWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SuppressionWarning)
        clf.fit(train.X, train.y, **validation)
    messages = [(str(warning.message), warning.category) for warning in caught]
    if not any("near guessing" in message for message, _ in messages):
        X, y = (validation["X_val"], validation["y_val"]) if validation else (train.X, train.y)
        accuracy, chance = balanced_accuracy_score(y, clf.predict(X)), 1 / len(clf.classes_)
        if accuracy - chance < _LEAST_LEAD * (1 - chance):
            which = "validation" if validation else "training"
            message = (
                f"Mean class accuracy on {which} samples is {100 * accuracy:.0f} %, near guessing "
                f"({100 * chance:.0f} %). Try another --method, or more samples."
            )
            messages.append((message, SuppressionWarning))
    for message, category in messages:
        for words, option in _WORDS.items():
            message = message.replace(words, option)
        warn(message, category)


def _done(clf: Any) -> str:
    """What was fitted, and how many neurons are suppressed."""
    name = type(clf).__name__
    mask = getattr(clf, "suppressed_", None)
    if mask is None:
        return name
    n_suppressed = mask.sum() or "none"
    return f"{name}, {n_suppressed} of {len(mask)} neurons suppressed"


def _embeddings(
    path: Path, options: o.TableOptions, width: int | None = None
) -> tuple[Samples, LinearHead | None]:
    """Labelled embeddings, and the original head if a store has it."""
    from ntkit.graph.tensors import TensorInfo
    from ntkit.metrics.class_order import order_notes
    from ntkit.samples.read import read_samples
    from ntkit.store import EmbeddingStore

    if path.is_dir() and not EmbeddingStore.is_store(path) and not (path / "X.npy").is_file():
        raise InputError(
            f"{path} is not an embedding store, and fit takes embeddings; make one with: ntkit "
            "embed MODEL DATA -o STORE."
        )
    shape = TensorInfo("embedding", ("N", width), "float32")
    samples = read_samples(path, inputs=() if width is None else (shape,), **options.table)
    o.tell_notes(samples.notes)
    if samples.X.ndim != 2:
        raise InputError(
            f"{path} holds arrays of shape {samples.X.shape}, but an embedding is one row of "
            "numbers for each sample, (N, D); make embeddings with: ntkit embed."
        )
    if width is not None and samples.X.shape[1] != width:
        raise InputError(
            f"{path} holds embeddings of {samples.X.shape[1]} neurons, the training set of "
            f"{width}; give two sets that one model made."
        )
    head = EmbeddingStore.open(path).head if samples.embedded else None
    if head is not None:
        seen = (samples.y, head.predict(samples.X), head.classes)
        notes = order_notes(*seen, name=str(path), strict=False)
        o.tell_notes(f"{note} Then make the store again with ntkit embed." for note in notes)
    return samples, head


def _estimator(method: str, parameters: dict[str, Any], head: Any, seed: int) -> Any:
    from ntkit.estimators import LABEL_FREE

    if method not in LABEL_FREE:
        raise InputError(f"There is no method {method!r}; choose from {', '.join(LABEL_FREE)}.")
    clf = LABEL_FREE[method]()
    known = clf.get_params()
    foreign = [name for name in parameters if name not in known]
    if foreign:
        raise InputError(f"--method {method} has no --{foreign[0].replace('_', '-')}.")
    settings = {"head": head, "random_state": seed}
    return clf.set_params(**parameters, **{k: v for k, v in settings.items() if k in known})
