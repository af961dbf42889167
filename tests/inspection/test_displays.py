"""Displays: scikit-learn's interface, readable plots, and the numbers of estimators and reports."""

import sys
import warnings
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV

from ntkit import NeuronTuneClassifier, NeuronTuneClassifierCV, audit
from ntkit.estimators import AFRClassifier, SpuriousNeuronSelector
from ntkit.exceptions import InputError, MissingDependencyError, SuppressionWarning
from ntkit.inspection import (
    AuditDisplay,
    CheckDisplay,
    GroupAccuracyDisplay,
    NeuronDisplay,
    SpuriousnessDisplay,
)
from ntkit.jobs.check import check_predictions
from ntkit.metrics import group_report
from ntkit.spuriousness import suppressed_neurons

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")


def spurious_samples(n, n_neurons, labels):
    """Embeddings: the last neuron is a mark that follows the class in 90 %, one before is dead."""
    rng, k = np.random.default_rng(0), len(labels)
    y = rng.permutation(np.resize(np.arange(k), n))
    mark = np.where(rng.random(n) < 0.9, y, (y + 1) % k)
    Z = rng.normal(0, 1, (n, n_neurons))
    Z[:, :-2] += rng.normal(0, 0.7, (k, n_neurons - 2))[y]
    Z[:, -2] = 0.5
    Z[:, -1] = 2 * mark + rng.normal(0, 0.2, n)
    return Z, np.asarray(labels)[y], np.asarray(labels)[mark]


def fitted(clf, Z, y, n):
    """The classifier, fitted to n rows, with the next n as validation set; the validation set."""
    with warnings.catch_warnings(action="ignore", category=SuppressionWarning):
        clf.fit(Z[:n], y[:n], X_val=Z[n : 2 * n], y_val=y[n : 2 * n])
    return SimpleNamespace(clf=clf, Z=Z[n : 2 * n], y=y[n : 2 * n])


@pytest.fixture(scope="session")
def two():
    """Two classes with names, 8 neurons."""
    Z, y, mark = spurious_samples(600, 8, ["cat", "dog"])
    rule = {"max_suppressed": 0.5, "min_misclassified": 1, "max_cost": None}
    case = fitted(NeuronTuneClassifier(0.3, **rule, random_state=0), Z, y, 300)
    case.groups = np.array([f"{a} with {b} mark" for a, b in zip(y, mark, strict=True)])[300:]
    return case


@pytest.fixture(scope="session")
def hundred():
    """A hundred classes with long names, 64 neurons; only a few classes make errors."""
    names = [f"{i:02d} a class with a name of some length" for i in range(100)]
    Z, y, _ = spurious_samples(3000, 64, names)
    clf = NeuronTuneClassifier(0.5, min_misclassified=1, max_cost=None, C=0.01, random_state=0)
    return fitted(clf, Z, y, 1500)


@pytest.fixture(autouse=True)
def figures():
    """Draw into memory, and close what a test leaves open."""
    with matplotlib.rc_context():
        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        plt.close("all")
        yield plt
        plt.close("all")


def audited(case):
    """An audit of the original head, whose only attribute is the mark."""
    return audit(case.y, case.clf.erm_head_.predict(case.Z), table={"mark": case.Z[:, -1]})


def checked(case):
    """A check of the classifier against its original head."""
    before = case.clf.erm_head_.predict(case.Z)
    options = {"y_pred_before": before, "limits": {"max_drop": 5}}
    return check_predictions(case.y, case.clf.predict(case.Z), **options)


DISPLAYS = {
    "spuriousness": lambda case, **ax: SpuriousnessDisplay.from_estimator(case.clf, **ax),
    "neuron": lambda case, **ax: NeuronDisplay.from_estimator(
        case.clf, case.Z, case.y, neuron=2, **ax
    ),
    "group": lambda case, **ax: GroupAccuracyDisplay.from_estimator(
        case.clf, case.Z, case.y, groups=case.y, **ax
    ),
    "audit": lambda case, **ax: AuditDisplay.from_result(audited(case), **ax),
    "check": lambda case, **ax: CheckDisplay.from_result(checked(case), **ax),
}


