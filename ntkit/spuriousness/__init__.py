"""Which neurons drive spurious predictions: scores and masks as pure functions of arrays.

The formulas are those of NeuronTune (Zheng, Ye, Zhang, ICML 2025, arXiv 2505.24048): a neuron whose
activation is higher on the misclassified samples of a class than on its correctly classified ones
is biased.
"""

from ntkit.spuriousness._columns import live_neurons, weighted_median
from ntkit.spuriousness._scores import sfit, spuriousness_scores, strongest_wrong
from ntkit.spuriousness._suppressed import Aggregation as Aggregation
from ntkit.spuriousness._suppressed import severity as severity
from ntkit.spuriousness._suppressed import spare_neurons, suppressed_neurons

__all__ = [
    "live_neurons",
    "sfit",
    "spare_neurons",
    "spuriousness_scores",
    "strongest_wrong",
    "suppressed_neurons",
    "weighted_median",
]
