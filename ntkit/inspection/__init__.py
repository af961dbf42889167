"""Pictures of what was found and what it did: Displays in scikit-learn's manner.

They need matplotlib (the extra ``report``), which is imported when something is drawn.
"""

from ntkit.inspection._answers_curve_display import AnswersCurveDisplay
from ntkit.inspection._group_accuracy_display import GroupAccuracyDisplay
from ntkit.inspection._mask_stability_display import MaskStabilityDisplay
from ntkit.inspection._neuron_display import NeuronDisplay
from ntkit.inspection._spuriousness_display import SpuriousnessDisplay
from ntkit.inspection._threshold_path_display import ThresholdPathDisplay

__all__ = [
    "AnswersCurveDisplay",
    "GroupAccuracyDisplay",
    "MaskStabilityDisplay",
    "NeuronDisplay",
    "SpuriousnessDisplay",
    "ThresholdPathDisplay",
]
