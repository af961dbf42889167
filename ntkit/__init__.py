"""ntkit: silence the spurious neurons of a frozen ONNX classifier and retrain its last layer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ntkit._version import __version__

if TYPE_CHECKING:
    from ntkit.auditing import Audit, audit, audit_model
    from ntkit.checking import CheckResult, check
    from ntkit.debiasing import Candidate, DebiasResult, Price, debias
    from ntkit.estimators import NeuronTuneClassifier, NeuronTuneClassifierCV
    from ntkit.extraction import OnnxEmbedder
    from ntkit.frozen_model import FrozenModel
    from ntkit.head import LinearHead
    from ntkit.prediction import Predictions, predict
    from ntkit.report import write_report
    from ntkit.suspicions import Suspicion

__all__ = [
    "Audit",
    "Candidate",
    "CheckResult",
    "DebiasResult",
    "FrozenModel",
    "LinearHead",
    "NeuronTuneClassifier",
    "NeuronTuneClassifierCV",
    "OnnxEmbedder",
    "Predictions",
    "Price",
    "Suspicion",
    "__version__",
    "audit",
    "audit_model",
    "check",
    "debias",
    "predict",
    "write_report",
]

# Imported on first use, so that `import ntkit` stays light.
_HOME = {
    "Audit": "ntkit.auditing",
    "Candidate": "ntkit.debiasing._comparison",
    "CheckResult": "ntkit.checking",
    "DebiasResult": "ntkit.debiasing.result._result",
    "FrozenModel": "ntkit.frozen_model",
    "LinearHead": "ntkit.head",
    "NeuronTuneClassifier": "ntkit.estimators",
    "NeuronTuneClassifierCV": "ntkit.estimators",
    "OnnxEmbedder": "ntkit.extraction",
    "Predictions": "ntkit.prediction",
    "Price": "ntkit.debiasing._price",
    "Suspicion": "ntkit.suspicions",
    "audit": "ntkit.auditing",
    "audit_model": "ntkit.auditing",
    "check": "ntkit.checking",
    "debias": "ntkit.debiasing._debias",
    "predict": "ntkit.prediction",
    "write_report": "ntkit.report._write_report",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ntkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
