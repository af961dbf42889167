"""Let skl2onnx convert scikit-learn objects that hold an ntkit estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import guess_proto_type
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.base import BaseEstimator, ClassifierMixin

from ntkit import estimators
from ntkit.estimators import ScaledHead

_OPTIONS = {
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


def register_converters() -> None:
    """Register every ntkit estimator; calling it again changes nothing."""
    public = (getattr(estimators, name) for name in estimators.__all__)
    classes = [c for c in public if isinstance(c, type) and issubclass(c, ClassifierMixin)]
    classes = [c for c in classes if hasattr(c, "head_")]  # one infers groups, and is no head
    for estimator in (*classes, ScaledHeadClassifier):
        update_registered_converter(
            estimator,
            f"Ntkit{estimator.__name__}",
            calculate_linear_classifier_output_shapes,
            _convert_linear_head,
            options=_OPTIONS,
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
    """Gather; skl2onnx's own selector gives zeros where only the first neuron is kept."""
    nodes = ContainerNodes(scope, container)
    index = nodes.constant(operator.raw_operator.get_support(indices=True), np.int64)
    source, target = operator.inputs[0].full_name, operator.outputs[0].full_name
    nodes.op("Gather", source, index, output=target, axis=1)


def _convert_linear_head(scope: Any, operator: Any, container: Any) -> None:
    """Gemm, Softmax and ArgMax, behind Sub and Mul for a scaled head."""
    # skl2onnx's own linear converter is right for its own classes only: for another binary
    # classifier it would give softmax(±z) instead of sigmoid(z).
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
    """Adds nodes to skl2onnx's container, under names of its scope."""

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
        """Add a table of class labels, which for skl2onnx are int64 or texts."""
        if labels.dtype.kind in "iubf":
            return self.constant(labels, np.int64)
        return self.constant([str(label).encode() for label in labels.tolist()], object)
