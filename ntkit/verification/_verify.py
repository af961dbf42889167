"""Does the written file compute what it should? Asked of ONNX Runtime, on real inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._disk import size_of
from ntkit._output import check_file
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import OnnxEmbedder, make_session, run_batches
from ntkit.frozen_model import FrozenModel
from ntkit.head import LinearHead
from ntkit.verification._decisions import decision_agreement
from ntkit.verification._latency import timings
from ntkit.verification._model_pair import (
    agreement,
    is_new_head,
    load_pair,
    names_agree,
    no_class_moved,
    notes_on,
)
from ntkit.verification._outputs import (
    BATCH,
    difference,
    output_difference,
    run_whole,
    same_output,
)
from ntkit.verification._result import Verification
from ntkit.verification._tolerance import tolerance_of

__all__ = ["Verification", "save_verified", "verify"]

Array = NDArray[Any]


def verify(
    original: FrozenModel | str | os.PathLike[str],
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

    Beside the logits it compares the embeddings, every output, the names and the order of the
    classes: a file passes only if whoever reads the original's outputs reads the same classes at
    the same places from it. Of a head for other classes it compares what can be compared, and
    :attr:`Verification.notes` say what could not.

    Parameters
    ----------
    original, debiased : FrozenModel or path-like
        The two models; the debiased one is run as the file it is. Of paths, the debiased file
        says where the embedding is and how it is pooled (:func:`load_pair`).
    X : array-like, lazy sequence or mapping
        Model inputs.
    head : LinearHead, optional
        What the file should hold; by default the head read from it.
    y : array-like of shape (N,), optional
        Class labels of the samples: where another order of the debiased model's classes explains
        them far better, a note says so.
    device : {"auto", "cpu", "cuda"}
        Where to run.
    tolerance : float, optional
        For :attr:`Verification.passed`; by default 1e-4, and for a coarser model 8e-3
        (float16), 2e-2 (quantised) or 6e-2 (bfloat16).
    latency : bool
        Whether to measure how long both models take; at most some seconds.

    Returns
    -------
    Verification
        It does not raise where the two differ; see :attr:`Verification.passed`.

    Raises
    ------
    InputError
        If the debiased model has no head, there are no samples, or they do not fit the model.
    DeviceError
        If ``device="cuda"`` and ONNX Runtime cannot use a GPU.
    ModelError
        If a model cannot be read or run.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.verification import random_inputs, verify
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> result = verify(model, model.with_head(model.head), random_inputs(model), device="cpu")
    >>> result.passed, result.agreement
    (True, 1.0)
    """
    first, second = load_pair(original, debiased)
    expected_head = head if head is not None else second.head
    if expected_head is None or second.logits is None:
        raise InputError("The debiased model has no head to verify.")
    Z = OnnxEmbedder(first, device=device, batch_size=BATCH).transform(X)
    if not len(Z):
        raise InputError("There are no samples to verify on.")
    session = _session(second, device)
    outputs = run_whole(session, X)
    embedding, logits = _inner(second, X, device)
    logits = outputs.get(second.logits.name, logits)
    if tolerance is None:
        tolerance = tolerance_of(second, logits.dtype.name)
    expected_head = expected_head.aligned_to(_class_order(first, second))
    expected = _logits_like(logits, expected_head, Z, second.logit_scale)
    milliseconds = [float("nan")] * 2
    if latency:
        milliseconds = np.median(timings([session, _session(first, device)], X), axis=0).tolist()
    own = None if is_new_head(first, second) else first.head
    embedding_difference = difference(embedding, Z)
    alike = embedding_difference <= tolerance
    others = embedding if embedding.shape == Z.shape else Z
    computed = logits * second.logit_scale
    return Verification(
        n_samples=len(Z),
        logit_difference=difference(_as_decisions(computed), _decisions(expected_head, Z)),
        embedding_difference=embedding_difference,
        agreement=float("nan") if own is None else agreement(own, expected_head, Z, others),
        same_nodes=first.nodes == second.nodes,
        same_signature=_signature(first) == _signature(second),
        tolerance=tolerance,
        same_metadata=_keeps_metadata(first, second),
        output_difference=output_difference(
            _giver_of_tail(first, second), outputs, expected, X, device=device, tolerance=tolerance
        ),
        decision_agreement=decision_agreement(
            _from_logits(second, outputs),
            _as_in_graph(second, second.head if second.head is not None else expected_head),
            computed,
            tolerance,
        ),
        latency=milliseconds[0],
        original_latency=milliseconds[1],
        side_difference=_side_difference(first, second, outputs, X, device),
        kept_outputs=_keeps_signature(first, second),
        same_class_order=names_agree(first, second)
        and (own is None or not alike or no_class_moved(own, expected_head, Z)),
        notes=notes_on(first, second, expected_head, Z, y),
    )


