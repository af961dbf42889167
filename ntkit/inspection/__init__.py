"""Plots of findings and their effects: Displays in scikit-learn's style.

``from_estimator`` or ``from_result`` draws, ``plot`` draws again, and the artists are attributes.
They need matplotlib (the extra ``report``), which is imported when something is drawn;
``layout="constrained"`` keeps labels apart.
"""

from ntkit.inspection._group_accuracy_display import GroupAccuracyDisplay
from ntkit.inspection._neuron_display import NeuronDisplay
from ntkit.inspection._result_displays import AuditDisplay, CheckDisplay
from ntkit.inspection._spuriousness_display import SpuriousnessDisplay

__all__ = [
    "AuditDisplay",
    "CheckDisplay",
    "GroupAccuracyDisplay",
    "NeuronDisplay",
    "SpuriousnessDisplay",
]
