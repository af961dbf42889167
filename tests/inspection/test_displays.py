"""What all Displays promise: scikit-learn's interface, and readable plots."""

import sys

import numpy as np
import pytest

from ntkit.exceptions import InputError, MissingDependencyError
from ntkit.inspection import (
    GroupAccuracyDisplay,
    MaskStabilityDisplay,
    NeuronDisplay,
    SpuriousnessDisplay,
    ThresholdPathDisplay,
)
from ntkit.inspection._draw import short


def path(rng, n_thresholds=9, n_neurons=2000):
    accuracy = rng.random((n_thresholds, 5))
    return ThresholdPathDisplay(
        np.linspace(0, 2, n_thresholds),
        accuracy=accuracy,
        worst_class_accuracy=accuracy / 2,
        score=accuracy * 1e4,
        n_suppressed=rng.integers(0, n_neurons, (n_thresholds, 5)),
        score_name="sfit_score",
        chosen=0.5,
    ).plot


def few(data, rng):
    Z, y = data.Z[data.val], data.y[data.val]
    return {
        "spuriousness": lambda ax=None: SpuriousnessDisplay.from_estimator(data.clf, ax=ax),
        "neuron": lambda ax=None: NeuronDisplay.from_estimator(data.clf, Z, y, neuron=2, ax=ax),
        "group": lambda ax=None: GroupAccuracyDisplay.from_estimator(
            data.clf, Z, y, groups=y, ax=ax
        ),
        "path": path(rng),
        "stability": lambda ax=None: MaskStabilityDisplay.from_estimator(
            data.clf, Z, y, n_draws=5, ax=ax
        ),
    }


KINDS = ["spuriousness", "neuron", "group", "path", "stability"]


@pytest.mark.parametrize("kind", KINDS)
def test_draws_into_the_axes_given_and_nowhere_else(figures, two, rng, kind):
    figure, (left, right) = figures.subplots(1, 2)
    display = few(two, rng)[kind](ax=right)
    assert display.ax_ is right
    assert display.figure_ is figure
    assert not left.has_data()
    assert figures.get_fignums() == [figure.number]
    assert display.plot(left) is display
    assert display.ax_ is left
    assert left.has_data()


@pytest.mark.parametrize("kind", KINDS)
def test_needs_no_pyplot_with_axes_of_its_own(two, rng, kind, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    figure = Figure()
    display = few(two, rng)[kind](ax=figure.add_subplot())
    assert display.figure_ is figure


@pytest.mark.parametrize("kind", KINDS)
def test_makes_one_figure_without_axes(figures, two, rng, kind):
    display = few(two, rng)[kind]()
    assert figures.get_fignums() == [display.figure_.number]
    assert display.ax_ in display.figure_.axes


@pytest.mark.parametrize("kind", KINDS)
def test_refuses_what_is_no_axes(two, rng, kind):
    with pytest.raises(InputError, match="ax must be one Axes of matplotlib; got list"):
        few(two, rng)[kind](ax=[])


@pytest.mark.parametrize("kind", KINDS)
def test_says_what_to_install_without_matplotlib(two, rng, kind, monkeypatch):
    draw = few(two, rng)[kind]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="pip install matplotlib"):
        draw()


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("data", ["two", "hundred"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_cut_off(request, figures, rng, kind, data, width):
    """At 400 and at 1400 pixels all text lies inside the figure, and the legend is short."""
    figure, ax = figures.subplots(figsize=(width / 100, width / 160), dpi=100, layout="constrained")
    display = few(request.getfixturevalue(data), rng)[kind](ax=ax)
    figure.canvas.draw()
    assert (figure.bbox.width, figure.bbox.height) == pytest.approx((width, width / 1.6))
    texts = [ax.xaxis.label, ax.yaxis.label, ax._left_title, *ax.texts]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    inside = figure.bbox.padded(2)
    for text in filter(lambda text: text.get_text(), texts):
        box = text.get_window_extent()
        assert inside.contains(box.x0, box.y0), text.get_text()
        assert inside.contains(box.x1, box.y1), text.get_text()
    legend = next(each.get_legend() for each in figure.axes if each.get_legend())
    assert 2 <= len(legend.get_texts()) <= 8
    box = legend.get_window_extent()
    assert ax.bbox.padded(3).contains(box.x0, box.y0)
    assert ax.bbox.padded(3).contains(box.x1, box.y1)
    assert display.ax_ is ax


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"),
        (3, "3"),
        ("a\nb", "a b"),
        ("land bird on a sea", "land bi… a sea"),
        ("$5", r"\$5"),
    ],
)
def test_long_names_keep_both_ends(name, shown):
    assert short(name, 14) == shown
