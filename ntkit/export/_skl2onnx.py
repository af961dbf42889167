"""Heads behind scalers: folded, in float64, or converted by skl2onnx."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import guess_proto_type
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

from ntkit import estimators
from ntkit._types import Array
from ntkit.estimators import NotFoldableError, ScaledHead, flat_steps
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder
from ntkit.extraction.head_check import relative_difference
from ntkit.head import LinearHead
from ntkit.samples.kinds import first_rows

OPTIONS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}


class ScaledHeadClassifier(ClassifierMixin, BaseEstimator):
    """A fitted pipeline of scalers and an ntkit estimator, as one classifier for skl2onnx."""

    def __init__(self, scaled: ScaledHead) -> None:
        self.scaled = scaled
        self.classes_ = scaled.head.classes
        self.n_features_in_ = scaled.head.n_neurons

    def decision_function(self, X: Any) -> Any:
        """Logits of embeddings."""
        return self.scaled.folded().decision_function(X)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of embeddings."""
        return self.scaled.folded().predict_proba(X)


def register_converters() -> None:
    """Register every ntkit estimator; calling it again changes nothing."""
    public = (getattr(estimators, name) for name in estimators.__all__)
    classes = [c for c in public if isinstance(c, type) and issubclass(c, ClassifierMixin)]
    # GroupInference has no head: it is not a classifier.
    for estimator in (*(c for c in classes if hasattr(c, "head_")), ScaledHeadClassifier):
        update_registered_converter(
            estimator,
            f"Ntkit{estimator.__name__}",
            calculate_linear_classifier_output_shapes,
            _convert_linear_head,
            options=OPTIONS,
        )
    update_registered_converter(
        estimators.SpuriousNeuronSelector,
        "NtkitSpuriousNeuronSelector",
        _selected_shape,
        _convert_selector,
    )


def _selected_shape(operator: Any) -> None:
    source = operator.inputs[0]
    width = int(operator.raw_operator.get_support().sum())
    operator.outputs[0].type = type(source.type)([source.get_first_dimension(), width])


def _convert_selector(scope: Any, operator: Any, container: Any) -> None:
    """Gather; skl2onnx's own selector returns zeros if only the first neuron is kept."""
    nodes = ContainerNodes(scope, container)
    index = nodes.constant(operator.raw_operator.get_support(indices=True), np.int64)
    source, target = operator.inputs[0].full_name, operator.outputs[0].full_name
    nodes.op("Gather", source, index, output=target, axis=1)


def _convert_linear_head(scope: Any, operator: Any, container: Any) -> None:
    """Gemm, Softmax and ArgMax, after Sub and Mul for a scaled head."""
    # skl2onnx's own linear converter is right only for its own classes: for another binary
    # classifier it would compute softmax(±z) instead of sigmoid(z).
    estimator, nodes = operator.raw_operator, ContainerNodes(scope, container)
    is_scaled = isinstance(estimator, ScaledHeadClassifier)
    scaled = estimator.scaled if is_scaled else ScaledHead.of(estimator.head_)
    shift, head = scaled.rounded_shift()
    head = head.with_logits(len(head.classes))
    raw = container.get_options(estimator, {"raw_scores": False})["raw_scores"]
    proto = guess_proto_type(operator.inputs[0].type)
    embedding = operator.inputs[0].full_name
    if proto not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        proto, embedding = TensorProto.FLOAT, nodes.op("Cast", embedding, to=TensorProto.FLOAT)
    dtype = np.float64 if proto == TensorProto.DOUBLE else np.float32
    if scaled.is_scaled:
        embedding = nodes.op("Sub", embedding, nodes.constant(shift, dtype))
        embedding = nodes.op("Mul", embedding, nodes.constant(scaled.gains, dtype))
    weight, bias = nodes.constant(head.coef, dtype), nodes.constant(head.intercept, dtype)
    logits = nodes.op("Gemm", embedding, weight, bias, transB=1)
    label, scores = (output.full_name for output in operator.outputs)
    if raw:
        nodes.op("Identity", logits, output=scores)
    else:
        nodes.op("Softmax", logits, output=scores, axis=1)
    index = nodes.op("ArgMax", logits, axis=1, keepdims=0)
    nodes.op("Gather", nodes.classes(head.classes), index, output=label, axis=0)


