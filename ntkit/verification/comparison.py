"""Verify in ONNX Runtime, on real inputs, that the written file computes what it should."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from ntkit._disk import size_of
from ntkit._doc import documented
from ntkit._output import check_file
from ntkit._text import counted
from ntkit._types import Array
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import OnnxEmbedder
from ntkit.extraction.runner import SessionInputs, run_batches
from ntkit.extraction.session import make_session
from ntkit.head import LinearHead
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import outputs_from_logits, row_of, with_row
from ntkit.samples.columns import ordered_inputs
from ntkit.samples.kinds import first_rows
from ntkit.verification.model_pair import (
    agreement,
    is_new_head,
    load_pair,
    no_class_moved,
    notes_on,
    same_network,
)

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


def tolerance_of(model: FrozenModel, *dtypes: str) -> float:
    """Tolerance of the coarsest precision among the model's own and other element types."""
    kinds = {tensor.dtype for tensor in (model.embedding, model.logits) if tensor is not None}
    if model.quantisation is not None:
        kinds.add("quantised")
    return max(_BY_PRECISION.get(name, TOLERANCE) for name in (*kinds, *dtypes))


@dataclass(frozen=True)
class Kept:
    """What the debiased file of a :class:`Verification` keeps of the original.

    Attributes
    ----------
    nodes, signature : bool
        Whether the node list, and the inputs, outputs, opset and IR version, are the original's.
    metadata : bool
        Whether the file still has all of the original's metadata, except ``ntkit.*``.
    outputs : bool
        Whether the debiased model has all of the original's inputs and outputs, by name and
        element type.
    class_order : bool
        Whether no class has moved: neither in the names in both files, nor in the predictions. The
        latter holds unless another order of the classes fits the debiased model's predictions far
        better (``ntkit.metrics.class_order``).
    other_labels : bool
        With one label of several, whether the outputs of all other labels are equal to the bit.
    n_other_labels : int
        Number of other labels whose outputs were compared to the bit.
    """

    nodes: bool
    signature: bool
    metadata: bool = True
    outputs: bool = True
    class_order: bool = True
    other_labels: bool = True
    n_other_labels: int = 0


@dataclass(frozen=True)
class Verification:
    """Result of a comparison of two models; :func:`verify` makes it.

    Attributes
    ----------
    n_samples : int
        Number of compared inputs.
    logit_difference : float
        Largest difference between the debiased file's logits in ONNX Runtime and the logits of its
        head in NumPy on the original's embeddings, relative to the largest logit.
    embedding_difference : float
        Largest difference between the two models' embeddings; 0 for an unchanged network.
    agreement : float
        Share of inputs with the same predicted class in both models; NaN if their classes differ.
    kept : Kept
        What the file keeps of the original: its ``nodes``, ``signature`` (inputs, outputs, opset
        and IR version), ``metadata``, ``outputs``, ``class_order``, and ``other_labels``, each a
        bool; ``n_other_labels`` is the number of labels compared.
    tolerance : float
        Tolerance for the differences of logits, embeddings and outputs.
    output_difference : float
        Largest difference of the file's float outputs after the logits (probabilities) from what
        the original's nodes compute from NumPy's logits, relative to the output's largest value. It
        is infinite if labels differ although the logits are not close. It is NaN if the logits are
        the only output, or if the nodes after them read more than the logits and the model's
        inputs.
    decision_agreement : float
        Smallest share, over the outputs that show classes, of samples on which the file decides
        like its head. Only samples whose logits are not close count.
    side_difference : float
        Largest difference between the two models' outputs that do not depend on the logits,
        relative to the output's largest value; NaN if there are none.
    notes : tuple of str
        Comparisons that were not possible, and facts that a reader should know; they do not affect
        ``passed``.
    latency, original_latency : float
        Median milliseconds per run of the debiased model and of the original on the first 8
        samples, measured in turn; NaN if not measured. They do not affect ``passed``.
    """

    n_samples: int
    logit_difference: float
    embedding_difference: float
    agreement: float
    kept: Kept
    tolerance: float = TOLERANCE
    output_difference: float = float("nan")
    decision_agreement: float = 1.0
    latency: float = float("nan")
    original_latency: float = float("nan")
    side_difference: float = float("nan")
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the file computes its head on the original's embeddings, and keeps the rest."""
        return not self.failures()

    def differences(self) -> str:
        """The differences as text: of logits and embeddings, and of outputs if compared."""
        text = f"{self.logit_difference:.1e} (logits), {self.embedding_difference:.1e} (embeddings)"
        if not np.isnan(self.output_difference):
            text = f"{text}, {self.output_difference:.1e} (outputs)"
        if self.decision_agreement < 1:
            share = 100 * (1 - self.decision_agreement)
            text += f", and an output decides differently from the head on {share:.0f} % of samples"
        if not np.isnan(self.side_difference):
            text += f", {self.side_difference:.1e} (other outputs)"
        if not self.kept.class_order:
            text += ", and its classes are in another order than the original's"
        if not self.kept.other_labels:
            text += ", and outputs of its other labels are not the original's"
        if not self.kept.outputs:
            text += ", and it lacks an input or output that the original has"
        return text

    def on_other_labels(self) -> str:
        """Sentence on the outputs of the other labels; empty if they changed or are not known."""
        n_others = self.kept.n_other_labels
        if not n_others or not self.kept.other_labels:
            return ""
        return (
            f"The outputs of the other {counted(n_others, 'label')} are the same to the bit on "
            f"{counted(self.n_samples, 'sample')}."
        )

    def failures(self) -> tuple[str, ...]:
        """Reasons for failing, as predicates without a subject; empty if it passed."""
        # A NaN must fail if it is a difference; for outputs it means that there were none.
        within = self.tolerance
        checks = {
            "does not compute its head on the original's embeddings": (
                self.logit_difference <= within and self.embedding_difference <= within
            ),
            "has outputs that do not follow from its head": (
                not self.output_difference > within and self.decision_agreement == 1
            ),
            "computes its other outputs differently from the original": (
                not self.side_difference > within
            ),
            "has its classes in another order than the original": self.kept.class_order,
            "changes the outputs of other labels": self.kept.other_labels,
            "lacks an input or output of the original, or has another element type there": (
                self.kept.outputs
            ),
        }
        return tuple(failure for failure, passed in checks.items() if not passed)

    @property
    def latency_ratio(self) -> float:
        """Latency of the debiased model as a multiple of the original's."""
        return self.latency / self.original_latency


# A dynamically quantised model takes its scales from the batch, so a sample's numbers depend on the
# other samples. Compared runs therefore use the same batches.
BATCH = 16  # of 64 images the sessions would take gigabytes


def run_whole(session: Any, X: Any) -> dict[str, Array]:
    """Every output of a session, by name; flat if its parts are not rows that fit together."""
    names, outputs = [output.name for output in session.get_outputs()], dict[str, Array]()
    columns = zip(*run_batches(session, X, batch_size=BATCH), strict=True)
    for name, parts in zip(names, columns, strict=True):
        fit = all(part.ndim and part.shape[1:] == parts[0].shape[1:] for part in parts)
        outputs[name] = np.concatenate(parts if fit else [part.ravel() for part in parts])
    return outputs


def _of_file(
    first: FrozenModel,
    second: FrozenModel,
    X: Any,
    Z: Array,
    outputs: Mapping[str, Array],
    device: Any,
) -> tuple[Array, Array]:
    """Embeddings and logits of the second file, from its outputs if the network is the same."""
    logits = None if second.logits is None else outputs.get(second.logits.name)
    if logits is not None and same_network(first, second):
        return Z, logits
    body = second.body(logits=True).SerializeToString()
    session = make_session(body, device=device, folder=second.folder)
    batches = run_batches(session, X, batch_size=BATCH)
    embedding, computed = (np.concatenate(part) for part in zip(*batches, strict=True))
    return embedding, computed if logits is None else logits


