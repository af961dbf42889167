"""The scores drawn are the estimator's own, in the order of the rule, over the mask."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_hex
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from ntkit import NeuronTuneClassifier, NeuronTuneClassifierCV
from ntkit.estimators import SpuriousNeuronSelector
from ntkit.exceptions import InputError
from ntkit.inspection import SpuriousnessDisplay
from ntkit.inspection._draw import runs

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")


def on_ground(display, n_neurons):
    """Whether each place from left to right is shaded."""
    shaded = np.zeros(n_neurons, dtype=bool)
    for path in display.ground_.get_paths():
        left, right = path.get_extents().get_points()[:, 0]
        shaded[round(left + 0.5) : round(right + 0.5)] = True
    return shaded


def test_draws_the_scores_of_the_estimator(two):
    display = SpuriousnessDisplay.from_estimator(two.clf)
    scores = two.clf.spuriousness_scores_
    order = np.argsort(-scores.max(axis=0), kind="stable")
    assert np.array_equal(display.order, order)
    assert [p.get_label() for p in display.points_] == ["class cat", "class dog"]
    for points, row in zip(display.points_, scores, strict=True):
        assert np.array_equal(points.get_ydata(), row[order])
    assert set(display.threshold_line_.get_ydata()) == {0.3}
    assert 0 < two.clf.suppressed_.sum() < 8
    assert np.array_equal(on_ground(display, 8), two.clf.suppressed_[order])
    assert "standard deviations" in display.ax_.get_ylabel().replace("\n", " ")
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == [str(i) for i in order]


def test_search_and_selector_show_what_they_chose(two):
    best = two.cv.best_estimator_
    display = SpuriousnessDisplay.from_estimator(two.cv)
    assert display.threshold == two.cv.threshold_
    assert np.array_equal(display.scores, best.spuriousness_scores_)
    selector = SpuriousNeuronSelector(threshold=0.3, standardize=True, random_state=0)
    selector.fit(two.Z[two.train], two.y[two.train])
    display = SpuriousnessDisplay.from_estimator(selector)
    assert np.array_equal(display.suppressed, ~selector.get_support())
    grid = GridSearchCV(two.clf, {"threshold": [0.5]}, cv=2).fit(two.Z, two.y)
    assert SpuriousnessDisplay.from_estimator(grid).threshold == 0.5


def test_intersection_is_in_the_order_of_the_smallest_score():
    scores = np.array([[1.0, 0.5, 3.0], [0.2, 0.4, -1.0]])
    display = SpuriousnessDisplay.from_scores(scores, threshold=0.1, aggregation="intersection")
    assert display.order.tolist() == [1, 0, 2]
    assert on_ground(display, 3).tolist() == [True, True, False]


def test_unscored_classes_are_left_out_and_said(two):
    scores = np.array([[1.0, -1.0], [np.nan, np.nan], [0.5, 2.0]])
    display = SpuriousnessDisplay.from_scores(scores, classes=["a", "b", "c"])
    assert [p.get_label() for p in display.points_] == ["class a", "class c"]
    assert display.ax_.get_title(loc="left") == "2 of 3 classes could be scored"
    display = SpuriousnessDisplay.from_scores(np.full((2, 3), np.nan))
    assert display.points_ == []
    assert "None of 2 classes" in display.ax_.get_title(loc="left")
    assert not on_ground(display, 3).any()


@pytest.mark.parametrize(("aggregation", "combine"), [("union", "max"), ("intersection", "min")])
def test_many_classes_become_bands(rng, aggregation, combine):
    scores = rng.normal(0, 1, (100, 50))
    scores[:5] = np.nan
    display = SpuriousnessDisplay.from_scores(scores, threshold=1.0, aggregation=aggregation)
    compared = getattr(np, f"nan{combine}")(scores, axis=0)
    (line,) = display.points_
    assert np.array_equal(line.get_ydata(), np.sort(compared)[::-1])
    whole, middle = (band.get_datalim(display.ax_.transData) for band in display.bands_)
    assert whole.y1 == pytest.approx(np.nanmax(scores))
    assert whole.y0 == pytest.approx(np.nanmin(scores))
    assert middle.y1 == pytest.approx(np.nanquantile(scores, 0.75, axis=0).max())
    assert len(display.ax_.get_legend().get_texts()) == 5
    assert display.bands_[0].get_label() == "all 95 scored classes"


def test_per_class_masks_are_ringed_in_their_class(rng):
    y = rng.integers(0, 3, 300)
    Z = rng.normal(0, 1, (300, 6)) + rng.normal(0, 0.5, (3, 6))[y]
    clf = NeuronTuneClassifier(0.2, standardize=True, aggregation="per_class", random_state=0)
    display = SpuriousnessDisplay.from_estimator(clf.fit(Z, y))
    lost = clf.suppressed_per_class_
    assert lost.any()
    rings = [line for line in display.ax_.lines if line.get_markerfacecolor() == "none"]
    for ring, row, scores in zip(rings, lost, clf.spuriousness_scores_, strict=True):
        at = np.flatnonzero(row[display.order])
        assert ring.get_xdata().tolist() == at.tolist()
        assert np.array_equal(ring.get_ydata(), scores[display.order][at])
    assert np.array_equal(on_ground(display, 6), lost.any(axis=0)[display.order])


def test_names_are_plain_text():
    """Neither the dollar of mathematics nor the underscore of a hidden entry does anything."""
    display = SpuriousnessDisplay.from_scores(
        np.eye(2), classes=["$x$", "_hidden"], neuron_names=["$a$", "a name of quite some letters"]
    )
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts[:2] == [r"class \$x\$", "class _hidden"]
    ticks = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert ticks[0] == r"\$a\$"
    assert len(ticks[1]) == 12
    assert "…" in ticks[1]


def test_column_names(two):
    frame = pd.DataFrame(two.Z, columns=[f"feature {i}" for i in range(8)])
    clf = NeuronTuneClassifier(0.3, standardize=True, random_state=0).fit(frame, two.y)
    display = SpuriousnessDisplay.from_estimator(clf)
    ticks = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert ticks == [f"feature {i}" for i in display.order]


def test_colours_are_okabe_and_itos(rng):
    display = SpuriousnessDisplay.from_scores(rng.normal(0, 1, (6, 20)))
    colours = {to_hex(p.get_color()) for p in display.points_}
    assert colours == {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}
    assert len({p.get_marker() for p in display.points_}) == 6


def test_errors(two):
    with pytest.raises(NotFittedError):
        SpuriousnessDisplay.from_estimator(NeuronTuneClassifier())
    with pytest.raises(NotFittedError):
        SpuriousnessDisplay.from_estimator(NeuronTuneClassifierCV())
    with pytest.raises(NotFittedError):
        SpuriousnessDisplay.from_estimator(SpuriousNeuronSelector())
    with pytest.raises(
        InputError, match=r"needs a fitted NeuronTuneClassifier.*LogisticRegression"
    ):
        SpuriousnessDisplay.from_estimator(LogisticRegression())
    with pytest.raises(InputError, match=r"scores must have shape \(C, D\)"):
        SpuriousnessDisplay.from_scores([1.0, 2.0])
    with pytest.raises(InputError, match=r"suppressed must have shape \(2,\) or \(3, 2\)"):
        SpuriousnessDisplay.from_scores(np.zeros((3, 2)), suppressed=[True])
    with pytest.raises(InputError, match="classes must have 3 names; got 1"):
        SpuriousnessDisplay.from_scores(np.zeros((3, 2)), classes=["a"])


@given(arrays(bool, st.integers(0, 40)))
def test_runs_cover_the_mask(mask):
    covered = np.zeros(len(mask), dtype=int)
    for start, width in runs(mask):
        covered[round(start + 0.5) : round(start + 0.5 + width)] += 1
    assert covered.tolist() == mask.astype(int).tolist()
