"""The frequencies are those of real fits on the bootstrap's weights, and repeat exactly."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ntkit import NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.inspection import MaskStabilityDisplay
from tests.inspection.samples import fitted, spurious_samples


def refitted_frequency(clf, Z, y, n_draws, seed):
    """The bootstrap by hand: fit again with each draw's counts as weights of the samples."""
    random, n = np.random.RandomState(seed), len(y)
    times = np.zeros(Z.shape[1])
    for _ in range(n_draws):
        counts = random.multinomial(n, np.full(n, 1 / n))
        again = clone(clf).set_params(head=clf.erm_head_)
        fitted(again, Z, y, X_val=Z, y_val=y, sample_weight_val=counts)
        per_class = clf.aggregation == "per_class" and len(clf.classes_) > 2
        times += again.suppressed_per_class_.any(axis=0) if per_class else again.suppressed_
    return times / n_draws


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"standardize": True, "threshold": 0.3},
        {"statistic": "mean", "max_suppressed": 0.4},
        {"statistic": "contribution", "aggregation": "intersection"},
        {"activation": "magnitude", "min_neurons": 3, "min_misclassified": 5},
        {"aggregation": "per_class", "threshold": 0.2},
    ],
)
@pytest.mark.parametrize("labels", [["a", "b"], [0, 1, 2]])
def test_frequency_is_that_of_fits_on_the_draws(parameters, labels):
    Z, y, _ = spurious_samples(200, 7, labels)
    clf = NeuronTuneClassifier.as_published(random_state=0, **parameters)
    clf = fitted(clf, Z, y, X_val=Z, y_val=y)
    display = MaskStabilityDisplay.from_estimator(clf, Z, y, n_draws=12, random_state=5)
    assert display.frequency == pytest.approx(refitted_frequency(clf, Z, y, 12, 5))
    assert display.frequency.any() or clf.spared_  # not for want of scores
    assert display.frequency[-2] == 0  # it is dead


def test_what_a_mask_costs_is_not_asked(two):
    data = two.Z[two.val], two.y[two.val]
    careful = clone(two.clf).set_params(max_cost=0.0, head=two.clf.erm_head_)
    fitted(careful, two.Z[two.train], two.y[two.train], X_val=data[0], y_val=data[1])
    drawn = MaskStabilityDisplay.from_estimator(careful, *data, n_draws=10)
    assert drawn.frequency.any()
    again = MaskStabilityDisplay.from_estimator(two.clf, *data, n_draws=10)
    assert np.array_equal(drawn.frequency, again.frequency)


def test_bars_marks_and_counts(two):
    display = MaskStabilityDisplay.from_estimator(
        two.clf, two.Z[two.val], two.y[two.val], n_draws=40
    )
    frequency, order, fitted = display.frequency, display.order, two.clf.suppressed_
    assert np.array_equal(display.bars_.get_data().values, np.sort(frequency)[::-1])
    expected = np.where(fitted, frequency, 0)[order]
    assert np.array_equal(display.fitted_bars_.get_data().values, expected)
    assert display.fitted_marks_.get_xdata().tolist() == np.flatnonzero(fitted[order]).tolist()
    counts = (display.n_always, display.n_sometimes, display.n_never)
    assert counts == (
        (frequency == 1).sum(),
        ((frequency > 0) & (frequency < 1)).sum(),
        (frequency == 0).sum(),
    )
    title = display.ax_.get_title(loc="left").replace("\n", " ")
    assert title == "suppressed always {}, sometimes {}, never {}".format(*counts)
    assert f"mask: {fitted.sum()}" in display.fitted_bars_.get_label()


def test_random_state_decides(two):
    def draw(seed):
        return MaskStabilityDisplay.from_estimator(
            two.cv, two.Z[two.val], two.y[two.val], n_draws=25, random_state=seed
        ).frequency

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))
    assert np.array_equal(draw(np.random.RandomState(1)), draw(1))


def test_is_silent_unless_asked(two, caplog):
    with caplog.at_level(logging.INFO, logger="ntkit"):
        MaskStabilityDisplay.from_estimator(two.clf, two.Z, two.y, n_draws=3)
        assert not caplog.records
        MaskStabilityDisplay.from_estimator(two.clf, two.Z, two.y, n_draws=3, verbose=True)
        assert len(caplog.records) == 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=60))
def test_order_and_counts(neurons):
    times, fitted = map(np.array, zip(*neurons, strict=True))
    display = MaskStabilityDisplay(times / 10, suppressed=fitted, n_draws=10)
    assert sorted(display.order) == list(range(len(times)))
    keys = [(-times[i], not fitted[i], i) for i in display.order]
    assert keys == sorted(keys)
    assert display.n_always + display.n_sometimes + display.n_never == len(times)


def test_errors(two):
    draw = MaskStabilityDisplay.from_estimator
    with pytest.raises(NotFittedError):
        draw(NeuronTuneClassifier(), two.Z, two.y)
    with pytest.raises(InputError, match="needs a fitted NeuronTuneClassifier"):
        draw(two.clf.erm_head_, two.Z, two.y)
    with pytest.raises(InputError, match="n_draws must be at least 1; got 0"):
        draw(two.clf, two.Z, two.y, n_draws=0)
    with pytest.raises(InputError, match="X has 900 samples but y has 3 labels"):
        draw(two.clf, two.Z, two.y[:3])
