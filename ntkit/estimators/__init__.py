"""Last-layer estimators: scikit-learn classifiers on embeddings that learn a LinearHead."""

from typing import Any

from ntkit.estimators._afr import AFRClassifier, LEIAClassifier
from ntkit.estimators._auto import AutoDebiasClassifier
from ntkit.estimators._balanced import BalancedClassifier, retrain_head
from ntkit.estimators._base import HeadClassifier as HeadClassifier  # for other packages
from ntkit.estimators._evals import EVaLSClassifier
from ntkit.estimators._group_inference import GroupInference
from ntkit.estimators._groups import FEWEST_KNOWN as FEWEST_KNOWN
from ntkit.estimators._groups import DFRClassifier, GroupDROClassifier
from ntkit.estimators._groups import with_rest as with_rest
from ntkit.estimators._invariant import InvariantClassifier
from ntkit.estimators._jtt import JTTClassifier
from ntkit.estimators._leace import LEACEClassifier
from ntkit.estimators._neurontune import (
    NeuronTuneClassifier,
    NeuronTuneClassifierCV,
    SpuriousNeuronSelector,
)
from ntkit.estimators._scaled_head import NotFoldableError as NotFoldableError
from ntkit.estimators._scaled_head import ScaledHead as ScaledHead
from ntkit.estimators._scaled_head import flat_steps as flat_steps
from ntkit.estimators._scaled_head import head_of, match_head
from ntkit.estimators._self import SELFClassifier
from ntkit.estimators._shortcut_reader import MOST_GAP as MOST_GAP
from ntkit.estimators._shortcut_reader import Reading, ShortcutReader

__all__ = [
    "LABEL_FREE",
    "AFRClassifier",
    "AutoDebiasClassifier",
    "BalancedClassifier",
    "DFRClassifier",
    "EVaLSClassifier",
    "GroupDROClassifier",
    "GroupInference",
    "InvariantClassifier",
    "JTTClassifier",
    "LEACEClassifier",
    "LEIAClassifier",
    "NeuronTuneClassifier",
    "NeuronTuneClassifierCV",
    "Reading",
    "SELFClassifier",
    "ShortcutReader",
    "SpuriousNeuronSelector",
    "head_of",
    "match_head",
    "retrain_head",
]

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
