"""A fitted estimator, or a pipeline that ends in one, as an ONNX model."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.external_data_helper import load_external_data_for_model
from onnx_ir import tape
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ntkit._version import __version__
from ntkit.exceptions import InputError, ModelError
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
        model with the head in it; StandardScalers and selectors between the two are folded
        into the head.

    Returns
    -------
    onnx.ModelProto
        For a head alone: input ``embedding`` (N, D); outputs ``label`` (N,), ``probabilities``
        and ``logits`` (N, C), where two classes have the logits [0, z]; opset 17, IR version 8.

    Raises
    ------
    InputError
        If the estimator is not fitted, or a pipeline step cannot be folded into a linear head.

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
        proto = model.to_proto()
        if model.folder is not None:  # a model in memory has no folder to look for weights in
            load_external_data_for_model(proto, str(model.folder))
        return proto
    return _standalone(head, provenance_of(estimator))


def write_onnx(
    model: onnx.ModelProto, path: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Write an ONNX model; the file takes its name when it is complete.

    Parameters
    ----------
    model : onnx.ModelProto
        From :func:`to_onnx`.
    path : path-like
        Target file.
    force : bool
        Whether to replace an existing file.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    InputError
        If the file exists and ``force`` is not given, or it cannot be written.
    ModelError
        If the model does not pass ONNX's checker.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit import LinearHead
    >>> from ntkit.export import to_onnx, write_onnx
    >>> model = to_onnx(LinearHead([[1.0, -1.0]], [0.0], ["cat", "dog"]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_onnx(model, Path(folder) / "head.onnx")
    ...     print(path.name, path.exists())
    head.onnx True
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; choose another name.")
    if path.exists() and not force:
        raise InputError(f"{path} exists; choose another name or pass --force (force=True).")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it first.")
    try:
        with tempfile.TemporaryDirectory(prefix=".ntkit-", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            temporary.write_bytes(model.SerializeToString())
            onnx.checker.check_model(temporary)
            os.replace(temporary, path)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(
            f"{path} was not written, because ONNX's checker refuses it: {reason}."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}.") from error
    return path


def folded_head(estimator: Any) -> tuple[LinearHead, OnnxEmbedder | None]:
    """The head of an estimator or pipeline on raw embeddings, and the embedder in front."""
    if isinstance(estimator, LinearHead):
        return estimator, None
    if not isinstance(estimator, Pipeline):
        if not isinstance(getattr(estimator, "head_", None), LinearHead):
            raise InputError(
                f"{type(estimator).__name__} is not a fitted ntkit estimator (it has no head_); "
                "fit it first, or convert another estimator with skl2onnx."
            )
        return estimator.head_, None
    steps = _flat_steps(estimator)
    if not steps:
        raise InputError("The pipeline has no estimator at its end.")
    head, embedder = folded_head(steps[-1])
    for step in reversed(steps[:-1]):
        if isinstance(step, OnnxEmbedder) and step is steps[0]:
            embedder = step
        elif isinstance(step, StandardScaler):
            if not hasattr(step, "n_features_in_"):
                raise InputError("The pipeline's StandardScaler is not fitted; fit the pipeline.")
            gains = np.ones(head.n_neurons) if step.scale_ is None else 1 / step.scale_
            head = head.scaled(gains, 0.0 if not step.with_mean else step.mean_)
        elif isinstance(step, SelectorMixin):
            head = _widened(head, step.get_support())
        else:
            raise InputError(
                f"The step {type(step).__name__} cannot be folded into a linear head; use "
                "StandardScaler or a selector, or convert the pipeline with skl2onnx."
            )
    return head, embedder


def _widened(head: LinearHead, kept: Any) -> LinearHead:
    """The head on all neurons that reads only the kept ones."""
    coef = np.zeros((head.n_logits, len(kept)), dtype=head.coef.dtype)
    coef[:, kept] = head.coef
    return LinearHead(coef, head.intercept, head.classes)


def _flat_steps(estimator: Any) -> list[Any]:
    """Steps of a pipeline, with those of pipelines and finished searches in it."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    return [inner for step in steps for inner in _flat_steps(step)]


def provenance_of(estimator: Any) -> dict[str, str]:
    """What made a head, as text for a file's metadata."""
    facts = {"version": __version__}
    estimator = (_flat_steps(estimator) or [None])[-1]
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
        return ir.tensor(np.ascontiguousarray(classes), name="classes")
    text = [str(label).encode() for label in classes.tolist()]
    return ir.StringTensor(np.asarray(text, dtype=object), name="classes")
