"""A fitted estimator, or a pipeline that ends in one, as an ONNX model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir import tape
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder
from ntkit.head import LinearHead

__all__ = ["folded_head", "provenance_of", "to_onnx", "write_onnx"]

_OPSET, _IR_VERSION = 17, 8


def to_onnx(estimator: Any) -> onnx.ModelProto:
    """Convert a head to ONNX.

    Parameters
    ----------
    estimator : LinearHead, fitted estimator with ``head_``, fitted Pipeline, or a fitted search
        A pipeline that starts with an :class:`~ntkit.OnnxEmbedder` becomes the embedder's own
        model with the head in it; StandardScalers between the two are folded into the head.

    Returns
    -------
    onnx.ModelProto
        For a head alone: input ``embedding`` (N, D); outputs ``label`` (N,), ``probabilities``
        and ``logits`` (N, C), where two classes have the logits [0, z]; opset 17, IR version 8.

    Raises
    ------
    InputError
        If a pipeline step cannot be folded into a linear head.

    Examples
    --------
    >>> from ntkit import LinearHead
    >>> from ntkit.export import to_onnx
    >>> model = to_onnx(LinearHead([[1.0, -1.0]], [0.0], ["cat", "dog"]))
    >>> [output.name for output in model.graph.output]
    ['label', 'probabilities', 'logits']
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    head, embedder = folded_head(estimator)
    if embedder is not None:
        model = embedder.frozen_model.with_head(head, provenance=provenance_of(estimator))
        return model.to_proto()
    return _standalone(head, provenance_of(estimator))


def write_onnx(
    model: onnx.ModelProto, path: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Write an ONNX model; the file takes its name when it is complete.

    Raises
    ------
    InputError
        If the file exists and ``force`` is not given.
    """
    path = Path(path)
    if path.exists() and not force:
        raise InputError(f"{path} exists; choose another name or pass --force (force=True).")
    onnx.checker.check_model(model)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        onnx.save(model, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def folded_head(estimator: Any) -> tuple[LinearHead, OnnxEmbedder | None]:
    """The head of an estimator or pipeline on raw embeddings, and the embedder in front."""
    if isinstance(estimator, LinearHead):
        return estimator, None
    if not isinstance(estimator, Pipeline):
        if not isinstance(getattr(estimator, "head_", None), LinearHead):
            raise InputError(
                f"{type(estimator).__name__} is not a fitted ntkit estimator (it has no head_)."
            )
        return estimator.head_, None
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    last = getattr(steps[-1], "best_estimator_", steps[-1])
    head, _ = folded_head(last)
    embedder = None
    for step in reversed(steps[:-1]):
        if isinstance(step, OnnxEmbedder) and step is steps[0]:
            embedder = step
        elif isinstance(step, StandardScaler):
            gains = np.ones(head.n_neurons) if step.scale_ is None else 1 / step.scale_
            head = head.scaled(gains, 0.0 if not step.with_mean else step.mean_)
        else:
            raise InputError(
                f"The step {type(step).__name__} cannot be folded into a linear head; use "
                "StandardScaler, or convert the pipeline with skl2onnx."
            )
    return head, embedder


def provenance_of(estimator: Any) -> dict[str, str]:
    """What made a head, as text for a file's metadata."""
    facts = {"version": __version__}
    if isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, LinearHead):
        return facts
    parameters = {k: v for k, v in estimator.get_params().items() if _is_plain(v)}
    facts["method"] = type(estimator).__name__
    facts["parameters"] = json.dumps(parameters, sort_keys=True)
    suppressed = getattr(estimator, "suppressed_", None)
    if suppressed is not None:
        facts["suppressed_neurons"] = json.dumps(np.flatnonzero(suppressed).tolist())
    return facts


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _standalone(head: LinearHead, provenance: dict[str, str]) -> onnx.ModelProto:
    head = head.one_row_per_class()
    embedding = ir.val("embedding", ir.DataType.FLOAT, ["N", head.n_neurons])
    nodes = tape.Tape()
    weight = nodes.initializer(ir.tensor(head.coef.astype(np.float32), name="head.weight"))
    bias = nodes.initializer(ir.tensor(head.intercept.astype(np.float32), name="head.bias"))
    classes = nodes.initializer(_class_table(head.classes))
    logits = nodes.op("Gemm", [embedding, weight, bias], {"transB": 1})
    probabilities = nodes.op("Softmax", [logits], {"axis": -1})
    index = nodes.op("ArgMax", [logits], {"axis": -1, "keepdims": 0})
    label = nodes.op("Gather", [classes, index], {"axis": 0})
    outputs: tuple[tuple[ir.Value, str, ir.DataType, tuple[str | int, ...]], ...] = (
        (label, "label", classes.dtype or ir.DataType.INT64, ("N",)),
        (probabilities, "probabilities", ir.DataType.FLOAT, ("N", head.n_logits)),
        (logits, "logits", ir.DataType.FLOAT, ("N", head.n_logits)),
    )
    for value, name, dtype, shape in outputs:
        value.name, value.dtype, value.shape = name, dtype, ir.Shape(shape)
    graph = ir.Graph(
        [embedding],
        [label, probabilities, logits],
        nodes=nodes.nodes,
        initializers=nodes.initializers,
        opset_imports={"": _OPSET},
        name="ntkit_head",
    )
    model = ir.Model(
        graph,
        ir_version=_IR_VERSION,
        producer_name="ntkit",
        metadata_props={
            **{f"ntkit.{key}": text for key, text in provenance.items()},
            "ntkit.classes": json.dumps(head.classes.tolist()),
        },
    )
    return ir.to_proto(model)


def _class_table(classes: Any) -> ir.TensorProtocol:
    if classes.dtype.kind in "iu":
        return ir.tensor(classes.astype(np.int64), name="classes")
    if classes.dtype.kind in "fb":
        return ir.tensor(classes, name="classes")
    text = [str(label).encode() for label in classes.tolist()]
    return ir.StringTensor(np.asarray(text, dtype=object), name="classes")
