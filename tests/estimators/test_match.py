"""A head carried over to a body whose embeddings have moved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit import LinearHead
from ntkit.estimators import match_head
from ntkit.exceptions import InputError


def drawn(seed, n=60, width=7, n_logits=3):
    rng = np.random.default_rng(seed)
    classes = range(max(2, n_logits))
    head = LinearHead(rng.normal(size=(n_logits, width)), rng.normal(size=n_logits), [*classes])
    return head, rng.normal(size=(n, width)), rng


def residual(head, X, wanted):
    return float(np.sum((head.decision_function(X) - wanted) ** 2))


@pytest.mark.parametrize("n_logits", [1, 2, 5])
def test_nothing_moved_nothing_changes(n_logits):
    head, before, _ = drawn(0, n_logits=n_logits)
    same = match_head(head, before, before)
    np.testing.assert_allclose(same.coef, head.coef, atol=1e-12)
    np.testing.assert_allclose(same.intercept, head.intercept, atol=1e-12)
    assert same.classes.tolist() == head.classes.tolist()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([1, 3]))
def test_what_is_linear_is_undone(seed, n_logits):
    """Another scale, shift or mixture of neurons: the logits are as before, of unseen rows too."""
    head, before, rng = drawn(seed, n_logits=n_logits)
    mixture = np.eye(7) + 0.1 * rng.normal(size=(7, 7))
    matched = match_head(head, before[:40] @ mixture + 0.3, before[:40])
    unseen, wanted = before[40:] @ mixture + 0.3, head.decision_function(before[40:])
    np.testing.assert_allclose(matched.decision_function(unseen), wanted, atol=1e-3)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.floats(1e-3, 2.0), st.integers(3, 60))
def test_never_further_off_than_a_corrected_bias(seed, noise, n):
    head, before, rng = drawn(seed, n=n)
    X = np.round(before / noise) * noise + 0.05 * rng.normal(size=7)
    wanted = head.decision_function(before)
    shift = (wanted - head.decision_function(X)).mean(axis=0)
    corrected = LinearHead(head.coef, head.intercept + shift, head.classes)
    matched = match_head(head, X, before)
    assert residual(matched, X, wanted) <= residual(corrected, X, wanted) + 1e-9


def test_more_neurons_than_samples_and_a_constant_neuron():
    head, before, rng = drawn(3, n=12, width=40)
    X = before + 0.1 * rng.normal(size=before.shape)
    X[:, 5] = 2.0
    matched = match_head(head, X, before)
    wanted = head.decision_function(before)
    assert np.isfinite(matched.coef).all()
    assert residual(matched, X, wanted) < residual(head, X, wanted)


def test_what_cannot_be_matched():
    head, before, _ = drawn(0)
    for X, other in ((before[:5], before), (before[:, :3], before[:, :3])):
        with pytest.raises(InputError, match=r"embeddings of the same samples, shape \(N, 7\)"):
            match_head(head, X, other)
    with pytest.raises(ValueError, match="X_before contains NaN"):
        match_head(head, before, np.where(before > 2, np.nan, before))
    with pytest.raises(ValueError, match="minimum of 2"):
        match_head(head, before[:1], before[:1])