def _as_in_graph(model: FrozenModel, head: LinearHead) -> LinearHead:
    """A head with the labels that the graph gives; a user's samples may spell them otherwise."""
    labels = model.labels_in_graph
    if labels is None or len(labels) != len(head.classes):
        return head
    return LinearHead(head.coef, head.intercept, np.asarray(labels))


def save_verified(
    model: FrozenModel,
    path: str | os.PathLike[str],
    *,
    original: FrozenModel,
    X: Any,
    head: LinearHead | None = None,
    device: str = "auto",
    force: bool = False,
) -> Verification:
    """Write a model; it takes its name only if ONNX Runtime agrees with NumPy on ``X``.

    Parameters
    ----------
    model : FrozenModel
        From :meth:`FrozenModel.with_head`.
    path : path-like
        Target file.
    original : FrozenModel
        The model it was made from.
    X : array-like, lazy sequence or mapping
        Inputs to compare on; some dozens suffice.
    head : LinearHead, optional
        The head it should hold.
    device : {"auto", "cpu", "cuda"}
        Where to run, as in :func:`verify`.
    force : bool
        Whether to replace an existing file.

    Returns
    -------
    Verification
        What the comparison found.

    Raises
    ------
    VerificationError
        If logits, embeddings or outputs differ by more than the tolerance; nothing is written
        then.
    InputError
        If the file exists and ``force`` is not given, it is the original's, it cannot be written,
        or the samples do not fit the model.
    ModelError
        If the model does not pass ONNX's checker.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.verification import random_inputs, save_verified
    >>> original = FrozenModel.load(marked_digits_model_path())
    >>> head = original.head.scaled(np.arange(64) != 5)  # neuron 5 silenced
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check = save_verified(
    ...         original.with_head(head),
    ...         Path(folder) / "silenced.onnx",
    ...         original=original,
    ...         X=random_inputs(original),
    ...         device="cpu",
    ...     )
    >>> check.passed, check.same_nodes, check.same_signature
    (True, True, True)
    """
    results: list[Verification] = []
    inputs, size = [*original.files, *model.files], size_of(original.files)
    check_file(path, inputs=inputs, force=force, size=size)

    def check(temporary: Path) -> None:
        classes = model.head.classes if model.head is not None else None
        written = FrozenModel.load(temporary, **model.located_by, classes=classes)
        result = verify(original, written, X, head=head, device=device, latency=False)
        del written  # an error's traceback would keep its files mapped
        if not result.passed:
            raise VerificationError(
                f"The written model differs from its head in NumPy by {result.differences()}, "
                f"where at most {result.tolerance:.0e} is accepted; {path} was not written."
            )
        results.append(result)

    model.save(path, force=force, verify=check)
    return results[0]


def _class_order(first: FrozenModel, second: FrozenModel) -> Array:
    """The original's order of classes, where the two models know the same: users rely on it."""
    classes: Array = second.head.classes  # type: ignore[union-attr]
    if first.head is not None and set(first.head.classes.tolist()) == set(classes.tolist()):
        return first.head.classes
    return classes


