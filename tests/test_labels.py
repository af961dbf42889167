"""Labels that do not match: what is said of any two sets of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkit import FrozenModel, LinearHead, NeuronTuneClassifier, debias
from ntkit._labels import (
    differing_classes,
    guarded_cell,
    listed,
    meant_instead,
    unguarded_cell,
    unknown_labels,
)
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError

WORDS = {"what": "The validation set", "where": "the training set", "fix": "rename it."}
LABELS = st.one_of(
    st.lists(st.integers(-5, 5), min_size=1),
    st.lists(st.text(max_size=4), min_size=1),
    st.lists(st.one_of(st.integers(0, 3), st.sampled_from(["0", "1", "a", "A", "a "])), min_size=1),
)


@given(LABELS, LABELS)
def test_something_is_said_exactly_where_the_classes_differ(one, two):
    sentence = differing_classes(one, two, **WORDS)
    assert (sentence is None) == (set(one) == set(two))
    assert (unknown_labels(one, two, **WORDS) is None) == (set(one) <= set(two))
    if sentence is not None:
        assert listed(one) in sentence
        assert ", ".join(map(repr, [*dict.fromkeys(two)][:6])) in sentence  # in its own order
        odd = set(one) ^ set(two)
        assert any(repr(label) in sentence for label in odd)


@pytest.mark.parametrize(
    ("label", "known", "meant", "why"),
    [
        ("Dog", ["cat", "dog"], "'dog'", "only in the way"),
        ("dog ", ["cat", "dog"], "'dog'", "only in the way"),
        ("big  dog", ["cat", "big dog"], "'big dog'", "only in the way"),
        ("1", [0, 1], "1", "One is text, the other a whole number"),
        (1, ["0", "1"], "'1'", "One is a whole number, the other text"),
        ("1.0", ["0", "1"], "'1'", "only in the way they are written"),
        ("landbrid", ["landbird", "waterbird"], "'landbird'", None),
        ("xyz", ["cat", "dog"], None, None),
        (12, [1, 2], None, None),
    ],
)
def test_the_nearest_match(label, known, meant, why):
    assert meant_instead(label, known) == meant
    sentence = unknown_labels([label], known, **WORDS)
    assert (f"did you mean {meant}?" in sentence) == (meant is not None)
    assert ("rename it." in sentence) == (meant is None)
    assert why is None or why in sentence


def test_two_spellings_in_one_set_are_named():
    sentence = unknown_labels(["cat", "Cat", "dog"], [0, 1], **WORDS)
    assert "Are 'Cat' and 'cat' one class?" in sentence


def test_many_classes_are_counted():
    sentence = unknown_labels(range(1000), range(900), **WORDS)
    assert "… (1000)" in sentence
    assert "… (900)" in sentence
    assert "(and 99 more)" in sentence
    assert len(sentence) < 300


def test_everything_that_takes_labels_says_it_alike():
    d = load_marked_digits()
    names = np.array(["cat", "dog"])
    train, held = (d.X_train[:200], names[d.y_train[:200]]), d.X_validation[:200]
    other = np.array(["cat", "Dog"])[d.y_validation[:200]]
    said = r"\('Dog', 'cat'\) has the class 'Dog', which .* \('cat', 'dog'\) lacks; did you mean 'd"
    with pytest.raises(InputError, match=said):
        debias(marked_digits_model_path(), train, (held, other), device="cpu")
    model = FrozenModel.load(marked_digits_model_path()).with_classes(names)
    assert "differ only in case" in model.matched_to(other).matched_by  # and nothing else is near
    with pytest.raises(InputError, match=said.replace("Dog", "Dogg")):
        model.matched_to(np.array(["cat", "Dogg"])[d.y_validation[:200]])
    Z = held.reshape(200, -1).astype(np.float32)
    with pytest.raises(InputError, match=said):
        NeuronTuneClassifier().fit(Z, names[d.y_validation[:200]], X_val=Z, y_val=other)
    head = LinearHead(np.zeros((1, Z.shape[1])), np.zeros(1), names)
    with pytest.raises(InputError, match=said):
        NeuronTuneClassifier(head=head).fit(Z, other)


@given(st.text(st.sampled_from("=+-@\t\r'1a"), max_size=5))
def test_a_cell_is_no_formula_and_is_read_back_as_it_was(text):
    cell = guarded_cell(text)
    assert unguarded_cell(cell) == text
    if cell[:1] in tuple("=+-@\t\r"):
        float(cell)  # a number stays one
