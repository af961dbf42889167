"""The path drawn is the one the search chose from, and what plain fits and folds give."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import StratifiedKFold

from ntkit import NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.inspection import ThresholdPathDisplay
from ntkit.metrics import CorrectnessGroupScorer, get_scorer

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")


@pytest.fixture(scope="module")
def held(two):
    return {"X_val": two.Z[two.val], "y_val": two.y[two.val]}


def test_a_search_shows_the_path_it_chose_from(two, held):
    display = ThresholdPathDisplay.from_estimator(
        two.cv, two.Z[two.train], two.y[two.train], **held
    )
    assert display.thresholds.tolist() == [0.1, 0.5, 1.0]
    assert np.array_equal(display.score, two.cv.scores_)
    assert np.array_equal(display.score_line_.get_ydata(), two.cv.scores_.mean(axis=1))
    assert set(display.chosen_line_.get_xdata()) == {two.cv.threshold_}
    assert display.score_ax_.get_ylabel() == "worst class correctness group accuracy"


@pytest.mark.parametrize("n_jobs", [None, 3])
def test_figures_are_those_of_plain_fits(two, held, n_jobs):
    X, y = two.Z[two.train], two.y[two.train]
    thresholds = [0.6, 0.2, 0.2]  # sorted, and each once
    display = ThresholdPathDisplay.from_estimator(
        two.clf,
        X,
        y,
        thresholds=thresholds,
        cv=3,
        scoring="balanced_accuracy",
        n_jobs=n_jobs,
        **held,
    )
    assert display.thresholds.tolist() == [0.2, 0.6]
    for t, threshold in enumerate([0.2, 0.6]):
        for f, (train, test) in enumerate(StratifiedKFold(3).split(X, y)):
            clf = clone(two.clf).set_params(threshold=threshold).fit(X[train], y[train], **held)
            predicted = clf.predict(X[test])
            assert display.accuracy[t, f] == accuracy_score(y[test], predicted)
            recalls = recall_score(y[test], predicted, average=None)
            assert display.worst_class_accuracy[t, f] == pytest.approx(recalls.min())
            assert display.score[t, f] == pytest.approx(recalls.mean())
            assert display.n_suppressed[t, f] == clf.suppressed_.sum()
    for line, values in (
        (display.accuracy_line_, display.accuracy),
        (display.worst_class_line_, display.worst_class_accuracy),
        (display.score_line_, display.score),
    ):
        assert line.get_xdata().tolist() == [0.2, 0.6]
        assert line.get_ydata() == pytest.approx(values.mean(axis=1))
    counts = [label.get_text() for label in display.count_axis_.get_xticklabels()]
    assert counts == [f"{n:.0f}" for n in display.n_suppressed.mean(axis=1)]


def test_masks_that_cost_more_than_the_estimator_allows_are_shown(two, held):
    data = two.Z[two.train], two.y[two.train]
    careful = clone(two.clf).set_params(max_cost=0.0).fit(*data, **held)
    counts = [
        ThresholdPathDisplay.from_estimator(
            clf, *data, thresholds=[0.2], cv=2, scoring="accuracy", **held
        ).n_suppressed.tolist()
        for clf in (careful, two.clf)
    ]
    assert counts[0] == counts[1]
    assert min(counts[0][0]) > 0


def test_default_thresholds_end_where_nothing_is_suppressed(two):
    display = ThresholdPathDisplay.from_estimator(
        two.clf, two.Z[two.train], two.y[two.train], cv=2, scoring="accuracy"
    )
    assert len(display.thresholds) == 11
    assert display.thresholds[0] == 0
    assert display.thresholds[-1] == two.clf.spuriousness_scores_.max()
    assert set(display.chosen_line_.get_xdata()) == {0.3}


def test_scorers_of_any_kind(two, held):
    def first_class(estimator, X, y):
        return float((estimator.predict(X) == "cat").mean())

    draw = ThresholdPathDisplay.from_estimator
    X, y = two.Z[two.train], two.y[two.train]
    display = draw(two.clf, X, y, thresholds=[0.2], cv=2, scoring=first_class, **held)
    assert display.score_name == "first_class"
    display = draw(two.clf, X, y, thresholds=[0.2], cv=2, scoring=CorrectnessGroupScorer(), **held)
    assert display.score_name == "worst_class_correctness_group_accuracy"
    _, test = next(iter(StratifiedKFold(2).split(X, y)))
    train = np.setdiff1d(np.arange(len(X)), test)
    clf = clone(two.clf).set_params(threshold=0.2).fit(X[train], y[train], **held)
    expected = get_scorer("worst_class_correctness_group_accuracy")(clf, X[test], y[test])
    assert display.score[0, 0] == expected


def test_the_estimator_stays_as_it_is(two, held):
    before = dict(vars(two.clf))
    ThresholdPathDisplay.from_estimator(
        two.clf,
        two.Z[two.train],
        two.y[two.train],
        thresholds=[5.0],
        cv=2,
        scoring="accuracy",
        **held,
    )
    assert vars(two.clf).keys() == before.keys()
    assert all(vars(two.clf)[name] is value for name, value in before.items())


def test_many_thresholds_have_labels_that_do_not_touch(rng):
    path = np.linspace(0, 1, 60)
    values = rng.random((60, 3))
    display = ThresholdPathDisplay(
        path,
        accuracy=values,
        worst_class_accuracy=values,
        score=1000 * values,
        n_suppressed=np.full((60, 3), 1280),
    ).plot()
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.count_axis_.get_xticklabels()]
    assert 4 < len(boxes) < 60
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    assert display.chosen_line_ is None


def test_is_silent_unless_asked(two, held, caplog, capfd):
    draw = ThresholdPathDisplay.from_estimator
    for verbose in (False, True):
        with caplog.at_level(logging.INFO, logger="ntkit"):
            caplog.clear()
            draw(
                two.clf,
                two.Z[two.train],
                two.y[two.train],
                thresholds=[0.0, 0.5],
                cv=2,
                scoring="accuracy",
                verbose=verbose,
                **held,
            )
        assert (len(caplog.records) == 4) == verbose
        assert bool(caplog.records) == verbose
    assert capfd.readouterr() == ("", "")


def test_errors(two):
    draw = ThresholdPathDisplay.from_estimator
    with pytest.raises(NotFittedError):
        draw(NeuronTuneClassifier(), two.Z, two.y)
    with pytest.raises(InputError, match="needs a fitted NeuronTuneClassifier"):
        draw(LogisticRegression(), two.Z, two.y)
    for thresholds in ([], [np.nan]):
        with pytest.raises(InputError, match="at least one finite number"):
            draw(two.clf, two.Z, two.y, thresholds=thresholds)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        draw(two.clf, two.Z, two.y[:10])
    with pytest.raises(InputError, match="X_val needs its labels"):
        draw(two.clf, two.Z, two.y, X_val=two.Z)
