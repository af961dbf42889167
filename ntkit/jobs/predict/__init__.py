"""Predict samples: labels, probabilities and margins, in memory or as a table."""

from ntkit.jobs.predict._predict import Predictions, predict, write_predictions
from ntkit.jobs.predict._predict import PredictionTable as PredictionTable  # for other packages
from ntkit.jobs.predict._predict import check_kind as check_kind
from ntkit.jobs.predict._predict import decisions_of as decisions_of
from ntkit.jobs.predict._predict import labels_compared as labels_compared
from ntkit.jobs.predict._predict import matched as matched
from ntkit.jobs.predict._predict import matches_of as matches_of
from ntkit.jobs.predict._predict import outcomes_of as outcomes_of
from ntkit.jobs.predict._predict import running as running
from ntkit.jobs.predict._predict import write_rows as write_rows

__all__ = ["Predictions", "predict", "write_predictions"]
