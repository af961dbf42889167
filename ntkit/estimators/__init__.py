"""Last-layer estimators: scikit-learn classifiers on embeddings that end in a LinearHead."""

from ntkit.estimators._neurontune import NeuronTuneClassifier

__all__ = ["NeuronTuneClassifier"]
