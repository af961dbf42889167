"""Verify with ONNX Runtime, on real or random inputs, that a written model is the intended one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ntkit._disk import size_of
from ntkit._doc import documented
from ntkit._labels import composed
from ntkit._output import check_file
from ntkit._text import counted, listed
from ntkit._types import Array
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import OnnxEmbedder, TextPreprocessing
from ntkit.extraction.head_check import (
    BATCH,
    TOLERANCE,
    HeadDifferences,
    RunOfFile,
    head_differences,
    largest_difference,
    of_file,
    relative_difference,
    run_whole,
    session_of_file,
    tolerance_of,
    unzipped,
)
from ntkit.extraction.runner import SessionInputs
from ntkit.extraction.session import make_session
from ntkit.graph.tensors import TensorInfo
from ntkit.head import LinearHead
from ntkit.metrics.class_order import class_order
from ntkit.model import FrozenModel
from ntkit.model.class_names import names_in
from ntkit.model.frozen_model import body_nodes, outputs_from_logits, row_of, with_row
from ntkit.model.model_pair import SOURCE, is_new_head, load_pair
from ntkit.samples.columns import ordered_inputs
from ntkit.samples.kinds import first_rows

__all__ = [
    "Verification",
    "save_verified",
    "verify",
]

_FLOATS = ("float16", "float32", "double")
_IDS = ("int32", "int64")
_PIXELS = ("uint8", "int8")
_LENGTH = 16
_SECOND = 16_000  # samples of sound
_MAKING_CHANNELS = frozenset(["Unsqueeze", "Reshape", "STFT", "Pad", "Shape"])
_SIDE = 224  # pixels of images


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

    @property
    def _of_head(self) -> HeadDifferences:
        return HeadDifferences(
            self.logit_difference, self.output_difference, self.decision_agreement
        )

    def differences(self) -> str:
        """The differences as text: of logits and embeddings, and of outputs if compared."""
        text = self._of_head.sentence(self.embedding_difference)
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
        within = self.tolerance
        logits, outputs = self._of_head.agree(within)
        checks = {
            "does not compute its head on the original's embeddings": (
                logits and self.embedding_difference <= within
            ),
            "has outputs that do not follow from its head": outputs,
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
            one, two = unzipped(one), unzipped(two)
        if name in own:
            if one.shape != two.shape or one.size != len(one) * len(names):
                continue
            one, two = (np.delete(each.reshape(len(each), -1), row, axis=1) for each in (one, two))
        elif not model.labels_apart:
            continue  # an output of no label
        compared = True
        same = same and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    return same, (len(names) - 1) * compared


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
    verbose: bool = False,
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
    {verbose}

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
    run = _run_both(original, debiased, X, head, device, latency=latency, verbose=verbose)
    first, second, Z, wanted = run.original, run.model, run.Z, run.head
    if tolerance is None:
        tolerance = tolerance_of(second, run.logits.dtype.name)
    own = None if is_new_head(first, second) else first.head
    of_label = partial(row_of, run.label or second)
    embedding_difference, agrees, heads = relative_difference(run.embedding, Z), float("nan"), None
    if own is not None:
        others = run.embedding if run.embedding.shape == Z.shape else Z
        before, after = of_label(own), of_label(wanted)
        if {*before.classes.tolist()} != {*after.classes.tolist()}:
            before, after = _numbered(before), _numbered(after)
        agrees = float((before.predict(Z) == after.predict(others)).mean())
        heads = (own, wanted) if embedding_difference <= tolerance else None
    of_head = head_differences(run, tolerance)
    return Verification(
        n_samples=len(Z),
        logit_difference=of_head.logits,
        embedding_difference=embedding_difference,
        agreement=agrees,
        kept=_kept(run, heads),
        tolerance=tolerance,
        output_difference=of_head.outputs,
        decision_agreement=of_head.decisions,
        latency=run.latencies[0],
        original_latency=run.latencies[1],
        side_difference=largest_difference(
            run.outputs, {name: run.of_original[name] for name in run.beside}
        ),
        notes=_notes_on(first, second, of_label(wanted), Z, y),
    )


def _kept(run: RunOfFile, heads: tuple[LinearHead, LinearHead] | None) -> Kept:
    """What the file keeps of the original."""
    first, second = run.original, run.model
    same_labels, n_others = True, 0
    if run.label is not None:
        from_logits = outputs_from_logits(first)
        same_labels, n_others = _other_labels(run.label, from_logits, run.of_original, run.outputs)
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
        class_order=_no_class_moved(first, second, heads, run.Z),
        other_labels=same_labels,
        n_other_labels=n_others,
    )


def _no_class_moved(
    first: FrozenModel,
    second: FrozenModel,
    heads: tuple[LinearHead, LinearHead] | None,
    Z: Array,
) -> bool:
    """Whether the same class is at each position, by the names in two files, and two heads."""
    # By their predictions, another order counts if it fits far better (ntkit.metrics.class_order).
    # It also counts if the scores of the moved classes correlate with one another's at .9 or more
    # and with their own at .5 or less; that covers classes that are never predicted.
    before, after = names_in(first.metadata), names_in(second.metadata)
    pairs = [(names, after[key]) for key, names in before.items() if key in after]
    if first.head is not None and second.head is not None:
        pairs.append((tuple(first.head.classes.tolist()), tuple(second.head.classes.tolist())))
    texts = (([*map(composed, a)], [*map(composed, b)]) for a, b in pairs)
    if any(a != b and set(a) == set(b) for a, b in texts):
        return False
    if heads is None or heads[0].n_neurons != heads[1].n_neurons:
        return True
    shown, shown_after = (_numbered(head).predict(Z) for head in heads)
    if class_order(shown, shown_after, np.arange(len(heads[0].classes))) is not None:
        return False
    if len(Z) < _FEWEST:
        return True
    standardised = list[Array]()
    for head in heads:
        scores = head.logits(np.asarray(Z, np.float64))
        scores = scores - scores.mean(axis=1, keepdims=True)
        scores -= scores.mean(axis=0)
        deviation = scores.std(axis=0)
        standardised.append(scores / np.where(deviation > 0, deviation, 1))
    correlation = standardised[0].T @ standardised[1] / len(Z)
    identity = np.arange(len(correlation))
    best = linear_sum_assignment(correlation + 0.05 * np.eye(len(identity)), maximize=True)[1]
    moved = identity[best != identity]
    if not len(moved):
        return True
    crossed = correlation[moved, best[moved]].mean()
    return not (crossed >= 0.9 and correlation[moved, moved].mean() <= 0.5)


def _notes_on(
    first: FrozenModel, second: FrozenModel, head: LinearHead, Z: Array, y: Any
) -> tuple[str, ...]:
    """Notes on comparisons that are not possible, and on classes and labels."""
    notes = []
    if first.head is None:
        notes.append("The original has no head, so its predictions cannot be compared.")
    elif is_new_head(first, second):
        notes.append(
            f"The head has other classes ({_quoted(head)}) than the original's "
            f"({_quoted(first.head)}), so their predictions cannot be compared."
        )
    made_from = second.metadata.get(SOURCE)
    if made_from and first.path is not None and made_from != first.sha256():
        notes.append(
            "The debiased file was made from another file than this original, according to its "
            f"metadata (sha256 {made_from[:12]}…)."
        )
    if y is not None:
        if not set(head.classes.tolist()) & set(np.unique(y).tolist()):
            head = _numbered(head)  # labels may be positions
        order = class_order(np.asarray(y), head.predict(Z), head.classes)
        notes += [] if order is None else [f"Of the debiased model: {order.sentence()}"]
    return tuple(notes)


def _numbered(head: LinearHead) -> LinearHead:
    """A head whose classes are their positions."""
    return LinearHead(head.coef, head.intercept, np.arange(len(head.classes)))


def _quoted(head: LinearHead) -> str:
    return listed(map(repr, head.classes.tolist()), 5)


_FEWEST = 30  # samples that make a correlation of scores meaningful


def _run_both(
    original: FrozenModel | OnnxEmbedder | str | os.PathLike[str],
    debiased: FrozenModel | str | os.PathLike[str],
    X: Any,
    head: LinearHead | None,
    device: Any,
    *,
    latency: bool,
    verbose: bool = False,
) -> RunOfFile:
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
    embedder = embedder or OnnxEmbedder(first, device=device, verbose=verbose)
    (Z,) = embedder.outputs(X, batch_size=BATCH)
    if not len(Z):
        raise InputError("There are no samples to verify on; pass some.")
    start = partial(make_session, device=device)
    session = session_of_file(second, start)
    outputs = run_whole(session, X, verbose=verbose)
    embedding, logits = of_file(first, second, X, Z, outputs, start)
    classes = head.classes if second.head is None else second.head.classes
    if first.head is not None and {*first.head.classes.tolist()} == {*classes.tolist()}:
        classes = first.head.classes  # in the original's order, which users rely on
    beside = outputs.keys() & {tensor.name for tensor in first.outputs}
    beside -= {*outputs_from_logits(first), *outputs_from_logits(second)}
    compared = bool(beside) or one is not None
    of_original, latencies = dict[str, Array](), [float("nan")] * 2
    if latency or compared:
        before = session_of_file(first, start)
        of_original = run_whole(before, X, verbose=verbose) if compared else {}
        if latency:
            latencies = np.median(timings([session, before], X), axis=0).tolist()
    aligned = head.aligned_to(classes)
    return RunOfFile(
        second, first, one, aligned, X, Z, embedding, logits, outputs,
        start, of_original, beside, latencies,
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


def random_inputs(model: FrozenModel, n_samples: int = 8) -> dict[str, Array]:
    """Inputs of the model's shape, the same at every call, to verify without samples."""
    # Ids are 0 … 7, masks 1, positions 0, 1, …. An open axis has 224 pixels for images, 16 000
    # values for a second of sound, else 16. A model of texts gets runs of 16 words from its
    # vocabulary.
    rng = np.random.default_rng(0)
    if TextPreprocessing.for_strings(model.inputs) is not None:
        # The vocabulary stands in attributes of layers before the head, such as a TF-IDF's.
        attributes = [each for node in body_nodes(model) for each in node.attributes.values()]
        texts = [each for each in attributes if each.type == ir.AttributeType.STRINGS]
        known = [word for each in texts for word in each.as_strings()] or ["one", "two", "three"]
        words = rng.choice(known, (n_samples, _LENGTH)).tolist()
        return {model.inputs[0].name: np.asarray([[" ".join(some)] for some in words], object)}
    for tensor in model.inputs:
        if not tensor.shape or (_is_open_row(tensor) and not _slides_over(model, tensor.name)):
            raise InputError(
                f"The model's input {tensor} has an open size; pass samples to verify on (--data)."
            )
    return {
        tensor.name: rng.choice(np.array(words, object), (n_samples, *_sides_of(tensor)))
        if (words := _words_read(model, tensor))
        else _random(tensor, n_samples, rng)
        for tensor in model.inputs
    }


def _sides_of(tensor: TensorInfo) -> tuple[int, ...]:
    """Sides of a sample; an open one has one value."""
    return tuple(side if isinstance(side, int) else 1 for side in (tensor.shape or ())[1:])


def _words_read(model: FrozenModel, tensor: TensorInfo) -> list[str]:
    """Texts that the first table knows which reads an input of texts, such as a OneHotEncoder's."""
    if tensor.dtype != "string":
        return []
    reached = {tensor.name}
    for node in body_nodes(model):
        if reached.isdisjoint(value.name for value in node.inputs if value is not None):
            continue
        for each in node.attributes.values():
            if each.type == ir.AttributeType.STRINGS and (words := [*each.as_strings()]):
                return words
        reached |= {value.name or "" for value in node.outputs}
    return []


def _is_open_row(tensor: TensorInfo) -> bool:
    sides = (tensor.shape or ())[1:]
    row = tensor.dtype in (*_FLOATS, *_PIXELS) and len(sides) < 2
    return row and not all(isinstance(side, int) for side in sides)


def _slides_over(model: FrozenModel, name: str) -> bool:
    """Whether a model of sound reads an input: an axis of channels is added first."""
    readers = [
        node.op_type
        for node in body_nodes(model)
        if any(value is not None and value.name == name for value in node.inputs)
    ]
    return bool(readers) and all(op in _MAKING_CHANNELS for op in readers)


def _random(tensor: TensorInfo, n_samples: int, rng: np.random.Generator) -> Array:
    if tensor.dtype not in (*_FLOATS, *_IDS, *_PIXELS, "bool"):
        raise InputError(
            f"The model's input {tensor} does not have plain numbers; pass samples to verify on "
            "(--data)."
        )
    sides = (tensor.shape or ())[1:]
    length = _SECOND if _is_open_row(tensor) else _SIDE if len(sides) == 3 else _LENGTH
    shape = n_samples, *(side if isinstance(side, int) else length for side in sides)
    name = tensor.name.lower()
    if tensor.dtype == "bool":
        return np.ones(shape, dtype=bool)
    if "mask" in name:
        return np.ones(shape, dtype=np.float32 if tensor.dtype in _FLOATS else np.int64)
    if tensor.dtype in _FLOATS:
        return rng.random(shape, dtype=np.float32)
    if "type" in name or "segment" in name:  # there may be only two types of tokens
        return np.zeros(shape, dtype=np.int64)
    if "position" in name and len(shape) > 1:
        return np.broadcast_to(np.arange(shape[-1]), shape).copy()
    return rng.integers(0, 8 if tensor.dtype in _IDS else 128, shape)
