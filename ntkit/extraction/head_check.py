"""Check in ONNX Runtime that a head turns the embeddings of a file into its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.special import logit

from ntkit._types import Array
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction.embedder import OnnxEmbedder
from ntkit.extraction.runner import run_batches
from ntkit.extraction.session import make_session
from ntkit.head import LinearHead
from ntkit.model.frozen_model import FrozenModel, outputs_from_logits
from ntkit.model.model_pair import same_network
from ntkit.samples.columns import ordered_inputs

# Largest difference of logits, relative to the largest logit:
# | model           | tolerance |                                                     |
# |-----------------|-----------|-----------------------------------------------------|
# | float32, double | 1e-4      | sums in another order                               |
# | float16         | 8e-3      | 8 steps of its 11-bit mantissa                      |
# | quantised       | 2e-2      | 8-bit activations around the head                   |
# | bfloat16        | 6e-2      | 8 steps of its 8-bit mantissa                       |
TOLERANCE = 1e-4

_BY_PRECISION = {
    "float16": 8 * float(np.finfo(np.float16).eps),
    "quantised": 2e-2,
    "bfloat16": 8 * 2.0**-7,
}

# A dynamically quantised model takes its scales from the batch, so a sample's numbers depend on the
# other samples. Compared runs therefore use the same batches.
BATCH = 16  # of 64 images the sessions would take gigabytes


def tolerance_of(model: FrozenModel, *dtypes: str) -> float:
    """Tolerance of the coarsest precision among the model's own and other element types."""
    kinds = {tensor.dtype for tensor in (model.embedding, model.logits) if tensor is not None}
    if model.quantisation is not None:
        kinds.add("quantised")
    return max(_BY_PRECISION.get(name, TOLERANCE) for name in (*kinds, *dtypes))


@dataclass(frozen=True, eq=False)
class RunOfFile:
    """What a file computes on samples, and the head that it should have on their embeddings."""

    model: FrozenModel
    original: FrozenModel
    label: FrozenModel | None  # of the original, if it is one of several
    head: LinearHead  # with the classes in the file's order
    X: Any  # the samples, in the order of the model's columns
    Z: Array  # embeddings by the original
    embedding: Array  # by the file
    logits: Array  # of the file
    outputs: Mapping[str, Array]  # of the file
    start: Callable[..., Any]  # makes a session of a graph on the same device
    of_original: Mapping[str, Array] = field(default_factory=dict)  # outputs, if compared
    beside: AbstractSet[str] = frozenset()  # names of outputs of both that depend on no logits
    latencies: Sequence[float] = (float("nan"),) * 2  # of the file and of the original


@dataclass(frozen=True)
class HeadDifferences:
    """Differences of a file's logits and outputs from those of its head in NumPy."""

    # They are relative to the largest value; NaN without outputs other than the logits. `decisions`
    # is the smallest share of samples on which an output decides like the head, where its logits
    # are not close.

    logits: float
    outputs: float
    decisions: float

    def agree(self, tolerance: float) -> tuple[bool, bool]:
        """Whether the logits, and the outputs that follow from them, are the head's."""
        # A NaN must fail if it is a difference; for outputs it means that there were none.
        return self.logits <= tolerance, not self.outputs > tolerance and self.decisions == 1

    def sentence(self, embeddings: float) -> str:
        """The differences as text, with that of the embeddings."""
        text = f"{self.logits:.1e} (logits), {embeddings:.1e} (embeddings)"
        if not np.isnan(self.outputs):
            text = f"{text}, {self.outputs:.1e} (outputs)"
        if self.decisions < 1:
            share = 100 * (1 - self.decisions)
            text += f", and an output decides differently from the head on {share:.0f} % of the "
            text += "samples whose logits are not close"
        return text


