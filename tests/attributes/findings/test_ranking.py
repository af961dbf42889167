"""The ranking: Holm's correction, and the order of what is equal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit.attributes.findings._finding import ranking_of
from ntkit.metrics import holm
from tests.attributes.findings.builders import planted, view_of


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_step_by_step(p):
    corrected = holm(np.array(p), len(p))
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for i, at in enumerate(sorted(range(len(p)), key=p.__getitem__)):
            if p[at] * (len(p) - i) > level:
                break
            rejected.add(at)
        assert set(np.flatnonzero(corrected <= level)) == rejected
    assert (corrected >= p).all()


def test_classes_count_as_tests():
    values, p = planted(n_classes=3, n_others=0)
    found = ranking_of([view_of(values)], p)
    pair, q = planted(n_classes=2, n_others=0)
    assert len(found.names) == 1
    from ntkit.attributes import Block
    from ntkit.attributes.findings._finding import Marks, contrast

    for feature_set, predictions, times in ((values, p, 3), (pair, q, 1)):
        one = contrast(Block(("a",), feature_set), Marks.of(predictions)).p_value[0]
        corrected = ranking_of([view_of(feature_set)], predictions).p_value[0]
        assert corrected == pytest.approx(min(1, times * one))


def test_views_one_after_the_other_are_one_view():
    values, p = planted()
    whole = ranking_of([view_of(values)], p)
    names = [f"word:{j}" for j in range(values.shape[1])]
    parts = [view_of(values[:, i : i + 7], names[i : i + 7]) for i in range(0, len(names), 7)]
    split = ranking_of(parts, p)
    assert whole.names == split.names
    np.testing.assert_allclose(whole.p_value, split.p_value)


def test_many_attributes_of_another_kind_do_not_raise_the_bar():
    values, p = planted(leaning=0.05)
    rng = np.random.default_rng(1)
    many = view_of(rng.random((len(values), 3000)) < 0.3, kind="layer")
    alone = ranking_of([view_of(values)], p)
    beside = ranking_of([view_of(values), many], p)
    of_word = [beside.names.index(name) for name in alone.names]
    np.testing.assert_allclose(beside.p_value[of_word], np.minimum(2 * alone.p_value, 1))
    nothing = view_of(np.empty((len(values), 0)), kind="metadata")  # has nothing to share for
    np.testing.assert_allclose(ranking_of([view_of(values), nothing], p).p_value, alone.p_value)


def test_no_attributes():
    _, p = planted()
    assert ranking_of([], p).names == []
    assert ranking_of([view_of(np.empty((len(p.y_index), 0)))], p).names == []
