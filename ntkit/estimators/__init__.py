"""Last-layer estimators: scikit-learn classifiers on embeddings that end in a LinearHead."""

from ntkit.estimators._neurontune import NeuronTuneClassifier
from ntkit.estimators._retrain import retrain_head

__all__ = ["NeuronTuneClassifier", "retrain_head"]