def head_differences(run: RunOfFile, tolerance: float) -> HeadDifferences:
    """Compare the file of a run with its head."""
    model, head, one = run.model, run.head, run.label or run.model
    expected = _logits_like(run.logits, head, run.Z, model.logit_scale)
    computed, levels = run.logits * model.logit_scale, _levels(one, head.n_logits)
    gaps = _gaps(expected)
    if levels is not None:
        gaps = _distances(expected * model.logit_scale, levels)
    # The decisions of the graph's own labels; samples may spell them otherwise.
    in_graph, labels = model.head or head, model.labels_in_graph
    if labels is not None and len(labels) == len(in_graph.classes):
        in_graph = LinearHead(in_graph.coef, in_graph.intercept, np.asarray(labels))
    shown = {n: array for n, array in run.outputs.items() if n in outputs_from_logits(model)}
    follow = _from_logits(run, expected)
    return HeadDifferences(
        relative_difference(_as_decisions(computed), _as_decisions(head.decision_function(run.Z))),
        largest_difference(run.outputs, follow, gaps, tolerance),
        _decision_agreement(shown, in_graph, computed, tolerance, levels),
    )


def check_head(embedder: OnnxEmbedder, X: Any, *, tolerance: float | None = None) -> None:
    """Raise an error if the head of a model does not turn its embeddings into its outputs."""
    label, model = embedder.frozen_model, embedder.frozen_model.whole
    head = model.head
    if label.head is None or head is None or model.logits is None:
        raise InputError("The model has no head to check; name its logits with --logits NAME.")
    X = ordered_inputs(X, model.inputs)
    try:
        (Z,) = embedder.outputs(X, batch_size=BATCH)
    except InputError:  # the pass over all samples says which rows these are
        return
    if not len(Z):
        raise InputError("There are no samples to verify on; pass some.")
    where: dict[str, Any] = {"device": embedder.device, "providers": embedder.providers}
    start = partial(make_session, **where)
    outputs = run_whole(session_of_file(model, start), X)
    embedding, logits = of_file(model, model, X, Z, outputs, start)
    within = tolerance_of(model, logits.dtype.name) if tolerance is None else tolerance
    one = None if label.label is None else label
    found = head_differences(
        RunOfFile(model, model, one, head, X, Z, embedding, logits, outputs, start), within
    )
    moved = relative_difference(embedding, Z)
    if not all(found.agree(within)) or not moved <= within:
        raise VerificationError(
            f"The head in {label.path or 'the model'} ({label.describe()['head']}, "
            f"{model.logits.name!r}) does not compute the model's outputs: they differ by "
            f"{found.sentence(moved)}, more than the tolerance of {within:.0e}. Name the "
            "right head with --logits NAME, or export the model without operators that reorder its "
            "classes or draw random numbers."
        )


def run_whole(session: Any, X: Any, *, verbose: bool = False) -> dict[str, Array]:
    """Every output of a session, by name; flat if its parts are not rows that fit together."""
    names, outputs = [output.name for output in session.get_outputs()], dict[str, Array]()
    columns = zip(*run_batches(session, X, batch_size=BATCH, verbose=verbose), strict=True)
    for name, parts in zip(names, columns, strict=True):
        fit = all(part.ndim and part.shape[1:] == parts[0].shape[1:] for part in parts)
        outputs[name] = np.concatenate(parts if fit else [part.ravel() for part in parts])
    return outputs


def of_file(
    first: FrozenModel,
    second: FrozenModel,
    X: Any,
    Z: Array,
    outputs: Mapping[str, Array],
    start: Callable[..., Any],
) -> tuple[Array, Array]:
    """Embeddings and logits of the second file, from its outputs if the network is the same."""
    logits = None if second.logits is None else outputs.get(second.logits.name)
    if logits is not None and same_network(first, second):
        return Z, logits
    body = second.body(logits=True).SerializeToString()
    session = start(body, folder=second.folder)
    batches = run_batches(session, X, batch_size=BATCH)
    embedding, computed = (np.concatenate(part) for part in zip(*batches, strict=True))
    return embedding, computed if logits is None else logits


