"""scikit-learn's own estimator checks, over every estimator in several configurations."""

from ntkit.estimators import NeuronTuneClassifier

SPLIT = (
    "the identification folds (or hold-out) are drawn over rows, so repeating a row and giving it "
    "weight 2 put it into different folds"
)
WEIGHT_CHECKS = {
    "check_sample_weight_equivalence_on_dense_data": SPLIT,
    "check_sample_weight_equivalence_on_sparse_data": SPLIT,
}
CONFIGURATIONS = {
    "default": NeuronTuneClassifier(),
    "train": NeuronTuneClassifier(identification="train", tol=1e-10),
}
