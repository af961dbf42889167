"""Methods that look for spurious neurons, and retrain the head on what they leave."""

from ntkit.estimators.neurons._neurontune import NeuronTuneClassifier
from ntkit.estimators.neurons._neurontune_cv import NeuronTuneClassifierCV
from ntkit.estimators.neurons._selector import SpuriousNeuronSelector

__all__ = ["NeuronTuneClassifier", "NeuronTuneClassifierCV", "SpuriousNeuronSelector"]