def _from_logits(run: RunOfFile, logits: Array) -> dict[str, Array]:
    """Outputs that a file computes from other logits; empty if it reads more than its inputs."""
    # The nodes after the logits are the original's, if both heads fit them.
    first, second, X = run.original, run.model, run.X
    same_nodes = (first.nodes, first.logits) == (second.nodes, second.logits)
    n_logits = [each.head.n_logits for each in (first, second) if each.head is not None]
    alike = same_nodes and len(n_logits) == 2 and n_logits[0] == n_logits[1]
    model = first if alike else second
    tail = model.tail()
    if tail is None or model.logits is None:
        return {}
    for value in tail.graph.input:
        if value.name == model.logits.name and not value.type.tensor_type.HasField("shape"):
            sizes = value.type.tensor_type.shape.dim
            sizes.add(dim_param="N")
            for side in logits.shape[1:]:
                sizes.add(dim_value=side)
    session = run.start(tail.SerializeToString(), folder=model.folder)
    known = {tensor.name for tensor in model.inputs} | {model.logits.name}
    if any(spec.name not in known for spec in session.get_inputs()):
        return {}
    inputs = X if isinstance(X, Mapping) else {model.inputs[0].name: X}
    return run_whole(session, {**inputs, model.logits.name: logits})


def _gaps(logits: Array) -> Array:
    """Gaps between the sorted logits of each sample, relative to the largest logit."""
    scores = logits.reshape(len(logits), -1).astype(np.float64)
    if scores.shape[1] == 1:  # a sigmoid's threshold is 0
        scores = np.column_stack([np.zeros(len(scores)), scores])
    return np.diff(np.sort(scores, axis=1), axis=1) / max(1.0, float(np.abs(scores).max()))


def largest_difference(
    outputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    gaps: Array | None = None,
    tolerance: float = 0.0,
) -> float:
    """Largest difference of outputs that both have; infinite if labels differ, NaN without any."""
    differences = [
        _of_one_output(outputs[name], array, gaps, tolerance)
        for name, array in expected.items()
        if name in outputs
    ]
    return max(differences, default=float("nan"))


def relative_difference(actual: Array, expected: Array) -> float:
    """Largest difference, relative to the largest value; infinite between other shapes."""
    if actual.shape != expected.shape:
        return float("inf")
    if not actual.size:
        return 0.0
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(actual - expected).max()) / max(1.0, float(np.abs(expected).max()))


def _of_one_output(actual: Array, expected: Array, gaps: Array | None, tolerance: float) -> float:
    if expected.dtype == object and isinstance(next(iter(expected.flat), None), Mapping):
        actual, expected = unzipped(actual), unzipped(expected)
    if actual.shape != expected.shape:
        return float("inf")
    if expected.dtype.kind == "f":
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        worst = relative_difference(np.where(same, 0, actual), np.where(same, 0, expected))
        return worst if worst == worst else float("inf")
    if gaps is None:
        return 0.0 if np.array_equal(actual, expected) else float("inf")
    # A single label depends on the two largest logits, an order of classes on all of them.
    single = expected.size == len(expected)
    clear = (gaps[:, -1] if single else gaps.min(axis=1)) > tolerance
    if len(expected) != len(clear):  # not one row per sample
        actual, expected, clear = actual[None], expected[None], clear.all(keepdims=True)
    return 0.0 if np.array_equal(actual[clear], expected[clear]) else float("inf")


def unzipped(rows: Array) -> Array:
    """ZipMap's dictionaries as a matrix."""
    return np.asarray([[row[key] for key in sorted(row)] for row in rows.flat])


def _decision_agreement(
    outputs: Mapping[str, Array],
    head: LinearHead,
    logits: Array,
    tolerance: float,
    levels: Array | None = None,
) -> float:
    """Smallest share of samples on which an output decides like the head."""
    # Operators after the logits may reorder or invert the classes; then a head would be trained for
    # classes that the file shows as others. `levels` are the thresholds of labels.
    if levels is not None:
        return min(_label_shares(outputs.values(), logits, levels, tolerance), default=1.0)
    clear, scores = _gaps(logits)[:, -1] > tolerance, _as_decisions(logits)
    decided = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
    shown = (_shown(array, head, scores) for array in outputs.values() if len(array) == len(scores))
    shares = [
        np.mean((array == decided)[clear]) for array in shown if array is not None and clear.any()
    ]
    return float(min(shares, default=1.0))


