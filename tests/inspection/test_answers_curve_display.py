"""AnswersCurveDisplay: it draws what was measured, and nothing else."""

import numpy as np
import pytest

from ntkit.exceptions import InputError
from ntkit.inspection import AnswersCurveDisplay

pytest.importorskip("matplotlib")


def test_the_lines_are_the_means_in_order_of_the_answers():
    results = {"a": {48: [0.5, 0.7], 12: [0.1, 0.3]}, "b": {12: 0.4, 24: 0.5}}
    display = AnswersCurveDisplay.from_results(results, reference=0.9, reference_name="all")
    assert display.lines_["a"].get_xdata().tolist() == [12, 48]
    assert np.allclose(display.lines_["a"].get_ydata(), [0.2, 0.6])
    assert display.lines_["b"].get_ydata().tolist() == [0.4, 0.5]
    assert set(display.reference_.get_ydata()) == {0.9}
    named = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert named == ["a", "b", "all"]
    again = AnswersCurveDisplay.from_results({"b": results["b"]}, ax=display.ax_)
    assert again.ax_ is display.ax_
    assert again.reference_ is None


@pytest.mark.parametrize(
    ("results", "options", "message"),
    [
        ({}, {}, "no curve"),
        ({"a": {}}, {}, "'a' needs positive"),
        ({"a": {0: 0.5}}, {}, "'a' needs positive"),
        ({"a": {12: 62.0}}, {}, r"not in \[0, 1\]"),
        ({"a": {12: np.nan}}, {}, r"not in \[0, 1\]"),
        ({"a": {12: [0.1], 24: [0.1, 0.2]}}, {}, "as many repetitions"),
        ({"a": {12: 0.5}}, {"reference": 80}, "reference must be"),
    ],
)
def test_what_cannot_be_drawn_is_named(results, options, message):
    with pytest.raises(InputError, match=message):
        AnswersCurveDisplay.from_results(results, **options)
