"""Weights that balance class × attribute: what is equal, what keeps its share, what is capped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit.study import LEAST_ERRORS, MOST_WEIGHT, group_balanced, group_numbers, judged_groups

PARTS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(-1, 2), st.integers(-1, 1), st.sampled_from([0.0, 0.5, 2.0])
    ),
    min_size=3,
    max_size=200,
)


def arrays(parts):
    y, one, two, weight = map(np.asarray, zip(*parts, strict=True))
    y = np.unique(y, return_inverse=True)[1]
    return y, np.stack([one, two], axis=1), weight + (weight.sum() == 0)


@given(PARTS)
@settings(max_examples=40)
def test_classes_count_alike_and_nothing_is_made_up(parts):
    y, sides, weight = arrays(parts)
    balanced = group_balanced(weight, y, sides)
    assert balanced.sum() == pytest.approx(weight.sum())
    mass = np.bincount(y, weights=balanced, minlength=y.max() + 1)
    there = np.bincount(y, weights=weight, minlength=y.max() + 1) > 0
    assert mass[there] == pytest.approx(weight.sum() / there.sum())
    assert (balanced[weight == 0] == 0).all()
    # Cap: against balancing the classes alone.
    plain = group_balanced(weight, y, np.zeros((len(y), 1), dtype=int))
    some = plain > 0
    assert (balanced[some] / plain[some]).max() <= MOST_WEIGHT * (1 + 1e-9)


@given(PARTS, st.floats(0.01, 100))
@settings(max_examples=30)
def test_scale_order_and_names_of_sides_do_not_matter(parts, scale):
    y, sides, weight = arrays(parts)
    balanced = group_balanced(weight, y, sides)
    assert group_balanced(scale * weight, y, sides) == pytest.approx(scale * balanced)
    assert group_balanced(weight[::-1], y[::-1], sides[::-1]) == pytest.approx(balanced[::-1])
    renamed = np.where(sides < 0, -1, 7 - sides)
    assert group_balanced(weight, y, renamed) == pytest.approx(balanced)


def test_sides_are_equal_and_the_unknown_keep_their_share():
    y = np.repeat([0, 1], [100, 300])
    sides = np.full(400, -1)
    sides[:80] = [0] * 60 + [1] * 20
    sides[100:] = [0] * 30 + [1] * 270
    w = group_balanced(np.ones(400), y, sides[:, None])
    assert w[80:100].sum() / w[:100].sum() == pytest.approx(0.2)
    assert w[:60].sum() == pytest.approx(w[60:80].sum()) == pytest.approx(0.4 * 200)
    assert w[100:130].sum() == pytest.approx(w[130:].sum()) == pytest.approx(100)


def test_two_attributes_and_an_empty_group():
    y = np.zeros(60, dtype=int)
    sides = np.repeat([[0, 0], [0, 1], [1, 1]], [40, 15, 5], axis=0)
    w = group_balanced(np.ones(60), y, sides)
    assert [w[:40].sum(), w[40:55].sum(), w[55:].sum()] == pytest.approx([20, 20, 20])


def test_what_a_rare_group_may_not_get_goes_to_the_others():
    y, sides = np.zeros(1000, dtype=int), np.repeat([0, 1, 2], [1, 300, 699])[:, None]
    w = group_balanced(np.ones(1000), y, sides)
    assert w[0] == pytest.approx(MOST_WEIGHT)
    assert w[1:301].sum() == pytest.approx(w[301:].sum()) == pytest.approx(475)


@given(PARTS)
@settings(max_examples=40)
def test_groups_to_judge_by_are_large_and_every_class_has_one(parts):
    y, sides, weight = arrays(parts)
    numbers, judged = group_numbers(y, sides), judged_groups(weight, y, sides)
    for found in (numbers, judged):
        assert set(range(found.max() + 1)) <= set(found.tolist()) <= set(range(-1, found.max() + 1))
    for group in range(judged.max() + 1):
        rows = judged == group
        assert len(np.unique(y[rows])) == 1
        whole_class = rows.sum() == (y == y[rows][0]).sum()
        assert (rows & (weight > 0)).sum() >= LEAST_ERRORS or whole_class
    assert {int(k) for k in y[judged >= 0]} == set(y.tolist())