def _label_shares(
    outputs: Iterable[Array], logits: Array, levels: Array, tolerance: float
) -> Iterator[float]:
    """Share of samples on which each column of an output gives its label as the logits do."""
    margins = logits.reshape(len(logits), -1) - levels
    clear, given = _distances(logits, levels) > tolerance, margins > 0
    for output in outputs:
        zipped = output.dtype == object and isinstance(next(iter(output.flat), None), Mapping)
        columns = unzipped(output) if zipped else output.reshape(len(output), -1)
        if columns.shape != given.shape or columns.dtype.kind not in "fiub":
            continue
        for shown, at, known in zip(columns.T, given.T, clear.T, strict=True):
            shown, at = shown[known], at[known]
            if np.isin(shown, (0, 1)).all():
                yield float(((shown == 1) == at).mean()) if len(at) else 1.0
            elif at.any():  # scores: each with the label is above all without
                yield float((at | (shown <= shown[at].min())).mean())


def _distances(logits: Array, levels: Array) -> Array:
    """Distance of each logit from its threshold, relative to the largest logit."""
    scores = logits.reshape(len(logits), -1).astype(np.float64)
    distances: Array = np.abs(scores - levels) / max(1.0, float(np.abs(scores).max()))
    return distances


def _shown(output: Array, head: LinearHead, scores: Array) -> Array | None:
    """Index of the class in each row of an output; -1 if it is not one of the head's."""
    if output.dtype == object and isinstance(output.flat[0], Mapping):
        return _indices(np.asarray([max(row, key=row.get) for row in output.flat]), head)
    columns = output.reshape(len(output), -1)
    if output.dtype.kind == "f":
        if columns.shape[1] == len(head.classes):
            return np.asarray(columns.argmax(axis=1))
        if columns.shape[1] == 1 and np.isin(columns, (0, 1)).all():  # a decision
            return columns[:, 0].astype(np.int64)
        if columns.shape[1] != 1 or head.n_logits != 1:
            return None
        rises = columns[scores.argmax(), 0] >= columns[scores.argmin(), 0]
        return np.asarray((scores > 0) == rises, np.int64)  # a score may fall with the logit
    return _indices(columns[:, 0], head)


def _indices(labels: Array, head: LinearHead) -> Array:
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    known = {str(label): index for index, label in enumerate(head.classes.tolist())}
    if labels.dtype.kind in "iu" and head.classes.dtype.kind not in "iubf":
        return labels.astype(np.int64)  # the graph has indices, the names are ours
    texts = (x.decode() if isinstance(x, bytes) else str(x) for x in labels.tolist())
    indices = [known.get(text, -1) for text in texts]
    if labels.dtype.kind in "iu" and min(indices) < 0:
        return labels.astype(np.int64)
    return np.asarray(indices)


def session_of_file(model: FrozenModel, start: Callable[..., Any]) -> Any:
    """The model's file, or the model in memory."""
    # ONNX Runtime refuses weights behind links in some of its versions.
    if model.path is not None and model.folder == model.path.parent.resolve():
        return start(str(model.path))
    proto = model.to_proto().SerializeToString()
    return start(proto, folder=model.folder)


def _levels(model: FrozenModel, n_logits: int) -> Array | None:
    """Logits of the thresholds of labels, one for each row of the head; None without labels."""
    known = [*model.thresholds.values()]
    if model.threshold is not None and len(known) != n_logits:  # a layer for this label alone
        known = [model.threshold[0]]
    elif model.labels_apart and n_logits == 1:  # the head is that of the first one
        known = known[:1]
    return logit(np.asarray(known)) if len(known) == n_logits else None


def _logits_like(actual: Array, head: LinearHead, Z: Array, scale: float) -> Array:
    """NumPy's logits in the shape of the graph: with one or two for two classes."""
    width = int(np.prod(actual.shape[1:]))
    if width > 1:
        head = head.with_logits(len(head.classes))
    logits = head.decision_function(Z).reshape(len(Z), -1)
    if width == 1 and logits.shape[1] == 2:
        logits = logits[:, 1:] - logits[:, :1]
    with np.errstate(over="ignore"):
        return (logits / scale).reshape(actual.shape).astype(actual.dtype)


def _as_decisions(logits: Array) -> Array:
    """One column per class; for two classes only the margin, which determines the decision."""
    logits = logits.reshape(len(logits), -1)  # a 1 × 1 convolution leaves axes of length 1
    if logits.shape[1] == 1:
        return logits.reshape(-1)
    return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits
