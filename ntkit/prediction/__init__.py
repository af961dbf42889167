"""What models predict of samples: labels, probabilities and margins, in memory or as a table."""

from ntkit.prediction._models import Asked as Asked  # for other rooms
from ntkit.prediction._models import as_recorded as as_recorded
from ntkit.prediction._models import asked_pair as asked_pair
from ntkit.prediction._models import called as called
from ntkit.prediction._models import loaded as loaded
from ntkit.prediction._models import matched as matched
from ntkit.prediction._models import reading_notes as reading_notes
from ntkit.prediction._models import samples_of as samples_of
from ntkit.prediction._outcomes import outcomes_of as outcomes_of
from ntkit.prediction._predict import Predictions, predict
from ntkit.prediction._table import PredictionTable, write_predictions
from ntkit.prediction._table import check_kind as check_kind
from ntkit.prediction._table import write_asked as write_asked

__all__ = ["PredictionTable", "Predictions", "predict", "write_predictions"]
