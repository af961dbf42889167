"""Plots of findings and their effects: Displays in scikit-learn's style.

They need matplotlib (the extra ``report``), which is imported when something is drawn.
"""

from ntkit.inspection._accuracy_displays import AnswersCurveDisplay, GroupAccuracyDisplay
from ntkit.inspection._mask_displays import MaskStabilityDisplay, SpuriousnessDisplay
from ntkit.inspection._neuron_display import NeuronDisplay
from ntkit.inspection._threshold_path_display import ThresholdPathDisplay

__all__ = [
    "AnswersCurveDisplay",
    "GroupAccuracyDisplay",
    "MaskStabilityDisplay",
    "NeuronDisplay",
    "SpuriousnessDisplay",
    "ThresholdPathDisplay",
]