@pytest.mark.parametrize("draw", DISPLAYS.values(), ids=DISPLAYS)
def test_every_display_follows_scikit_learn(figures, two, draw, monkeypatch):
    figure, (left, right) = figures.subplots(1, 2)
    display = draw(two, ax=right)
    assert (display.ax_, display.figure_) == (right, figure)
    assert not left.has_data()
    assert figures.get_fignums() == [figure.number]
    assert display.plot(left) is display
    assert display.ax_ is left
    assert left.has_data()
    figures.close(figure)
    display = draw(two)
    assert figures.get_fignums() == [display.figure_.number]
    with pytest.raises(InputError, match="ax must be one Axes of matplotlib; got list"):
        draw(two, ax=[])
    with monkeypatch.context() as patch:  # axes of the caller's need no pyplot
        patch.setitem(sys.modules, "matplotlib.pyplot", None)
        own = matplotlib.figure.Figure()
        assert draw(two, ax=own.add_subplot()).figure_ is own
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="pip install matplotlib"):
        draw(two)


@pytest.mark.more
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("data", ["two", "hundred"])
@pytest.mark.parametrize("draw", DISPLAYS.values(), ids=DISPLAYS)
def test_nothing_is_cut_off(request, figures, draw, data, width):
    figure, ax = figures.subplots(figsize=(width / 100, width / 160), dpi=100, layout="constrained")
    draw(request.getfixturevalue(data), ax=ax)
    figure.canvas.draw()
    texts = [ax.xaxis.label, ax.yaxis.label, ax._left_title, *ax.texts]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [(figure.bbox.padded(2), text) for text in texts if text.get_text()]
    legend = ax.get_legend()
    assert 2 <= len(legend.get_texts()) <= 8
    for outer, inner in [*boxes, (ax.bbox.padded(3), legend)]:
        box = inner.get_window_extent()
        assert outer.contains(box.x0, box.y0), inner
        assert outer.contains(box.x1, box.y1), inner


def title_of(display):
    return display.ax_.get_title(loc="left").replace("\n", " ")


