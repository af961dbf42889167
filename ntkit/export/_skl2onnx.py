"""Let skl2onnx convert scikit-learn objects that hold an ntkit estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import guess_proto_type
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.base import BaseEstimator, ClassifierMixin

from ntkit import estimators
from ntkit.export._fold import ScaledHead

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
    from onnx import TensorProto

    kept = operator.raw_operator.get_support(indices=True)
    index = scope.get_unique_variable_name("kept")
    container.add_initializer(index, TensorProto.INT64, kept.shape, kept.tolist())
    source, target = operator.inputs[0].full_name, operator.outputs[0].full_name
    opset = min(container.target_opset, 13)
    container.add_node("Gather", [source, index], target, axis=1, op_version=opset)


def _convert_linear_head(scope: Any, operator: Any, container: Any) -> None:
    """Gemm, Softmax and ArgMax, behind Sub and Mul for a scaled head."""
    # skl2onnx's own linear converter is right for its own classes only: for another binary
    # classifier it would give softmax(±z) instead of sigmoid(z).
    from onnx import TensorProto

    estimator = operator.raw_operator
    is_scaled = isinstance(estimator, ScaledHeadClassifier)
    scaled = estimator.scaled if is_scaled else ScaledHead.of(estimator.head_)
    shift, head = scaled.rounded_shift()
    head = head.with_logits(len(head.classes))
    raw = container.get_options(estimator, {"raw_scores": False})["raw_scores"]
    opset = container.target_opset
    proto = guess_proto_type(operator.inputs[0].type)
    embedding = operator.inputs[0].full_name
    if proto not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        proto, name = TensorProto.FLOAT, scope.get_unique_variable_name("embedding")
        container.add_node("Cast", embedding, name, to=proto, op_version=min(opset, 13))
        embedding = name
    dtype = np.float64 if proto == TensorProto.DOUBLE else np.float32

    def constant(name: str, kind: int, array: Any) -> str:
        unique = str(scope.get_unique_variable_name(name))
        container.add_initializer(unique, kind, array.shape, array.ravel().tolist())
        return unique

    if scaled.is_scaled:
        mean, gain = (
            constant("mean", proto, shift.astype(dtype)),
            constant("gain", proto, scaled.gains.astype(dtype)),
        )
        centred = scope.get_unique_variable_name("centred")
        container.add_node("Sub", [embedding, mean], centred, op_version=min(opset, 13))
        embedding = scope.get_unique_variable_name("scaled")
        container.add_node("Mul", [centred, gain], embedding, op_version=min(opset, 13))
    weight = constant("weight", proto, head.coef.astype(dtype))
    bias = constant("bias", proto, head.intercept.astype(dtype))
    logits = scope.get_unique_variable_name("logits")
    container.add_node(
        "Gemm", [embedding, weight, bias], logits, transB=1, op_version=min(opset, 13)
    )
    label, scores = (output.full_name for output in operator.outputs)
    final = "Identity" if raw else "Softmax"
    attributes = {} if raw else {"axis": 1}
    container.add_node(final, logits, scores, op_version=min(opset, 13), **attributes)

    index = scope.get_unique_variable_name("index")
    container.add_node("ArgMax", logits, index, axis=1, keepdims=0, op_version=min(opset, 13))
    classes = head.classes
    if classes.dtype.kind in "iubf":  # float labels are whole numbers, skl2onnx's output int64
        table = constant("classes", TensorProto.INT64, classes.astype(np.int64))
    else:
        text = np.asarray([str(c).encode() for c in classes.tolist()], dtype=object)
        table = constant("classes", TensorProto.STRING, text)
    container.add_node("Gather", [table, index], label, axis=0, op_version=min(opset, 13))
