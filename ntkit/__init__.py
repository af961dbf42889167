"""ntkit: find and repair shortcuts in trained ONNX classifiers by retraining the last layer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ntkit._version import __version__

if TYPE_CHECKING:
    from ntkit.attributes.findings import Finding
    from ntkit.estimators import NeuronTuneClassifier, NeuronTuneClassifierCV
    from ntkit.extraction import OnnxEmbedder
    from ntkit.head import LinearHead
    from ntkit.jobs.audit import Audit, audit, audit_model
    from ntkit.jobs.check import CheckResult, check, check_predictions
    from ntkit.jobs.debias import AccuracyCost, Candidate, DebiasResult, DebiasSettings, debias
    from ntkit.jobs.predict import Predictions, predict
    from ntkit.jobs.report import write_report
    from ntkit.jobs.watch import WatchResult, watch
    from ntkit.model import FrozenModel

__all__ = [
    "AccuracyCost",
    "Audit",
    "Candidate",
    "CheckResult",
    "DebiasResult",
    "DebiasSettings",
    "Finding",
    "FrozenModel",
    "LinearHead",
    "NeuronTuneClassifier",
    "NeuronTuneClassifierCV",
    "OnnxEmbedder",
    "Predictions",
    "WatchResult",
    "__version__",
    "audit",
    "audit_model",
    "check",
    "check_predictions",
    "debias",
    "predict",
    "watch",
    "write_report",
]

# Imported on first use, so that `import ntkit` stays light.
_HOME = {
    "Audit": "ntkit.jobs.audit",
    "Candidate": "ntkit.jobs.debias._candidates",
    "CheckResult": "ntkit.jobs.check",
    "DebiasResult": "ntkit.jobs.debias._result",
    "DebiasSettings": "ntkit.jobs.debias._settings",
    "FrozenModel": "ntkit.model",
    "LinearHead": "ntkit.head",
    "NeuronTuneClassifier": "ntkit.estimators",
    "NeuronTuneClassifierCV": "ntkit.estimators",
    "OnnxEmbedder": "ntkit.extraction",
    "Predictions": "ntkit.jobs.predict",
    "AccuracyCost": "ntkit.jobs.debias._accuracy_cost",
    "Finding": "ntkit.attributes.findings",
    "audit": "ntkit.jobs.audit.from_predictions",
    "audit_model": "ntkit.jobs.audit.from_model",
    "check": "ntkit.jobs.check._check",
    "check_predictions": "ntkit.jobs.check",
    "debias": "ntkit.jobs.debias._debias",
    "WatchResult": "ntkit.jobs.watch",
    "predict": "ntkit.jobs.predict",
    "watch": "ntkit.jobs.watch",
    "write_report": "ntkit.jobs.report",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ntkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
