"""Estimators by the name the command line and ``debias`` know them by."""

from __future__ import annotations

from typing import Any

from ntkit.estimators._afr import AFRClassifier
from ntkit.estimators._auto import AutoDebiasClassifier
from ntkit.estimators._balanced import BalancedClassifier
from ntkit.estimators._evals import EVaLSClassifier
from ntkit.estimators._jtt import JTTClassifier
from ntkit.estimators._leace import LEACEClassifier
from ntkit.estimators._leia import LEIAClassifier
from ntkit.estimators._neurontune import NeuronTuneClassifier
from ntkit.estimators._neurontune_cv import NeuronTuneClassifierCV
from ntkit.estimators._self import SELFClassifier

LABEL_FREE: dict[str, type[Any]] = {
    "neurontune": NeuronTuneClassifier,
    "neurontune-cv": NeuronTuneClassifierCV,
    "balanced": BalancedClassifier,
    "auto": AutoDebiasClassifier,
    "afr": AFRClassifier,
    "jtt": JTTClassifier,
    "self": SELFClassifier,
    "evals": EVaLSClassifier,
    "leace": LEACEClassifier,
    "leia": LEIAClassifier,
}
"""Estimators that need no group labels."""
