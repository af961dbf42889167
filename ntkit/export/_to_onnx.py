"""A fitted estimator, or a pipeline that ends in one, as an ONNX model."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.external_data_helper import load_external_data_for_model
from onnx_ir import tape

from ntkit._doc import documented
from ntkit._output import check_file, new_file
from ntkit._version import __version__
from ntkit.estimators import NotFoldableError, ScaledHead, flat_steps
from ntkit.exceptions import InputError, ModelError
from ntkit.export._composite import convert_composite, holds_ntkit_estimator
from ntkit.export._skl2onnx import folding_errors, scaled_head
from ntkit.extraction.head_check import TOLERANCE, tolerance_of
from ntkit.head import LinearHead
from ntkit.model import FrozenModel

_OPSET, _IR_VERSION = 17, 8


def to_onnx(estimator: Any, X: Any = None) -> onnx.ModelProto:
    """Convert a head, or an object with an ntkit estimator, to ONNX.

    Parameters
    ----------
    estimator : LinearHead, fitted estimator, Pipeline or search
        A pipeline that starts with an :class:`~ntkit.OnnxEmbedder` becomes the embedder's own model
        with the new head; StandardScalers and selectors between them are folded into the head.
        skl2onnx converts any other scikit-learn object that contains an ntkit estimator
        (CalibratedClassifierCV, ColumnTransformer, VotingClassifier, …), and ntkit compares the
        result with its ``predict_proba`` and ``predict``. Labels of a TunedThresholdClassifierCV or
        FixedThresholdClassifier follow its threshold, if that is one of probabilities.
    X : array-like of shape (N, D) or DataFrame, optional
        Embeddings for the check (the model's inputs, for a pipeline that starts with an embedder).
        Required if skl2onnx converts. Without them, the loss of precision by folding a scaler is
        measured on rows drawn from the scaler's statistics.

    Returns
    -------
    onnx.ModelProto
        For a head alone: input ``embedding`` (N, D); outputs ``label`` (N,), ``probabilities`` and
        ``logits`` (N, C), with logits [0, z] for two classes; opset 17, IR version 8. A scaler is
        folded in float64; if that costs more than 1e-4 of the largest logit in float32, it stays as
        two nodes, Sub and Mul. From skl2onnx: the same without ``logits``.

    Raises
    ------
    InputError
        If the estimator is not fitted, contains no ntkit estimator, needs ``X``, or skl2onnx cannot
        convert it.
    VerificationError
        If the model from skl2onnx differs from ``predict_proba`` on ``X`` by more than 1e-4.

    Warns
    -----
    RuntimeWarning
        If folding a scaler into the embedder's model costs more precision than its number type
        explains.

    Examples
    --------
    >>> from ntkit import LinearHead
    >>> from ntkit.export import to_onnx
    >>> model = to_onnx(LinearHead([[1.0, -1.0]], [0.0], ["cat", "dog"]))
    >>> [output.name for output in model.graph.output]
    ['label', 'probabilities', 'logits']
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    try:
        scaled = scaled_head(estimator)
    except NotFoldableError as error:
        return _by_skl2onnx(estimator, X, error)
    if scaled.embedder is not None:
        return _into_model(scaled, X, provenance_of(estimator))
    if scaled.is_scaled:
        folded, kept = folding_errors(scaled, X)
        if not (folded <= TOLERANCE or folded <= 2 * kept):
            return _standalone(scaled, provenance_of(estimator))
    return _standalone(ScaledHead.of(scaled.folded()), provenance_of(estimator))


@documented
def write_onnx(
    model: onnx.ModelProto, path: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Write an ONNX model; the file gets its name when it is complete.

    Parameters
    ----------
    model : onnx.ModelProto
        Model from :func:`to_onnx`.
    path : path-like
        Target file.
    {replace.force}

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    InputError
        If the file exists and ``force`` is false, or it cannot be written.
    {checker.ModelError}

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
    path = check_file(path, force=force, size=model.ByteSize())
    try:
        with new_file(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
            onnx.checker.check_model(temporary)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(
            f"{path} was not written, because ONNX's checker refuses it: {reason}."
        ) from error
    return path


def _into_model(scaled: ScaledHead, X: Any, provenance: dict[str, str]) -> onnx.ModelProto:
    """The embedder's own model with the new head."""
    frozen: FrozenModel = scaled.embedder.frozen_model
    if scaled.is_scaled:
        kind = frozen.logits.dtype if frozen.logits is not None else frozen.embedding.dtype
        folded, _ = folding_errors(scaled, X, kind)
        if not folded <= tolerance_of(frozen):
            warnings.warn(
                f"Folding the scaler into the model's head changes its logits by {folded:.0e}, "
                "relative to the largest: the neurons' means are large compared with their spread, "
                f"for {kind}. Fit without the scaler, or convert the steps after the embedder "
                "alone.",
                RuntimeWarning,
                stacklevel=3,
            )
    model = frozen.with_head(scaled.folded(), provenance=provenance)
    proto = model.to_proto()
    if model.folder is not None:  # a model in memory has no folder of weights
        load_external_data_for_model(proto, str(model.folder))
    return proto


def provenance_of(estimator: Any) -> dict[str, str]:
    """Description of the estimator that made a head, for a file's metadata."""
    facts = {"version": __version__}
    estimator = (flat_steps(estimator) or [None])[-1]
    if isinstance(estimator, LinearHead):
        return facts
    plain = (bool, int, float, str, type(None))
    parameters = {k: v for k, v in estimator.get_params().items() if isinstance(v, plain)}
    facts["method"] = type(estimator).__name__
    facts["parameters"] = json.dumps(parameters, sort_keys=True)
    suppressed = getattr(estimator, "suppressed_", None)
    if suppressed is not None:
        facts["suppressed_neurons"] = json.dumps(np.flatnonzero(suppressed).tolist())
    return facts


def _by_skl2onnx(estimator: Any, X: Any, reason: NotFoldableError) -> onnx.ModelProto:
    if not holds_ntkit_estimator(estimator):
        raise InputError(
            f"{reason}; fit it first, or convert another estimator with skl2onnx."
        ) from reason
    if X is None:
        raise InputError(
            f"{reason}; pass some embeddings as X, and skl2onnx converts it with a check on them."
        ) from reason
    model = convert_composite(estimator, X)
    onnx.helper.set_model_props(
        model, {f"ntkit.{key}": text for key, text in provenance_of(estimator).items()}
    )
    return model


def _standalone(scaled: ScaledHead, provenance: dict[str, str]) -> onnx.ModelProto:
    shift, head = scaled.rounded_shift()
    head = head.with_logits(len(head.classes))
    embedding = ir.val("embedding", ir.DataType.FLOAT, ["N", head.n_neurons])
    nodes = tape.Tape()
    weight = nodes.initializer(ir.tensor(head.coef.astype(np.float32), name="head.weight"))
    bias = nodes.initializer(ir.tensor(head.intercept.astype(np.float32), name="head.bias"))
    classes = nodes.initializer(_class_table(head.classes))
    neurons = embedding
    if scaled.is_scaled:
        mean = nodes.initializer(ir.tensor(shift, name="scaler.mean"))
        gain = nodes.initializer(ir.tensor(scaled.gains.astype(np.float32), name="scaler.gain"))
        neurons = nodes.op("Mul", [nodes.op("Sub", [embedding, mean]), gain])
    logits = nodes.op("Gemm", [neurons, weight, bias], {"transB": 1})
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