def _session(model: FrozenModel, device: Any) -> Any:
    """The model as it is: its file, or what is in memory."""
    # Weights behind links: ONNX Runtime refuses them, or does not, by its version.
    if model.path is not None and model.folder == model.path.parent.resolve():
        return make_session(str(model.path), device=device)
    proto = model.to_proto().SerializeToString()
    return make_session(proto, device=device, folder=model.folder)


def _inner(model: FrozenModel, X: Any, device: Any) -> tuple[Array, Array]:
    """Embeddings and logits in ONNX Runtime, from the graph cut at the logits."""
    body = model.body(logits=True).SerializeToString()
    session = make_session(body, device=device, folder=model.folder)
    batches = run_batches(session, X, batch_size=BATCH)
    embedding, logits = (np.concatenate(p) for p in zip(*batches, strict=True))
    return embedding, logits


def _logits_like(found: Array, head: LinearHead, Z: Array, scale: float) -> Array:
    """NumPy's logits, shaped as the graph holds them: with one or two for two classes."""
    width = int(np.prod(found.shape[1:]))
    if width > 1:
        head = head.with_logits(len(head.classes))
    logits = head.decision_function(Z).reshape(len(Z), -1)
    if width == 1 and logits.shape[1] == 2:
        logits = logits[:, 1:] - logits[:, :1]
    with np.errstate(over="ignore"):
        return (logits / scale).reshape(found.shape).astype(found.dtype)


def _from_logits(model: FrozenModel, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs that are computed from the logits, or are the logits."""
    tail = model.tail()
    names = {value.name for value in tail.graph.output} if tail is not None else set()
    names |= {model.logits.name} if model.logits is not None else set()
    return {name: array for name, array in outputs.items() if name in names}


def _giver_of_tail(first: FrozenModel, second: FrozenModel) -> FrozenModel:
    """Which model's nodes after the logits to compare with: the original's, where they fit."""
    if first.head is None or second.head is None or first.head.n_logits != second.head.n_logits:
        return second
    same = (first.nodes, first.logits) == (second.nodes, second.logits)
    return first if same else second


def _keeps_metadata(first: FrozenModel, second: FrozenModel) -> bool:
    own = {k: text for k, text in first.metadata.items() if not k.startswith("ntkit.")}
    return own.items() <= second.metadata.items()


def _decisions(head: LinearHead, Z: Array) -> Array:
    return _as_decisions(head.decision_function(Z))


def _as_decisions(logits: Array) -> Array:
    """One column per class; for two classes the margin, which is all that two logits say."""
    logits = logits.reshape(len(logits), -1)  # a 1 × 1 convolution leaves axes of length 1
    if logits.shape[1] == 1:
        return logits.reshape(-1)
    return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits


def _signature(model: FrozenModel) -> tuple[Any, ...]:
    return model.inputs, model.outputs, model.opset_imports, model.ir_version


def _keeps_signature(first: FrozenModel, second: FrozenModel) -> bool:
    """Whether everything that can be asked of the original can be asked of the other."""
    pairs = ((first.inputs, second.inputs), (first.outputs, second.outputs))
    return all(
        {(t.name, t.dtype) for t in before} <= {(t.name, t.dtype) for t in after}
        for before, after in pairs
    )


def _side_difference(
    first: FrozenModel, second: FrozenModel, outputs: Mapping[str, Array], X: Any, device: Any
) -> float:
    """Largest difference of the outputs that no head has a part in."""
    beside = outputs.keys() - _from_logits(second, outputs).keys()
    beside &= {tensor.name for tensor in first.outputs}
    own = run_whole(_session(first, device), X) if beside else {}
    beside -= _from_logits(first, own).keys()
    return max((same_output(outputs[name], own[name]) for name in beside), default=float("nan"))
