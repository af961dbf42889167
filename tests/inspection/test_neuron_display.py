"""The medians drawn are NumPy's, their step the score, and the areas shares of samples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from ntkit import NeuronTuneClassifier
from ntkit.estimators import AFRClassifier, SpuriousNeuronSelector
from ntkit.exceptions import InputError
from ntkit.inspection import NeuronDisplay

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")


def test_step_of_the_medians_is_the_score_of_the_estimator(two):
    clf = NeuronTuneClassifier.as_published(random_state=0, max_suppressed=0.5)
    clf.fit(two.Z[two.train], two.y[two.train], X_val=two.Z[two.val], y_val=two.y[two.val])
    assert 0 < clf.suppressed_.sum() < 8
    for neuron in range(8):
        display = NeuronDisplay.from_estimator(clf, two.Z[two.val], two.y[two.val], neuron=neuron)
        drawn = [
            wrong.get_xdata()[0] - correct.get_xdata()[0] for correct, wrong in display.medians_
        ]
        assert drawn == pytest.approx(clf.spuriousness_scores_[:, neuron])
        assert [part.score for part in display.by_class] == pytest.approx(drawn)
        marked = "(suppressed)" in display.ax_.get_title(loc="left")
        assert marked == clf.suppressed_[neuron]
        display.figure_.clear()


def test_step_in_deviations_of_the_neuron_is_the_score_of_the_defaults(two):
    Z, y = two.Z[two.val], two.y[two.val]
    scores = two.clf.spuriousness_scores_
    assert not np.isnan(scores).any()
    for neuron in (0, 7):
        display = NeuronDisplay.from_estimator(two.clf, Z, y, neuron=neuron)
        steps = [part.score / Z[:, neuron].std() for part in display.by_class]
        assert steps == pytest.approx(scores[:, neuron])


def test_sides_are_the_outcomes_of_the_original_head(two):
    Z, y = two.Z[two.test], two.y[two.test]
    display = NeuronDisplay.from_estimator(two.clf, Z, y, neuron=7, bins=10)
    right = two.clf.erm_head_.predict(Z) == y
    assert [part.label for part in display.shown_] == ["cat", "dog"]
    heights = []
    for row, (part, patches) in enumerate(zip(display.shown_, display.histograms_, strict=True)):
        own = y == part.label
        assert part.correct.tolist() == Z[own & right, 7].tolist()
        assert part.misclassified.tolist() == Z[own & ~right, 7].tolist()
        for patch, side, up in zip(
            patches, (part.correct, part.misclassified), (-1, 1), strict=True
        ):
            values, edges, _ = patch.get_data()
            assert edges == pytest.approx(np.linspace(Z[:, 7].min(), Z[:, 7].max(), 11))
            share = np.histogram(side, edges)[0] / len(side)
            heights.append((np.asarray(values) - row) * up / share.clip(1e-12))
            heights[-1] = heights[-1][share > 0]
    scale = np.concatenate(heights)
    assert scale == pytest.approx(scale[0])  # one scale for all sides of all classes


def test_many_classes_show_those_with_most_errors(hundred):
    Z, y = hundred.Z[hundred.val], hundred.y[hundred.val]
    display = NeuronDisplay.from_estimator(hundred.clf, Z, y, neuron=3)
    errors = dict.fromkeys(hundred.clf.classes_, 0)
    for label in y[hundred.clf.erm_head_.predict(Z) != y]:
        errors[label] += 1
    assert len(display.shown_) == 4
    shown = [len(part.misclassified) for part in display.shown_]
    assert shown == sorted(errors.values(), reverse=True)[:4]
    title = display.ax_.get_title(loc="left").replace("\n", " ")
    assert "4 of 100 classes, most errors first" in title


def test_classes_without_one_side():
    display = NeuronDisplay.from_predictions(
        [1.0, 2.0, 3.0, 4.0], ["a", "a", "b", "b"], ["a", "a", "a", "a"]
    )
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts == ["no errors", "none correct"]
    (a_right, a_wrong), (b_right, b_wrong) = display.medians_
    assert a_wrong is None
    assert b_right is None
    assert a_right.get_xdata()[0] == 1.5
    assert b_wrong.get_xdata()[0] == 3.5


def test_a_dead_neuron_is_drawn():
    display = NeuronDisplay.from_predictions([0.5] * 4, [0, 0, 1, 1], [0, 1, 1, 0])
    assert [part.score for part in display.by_class] == [0, 0]
    assert [text.get_text() for text in display.ax_.texts] == ["δ = 0", "δ = 0"]


def test_neurons_by_name(two):
    frame = pd.DataFrame(two.Z, columns=[f"n{i}" for i in range(8)])
    clf = NeuronTuneClassifier(0.3, standardize=True, random_state=0).fit(frame, two.y)
    display = NeuronDisplay.from_estimator(clf, frame, two.y, neuron="n6")
    assert display.activations.tolist() == [0.5] * len(two.y)
    with pytest.raises(InputError, match="There is no neuron 'sky'"):
        NeuronDisplay.from_estimator(clf, frame, two.y, neuron="sky")
    with pytest.raises(InputError, match="The neurons have no names, so 'sky' is unknown"):
        NeuronDisplay.from_estimator(two.clf, two.Z, two.y, neuron="sky")


def test_any_estimator_with_an_original_head(two):
    afr = AFRClassifier(random_state=0).fit(two.Z, two.y)
    display = NeuronDisplay.from_estimator(afr, two.Z, two.y, neuron=7)
    assert (display.y_pred == afr.erm_head_.predict(two.Z)).all()
    selector = SpuriousNeuronSelector(head=two.clf.erm_head_).fit(two.Z, two.y)
    display = NeuronDisplay.from_estimator(selector, two.Z, two.y, neuron=7)
    assert (display.y_pred == two.clf.erm_head_.predict(two.Z)).all()


@pytest.mark.parametrize("neuron", [8, -1, True, 1.0, None])
def test_neurons_that_are_not_there(two, neuron):
    with pytest.raises(InputError, match="neuron must be"):
        NeuronDisplay.from_estimator(two.clf, two.Z, two.y, neuron=neuron)


def test_errors(two):
    def draw(estimator, X=two.Z, y=two.y):
        return NeuronDisplay.from_estimator(estimator, X, y, neuron=0)

    with pytest.raises(NotFittedError):
        draw(NeuronTuneClassifier())
    with pytest.raises(InputError, match=r"LogisticRegression keeps no original head"):
        draw(LogisticRegression().fit(two.Z, two.y))
    with pytest.raises(InputError, match="needs a fitted estimator; got LinearHead"):
        draw(two.clf.erm_head_)
    with pytest.raises(InputError, match="X has 900 samples but y has 2 labels"):
        draw(two.clf, y=["cat", "dog"])
    with pytest.raises(InputError, match="X has 5 columns, but the head reads 8"):
        draw(two.clf, X=two.Z[:, :5])
    with pytest.raises(InputError, match=r"class 'cow', which the head \('cat', 'dog'\) lacks"):
        draw(two.clf, y=np.where(two.y == "cat", "cow", "dog"))
    with pytest.raises(InputError, match=r"activations must have shape \(2,\)"):
        NeuronDisplay.from_predictions([1.0], [0, 1], [0, 1])
    with pytest.raises(InputError, match="y_pred has 1 labels but y_true has 2"):
        NeuronDisplay.from_predictions([1.0, 2.0], [0, 1], [0])
    with pytest.raises(InputError, match="finite numbers"):
        NeuronDisplay.from_predictions([1.0, np.nan], [0, 1], [0, 1])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6, width=32), st.sampled_from("abc"), st.sampled_from("abc")),
        min_size=1,
        max_size=30,
    )
)
def test_any_samples_split_into_two_sides(samples):
    values, y_true, y_pred = map(np.array, zip(*samples, strict=True))
    display = NeuronDisplay.from_predictions(values, y_true, y_pred)
    display.figure_.clear()
    total = 0
    for part in display.by_class:
        own = y_true == part.label
        total += len(part.correct) + len(part.misclassified)
        for side, median, here in zip(
            (part.correct, part.misclassified),
            part.medians,
            (own & (y_pred == y_true), own & (y_pred != y_true)),
            strict=True,
        ):
            assert side.tolist() == values[here].tolist()
            assert np.isnan(median) if not here.any() else median == np.median(values[here])
    assert total == len(values)
    import matplotlib.pyplot as plt

    plt.close(display.figure_)