_FLOATS = {4: TensorProto.FLOAT, 8: TensorProto.DOUBLE}
_KINDS = {"i": TensorProto.INT64, "O": TensorProto.STRING}


class ContainerNodes:
    """Adds nodes to skl2onnx's container, with names of its scope."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add an operator; the name of its output."""
        name = output or str(self.scope.get_unique_variable_name(kind.lower()))
        opset = min(self.container.target_opset, 13)
        self.container.add_node(kind, list(inputs), name, op_version=opset, **attributes)
        return name

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        """Add a constant of numbers, or of texts; its name."""
        array = np.asarray(array, dtype=dtype)
        name = str(self.scope.get_unique_variable_name("constant"))
        kind = _KINDS.get(array.dtype.kind) or _FLOATS[array.dtype.itemsize]
        self.container.add_initializer(name, kind, array.shape, array.ravel().tolist())
        return name

    def classes(self, labels: Any) -> str:
        """Add a table of class labels, which are int64 or texts in skl2onnx."""
        if labels.dtype.kind in "iubf":
            return self.constant(labels, np.int64)
        return self.constant([str(label).encode() for label in labels.tolist()], object)


_MOST_ROWS = 2048
_SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler)


def scaled_head(estimator: Any) -> ScaledHead:
    """The head of an estimator or pipeline, and the scaling between embeddings and head."""
    if isinstance(estimator, LinearHead):
        return ScaledHead.of(estimator)
    if not isinstance(estimator, Pipeline):
        if not isinstance(getattr(estimator, "head_", None), LinearHead):
            raise NotFoldableError(
                f"{type(estimator).__name__} is not a fitted ntkit estimator (it has no head_)"
            )
        return ScaledHead.of(estimator.head_)
    steps = flat_steps(estimator)
    if not steps:
        raise InputError("The pipeline has no estimator at its end; add one.")
    scaled = scaled_head(steps[-1])
    for step in reversed(steps[:-1]):
        if isinstance(step, OnnxEmbedder) and step is steps[0]:
            scaled = replace(scaled, embedder=step)
        elif isinstance(step, _SCALERS) and not hasattr(step, "n_features_in_"):
            name = type(step).__name__
            raise InputError(f"The pipeline's {name} is not fitted; fit the pipeline.")
        else:
            scaled = scaled.behind(step)
    return scaled


def folding_errors(scaled: ScaledHead, X: Any, precision: str = "float32") -> tuple[float, float]:
    """Relative errors of the logits in a precision, folded and with the scaler as nodes."""
    Z = _stored(_rows(scaled, X), precision)
    head = scaled.head.with_logits(len(scaled.head.classes))
    exact = ((Z.astype(np.float64) - scaled.shift) * scaled.gains) @ head.coef.T.astype(np.float64)
    exact = exact + head.intercept
    shift, rest = scaled.rounded_shift()
    between = (Z - shift) * _stored(scaled.gains, precision)
    return (
        relative_difference(_logits(scaled.folded(), Z, precision), exact),
        relative_difference(_logits(rest, between, precision), exact),
    )


def _logits(head: LinearHead, Z: Array, precision: str) -> Array:
    head = head.with_logits(len(head.classes))
    return Z @ _stored(head.coef, precision).T + _stored(head.intercept, precision)


def _stored(array: Array, precision: str) -> Array:
    """Values in float32, rounded to the precision of this type."""
    halves = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}
    dtype = halves.get(precision, ir.DataType.FLOAT).numpy()
    with np.errstate(over="ignore"):
        return np.asarray(array).astype(dtype).astype(np.float32)


def _rows(scaled: ScaledHead, X: Any) -> Array:
    if X is None:
        noise = np.random.default_rng(0).normal(size=(256, scaled.head.n_neurons))
        return scaled.centre + scaled.spread * noise
    if scaled.embedder is not None:
        embedder: OnnxEmbedder = scaled.embedder
        return embedder.transform(first_rows(X, _MOST_ROWS))
    Z = np.asarray(X)
    if Z.ndim != 2 or Z.shape[1] != scaled.head.n_neurons or not len(Z):
        raise InputError(
            f"X needs embeddings of shape (N, {scaled.head.n_neurons}) to check on; got {Z.shape}."
        )
    return Z[:: max(1, len(Z) // _MOST_ROWS)]
