"""What models predict of samples: labels, probabilities and margins, in memory or as a table."""

from ntkit.jobs.predict._models import Asked as Asked  # for other rooms
from ntkit.jobs.predict._models import as_recorded as as_recorded
from ntkit.jobs.predict._models import asked_pair as asked_pair
from ntkit.jobs.predict._models import called as called
from ntkit.jobs.predict._models import loaded as loaded
from ntkit.jobs.predict._models import matched as matched
from ntkit.jobs.predict._models import outcomes_of as outcomes_of
from ntkit.jobs.predict._models import reading_notes as reading_notes
from ntkit.jobs.predict._models import samples_of as samples_of
from ntkit.jobs.predict._predict import Predictions, predict
from ntkit.jobs.predict._table import PredictionTable, write_predictions
from ntkit.jobs.predict._table import check_kind as check_kind
from ntkit.jobs.predict._table import write_asked as write_asked

__all__ = ["PredictionTable", "Predictions", "predict", "write_predictions"]
