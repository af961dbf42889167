"""CalibratedClassifierCV as ONNX nodes.

skl2onnx's own converter knows sigmoid and a coarse isotonic calibration, which takes the nearest
threshold where scikit-learn interpolates, and gives calibrators of a pipeline its probabilities
instead of its logits (sklearn-onnx #1246).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.pipeline import Pipeline

__all__ = ["convert_calibrated"]

Array = NDArray[Any]


class _Nodes:
    """Adds nodes to skl2onnx's container, under names of its scope."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or str(self.scope.get_unique_variable_name(kind.lower()))
        opset = min(self.container.target_opset, 13)
        self.container.add_node(kind, list(inputs), name, op_version=opset, **attributes)
        return name

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        from onnx import TensorProto

        array = np.asarray(array, dtype=dtype)
        name = str(self.scope.get_unique_variable_name("constant"))
        kind = TensorProto.INT64 if array.dtype.kind == "i" else TensorProto.FLOAT
        self.container.add_initializer(name, kind, array.shape, array.ravel().tolist())
        return name


def convert_calibrated(scope: Any, operator: Any, container: Any) -> None:
    """Converter for skl2onnx: scores, one calibrated column per class, the mean over folds."""
    nodes = _Nodes(scope, container)
    estimator = operator.raw_operator
    folds = [
        _calibrated(nodes, fold, _scores(scope, container, operator.inputs, fold.estimator))
        for fold in estimator.calibrated_classifiers_
    ]
    label, probabilities = (output.full_name for output in operator.outputs)
    total = nodes.op("Sum", *folds)
    nodes.op("Div", total, nodes.constant(len(folds)), output=probabilities)
    index = nodes.op("ArgMax", probabilities, axis=1, keepdims=0)
    nodes.op("Gather", _class_table(nodes, estimator.classes_), index, output=label, axis=0)


def _scores(scope: Any, container: Any, inputs: Any, model: Any) -> str:
    """What the calibrator of a model reads: its logits, or its probabilities if it has no other."""
    from skl2onnx._supported_operators import sklearn_operator_name_map

    operator = scope.declare_local_operator(sklearn_operator_name_map[type(model)], model)
    operator.inputs = inputs
    last = model
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    if hasattr(model, "decision_function") and container.has_options(last, "raw_scores"):
        container.add_options(id(last), {"raw_scores": True})
        scope.add_options(id(last), {"raw_scores": True})
    label = scope.declare_local_variable("label", Int64TensorType())
    scores = scope.declare_local_variable("scores", FloatTensorType())
    operator.outputs.append(label)
    operator.outputs.append(scores)
    return str(scores.full_name)


def _calibrated(nodes: _Nodes, fold: Any, scores: str) -> str:
    """Probabilities of one fold's classifier, one column per class."""
    if len(fold.classes) == 2:
        scores = nodes.op("Gather", scores, nodes.constant([1], np.int64), axis=1)
    if fold.method == "temperature":
        return _temperature(nodes, fold, scores)
    if fold.method == "sigmoid":
        slope = nodes.constant([-c.a_ for c in fold.calibrators])
        offset = nodes.constant([-c.b_ for c in fold.calibrators])
        raw = nodes.op("Sigmoid", nodes.op("Add", nodes.op("Mul", scores, slope), offset))
    else:
        columns = [
            _isotonic(nodes, c, nodes.op("Gather", scores, nodes.constant([k], np.int64), axis=1))
            for k, c in enumerate(fold.calibrators)
        ]
        raw = nodes.op("Concat", *columns, axis=1)
    if len(fold.classes) == 2:
        return nodes.op("Concat", nodes.op("Sub", nodes.constant(1), raw), raw, axis=1)
    # All zero becomes uniform: 0 + tiny over C · tiny.
    tiny = nodes.constant(1e-30)
    raw = nodes.op("Add", raw, tiny)
    return nodes.op("Div", raw, nodes.op("ReduceL1", raw, axes=[1], keepdims=1))


def _temperature(nodes: _Nodes, fold: Any, scores: str) -> str:
    if len(fold.classes) == 2:
        scores = nodes.op("Concat", nodes.op("Neg", scores), scores, axis=1)
    scaled = nodes.op("Mul", scores, nodes.constant(fold.calibrators[0].beta_))
    return nodes.op("Softmax", scaled, axis=1)


def _isotonic(nodes: _Nodes, calibrator: Any, column: str) -> str:
    """Linear interpolation between the thresholds x, constant outside of them.

    y = y₀ + Σᵢ (yᵢ₊₁ − yᵢ) · clip((score − xᵢ) / (xᵢ₊₁ − xᵢ), 0, 1)
    """
    x, y = calibrator.X_thresholds_.astype(np.float64), calibrator.y_thresholds_
    first = nodes.constant([[y[0]]])
    if len(x) == 1:
        return nodes.op("Add", nodes.op("Mul", column, nodes.constant(0)), first)
    offset = nodes.op("Sub", column, nodes.constant(x[None, :-1]))
    share = nodes.op("Div", offset, nodes.constant(np.diff(x)[None]))
    share = nodes.op("Clip", share, nodes.constant(0), nodes.constant(1))
    rise = nodes.op("MatMul", share, nodes.constant(np.diff(y)[:, None]))
    return nodes.op("Add", rise, first)


def _class_table(nodes: _Nodes, classes: Array) -> str:
    if classes.dtype.kind in "iubf":  # skl2onnx's labels are int64 or strings
        return nodes.constant(classes, np.int64)
    from onnx import TensorProto

    name = str(nodes.scope.get_unique_variable_name("classes"))
    text = [str(c).encode() for c in classes.tolist()]
    nodes.container.add_initializer(name, TensorProto.STRING, [len(text)], text)
    return name