def _from_logits(
    first: FrozenModel, second: FrozenModel, logits: Array, X: Any, device: Any
) -> dict[str, Array]:
    """Outputs that a model computes from other logits; empty if it reads more than its inputs."""
    # The nodes after the logits are the original's, if both heads fit them.
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
    session = make_session(tail.SerializeToString(), device=device, folder=model.folder)
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


def _largest_difference(
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
        actual, expected = _unzipped(actual), _unzipped(expected)
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


def _unzipped(rows: Array) -> Array:
    """ZipMap's dictionaries as a matrix."""
    return np.asarray([[row[key] for key in sorted(row)] for row in rows.flat])


def decision_agreement(
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
        columns = _unzipped(output) if zipped else output.reshape(len(output), -1)
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


def _other_labels(
    model: FrozenModel, own: Sequence[str], before: Mapping[str, Array], after: Mapping[str, Array]
) -> tuple[bool, int]:
    """Whether outputs are the same to the bit, except the model's label, and of how many others.

    ``own`` are the names of the outputs that the label's logits lead to.
    """
    names, same, compared = model.label_names, True, False
    row = names.index(str(model.label))
    for name in before.keys() & after.keys():
        one, two = before[name], after[name]
        if one.dtype == object and isinstance(next(iter(one.flat), None), Mapping):
            one, two = _unzipped(one), _unzipped(two)
        if name in own:
            if one.shape != two.shape or one.size != len(one) * len(names):
                continue
            one, two = (np.delete(each.reshape(len(each), -1), row, axis=1) for each in (one, two))
        elif not model.labels_apart:
            continue  # an output of no label
        compared = True
        same = same and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    return same, (len(names) - 1) * compared


def _shown(output: Array, head: LinearHead, scores: Array) -> Array | None:
    """Index of the class in each row of an output; -1 if it is not one of the head's."""
    if output.dtype == object and isinstance(output.flat[0], Mapping):
        return _indices(np.asarray([max(row, key=row.get) for row in output.flat]), head)
    columns = output.reshape(len(output), -1)
    if output.dtype.kind == "f":
        if columns.shape[1] == len(head.classes):
            return np.asarray(columns.argmax(axis=1))
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


BATCH_SIZE = 8
_WARM_UP = 3


def timings(
    sessions: Sequence[Any], X: Any, *, n_timings: int = 200, seconds: float = 1.0
) -> NDArray[np.float64]:
    """Milliseconds per run of the first samples, for each session in turn."""
    # Other programs then affect every session alike; a model is never timed on its first runs.
    first = first_rows(X, BATCH_SIZE)
    runs = []
    for session in sessions:
        # One batch, checked and cast, with repeated rows if a model needs more.
        inputs = SessionInputs(session, first)
        size = inputs.fixed_size or BATCH_SIZE
        batch = inputs.load(inputs.parts((0, min(size, inputs.n_samples)), size)[0])
        at = np.arange(inputs.fixed_size or len(batch)) % len(batch)
        runs.append((session, {name: array[at] for name, array in batch.feed.items()}))
    for session, feed in runs * _WARM_UP:
        session.run(None, feed)
    rows = np.empty((n_timings, len(runs)))
    start = time.perf_counter()
    for done in range(n_timings):
        if done >= 3 and time.perf_counter() - start > seconds:
            return rows[:done]
        order = range(len(runs)) if done % 2 else reversed(range(len(runs)))
        for i in order:
            session, feed = runs[i]
            begin = time.perf_counter()
            session.run(None, feed)
            rows[done, i] = 1e3 * (time.perf_counter() - begin)
    return rows


@documented
def verify(
    original: FrozenModel | OnnxEmbedder | str | os.PathLike[str],
    debiased: FrozenModel | str | os.PathLike[str],
    X: Any,
    *,
    head: LinearHead | None = None,
    y: Any = None,
    device: str = "auto",
    tolerance: float | None = None,
    latency: bool = True,
) -> Verification:
    """Compare a debiased file with the original and with NumPy, on inputs.

    It compares logits, embeddings, every output, and the names and order of the classes. A file
    passes only if a program that reads the original's outputs finds the same classes at the same
    places. If a head has other classes, :attr:`Verification.notes` list the comparisons that are
    not possible.

    Parameters
    ----------
    original, debiased : FrozenModel or path-like
        The two models; the debiased one runs as the file it is. If both are paths, the debiased
        file names the embedding and its pooling. An :class:`~ntkit.OnnxEmbedder` of the original
        uses its existing session.
    X : array-like, lazy sequence or mapping
        Model inputs.
    head : LinearHead, optional
        Head that the file should have; by default the head read from it.
    y : array-like of shape (N,), optional
        Class labels of the samples: a note is added if another order of the debiased model's
        classes fits them far better.
    {run.device}
    tolerance : float, optional
        Tolerance for :attr:`Verification.passed`; by default 1e-4, and for a coarser model 8e-3
        (float16), 2e-2 (quantised) or 6e-2 (bfloat16).
    latency : bool
        Whether to measure the time of both models, which takes some seconds at most.

    Returns
    -------
    Verification
        If the two differ, no error is raised; see :attr:`Verification.passed`.

    Raises
    ------
    InputError
        If the debiased model has no head, there are no samples, or they do not fit the model.
    {run.DeviceError, run.ModelError}

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> from ntkit.verification import verify
    >>> model, X = FrozenModel.load(marked_digits_model_path()), load_marked_digits().X_test[:32]
    >>> result = verify(model, model.with_head(model.head), X, device="cpu")
    >>> result.passed, result.agreement
    (True, 1.0)
    """
    runs = _run_both(original, debiased, X, head, device, latency=latency)
    first, second, one, Z, outputs = runs.first, runs.second, runs.one, runs.Z, runs.outputs
    if tolerance is None:
        tolerance = tolerance_of(second, runs.logits.dtype.name)
    wanted, own = runs.head, None if is_new_head(first, second) else first.head
    expected = _logits_like(runs.logits, wanted, Z, second.logit_scale)
    computed = runs.logits * second.logit_scale
    levels, of_label = _levels(one or second, wanted.n_logits), partial(row_of, one or second)
    gaps = _gaps(expected)
    if levels is not None:
        gaps = _distances(expected * second.logit_scale, levels)
    # The decisions of the graph's own labels; samples may spell them otherwise.
    in_graph, labels = second.head or wanted, second.labels_in_graph
    if labels is not None and len(labels) == len(in_graph.classes):
        in_graph = LinearHead(in_graph.coef, in_graph.intercept, np.asarray(labels))
    shown = {n: array for n, array in outputs.items() if n in outputs_from_logits(second)}
    embedding_difference, agrees, heads = relative_difference(runs.embedding, Z), float("nan"), None
    if own is not None:
        others = runs.embedding if runs.embedding.shape == Z.shape else Z
        agrees = agreement(of_label(own), of_label(wanted), Z, others)
        heads = (own, wanted) if embedding_difference <= tolerance else None
    return Verification(
        n_samples=len(Z),
        logit_difference=relative_difference(
            _as_decisions(computed), _as_decisions(wanted.decision_function(Z))
        ),
        embedding_difference=embedding_difference,
        agreement=agrees,
        kept=_kept(runs, heads),
        tolerance=tolerance,
        output_difference=_largest_difference(
            outputs, _from_logits(first, second, expected, runs.X, device), gaps, tolerance
        ),
        decision_agreement=decision_agreement(shown, in_graph, computed, tolerance, levels),
        latency=runs.latencies[0],
        original_latency=runs.latencies[1],
        side_difference=_largest_difference(
            outputs, {name: runs.of_original[name] for name in runs.beside}
        ),
        notes=notes_on(first, second, of_label(wanted), Z, y),
    )


@dataclass(frozen=True, eq=False)
class _Runs:
    """Two models, and what they compute on the same samples."""

    first: FrozenModel
    second: FrozenModel
    one: FrozenModel | None  # the label of the original, if it is one of several
    head: LinearHead  # that the second model should have, with the classes in the file's order
    X: Any  # the samples, in the order of the model's columns
    Z: Array  # embeddings by the original
    embedding: Array  # by the second model
    logits: Array  # of the second model
    outputs: Mapping[str, Array]  # of the second model
    of_original: Mapping[str, Array]  # outputs of the original, if some are compared
    beside: AbstractSet[str]  # names of outputs of both that depend on no logits
    latencies: Sequence[float]  # of the second model and of the original


def _kept(runs: _Runs, heads: tuple[LinearHead, LinearHead] | None) -> Kept:
    """What the second model of a run keeps of the first one."""
    first, second = runs.first, runs.second
    same_labels, n_others = True, 0
    if runs.one is not None:
        from_logits = outputs_from_logits(first)
        same_labels, n_others = _other_labels(runs.one, from_logits, runs.of_original, runs.outputs)
    return Kept(
        nodes=first.nodes == second.nodes,
        signature=all(
            getattr(first, part) == getattr(second, part)
            for part in ("inputs", "outputs", "opset_imports", "ir_version")
        ),
        metadata=all(
            second.metadata.get(key) == text
            for key, text in first.metadata.items()
            if not key.startswith("ntkit.")
        ),
        outputs=all(
            {(t.name, t.dtype) for t in before} <= {(t.name, t.dtype) for t in after}
            for before, after in ((first.inputs, second.inputs), (first.outputs, second.outputs))
        ),
        class_order=no_class_moved(first, second, heads, runs.Z),
        other_labels=same_labels,
        n_other_labels=n_others,
    )


def _run_both(
    original: FrozenModel | OnnxEmbedder | str | os.PathLike[str],
    debiased: FrozenModel | str | os.PathLike[str],
    X: Any,
    head: LinearHead | None,
    device: str,
    *,
    latency: bool,
) -> _Runs:
    """Load two models, and run both on the samples."""
    embedder: OnnxEmbedder | None = None
    one: FrozenModel | None = None
    model = original
    if isinstance(original, OnnxEmbedder):
        embedder, model = original, original.frozen_model
    if isinstance(model, FrozenModel):  # of a model with several labels, all of them
        one = None if model.label is None else model
        head, model = None if head is None else with_row(model, head), model.whole
    whole = debiased.whole if isinstance(debiased, FrozenModel) else debiased
    first, second = load_pair(model, whole)
    head = second.head if head is None else head
    if head is None or second.logits is None:
        raise InputError(
            "The debiased model has no head to verify; name its logits with --logits NAME."
        )
    X = ordered_inputs(X, first.inputs)
    (Z,) = (embedder or OnnxEmbedder(first, device=device)).outputs(X, batch_size=BATCH)
    if not len(Z):
        raise InputError("There are no samples to verify on; pass some.")
    session = _session(second, device)
    outputs = run_whole(session, X)
    embedding, logits = _of_file(first, second, X, Z, outputs, device)
    classes = head.classes if second.head is None else second.head.classes
    if first.head is not None and {*first.head.classes.tolist()} == {*classes.tolist()}:
        classes = first.head.classes  # in the original's order, which users rely on
    beside = outputs.keys() & {tensor.name for tensor in first.outputs}
    beside -= {*outputs_from_logits(first), *outputs_from_logits(second)}
    compared = bool(beside) or one is not None
    of_original, latencies = dict[str, Array](), [float("nan")] * 2
    if latency or compared:
        before = _session(first, device)
        of_original = run_whole(before, X) if compared else {}
        if latency:
            latencies = np.median(timings([session, before], X), axis=0).tolist()
    return _Runs(
        first, second, one, head.aligned_to(classes), X, Z, embedding, logits, outputs,
        of_original, beside, latencies
    )  # fmt: skip


@documented
def save_verified(
    model: FrozenModel,
    path: str | os.PathLike[str],
    *,
    original: FrozenModel | OnnxEmbedder,
    X: Any,
    head: LinearHead | None = None,
    device: str = "auto",
    force: bool = False,
) -> Verification:
    """Write a model; the file gets its name only if ONNX Runtime agrees with NumPy on ``X``.

    Parameters
    ----------
    model : FrozenModel
        Model from :meth:`FrozenModel.with_head`.
    path : path-like
        Target file.
    original : FrozenModel or OnnxEmbedder
        Model that it was made from; an embedder uses its existing session.
    X : array-like, lazy sequence or mapping
        Inputs for the comparison; some dozens suffice.
    head : LinearHead, optional
        Head that it should have.
    {run.device, replace.force}

    Returns
    -------
    Verification
        As of :func:`verify`.

    Raises
    ------
    VerificationError
        If logits, embeddings or outputs differ by more than the tolerance; no file is written then.
    InputError
        If the file exists and ``force`` is false, it is the original's, it cannot be written, or
        the samples do not fit the model.
    {checker.ModelError}

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> from ntkit.verification import save_verified
    >>> original = FrozenModel.load(marked_digits_model_path())
    >>> model = original.with_head(original.head.scaled(np.arange(64) != 5))  # neuron 5 suppressed
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file, X = Path(folder) / "suppressed.onnx", load_marked_digits().X_test[:32]
    ...     save_verified(model, file, original=original, X=X, device="cpu").passed
    True
    """
    results: list[Verification] = []
    source = original.frozen_model if isinstance(original, OnnxEmbedder) else original
    inputs, size = [*source.files, *model.files], size_of(source.files)
    check_file(path, inputs=inputs, force=force, size=size)

    def check(temporary: Path) -> None:
        whole = model.whole.head
        places: dict[str, Any] = {**model.located_by}
        classes = None if whole is None else whole.classes
        written = FrozenModel.load(temporary, **places, classes=classes)
        result = verify(original, written, X, head=head, device=device, latency=False)
        del written  # an error's traceback would keep its files memory-mapped
        if not result.passed:
            raise VerificationError(
                f"The written model differs from its head in NumPy by {result.differences()}, more "
                f"than the tolerance of {result.tolerance:.0e}; {path} was not written."
            )
        results.append(result)

    model.save(path, force=force, verify=check)
    return results[0]


def _session(model: FrozenModel, device: Any) -> Any:
    """The model's file, or the model in memory."""
    # ONNX Runtime refuses weights behind links in some of its versions.
    if model.path is not None and model.folder == model.path.parent.resolve():
        return make_session(str(model.path), device=device)
    proto = model.to_proto().SerializeToString()
    return make_session(proto, device=device, folder=model.folder)


def _levels(model: FrozenModel, n_logits: int) -> Array | None:
    """Logits of the thresholds of labels, one for each row of the head; None without labels."""
    known = [*model.thresholds.values()]
    if model.threshold is not None and len(known) != n_logits:  # a layer for this label alone
        known = [model.threshold[0]]
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


def check_head(
    model: FrozenModel | OnnxEmbedder,
    X: Any,
    *,
    device: str = "auto",
    tolerance: float | None = None,
) -> Verification:
    """Check that the head of a model turns its embeddings into its outputs."""
    embedder = model if isinstance(model, OnnxEmbedder) else OnnxEmbedder(model, device=device)
    model = embedder.frozen_model
    if model.head is None or model.logits is None:
        raise InputError("The model has no head to check; name its logits with --logits NAME.")
    result = verify(embedder, model, X, device=device, tolerance=tolerance, latency=False)
    if not result.passed:
        raise VerificationError(
            f"The head in {model.path or 'the model'} ({model.describe()['head']}, "
            f"{model.logits.name!r}) does not compute the model's outputs: they differ by "
            f"{result.differences()}, more than the tolerance of {result.tolerance:.0e}. Name the "
            "right head with --logits NAME, or export the model without operators that reorder its "
            "classes or draw random numbers."
        )
    return result