def ticks_of(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


# SpuriousnessDisplay


def on_ground(display, n_neurons):
    """Whether each place from left to right has a grey background."""
    shaded = np.zeros(n_neurons, dtype=bool)
    for path in display.ground_.get_paths():
        left, right = path.get_extents().get_points()[:, 0]
        shaded[round(left + 0.5) : round(right + 0.5)] = True
    return shaded.tolist()


def of_scores(scores, **options):
    scores, rule = np.asarray(scores), {"threshold", "aggregation"} & {*options}
    mask = suppressed_neurons(scores, **{name: options[name] for name in rule})
    return SpuriousnessDisplay(scores, suppressed=mask, **options).plot()


def test_scores_are_those_of_the_estimator(two):
    display = SpuriousnessDisplay.from_estimator(two.clf)
    scores = two.clf.spuriousness_scores_
    order = np.argsort(-scores.max(axis=0), kind="stable")
    assert display.order.tolist() == order.tolist()
    assert [p.get_label() for p in display.points_] == ["class cat", "class dog"]
    for points, row in zip(display.points_, scores, strict=True):
        assert np.array_equal(points.get_ydata(), row[order])
    assert set(display.threshold_line_.get_ydata()) == {0.3}
    assert 0 < two.clf.suppressed_.sum() < 8
    assert on_ground(display, 8) == two.clf.suppressed_[order].tolist()
    assert "standard deviations" in display.ax_.get_ylabel().replace("\n", " ")
    assert ticks_of(display.ax_.xaxis) == [str(i) for i in order]


def test_searches_and_selectors_show_what_they_chose(two):
    search = NeuronTuneClassifierCV([0.1, 1.0], cv=2, min_misclassified=1, random_state=0)
    display = SpuriousnessDisplay.from_estimator(search.fit(two.Z, two.y))
    assert display.threshold == search.threshold_
    assert np.array_equal(display.scores, search.best_estimator_.spuriousness_scores_)
    grid = GridSearchCV(two.clf, {"threshold": [0.5]}, cv=2).fit(two.Z, two.y)
    assert SpuriousnessDisplay.from_estimator(grid).threshold == 0.5
    selector = SpuriousNeuronSelector(threshold=0.3, random_state=0)
    frame = pd.DataFrame(two.Z, columns=[f"feature {i}" for i in range(8)])
    display = SpuriousnessDisplay.from_estimator(selector.fit(frame, two.y))
    assert np.array_equal(display.suppressed, ~selector.get_support())
    assert ticks_of(display.ax_.xaxis) == [f"feature {i}" for i in display.order]


def test_intersection_is_in_the_order_of_the_smallest_score():
    scores = np.array([[1.0, 0.5, 3.0], [0.2, 0.4, -1.0]])
    display = of_scores(scores, threshold=0.1, aggregation="intersection")
    assert display.order.tolist() == [1, 0, 2]
    assert on_ground(display, 3) == [True, True, False]


def test_classes_without_scores_are_left_out_and_said():
    scores = np.array([[1.0, -1.0], [np.nan, np.nan], [0.5, 2.0]])
    display = of_scores(scores, classes=["$a$", "b", "_c"])
    # The dollar of mathematics and the underscore of a hidden entry do nothing.
    assert [p.get_label() for p in display.points_] == [r"class \$a\$", "class _c"]
    assert title_of(display) == "2 of 3 classes could be scored"
    display = of_scores(np.full((2, 3), np.nan))
    assert display.points_ == []
    assert "None of 2 classes" in title_of(display)
    assert not any(on_ground(display, 3))
    long = of_scores([[1.0]], neuron_names=["land bird on a sea"])
    assert ticks_of(long.ax_.xaxis) == ["land b…a sea"]


@pytest.mark.parametrize(("aggregation", "combine"), [("union", "max"), ("intersection", "min")])
def test_many_classes_become_bands(rng, aggregation, combine):
    scores = rng.normal(0, 1, (100, 50))
    scores[:5] = np.nan
    display = of_scores(scores, threshold=1.0, aggregation=aggregation)
    compared = getattr(np, f"nan{combine}")(scores, axis=0)
    (line,) = display.points_
    assert np.array_equal(line.get_ydata(), np.sort(compared)[::-1])
    whole, middle = (band.get_datalim(display.ax_.transData) for band in display.bands_)
    assert [whole.y0, whole.y1] == pytest.approx([np.nanmin(scores), np.nanmax(scores)])
    assert middle.y1 == pytest.approx(np.nanquantile(scores, 0.75, axis=0).max())
    assert display.bands_[0].get_label() == "all 95 scored classes"


def test_per_class_masks_have_rings_in_their_class(rng):
    y = rng.integers(0, 3, 300)
    Z = rng.normal(0, 1, (300, 6)) + rng.normal(0, 0.5, (3, 6))[y]
    clf = NeuronTuneClassifier(0.2, aggregation="per_class", max_cost=None, random_state=0)
    display = SpuriousnessDisplay.from_estimator(clf.fit(Z, y))
    lost = clf.suppressed_per_class_
    assert lost.any()
    rings = [line for line in display.ax_.lines if line.get_markerfacecolor() == "none"]
    for ring, row, scores in zip(rings, lost, clf.spuriousness_scores_, strict=True):
        at = np.flatnonzero(row[display.order])
        assert ring.get_xdata().tolist() == at.tolist()
        assert np.array_equal(ring.get_ydata(), scores[display.order][at])
    assert on_ground(display, 6) == lost.any(axis=0)[display.order].tolist()


# NeuronDisplay


@pytest.mark.parametrize("published", [True, False])
def test_step_of_the_medians_is_the_score_of_the_estimator(two, published):
    clf, scale = two.clf, two.Z.std(axis=0)
    if published:
        clf = NeuronTuneClassifier.as_described(
            solver="optimum", head=clf.erm_head_, max_suppressed=0.5, C=1.0
        )
        clf.fit(two.Z, two.y)
    for neuron in (0, 7):
        display = NeuronDisplay.from_estimator(clf, two.Z, two.y, neuron=neuron)
        drawn = [b.get_xdata()[0] - a.get_xdata()[0] for a, b in display.medians_]
        assert drawn == pytest.approx(clf.spuriousness_scores_[:, neuron] * scale[neuron])
        assert [part.score for part in display.by_class] == pytest.approx(drawn)
        assert ("(suppressed)" in title_of(display)) == clf.suppressed_[neuron]


def test_histograms_are_shares_of_correct_and_of_misclassified_samples(two):
    display = NeuronDisplay.from_estimator(two.clf, two.Z, two.y, neuron=7)
    right, values = two.clf.erm_head_.predict(two.Z) == two.y, two.Z[:, 7]
    assert [part.label for part in display.shown_] == ["cat", "dog"]
    scale = set()
    for row, (part, patches) in enumerate(zip(display.shown_, display.histograms_, strict=True)):
        own = two.y == part.label
        assert part.correct.tolist() == values[own & right].tolist()
        assert part.misclassified.tolist() == values[own & ~right].tolist()
        for patch, kind, up in zip(patches, (right, ~right), (-1, 1), strict=True):
            heights, edges, _ = patch.get_data()
            assert edges == pytest.approx(np.linspace(values.min(), values.max(), 25))
            share = np.histogram(values[own & kind], edges)[0] / (own & kind).sum()
            ratio = (np.asarray(heights) - row)[share > 0] * up / share[share > 0]
            scale |= set(ratio.round(9))
    assert len(scale) == 1


def test_many_classes_show_those_with_most_errors(hundred):
    display = NeuronDisplay.from_estimator(hundred.clf, hundred.Z, hundred.y, neuron=3)
    wrong = hundred.y[hundred.clf.erm_head_.predict(hundred.Z) != hundred.y]
    errors = sorted(np.unique(wrong, return_counts=True)[1], reverse=True)
    assert [len(part.misclassified) for part in display.shown_] == errors[:4]
    assert "4 of 100 classes, most errors first" in title_of(display)


def test_classes_without_errors_or_without_correct_samples():
    values, y, pred = np.arange(1.0, 5), np.array(list("aabb")), np.array(list("aaaa"))
    display = NeuronDisplay(values, y, pred).plot()
    assert [text.get_text() for text in display.ax_.texts] == ["no errors", "none correct"]
    (a_right, a_wrong), (b_right, b_wrong) = display.medians_
    assert a_wrong is b_right is None
    assert (a_right.get_xdata()[0], b_wrong.get_xdata()[0]) == (1.5, 3.5)
    y, pred = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
    dead = NeuronDisplay(np.full(4, 0.5), y, pred).plot()
    assert [text.get_text() for text in dead.ax_.texts] == ["δ = 0", "δ = 0"]


def test_neurons_by_name_and_any_estimator_with_an_original_head(two):
    frame = pd.DataFrame(two.Z, columns=[f"n{i}" for i in range(8)])
    afr = AFRClassifier(random_state=0).fit(frame, two.y)
    display = NeuronDisplay.from_estimator(afr, frame, two.y, neuron="n6")
    assert display.activations.tolist() == [0.5] * len(two.y)
    assert (display.y_pred == afr.erm_head_.predict(two.Z)).all()
    with pytest.raises(InputError, match="neuron must be a column"):
        NeuronDisplay.from_estimator(afr, frame, two.y, neuron="sky")


# GroupAccuracyDisplay


def points(container):
    return container.lines[0].get_xdata()


def intervals(container):
    (bars,) = container.lines[2]
    return np.array([segment[:, 0] for segment in bars.get_segments()])


def test_accuracies_before_and_after(two):
    Z, y, groups = two.Z, two.y, two.groups
    display = GroupAccuracyDisplay.from_estimator(two.clf, Z, y, groups=groups)
    before, after = two.clf.erm_head_.predict(Z), two.clf.predict(Z)
    labels = np.unique(groups)
    expected = [[accuracy_score(y[groups == g], pred[groups == g]) for g in labels]
                for pred in (before, after)]  # fmt: skip
    assert points(display.before_) == pytest.approx(expected[0])
    assert points(display.after_) == pytest.approx(expected[1])
    assert ticks_of(display.ax_.yaxis) == [f"{g}  ({(groups == g).sum()})" for g in labels]
    report = group_report(y, after, groups=groups, y_pred_before=before)
    rows, was = (
        [row for row in some.rows if row.kind == "group"] for some in (report, report.before)
    )
    assert intervals(display.after_) == pytest.approx(np.array([r.interval for r in rows]))
    assert intervals(display.before_) == pytest.approx(np.array([r.interval for r in was]))
    marks = (display.worst_before_, display.worst_after_)
    for mark, accuracies in zip(marks, expected, strict=True):
        assert mark.get_xdata()[0] == pytest.approx(min(accuracies))
        assert round(mark.get_ydata()[0]) == int(np.argmin(accuracies))
    lowest = [f"{100 * min(accuracies):.1f} %" for accuracies in expected]
    assert title_of(display) == f"worst group: {lowest[0]} → {lowest[1]}"


def test_what_to_compare_with(two):
    other = LogisticRegression().fit(two.Z, two.y)
    draw = GroupAccuracyDisplay.from_estimator
    for before in (other, two.clf.erm_head_):
        display = draw(two.clf, two.Z, two.y, groups=two.groups, before=before)
        options = {"groups": two.groups, "y_pred_before": before.predict(two.Z)}
        assert display.report == group_report(two.y, two.clf.predict(two.Z), **options)
    alone = draw(two.clf, two.Z, two.y, groups=two.groups, before=None)
    assert alone.before_ is alone.worst_before_ is None
    assert "→" not in title_of(alone)
    assert draw(other, two.Z, two.y, groups=two.groups).before_ is None  # it had no head before
    assert draw(two.clf.head_, two.Z, two.y, groups=two.groups).report == alone.report


def test_of_many_groups_the_worst_are_drawn(rng):
    y_true = rng.integers(0, 2, 5000)
    groups = rng.integers(0, 100, 5000)
    y_pred = np.where(rng.random(5000) < groups / 100, y_true, 1 - y_true)
    display = GroupAccuracyDisplay.from_predictions(y_true, y_pred, groups=groups)
    accuracies = sorted(np.mean((y_true == y_pred)[groups == g]) for g in range(100))
    assert points(display.after_) == pytest.approx(accuracies[:12])
    assert "12 worst of 100 groups" in title_of(display)
    assert display.worst_after_.get_xdata()[0] == accuracies[0]


REFUSALS = [
    ("spuriousness", {"estimator": LogisticRegression()}, "fitted NeuronTune.*LogisticRegression"),
    (
        "neuron",
        {"estimator": lambda two: LogisticRegression().fit(two.Z, two.y)},
        "LogisticRegression keeps no original head",
    ),
    (
        "neuron",
        {"estimator": lambda two: two.clf.erm_head_},
        "needs a fitted estimator; got LinearHead",
    ),
    ("neuron", {"y": ["cat", "dog"]}, r"shape \(2, D\) are needed; got \(300, 8\)"),
    ("neuron", {"X": np.zeros((300, 5))}, r"reads embeddings of shape \(N, 8\); got \(300, 5\)"),
    ("neuron", {"y": ["cow"] * 300}, r"class 'cow', which the head \('cat', 'dog'\) lacks"),
    ("neuron", {"neuron": "sky"}, "neuron must be a column from 0 to 7.*got .sky."),
    *[("neuron", {"neuron": n}, "neuron must be") for n in (8, -1, True, 1.0, None)],
    ("predictions", {"groups": None}, "needs group labels; pass groups"),
    ("group", {"groups": ["a", "b"]}, "groups has 2 labels but y_true has 300"),
    ("group", {"before": "erm"}, 'before must be "auto"'),
    ("group", {"before": 3}, "needs classifiers or heads; got int"),
]


@pytest.mark.parametrize(("display", "changed", "message"), REFUSALS)
def test_refusals(two, display, changed, message):
    samples = {"estimator": two.clf, "X": two.Z, "y": two.y}
    draw, arguments = {
        "spuriousness": (SpuriousnessDisplay.from_estimator, {}),
        "neuron": (NeuronDisplay.from_estimator, {**samples, "neuron": 0}),
        "group": (GroupAccuracyDisplay.from_estimator, {**samples, "groups": two.groups}),
        "predictions": (GroupAccuracyDisplay.from_predictions, {"y_true": [0], "y_pred": [0]}),
    }[display]
    arguments |= changed
    if callable(arguments.get("estimator")):
        arguments["estimator"] = arguments["estimator"](two)
    with pytest.raises(InputError, match=message):
        draw(**arguments)


def test_unfitted_estimators_and_reports_without_groups_are_refused(two):
    for clf in (NeuronTuneClassifier(), NeuronTuneClassifierCV(), SpuriousNeuronSelector()):
        with pytest.raises(NotFittedError):
            SpuriousnessDisplay.from_estimator(clf)
        with pytest.raises(NotFittedError):
            NeuronDisplay.from_estimator(clf, two.Z, two.y, neuron=0)
    for clf, before in ((NeuronTuneClassifier(), None), (two.clf, LogisticRegression())):
        with pytest.raises(NotFittedError):
            GroupAccuracyDisplay.from_estimator(clf, two.Z, two.y, groups=two.groups, before=before)
    with pytest.raises(InputError, match="made without group labels"):
        GroupAccuracyDisplay(group_report(two.y, two.y)).plot()


def test_an_audit_is_plotted_with_and_without_each_attribute(two):
    y = np.arange(400) % 2
    mark = np.where(np.arange(400) % 10 < 8, y, 1 - y)
    found = audit(
        y, np.where(np.arange(400) % 20 < 15, mark, y), table={"mark": mark.astype(float)}
    )
    display = AuditDisplay.from_result(found)
    assert len(display.shown_) == len(found.findings) == 1
    (finding,) = display.shown_
    for errorbar, has in ((display.with_, True), (display.without_, False)):
        (row,) = (g for g in finding.groups if g.name == finding.worst.name and g.which is has)
        assert points(errorbar) == [row.value]
        assert intervals(errorbar)[0] == pytest.approx(row.interval)
    assert title_of(display) == "1 finding"
    right = audit(two.y, two.y, table={"mark": two.Z[:, -1]})
    assert title_of(AuditDisplay.from_result(right)) == "No findings"


def test_a_check_is_plotted_as_changes_with_their_limits():
    y = np.arange(400) % 2
    new, old = y.copy(), y.copy()
    new[:30] = 1 - y[:30]
    old[20:26] = 1 - y[20:26]
    options = {"y_pred_before": old, "groups": np.arange(400) // 100}
    result = check_predictions(y, new, **options, limits={"max_drop": 5})
    display = CheckDisplay.from_result(result)
    assert display.shown_[0].title == "group 0"
    assert sorted(row.title for row in display.shown_) == sorted(r.title for r in result.rows)
    colors = dict[str, str]()
    for at, (row, errorbar) in enumerate(zip(display.shown_, display.changes_, strict=True)):
        assert points(errorbar) == [row.change]
        assert intervals(errorbar)[0] == pytest.approx(row.change_interval)
        assert display.limits_[at].get_xdata()[0] == -0.05
        colors[row.verdicts[0].outcome] = errorbar.lines[0].get_color()
    assert len({*colors.values()}) == len(colors) == 3
    assert title_of(display) == "failed"


def test_a_row_that_fails_another_limit_than_that_drawn_is_not_blue():
    y = np.arange(400) % 2
    wrong = np.where(np.arange(400) % 4 < 2, y, 1 - y)
    limits = {"max_drop": 5, "average": 80}
    result = check_predictions(y, wrong, y_pred_before=wrong, limits=limits)
    display = CheckDisplay.from_result(result)
    colors = {
        r.outcome: e.lines[0].get_color()
        for r, e in zip(display.shown_, display.changes_, strict=True)
    }
    assert {"pass", "fail"} <= {*colors}
    assert colors["fail"] != colors["pass"]


def test_a_check_of_one_model_is_plotted_as_accuracies_with_their_minimum():
    y = np.arange(400) % 2
    pred = np.where(np.arange(400) < 30, 1 - y, y)
    display = CheckDisplay.from_result(check_predictions(y, pred, limits={"worst_class": 80}))
    assert [points(e)[0] for e in display.changes_] == [row.value for row in display.shown_]
    assert [line.get_xdata()[0] for line in display.limits_] == [0.8, 0.8]  # of the classes
    assert title_of(display) == "passed"


def test_displays_of_results_refuse_other_things(two):
    with pytest.raises(InputError, match="AuditDisplay needs an audit; got GroupReport"):
        AuditDisplay.from_result(group_report(two.y, two.y))
    with pytest.raises(InputError, match="CheckDisplay needs a check; got GroupReport"):
        CheckDisplay.from_result(group_report(two.y, two.y))


def test_a_neuron_whose_values_differ_by_rounding_is_drawn():
    y = np.arange(200) % 2
    Z = np.column_stack(
        [y + 0.1 * np.arange(200) % 1, np.where(np.arange(200) % 3, 0.1 + 0.2, 0.3)]
    )
    clf = NeuronTuneClassifier(max_cost=None, random_state=0).fit(Z, y)
    for values in (Z[:, 1], np.where(np.arange(200) % 3, 5e-324, 0.0), np.full(200, 7.0)):
        Z[:, 1] = values
        display = NeuronDisplay.from_estimator(clf, Z, y, neuron=1)
        assert display.medians_
