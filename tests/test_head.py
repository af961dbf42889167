import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from sklearn.base import clone

from ntkit import LinearHead, NeuronTuneClassifier
from ntkit.exceptions import InputError

FLOATS = st.floats(-50, 50, width=32)


@st.composite
def heads(draw, max_classes=5):
    n_classes = draw(st.integers(2, max_classes))
    n_logits = 1 if n_classes == 2 and draw(st.booleans()) else n_classes
    width = draw(st.integers(1, 6))
    coef = draw(arrays(np.float64, (n_logits, width), elements=FLOATS))
    intercept = draw(arrays(np.float64, n_logits, elements=FLOATS))
    return LinearHead(coef, intercept, [f"class {i}" for i in range(n_classes)])


def embeddings_for(head, n=7, seed=0):
    return np.random.default_rng(seed).normal(size=(n, head.n_neurons))


@given(heads())
def test_probabilities_are_the_softmax_of_the_logits(head):
    Z = embeddings_for(head)
    logits = head.logits(Z)
    assert np.allclose(head.predict_proba(Z), softmax(logits, axis=1), atol=1e-12)
    one = LinearHead(
        [[2.0, -1.0]], [0.5], ["no", "yes"]
    )  # as scikit-learn, one logit for the second
    assert one.decision_function([[1.0, 1.0]]) == pytest.approx([1.5])
    assert one.predict([[1.0, 1.0], [-1.0, 1.0]]).tolist() == ["yes", "no"]


@given(heads(), st.data())
def test_scaled_folds_an_affine_map_into_the_head(head, data):
    gains = data.draw(arrays(np.float64, head.n_neurons, elements=st.floats(-3, 3)))
    shift = data.draw(arrays(np.float64, head.n_neurons, elements=st.floats(-3, 3)))
    Z = embeddings_for(head)
    folded = head.scaled(gains, shift)
    expected = head.decision_function((Z - shift) * gains)
    assert np.allclose(folded.decision_function(Z), expected, rtol=1e-9, atol=1e-9)
    assert np.all(folded.coef[:, gains == 0] == 0)


@given(heads(), st.randoms(use_true_random=False))
def test_aligned_to_keeps_predictions(head, random):
    order = head.classes.tolist()
    random.shuffle(order)
    Z = embeddings_for(head)
    aligned = head.aligned_to(order)
    assert aligned.classes.tolist() == order
    same = np.argsort(order), np.argsort(head.classes.tolist())
    assert np.allclose(aligned.predict_proba(Z)[:, same[0]], head.predict_proba(Z)[:, same[1]])


@given(heads())
def test_one_logit_or_two_keep_probabilities(head):
    Z = embeddings_for(head)
    wide = head.with_logits(len(head.classes))
    assert wide.n_logits == len(head.classes)
    assert np.allclose(wide.predict_proba(Z), head.predict_proba(Z))
    assert np.allclose(wide.logits(Z), wide.decision_function(Z))
    assert np.allclose(head.logits(Z), wide.logits(Z))
    if len(head.classes) == 2:
        narrow = wide.with_logits(1)
        assert narrow.n_logits == 1
        assert np.allclose(narrow.predict_proba(Z), head.predict_proba(Z))
    with pytest.raises(InputError, match="cannot have 7 logits"):
        head.with_logits(7)


def pickled(head):
    return pickle.loads(pickle.dumps(head))


@pytest.mark.parametrize("labels", [["a", "b"], [0, 1], np.array(["a", "b"], dtype=object)])
@pytest.mark.parametrize("copied", [clone, copy.deepcopy, copy.copy, pickled, lambda head: head])
def test_nobody_writes_into_a_head(labels, copied):
    head = LinearHead(np.ones((2, 3)), [0, 1], labels)
    holder = copied(NeuronTuneClassifier(head=head)) if copied is clone else None
    other = holder.head if holder is not None else copied(head)
    assert other == head
    for array in (other.coef, other.intercept, other.classes):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = array
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)


def test_a_head_is_a_value():
    coef = np.zeros((1, 2), dtype=np.float32)
    head = LinearHead(coef, [1.0], [0, 1])
    coef[:] = 7
    assert (head.coef == 0).all()
    assert head.coef.dtype == np.float32
    for twin in (
        LinearHead(np.zeros((1, 2)), [1], [0, 1]),
        LinearHead([[-0.0, 0.0]], [1], [0, 1]),
        LinearHead([[0, 0]], [1], [0.0, 1.0]),
        LinearHead([[0, 0]], [1], [False, True]),
    ):
        assert head == twin
        assert hash(head) == hash(twin)
    assert head != LinearHead(np.ones((1, 2)), [1], [0, 1])
    assert head != "a head"


@pytest.mark.parametrize(
    ("coef", "intercept", "classes", "message"),
    [
        ([1.0, 2.0], [0.0], [0, 1], "shape"),
        ([[1.0]], [0.0, 1.0], [0, 1], "intercept"),
        ([[1.0]], [0.0], [0, 1, 2], "2 classes"),
        ([[1.0], [2.0]], [0.0, 0.0], [0], "2 classes"),
        ([[1.0], [2.0]], [0.0, 0.0], ["a", "a"], "differ"),
        ([[np.nan], [2.0]], [0.0, 0.0], [0, 1], "NaN"),
        ([[1.0], [2.0]], [0.0, np.inf], [0, 1], "NaN or infinite"),
    ],
)
def test_refuses_what_is_not_a_head(coef, intercept, classes, message):
    with pytest.raises(InputError, match=message):
        LinearHead(coef, intercept, classes)


def test_refuses_embeddings_of_another_width_and_foreign_classes():
    head = LinearHead([[1.0, 2.0]], [0.0], ["a", "b"])
    with pytest.raises(InputError, match=r"\(N, 2\)"):
        head.predict(np.zeros((3, 4)))
    with pytest.raises(InputError, match="use the same labels"):
        head.aligned_to(["a", "c"])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_many_rows_of_another_precision(monkeypatch, n_classes):
    """They are converted some at a time."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(101, 5)).astype(np.float32)
    K = 1 if n_classes == 2 else n_classes
    head = LinearHead(rng.normal(size=(K, 5)), rng.normal(size=K), np.arange(n_classes))
    whole = head.logits(Z)
    monkeypatch.setattr("ntkit.head._BLOCK", 64)
    np.testing.assert_allclose(head.logits(Z), whole, rtol=0, atol=1e-14)
    assert head.logits(Z[:0]).shape == (0, n_classes)
