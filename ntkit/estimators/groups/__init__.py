"""Methods that are told the groups, or the concept, that classes lean on."""

from ntkit.estimators.groups._dfr import DFRClassifier
from ntkit.estimators.groups._group_inference import GroupInference
from ntkit.estimators.groups._groupdro import GroupDROClassifier
from ntkit.estimators.groups._leace import LEACEClassifier

__all__ = ["DFRClassifier", "GroupDROClassifier", "GroupInference", "LEACEClassifier"]
