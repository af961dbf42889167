"""Last-layer estimators: scikit-learn classifiers on embeddings that end in a LinearHead."""

from ntkit.estimators._afr import AFRClassifier
from ntkit.estimators._balanced import BalancedClassifier
from ntkit.estimators._base import StudyClassifier as StudyClassifier  # for other rooms
from ntkit.estimators._by_name import LABEL_FREE
from ntkit.estimators._evals import EVaLSClassifier
from ntkit.estimators._head_of import head_of
from ntkit.estimators._jtt import JTTClassifier
from ntkit.estimators._leia import LEIAClassifier
from ntkit.estimators._match import match_head
from ntkit.estimators._retrain import retrain_head
from ntkit.estimators._self import SELFClassifier
from ntkit.estimators.auto import AutoDebiasClassifier
from ntkit.estimators.groups import (
    DFRClassifier,
    GroupDROClassifier,
    GroupInference,
    LEACEClassifier,
)
from ntkit.estimators.neurons import (
    NeuronTuneClassifier,
    NeuronTuneClassifierCV,
    SpuriousNeuronSelector,
)

__all__ = [
    "LABEL_FREE",
    "AFRClassifier",
    "AutoDebiasClassifier",
    "BalancedClassifier",
    "DFRClassifier",
    "EVaLSClassifier",
    "GroupDROClassifier",
    "GroupInference",
    "JTTClassifier",
    "LEACEClassifier",
    "LEIAClassifier",
    "NeuronTuneClassifier",
    "NeuronTuneClassifierCV",
    "SELFClassifier",
    "SpuriousNeuronSelector",
    "head_of",
    "match_head",
    "retrain_head",
]
