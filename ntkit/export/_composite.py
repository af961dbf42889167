"""scikit-learn objects that hold an ntkit estimator: by skl2onnx, and checked."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ntkit.exceptions import InputError, VerificationError
from ntkit.export._calibration import convert_calibrated
from ntkit.export._fold import scaled_head
from ntkit.export._skl2onnx import ScaledHeadClassifier
from ntkit.extraction import OnnxEmbedder, make_session
from ntkit.head import LinearHead
from ntkit.verification import TOLERANCE

__all__ = ["convert_composite", "holds_ntkit_estimator"]

Array = NDArray[Any]
_OPSET = {"": 17, "ai.onnx.ml": 3}
_IR_VERSION = 8
_MOST_ROWS = 2048


def convert_composite(estimator: Any, X: Any) -> onnx.ModelProto:
    """Convert by skl2onnx, with input ``embedding``, and compare on ``X``.

    Raises
    ------
    InputError
        If skl2onnx cannot convert it, or ``X`` does not fit.
    VerificationError
        If ONNX Runtime and ``predict_proba`` (``predict``, where there is none) disagree.
    """
    kind = type(estimator).__name__
    if any(isinstance(part, OnnxEmbedder) for part in _parts(estimator, set())):
        raise InputError(
            f"The {kind} holds an OnnxEmbedder in front of what does not fold into a linear head; "
            "convert what follows the embedder alone, with embeddings as X."
        )
    few = X[:: max(1, len(X) // _MOST_ROWS)] if hasattr(X, "__getitem__") else X
    few = few.astype(np.float32) if hasattr(few, "astype") else np.asarray(few, dtype=np.float32)
    if few.ndim != 2 or not len(few):
        raise InputError(f"X needs embeddings of shape (N, D) to check on; got {few.shape}.")
    try:
        model: onnx.ModelProto = convert_sklearn(
            _simplified(estimator, {}),
            name=f"ntkit_{kind}",  # skl2onnx would draw one at random
            initial_types=[("embedding", FloatTensorType([None, few.shape[1]]))],
            options={"zipmap": False},
            target_opset=_OPSET,
            custom_conversion_functions={CalibratedClassifierCV: convert_calibrated},
        )
    except Exception as error:  # skl2onnx raises whatever its converters stumble over
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"skl2onnx cannot convert the {kind}: {reason}; simplify it, or export the ntkit "
            "estimator in it alone."
        ) from error
    model.ir_version = min(model.ir_version, _IR_VERSION)
    _check(model, estimator, few, kind)
    return model


def holds_ntkit_estimator(estimator: Any) -> bool:
    """Whether a fitted ntkit classifier or selector is anywhere in it."""
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
    """A copy that skl2onnx converts right.

    It takes no FrozenEstimator and no default VotingClassifier, and gives a calibrator the
    probabilities of a pipeline or search in place of its logits (sklearn-onnx #1246); so searches
    become what they found, and pipelines that are a scaled head become one classifier.
    """
    if id(value) not in done:
        done[id(value)] = value  # a cycle ends at the original
        done[id(value)] = _simplified_once(value, done)
    return done[id(value)]


def _simplified_once(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_simplified(part, done) for part in value)
    if isinstance(value, dict):
        mapped = copy.copy(value)
        for key, part in value.items():
            mapped[key] = _simplified(part, done)
        return mapped
    if not _is_composite(value):
        return value
    if isinstance(value, FrozenEstimator):
        return _simplified(value.estimator, done)
    if hasattr(value, "best_estimator_"):
        return _simplified(value.best_estimator_, done)
    if isinstance(value, Pipeline):
        try:
            scaled = scaled_head(value)
        except InputError:
            scaled = None
        if scaled is not None and scaled.embedder is None:
            return ScaledHeadClassifier(scaled)
    new = copy.copy(value)
    for name, part in vars(value).items():
        new.__dict__[name] = _simplified(part, done)
    if isinstance(new, VotingClassifier):
        new.flatten_transform = False  # of transform() only
    return new


def _check(model: onnx.ModelProto, estimator: Any, X: Any, kind: str) -> None:
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
                f"What skl2onnx made of the {kind} gives other probabilities than "
                f"predict_proba, by up to {np.abs(scores - P).max():.1e}; export the ntkit "
                "estimator in it alone, or keep to scikit-learn for the rest."
            )
        top = np.sort(P, axis=1)
        clear = top[:, -1] - top[:, -2] > 2 * allowed.max(axis=1)
    wrong = int((np.asarray(label)[clear].astype(expected.dtype) != expected[clear]).sum())
    if wrong:
        raise VerificationError(
            f"What skl2onnx made of the {kind} gives {wrong} of {len(X)} samples of X another "
            "label than predict; export the ntkit estimator in it alone, or keep to "
            "scikit-learn for the rest."
        )


def _rounding(estimator: Any, X: Any, P: Array) -> Array:
    """How far rounding its inputs moves each probability: isotonic calibration is steep."""
    step = 8 * float(np.finfo(np.float32).eps)
    moved = [np.abs(estimator.predict_proba(X * np.float32(1 + s)) - P) for s in (-step, step)]
    return np.asarray(2 * np.maximum(*moved).max(axis=1, keepdims=True))
