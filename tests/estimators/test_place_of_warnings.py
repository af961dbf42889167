"""Warnings of the estimators point at the caller's line."""

import linecache
import warnings
from threading import Thread

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import NeuronTuneClassifier
from ntkit.estimators import BalancedClassifier, DFRClassifier, JTTClassifier
from ntkit.exceptions import SuppressionWarning

rng = np.random.default_rng(0)
y = rng.integers(0, 2, 300)
EASY = np.column_stack([9 * y, rng.normal(size=(300, 3))])  # without errors
MARK = np.where(rng.random(300) < 0.9, y, 1 - y)
HARD = np.column_stack([y + rng.normal(size=300), 2 * MARK, rng.normal(size=300)])
ONE = np.where(np.arange(300) == 0, 9, 2 * y + MARK)  # a group of one sample
FITS = {
    "No class has": lambda: NeuronTuneClassifier(C=1.0, error_weight=1.0).fit(EASY, y),
    "Kept all neurons": lambda: NeuronTuneClassifier(C=1.0, max_cost=0.0).fit(HARD, y),
    "misclassifies no training sample": lambda: JTTClassifier().fit(EASY, y),
    "scale of X": lambda: NeuronTuneClassifier(C=1.0).fit(HARD, y, X_val=99 * HARD, y_val=y),
    "single sample": lambda: DFRClassifier(n_retrains=1, Cs=(1.0, 0.1)).fit(HARD, y, groups=ONE),
    "did not converge": lambda: BalancedClassifier(max_iter=1, C=9.0, tol=1e-9).fit(HARD, y),
    # Through scikit-learn.
    "so no neuron is scored": lambda: make_pipeline(
        StandardScaler(), NeuronTuneClassifier(C=1.0)
    ).fit(EASY, y),
    "or suppressed": lambda: GridSearchCV(
        NeuronTuneClassifier(C=1.0, error_weight=1.0), {"threshold": [0.5]}, cv=2
    ).fit(EASY, y),
}


@pytest.mark.parametrize("words", FITS)
def test_a_warning_points_at_the_line_that_calls_fit(words):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FITS[words]()
    (warning, *_) = [each for each in caught if words in str(each.message)]
    assert warning.filename == __file__
    assert "fit(" in linecache.getline(__file__, warning.lineno) or "lambda" in linecache.getline(
        __file__, warning.lineno
    )


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
def test_a_thread_without_a_caller_warns_as_well():
    clf = NeuronTuneClassifier(C=1.0, error_weight=1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = Thread(target=clf.fit, args=(EASY, y))
        thread.start()
        thread.join()
    assert SuppressionWarning in [each.category for each in caught]
