"""scikit-learn objects that contain an ntkit estimator: converted by skl2onnx, and checked."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline

from ntkit._types import Array
from ntkit.exceptions import InputError, VerificationError
from ntkit.export._skl2onnx import OPTIONS, ContainerNodes, ScaledHeadClassifier, scaled_head
from ntkit.extraction import OnnxEmbedder
from ntkit.extraction.head_check import TOLERANCE
from ntkit.extraction.session import make_session
from ntkit.head import LinearHead


def convert_calibrated(scope: Any, operator: Any, container: Any) -> None:
    """Converter for skl2onnx: scores, one calibrated column per class, the mean over folds."""
    nodes = ContainerNodes(scope, container)
    estimator = operator.raw_operator
    folds = [
        _calibrated(nodes, fold, _scores(scope, container, operator.inputs, fold.estimator))
        for fold in estimator.calibrated_classifiers_
    ]
    label, probabilities = (output.full_name for output in operator.outputs)
    total = nodes.op("Sum", *folds)
    nodes.op("Div", total, nodes.constant(len(folds)), output=probabilities)
    index = nodes.op("ArgMax", probabilities, axis=1, keepdims=0)
    nodes.op("Gather", nodes.classes(estimator.classes_), index, output=label, axis=0)


def threshold_of(estimator: Any) -> tuple[float, int] | None:
    """The probability from which a classifier predicts one of two classes, and this class's index.

    None if it predicts the most probable class.
    """
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    if not isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return None
    tuned = isinstance(estimator, TunedThresholdClassifierCV)
    of_scores = estimator.response_method == "decision_function"
    if of_scores or not hasattr(_thresholded(estimator), "predict_proba"):
        raise InputError(
            f"The threshold of the {type(estimator).__name__} is one of decision_function; fit it "
            "with response_method='predict_proba'."
        )
    level = estimator.best_threshold_ if tuned else estimator.threshold
    positive = estimator._curve_scorer._get_pos_label() if tuned else estimator.pos_label
    index = 1 if positive is None else int(np.flatnonzero(estimator.classes_ == positive)[0])
    return 0.5 if level == "auto" else float(level), index


def _thresholded(estimator: Any) -> Any:
    """The fitted classifier whose probabilities a threshold decides."""
    return getattr(estimator, "estimator_", estimator.estimator)


def convert_thresholded(scope: Any, operator: Any, container: Any) -> None:
    """Converter for skl2onnx: probabilities of a classifier, and the label by its threshold."""
    from skl2onnx._supported_operators import sklearn_operator_name_map

    nodes, estimator = ContainerNodes(scope, container), operator.raw_operator
    threshold = threshold_of(estimator)
    assert threshold is not None
    level, positive = threshold
    model = _thresholded(estimator)
    inner = scope.declare_local_operator(sklearn_operator_name_map[type(model)], model)
    inner.inputs = operator.inputs
    for name, output in zip(("label", "probabilities"), operator.outputs, strict=True):
        inner.outputs.append(scope.declare_local_variable(name, type(output.type)()))
    label, probabilities = (output.full_name for output in operator.outputs)
    nodes.op("Identity", inner.outputs[1].full_name, output=probabilities)
    column = nodes.op("Gather", probabilities, nodes.constant(positive, np.int64), axis=1)
    below = nodes.op("Less", column, nodes.constant(level))
    # Of two classes, the other one has the index 1 - positive.
    chosen = [nodes.constant(index, np.int64) for index in (1 - positive, positive)]
    index = nodes.op("Where", below, *chosen)
    nodes.op("Gather", nodes.classes(estimator.classes_), index, output=label, axis=0)


update_registered_converter(
    FixedThresholdClassifier,
    "NtkitFixedThresholdClassifier",
    calculate_linear_classifier_output_shapes,
    convert_thresholded,
    options=OPTIONS,
)


def _scores(scope: Any, container: Any, inputs: Any, model: Any) -> str:
    """Input of a model's calibrator: logits, or probabilities if there are no logits."""
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


def _calibrated(nodes: ContainerNodes, fold: Any, scores: str) -> str:
    """Probabilities of one fold's classifier, one column per class."""
    if len(fold.classes) == 2:
        scores = nodes.op("Gather", scores, nodes.constant([1], np.int64), axis=1)
    if fold.method == "temperature":
        if len(fold.classes) == 2:
            scores = nodes.op("Concat", nodes.op("Neg", scores), scores, axis=1)
        scaled = nodes.op("Mul", scores, nodes.constant(fold.calibrators[0].beta_))
        return nodes.op("Softmax", scaled, axis=1)
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


def _isotonic(nodes: ContainerNodes, calibrator: Any, column: str) -> str:
    """Linear interpolation between the thresholds x, constant outside of them."""
    # y = y₀ + Σᵢ (yᵢ₊₁ − yᵢ) · clip((score − xᵢ) / (xᵢ₊₁ − xᵢ), 0, 1)
    x, y = calibrator.X_thresholds_.astype(np.float64), calibrator.y_thresholds_
    first = nodes.constant([[y[0]]])
    if len(x) == 1:
        return nodes.op("Add", nodes.op("Mul", column, nodes.constant(0)), first)
    offset = nodes.op("Sub", column, nodes.constant(x[None, :-1]))
    share = nodes.op("Div", offset, nodes.constant(np.diff(x)[None]))
    share = nodes.op("Clip", share, nodes.constant(0), nodes.constant(1))
    rise = nodes.op("MatMul", share, nodes.constant(np.diff(y)[:, None]))
    return nodes.op("Add", rise, first)


_OPSET = {"": 17, "ai.onnx.ml": 3}
_IR_VERSION = 8
_MOST_ROWS = 2048


def convert_composite(estimator: Any, X: Any) -> onnx.ModelProto:
    """Convert by skl2onnx, with input ``embedding``, and compare on ``X``."""
    kind, threshold = type(estimator).__name__, threshold_of(estimator)
    if any(isinstance(part, OnnxEmbedder) for part in _parts(estimator, set())):
        raise InputError(
            f"The {kind} has an OnnxEmbedder before steps that do not fold into a linear head; "
            "convert the later steps alone, with embeddings as X."
        )
    rows = X[:: max(1, len(X) // _MOST_ROWS)] if hasattr(X, "__getitem__") else X
    rows = rows.astype(np.float32) if hasattr(rows, "astype") else np.asarray(rows, np.float32)
    if rows.ndim != 2 or not len(rows):
        raise InputError(f"X needs embeddings of shape (N, D) to check on; got {rows.shape}.")
    try:
        model: onnx.ModelProto = convert_sklearn(
            _simplified(estimator, {}),
            name=f"ntkit_{kind}",  # skl2onnx would draw one at random
            initial_types=[("embedding", FloatTensorType([None, rows.shape[1]]))],
            options={"zipmap": False},
            target_opset=_OPSET,
            custom_conversion_functions={
                CalibratedClassifierCV: convert_calibrated,
                TunedThresholdClassifierCV: convert_thresholded,
            },
        )
    except Exception as error:  # skl2onnx raises any error of its converters
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"skl2onnx cannot convert the {kind}: {reason}; simplify it, or export only the ntkit "
            "estimator in it."
        ) from error
    model.ir_version = min(model.ir_version, _IR_VERSION)
    _check(model, estimator, rows, kind, threshold)
    return model


def holds_ntkit_estimator(estimator: Any) -> bool:
    """Whether it contains a fitted ntkit classifier or selector."""
    return any(
        isinstance(getattr(part, "head_", None), LinearHead)
        or (type(part).__module__.startswith("ntkit.") and hasattr(part, "n_features_in_"))
        for part in _parts(estimator, set())
    )


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if _is_composite(value):
        yield value
        value = list(vars(value).values())
    elif isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part, seen)


def _is_composite(value: Any) -> bool:
    if isinstance(value, type):
        return False
    return isinstance(value, BaseEstimator) or type(value).__name__ == "_CalibratedClassifier"


def _simplified(value: Any, done: dict[int, Any]) -> Any:
    """A copy that skl2onnx converts correctly."""
    # skl2onnx does not accept a FrozenEstimator or a default VotingClassifier. It gives a
    # calibrator the probabilities of a pipeline or search instead of its logits (sklearn-onnx
    # #1246). So searches are replaced by their best estimator, and pipelines of a scaled head by
    # one classifier.
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = new = value  # a cycle ends at the original
    if type(value) in (list, tuple):
        new = type(value)(_simplified(part, done) for part in value)
    elif isinstance(value, dict):
        new = copy.copy(value)
        new.update({key: _simplified(part, done) for key, part in value.items()})
    elif isinstance(value, FrozenEstimator) or hasattr(value, "best_estimator_"):
        inner = value.estimator if isinstance(value, FrozenEstimator) else value.best_estimator_
        new = _simplified(inner, done)
    elif _is_composite(value):
        with suppress(InputError):
            scaled = scaled_head(value) if isinstance(value, Pipeline) else None
            if scaled is not None and scaled.embedder is None:
                done[id(value)] = ScaledHeadClassifier(scaled)
                return done[id(value)]
        new = copy.copy(value)
        vars(new).update({name: _simplified(part, done) for name, part in vars(value).items()})
        if isinstance(new, VotingClassifier):
            new.flatten_transform = False  # of transform() only
    done[id(value)] = new
    return new


def _check(model: Any, estimator: Any, X: Any, kind: str, threshold: Any) -> None:
    """Compare labels and probabilities; a threshold is one of :func:`threshold_of`."""
    session = make_session(model.SerializeToString(), device="cpu")
    label, scores = session.run(["label", "probabilities"], {"embedding": np.asarray(X)})
    expected = estimator.predict(X)
    clear = np.ones(len(X), dtype=bool)
    if hasattr(estimator, "predict_proba"):
        P = estimator.predict_proba(X)
        allowed = TOLERANCE + _rounding(estimator, X, P)
        excess = np.abs(scores - P) - allowed
        if not (excess <= 0).all():
            raise VerificationError(
                f"The {kind} converted by skl2onnx has other probabilities than predict_proba, "
                f"by up to {np.abs(scores - P).max():.1e}; export only the ntkit estimator in it, "
                "or use scikit-learn for the rest."
            )
        top = np.sort(P, axis=1)
        margin = (top[:, -1] - top[:, -2]) / 2
        if threshold is not None:
            margin = np.abs(P[:, threshold[1]] - threshold[0])
        clear = margin > allowed.max(axis=1)
    wrong = int((np.asarray(label)[clear].astype(expected.dtype) != expected[clear]).sum())
    if wrong:
        raise VerificationError(
            f"The {kind} converted by skl2onnx has another label than predict for {wrong} of "
            f"{len(X)} samples of X; export only the ntkit estimator in it, or use scikit-learn "
            "for the rest."
        )


def _rounding(estimator: Any, X: Any, P: Array) -> Array:
    """Change of each probability from rounded inputs: isotonic calibration is steep."""
    step = 8 * float(np.finfo(np.float32).eps)
    moved = [np.abs(estimator.predict_proba(X * np.float32(1 + s)) - P) for s in (-step, step)]
    return np.asarray(2 * np.maximum(*moved).max(axis=1, keepdims=True))
